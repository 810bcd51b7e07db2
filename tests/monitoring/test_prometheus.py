"""A real Prometheus scrapes the running service: every query of the dashboard has an answer, and
each fault that is made on purpose makes its alert fire. Two seconds stand for a minute.
"""

from __future__ import annotations

import math
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import Promtool
from .dashboard import Query, queries, read
from .packages import FAILS
from .world import GONE, HEALTHY, KEY, World, repeated, running

pytestmark = pytest.mark.slow

LOAD_SECONDS = 12
ALERT_SECONDS = 90.0
ANY = 5.9
GPU_ROW = "GPU: no data without one"
# The healthy service has no alert to show.
FAULT_SHOWN = {
    "Alerts": "wrong",
    "Distance from the training": "drifting",
    "Missing and unseen values": "drifting",
    "Accuracy": "drifting",
    "Wrong answers": "drifting",
}
# Other tests use the same CPUs, and with windows of seconds these two would tell of them.
OF_THE_MACHINE = {"LatencyHigh", "EventLoopBlocked"}


@pytest.fixture(scope="module")
def world(
    prometheus_program: str,
    service_python: Path,
    rendered_service: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """All services, scraped."""
    folder = tmp_path_factory.mktemp("monitoring")
    with running(prometheus_program, service_python, rendered_service, folder) as world:
        yield world


@pytest.fixture(scope="module")
def loaded(world: World) -> tuple[float, float]:
    """Locust's load on the healthy service: when it began and ended.

    A service that starts is not ready, and its alert stands until the next evaluation.
    """
    alerts = world.prometheus.alerts
    world.prometheus.wait("no alert", lambda: alerts(HEALTHY) <= OF_THE_MACHINE, ALERT_SECONDS)
    # Of feedback there is no figure before the first.
    wrongly(world)
    began = time.time()
    world.load(LOAD_SECONDS)
    return began, time.time()


def metrics(world: World, job: str) -> str:
    """What Prometheus gets from a service."""
    return httpx.get(f"{world.url(job)}/metrics", trust_env=False).text


@pytest.mark.parametrize("job", [HEALTHY, "wrong"])
def test_promtool_finds_no_fault_in_the_metrics(
    job: str, world: World, loaded: tuple[float, float], promtool: Promtool, tmp_path: Path
) -> None:
    done = promtool(tmp_path, "check", "metrics", "--extended", text=metrics(world, job))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "inference_requests_total" in done.stdout
    assert done.stderr == ""


def test_promtool_would_find_one(promtool: Promtool, tmp_path: Path) -> None:
    done = promtool(tmp_path, "check", "metrics", text="# TYPE waited_ms counter\nwaited_ms 1\n")
    assert done.returncode != 0
    assert "waited_ms" in done.stderr


def test_every_query_of_the_dashboard_returns_data(
    world: World, loaded: tuple[float, float], rendered_service: Path
) -> None:
    shown = metrics(world, HEALTHY)
    empty: list[Query] = []
    reasons: list[Query] = []
    for query in queries(read(rendered_service)):
        job = FAULT_SHOWN.get(query.panel, HEALTHY)
        text = query.filled(job, interval="5s")
        if not finite(world.prometheus.over(text, *loaded)):
            (reasons if reason(query, shown) else empty).append(query)
    assert empty == []
    gpu = {query for query in queries(read(rendered_service)) if query.row == GPU_ROW}
    if not Path("/dev/nvidiactl").exists():
        assert gpu
        assert gpu <= set(reasons)
        assert "inference_device_" not in shown


def test_a_query_without_data_would_be_found(world: World, loaded: tuple[float, float]) -> None:
    shown = metrics(world, HEALTHY)
    for text in (f'inference_nothing{{job="{HEALTHY}"}}', f'rate(up{{job="{HEALTHY}"}}[5s]) / 0'):
        assert not finite(world.prometheus.over(text, *loaded))
        assert not reason(Query("Requests", "a panel", text), shown)


def finite(series: list[dict[str, Any]]) -> bool:
    """Whether there is a number among the values; 0 / 0 is none."""
    return any(math.isfinite(float(value)) for each in series for _, value in each["values"])


def reason(query: Query, shown: str) -> bool:
    """Whether a query may be empty: its metric cannot exist on this machine, and does not."""
    if query.row == GPU_ROW:
        return "inference_device_" not in shown
    name = query.text.partition("{")[0]
    limited = {"inference_memory_bytes", "inference_memory_limit_bytes"}
    return name in limited and f"\n{name} " not in shown


def test_the_choices_of_the_dashboard_are_offered(
    world: World, loaded: tuple[float, float]
) -> None:
    choices = {"match[]": "inference_build_info"}
    assert HEALTHY in world.prometheus.get("label/job/values", **choices)
    choices = {"match[]": f'inference_build_info{{job="{HEALTHY}"}}'}
    found = world.prometheus.get("label/instance/values", **choices)
    assert found == [f"127.0.0.1:{world.ports[HEALTHY]}"]


def test_the_workers_are_seen_as_one_service(world: World, loaded: tuple[float, float]) -> None:
    [both] = world.prometheus.now(f'inference_workers{{job="{HEALTHY}"}}')
    assert both["value"][1] == "2"
    each = world.prometheus.now(f'process_resident_memory_bytes{{job="{HEALTHY}"}}')
    assert {series["metric"]["worker"] for series in each} == {"0", "1"}
    assert all(float(series["value"][1]) > 10e6 for series in each)


def test_a_wrong_key_is_seen(world: World, loaded: tuple[float, float]) -> None:
    query = f'sum(inference_requests_total{{job="{HEALTHY}",status="401"}})'

    def refused() -> float:
        return float(world.prometheus.now(query)[0]["value"][1])

    before = refused()
    for key in ("", "wrong-key-of-16-chars"):
        assert world.predict(HEALTHY, ANY, key).status_code == 401
    assert world.predict(HEALTHY, ANY, KEY).status_code == 200
    world.prometheus.wait("two refusals", lambda: refused() == before + 2, ALERT_SECONDS)


def test_under_load_no_alert_fires(world: World, loaded: tuple[float, float]) -> None:
    query = f'ALERTS{{job="{HEALTHY}",alertstate="firing"}}'
    fired = world.prometheus.over(query, *loaded)
    assert {each["metric"]["alertname"] for each in fired} <= OF_THE_MACHINE


def test_all_rules_are_evaluated_without_a_fault(world: World, loaded: tuple[float, float]) -> None:
    [group] = world.prometheus.get("rules")["groups"]
    assert group["rules"]
    for rule in group["rules"]:
        assert rule["health"] == "ok", rule
    log = world.prometheus.log.read_text(encoding="utf-8")
    assert "level=error" not in log, log


@pytest.fixture(scope="module")
def faults(world: World, loaded: tuple[float, float]) -> Iterator[World]:
    """All that goes wrong, at once and until the tests of it end."""
    with ExitStack() as stack:
        for action, threads in (
            (lambda: world.predict("slow", ANY), 2),
            (lambda: world.predict("failing", FAILS), 1),
            (lambda: world.predict("crowded", ANY), 4),
            (lambda: slowly(lambda: wrongly(world)), 1),
            (lambda: halt(world.processes["halting"]), 1),
        ):
            stack.enter_context(repeated(action, threads))
        yield world


def slowly(action: Callable[[], object]) -> None:
    """Do it, and leave the processors to the others for a moment."""
    action()
    time.sleep(0.05)


def wrongly(world: World) -> None:
    """Ask what is far from the training, and say that the answer was wrong."""
    request_id = world.predict("drifting", 4.5, KEY).headers["X-Request-Id"]
    body = {"request_id": request_id, "label": "setosa"}
    headers = {"X-API-Key": KEY}
    url = f"{world.url('drifting')}/feedback"
    httpx.post(url, json=body, headers=headers, trust_env=False).raise_for_status()


def halt(process: subprocess.Popen[bytes]) -> None:
    """Keep a process from running for a moment."""
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.4)
    process.send_signal(signal.SIGCONT)
    time.sleep(0.4)


def fires(world: World, job: str, *alerts: str) -> None:
    """Wait until these alerts of a job fire."""
    world.prometheus.wait(
        f"{alerts} of {job}",
        lambda: set(alerts) <= world.prometheus.firing(job),
        ALERT_SECONDS,
    )


def test_a_crash_loop_is_told(faults: World) -> None:
    job = "restarting"
    for _ in range(2):
        before = started(faults, job)
        faults.stop(job)
        faults.start(job)
        wait_for_start(faults, job, before)
    fires(faults, job, "Restarting")


def wait_for_start(world: World, job: str, after: float) -> None:
    """Wait until Prometheus knows a younger process."""
    world.prometheus.wait(
        "a new start is scraped", lambda: started(world, job) > after, ALERT_SECONDS
    )


def started(world: World, job: str) -> float:
    """When the process began that was scraped last; 0 while there is none."""
    found = world.prometheus.now(f'process_start_time_seconds{{job="{job}"}}')
    return float(found[0]["value"][1]) if found else 0.0


def test_what_does_not_answer_is_down(faults: World) -> None:
    fires(faults, GONE, "ServiceDown")


def test_a_model_that_answers_differently_is_told(faults: World) -> None:
    fires(faults, "wrong", "GoldenCheckFailed", "NotReady")
    states = faults.prometheus.now('inference_state{job="wrong"} == 1')
    assert [each["metric"]["state"] for each in states] == ["failed"]


def test_a_computation_on_the_cpu_is_told(faults: World) -> None:
    if Path("/dev/nvidiactl").exists():
        assert "ProviderFallback" not in faults.prometheus.firing("fallback")
    else:
        fires(faults, "fallback", "ProviderFallback")


def test_drift_is_told(faults: World) -> None:
    fires(faults, "drifting", "Drifted")
    drifted = faults.prometheus.now('inference_drift_ratio{job="drifting"} > 1')
    assert {each["metric"]["column"] for each in drifted} == {"first"}
    assert {each["metric"]["window"] for each in drifted} == {"hour", "day"}


def test_wrong_answers_are_told(faults: World) -> None:
    fires(faults, "drifting", "AccuracyLow")
    rows = faults.prometheus.now('inference_feedback_rows{job="drifting"}')
    assert {each["metric"]["label"] for each in rows} == {"setosa"}


def test_a_slow_model_is_told(faults: World) -> None:
    fires(faults, "slow", "LatencyHigh")
    [compute] = faults.prometheus.now(
        'histogram_quantile(0.5, rate(inference_compute_seconds_bucket{job="slow"}[20s]))'
    )
    assert float(compute["value"][1]) > 0.25


def test_failing_requests_are_told(faults: World) -> None:
    fires(faults, "failing", "ErrorRatioHigh")
    failed = faults.prometheus.now('inference_requests_total{job="failing",status=~"5.."} > 0')
    assert {each["metric"]["status"] for each in failed} == {"500"}


def test_overload_is_told(faults: World) -> None:
    fires(faults, "crowded", "Overloaded")
    refused = faults.prometheus.now('inference_refused_total{job="crowded"} > 0')
    assert {each["metric"]["reason"] for each in refused} & {"rows", "seconds"}


def test_a_blocked_event_loop_is_told(faults: World) -> None:
    fires(faults, "halting", "EventLoopBlocked")


def test_each_fault_is_told_by_its_own_alerts_only(faults: World) -> None:
    own = {
        "wrong": {"GoldenCheckFailed", "NotReady"},
        "failing": {"ErrorRatioHigh"},
        "crowded": {"Overloaded"},
        "slow": set(),
        "halting": set(),
        "drifting": {"Drifted", "AccuracyLow"},
        HEALTHY: set(),
    }
    firing = {job: faults.prometheus.firing(job) - OF_THE_MACHINE for job in own}
    assert firing == own
