"""`make profile`: what is measured, what is recommended, what is written."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from engine.packaging.rightsizing import __main__ as command
from engine.packaging.rightsizing.chart import svg
from engine.packaging.rightsizing.measure import Batch, Measurement, measure
from engine.packaging.rightsizing.recommend import Advice, Model, advise, batch_limit
from engine.packaging.rightsizing.write import write

pytestmark = pytest.mark.slow

NETWORK = Model("onnx", frozenset(("",)), 40.0)
ENVIRONMENT = """\
target: aci # or containerapps
gpu: none
cpu: 1 # virtual CPUs
memory_gb: 1.5 # in GB
# Settings of the service.
variables:
  LOG_LEVEL: "info"
secrets: []
"""


def measured(threads: int, *seconds: float, peak: float = 200.0) -> Measurement:
    """Runs of 1, 2, 4, … rows that took so long."""
    batches = [Batch(2**power, each, each * 1.2) for power, each in enumerate(seconds)]
    return Measurement(threads, "cpu", True, 0.1, 100.0, 150.0, peak, batches)


def said(advice: Advice) -> str:
    return "; ".join(advice.reasons)


def test_a_real_model_is_measured(sample_dir: Path) -> None:
    result = measure(sample_dir / "sides", 1, 4)
    assert [batch.rows for batch in result.batches] == [1, 2, 4]
    assert result.peak_mb >= result.load_mb > 0
    assert all(0 < batch.median <= batch.p95 for batch in result.batches)


def test_a_tiny_model_wants_workers_only_where_there_are_cpus() -> None:
    tiny = [measured(1, 2e-5, 2.1e-5, 2.2e-5), measured(2, 2e-5, 2.1e-5, 2.2e-5)]
    assert advise(NETWORK, tiny, None).variables == {}
    assert advise(NETWORK, tiny, None, wanted=5_000).variables == {"WORKERS": "2"}


def test_a_slow_model_gets_all_threads_when_they_help() -> None:
    one, two = measured(1, 0.2), measured(2, 0.11)
    assert advise(NETWORK, [one, two], None).variables == {
        "INTRA_OP_THREADS": "0",
        "COMPUTE_LANES": "1",
    }
    assert advise(NETWORK, [one, measured(2, 0.19)], None).variables == {}


def test_the_batch_limit_is_where_rows_get_no_cheaper() -> None:
    assert batch_limit(measured(1, 0.010, 0.011, 0.022, 0.044)) == 2
    assert batch_limit(measured(1, 0.010, 0.020)) == 1


def test_memory_counts_every_worker() -> None:
    tiny = [measured(1, 2e-5, peak=700.0)]
    assert advise(NETWORK, tiny, None).memory_gb == 1.5
    assert advise(NETWORK, tiny, None, wanted=5_000).memory_gb == 2.0


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Model("joblib", frozenset(), 1.0), "scikit-learn computes on the CPU only"),
        (Model("onnx", frozenset(("ai.onnx.ml",)), 1.0), "operators (ai.onnx.ml) that ONNX"),
        (NETWORK, "no GPU here to measure"),
    ],
)
def test_it_says_whether_a_gpu_pays(model: Model, words: str) -> None:
    assert words in said(advise(model, [measured(1, 0.01)], None))


def test_the_recommendation_is_written_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "staging.yaml"
    path.write_text(ENVIRONMENT)
    write(path, Advice({"WORKERS": "2"}, 2.0, 2.5, ()))
    assert path.read_text() == ENVIRONMENT.replace("cpu: 1 #", "cpu: 2 #").replace(
        "memory_gb: 1.5", "memory_gb: 2.5"
    ).replace("variables:\n", 'variables:\n  WORKERS: "2"\n')
    write(path, Advice({"WORKERS": "3"}, 2.0, 2.5, ()))
    assert path.read_text().count("WORKERS") == 1


def test_container_apps_fix_memory_to_the_cpus(tmp_path: Path) -> None:
    path = tmp_path / "staging.yaml"
    path.write_text(ENVIRONMENT.replace("target: aci", "target: containerapps"))
    write(path, Advice({}, 1.0, 2.5, ()))
    assert "cpu: 1.25 #" in path.read_text()
    assert "memory_gb: 2.5 #" in path.read_text()
    path.write_text(ENVIRONMENT.replace("gpu: none", "gpu: t4"))
    with pytest.raises(ValueError, match="Azure fixes cpu and memory"):
        write(path, Advice({}, 1.0, 2.5, ()))


def test_the_chart_is_a_picture() -> None:
    root = ElementTree.fromstring(svg("a & b", [measured(1, 0.01, 0.011), measured(2, 0.01)]))
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 2


def test_the_command_measures_prints_and_draws(
    sample_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chart = tmp_path / "chart.svg"
    monkeypatch.setattr(command, "doubt", lambda: "this machine was busy")
    arguments = ["--models-dir", str(sample_dir), "--max-rows", "2", "--chart", str(chart)]
    assert command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "1 thread(s): loaded in" in printed
    assert "memory_gb:" in printed
    assert printed.index("memory_gb:") < printed.index("note: this machine was busy\n")
    assert "no GPU here to measure" in printed
    assert chart.exists()
