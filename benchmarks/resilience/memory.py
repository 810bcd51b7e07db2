"""Watch the memory of a process tree while something else happens."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from statistics import median
from types import TracebackType
from typing import Self

from benchmarks import processes

EVERY_SECONDS = 0.5


@dataclass
class Watch:
    """Proportional set size in MB (10**6 bytes), twice a second, while the block runs."""

    pid: int
    seen: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            self.seen.append(processes.megabytes(self.pid))
            if self._over.wait(EVERY_SECONDS):
                return


def growth(seen: list[float]) -> float:
    """The median of the last quarter against that of the second: 0.01 is one per cent more.

    The first quarter fills buffers that are kept.
    """
    quarter = max(1, len(seen) // 4)
    return median(seen[-quarter:]) / median(seen[quarter : 2 * quarter] or seen) - 1
