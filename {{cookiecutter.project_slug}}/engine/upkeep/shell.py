"""`python -m engine.upkeep.shell FILE…`: shellcheck for every `run:` of workflows and actions.

Expressions of GitHub (``${{ … }}``) are no shell, so a word stands in for each. Exit code 0 when
shellcheck finds nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

EXPRESSION = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)


def scripts(workflow: Path) -> Iterator[tuple[str, str]]:
    """Where each script is, and the script, of one workflow or composite action."""
    read = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    jobs = read["jobs"] if "jobs" in read else {"runs": read["runs"]}
    for job, content in jobs.items():
        for number, step in enumerate(content.get("steps", []), start=1):
            if "run" in step:
                name = step.get("name", f"step {number}")
                yield f"{workflow}: {job}: {name}", EXPRESSION.sub("EXPRESSION", step["run"])


def findings(script: str) -> str:
    """What shellcheck says of a script, "" if nothing."""
    shellcheck = Path(sys.executable).parent / "shellcheck"
    # -e, because GitHub starts bash with -eo pipefail.
    command = [str(shellcheck), "--shell=bash", "--severity=style", "--format=gcc", "-"]
    text = f"set -eo pipefail\n{script}\n"
    done = subprocess.run(  # noqa: S603 - the locked shellcheck
        command, input=text, capture_output=True, text=True, check=False
    )
    return (done.stdout + done.stderr).strip()


def main(arguments: list[str]) -> int:
    """Check the files and print what is found."""
    status = 0
    for name in arguments:
        for place, script in scripts(Path(name)):
            if found := findings(script):
                print(f"{place}\n{found}", file=sys.stderr)
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
