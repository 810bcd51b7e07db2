"""Captured requests: bounded, without what is left out, readable with a key only, asked again."""

from __future__ import annotations

import json
import re
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import numpy as np
import pytest
from engine.comparing.replay import ALIKE, DIFFERS, NOT_COMPARED, difference
from engine.comparing.replay import main as replay
from engine.drift.record import record
from engine.packaging.samples import read_samples
from engine.serving.capture import sample
from engine.serving.capture.rows import check_names
from engine.serving.capture.sample import Capture
from engine.serving.capture.stores import Container, Folder, Store
from engine.serving.errors import SettingsError
from engine.serving.inference.model import Model, load_model
from engine.serving.metrics.capture import CaptureMetrics
from engine.serving.metrics.shared_table import SharedTable
from engine.serving.package.reader import read_package
from engine.serving.request import Request
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import Array

from tests.engine.own_service import project
from tests.engine.server import running
from tests.engine.toy_models import write_linear, write_named, write_scale, write_table

KEY = "right-key-0123456789"
SECRET = "Mrs Smith, 12 Elm Road"
PERIOD = timedelta(seconds=1)


class Memory:
    """A store that keeps lines, or fails."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.fails = False

    def append(self, model: str, day: str, hour: str, lines: bytes) -> None:
        if self.fails:
            raise OSError(28, "No space left on device")
        self.lines += lines.splitlines()

    def used(self, day: str) -> int:
        return sum(map(len, self.lines))

    def remove_before(self, day: str) -> None: ...

    def read(self, model: str, most: int) -> bytes | None:
        return None


class World:
    """A capture whose clock the test moves."""

    def __init__(self, model: Model, store: Store, **settings: Any) -> None:
        self.now = datetime(2026, 11, 30, 10, tzinfo=UTC)
        self.metrics = CaptureMetrics(SharedTable(1, CaptureMetrics.COLUMNS))
        self.model = model
        options = Settings(capture="unused", **settings)
        self.capture = Capture(options, self.metrics, "f" * 40, store, lambda: self.now)

    def second(self, requests: int, x: Array) -> int:
        """Ask so often, then let a second pass; how many were taken."""
        taken = 0
        for number in range(requests):
            request = Request("predict", f"r-{number}")
            request.inputs, request.rows = {"x": x}, len(x)
            request.encode = lambda outputs, requests: [b"answer"] * len(requests)
            if self.capture.room > 0:
                self.capture.take(request, self.model)
                taken += 1
            label = np.zeros(len(x), dtype=np.int64)
            assert list(request.encode({"label": label}, [request])) == [b"answer"]
        self.now += PERIOD
        self.capture.tick()
        return taken


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = write_named(tmp_path_factory.mktemp("models"))
    return load_model(read_package(folder), Settings())


def test_the_rate_bounds_what_is_taken_whatever_the_load(named: Model) -> None:
    store = Memory()
    world = World(named, store, capture_per_minute=120)
    row = np.array([[5.9, 0.1]], dtype=np.float32)
    taken = [world.second(500, row) for _ in range(60)]
    assert taken[0] == 0
    assert set(taken[1:]) == {2}
    world.second(0, row)
    world.now += timedelta(seconds=5)
    world.second(0, row)
    assert len(store.lines) == sum(taken)
    line = json.loads(store.lines[0])
    assert line.pop("captured") == {
        "time": "2026-11-30T10:00:01.000000Z", "request": "r-0", "model": "named",
        "version": named.manifest.version, "revision": "f" * 40, "row": 0, "outputs": {"label": 0},
    }  # fmt: skip
    assert line == {"width (cm)": 5.9, "height (cm)": 0.1}
    slow = World(named, Memory(), capture_per_minute=6)
    assert sum(slow.second(50, row) for _ in range(120)) in (10, 11, 12)


def test_a_store_that_fails_stops_the_taking(
    named: Model, caplog: pytest.LogCaptureFixture
) -> None:
    store = Memory()
    store.fails = True
    world = World(named, store, capture_per_minute=600)
    rows = np.full((60, 2), 0.123456789, dtype=np.float32)
    assert sum(world.second(10, rows) for _ in range(60)) > 200
    assert world.second(10, rows) == 0
    kept = sum(len(each) for each in world.capture._lines["named"])
    assert kept < sample.MOST_WAITING_BYTES + 10 * sample.MOST_BYTES
    assert [each.getMessage() for each in caplog.records] == [
        "captured requests are not kept: OSError No space left on device"
    ]
    store.fails = False
    world.now += timedelta(seconds=5)
    world.second(0, rows)
    assert world.second(10, rows) == 10


def test_a_day_holds_no_more_than_the_setting_says(named: Model) -> None:
    store = Memory()
    world = World(named, store, capture_per_minute=600, capture_megabytes=1)
    rows = np.full((60, 2), 0.123456789, dtype=np.float32)
    for _ in range(300):
        world.second(10, rows)
    most = 1_000_000 + 15 * 10 * 60 * len(store.lines[0])
    assert 900_000 < store.used("2026-11-30") < most
    assert world.second(10, rows) == 0


def test_what_is_too_large_or_no_json_is_left_out_and_counted(named: Model) -> None:
    store = Memory()
    world = World(named, store, capture_per_minute=600)
    world.second(0, np.ones((1, 2), dtype=np.float32))
    world.second(1, np.ones((100_000, 2), dtype=np.float32))
    world.second(1, np.array([[1, np.inf]], dtype=np.float32))
    world.now += timedelta(seconds=5)
    world.second(0, np.ones((1, 2), dtype=np.float32))
    assert store.lines == []
    assert world.metrics.left_out.total() == 2


def test_a_name_that_no_model_has_is_refused(named: Model) -> None:
    check_names([named], ["width (cm)", "label", "x"])
    with pytest.raises(
        SettingsError, match=r"CAPTURE_LEAVE_OUT='width': no model has .*width \(cm"
    ):
        check_names([named], ["width"])


@pytest.mark.parametrize(
    "place",
    [
        "https://acc.blob.core.windows.net/requests?sig=secret", "https://a.b.c", "http://a/b",
        "https://acc.blob.core.windows.net.example.org:443/requests", "https://example.org/acc/req",
        "https://acc.blob.core.windows.net/requests/folder", "HTTPS://acc.blob.core.windows.net/r",
    ],
)  # fmt: skip
def test_an_address_is_a_containers_without_a_signature(place: str) -> None:
    with pytest.raises(ValueError, match=r"folder or https://ACCOUNT\.blob"):
        Settings(capture=place)


@pytest.mark.parametrize("word", ["off", "OFF", "no", "false", "0", " none "])
def test_what_switches_other_settings_off_is_no_folder_for_payloads(word: str) -> None:
    assert Settings(capture=word).capture is None
    for place in ("/tmp/off", "https://acc.blob.core.chinacloudapi.cn/requests"):
        assert Settings(capture=place).capture == place


def test_a_folder_keeps_days_and_gives_the_newest_lines(tmp_path: Path) -> None:
    store = Folder(tmp_path)
    for day in ("2026-11-28", "2026-11-29", "2026-11-30"):
        for hour in ("09", "10"):
            for number in range(3):
                store.append("iris", day, hour, f"{day} {hour} {number}\n".encode())
    assert store.used("2026-11-30") == 6 * len("2026-11-30 10 0\n")
    assert store.read("iris", 40) == b"2026-11-30 10 1\n2026-11-30 10 2\n"
    assert len((store.read("iris", 10_000) or b"").splitlines()) == 18
    other = tmp_path / "iris" / "not a day"
    other.mkdir()
    store.remove_before("2026-11-30")
    assert sorted(each.name for each in (tmp_path / "iris").iterdir()) == ["2026-11-30", other.name]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*.jsonl")}
    assert modes == {0o600}


RUNTIME = "/subscriptions/S/resourceGroups/G/providers/Microsoft.ManagedIdentity/x/runtime"


class Blobs(BaseHTTPRequestHandler):
    """Blob storage and the identity's endpoint, as far as their references say what is refused."""

    blobs: dict[str, bytes]

    def do_GET(self) -> None:
        if self.path.startswith("/identity"):
            # Without an id it would be the identity of the system, of which there is none.
            asked = dict(parse_qsl(urlsplit(self.path).query))
            known = asked.get("mi_res_id") == RUNTIME and asked["api-version"] == "2019-08-01"
            known = known and self.headers["X-IDENTITY-HEADER"] == "proof"
            self._answer(200 if known else 400, b'{"access_token": "token"}')
            return
        names = "".join(f"<Blob><Name>{name}</Name></Blob>" for name in sorted(self.blobs))
        page = f"<EnumerationResults><Blobs>{names}</Blobs><NextMarker/></EnumerationResults>"
        self._answer(200, page.encode())

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        path, _, query = self.path.removeprefix("/c/").partition("?")
        if query == "comp=appendblock" and path in self.blobs:
            self.blobs[path] += content
            self._answer(201)
        elif not query and self.headers["x-ms-blob-type"] == "AppendBlob" and not content:
            self.blobs[path] = b""
            self._answer(201)
        else:
            self._answer(404)

    def do_DELETE(self) -> None:
        self._answer(
            202 if self.blobs.pop(self.path.removeprefix("/c/"), None) is not None else 404
        )

    def _answer(self, status: int, body: bytes = b"") -> None:
        known = self.headers["Authorization"] == "Bearer token" and self.headers["x-ms-version"]
        if not self.path.startswith("/identity") and not known:
            status = 401
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def blobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The address of a container, and what is in it."""
    Blobs.blobs = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Blobs)
    thread = Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{address}/identity")
    monkeypatch.setenv("IDENTITY_HEADER", "proof")
    monkeypatch.setenv("IDENTITY_RESOURCE_ID", RUNTIME)
    yield f"{address}/c", Blobs.blobs
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_container_is_written_to_with_the_identity(blobs: tuple[str, dict[str, bytes]]) -> None:
    address, kept = blobs
    store = Container(address)
    for day, hour, line in (
        ("2026-11-29", "23", b"1\n"), ("2026-11-30", "00", b"2\n"), ("2026-11-30", "00", b"3\n"),
    ):  # fmt: skip
        store.append("iris", day, hour, line)
    assert sorted(kept.values()) == [b"1\n", b"2\n3\n"]
    assert all(re.fullmatch(r"iris/2026-11-\d\d/\d\d-[0-9a-f]{8}\.jsonl", name) for name in kept)
    assert store.used("2026-11-30") == 4
    store.remove_before("2026-11-30")
    assert list(kept.values()) == [b"2\n3\n"]
    assert store.read("iris", 100) is None


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.00001], None),
        ([1.0, 2.0], [1.0, 2.5], 0.5),
        (2, 3, 1.0),
        ("a", "b", float("inf")),
        (None, 1.0, float("inf")),
        ([1.0], [1.0, 2.0], float("inf")),
    ],
)
def test_differences(before: Any, now: Any, expected: float | None) -> None:
    assert difference(before, now, 1e-5) == expected


def lines_in(folder: Path) -> list[str]:
    return [line for path in folder.rglob("*.jsonl") for line in path.read_text().splitlines()]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_what_is_left_out_is_nowhere_and_reading_needs_a_key(tmp_path: Path) -> None:
    write_table(tmp_path / "models")
    folder = tmp_path / "captured"
    settings = {"CAPTURE": str(folder), "CAPTURE_LEAVE_OUT": "port,port_out"}
    body = {"data": [{"age": 41.5, "port": SECRET}]}
    key = {"X-API-Key": KEY}
    with running(tmp_path / "models", API_KEYS=KEY, **settings) as server:
        path = f"{server.url}/v2/models/people/captured"

        def asked() -> bool:
            answer = httpx.post(f"{server.url}/predict", json=body, headers=key)
            assert answer.json()["predictions"] == [[SECRET]]
            return bool(lines_in(folder))

        eventually(asked)
        assert httpx.get(path).status_code == 401
        assert httpx.get(path, headers={"X-API-Key": KEY[::-1]}).status_code == 401
        read = httpx.get(path, headers=key).text.splitlines()
        told = httpx.get(f"{server.url}/metrics").text
    first, *_ = lines_in(folder)
    assert first in read
    line = json.loads(first)
    assert line["age"] == 41.5
    assert line["captured"]["outputs"] == {"age_out": [41.5], "parts": [0.0, 1.0]}
    everything = [*read, *map(str, folder.rglob("*")), *lines_in(folder)]
    assert not any("Smith" in each or "port" in each for each in everything)
    assert "Smith" not in told


def test_rows_of_tensors_are_samples_as_well(tmp_path: Path) -> None:
    path = tmp_path / "captured.jsonl"
    path.write_text('{"x": [1, 2.5], "captured": {}}\n{"x": [3, 4], "captured": {}}\n')
    (name, values), *others = read_samples(path).arrays.items()
    assert (name, values.tolist(), others) == ("x", [[1, 2.5], [3, 4]], [])


RULES = """
@service.request
def halve(model, inputs):
    return {"x": inputs["x"] / 2}


@service.answer
def total(model, inputs, outputs):
    return {"sum": inputs["x"].sum(axis=1)}
"""


@pytest.mark.slow
def test_requests_are_as_clients_sent_them_and_answers_as_they_got_them(tmp_path: Path) -> None:
    write_scale(tmp_path / "models")
    own = project(tmp_path / "own", RULES)
    folder = tmp_path / "captured"
    with running(tmp_path / "models", own, CAPTURE=str(folder)) as server:

        def asked() -> bool:
            answer = httpx.post(f"{server.url}/predict", json={"data": [[1, 2, 3], [4, 5, 6]]})
            assert answer.json()["predictions"] == [[1, 2, 3], [4, 5, 6]]
            return bool(lines_in(folder))

        eventually(asked)
        refused = httpx.get(f"{server.url}/v2/models/scale/captured")
        assert (refused.status_code, "set API_KEYS" in refused.json()["error"]) == (401, True)
    first, second = map(json.loads, lines_in(folder)[:2])
    assert (first["x"], second["x"]) == ([1, 2, 3], [4, 5, 6])
    assert first["captured"]["outputs"] == {"y": [1, 2, 3], "sum": 3}
    assert second["captured"]["row"] == 1
    assert first["captured"]["request"] == second["captured"]["request"]


@pytest.mark.slow
def test_another_release_is_asked_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, labels = np.array([[1.0, -1.0], [0.5, 0.25]]), ["left", "right"]
    write_linear(tmp_path / "one", "sides", weights, np.array([0.0, 0.1]), labels)
    write_linear(tmp_path / "two", "sides", weights, np.array([0.0, 0.5]), labels)
    folder, file = tmp_path / "captured", tmp_path / "captured.jsonl"
    rows = np.random.default_rng(3).normal(size=(128, 2)).tolist()
    key = {"X-API-Key": KEY}
    monkeypatch.setenv("API_KEYS", KEY)
    capture = {"CAPTURE": str(folder), "CAPTURE_PER_MINUTE": "600", "API_KEYS": KEY}
    with running(tmp_path / "one", **capture) as server:

        def asked() -> bool:
            for part in (rows[:64], rows[64:]):
                httpx.post(f"{server.url}/predict", json={"data": part}, headers=key)
            return len(lines_in(folder)) >= len(rows)

        eventually(asked)
        answer = httpx.get(f"{server.url}/v2/models/sides/captured", headers=key)
        file.write_bytes(answer.content)
        assert replay([str(file), "--url", server.url]) == ALIKE
    # As samples, and as reference.
    assert set(read_samples(file).columns) == {"a", "b"}
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "one"))
    assert "columns" in record(file, None)
    with running(tmp_path / "two", API_KEYS=KEY) as server:
        capsys.readouterr()
        assert replay([str(file), "--url", server.url]) == DIFFERS
        told = capsys.readouterr().out
        assert told.rstrip().endswith("DIFFERENT")
        first = json.loads(file.read_text().splitlines()[0])
        assert str(first["a"]) not in told
        assert first["captured"]["request"] in told
        monkeypatch.setenv("API_KEYS", KEY[::-1])
        assert replay([str(file), "--url", server.url]) == NOT_COMPARED
        answer = httpx.get(f"{server.url}/v2/models/sides/captured", headers=key)
        assert answer.status_code == 404
