"""`make update` takes over what is new in the template and keeps what the owner changed.

Real git, cookiecutter and cruft. Most tests use this template without its larger folders, and
render each version of it once; the last ones update a complete project from the last release.
"""

from __future__ import annotations

import filecmp
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.service.running import running
from tests.service.test_service_doc import KEY, add_examples, ask
from tests.workflows.tools import python_tools

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = "{{cookiecutter.project_slug}}"
STAGING = "deploy/environments/staging.yaml"
OWN_TEST = "def test_mine() -> None:\n    assert True\n"
OWN_SECTION = "\n## Who to call\n\nThe team of the orchids.\n"
LEFTOVERS = shutil.ignore_patterns("__pycache__", ".venv")
LARGE = ("deploy", "load", "packaging")

Change = Callable[[Path], None]

pytestmark = pytest.mark.slow


def git(cwd: Path, *arguments: str, stdin: str | None = None) -> str:
    who = ("-c", "user.name=me", "-c", "user.email=me@example.invalid")
    command = ["git", *who, *arguments]
    done = subprocess.run(
        command, cwd=cwd, input=stdin, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def commit(repository: Path, message: str) -> str:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", message)
    return git(repository, "rev-parse", "HEAD").strip()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


class Template:
    """A repository with this template, without the larger folders of the engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        shutil.copy(REPOSITORY / "cookiecutter.json", folder)
        shutil.copytree(REPOSITORY / "hooks", folder / "hooks")
        shutil.copytree(REPOSITORY / FOLDER, folder / FOLDER, ignore=LEFTOVERS)
        for name in LARGE:
            shutil.rmtree(folder / FOLDER / "engine" / name, ignore_errors=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
        self.first = commit(folder, "first")
        self.address = folder.as_uri()

    def version(self, name: str, change: Change) -> str:
        """A branch with one change of the project's folder."""
        git(self.folder, "switch", "--quiet", "--create", name, "main")
        change(self.folder / FOLDER)
        made = commit(self.folder, name)
        git(self.folder, "switch", "--quiet", "main")
        return made


def cookiecutter(template: str, folder: Path, *options: str) -> tuple[Path, str]:
    """What the command line generates, and what it prints."""
    settings = folder / "settings.yaml"
    settings.write_text(json.dumps({"replay_dir": f"{folder}", "cookiecutters_dir": f"{folder}"}))
    command = [sys.executable, "-m", "cookiecutter", "--no-input", "--config-file", str(settings)]
    done = subprocess.run(
        [*command, "--output-dir", str(folder / "out"), template, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "out" / "iris-service", done.stdout


def second(folder: Path) -> None:
    """The template's second version: a new engine, and changes beside those of the owner."""
    for name in ("engine/__init__.py", "engine/upkeep/words.py", STAGING):
        append(folder / name, "# second\n")
    append(folder / "docs" / "runbook.md", "second\n")
    edit(folder / "README.md", "\n## ", "\n## Second: ")
    for name in ("engine/new.py", "docs/new.md"):
        (folder / name).write_text("# New\n")


def other_locks(folder: Path) -> None:
    """Other pins, and another requirement of the tests."""
    for name in ("train", "dev"):
        edit(folder / "requirements" / f"{name}.txt", "#", "# the template's\n#")
    for source in folder.glob("**/requirements/dev.in"):
        append(source, "# second\n")


def other_pins(folder: Path) -> None:
    """A newer action in all workflows, of which one has another change as well."""
    for path in (folder / ".github" / "workflows").glob("*.yml"):
        pinned(path, "90.0.2")
    append(folder / ".github" / "workflows" / "ci.yml", "# second\n")


def other_api(folder: Path) -> None:
    """An engine that refuses each service.py."""
    second(folder)
    check = "import sys\nsys.exit('no API 1: ' + open(sys.argv[1]).read())\n"
    (folder / "engine" / "upkeep" / "api.py").write_text(check)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    made = Template(tmp_path_factory.mktemp("slim") / "template.git")
    changes = {"second": second, "locks": other_locks, "pins": other_pins, "api": other_api}
    for name, change in changes.items():
        made.version(name, change)
    return made


@pytest.fixture(scope="module")
def generated(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated by plain cookiecutter from the address; nobody may change it."""
    return cookiecutter(template.address, tmp_path_factory.mktemp("generated"))[0]


@pytest.fixture
def project(generated: Path, tmp_path: Path) -> Path:
    shutil.copytree(generated, tmp_path / "iris-service", symlinks=True)
    return tmp_path / "iris-service"


class Done(NamedTuple):
    """The exit code of an update, and what it printed."""

    code: int
    out: str
    err: str


Update = Callable[..., Done]


@pytest.fixture(scope="module")
def updater(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The module, which renders each version with the same answers only once."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(REPOSITORY / FOLDER))
    patch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.import_module("engine.upkeep.update")
    render, done = module.Template.render, dict[str, Path]()

    def once(self: Any, commit: str, answered: Mapping[str, str], _folder: Path) -> Path:
        key = json.dumps([self.address, commit, sorted(answered.items())])
        if key not in done:
            done[key] = render(self, commit, answered, tmp_path_factory.mktemp("version") / "new")
        return done[key]

    patch.setattr(module.Template, "render", once)
    yield module
    patch.undo()
    for name in [each for each in sys.modules if each.partition(".")[0] == "engine"]:
        del sys.modules[name]


@pytest.fixture
def update(
    updater: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Update:
    """Run what `make update` runs, and look for what it must never leave behind."""

    def update(project: Path, *options: str) -> Done:
        monkeypatch.chdir(project)
        capsys.readouterr()
        try:
            code = updater.main([*options])
        except SystemExit as end:
            code = end.code
        done = Done(code, *capsys.readouterr())
        assert "Next:" not in done.out + done.err
        assert len(git(project, "worktree", "list").splitlines()) == 1
        return done

    return update


def state(project: Path) -> Any:
    return json.loads((project / ".cruft.json").read_text(encoding="utf-8"))


def tree(project: Path) -> str:
    """The hash of everything that is staged."""
    return git(project, "write-tree").strip()


def unchanged(project: Path) -> bool:
    return git(project, "status", "--porcelain") == "" and not list(project.glob("*.rej"))


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def pinned(path: Path, version: str) -> None:
    """Renew the pin of one action, as Dependabot and the template do."""
    pin = f"actions/checkout@{version[-1] * 40} # v{version}"
    text = re.sub(r"actions/checkout@\w+ # v\S+", pin, path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


# How the project knows its template.


def test_the_first_commit_records_address_version_and_answers(
    generated: Path, template: Template
) -> None:
    assert unchanged(generated)
    assert git(generated, "rev-list", "--count", "HEAD") == "1\n"
    recorded = json.loads(git(generated, "show", "HEAD:.cruft.json"))
    assert (recorded["template"], recorded["commit"]) == (template.address, template.first)
    assert recorded["context"]["cookiecutter"]["runs_on"] == "aci-cpu"
    assert str(generated.parent) not in json.dumps(recorded)


def test_a_password_in_the_address_is_not_recorded(template: Template, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(template.folder), str(clone))
    git(clone, "remote", "set-url", "origin", "https://me:secret@example.invalid/t.git")
    project, _ = cookiecutter(str(clone), tmp_path)
    assert state(project)["template"] == "https://example.invalid/t.git"


def test_without_a_known_template_the_address_is_asked_for_and_then_enough(
    template: Template, tmp_path: Path, update: Update
) -> None:
    unpacked = tmp_path / "unpacked"
    shutil.copytree(template.folder, unpacked, ignore=shutil.ignore_patterns(".git"))
    project, _ = cookiecutter(str(unpacked), tmp_path)
    assert (state(project)["template"], state(project)["commit"]) == (None, None)
    refused = update(project)
    assert refused.code == 1
    assert "make update TEMPLATE=" in refused.err
    assert update(project, "--patch=nothing.patch").code == 0
    assert (project / "nothing.patch").read_text() == ""
    (project / "nothing.patch").unlink()
    append(project / "README.md", OWN_SECTION)
    append(project / "tests" / "conftest.py", "# mine\n")
    commit(project, "mine")
    done = update(project, f"--template={template.address}", "--to=second")
    assert done.code == 0, done.err
    new = git(template.folder, "rev-parse", "second").strip()
    assert (state(project)["template"], state(project)["commit"]) == (template.address, new)
    assert "from " + template.first[:7] in done.out
    assert "tests/conftest.py" not in git(project, "diff", "--staged", "--name-only")


# What an update does.


@pytest.fixture
def owned(project: Path) -> Path:
    """With edits of its owner's, of which none meets one of the second version."""
    append(project / "README.md", OWN_SECTION)
    if not (project / "service.py").exists():
        (project / "service.py").write_text("API = 1\n")
    append(project / "service.py", "MINE = True\n")
    edit(project / STAGING, "\n", "\n# mine\n")
    (project / "tests" / "test_mine.py").write_text(OWN_TEST)
    append(project / "pyproject.toml", "\n[tool.mine]\nyes = true\n")
    commit(project, "what I changed")
    (project / "scratch.txt").write_text("not committed\n")
    return project


def test_an_update_beside_the_owners_edits_has_no_conflict_and_keeps_them(
    owned: Path, template: Template, update: Update
) -> None:
    done = update(owned, "--to=second")
    assert done.code == 0, done.err
    readme = (owned / "README.md").read_text(encoding="utf-8")
    assert "\n## Second: " in readme
    assert readme.endswith(OWN_SECTION)
    assert (owned / "service.py").read_text().endswith("MINE = True\n")
    staging = (owned / STAGING).read_text()
    assert "# mine\n" in staging
    assert staging.endswith("# second\n")
    assert (owned / "tests" / "test_mine.py").read_text() == OWN_TEST
    assert "[tool.mine]" in (owned / "pyproject.toml").read_text()
    assert (owned / "docs" / "new.md").exists()
    new = git(template.folder, "rev-parse", "second").strip()
    assert state(owned)["commit"] == new
    # The engine is that of the template, as a whole.
    assert "replaced as a whole" in done.out
    swapped = git(owned, "rev-parse", f"{tree(owned)}:engine")
    assert swapped == git(template.folder, "rev-parse", f"{new}:{FOLDER}/engine")
    # All of it is staged, and nothing is committed.
    assert git(owned, "diff", "--name-only") == ""
    assert git(owned, "log", "-1", "--format=%s") == "what I changed\n"
    assert (owned / "scratch.txt").read_text() == "not committed\n"


def test_edits_of_the_engine_are_named_and_merged_and_removed_files_stay_away(
    project: Path, update: Update
) -> None:
    edit(project / "engine" / "upkeep" / "words.py", '"""', '"""Mine. ')
    (project / "engine" / "mine.py").write_text("# mine\n")
    (project / "docs" / "runbook.md").unlink()
    commit(project, "mine")
    done = update(project, "--to=second")
    assert done.code == 0, done.err
    assert "you changed 2 file(s) of engine/" in done.out
    assert "engine/mine.py, engine/upkeep/words.py\n" in done.out
    words = (project / "engine" / "upkeep" / "words.py").read_text()
    assert words.startswith('"""Mine. ')
    assert words.endswith("# second\n")
    assert not (project / "docs" / "runbook.md").exists()
    assert "because you removed them: docs/runbook.md" in done.out


def test_a_changed_choice_brings_and_removes_what_belongs_to_it(
    project: Path, update: Update
) -> None:
    done = update(project, "--choice=runs_on=containerapps-t4")
    assert done.code == 0, done.err
    assert "runs_on=containerapps-t4" in done.out
    assert "target: containerapps" in (project / STAGING).read_text()
    assert state(project)["context"]["cookiecutter"]["runs_on"] == "containerapps-t4"
    commit(project, "containerapps")
    assert "nothing new" in update(project).out
    address = state(project)["template"]
    assert "nothing new" in update(project, f"--template={address}").out
    assert update(project, "--choice=runs_on=aci-cpu").code == 0
    assert tree(project) == git(project, "rev-parse", "HEAD~:").strip()


def test_an_update_to_another_address_of_the_same_version_keeps_the_record(
    project: Path, template: Template, update: Update, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    git(tmp_path, "clone", "--quiet", template.address, str(moved))
    done = update(project, f"--template={moved}")
    assert done.code == 0, done.err
    assert state(project)["template"] == str(moved), done.out
    commit(project, "moved")
    assert "nothing new" in update(project, f"--template={moved}").out
    assert state(project)["template"] == str(moved)


def test_of_a_removed_model_nothing_comes_back(project: Path, update: Update) -> None:
    """The other format's files are new in a folder that is not there any more."""
    git(project, "rm", "-r", "--quiet", "models/iris")
    commit(project, "a model of my own")
    done = update(project, "--choice=model_format=joblib")
    assert done.code == 0, done.err
    assert git(project, "ls-files", "models") == ""


@pytest.mark.parametrize("staged", [False, True])
def test_an_answer_edited_in_the_file_is_a_changed_choice(
    project: Path, update: Update, staged: bool
) -> None:
    edit(project / ".cruft.json", '"model_format": "onnx"', '"model_format": "joblib"')
    if staged:
        git(project, "add", ".cruft.json")
    assert update(project).code == 0
    names = git(project, "ls-files", "models").split()
    assert "models/iris/model.joblib" in names
    assert "models/iris/model.onnx" not in names


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("runs_on=moon", "it is one of aci-cpu, containerapps-t4"),
        ("colour=red", "no question 'colour'"),
        ("runs_on", "is not question=answer"),
        ("description={{ 1 }}", "Jinja"),
        ("azure_region=West Europe", "westeurope"),
    ],
)
def test_a_choice_that_the_template_does_not_offer_is_refused(
    project: Path, update: Update, choice: str, words: str
) -> None:
    done = update(project, f"--choice={choice}")
    assert done.code != 0
    assert words in done.err
    assert unchanged(project)


# Conflicts.


@pytest.fixture
def conflicting(project: Path) -> Path:
    """Owner and template change the same line, and add the same file."""
    edit(project / "README.md", "\n## ", "\n## Mine: ")
    (project / "docs" / "new.md").write_text("mine\n")
    commit(project, "mine")
    return project


def test_a_conflict_names_its_files_and_changes_nothing(conflicting: Path, update: Update) -> None:
    before = tree(conflicting)
    done = update(conflicting, "--to=second")
    assert done.code == 1
    assert "changed the same places of\n  README.md\n  docs/new.md\n" in done.err
    assert "make update MERGE=1" in done.err
    assert unchanged(conflicting)
    assert tree(conflicting) == before


def test_a_conflict_can_be_decided_and_is_not_committed_by_accident(
    conflicting: Path, update: Update
) -> None:
    assert update(conflicting, "--to=second", "--merge").code == 1
    assert "<<<<<<<" in (conflicting / "README.md").read_text()
    assert (conflicting / "engine" / "new.py").exists()
    hasty = subprocess.run(
        ["git", "commit", "-m", "x"], cwd=conflicting, capture_output=True, text=True, check=False
    )
    assert hasty.returncode != 0
    assert "unmerged" in hasty.stderr
    git(conflicting, "reset", "--quiet", "--hard")
    assert unchanged(conflicting)
    assert not (conflicting / "engine" / "new.py").exists()


def test_a_patch_never_holds_marks_of_conflicts(conflicting: Path, update: Update) -> None:
    assert update(conflicting, "--to=second", "--patch=update.patch").code == 1
    text = (conflicting / "update.patch").read_text()
    assert "README.md" in text
    assert "<<<<<<<" not in text
    assert "diff --git" not in text


def test_a_patch_is_the_same_update(owned: Path, update: Update) -> None:
    (owned / "image.bin").write_bytes(bytes(range(256)))
    commit(owned, "mine")
    assert update(owned, "--to=second", "--patch=update.patch").code == 0
    assert git(owned, "status", "--porcelain") == "?? update.patch\n"
    git(owned, "apply", "--index", "update.patch")
    applied = tree(owned)
    git(owned, "reset", "--quiet", "--hard")
    assert update(owned, "--to=second").code == 0
    assert tree(owned) == applied


# What is refused before anything is replaced.


def test_changes_that_are_not_committed_are_not_mixed_with_an_update(
    project: Path, update: Update
) -> None:
    append(project / "README.md", "x\n")
    done = update(project)
    assert done.code == 1
    assert "commit or stash" in done.err


def test_a_file_in_the_way_stops_the_update_before_it_begins(project: Path, update: Update) -> None:
    (project / "docs" / "new.md").write_text("mine, not committed\n")
    done = update(project, "--to=second")
    assert done.code == 1
    assert "docs/new.md" in done.err
    assert git(project, "status", "--porcelain") == "?? docs/new.md\n"
    assert (project / "docs" / "new.md").read_text() == "mine, not committed\n"


@pytest.mark.parametrize(("mine", "kept"), [("90.0.3", "3"), ("90.0.1", "2"), ("", "2")])
def test_pins_of_actions_do_not_conflict_and_the_newer_one_wins(
    project: Path, update: Update, mine: str, kept: str
) -> None:
    workflows = project / ".github" / "workflows"
    if mine:
        for path in workflows.glob("*.yml"):
            pinned(path, mine)
        commit(project, "Dependabot's")
    before = (workflows / "deploy.yml").read_text(encoding="utf-8")
    done = update(project, "--to=pins")
    assert done.code == 0, done.err
    changed = (workflows / "ci.yml").read_text(encoding="utf-8")
    assert changed.endswith("# second\n")
    assert set(re.findall(r"actions/checkout@(\w)", changed)) == {kept}
    # Where nothing but pins is new, the file is not touched: Dependabot renews them too.
    assert (workflows / "deploy.yml").read_text(encoding="utf-8") == before


def test_an_engine_that_does_not_accept_service_py_is_not_installed(
    owned: Path, update: Update
) -> None:
    done = update(owned, "--to=api")
    assert done.code == 1
    assert "does not accept your service.py" in done.err
    assert done.err.count("error:") == 1
    assert "MINE = True" in done.err
    assert git(owned, "status", "--porcelain") == "?? scratch.txt\n"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("commit", "0" * 40, "has no version 0000"),
        ("template", "/nowhere/template", "TEMPLATE=<address"),
    ],
)
def test_a_template_or_version_that_is_gone_is_one_message(
    project: Path, update: Update, field: str, value: str, words: str
) -> None:
    recorded = state(project)
    recorded[field] = value
    (project / ".cruft.json").write_text(json.dumps(recorded))
    commit(project, "mine")
    done = update(project)
    assert done.code == 1
    assert words in done.err
    assert unchanged(project)


# Locks.

FAKE_UV = """#!{python}
import pathlib, sys
output = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
had = output.read_text() if output.exists() else ""
output.write_text(had + "# compiled from " + sys.argv[sys.argv.index("-o") - 1] + "\\n")
"""


@pytest.fixture
def fake_uv(updater: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A uv that adds a line to the lock that it finds, instead of compiling it again."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "bin" / "uv").write_text(FAKE_UV.format(python=sys.executable))
    (tmp_path / "bin" / "uv").chmod(0o755)
    monkeypatch.setattr(updater, "TOOLS", tmp_path / "bin")


@pytest.mark.usefixtures("fake_uv")
def test_locks_are_compiled_from_the_owners_and_never_merged(project: Path, update: Update) -> None:
    """The same line of a lock differs on both sides, as pins do."""
    append(project / "requirements" / "train.in", "polars\n")
    for name in ("train", "dev"):
        edit(project / "requirements" / f"{name}.txt", "#", "# mine\n#")
    commit(project, "mine")
    done = update(project, "--to=locks")
    assert done.code == 0, done.err
    for name in ("train", "dev"):
        text = (project / "requirements" / f"{name}.txt").read_text()
        assert text.startswith("# mine\n")
        assert "the template's" not in text
        assert "# compiled from " in text.splitlines()[-1]
    assert not (project / ".venv").exists()


@pytest.mark.usefixtures("fake_uv")
def test_locks_that_the_owner_did_not_touch_come_from_the_template(
    project: Path, template: Template, update: Update
) -> None:
    assert update(project, "--to=locks").code == 0
    theirs = git(template.folder, "show", f"locks:{FOLDER}/requirements/dev.txt")
    assert (project / "requirements" / "dev.txt").read_text() == theirs


def test_uv_keeps_the_owners_pins(project: Path, update: Update) -> None:
    """With the real uv: an older version that the owner's lock has stays."""
    lock = project / "requirements" / "train.txt"
    append(project / "requirements" / "train.in", "toolz\n")
    append(lock, "toolz==0.12.0\n")
    commit(project, "mine")
    before = pins(lock.read_text())
    done = update(project, "--to=locks")
    assert done.code == 0, done.err
    assert pins(lock.read_text()) == before


def pins(lock: str) -> dict[str, str]:
    lines = (line.split(" ")[0].split("==") for line in lock.splitlines() if "==" in line)
    return {pair[0]: pair[1] for pair in lines if not pair[0].startswith("#")}


# A complete project, by cruft, from the last release.


def last_release() -> str:
    """The newest release; before there is one, an earlier version that has an engine."""
    tags = git(REPOSITORY, "tag", "--list", "v*", "--merged", "HEAD", "--sort=-v:refname").split()
    if tags:
        return tags[0]
    place = f"{FOLDER}/engine/__init__.py"
    changes = git(REPOSITORY, "log", "--first-parent", "--format=%H", "--", FOLDER).split()[:6]
    have = [one for one in changes if git(REPOSITORY, "ls-tree", one, "--", place)]
    assert have, "the history is cut off: fetch all of it (fetch-depth: 0)"
    return have[-1]


@pytest.fixture(scope="module")
def whole_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the template, with what is not committed yet as its last commit, "now"."""
    clone = tmp_path_factory.mktemp("template") / "aci-ml-template"
    git(REPOSITORY, "clone", "--quiet", "--no-local", str(REPOSITORY), str(clone))
    head = git(REPOSITORY, "rev-parse", "HEAD").strip()
    git(clone, "switch", "--quiet", "--force-create", "now", head)
    difference = git(REPOSITORY, "diff", "--binary", "HEAD")
    if difference:
        git(clone, "apply", "--index", "-", stdin=difference)
    new = git(REPOSITORY, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
    for name in filter(None, new):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, clone / name)
    git(clone, "add", "--all")
    if git(clone, "status", "--porcelain"):
        commit(clone, "not committed yet")
    return clone


def cruft_create(service: Path, folder: Path, template: str, *options: str) -> Path:
    program = python_tools(service) / "cruft"
    done = subprocess.run(
        [program, "create", template, "--no-input", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return folder / "iris-service"


def test_after_cruft_create_nothing_is_left_to_commit(
    template: Template, rendered_service: Path, tmp_path: Path
) -> None:
    """cruft writes .cruft.json after the first commit, with the bytes that are in it."""
    project = cruft_create(rendered_service, tmp_path, template.address)
    assert unchanged(project)
    assert state(project)["commit"] == template.first


@pytest.fixture(scope="module")
def from_release(
    whole_template: Path, rendered_service: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project generated from the last release, edited, then brought to this version."""
    folder = tmp_path_factory.mktemp("project")
    release = ("--checkout", last_release())
    project = cruft_create(rendered_service, folder, str(whole_template), *release)
    # Below the title, which no version changes.
    edit(project / "README.md", "\n", OWN_SECTION)
    (project / "tests" / "test_mine.py").write_text(OWN_TEST)
    add_examples(project)
    commit(project, "what I changed")
    # The updater of today: that of the release has its own tests.
    done = subprocess.run(
        [sys.executable, rendered_service / "engine" / "upkeep" / "update.py", "--to=now"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(rendered_service)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return project


def files(project: Path) -> set[str]:
    listed = git(project, "ls-files", "--cached", "--others", "--exclude-standard")
    return {name for name in listed.splitlines() if (project / name).exists()}


def test_what_the_owner_changed_is_kept(from_release: Path) -> None:
    assert OWN_SECTION in (from_release / "README.md").read_text(encoding="utf-8")
    assert (from_release / "tests" / "test_mine.py").read_text() == OWN_TEST


def test_the_changes_in_service_py_answer_as_before_the_update(
    from_release: Path, service_python: Path
) -> None:
    """Those that docs/service.md shows: a rule, an output, a setting and a route."""
    settings = {"API_KEYS": KEY, "CONTACT": "flora@example.com"}
    with running(service_python, from_release, **settings) as url:
        assert ask(f"{url}/predict", {"data": [[10.5, 3.0, 5.1, 1.8]]})[0] == 422
        status, answer = ask(f"{url}/predict", {"data": [[5.9, 3.0, 5.1, 1.8]]})
        assert (status, list(answer["outputs"])) == (200, ["probabilities", "confidence_percent"])
        assert ask(f"{url}/about") == (200, {"contact": "flora@example.com"})


def test_everything_else_is_as_if_generated_today(
    from_release: Path, rendered_service: Path
) -> None:
    own = {"README.md", ".cruft.json", "service.py", "tests/test_mine.py"}
    assert files(from_release) - own == files(rendered_service) - own
    names = sorted(files(rendered_service) - own)
    _, differing, missing = filecmp.cmpfiles(rendered_service, from_release, names, shallow=False)
    assert (differing, missing) == ([], [])


def test_the_owners_tests_run_beside_those_of_the_template(
    from_release: Path, service_python: Path
) -> None:
    """Its other files are those of a project generated today, whose suite runs elsewhere."""
    done = subprocess.run(
        [service_python, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "tests/test_mine.py",
         "tests/test_service.py"],
        cwd=from_release,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "PASSED tests/test_mine.py::test_mine" in done.stdout
