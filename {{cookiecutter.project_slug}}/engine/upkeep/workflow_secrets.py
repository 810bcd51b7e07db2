"""`python -m engine.upkeep.workflow_secrets`: workflows pass every secret of the environment files.

GitHub gives a step only the secrets that its workflow names. A step that deploys needs those of its
environment; where it cannot be told which environment that will be, those of all.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOYS = re.compile(r"-m engine.deploy (up|rollback|recover) ")
FIX = "`.venv/bin/python -m engine.upkeep.workflow_secrets` adds the lines; commit them"


@dataclass(frozen=True, slots=True)
class Gap:
    """A secret of an environment file that a step which deploys does not get."""

    workflow: Path
    job: str
    step: str
    script: str
    secret: str

    def __str__(self) -> str:
        """The place, the secret and the line that is missing."""
        return f"{self.workflow.name}: job {self.job}, step {self.step!r} lacks {self.line.strip()}"

    @property
    def line(self) -> str:
        """The line that its ``env`` needs."""
        return f"          {self.secret}: ${{{{ secrets.{self.secret} }}}}"


def gaps(root: Path = ROOT) -> list[Gap]:
    """Every secret under ``secrets`` in deploy/environments that a deploying step does not get."""
    wanted = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8")).get("secrets") or []
        for path in sorted((root / "deploy" / "environments").glob("*.yaml"))
    }
    every = sorted({name for names in wanted.values() for name in names})
    return [
        Gap(path, job, step.get("name", step["run"]), step["run"], secret)
        for path in sorted((root / ".github" / "workflows").glob("*.yml"))
        for job, stage, step in _deploying_steps(path)
        for secret in wanted.get(stage, every)
        if step.get("env", {}).get(secret) != f"${{{{ secrets.{secret} }}}}"
    ]


def add(root: Path = ROOT) -> list[Gap]:
    """Add what is missing to the workflows; what was added."""
    found = gaps(root)
    for gap in found:
        text = gap.workflow.read_text(encoding="utf-8")
        # The step's `env` follows its script: all steps that deploy have one.
        place = re.compile(rf"(?m)^ +run: {re.escape(gap.script)}\n +env:\n")
        gap.workflow.write_text(place.sub(rf"\g<0>{gap.line}\n", text), encoding="utf-8")
    if left := gaps(root):
        raise SystemExit("error: add these by hand:\n" + "\n".join(map(str, left)))
    return found


def _deploying_steps(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The job, the environment and the content of each step that deploys."""
    workflow = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    for job, content in workflow["jobs"].items():
        place = content.get("environment") or ""
        stage = place if isinstance(place, str) else place.get("name", "")
        for step in content.get("steps", []):
            if DEPLOYS.search(str(step.get("run"))):
                yield job, stage, step


def main() -> int:
    """Add the lines and print them."""
    for gap in add():
        print(f"added: {gap}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
