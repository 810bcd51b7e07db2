"""Whether a machine is quiet enough for its figures to be believed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine.machine import doubt

# user nice system idle iowait irq softirq steal guest guest_nice, as proc(5) has them.
BEFORE = "cpu  1000 0 1000 8000 100 0 0 50 0 0\ncpu0 1 2 3\n"
AFTERWARDS = {
    "idle": ("cpu  1005 0 1005 8090 110 0 0 50 0 0\n", None),
    "waits for disks": ("cpu  1005 0 1005 8000 190 0 0 50 0 0\n", None),
    "busy": ("cpu  1050 0 1020 8030 100 0 0 50 0 0\n", "(70% of its CPU time)"),
    "stolen": (
        "cpu  1000 0 1000 8060 100 0 0 90 0 0\n",
        "(40% of its CPU time, 40% taken by other virtual machines)",
    ),
}


@pytest.mark.parametrize("name", AFTERWARDS)
def test_time_of_others_is_told_from_idle_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, told = AFTERWARDS[name]
    stat = tmp_path / "stat"
    stat.write_text(BEFORE)
    monkeypatch.setattr(time, "sleep", lambda _: stat.write_text(after))
    sentence = doubt(stat)
    assert (sentence is None) == (told is None)
    assert (told or "") in (sentence or "")


def test_a_machine_that_computes_is_busy() -> None:
    burning = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        assert "measure again when it is idle" in str(doubt())
    finally:
        for each in burning:
            each.kill()
            each.wait()


def test_without_proc_the_load_average_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = 0.0
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert doubt(tmp_path / "absent") is None
    load = float(os.cpu_count() or 1)
    assert "(100% of its CPU time)" in str(doubt(tmp_path / "absent"))
