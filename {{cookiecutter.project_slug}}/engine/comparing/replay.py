"""`python -m engine.comparing.replay FILE`: does another release answer captured requests alike?

FILE holds captured requests, as `/v2/models/{name}/captured` gives them or as they lie in a folder
or container. The service at --url, or the one that --env runs, is asked each of them again, and its
answers are compared with those that were captured. The key comes from API_KEYS or LOAD_API_KEY.
Exit code 0: alike; 3: not; 1: not compared.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engine.serving.installed import locked_packages

with locked_packages(".venv/.dev"):
    import orjson

    from engine.client.refusals import json_of, refusal
    from engine.client.service import Service, TooLarge, address, front_door
    from engine.client.wire import JSON, Request
    from engine.deploy.commands.context import open_context
    from engine.deploy.commands.verify import deployed
    from engine.deploy.say import default_say
    from engine.deploy.verify import key_from
    from engine.errors import EngineError
    from engine.serving.proxies import keep_local_direct

ALIKE, NOT_COMPARED, DIFFERS = 0, 1, 3
CAPTURED: Final = "captured"
LOCAL: Final = "http://127.0.0.1:8000"
ROOT: Final = Path(__file__).resolve().parents[2]
SECONDS: Final = 30.0
# Of an answer: numbers may differ by so much, and by as much for each unit of the captured one.
TOLERANCE: Final = 1e-5
BLOCK_ROWS: Final = 64
SHOWN: Final = 5


@dataclass(slots=True)
class Output:
    """What was compared of one output: rows, those that differ, and by how much at most."""

    rows: int = 0
    different: int = 0
    largest: float = 0.0


@dataclass(slots=True)
class Report:
    """What came of it. ``examples`` are request ids; no value of a request is in it."""

    outputs: dict[str, Output] = field(default_factory=lambda: defaultdict(Output))
    refused: int = 0
    refusal: str = ""
    examples: dict[str, None] = field(default_factory=dict)

    @property
    def alike(self) -> bool:
        """Whether all rows are answered as before."""
        return not self.refused and not any(each.different for each in self.outputs.values())

    def text(self) -> str:
        """A table for a terminal."""
        lines = [f"{'output':<32} {'rows':>7} {'differ':>7} {'by at most':>11}"]
        for name, each in self.outputs.items():
            lines.append(f"{name:<32} {each.rows:>7} {each.different:>7} {each.largest:>11.3g}")
        if self.refused:
            lines.append(f"refused: {self.refused} rows; the first: {self.refusal}")
        if self.examples:
            lines.append(f"requests that are answered otherwise: {', '.join(self.examples)}")
        return "\n".join([*lines, "", "alike" if self.alike else "DIFFERENT"])


def replay(rows: Sequence[Mapping[str, Any]], service: Service, tolerance: float) -> Report:
    """Ask a service for captured rows, and compare.

    Args:
        rows: of one file.
        tolerance: absolute and relative, of numbers.

    Raises:
        EngineError: a row is none that was captured, lacks a column, or the service does not
            answer.
    """
    by_model = defaultdict(list)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get(CAPTURED), dict):
            raise EngineError(
                f"line {number} has no {CAPTURED!r}, so it is no captured request",
                "name a file that a service has captured; docs/models.md tells how",
            )
        by_model[row[CAPTURED]["model"]].append(row)
    report = Report()
    for name, own in by_model.items():
        model = _Model(service, name)
        for start in range(0, len(own), model.rows):
            _ask(service, model, own[start : start + model.rows], tolerance, report)
    return report


class _Model:
    """How one model of the service is asked."""

    def __init__(self, service: Service, name: str) -> None:
        answer = service.get(f"/v2/models/{name}")
        facts = json_of(answer)
        if answer.status_code != 200:
            raise refusal(f"GET {service.url}/v2/models/{name}", answer)
        self.name = name
        self.outputs = [each["name"] for each in facts["outputs"]]
        inputs = facts["inputs"]
        self.columns = [each["name"] for each in inputs]
        features = (inputs[0].get("parameters") or {}).get("features")
        is_column = [each["shape"] in ([-1], [-1, 1]) for each in inputs]
        self.records = all(is_column) or bool(features)
        if not all(is_column) and features:
            self.columns = features
        self.rows = BLOCK_ROWS if inputs[0]["shape"][:1] == [-1] else 1

    def request(self, rows: Sequence[Mapping[str, Any]]) -> Request:
        """The request for these rows."""
        for row in rows:
            missing = [name for name in self.columns if name not in row]
            if missing:
                raise EngineError(
                    f"request {row[CAPTURED]['request']} lacks the column {missing[0]!r} of model "
                    f"{self.name!r}; CAPTURE_LEAVE_OUT leaves out columns",
                    "capture requests with all columns that the model needs, or ask another model",
                )
        data: Any = [{name: row[name] for name in self.columns} for row in rows]
        if not self.records:
            data = {
                name: [row[name] for row in rows] if self.rows > 1 else rows[0][name]
                for name in self.columns
            }
        return Request(f"/predict/{self.name}", JSON, orjson.dumps({"data": data}))


def _ask(
    service: Service,
    model: _Model,
    rows: Sequence[Mapping[str, Any]],
    tolerance: float,
    report: Report,
) -> None:
    """Ask for rows together; where they are refused, each half alone."""
    request = model.request(rows)
    try:
        answer = service.ask(request)
        status = answer.status_code
    except TooLarge:
        status = 413
    if status == 200:
        _compare(model, rows, json_of(answer), tolerance, report)
    elif status in (413, 422, 500) and len(rows) > 1:
        middle = len(rows) // 2
        for part in (rows[:middle], rows[middle:]):
            _ask(service, model, part, tolerance, report)
    elif status in (413, 422, 500):
        report.refused += 1
        report.refusal = report.refusal or f"HTTP {status}"
        report.examples |= _example(report, rows[0])
    else:
        raise refusal(f"POST {service.url}{request.path}", answer)


def _compare(
    model: _Model,
    rows: Sequence[Mapping[str, Any]],
    answer: Mapping[str, Any],
    tolerance: float,
    report: Report,
) -> None:
    first, *_ = model.outputs
    found = {first: answer.get("predictions"), **(answer.get("outputs") or {})}
    for at, row in enumerate(rows):
        for name, before in row[CAPTURED]["outputs"].items():
            output = report.outputs[name]
            output.rows += 1
            now = found.get(name)
            if model.rows > 1:
                now = now[at] if isinstance(now, list) and at < len(now) else None
            distance = difference(before, now, tolerance)
            if distance is not None:
                output.different += 1
                output.largest = max(output.largest, distance)
                report.examples |= _example(report, row)


def _example(report: Report, row: Mapping[str, Any]) -> dict[str, None]:
    return {} if len(report.examples) >= SHOWN else {row[CAPTURED]["request"]: None}


def difference(before: Any, now: Any, tolerance: float) -> float | None:
    """How far two values or nested lists are apart; None: not farther than tolerated; infinite
    where no number tells it.
    """
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        parts = [difference(*pair, tolerance) for pair in zip(before, now, strict=True)]
        return max((part for part in parts if part is not None), default=None)
    numbers = (int, float)
    if isinstance(before, numbers) and isinstance(now, numbers):
        distance = abs(before - now)
        # Numbers of classes have no distance, but are equal or not.
        whole = isinstance(before, int) and isinstance(now, int)
        close = distance == 0 if whole else distance <= tolerance * (1 + abs(before))
        return None if close else float(distance)
    return None if before == now else math.inf


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = orjson.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise EngineError(
                    f"{path}: line {number} is no JSON object", "name a file of captured requests"
                )
            yield row


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.comparing.replay", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="captured requests, JSON lines")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", type=address, default=LOCAL, help=f"default: {LOCAL}")
    where.add_argument("--env", metavar="ENV", help="an environment, for what it serves now")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    options = parser.parse_args(argv)
    keep_local_direct()
    try:
        rows = list(_rows(options.file))
        url, headers = options.url, {}
        if options.env:
            context = open_context(options.env, ROOT, default_say())
            url, headers = deployed(context)[1], front_door(context.environment.variables)
        with Service(url, key_from(os.environ), SECONDS, headers) as service:
            report = replay(rows, service, options.tolerance)
    except EngineError as error:
        print(f"error: {error.cause}; {error.fix}", file=sys.stderr)
        return NOT_COMPARED
    except OSError as error:
        print(f"error: {options.file}: {error.strerror or error}", file=sys.stderr)
        return NOT_COMPARED
    print(report.text())
    return ALIKE if report.alike else DIFFERS


if __name__ == "__main__":
    sys.exit(main())
