"""Takes a bounded sample of requests and answers, and writes it from a thread of its own.

What requests pay is a comparison of two numbers; the few that are taken keep references to their
arrays until the next second. Only that thread gives room for more, so that a store which does not
answer stops the taking, and nothing piles up.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from engine.serving.capture.rows import NoJson, check_names, lines_of
from engine.serving.capture.stores import Store, open_store
from engine.serving.errors import PackageError
from engine.serving.inference.arrays import arrays_of, size_of
from engine.serving.inference.model import Model
from engine.serving.metrics.capture import CaptureMetrics
from engine.serving.request import Inputs, Request
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import Array

log = logging.getLogger(__name__)

PERIOD_SECONDS: Final = 1.0
WRITE_PERIOD: Final = timedelta(seconds=5)
# Of a request with its answer, and of what waits to be written.
MOST_BYTES: Final = 256 * 1024
MOST_WAITING_BYTES: Final = 4 * 1024 * 1024
MEGABYTE: Final = 1_000_000
MINUTE: Final = 60.0
Arrays = Mapping[str, Array]
Taken = tuple[Model, str, Arrays, Arrays, datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Capture:
    """Takes the sample of one worker.

    Args:
        settings: with CAPTURE.
        revision: that is running; put beside each answer.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: CaptureMetrics,
        revision: str,
        store: Store | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.store = store or open_store(settings.capture or "")
        self.room = 0
        self._left_out = frozenset(settings.capture_leave_out)
        self._per_period = settings.capture_per_minute / MINUTE * PERIOD_SECONDS
        self._most = settings.capture_megabytes * MEGABYTE
        self._days = timedelta(days=settings.capture_days)
        self._metrics = metrics
        self._revision = revision
        self._clock = clock
        # Requests that may be taken, and how many of them were allowed last.
        self._budget = self._allowed = 0.0
        self._taken: deque[Taken] = deque()
        self._lines: dict[str, list[bytes]] = {}
        self._failed = False
        self._removed_on = ""
        self._due = clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="capture", daemon=True)

    def start(self, models: Sequence[Model]) -> None:
        """Take requests from now on.

        Raises:
            SettingsError: CAPTURE_LEAVE_OUT names what no model has.
        """
        check_names(models, self._left_out)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Write what was taken, for that many seconds at most."""
        self.room = 0
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def take(self, request: Request, model: Model) -> None:
        """Take a request whose inputs are decoded, once it is encoded."""
        inputs: Inputs = request.inputs
        encode = request.encode
        if encode is None:
            return
        self.room -= 1
        first = model.signature.inputs[0]
        if size_of(inputs, first) > MOST_BYTES:
            self._metrics.left_out.add()
            return
        asked = self._clock()

        def encoded(outputs: dict[str, Array], requests: Sequence[Request]) -> Sequence[Any]:
            answers = encode(outputs, requests)
            # Called again where another request broke the run.
            if request.encode is encoded:
                request.encode = encode
                size = sum(value.nbytes for value in outputs.values())
                if size <= MOST_BYTES:
                    # Views of a run's outputs would keep all of them.
                    kept = {name: np.array(value) for name, value in outputs.items()}
                    given = arrays_of(inputs, first)
                    self._taken.append((model, request.request_id, given, kept, asked))
                else:
                    self._metrics.left_out.add()
            return answers

        request.encode = encoded

    def tick(self) -> None:
        """Write what was taken, and let as many requests be taken as the rate allows; called each
        second.
        """
        self._collect()
        now = self._clock()
        if now >= self._due:
            self._write()
            self._due = now + WRITE_PERIOD
        used = self._allowed - max(0, self.room)
        most = max(1.0, self._per_period)
        self._budget = min(self._budget - used + self._per_period, most)
        self._allowed = float(max(0, int(self._budget)))
        if self._full:
            self._allowed = 0.0
        self.room = int(self._allowed)

    def _work(self) -> None:
        while not self._stop.wait(PERIOD_SECONDS):
            self.tick()
        self._collect()
        self._write()

    @property
    def _full(self) -> bool:
        waiting = sum(len(each) for lines in self._lines.values() for each in lines)
        try:
            used = self.store.used(f"{self._clock():%Y-%m-%d}")
        except OSError:
            used = 0
        return waiting > MOST_WAITING_BYTES or used + waiting >= self._most

    def _collect(self) -> None:
        while self._taken:
            model, request_id, inputs, outputs, asked = self._taken.popleft()
            facts = {
                "time": f"{asked:%Y-%m-%dT%H:%M:%S.%fZ}",
                "request": request_id,
                "model": model.name,
                "version": model.manifest.version,
                "revision": self._revision,
            }
            try:
                lines = lines_of(model, facts, inputs, outputs, self._left_out)
            except (NoJson, ValueError):
                self._metrics.left_out.add()
            else:
                self._lines.setdefault(model.name, []).append(lines)
                self._metrics.taken.add()

    def _write(self) -> None:
        """Nothing of a request is in what is logged: of an error only its kind."""
        now = self._clock()
        day = f"{now:%Y-%m-%d}"
        try:
            for model in list(self._lines):
                self.store.append(model, day, f"{now:%H}", b"".join(self._lines[model]))
                del self._lines[model]
            if self._removed_on != f"{now:%Y-%m-%dT%H}":
                self.store.remove_before(f"{now - self._days:%Y-%m-%d}")
                self._removed_on = f"{now:%Y-%m-%dT%H}"
        except Exception as error:  # noqa: BLE001 - a store is no reason to stop serving
            if not self._failed:
                log.error("captured requests are not kept: %s", _reason(error))
            self._failed = True
        else:
            if self._failed:
                log.warning("captured requests are kept again")
            self._failed = False


def _reason(error: Exception) -> str:
    if isinstance(error, PackageError):
        return str(error)
    told = getattr(error, "code", None) or getattr(error, "strerror", None)
    return f"{type(error).__name__} {told or ''}".strip()
