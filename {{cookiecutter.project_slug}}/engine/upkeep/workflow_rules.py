"""Rules for the workflows in .github/workflows that no checker of `make lint-ci` knows.

Each rule gives its violations as sentences that name the place and the way out; none means that
the rule is kept. They hold for workflows that the owner adds, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

Job = Mapping[str, Any]

USES = re.compile(r"^\s*(?:- )?uses:\s*(?P<action>.+?)\s*$", re.MULTILINE)
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
# An action of this repository, and an image by its digest, cannot change unnoticed either.
FIXED = re.compile(r"\./\S+|docker://\S+@sha256:[0-9a-f]{64}")
GRANT = re.compile(r"^ {2,6}[a-z-]+: (?:read|write)(?P<why> # .+)?$", re.MULTILINE)
PASSWORD = re.compile(r"secrets\.((?:AZURE|ARM|ACR|REGISTRY)_\w+|\w*CREDENTIALS?\w*)")


class Workflow:
    """A workflow: its file's name, its text (for comments), and its content.

    Raises:
        ValueError: the text is not YAML, or has no jobs.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        try:
            content: Any = yaml.load(text, yaml.CSafeLoader)
        except yaml.YAMLError as error:
            raise ValueError(f"{name} is not YAML: {' '.join(str(error).split())}") from None
        if not isinstance(content, dict) or not isinstance(content.get("jobs"), dict):
            raise ValueError(f"{name} has no jobs; add some, or delete the file")
        self.content: dict[str, Any] = content
        self.jobs: dict[str, dict[str, Any]] = content["jobs"]

    def steps(self) -> Iterator[tuple[str, Job]]:
        """Every step with the name of its job."""
        for name, job in self.jobs.items():
            for step in job.get("steps", []):
                yield name, step


def read(folder: Path) -> list[Workflow]:
    """All workflows of a folder, by name.

    Raises:
        ValueError: one of them cannot be read.
    """
    files = sorted([*folder.glob("*.yml"), *folder.glob("*.yaml")])
    return [Workflow(path.name, path.read_text(encoding="utf-8")) for path in files]


def pins(workflow: Workflow) -> list[str]:
    """Every action is pinned by its full commit, with the version beside it."""
    return [
        f"{action} is not pinned; write owner/action@<40 hex digits of the commit> # v1.2.3"
        for action in USES.findall(workflow.text)
        if not PINNED.fullmatch(action) and not FIXED.fullmatch(action)
    ]


def permissions(workflow: Workflow) -> list[str]:
    """Nothing is granted to the workflow, each job says what it needs, each grant says why."""
    found = []
    if workflow.content.get("permissions") != {}:
        found.append(
            "the workflow grants permissions to every job; set `permissions: {}` at its top"
        )
    found += [
        f"job {name} has no permissions; list what it needs, or set `permissions: {{}}`"
        for name, job in workflow.jobs.items()
        if "permissions" not in job
    ]
    found += [
        f"`{match[0].strip()}` does not say why; add the reason as a comment on its line"
        for match in GRANT.finditer(workflow.text)
        if not match["why"]
    ]
    return found


def time_limits(workflow: Workflow) -> list[str]:
    """Every job ends by itself; without a limit GitHub waits for six hours."""
    return [
        f"job {name} has no time limit; add timeout-minutes"
        for name, job in workflow.jobs.items()
        # A job that calls another workflow cannot have one.
        if "timeout-minutes" not in job and "uses" not in job
    ]


def scripts(workflow: Workflow) -> list[str]:
    """A script gets values through its environment only, so that none of them is run."""
    return [
        f"job {job} has an expression inside the script `{step['run'].splitlines()[0]}`; "
        "pass the value through env"
        for job, step in workflow.steps()
        if "${{" in str(step.get("run", ""))
    ]


def passwords(workflow: Workflow) -> list[str]:
    """No password of the cloud is stored: jobs log in with their own identity."""
    way = "log in with azure/login, client-id and id-token: write"
    found = [
        f"the secret {name} looks like a password of Azure; {way}"
        for name in sorted(set(PASSWORD.findall(workflow.text)))
    ]
    found += [
        f"job {job} logs in with a stored password; {way}"
        for job, step in workflow.steps()
        if str(step.get("uses", "")).startswith("azure/login@")
        and "creds" in (step.get("with") or {})
    ]
    return found


RULES: tuple[Callable[[Workflow], list[str]], ...] = (
    pins,
    permissions,
    time_limits,
    scripts,
    passwords,
)
