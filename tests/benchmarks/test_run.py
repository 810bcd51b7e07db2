"""The smallest real comparison: the service beside the tutorial's app, one second a load."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import results
from benchmarks.__main__ import differences, options_of

REPOSITORY = Path(__file__).resolve().parents[2]
SMALLEST = ["--quick", "--servers", "ours,fastapi", "--models", "iris", "--no-curves"]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_run_compares_the_service_with_the_tutorial_app(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *SMALLEST, "--repetitions", "1", "--out", tmp_path],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = results.load(tmp_path / "results.json")
    assert {each.server for each in found.samples} == {"ours", "fastapi"}, found.left_out
    report = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "this template" in report
    assert "FastAPI tutorial app" in report


@pytest.mark.parametrize(
    ("option", "known"), [("--servers", "ours, ours-binary"), ("--models", "iris, dense, conv")]
)
def test_an_unknown_name_is_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], option: str, known: str
) -> None:
    with pytest.raises(SystemExit):
        options_of([option, "iriss,nobody"])
    error = capsys.readouterr().err
    assert f"argument {option}: 'iriss', 'nobody' is none of {known}" in error


def test_all_servers_and_models_are_measured_unless_some_are_named() -> None:
    assert options_of([]).models == ("iris", "dense", "conv")
    assert options_of(["--servers", "ours, fastapi"]).servers == ("ours", "fastapi")


def test_a_run_is_resumed_only_by_one_of_its_kind() -> None:
    before = {"date": "2026-11-26", "revision": "abc1234", "run": "quick"}
    assert differences(before, before | {"date": "2026-11-27"}) == ""
    assert differences(before, before | {"run": "full"}) == "run 'quick' before and 'full' now"
    assert "revision 'abc1234' before" in differences(before, before | {"revision": "def5678"})


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_run_that_was_cut_off_leaves_the_chart_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cut_off: bool
) -> None:
    chart, out = tmp_path / "chart.svg", tmp_path / "out"
    chart.write_text("of the run before")

    def measure(*_: object) -> None:
        if cut_off:
            raise KeyboardInterrupt

    def write(found: results.Results, folder: Path) -> None:
        (folder / "benchmark.svg").write_text("of this run")

    monkeypatch.setattr("benchmarks.wrk.install", lambda: None)
    monkeypatch.setattr("benchmarks.prepare.plan", lambda *_: None)
    monkeypatch.setattr(bench, "measure", measure)
    monkeypatch.setattr("benchmarks.report.write", write)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    arguments = ["--quick", "--no-curves", "--out", str(out), "--chart", str(chart)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(KeyboardInterrupt) if cut_off else contextlib.nullcontext():
        bench.main()
    assert (out / "results.json").exists()
    assert chart.read_text() == ("of the run before" if cut_off else "of this run")
