"""Metrics: every promised one is there, and each group tells the truth about all workers."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from engine.serving.errors import DeadlineExceeded, NotReady, Overloaded
from engine.serving.lifecycle import State, overall
from engine.serving.metrics import memory, models, ticker
from engine.serving.metrics.device import DeviceMetrics
from engine.serving.metrics.families import SECONDS, size_of
from engine.serving.metrics.models import ModelMetrics
from engine.serving.metrics.process import families_of
from engine.serving.metrics.service import Metrics, columns_for
from engine.serving.metrics.shared_table import BEAT, Distribution, SharedTable
from engine.serving.runtimes.cpu import granted_cpus
from engine.serving.telemetry.requests import RequestTelemetry
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric

from tests.engine.exposition import families, value

MODEL = ("model",)
# Name, type and labels, as dashboards and alerts rely on them.
PROMISED: dict[str, tuple[str, tuple[str, ...]]] = {
    "inference_requests_total": ("counter", ("route", "status")),
    "inference_request_duration_seconds": ("histogram", ("route",)),
    "inference_requests_in_flight": ("gauge", ()),
    "inference_queue_wait_seconds": ("histogram", MODEL),
    "inference_compute_seconds": ("histogram", MODEL),
    "inference_batch_rows": ("histogram", MODEL),
    "inference_queue_rows": ("gauge", MODEL),
    "inference_rows_in_flight": ("gauge", MODEL),
    "inference_refused_total": ("counter", ("model", "reason")),
    "inference_timed_out_total": ("counter", MODEL),
    "inference_connections": ("gauge", ()),
    "inference_connections_refused_total": ("counter", ()),
    "inference_golden_check": ("gauge", MODEL),
    "inference_provider_fallback": ("gauge", MODEL),
    "inference_ready": ("gauge", ()),
    "inference_state": ("gauge", ("state",)),
    "inference_workers": ("gauge", ()),
    "inference_build_info": (
        "gauge",
        ("description", "model_digest", "name", "revision", "title", "version"),
    ),
    "inference_model_info": ("gauge", ("digest", "execution_provider", "model", "version")),
    "inference_event_loop_lag_seconds": ("histogram", ()),
    "inference_log_lines_dropped_total": ("counter", ()),
}
# Where there is Linux's /proc.
PROMISED_ON_LINUX: dict[str, tuple[str, tuple[str, ...]]] = {
    "process_resident_memory_bytes": ("gauge", ("worker",)),
    "process_cpu_seconds_total": ("counter", ("worker",)),
    "process_open_fds": ("gauge", ("worker",)),
    "process_start_time_seconds": ("gauge", ("worker",)),
}
GIBIBYTE = 1024**3


def _labels(family: Metric) -> tuple[str, ...]:
    return tuple(sorted({name for each in family.samples for name in each.labels} - {"le"}))


def test_every_promised_metric_is_there_with_its_type_and_labels(toys: httpx.Client) -> None:
    toys.post("/predict", json={"data": [[1, 2, 3]]})
    found = families(toys.get("/metrics").text)
    promised = PROMISED | (PROMISED_ON_LINUX if sys.platform == "linux" else {})
    shown = {name: (family.type, _labels(family)) for name, family in found.items()}
    assert {name: shown.get(name) for name in promised} == promised
    assert [name for name, family in found.items() if not family.documentation] == []
    assert set(shown) - set(promised) <= {"inference_memory_bytes", "inference_memory_limit_bytes"}


def test_the_shared_table_has_room_for_exactly_what_is_promised() -> None:
    shared_table = SharedTable(1, columns_for(2))
    metrics = Metrics(shared_table)
    for name in ("a", "b", "a"):
        metrics.observer(name)
    with pytest.raises(MemoryError):
        shared_table.reserve(1)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([State.READY, State.READY], State.READY),
        ([State.READY, State.STARTING], State.STARTING),
        ([State.STARTING, State.FAILED, State.READY], State.FAILED),
        ([State.FAILED, State.DRAINING], State.DRAINING),
    ],
)
def test_the_worst_worker_decides_the_state(states: list[State], expected: State) -> None:
    assert overall(states) is expected


def test_gauges_are_summed_over_workers_and_states_combined() -> None:
    shared_table = SharedTable(2, columns_for(1))
    connections = [3, 4]
    for worker in (0, 1):
        shared_table.become(worker)
        # Each worker process has an object of its own over the same memory.
        shared_table._used = 1
        metrics = Metrics(shared_table, lambda worker=worker: connections[worker])  # type: ignore[misc]
        metrics.set_state(State.READY if worker else State.FAILED)
        metrics.requests.begun += 1
        observer = metrics.observer("toy")
        observer.watch(lambda worker=worker: (10 * worker, 5))  # type: ignore[misc]
        observer.verified(passed=bool(worker))
        observer.fell_back(fallback=bool(worker))
        metrics.publish()
    text = generate_latest(metrics.registry).decode()
    assert value(text, "inference_connections") == 7
    assert value(text, "inference_requests_in_flight") == 2
    assert value(text, "inference_queue_rows", model="toy") == 10
    assert value(text, "inference_rows_in_flight", model="toy") == 20
    assert value(text, "inference_state", state="failed") == 1
    assert value(text, "inference_state", state="ready") == 0
    assert value(text, "inference_ready") == 0
    assert value(text, "inference_golden_check", model="toy") == 0


def test_good_answers_are_what_remains_of_all() -> None:
    metrics = Metrics(SharedTable(1, columns_for(0)))
    telemetry = RequestTelemetry(metrics)
    for route, status in [("predict", 200), ("predict", 422), ("infer", 499), ("predict", 200)]:
        telemetry.end(telemetry.begin(route, f"/{route}", {}), status)
    telemetry.begin("infer", "/infer", {})
    text = generate_latest(metrics.registry).decode()
    for status, count in ((200, 2), (422, 1), (499, 0)):
        assert value(text, "inference_requests_total", route="predict", status=str(status)) == count
    assert value(text, "inference_requests_total", route="infer", status="200") == 0
    assert value(text, "inference_requests_total", route="infer", status="499") == 1
    assert value(text, "inference_requests_in_flight") == 1


def test_a_count_of_good_answers_never_falls() -> None:
    """Another thread may publish between the two counts of one request."""
    metrics = Metrics(SharedTable(1, columns_for(0)))
    telemetry = RequestTelemetry(metrics)

    def good() -> float | None:
        text = generate_latest(metrics.registry).decode()
        return value(text, "inference_requests_total", route="predict", status="200")

    telemetry.end(telemetry.begin("predict", "/predict", {}), 200)
    others, add_seconds = metrics.requests.meters["predict"]
    read = [good()]
    others[422] += 1
    read.append(good())
    add_seconds(0.1)
    read.append(good())
    assert read == [1, 1, 1]


def test_a_golden_check_is_unknown_until_it_was_made() -> None:
    shared_table = SharedTable(2, ModelMetrics.COLUMNS)
    shared_table.become(0)
    observer = ModelMetrics(shared_table)
    names = {family.name: family for family in models.collect([("toy", observer)])}
    assert names["inference_golden_check"].samples == []
    observer.verified(passed=True)
    assert observer.golden() == 1
    shared_table.become(1)
    observer.verified(passed=False)
    assert observer.golden() == 0


def test_values_are_counted_once_whoever_reads_meanwhile() -> None:
    distribution = Distribution(SharedTable(1, size_of(SECONDS)), SECONDS)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            distribution.sum()

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20_000):
        distribution.add(0.001)
    stop.set()
    for thread in threads:
        thread.join()
    assert distribution.cumulative()[-1] == 20_000
    assert distribution.cumulative()[:2] == [0, 20_000]
    assert distribution.sum() == pytest.approx(20)


def test_only_refusals_of_the_queue_are_counted_as_such() -> None:
    observer = ModelMetrics(SharedTable(1, ModelMetrics.COLUMNS))
    observer.failed(Overloaded("full", rule="", limit="bytes"))
    observer.failed(Overloaded("too many connections", rule=""))
    observer.failed(DeadlineExceeded("late"))
    observer.failed(NotReady("starting"))
    refused = {reason: count.total() for reason, count in observer.refused.items()}
    assert refused == {"rows": 0, "bytes": 1, "seconds": 0}
    assert observer.timed_out.total() == 1


def _write(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")
    return folder


def test_memory_of_a_container_under_cgroup_2(tmp_path: Path) -> None:
    stat = "anon 1\ninactive_file 300\nactive_file 7"
    _write(tmp_path, memory__current=1000, memory__max=GIBIBYTE, memory__stat=stat)
    assert memory.read_memory(tmp_path) == memory.Memory(700, GIBIBYTE)
    _write(tmp_path, memory__max="max")
    assert memory.read_memory(tmp_path) == memory.Memory(700, None)
    names = [family.name for family in memory.collect(tmp_path)]
    assert names == ["inference_memory_bytes"]


def test_memory_of_a_container_under_cgroup_1(tmp_path: Path) -> None:
    stat = "inactive_file 1\ntotal_inactive_file 300"
    folder = _write(
        tmp_path / "memory",
        memory__usage_in_bytes=1000,
        memory__limit_in_bytes=GIBIBYTE,
        memory__stat=stat,
    )
    assert memory.read_memory(tmp_path) == memory.Memory(700, GIBIBYTE)
    # What version 1 writes where nothing was limited: it may be the whole machine.
    _write(folder, memory__limit_in_bytes=9223372036854771712)
    assert memory.read_memory(tmp_path) is None


def test_limits_of_a_group_within_the_mounted_ones_hold(tmp_path: Path) -> None:
    """As under a service manager; and a group above may have the smaller limit."""
    own = tmp_path / "own"
    own.write_text("4:memory:/a/b\n1:cpu,cpuacct:/a/b\n0::/a/b\n")
    stat = {"memory__usage_in_bytes": 1000, "memory__stat": "total_inactive_file 300"}
    for place, limit in (("memory", GIBIBYTE), ("memory/a", 2000), ("memory/a/b", 3000)):
        _write(tmp_path / place, memory__limit_in_bytes=limit, **stat)
    _write(tmp_path / "memory" / "a" / "b", memory__oom_control="oom_kill 5")
    for place, quota in (("cpu", -1), ("cpu/a", 150_000), ("cpu/a/b", 50_000)):
        _write(tmp_path / place, cpu__cfs_quota_us=quota, cpu__cfs_period_us=100_000)
    assert memory.read_memory(tmp_path, own) == memory.Memory(700, 2000)
    assert memory.oom_kills(tmp_path, own) == 5
    assert granted_cpus(tmp_path, own) == 1
    two = _write(tmp_path / "two" / "a" / "b", cpu__max="50000 100000", memory__current=900,
                 memory__max=4000, memory__stat="inactive_file 100")  # fmt: skip
    assert granted_cpus(two.parents[1], own) == 1
    assert memory.read_memory(two.parents[1], own) == memory.Memory(800, 4000)
    # A container that sees its own groups at the root, and its host's names for them.
    assert memory.read_memory(two, own) == memory.Memory(800, 4000)


def test_what_the_kernel_killed_is_counted_in_both_versions(tmp_path: Path) -> None:
    """The files as "Control Group v2" and "Memory Resource Controller" of the kernel have them."""
    events = "low 0\nhigh 0\nmax 512\noom 4\noom_kill 3\noom_group_kill 0"
    _write(tmp_path / "two", memory__events=events)
    assert memory.oom_kills(tmp_path / "two") == 3
    control = "oom_kill_disable 0\nunder_oom 0\noom_kill 2"
    _write(tmp_path / "one" / "memory", memory__oom_control=control)
    assert memory.oom_kills(tmp_path / "one") == 2
    # Older kernels have the file without the number.
    _write(tmp_path / "one" / "memory", memory__oom_control="oom_kill_disable 0\nunder_oom 0")
    assert memory.oom_kills(tmp_path / "one") is None
    assert memory.oom_kills(tmp_path / "none") is None


def test_outside_a_container_there_is_no_memory_of_it(tmp_path: Path) -> None:
    assert memory.read_memory(tmp_path) is None
    assert list(memory.collect(tmp_path)) == []


def figures_of(pid: int, proc: Path = Path("/proc")) -> dict[str, float]:
    return {name: each.samples[0].value for name, each in families_of(pid, proc).items()}


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc elsewhere")
def test_figures_of_this_process() -> None:
    figures = figures_of(os.getpid())
    assert 1e6 < figures["process_resident_memory_bytes"] < 100e9
    assert figures["process_cpu_seconds"] > 0
    assert figures["process_open_fds"] >= 3
    assert 0 < time.time() - figures["process_start_time_seconds"] < 24 * 3600


def test_figures_of_a_process_with_a_hostile_name(tmp_path: Path) -> None:
    behind = ["S", *(str(number) for number in range(1, 30))]
    _write(tmp_path / "7", stat=f"7 (a) b (c) {' '.join(behind)}")
    _write(tmp_path, stat="cpu 1 2\nbtime 1000")
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    expected = {
        "process_cpu_seconds": (11 + 12) / ticks,
        "process_start_time_seconds": 1000 + 19 / ticks,
        "process_resident_memory_bytes": 21 * page,
    }
    assert figures_of(7, tmp_path) == pytest.approx(expected)
    assert figures_of(8, tmp_path) == {}


class FakeNvml:
    """Three GPUs: a whole one, a part of one without utilisation, and one that is lost."""

    def nvmlInit(self) -> None:
        """As the library's."""

    def nvmlDeviceGetCount(self) -> int:
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index == 2:
            raise RuntimeError("GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=1000 + handle, total=GIBIBYTE)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        if handle == 1:
            raise RuntimeError("not supported")
        return SimpleNamespace(gpu=25)


def _samples(families: Iterator[Metric]) -> dict[str, dict[str, float]]:
    return {
        each.name: {sample.labels["device"]: sample.value for sample in each.samples}
        for each in families
    }


def test_figures_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    device = DeviceMetrics()
    assert list(device.collect()) == []  # nothing computes on a GPU
    device.use()
    assert _samples(device.collect()) == {
        "inference_device_memory_used_bytes": {"0": 1000, "1": 1001},
        "inference_device_memory_total_bytes": {"0": GIBIBYTE, "1": GIBIBYTE},
        "inference_device_utilization_ratio": {"0": 0.25},
    }


def test_without_the_library_of_gpus_there_are_no_figures(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    device = DeviceMetrics()
    device.use()
    assert list(device.collect()) == []
    assert "no metrics of the GPU" in caplog.text


def test_a_blocked_event_loop_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker, "PERIOD_SECONDS", 0.01)
    lags: list[float] = []
    published: list[None] = []

    async def main() -> None:
        timer = ticker.Ticker(lags.append, lambda: published.append(None))
        timer.start()
        time.sleep(0.1)
        await asyncio.sleep(0.001)
        timer.stop()
        count = len(published)
        await asyncio.sleep(0.03)
        assert len(published) == count

    asyncio.run(main())
    assert max(lags) > 0.08
    assert published


def test_a_pulse_goes_on_after_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ticker, "PERIOD_SECONDS", 0.001)
    fired = 0

    async def main() -> None:
        thrice = asyncio.Event()

        def publish() -> None:
            nonlocal fired
            fired += 1
            if fired == 3:
                thrice.set()
            raise ValueError("no room")

        timer = ticker.Ticker(lambda late: None, publish)
        timer.start()
        await asyncio.wait_for(thrice.wait(), timeout=10)
        timer.stop()

    asyncio.run(main())
    assert [record.message for record in caplog.records] == ["metrics could not be published"]


def test_each_pulse_says_that_the_event_loop_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the metrics cannot be published."""
    monkeypatch.setattr(ticker, "PERIOD_SECONDS", 0.001)
    shared_table = SharedTable(2, columns_for(0))
    shared_table.become(0)
    metrics = Metrics(shared_table)
    monkeypatch.setattr(metrics.requests, "publish", None)

    async def main() -> None:
        metrics.ticker.start()
        deadline = time.monotonic() + 10
        while not shared_table.values(BEAT)[0]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)
        metrics.ticker.stop()

    asyncio.run(main())
    shared_table.become(1)
    assert shared_table.values(BEAT)[0] > 0
