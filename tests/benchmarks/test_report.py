"""The pure parts of the benchmark: what wrk says, medians, ratios, tables, the chart."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import results, wires, wrk
from benchmarks.chart import svg
from benchmarks.open_loop import headers_of, percentile, request_bytes
from benchmarks.report import markdown
from benchmarks.results import Bare, CurvePoint, Results, Sample, paired_ratio, spread
from benchmarks.servers import SERVERS
from benchmarks.tables import number
from benchmarks.targets import TARGETS, outcomes

REPORT = {
    "requests": 3000,
    "seconds": 1.5,
    "p50_ms": 1.0,
    "p90_ms": 2.0,
    "p99_ms": 4.0,
    "max_ms": 9.0,
    "failed": 0,
    "refused": 0,
}


def output(**changes: float) -> str:
    return f"Running 1s test\n  1 threads\nREPORT {json.dumps({**REPORT, **changes})}\n"


def sample(
    server: str,
    configuration: str,
    rate: float,
    repetition: int = 1,
    *,
    load: str = "iris",
    p50_ms: float = 1.0,
    p99_ms: float = 2.0,
) -> Sample:
    return Sample(repetition, load, server, configuration, rate, p50_ms, p99_ms, 50.0, 0.5)


@pytest.fixture
def found() -> Results:
    """Two repetitions; in the second the machine was half as fast."""
    return Results(
        about={"date": "2026-11-21", "machine": "2 CPUs"},
        samples=[
            sample("ours", "default", 18000, 1),
            sample("ours", "2 workers, 1 lane", 24000, 1),
            sample("fastapi", "2 workers", 4000, 1),
            sample("litserve", "2 workers", 1000, 1, p99_ms=20.0),
            sample("constant", "1 worker", 30000, 1),
            sample("ours", "default", 9000, 2),
            sample("ours", "2 workers, 1 lane", 12000, 2),
            sample("fastapi", "2 workers", 2000, 2),
            sample("litserve", "2 workers", 500, 2, p99_ms=20.0),
            sample("constant", "1 worker", 15000, 2),
        ],
        bare=[Bare(1, "iris", 1, {"2 callers": 200000.0, "1 caller": 100000.0})],
        curves=[
            CurvePoint("ours", 250, 250, 0.2, 0.5),
            CurvePoint("ours", 500, 499, 0.2, 0.7),
            CurvePoint("litserve", 250, 250, 1.0, 3.0),
        ],
        left_out={"MLServer": "cannot be installed"},
    )


def test_rate_is_requests_by_measured_seconds() -> None:
    assert wrk.parse(output()).rate == 2000


@pytest.mark.parametrize("changes", [{"failed": 1}, {"refused": 1}, {"requests": 0}])
def test_a_load_with_failed_requests_is_no_measurement(changes: dict[str, float]) -> None:
    with pytest.raises(wrk.LoadFailedError):
        wrk.parse(output(**changes))


def test_output_without_a_report_is_shown() -> None:
    with pytest.raises(wrk.LoadFailedError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1")


def test_ratios_pair_the_repetitions() -> None:
    # 2 in each repetition; the ratio of the medians would be something else with odd drift.
    assert paired_ratio([(1, 100.0), (2, 50.0), (3, 10.0)], [(1, 50.0), (2, 25.0), (3, 5.0)]) == 2


def test_without_a_common_repetition_the_medians_are_compared() -> None:
    assert paired_ratio([(1, 100.0)], [(2, 50.0), (3, 50.0)]) == 2


def test_disturbed_repetitions_count_only_when_there_is_no_other() -> None:
    disturbed = replace(sample("ours", "default", 1000, 1), others=0.5)
    both = Results(samples=[disturbed, sample("ours", "default", 9000, 2)])
    assert [each.rate for each in both.of("iris", "ours", "default")] == [9000]
    assert Results(samples=[disturbed]).of("iris", "ours", "default") == [disturbed]


def test_spread_is_relative_to_the_median() -> None:
    assert spread([90, 100, 110]) == pytest.approx(0.2)


def test_the_best_configuration_counts(found: Results) -> None:
    assert found.best("iris", "ours") == "2 workers, 1 lane"
    assert found.best("iris", "mlserver") is None


def test_a_run_that_was_cut_off_has_the_same_best_configuration(found: Results) -> None:
    found.samples.append(sample("ours", "default", 9000, 3))
    assert found.repetitions("iris", "ours", "default") > found.repetitions(
        "iris", "ours", "2 workers, 1 lane"
    )
    assert found.best("iris", "ours") == "2 workers, 1 lane"


def test_what_was_left_out_after_the_first_repetition_is_not_the_best(found: Results) -> None:
    found.samples += [sample("ours", "2 workers, 1 lane", 15000, number) for number in (3, 4)]
    assert found.best("iris", "ours") == "2 workers, 1 lane"


def test_what_was_measured_is_not_measured_again(found: Results) -> None:
    assert found.has(1, "iris", "ours", "default")
    assert not found.has(3, "iris", "ours", "default")
    assert not found.has(1, "dense", "ours", "default")


def test_the_image_is_told_where_it_was_built(found: Results) -> None:
    assert "CPU image" not in markdown(found)
    found.image_mb = [301.0, 104.0]
    assert "CPU image of this template: 301 MB, compressed 104 MB." in markdown(found)


def test_with_one_client_the_lowest_latency_is_best() -> None:
    idle = Results(
        samples=[
            sample("ours", "default", 5000, load="iris-idle", p50_ms=0.1),
            sample("ours", "2 workers, 1 lane", 6000, load="iris-idle", p50_ms=0.2),
        ]
    )
    assert idle.best("iris-idle", "ours") == "default"


def test_targets_are_met_against_the_hardest_opponent(found: Results) -> None:
    by_figure = {
        (each.target.figure, each.target.against, each.target.theirs): each
        for each in outcomes(found)
    }
    servers = by_figure["rate", "model server", ""]
    assert (servers.ratio, servers.met) == (24, True)
    assert by_figure["p99_ms", "model server", ""].met is True
    assert by_figure["rate", "tutorial app", ""].ratio == 6
    assert by_figure["rate", "constant", "1 worker"].ratio == pytest.approx(0.6)
    # Not measured is not met.
    assert by_figure["rate", "constant", "2 workers"].met is None


def test_results_survive_the_file(found: Results, tmp_path: Path) -> None:
    found.save(tmp_path / "results.json")
    assert results.load(tmp_path / "results.json") == found


def test_the_report_has_every_part(found: Results) -> None:
    text = markdown(found)
    for part in ("LitServe", "24.0x", "18 000", "cannot be installed", "200 000", "not measured"):
        assert part in text


def test_the_chart_is_well_formed_and_names_who_was_measured(found: Results) -> None:
    drawn = svg(found)
    ET.fromstring(drawn)
    assert "this template" in drawn
    assert "LitServe" in drawn


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0.1234, 12.34, 1234.5)] == ["0.12", "12.3", "1 234"]


@pytest.mark.parametrize("wire", ["rows", "v2"])
def test_json_bodies_carry_the_numbers_exactly(wire: wires.Wire) -> None:
    inputs = np.round(np.linspace(-2, 2, 8), 4).astype(np.float32).reshape(2, 4)
    document = json.loads(wires.encode(wire, inputs).body)
    data = document["data"] if wire == "rows" else document["inputs"][0]["data"]
    assert np.array_equal(np.array(data, dtype=np.float32).reshape(2, 4), inputs)


@pytest.mark.parametrize(
    "answer",
    [
        b"[[0.25, 0.75]]",
        b'{"predictions": [[0.25, 0.75]]}',
        b'{"predictions": [1], "outputs": {"probabilities": [[0.25, 0.75]]}}',
        b'{"outputs": [{"name": "probabilities", "shape": [1, 2], "data": [0.25, 0.75]}]}',
    ],
)
def test_every_form_of_answer_is_understood(answer: bytes) -> None:
    assert wires.same(wires.decode(answer, None), np.array([[0.25, 0.75]], dtype=np.float32))


def test_binary_answers_are_understood() -> None:
    values = np.array([[0.25, 0.75]], dtype=np.float32)
    described = {
        "name": "probabilities",
        "shape": [1, 2],
        "parameters": {"binary_data_size": values.nbytes},
    }
    header = json.dumps({"outputs": [described]}).encode()
    assert np.array_equal(wires.decode(header + values.tobytes(), str(len(header))), values)


def test_a_wrong_answer_is_noticed() -> None:
    expected = np.array([[0.25, 0.75]], dtype=np.float32)
    assert not wires.same(np.array([[0.3, 0.7]], dtype=np.float32), expected)
    assert not wires.same(np.array([0.25, 0.75], dtype=np.float32), expected)


def test_the_constant_rate_generator_speaks_http() -> None:
    request = request_bytes(80, "/predict", b"{}", ["Content-Type: application/json"])
    assert request.startswith(b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:80\r\n")
    assert request.endswith(b"\r\n\r\n{}")
    assert headers_of(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close") == {
        b"content-length": b"2",
        b"connection": b"close",
    }
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0


def test_targets_name_configurations_that_are_measured() -> None:
    ours = {
        each.name for server in SERVERS if server.kind == "ours" for each in server.configurations
    }
    named = {target.configuration for target in TARGETS if target.configuration}
    assert named <= ours
