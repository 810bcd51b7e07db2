"""Logs: budgets, formats, a reader that does not read, and what is kept of an exception."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine.serving.budget import Budget
from engine.serving.errors import Overloaded
from engine.serving.fault import WITHHELD, fault_of
from engine.serving.logs.formats import JsonFormatter, TextFormatter, wants_colour
from engine.serving.logs.requests import RequestLines, line_of
from engine.serving.logs.setup import changed
from engine.serving.logs.writer import Writer
from engine.serving.metrics.service import Metrics, columns_for
from engine.serving.metrics.shared_table import SharedTable
from engine.serving.request import Request, Run
from engine.serving.settings import Settings
from engine.serving.telemetry.requests import RequestTelemetry

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
OWN_SPAN = "00f067aa0ba902b7"


def make_record(status: int = 200, seconds: float = 0.01, at: float = 100.0) -> Request:
    """A record of a request that ended at that time of the clock."""
    record = Request("predict", "one", None, "/predict")
    record.began, record.ended, record.status = at - seconds, at, status
    return record


class Lines:
    """Request lines with a budget, a timer that is rung by hand, and what was written."""

    def __init__(
        self,
        caplog: pytest.LogCaptureFixture,
        budget: int,
        answered: Callable[[], int] | None = None,
    ) -> None:
        caplog.set_level(logging.INFO)
        self.dropped: list[int] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self._caplog = caplog
        settings = Settings(log_requests_per_second=budget)
        self._answered = 0
        self.sink = RequestLines(
            settings,
            self.dropped.append,
            answered or (lambda: self._answered),
            lambda *timer: self.timers.append(timer),
        )

    def ended(self, record: Request) -> None:
        self._answered += 1
        self.sink.ended(record)

    def written(self) -> list[tuple[str, int]]:
        lines = [each for each in self._caplog.records if each.message == "request"]
        return [(each.levelname, each.fields["status"]) for each in lines]  # type: ignore[attr-defined]


def test_ordinary_requests_cannot_use_up_the_budget_of_failed_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = Lines(caplog, 2)
    for status in (200, 200, 200, 422, 500, 503, 500):
        lines.ended(make_record(status))
    assert lines.written() == [
        ("INFO", 200), ("INFO", 200), ("WARNING", 500), ("WARNING", 503),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "seconds", "level"),
    [(200, 0.9, "INFO"), (200, 1.1, "WARNING"), (422, 0.1, "INFO"), (499, 0.1, "INFO"),
     (401, 0.1, "WARNING"), (429, 0.1, "WARNING"), (503, 0.1, "WARNING")],
)  # fmt: skip
def test_the_level_says_whether_to_look(
    caplog: pytest.LogCaptureFixture, status: int, seconds: float, level: str
) -> None:
    lines = Lines(caplog, 5)
    lines.ended(make_record(status, seconds))
    assert lines.written() == [(level, status)]


def test_at_level_error_there_are_no_lines_of_requests(caplog: pytest.LogCaptureFixture) -> None:
    lines = Lines(caplog, 5)
    caplog.set_level(logging.ERROR)
    lines.ended(make_record(500))
    assert lines.written() == []


def test_what_is_left_out_is_counted_and_said_once_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = Lines(caplog, 1)
    for _ in range(4):
        lines.ended(make_record(at=100.0))
    ((seconds, tell),) = lines.timers
    assert seconds == 1.1
    tell()
    assert lines.dropped == [3]
    assert "3 request lines left out" in caplog.messages
    lines.ended(make_record(at=101.5))  # a new second, a new budget
    assert len(lines.written()) == 2
    assert len(lines.timers) == 1


def test_at_level_warning_ordinary_requests_are_not_even_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    dropped: list[int] = []
    timers: list[object] = []
    sink = RequestLines(
        Settings(log_requests_per_second=1),
        dropped.append,
        lambda: 5,
        lambda *timer: timers.append(timer),
    )
    for _ in range(5):
        sink.ended(make_record())
    assert (caplog.records, timers) == ([], [])


def test_requests_without_a_line_are_counted_too(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics(SharedTable(1, columns_for(0)))
    lines = Lines(caplog, 1, metrics.requests.answered)
    telemetry = RequestTelemetry(metrics, lines.sink)
    for status in [200] * 10 + [500, 422]:
        record = telemetry.begin("predict", "/predict", {})
        telemetry.end(record, status)
    lines.sink.tell()
    assert lines.written() == [("INFO", 200), ("WARNING", 500)]
    assert lines.dropped == [10]


def test_a_line_tells_the_story_of_a_request() -> None:
    record = make_record(at=100.0, seconds=0.1)
    record.model, record.version, record.rows = "toy", "3", 5
    record.parent = f"00-{TRACE}-{SPAN}-01".encode()
    record.decoded, record.taken = 99.91, 99.93
    record.runs = (Run(99.93, 99.95, 4), Run(99.95, 99.99, 7))
    assert line_of(record) == {
        "request_id": "one",
        "trace_id": TRACE,
        "span_id": SPAN,
        "route": "predict",
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "model": "toy",
        "model_version": "3",
        "rows": 5,
        "duration_seconds": 0.1,
        "decode_seconds": 0.01,
        "queue_seconds": 0.02,
        "compute_seconds": 0.06,
        "encode_seconds": 0.01,
        "batch_rows": 7,
    }


def test_a_line_of_a_refused_request_has_its_code_and_not_what_it_said() -> None:
    record = make_record(429)
    record.error = Overloaded("the queue is full of 'Smith'", rule="no Smith")
    line = line_of(record)
    assert line["code"] == "overloaded"
    assert "Smith" not in str(line)
    assert "compute_seconds" not in line


def test_the_span_made_here_comes_before_the_clients() -> None:
    record = make_record()
    record.parent = f"00-{TRACE}-{SPAN}-01".encode()
    record.returned = f"00-{TRACE}-{OWN_SPAN}-01".encode()
    assert line_of(record)["span_id"] == OWN_SPAN
    record.returned, record.parent = None, b"00-nonsense"
    assert "trace_id" not in line_of(record)


def test_a_path_is_cut() -> None:
    record = make_record()
    record.path = "/predict/" + "x" * 10_000
    assert len(line_of(record)["path"]) == 200


def test_a_budget_begins_anew_each_second() -> None:
    budget = Budget(2)
    assert [budget.take(now) for now in (10.0, 10.5, 10.9, 11.0, 11.2, 11.3)] == [
        True, True, False, True, True, False,
    ]  # fmt: skip


def event(text: str, /, level: int = logging.INFO, **fields: Any) -> logging.LogRecord:
    """A log record with fields."""
    facts = {"name": "app", "levelno": level, "levelname": logging.getLevelName(level)}
    return logging.makeLogRecord(facts | {"msg": text, "fields": fields})


def test_json_keeps_its_own_fields_and_writes_one_line() -> None:
    line = JsonFormatter().format(event("two\nlines", level=logging.ERROR, message="x", rows=3))
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["message"], told["rows"]) == ("error", "two\nlines", 3)


def test_json_can_say_what_utf_8_cannot() -> None:
    line = JsonFormatter().format(event("odd", path="half \ud800", number=2**70, where=Path("/x")))
    told = json.loads(line)
    assert (told["path"], told["number"], told["where"]) == ("half \ud800", 2**70, "/x")


def test_a_traceback_is_a_field_of_json() -> None:
    record = event("failed")
    try:
        raise ValueError("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "ValueError: why" in json.loads(JsonFormatter().format(record))["exception"]


def test_text_shows_fields_and_hides_control_characters() -> None:
    plain = TextFormatter(coloured=False).format(event("request", path="/\x1b[2J", status=200))
    assert "\x1b" not in plain
    assert "status=200" in plain
    assert "\x1b[32m" in TextFormatter(coloured=True).format(event("request"))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_whose_users_want_them(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert wants_colour(environment) is expected
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert wants_colour(environment) is False


def test_a_reader_that_does_not_read_delays_nobody() -> None:
    reader, descriptor = os.pipe()
    writer = Writer(descriptor, lines=10**9, waiting=50)
    dropped: list[int] = []
    writer.on_dropped = dropped.append
    began = time.monotonic()
    for number in range(400):
        writer.handle(event(f"{number} {'x' * 1000}"))  # far more than a pipe holds
    assert time.monotonic() - began < 5  # a write that waits would wait for ever
    assert len(dropped) >= 400 - 50 - 80
    text = b""
    while b"\n399 " not in text and len(text) < 10**6:
        writer.handle(event("399 at last"))
        text += os.read(reader, 65536)
    os.close(reader)
    assert b"log lines left out" in text


def test_events_that_repeat_too_often_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        writer = Writer(file.fileno(), lines=3)
        for number in range(10):
            writer.handle(event(str(number)))
        writer._budget = Budget(3)
        writer.handle(event("later"))
        writer.flush()
    lines = path.read_text().splitlines()
    assert lines[:3] == ["0", "1", "2"]
    assert lines[3].startswith("7 log lines left out")
    assert lines[4:] == ["later"]


def test_lines_are_written_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    numbers = [str(number) * (1 + number % 700) for number in range(1000, 1190)]
    with path.open("wb") as file:
        writer = Writer(file.fileno())
        for number in numbers:
            writer.handle(event(number))
        writer.handle(event("x" * 10_000))
        writer.flush()
    assert path.read_text().splitlines() == [*numbers, "x" * 10_000]


def test_a_forked_process_writes_its_own_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("ab") as file:
        writer = Writer(file.fileno())
        writer.handle(event("parent"))
        child = os.fork()
        if child == 0:
            writer.handle(event("child"))
            writer.flush()
            os._exit(0)
        os.waitpid(child, 0)
        writer.flush()
    assert sorted(path.read_text().splitlines()) == ["child", "parent"]


def test_the_message_of_an_exception_is_withheld_and_its_place_is_not() -> None:
    try:
        try:
            float("Smith")
        except ValueError as first:
            raise KeyError("Jones") from first
    except KeyError as error:
        fault = fault_of(error)
    text = fault.text(with_messages=False)
    assert "Smith" not in text.replace('float("Smith")', "")  # this file's own source line
    assert f"KeyError: {WITHHELD}" in text
    assert text.index("ValueError") < text.index("KeyError:")
    assert "test_logs.py" in text
    assert "could not convert string to float: 'Smith'" in fault.text(with_messages=True)


def test_settings_are_told_without_secrets() -> None:
    settings = Settings(api_keys=("k" * 20,), model_uri=("https://u:p@h/m",), port=9)
    assert changed(settings) == {"port": 9, "model_uri": "(hidden)", "api_keys": "(hidden)"}
