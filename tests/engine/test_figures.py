"""The figures of `deploy status`: read from what services and Azure really answer."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from engine.deploy.az import AzError
from engine.deploy.az_error import Problem
from engine.deploy.figures import platform as words
from engine.deploy.figures.platform import Usage, usage
from engine.deploy.figures.service import Figures, ask, figures, quantile, read, total
from engine.deploy.targets.kind import kind_named

EARLIER = """\
# HELP inference_requests_total Inference requests answered.
# TYPE inference_requests_total counter
inference_requests_total{route="predict",status="200"} 90
inference_requests_total{route="infer",status="200"} 5
inference_requests_total{route="predict",status="503"} 1
inference_refused_total{model="iris",reason="rows"} 2
inference_timed_out_total{model="iris"} 1
inference_memory_bytes 4.5e+08
inference_memory_limit_bytes 1.5e+09
inference_request_duration_seconds_bucket{le="0.01",route="predict"} 50
inference_request_duration_seconds_bucket{le="0.1",route="predict"} 100
inference_request_duration_seconds_bucket{le="+Inf",route="predict"} 100
inference_model_info{model="i\\"r\\\\is",note="a b"} 1 1764034800000
"""
LATER = EARLIER.replace('predict",status="200"} 90', 'predict",status="200"} 102')


def test_samples_are_read_with_their_labels() -> None:
    samples = read(EARLIER)
    assert total(samples, "inference_requests_total") == 96
    assert total(samples, "nothing_total") is None
    assert samples[-1].labels == {"model": 'i"r\\is', "note": "a b"}
    assert samples[-1].value == 1


@pytest.mark.parametrize("line", ["", "# TYPE x counter", "x", "x {", "x one", '{le="1"} 2'])
def test_a_line_that_is_no_sample_is_passed_over(line: str) -> None:
    assert read(line) == ()


def test_a_quantile_is_found_within_its_bucket() -> None:
    name = "inference_request_duration_seconds"
    assert quantile(read(EARLIER), name, 0.5) == pytest.approx(0.01)
    assert quantile(read(EARLIER), name, 0.95) == pytest.approx(0.091)
    assert quantile(read(""), name, 0.95) is None


def test_what_lies_beyond_the_last_bound_is_given_as_that_bound() -> None:
    text = 'h_bucket{le="1"} 1\nh_bucket{le="+Inf"} 10\n'
    assert quantile(read(text), "h", 0.95) == 1


def test_the_rate_is_of_the_time_between_two_looks() -> None:
    found = figures(read(EARLIER), read(LATER), 2.0, ready=True)
    assert found.rate == 6
    assert found.errors == pytest.approx(1 / 108)
    assert found.refused == 3
    assert (found.memory_bytes, found.memory_limit_bytes) == (4.5e8, 1.5e9)


def test_another_copy_gives_no_rate() -> None:
    assert figures(read(LATER), read(EARLIER), 1.0).rate is None


def test_a_service_without_requests_has_no_errors_and_no_latency() -> None:
    quiet = read('inference_requests_total{route="predict",status="200"} 0\n')
    found = figures(quiet, quiet, 1.0)
    assert (found.rate, found.errors, found.p95_seconds) == (0.0, 0.0, None)


def answering(answers: dict[str, httpx.Response | Exception]) -> httpx.Client:
    def answer(request: httpx.Request) -> httpx.Response:
        found = answers[request.url.path]
        if isinstance(found, Exception):
            raise found
        return found

    return httpx.Client(transport=httpx.MockTransport(answer))


def asked(answers: dict[str, httpx.Response | Exception]) -> Figures:
    times = iter((0.0, 1.0))
    return ask(
        "http://iris",
        "/readyz",
        client=answering(answers),
        sleep=lambda seconds: None,
        clock=lambda: next(times),
    )


def test_a_service_is_asked_for_readiness_and_metrics() -> None:
    found = asked({"/readyz": httpx.Response(503), "/metrics": httpx.Response(200, text=EARLIER)})
    assert found.ready is False
    assert found.rate == 0


@pytest.mark.parametrize(
    "metrics",
    [httpx.Response(404), httpx.Response(200, text="<html>"), httpx.ReadTimeout("slow")],
)
def test_without_metrics_the_rest_is_shown(metrics: httpx.Response | Exception) -> None:
    found = asked({"/readyz": httpx.Response(200), "/metrics": metrics})
    assert found == Figures(ready=True)


def test_what_does_not_answer_is_unknown() -> None:
    assert asked({"/readyz": httpx.ConnectError("refused")}) == Figures()


class Az:
    """Answers `az monitor metrics list`, or refuses."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def json(self, *arguments: str) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def metric(name: str, *averages: float | None) -> dict[str, Any]:
    points = [{"timeStamp": "t", "average": each} for each in averages]
    return {"name": {"value": name}, "timeseries": [{"data": points}]}


def test_azure_is_asked_for_the_newest_average() -> None:
    answer = {"value": [metric("CpuUsage", 100, 250, None), metric("MemoryUsage", 3e8, None)]}
    assert usage(Az(answer), kind_named("aci").metrics, ["id"]) == Usage(0.25, 3e8)  # type: ignore[arg-type]
    nano = {"value": [metric("UsageNanoCores", 5e8), metric("WorkingSetBytes")]}
    assert usage(Az(nano), kind_named("containerapps").metrics, ["id"]) == Usage(0.5, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer", [None, {}, {"value": []}, AzError(Problem("AuthorizationFailed", 403, "no"), "az")]
)
def test_what_azure_does_not_say_is_unknown(answer: Any) -> None:
    assert usage(Az(answer), kind_named("aci").metrics, ["id"]) == Usage()  # type: ignore[arg-type]


def test_of_several_copies_the_mean_of_those_that_azure_knows_is_told() -> None:
    class Fleet:
        def json(self, *arguments: str) -> Any:
            cpu = {"one": 250.0, "two": 750.0, "new": None}
            return {
                "value": [metric("CpuUsage", cpu[arguments[arguments.index("--resource") + 1]])]
            }

    found = usage(Fleet(), kind_named("aci").metrics, ["one", "two", "new"])  # type: ignore[arg-type]
    assert found == Usage(0.5, None)


def test_what_is_unknown_is_a_dash() -> None:
    assert words.cells(Figures(), Usage(), 1.5) == words.UNKNOWN


def test_the_figures_are_written_for_people() -> None:
    found = figures(read(EARLIER), read(LATER), 2.0, ready=True)
    row = dict(zip(words.HEAD, words.cells(found, Usage(0.256, 1.0), 99), strict=True))
    assert row == {
        "ready": "yes",
        "requests/s": "6.0",
        "errors": "0.9%",
        "p95": "91 ms",
        "refused": "3",
        "drift": "-",
        "memory": "450 MB (30%)",
        "cpu": "0.26",
    }


@pytest.mark.parametrize(("used", "near"), [(1.34e9, False), (1.36e9, True)])
def test_memory_near_its_limit_is_said(used: float, near: bool) -> None:
    shown = words.cells(Figures(), Usage(None, used), 1.5)[words.HEAD.index("memory")]
    assert ("near its limit" in shown) is near


@pytest.mark.parametrize(
    ("ratios", "shown"),
    [
        ((0.4, 1.0, 0.2), "none"),
        ((0.4, 1.2, 0.2), "petal width"),
        ((1.1, 9.0, 0.2), "petal width and 1 more"),
    ],
)
def test_columns_that_drifted_are_named(ratios: tuple[float, ...], shown: str) -> None:
    names = ("petal length", "petal width", "sepal width")
    lines = [
        f'inference_drift_ratio{{column="{name}",model="iris",side="input",window="{window}"}} '
        f"{value if window == 'hour' else 5.0}\n"
        for name, value in zip(names, ratios, strict=True)
        for window in ("hour", "day")
    ]
    found = read("".join(lines))
    row = words.cells(figures(found, found, 1.0), Usage(), 1.5)
    assert row[words.HEAD.index("drift")] == shown
