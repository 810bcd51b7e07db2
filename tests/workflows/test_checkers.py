"""The field's checkers find nothing in these workflows, and find faults that are planted."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

ACTIONS = "engine/actions"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session", params=["template", "generated"])
def repository(request: pytest.FixtureRequest, rendered_service: Path) -> Path:
    """The folders with a .github of their own: this repository and a generated one."""
    return REPOSITORY if request.param == "template" else rendered_service


@pytest.fixture
def copy(rendered_service: Path, tmp_path: Path) -> Path:
    """The workflows of a generated repository, to be spoilt."""
    for name in (".github", ACTIONS):
        shutil.copytree(rendered_service / name, tmp_path / name)
    shutil.copy(rendered_service / "engine" / "zizmor.yml", tmp_path / "engine")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def check(cwd: Path, *command: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def workflows(repository: Path) -> list[Path]:
    return sorted((repository / ".github" / "workflows").glob("*.yml"))


def zizmor(tools: Path, cwd: Path) -> tuple[int, str]:
    settings = Path("engine/zizmor.yml")
    own: list[str | Path] = ["--config", settings, ACTIONS] if (cwd / settings).exists() else []
    return check(
        cwd, tools / "zizmor", "--offline", "--quiet", "--persona", "auditor", ".github", *own
    )


def schema(tools: Path, cwd: Path, kind: str, *files: Path) -> tuple[int, str]:
    return check(cwd, tools / "check-jsonschema", "--builtin-schema", f"vendor.{kind}", *files)


# actionlint knows the inputs of popular actions, but by the name of a version and not by commit.
# These are the newest that it knows; inputs that came later would have to be taken out here.
KNOWN = {
    "actions/checkout": "v6",
    "actions/setup-python": "v6",
    "actions/upload-artifact": "v7",
    "actions/download-artifact": "v7",
    "azure/login": "v2",
    "github/codeql-action/upload-sarif": "v4",
    "sigstore/cosign-installer": "v3",
}


def lint(actionlint: Path, cwd: Path) -> tuple[int, str]:
    """Lint a copy whose pins are replaced by names of versions, so that inputs are checked."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in (".github", ACTIONS):
            if (cwd / each).exists():
                shutil.copytree(cwd / each, folder / each)
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        for path in workflows(folder):
            text = path.read_text(encoding="utf-8")
            for action, version in KNOWN.items():
                text = re.sub(
                    rf"uses: {action}@[0-9a-f]{{40}} ", f"uses: {action}@{version} ", text
                )
            path.write_text(text, encoding="utf-8")
        options = ("-no-color", "-shellcheck=", "-pyflakes=")
        return check(folder, actionlint, *options, *workflows(folder))


def shell(tools: Path, service: Path, *files: Path) -> tuple[int, str]:
    return check(service, tools / "python", "-m", "engine.upkeep.shell", *files)


def test_zizmor_finds_nothing(ci_tools: Path, repository: Path) -> None:
    status, output = zizmor(ci_tools, repository)
    assert status == 0, output


def test_actionlint_finds_nothing(actionlint: Path, repository: Path) -> None:
    status, output = lint(actionlint, repository)
    assert status == 0, output


def test_the_schemas_fit(ci_tools: Path, repository: Path) -> None:
    status, output = schema(ci_tools, repository, "github-workflows", *workflows(repository))
    assert status == 0, output
    actions = sorted((repository / ACTIONS).glob("*/action.yml"))
    assert bool(actions) == (repository != REPOSITORY)
    if actions:
        status, output = schema(ci_tools, repository, "github-actions", *actions)
        assert status == 0, output
    dependabot = repository / ".github" / "dependabot.yml"
    status, output = schema(ci_tools, repository, "dependabot", dependabot)
    assert status == 0, output


def test_shellcheck_finds_nothing_in_any_script(
    ci_tools: Path, rendered_service: Path, repository: Path
) -> None:
    actions = (repository / ACTIONS).glob("*/action.yml")
    status, output = shell(ci_tools, rendered_service, *workflows(repository), *actions)
    assert status == 0, output


def test_hadolint_finds_nothing(ci_tools: Path, rendered_service: Path) -> None:
    status, output = check(
        rendered_service, ci_tools / "hadolint", "Dockerfile", "engine/edge/Dockerfile"
    )
    assert status == 0, output


def spoil(copy: Path, name: str, good: str, bad: str) -> Path:
    path = copy / ".github" / name
    text = path.read_text(encoding="utf-8")
    assert good in text
    path.write_text(text.replace(good, bad, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "good", "bad", "finding"),
    [
        ("workflows/ci.yml", "  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
        ("workflows/ci.yml", "run: make lint", "run: echo ${{ github.head_ref }}", "template-inj"),
        ("workflows/ci.yml", "persist-credentials: false", "fetch-depth: 1", "artipacked"),
        (
            "workflows/ci.yml",
            "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
            "@v7",
            "unpinned-uses",
        ),
        (
            "../engine/actions/prepare/action.yml",
            "@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0",
            "@v7",
            "unpinned-uses",
        ),
        ("workflows/ci.yml", "permissions: {}", "permissions: write-all", "excessive-permissions"),
        (
            "workflows/deploy.yml",
            "attestations: write # record provenance and SBOM",
            "attestations: write",
            "undocumented-perm",
        ),
        ("dependabot.yml", "default-days: 7", "default-days: 1", "dependabot-cooldown"),
    ],
)
def test_zizmor_finds_what_is_planted(
    ci_tools: Path, copy: Path, name: str, good: str, bad: str, finding: str
) -> None:
    spoil(copy, name, good, bad)
    status, output = zizmor(ci_tools, copy)
    assert status != 0
    assert finding in output


@pytest.mark.parametrize(
    ("good", "bad", "finding"),
    [
        ("needs: [build, scan]", "needs: [build, scam]", "scam"),
        ("ubuntu-24.04", "ubuntu-18.04", "ubuntu-18.04"),
        ("steps.push.outputs.image", "steps.psh.outputs.image", "psh"),
        ("install: .venv", "instal: .venv", "instal"),
        ("client-id: ${{ vars", "clientid: ${{ vars", "clientid"),
        ("if-no-files-found: error", "if-no-files-fond: error", "if-no-files-fond"),
    ],
)
def test_actionlint_finds_what_is_planted(
    actionlint: Path, copy: Path, good: str, bad: str, finding: str
) -> None:
    spoil(copy, "workflows/deploy.yml", good, bad)
    status, output = lint(actionlint, copy)
    assert status != 0
    assert finding in output


def test_the_schema_finds_a_misspelt_key(ci_tools: Path, copy: Path) -> None:
    path = spoil(copy, "workflows/deploy.yml", "timeout-minutes: 20", "timeout-minute: 20")
    status, output = schema(ci_tools, copy, "github-workflows", path)
    assert status != 0
    assert "timeout-minute" in output


def test_shellcheck_finds_a_missing_quote(
    ci_tools: Path, rendered_service: Path, copy: Path
) -> None:
    for name, good, bad in (
        ("workflows/deploy.yml", 'sign --yes "$IMAGE"', "sign --yes $IMAGE"),
        ("../engine/actions/prepare/action.yml", 'xargs make <<<"$PARTS"', "make $PARTS"),
    ):
        path = spoil(copy, name, good, bad)
        status, output = shell(ci_tools, rendered_service, path)
        assert status != 0
        assert "SC2086" in output


def test_hadolint_finds_a_missing_version(ci_tools: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:latest\n")
    status, output = check(tmp_path, ci_tools / "hadolint", "Dockerfile")
    assert status != 0
    assert "DL3007" in output
