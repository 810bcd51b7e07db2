"""What users send, made from the golden records: so requests are real and answers are known."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine.client import wire
from engine.client.parity import Record, rows_per_request
from engine.client.service import MEBIBYTE, Limits
from engine.serving.errors import PackageError
from engine.serving.package.golden import Golden, compare
from engine.serving.tensors.datatypes import Array

PREPARED = 32
PREPARED_BYTES = 32 * MEBIBYTE
LARGEST_BATCH = 16
SHOWN_CHARACTERS = 150
ON_PURPOSE = "refused on purpose"

Check = Callable[[bytes, str | None], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """One request, the status that its answer must have, and what else must hold for it.

    ``check`` gets the body and the value of Inference-Header-Content-Length, and raises
    PackageError or Unreadable when the answer is not that of training.
    """

    kind: str
    request: wire.Request
    status: int = 200
    check: Check | None = None

    def fault(self, status: int, body: bytes, length: str | None) -> str | None:
        """Why an answer is none that a client could use; None if it is right."""
        if status != self.status:
            text = " ".join(body.decode(errors="replace").split())[:SHOWN_CHARACTERS]
            return f"status {status} instead of {self.status}: {text}"
        try:
            if self.check is not None:
                self.check(body, length)
        except (PackageError, wire.Unreadable, ValueError) as error:
            return f"wrong answer: {error}"
        return None


def single_rows(record: Record, rng: random.Random) -> list[Sample]:
    """One row each, as the tutorials send it."""
    return [_predict(record, "predict, 1 row", start, 1) for start in _starts(record, rng)]


def batches(record: Record, rng: random.Random) -> list[Sample]:
    """Some rows at once; as many as fit into a request of a few megabytes."""
    most = max(2, rows_per_request(record, Limits(rows=LARGEST_BATCH)))
    kind = f"predict, 2 to {most} rows"
    if record.refusals is not None:
        # The answers of hooks are recorded for single rows; they may differ for several.
        return single_rows(record, rng)
    starts = _starts(record, rng, most)
    return [_predict(record, kind, start, rng.randint(2, most)) for start in starts]


def protocol_json(record: Record, rng: random.Random) -> list[Sample]:
    """One row each in the Open Inference Protocol, as JSON."""
    return [_infer(record, "infer, JSON", wire.infer_json, at) for at in _starts(record, rng)]


def protocol_binary(record: Record, rng: random.Random) -> list[Sample]:
    """One row each in the Open Inference Protocol, as binary tensors."""
    return [_infer(record, "infer, binary", wire.infer_binary, at) for at in _starts(record, rng)]


def mistakes(record: Record) -> list[Sample]:
    """What clients get wrong; each must be refused, with the status that says whose fault it is."""
    name = record.manifest.name
    good = wire.predict(name, record.some(0, 1))
    wrong = [
        (422, wire.Request(good.path, wire.JSON, b'{"date": []}')),
        (400, wire.Request(good.path, wire.JSON, good.content[:-2])),
        (404, wire.Request("/predict/no-such-model", wire.JSON, good.content)),
        (415, wire.Request(good.path, {"Content-Type": "text/csv"}, b"5.9,3.0,5.1,1.8")),
        (422, wire.Request(f"/v2/models/{name}/infer", wire.JSON, b'{"inputs": []}')),
    ]
    return [Sample(ON_PURPOSE, request, status) for status, request in wrong]


def prepare(records: Sequence[Record], seed: int = 0) -> Mapping[str, list[Sample]]:
    """All samples, by the name of the task that sends them."""
    rng = random.Random(seed)  # noqa: S311 - chooses rows
    return {
        "single_row": [each for record in records for each in single_rows(record, rng)],
        "batch": [each for record in records for each in batches(record, rng)],
        "protocol_json": [each for record in records for each in protocol_json(record, rng)],
        "protocol_binary": [each for record in records for each in protocol_binary(record, rng)],
        "mistake": [each for record in records for each in mistakes(record)],
    }


def _starts(record: Record, rng: random.Random, rows: int = 1) -> list[int]:
    """First rows of the requests; fewer requests where they are large."""
    count = max(1, min(PREPARED, PREPARED_BYTES // (rows * record.row_bytes)))
    return [rng.randrange(record.samples) for _ in range(count)]


def _predict(record: Record, kind: str, start: int, rows: int) -> Sample:
    inputs, expected = _rows(record, start, rows)
    if not wire.fits_json(inputs):
        return _infer(record, kind, wire.infer_binary, start, rows)
    golden = {name: wire.through_json(array) for name, array in expected.items()}

    def check(body: bytes, _: str | None) -> None:
        compare(record.manifest.outputs, golden, wire.read_predict(body, record.manifest))

    request = wire.predict(record.manifest.name, inputs)
    return _sample(record, start, kind, request, check)


def _infer(
    record: Record,
    kind: str,
    ask: Callable[[str, Mapping[str, Array]], wire.Request],
    start: int,
    rows: int = 1,
) -> Sample:
    inputs, expected = _rows(record, start, rows)
    if not wire.fits_json(inputs):
        ask = wire.infer_binary
    golden = expected
    if ask is wire.infer_json:
        golden = {name: wire.through_json(array) for name, array in expected.items()}

    def check(body: bytes, length: str | None) -> None:
        compare(record.manifest.outputs, golden, wire.read_infer(body, length, record.manifest))

    request = ask(record.manifest.name, inputs)
    return _sample(record, start, kind, request, check)


def _sample(record: Record, start: int, kind: str, request: wire.Request, check: Check) -> Sample:
    """A request whose first row is ``start``; the hooks of `service.py` may refuse it."""
    if record.refusal(start):
        return Sample(kind, request, 422)
    return Sample(kind, request, check=check)


def _rows(record: Record, start: int, rows: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Some rows of the golden record, from the first again after the last."""
    golden: Golden = record.golden
    if not record.manifest.signature.batched:
        return golden.inputs, golden.outputs
    picked = [(start + row) % record.samples for row in range(rows)]
    return (
        {name: array[picked] for name, array in golden.inputs.items()},
        {name: array[picked] for name, array in golden.outputs.items()},
    )
