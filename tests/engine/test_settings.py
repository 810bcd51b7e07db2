"""Settings: all faults at once, no secret repeated, and a table in the README that is true."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from engine.serving.errors import SettingsError
from engine.serving.settings import Settings, load_settings, markdown_table

from tests.engine.project import ROOT

KEY = "a-planted-key-0123456789"


def test_defaults_are_valid() -> None:
    assert load_settings().execution_providers == ("cpu",)


def test_every_fault_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("EXECUTION_PROVIDERS", "tpu")
    monkeypatch.setenv("MAX_BATCH_ROWS", "0")
    monkeypatch.setenv("API_KEYS", f"{KEY},short-secret")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    faults = refused.value.faults
    assert [fault.split("=")[0] for fault in faults] == [
        "PORT",
        "EXECUTION_PROVIDERS",
        "API_KEYS",
        "MAX_BATCH_ROWS",
    ]
    assert "'eighty'" in faults[0]
    assert "must be cpu, cuda or cuda,cpu" in faults[1]
    assert "key 2 must have at least 16" in faults[2]
    assert "short-secret" not in str(faults)
    assert KEY not in str(faults)


def test_keys_are_not_in_the_representation() -> None:
    assert KEY not in repr(Settings(api_keys=(KEY,)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("cpu", ("cpu",)), ("CUDA", ("cuda",)), ("cuda, cpu", ("cuda", "cpu"))],
)
def test_execution_providers(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("EXECUTION_PROVIDERS", text)
    assert load_settings().execution_providers == expected


@pytest.mark.slow
def test_wrong_settings_stop_the_process_before_it_listens() -> None:
    environment = {"PATH": os.environ["PATH"], "PORT": "99999", "LOG_LEVEL": "loud"}
    done = subprocess.run(
        [sys.executable, "-m", "engine.serving"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: PORT='99999'")
    assert lines[1].startswith("error: LOG_LEVEL='loud'")


def test_the_readme_shows_the_table_of_every_variable() -> None:
    assert markdown_table() in (Path(ROOT) / "README.md").read_text(encoding="utf-8")
