"""A stand-in for `az`: answers as it is told, and writes down how it was called."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = """\
#!{python}
import json, os, pathlib, sys, time
folder = pathlib.Path({folder!r})
calls = sorted(folder.glob("call-*"))
record = {{"arguments": sys.argv[1:], "stdin": "", "environment": dict(os.environ)}}
if "@-" in sys.argv or "/dev/stdin" in sys.argv:
    record["stdin"] = open("/dev/stdin").read()
(folder / f"call-{{len(calls):04}}").write_text(json.dumps(record))
answers = json.loads((folder / "answers").read_text())
answer = answers[min(len(calls), len(answers) - 1)]
time.sleep(answer.get("seconds", 0))
sys.stdout.write(answer.get("stdout", ""))
sys.stderr.write(answer.get("stderr", ""))
sys.exit(answer.get("code", 0))
"""


@dataclass
class FakeAz:
    """``answers`` are given one after the other, the last one again and again."""

    folder: Path
    answers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def program(self) -> str:
        """Where it is; for the variable AZ."""
        return str(self.folder / "az")

    def prepare(self, answers: Sequence[dict[str, Any]]) -> None:
        """Write the program and what it shall answer."""
        path = self.folder / "az"
        path.write_text(PROGRAM.format(python=sys.executable, folder=str(self.folder)))
        path.chmod(0o755)
        (self.folder / "answers").write_text(json.dumps(list(answers)))

    def calls(self) -> list[dict[str, Any]]:
        """How it was called."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("call-*"))]


def prints(value: Any) -> dict[str, Any]:
    """An answer in JSON."""
    return {"stdout": json.dumps(value)}


def fails(stderr: str, code: int = 1) -> dict[str, Any]:
    """An error of az."""
    return {"stderr": stderr, "code": code}
