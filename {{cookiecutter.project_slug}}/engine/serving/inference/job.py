"""What waits for a run of a model, how several of them become one run, and how each is answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from engine.serving.errors import InferenceFailed
from engine.serving.inference.timeline import Timeline
from engine.serving.logs.fault import fault_of
from engine.serving.tensors.datatypes import NUMPY, Array
from engine.serving.tensors.signature import TensorSpec

log = logging.getLogger(__name__)

Arrays = Mapping[str, Array]
Rows = list[list[float]]
"""Checked rows of the only input, while they are few: an array is made of a whole batch of them,
because making one of a few numbers costs more than a run's share of computing them."""
Inputs = Arrays | Rows
Cut = Callable[[dict[str, Array], Sequence[int]], Sequence[Any]]
"""Makes what each request wants out of the outputs of a run; is told how many rows each has."""
Settle = Callable[[Any], None]
"""Takes what the request wanted, or the ``RequestError`` that it gets instead. It raises only while
nothing has been answered."""


class Job:
    """Checked inputs that wait for a run.

    Args:
        inputs: named arrays, or the rows of the only input as lists of numbers.
        now: seconds of ``time.perf_counter``.
        timeout: seconds that it may wait.
        timeline: of the request that it belongs to.
        cut: makes what the request wants out of a run's outputs; None: it wants the arrays.
        settle: ``deliver`` calls it, on the event loop's thread, with that or with an error.
    """

    __slots__ = (
        "bytes", "cut", "deadline", "enqueued", "inputs", "leave", "over", "rows", "settle",
        "timeline",
    )  # fmt: skip

    def __init__(
        self,
        inputs: Inputs,
        rows: int,
        size: int,
        now: float,
        timeout: float,
        timeline: Timeline,
        cut: Cut | None,
        settle: Settle,
    ) -> None:
        self.inputs = inputs
        self.rows = rows
        self.bytes = size
        self.deadline = now + timeout
        self.enqueued = now
        self.timeline = timeline
        self.cut = cut
        self.settle = settle
        # Answered or cancelled.
        self.over = False
        # Takes it out of the queue, while it is in one.
        self.leave: Callable[[Job], None] | None = None

    def cancel(self) -> None:
        """Nobody wants the outputs any more: it leaves the queue, and ``settle`` is not called."""
        self.over = True
        if self.leave is not None:
            self.leave(self)


def deliver(job: Job, outcome: Any) -> None:
    """Answer a job that was neither answered nor cancelled before. Never raises.

    An outcome that cannot be delivered becomes an ``InferenceFailed``.

    Args:
        outcome: what the request wants, or a ``RequestError``.
    """
    if job.over:
        return
    job.over = True
    try:
        job.settle(outcome)
        return
    except Exception as error:  # noqa: BLE001 - answered
        failure = failed(error, job.timeline)
    try:
        job.settle(failure)
    except Exception as error:  # noqa: BLE001 - logged
        request_id, cause = job.timeline.request_id, fault_of(error).text()
        fields = {"request_id": request_id, "exception": cause}
        log.error("a request could not be answered, id %s", request_id, extra={"fields": fields})


def failed(error: BaseException, timeline: Timeline) -> InferenceFailed:
    """The answer to a request that an unexpected error broke, with what the log needs of it."""
    incident = timeline.request_id
    return InferenceFailed(
        f"the model failed on this request; the log has the cause under {incident}",
        incident=incident,
        fault=fault_of(error),
    )


def size_of(inputs: Inputs, spec: TensorSpec) -> int:
    """Bytes of all inputs together.

    Args:
        spec: of the first input.
    """
    if isinstance(inputs, list):
        return len(inputs) * len(inputs[0]) * NUMPY[spec.datatype].itemsize
    size = 0
    for value in inputs.values():
        size += value.nbytes
        if value.dtype.kind == "O":
            # Texts; an array of them holds references.
            size += sum(len(each) for each in value.flat if isinstance(each, str | bytes))
    return size


def arrays_of(inputs: Inputs, spec: TensorSpec) -> Arrays:
    """Inputs as the model takes them.

    Args:
        spec: of the first input.
    """
    if isinstance(inputs, list):
        return {spec.name: np.array(inputs, NUMPY[spec.datatype])}
    return inputs


def joined(jobs: Sequence[Job], spec: TensorSpec) -> Arrays:
    """The inputs of all jobs, one behind the other.

    Args:
        spec: of the first input.
    """
    if len(jobs) == 1:
        return arrays_of(jobs[0].inputs, spec)
    if all(type(job.inputs) is list for job in jobs):
        rows: Rows = []
        for job in jobs:
            rows += cast(Rows, job.inputs)
        return arrays_of(rows, spec)
    parts = [arrays_of(job.inputs, spec) for job in jobs]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def views(outputs: dict[str, Array], sizes: Sequence[int]) -> list[dict[str, Array]]:
    """The outputs of each job, as views; the ``Cut`` of those that want arrays."""
    if len(sizes) == 1:
        return [outputs]
    parts, start = [], 0
    for rows in sizes:
        stop = start + rows
        parts.append({name: value[start:stop] for name, value in outputs.items()})
        start = stop
    return parts
