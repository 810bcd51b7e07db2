"""Values of the template's own make reach its programs as they were typed, and are never run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDS = '#!/bin/sh\nprintf "%s\\000" "$PYTHON" "$@" >called\n'
TYPED = "a b;touch OWNED $(touch OWNED) $(shell touch OWNED) `touch OWNED` 'it\"s' & ${HOME} #"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile beside programs that write down their arguments."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for program in (programs / "python", tmp_path / "scripts" / "test.sh"):
        program.write_text(RECORDS, encoding="utf-8")
        program.chmod(0o755)
    for name in ("render", "dev"):
        (tmp_path / "requirements" / f"{name}.txt").touch()
        (tmp_path / ".venv" / f".{name}").touch()
    return tmp_path


def make(checkout: Path, *arguments: str, **environment: str) -> list[str]:
    """What the last program was called with, after its PYTHON."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("M")}
    done = subprocess.run(
        ["make", "--silent", *arguments],
        cwd=checkout,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(checkout.glob("OWNED*")), "text of a value was run"
    return (checkout / "called").read_text().split("\0")[:-1]


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_the_values_of_a_demo_are_data(checkout: Path, shell: str) -> None:
    values = [f"{name}={TYPED}" for name in ("PYTHON", "FORMAT", "PORT")]
    assert make(checkout, "demo", "SERVE=0", f"SHELL={shell}", *values) == [
        *(TYPED, "-m", "scripts.demo", f"--python={TYPED}", f"--format={TYPED}"),
        *(f"--port={TYPED}", "--stop"),
    ]


def test_the_environment_names_the_interpreter_and_nothing_else(checkout: Path) -> None:
    environment = dict.fromkeys(("PYTHON", "FORMAT", "PORT"), TYPED)
    assert make(checkout, "demo", **environment)[1:] == ["-m", "scripts.demo", f"--python={TYPED}"]


def test_without_one_an_interpreter_is_found(checkout: Path) -> None:
    _, *arguments = make(checkout, "demo")
    assert Path(arguments[2].removeprefix("--python=")).is_absolute()


def test_the_tests_get_the_interpreter_as_it_was_typed(checkout: Path) -> None:
    assert make(checkout, "test", "FAST=1", f"PYTHON={TYPED}") == [TYPED, "fast"]


def test_a_revision_to_measure_beside_is_given_as_it_was_typed(checkout: Path) -> None:
    arguments = make(checkout, "bench", f"BEFORE={TYPED}")
    assert arguments[-3:] == ["-m", "benchmarks.sides", f"--before={TYPED}"]


@pytest.mark.parametrize("name", ["FAST", "UPGRADE", "QUICK", "SERVE"])
def test_a_switch_is_not_run(checkout: Path, name: str) -> None:
    target = {"FAST": "test", "UPGRADE": "lock", "QUICK": "bench", "SERVE": "demo"}[name]
    more = ["--assume-old=build/azure/.complete"] if name == "FAST" else []
    (checkout / "build" / "azure").mkdir(parents=True)
    (checkout / "build" / "azure" / ".complete").touch()
    make(checkout, target, f"{name}={TYPED}", *more)
    make(checkout, target, *more, **{name: TYPED})
