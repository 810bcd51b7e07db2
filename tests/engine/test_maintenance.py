"""What the scheduled workflows do, with a real git; gh is a program that writes down its words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from engine.deploy import outcome
from engine.upkeep import github, locks, offer

LOCK = """# made by uv
numpy==2.4.0 \\
    --hash=sha256:00
uvloop==0.22.1 ; sys_platform != 'win32' \\
    --hash=sha256:11
"""

FAKE_GH = """#!{python}
import json, os, sys
with open(os.environ["GH_LOG"], "a") as log:
    log.write(json.dumps([sys.argv[1:], "" if sys.stdin.isatty() else sys.stdin.read()]) + "\\n")
print(os.environ.get("GH_ANSWER", ""))
"""


def git(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with one lock, whose origin is a bare repository beside it."""
    bare = tmp_path / "origin.git"
    bare.mkdir()
    git("init", "--quiet", "--bare", "--initial-branch=main", cwd=bare)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    git("init", "--quiet", "--initial-branch=main", cwd=checkout)
    git("remote", "add", "origin", str(bare), cwd=checkout)
    (checkout / "requirements").mkdir()
    (checkout / "requirements" / "serve.txt").write_text(LOCK)
    git("add", ".", cwd=checkout)
    git("commit", "--quiet", "--message", "first", cwd=checkout)
    git("push", "--quiet", "origin", "main", cwd=checkout)
    programs = tmp_path / "bin"
    programs.mkdir()
    fake = programs / "gh"
    fake.write_text(FAKE_GH.format(python=sys.executable))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/local/bin:/usr/bin:/bin")
    monkeypatch.setenv("GH_LOG", str(tmp_path / "gh.log"))
    monkeypatch.delenv("GITHUB_RUN_ID", raising=False)
    monkeypatch.chdir(checkout)
    return checkout


def said(repository: Path) -> list[tuple[list[str], str]]:
    log = repository.parent / "gh.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [(words, stdin) for words, stdin in map(json.loads, lines) if words[0] != "auth"]


def test_pins_are_read_with_markers_and_hashes() -> None:
    assert locks.pins(LOCK) == {"numpy": "2.4.0", "uvloop": "0.22.1"}


def test_changes_name_new_gone_and_other_versions() -> None:
    before = {"a.txt": "numpy==1.0 \\\nold==1\n", "b.txt": "same==3\n"}
    after = {"a.txt": "numpy==2.0 \\\nnew==1\n", "b.txt": "same==3\n"}
    expected = [("new", "", "1"), ("numpy", "1.0", "2.0"), ("old", "1", "")]
    assert locks.changes(before, after) == expected


def test_unchanged_locks_are_not_offered(repository: Path) -> None:
    assert "nothing is newer" in offer.offer_locks("success")
    assert said(repository) == []


def test_changed_locks_become_a_branch_and_a_pull_request(repository: Path) -> None:
    (repository / "requirements" / "serve.txt").write_text(LOCK.replace("2.4.0", "2.5.0"))
    assert offer.offer_locks("success") == "offered 1 changed version(s)"
    pushed = git(
        "show", "rebuild/locks:requirements/serve.txt", cwd=repository.parent / "origin.git"
    )
    assert "numpy==2.5.0" in pushed
    words, body = said(repository)[-1]
    assert words[:2] == ["pr", "create"]
    assert "| numpy | 2.4.0 | 2.5.0 |" in body


def test_an_open_pull_request_is_renewed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GH_ANSWER", '[{"number": 7}]')
    (repository / "requirements" / "serve.txt").write_text(LOCK.replace("2.4.0", "2.5.0"))
    offer.offer_locks("success")
    words, _ = said(repository)[-1]
    assert words[:3] == ["pr", "edit", "rebuild/locks"]


def test_versions_that_fail_become_an_issue_and_no_pull_request(repository: Path) -> None:
    (repository / "requirements" / "serve.txt").write_text(LOCK.replace("2.4.0", "2.5.0"))
    offer.offer_locks("failure")
    words, body = said(repository)[-1]
    assert words[:2] == ["issue", "create"]
    assert "| numpy | 2.4.0 | 2.5.0 |" in body
    assert "rebuild/locks" not in branches(repository)


EXPLANATION = "Update from v1 to v2:\n- engine/ was as generated\n"


def patch(repository: Path, name: str, content: str) -> Path:
    """What `make update PATCH=template.patch` writes for an update that adds a file."""
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text(content)
    git("add", name, cwd=repository)
    difference = git("diff", "--cached", "--binary", cwd=repository) + "\n"
    git("reset", "--quiet", "--hard", cwd=repository)
    (repository / "template.patch").write_text(EXPLANATION + difference)
    return repository / "template.patch"


def branches(repository: Path) -> str:
    return git("branch", "--list", cwd=repository.parent / "origin.git")


def test_a_patch_of_the_template_becomes_a_pull_request(repository: Path) -> None:
    patch(repository, "new.txt", "news\n")
    assert offer.main(["template", "--patch", "template.patch"]) == 0
    tree = git("ls-tree", "--name-only", "template/update", cwd=repository.parent / "origin.git")
    assert tree.split() == ["new.txt", "requirements"]
    words, body = said(repository)[-1]
    assert words[:2] == ["pr", "create"]
    assert body.startswith(EXPLANATION)


def test_conflicts_with_the_template_become_an_issue(repository: Path) -> None:
    """The file explains them and holds no change; nothing is pushed."""
    (repository / "template.patch").write_text("you changed the same places of\n  README.md\n")
    assert offer.main(["template", "--patch", "template.patch"]) == 0
    words, body = said(repository)[-1]
    assert words[:2] == ["issue", "create"]
    assert "README.md" in body
    assert "make update" in body
    assert "template/update" not in branches(repository)


def test_an_update_of_workflows_becomes_an_issue_with_the_patch(repository: Path) -> None:
    """GITHUB_TOKEN cannot push them, and the update is not offered without them."""
    text = patch(repository, ".github/workflows/new.yml", "name: New\n").read_text()
    assert offer.main(["template", "--patch", "template.patch"]) == 0
    words, body = said(repository)[-1]
    assert words[:2] == ["issue", "create"]
    assert "- `.github/workflows/new.yml`" in body
    assert "does not let the token of a workflow push such files" in body
    assert "template/update" not in branches(repository)
    shown = body.partition("diff\n")[2].partition("`" * 8)[0]
    assert shown == text
    git("apply", "--check", "template.patch", cwd=repository)


def test_a_patch_that_no_issue_can_hold_stays_with_the_run(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub takes 65,536 characters."""
    monkeypatch.setenv("GITHUB_RUN_ID", "12")
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    patch(repository, ".github/workflows/new.yml", "# long\n" * 9000)
    assert offer.main(["template", "--patch", "template.patch"]) == 0
    _, body = said(repository)[-1]
    assert len(body) < 65_536
    assert "/o/r/actions/runs/12" in body


def test_a_repository_that_forbids_pull_requests_of_workflows_is_told_how_to_allow_them(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message is GitHub's."""
    gh = repository.parent / "bin" / "gh"
    gh.write_text(
        "#!/bin/sh\ncase $2 in create) echo 'pull request create failed: GraphQL: GitHub Actions "
        "is not permitted to create or approve pull requests (createPullRequest)' >&2; exit 1; esac"
    )
    patch(repository, "new.txt", "news\n")
    assert offer.main(["template", "--patch", "template.patch"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "template/update is pushed" in error
    assert "bootstrap" in error


def test_an_empty_patch_is_nothing_new(repository: Path) -> None:
    (repository / "template.patch").write_text("")
    assert offer.main(["template", "--patch", "template.patch"]) == 0
    assert said(repository) == []


def test_a_push_that_is_refused_is_one_line(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git("remote", "set-url", "origin", str(repository / "nowhere"), cwd=repository)
    (repository / "requirements" / "serve.txt").write_text(LOCK.replace("2.4.0", "2.5.0"))
    assert offer.main(["locks", "--result", "success"]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "git" in errors[0]


def test_the_run_is_linked_only_inside_a_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_RUN_ID", raising=False)
    assert github.run_url() == ""
    monkeypatch.setenv("GITHUB_RUN_ID", "12")
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    assert github.run_url().endswith("/o/r/actions/runs/12")


ALL_PASSED = dict.fromkeys(outcome.GATES, "success")


def test_the_outcome_of_a_run_that_passed() -> None:
    page = outcome.summary(ALL_PASSED, {"production": "http://x"}, "abc", {})
    assert page.startswith("# In production\n")
    assert "http://x" in page


@pytest.mark.parametrize(
    ("verdict", "serving", "shown"),
    [
        ("unproved", outcome.NEW, "# In production; not verified from outside"),
        ("unproved", outcome.AS_BEFORE, "# Not in production: stopped at production"),
        ("unproved", outcome.UNKNOWN, "# Not in production: stopped at production"),
        ("wrong", outcome.AS_BEFORE, "# Not in production: stopped at production"),
        ("", outcome.AS_BEFORE, "# Not in production: stopped at production"),
    ],
)
def test_a_release_that_could_not_be_asked_afterwards_is_in_production(
    verdict: str, serving: str, shown: str
) -> None:
    outputs = {"up": "success", "serves": serving, "verdict": verdict}
    results = {**ALL_PASSED, "production": "failure"}
    page = outcome.summary(results, {}, "abc", {"production": outputs})
    assert page.startswith(shown)
    assert ("verify production`" in page) == (shown.startswith("# In production"))


@pytest.mark.parametrize("gate", outcome.GATES)
def test_the_outcome_names_the_gate_that_stopped_it(gate: str) -> None:
    names = list(outcome.GATES)
    at = names.index(gate)
    results = dict.fromkeys(names[:at], "success")
    results |= {gate: "failure"} | dict.fromkeys(names[at + 1 :], "skipped")
    page = outcome.summary(results, {}, "abc", {})
    assert f"stopped at {outcome.GATES[gate].title.lower()}" in page.splitlines()[0]
    assert outcome.GATES[gate].fix in page
    assert page.count("❌") == 1
    production_is_mentioned = "production" in page.partition("**")[2].lower()
    assert production_is_mentioned


NOT_KNOWN = "is not known: `.venv/bin/python -m engine.deploy recover"
SERVES = [
    ({"up": "success", "serves": "new"}, "serves the new release."),
    (
        {"up": "failure", "serves": "as-before"},
        "does not serve the new release, but what was there before it.",
    ),
    (
        {"up": "cancelled", "serves": "as-before"},
        "does not serve the new release, but what was there before it.",
    ),
    ({"up": "skipped", "serves": ""}, "was not changed."),
    ({"up": "failure"}, "was not changed."),
    ({"up": "failure", "serves": "unknown"}, NOT_KNOWN),
    ({"up": "cancelled", "serves": "unknown"}, NOT_KNOWN),
    ({"up": "cancelled"}, NOT_KNOWN),
    ({}, NOT_KNOWN),
]


@pytest.mark.parametrize("stage", ["staging", "production"])
@pytest.mark.parametrize("result", ["failure", "cancelled"])
@pytest.mark.parametrize(("outputs", "words"), SERVES)
def test_the_page_says_of_an_environment_what_is_known(
    stage: str, result: str, outputs: dict[str, str], words: str
) -> None:
    """Outputs of a cancelled job may be absent; then nothing is claimed."""
    page = outcome.summary({**ALL_PASSED, stage: result}, {}, "abc", {stage: outputs})
    assert words in page
    assert sum(known in page for known in {words for _, words in SERVES}) == 1
    assert "release before" not in page
    assert ("Production was not touched." in page) == (stage == "staging")


def test_a_skipped_gate_is_no_success() -> None:
    assert outcome.failed_gate({**ALL_PASSED, "production": "skipped"}) == "production"


def test_the_page_is_written_and_the_exit_code_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: dict[str, dict[str, object]] = {
        name: {"result": "success", "outputs": None} for name in outcome.GATES
    }
    jobs["publish"]["outputs"] = {"image": "r/n@sha256:0"}
    monkeypatch.setenv("JOBS", json.dumps(jobs))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "page"))
    assert outcome.main() == 0
    assert "`r/n@sha256:0`" in (tmp_path / "page").read_text()
    jobs["load"]["result"] = "failure"
    monkeypatch.setenv("JOBS", json.dumps(jobs))
    assert outcome.main() == 1
    text = (tmp_path / "page").read_text()
    assert text.count("# ") == 2
