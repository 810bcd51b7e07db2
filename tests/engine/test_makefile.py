"""Values of make's command line reach the programs as they were typed, and are never run.

And what make says itself: its help, and what is missing.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from engine.upkeep.words import main

from tests.engine.project import ROOT

RECORDS_ARGUMENTS = """\
#!/bin/sh
for each in "$@"; do printf '%s\\000' "$each"; done >>called
"""
TYPED = [
    "x;touch OWNED",
    "my model (1).joblib",
    "it's",
    'say "q"',
    "a&b|c>OWNED",
    "$(touch OWNED)",
    "$(shell touch OWNED)",
    "${HOME}$HOME$$HOME",
    "`touch OWNED`",
    "-leading dash",
    "back\\slash\\",
    "*",
    "two\nlines\ntouch OWNED",
    "# no comment",
    "Modell für Ö",
]
ALL_AT_ONCE = (
    "a b;touch OWNED $(touch OWNED) $(shell touch OWNED) `touch OWNED` 'it\"s' & ${HOME} #"
)
OPTIONS = [
    ("train", "FORMAT", ["-m", "training.train", "--format={}"]),
    ("model", "NAME", ["-m", "engine.packaging", "--name={}"]),
    ("model", "TO", ["-m", "engine.packaging", "--to={}"]),
    ("model", "SAMPLES", ["-m", "engine.packaging", "--samples={}"]),
    ("doctor", "IMAGE", ["-m", "engine.packaging.versions", "--image={}"]),
    ("reference", "MODEL", ["-m", "engine.drift", "record", "--model={}"]),
    ("reference", "FILE", ["-m", "engine.drift", "record", "--", "{}"]),
    ("drift", "MODEL", ["-m", "engine.drift", "compare", "--model={}"]),
    ("drift", "PICTURE", ["-m", "engine.drift", "compare", "--picture={}"]),
    ("drift", "FILE", ["-m", "engine.drift", "compare", "--", "{}"]),
    ("score", "MODEL", ["-m", "engine.scoring", "--model={}"]),
    ("score", "OUT", ["-m", "engine.scoring", "--out={}"]),
    ("score", "FILE", ["-m", "engine.scoring", "--", "{}"]),
    *(
        ("compare", name, ["-m", "engine.comparing", f"--{name.lower()}={{}}"])
        for name in ("OTHER", "ENV", "MODEL", "LABEL", "METRIC", "MARGIN")
    ),
    *(
        ("replay", name, ["-m", "engine.comparing.replay", f"--{name.lower()}={{}}"])
        for name in ("URL", "ENV", "TOLERANCE")
    ),
    ("replay", "FILE", ["-m", "engine.comparing.replay", "--", "{}"]),
    ("compare", "DATA", ["-m", "engine.comparing", "--", "{}"]),
    ("profile", "MODEL", ["-m", "engine.packaging.rightsizing", "--model={}"]),
    ("profile", "WRITE", ["-m", "engine.packaging.rightsizing", "--write={}"]),
    ("run-image", "TAG", ["-m", "engine.deploy.image", "run", "--tag={}"]),
    ("run-image", "PORT", ["-m", "engine.deploy.image", "run", "--port={}"]),
    ("load", "URL", ["-m", "engine.load", "--url={}", "--seconds", "20"]),
    ("load", "ENV", ["-m", "engine.load", "--env={}", "--seconds", "20"]),
    ("load", "USERS", ["-m", "engine.load", "--users={}", "--seconds", "20"]),
    ("load", "SECONDS", ["-m", "engine.load", "--seconds", "20", "--seconds={}"]),
    ("monitor", "LISTEN", [None, None, "--web.listen-address={}"]),
    ("plan", "IMAGE", ["-m", "engine.deploy", "plan", "--image={}", "--", "staging"]),
    ("plan", "ENV", ["-m", "engine.deploy", "plan", "--", "{}"]),
    ("up", "ENV", ["-m", "engine.deploy", "up", "--", "{}"]),
    ("up", "IMAGE", ["-m", "engine.deploy", "up", "--image={}", "--", "staging"]),
    ("status", "ENV", ["-m", "engine.deploy", "status", "--", "{}"]),
    ("down", "ENV", ["-m", "engine.deploy", "down", "--", "{}"]),
    ("rollback", "TO", ["-m", "engine.deploy", "rollback", "--to={}", "--", "staging"]),
    ("move", "TO", ["-m", "engine.deploy", "move", "--to={}", "--", "staging"]),
    *(
        ("update", name, ["-m", "engine.upkeep.update", f"--{name.lower()}={{}}"])
        for name in ("TEMPLATE", "TO", "CHOICE", "PATCH")
    ),
]

# What these targets do not work without; the value under test replaces it.
NEEDED = dict.fromkeys(("plan", "up", "rollback", "move"), "ENV=staging")


def needed(target: str, *given: str) -> list[str]:
    """The target with what it needs, and what is given."""
    return [target, *(each for each in [NEEDED.get(target)] if each), *given]


class Checkout:
    """The Makefile beside programs that write down their arguments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "requirements").mkdir()
        for name in ("serve-cpu", "train", "deploy", "dev"):
            (folder / "requirements" / f"{name}.txt").touch()
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "engine").mkdir()
        shutil.copy(ROOT / "engine" / "make.mk", folder / "engine")
        shutil.copytree(ROOT / "engine" / "monitoring", folder / "engine" / "monitoring")
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        shutil.copy(ROOT / ".python-version", folder)
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        for name in ("python", "prometheus", "uv", "ruff", "mypy"):
            (programs / name).write_text(RECORDS_ARGUMENTS, encoding="utf-8")
            (programs / name).chmod(0o755)
        for name in ("serve", "train", "deploy", "dev"):
            (folder / ".venv" / f".{name}").touch()

    def make(self, *arguments: str, **environment: str) -> list[str]:
        """What the last program of a target was called with."""
        done = self.start(arguments, environment)
        assert done.returncode == 0, done.stderr
        assert not list(self.folder.glob("OWNED*")), "text of a value was run"
        called = (self.folder / "called").read_bytes().split(b"\0")
        return [os.fsdecode(each) for each in called[:-1]]

    def start(
        self, arguments: tuple[str, ...], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}"
        unset = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if name not in unset}
        (self.folder / "called").unlink(missing_ok=True)
        return subprocess.run(
            [str(shutil.which("make")), "--silent", *arguments],
            cwd=self.folder,
            env={**kept, "PATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder = tmp_path / "a [b] (c), 'd' & $e" / "iris-service"
    folder.mkdir(parents=True)
    return Checkout(folder)


@pytest.mark.parametrize("typed", TYPED)
def test_a_value_is_data(checkout: Checkout, typed: str) -> None:
    called = checkout.make("model", f"FROM={typed}", f"SAMPLES={typed}")
    assert called == ["-m", "engine.packaging", f"--samples={typed}", "--", typed]


@pytest.mark.parametrize(("target", "name", "expected"), OPTIONS)
def test_every_value_is_data(
    checkout: Checkout, target: str, name: str, expected: list[str | None]
) -> None:
    called = checkout.make(*needed(target, f"{name}={ALL_AT_ONCE}"))
    for position, each in enumerate(expected):
        assert each is None or called[position] == each.format(ALL_AT_ONCE)
    assert len(called) == len(expected)


@pytest.mark.parametrize("name", ["ACCELERATOR", "TAG"])
def test_the_values_of_an_image_are_data(checkout: Checkout, name: str) -> None:
    called = checkout.make("image", f"{name}={ALL_AT_ONCE}")
    assert called[-3:] == ["engine.deploy.image", "build", f"--{name.lower()}={ALL_AT_ONCE}"]


def test_a_value_that_is_empty_is_not_given(checkout: Checkout) -> None:
    assert checkout.make("model", "FROM=a.onnx", "NAME=", "TO=onnx") == [
        *("-m", "engine.packaging", "--to=onnx", "--", "a.onnx")
    ]


@pytest.mark.parametrize("target", sorted({target for target, _, _ in OPTIONS} - {"monitor"}))
def test_the_environment_alone_sets_no_value(checkout: Checkout, target: str) -> None:
    """Shells have variables called ENV, NAME or URL, and they mean something else there."""
    environment = {name: ALL_AT_ONCE for _, name, _ in OPTIONS} | {"OPTIONS": ALL_AT_ONCE}
    typed = needed(target)
    assert checkout.make(*typed, **environment) == checkout.make(*typed)


@pytest.mark.parametrize("target", sorted(NEEDED))
@pytest.mark.parametrize("given", [[], ["ENV="]])
def test_without_an_environment_make_says_how(
    checkout: Checkout, target: str, given: list[str]
) -> None:
    """Before anything is installed, and whatever ENV is called in the shell."""
    shutil.rmtree(checkout.folder / ".venv")
    done = checkout.start((target, *given), {"ENV": "production"})
    assert done.returncode != 0
    assert f"error: name the environment: make {target} ENV=staging\n" in done.stderr
    assert not (checkout.folder / ".venv").exists()


def test_check_names_an_edited_engine_and_checks_the_models(checkout: Checkout) -> None:
    assert checkout.make("check") == [
        *("-m", "engine.upkeep.checksums", "-m", "engine.serving.check")
    ]


def test_lint_passes_the_settings_of_the_engine(checkout: Checkout) -> None:
    """mypy cannot extend a file; ruff finds the engine's through pyproject.toml."""
    (checkout.folder / "tests").mkdir()
    assert checkout.make("lint") == [
        *("format", "--check", ".", "check", "."),
        *("--config-file", "engine/mypy.ini", "engine", "tests"),
    ]


def test_the_locks_of_a_gpu_are_compiled_where_one_is_used(checkout: Checkout) -> None:
    def compiled() -> list[str]:
        words = checkout.make("lock")
        return [word for before, word in pairwise(words) if before == "-o"]

    here = [f"requirements/{name}.txt" for name in ("serve-cpu", "train", "dev", "deploy")]
    assert compiled() == here
    (checkout.folder / "requirements" / "serve-gpu.in").touch()
    assert compiled() == [*here, "requirements/serve-gpu.txt", "requirements/cuda.txt"]


def test_help_lists_every_command_in_a_group(checkout: Checkout) -> None:
    """The commands are those that make itself knows."""
    database = checkout.start(("--print-data-base", "--question", "help"), {}).stdout
    phony = set(re.findall(r"^\.PHONY: (.*)$", database, re.M)[0].split()) - {"env-given"}
    first, *groups = checkout.start(("help",), {}).stdout.split("\n\n")
    assert "`make serve`" in first
    assert [each.splitlines()[0] for each in groups] == [
        *("Run and test", "Model", "Deploy", "Watch", "Upkeep")
    ]
    listed = [line.split()[0] for group in groups for line in group.splitlines()[1:]]
    assert sorted(listed) == sorted(phony)


def test_help_lists_the_owners_commands_too(checkout: Checkout) -> None:
    with (checkout.folder / "Makefile").open("a", encoding="utf-8") as makefile:
        makefile.write("include more.mk\n\nfirst: ## Do this\n\t@echo this\n")
    (checkout.folder / "more.mk").write_text("second: ## And that\n\t@echo that\n")
    own = checkout.start(("help",), {}).stdout.split("\n\n")[-1].splitlines()
    assert [line.split(maxsplit=1) for line in own] == [
        ["Yours"],
        ["first", "Do this"],
        ["second", "And that"],
    ]
    assert checkout.start(("first",), {}).stdout == "this\n"


def test_settings_on_the_command_line_are_data_too(checkout: Checkout) -> None:
    program = checkout.folder / ".venv" / "bin" / "python"
    program.write_text('#!/bin/sh\nprintf "%s\\000" "$HOST" "$API_KEYS" >called\n')
    called = checkout.make("serve", f"API_KEYS={ALL_AT_ONCE}", "HOST=a b;touch OWNED")
    assert called == ["a b;touch OWNED", ALL_AT_ONCE]


@pytest.mark.parametrize("port", [ALL_AT_ONCE, "http", "80 80", "/8000"])
def test_monitor_takes_a_port_that_is_a_number(checkout: Checkout, port: str) -> None:
    done = checkout.start(("monitor", f"PORT={port}"), {})
    assert done.returncode != 0
    assert "has to be a number" in done.stderr
    assert not list(checkout.folder.glob("OWNED*"))
    assert checkout.start(("monitor",), {"PORT": "8404"}).stdout == 'watching ["127.0.0.1:8404"]\n'


@pytest.mark.parametrize("line", ['owner: "octo-org" # of us', "owner: octo-org"])
def test_monitor_fills_in_the_repository(checkout: Checkout, line: str) -> None:
    project = checkout.folder / "deploy" / "project.yaml"
    project.write_text(f'name: "churn" # start of every name\n{line}\n', encoding="utf-8")
    checkout.make("monitor")
    written = (checkout.folder / "build" / "prometheus.yml").read_text(encoding="utf-8")
    assert "    repository: https://github.com/octo-org/churn\n" in written


@pytest.mark.parametrize(
    "typed", ["$(touch OWNED)", "x;touch OWNED", "`touch OWNED`", "$(id) > OWNED"]
)
def test_options_are_handed_over_unsplit(checkout: Checkout, typed: str) -> None:
    called = checkout.make("model", "FROM=a", f"OPTIONS={typed}")
    assert called == ["-m", "engine.upkeep.words", "OPTIONS", "engine.packaging", "--", "a"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--licence proprietary", ["--licence", "proprietary"]),
        ("--licence 'CC BY 4.0'", ["--licence", "CC BY 4.0"]),
        ("  --data  a\\ b\n--rows-together", ["--data", "a b", "--rows-together"]),
        ("x;touch OWNED", ["x;touch", "OWNED"]),
        ("$(touch OWNED) `touch OWNED` * ~ $HOME", None),
        ("# no comment", ["#", "no", "comment"]),
        ("", []),
    ],
)
def test_options_are_split_as_a_shell_does_and_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: str, words: list[str] | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTIONS", options)
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(runpy, "run_module", lambda module, **_: sys.argv.append(module))
    main(["OPTIONS", "engine.packaging", "--", "a b"])
    expected = options.split() if words is None else words
    assert sys.argv == ["engine.packaging", *expected, "--", "a b", "engine.packaging"]
    assert not list(tmp_path.iterdir())


def test_the_module_gets_the_words_as_its_arguments() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "engine.upkeep.words", "OPTIONS", "json.tool", "--", "no such file"],
        cwd=ROOT,
        env={**os.environ, "OPTIONS": "--indent 'o n'"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "argument --indent: invalid int value: 'o n'" in done.stderr


def test_options_that_end_in_a_quotation_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIONS", "--data it's")
    with pytest.raises(SystemExit, match=r"error: OPTIONS is .*: no closing quotation; quote it"):
        main(["OPTIONS", "engine.packaging"])


@pytest.mark.parametrize("how", ["command line", "environment"])
def test_a_python_with_a_blank_in_its_path_makes_the_environment(
    checkout: Checkout, how: str
) -> None:
    shutil.rmtree(checkout.folder / ".venv")
    folder = checkout.folder / "my $(touch OWNED) python; touch OWNED"
    folder.mkdir()
    python = folder / "python"
    python.write_text(RECORDS_ARGUMENTS, encoding="utf-8")
    python.chmod(0o755)
    given = {"PYTHON": str(python)} if how == "environment" else {}
    arguments = [] if given else [f"PYTHON={python}"]
    assert checkout.make(".venv/bin/python", *arguments, **given) == [
        *("--version", "-m", "venv", ".venv")
    ]


def test_without_a_python_the_way_out_is_named(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / ".venv")
    tools = checkout.folder / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "make"):
        (tools / name).symlink_to(str(shutil.which(name)))
    done = checkout.start((".venv/bin/python",), {"PATH": str(tools)})
    assert done.returncode != 0
    assert "make PYTHON=/path/to/python" in done.stderr


@pytest.mark.parametrize(
    ("exported", "listens"),
    [
        ("", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("::1", "::1"),
        ("localhost", "localhost"),
        ("x86_64-conda-linux-gnu", "127.0.0.1"),
        ("arm64-apple-darwin20.0.0", "127.0.0.1"),
        ("laptop-7.example", "127.0.0.1"),
        ("$(touch OWNED)", "127.0.0.1"),
    ],
)
def test_of_the_environment_only_an_address_is_listened_on(
    checkout: Checkout, exported: str, listens: str
) -> None:
    """conda's compilers and some shells export a HOST that is the name of something else."""
    program = checkout.folder / ".venv" / "bin" / "python"
    program.write_text('#!/bin/sh\nprintf "%s\\000" "$HOST" >called\n')
    assert checkout.make("serve", HOST=exported) == [listens]
    assert checkout.make("serve", "HOST=laptop-7.example", HOST=exported) == ["laptop-7.example"]
    ignored = exported not in ("", listens)
    said = checkout.start(("serve",), {"HOST": exported}).stderr
    assert ("is not an IP address and is ignored" in said) == ignored


@pytest.mark.parametrize(
    ("given", "called"),
    [
        (("up", "ENV=dev", "NEW=1"), ["up", "--bootstrap", "--", "dev"]),
        (("up", "ENV=dev", "NEW=no"), ["up", "--", "dev"]),
        (("down", "ALL=1"), ["down", "--all"]),
        (("down", "ALL=1", "YES=1"), ["down", "--all", "--yes"]),
        (("down", "ENV=dev", "YES=1"), ["down", "--yes", "--", "dev"]),
    ],
)
def test_a_switch_is_one_and_nothing_else(
    checkout: Checkout, given: tuple[str, ...], called: list[str]
) -> None:
    assert checkout.make(*given) == ["-m", "engine.deploy", *called]
