"""Listens to Locust: every request with its time, a line of progress every few seconds.

Locust's own percentiles are rounded to two digits, so the verdict has its own list. Its statistics
are started anew when the warm-up ends, so that its HTML report shows what was judged.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

from locust.env import Environment

PROGRESS_SECONDS = 5.0
TICK_SECONDS = 0.1


class Recorder:
    """Records one run of Locust.

    Args:
        environment: of the run.
        file: where the list is written when the run ends; None: nowhere.
        before_seconds: from the start until the measured part begins.
        seconds: how long that part is; None: until somebody stops the run.
    """

    def __init__(
        self,
        environment: Environment,
        file: Path | None,
        before_seconds: float,
        seconds: float | None,
    ) -> None:
        self._environment = environment
        self._file = file
        self._before = before_seconds
        self._seconds = math.inf if seconds is None else seconds
        self._begun = time.monotonic()
        self._ended: float | None = None
        self._cpu = 0.0
        self._requests: list[tuple[float, str, float, str]] = []
        events: Any = environment.events  # its methods have no types
        events.test_start.add_listener(self._start)
        events.test_stopping.add_listener(self._stop)
        events.request.add_listener(self._request)
        events.usage_monitor.add_listener(self._usage)
        events.quitting.add_listener(self._write)

    def _start(self, **_: Any) -> None:
        self._begun = time.monotonic()
        # Locust has replaced threads by gevent's, which take turns with the users.
        Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """Tell, leave the warm-up out, and end in time.

        Locust's own --run-time counts from a moment before its users exist, on a busy machine
        seconds before.
        """
        told, told_at, warm = 0, 0.0, False
        while (elapsed := self._elapsed()) < self._before + self._seconds and not self._ended:
            if elapsed >= self._before and not warm:
                self._environment.stats.reset_all()
                warm = True
            if elapsed - told_at >= PROGRESS_SECONDS:
                self._tell(self._requests[told:], elapsed - told_at)
                told, told_at = len(self._requests), elapsed
            time.sleep(TICK_SECONDS)
        self._stop()
        if self._environment.runner:
            self._environment.runner.quit()

    def _stop(self, **_: Any) -> None:
        # Users may finish what they began; what ends later is not measured.
        self._ended = self._ended or time.monotonic()

    def _request(
        self, name: str, response_time: float, exception: BaseException | None, **_: Any
    ) -> None:
        at = self._elapsed()
        failure = " ".join(str(exception).split()) if exception else ""
        self._requests.append((round(at, 3), name, round(response_time, 2), failure))

    def _usage(self, cpu_usage: float, **_: Any) -> None:
        if self._elapsed() > self._before:
            self._cpu = max(self._cpu, cpu_usage)

    def _tell(self, recent: list[tuple[float, str, float, str]], seconds: float) -> None:
        elapsed = self._elapsed()
        users = self._environment.runner.user_count if self._environment.runner else 0
        times = sorted(milliseconds for _, _, milliseconds, failure in recent if not failure)
        p95 = f"{times[math.ceil(0.95 * len(times)) - 1]:.0f}" if times else "-"
        failed = len(recent) - len(times)
        phase = "warming up" if elapsed <= self._before else "measuring"
        line = (
            f"{elapsed:5.0f} s  {phase:10}  {users} users  {len(recent) / seconds:.0f} requests/s  "
            f"p95 {p95} ms  {failed} failed"
        )
        print(line, file=sys.stderr, flush=True)

    def _elapsed(self) -> float:
        return time.monotonic() - self._begun

    def _write(self, **_: Any) -> None:
        if self._file is None:
            return
        content = {
            "from": self._before,
            "to": (self._ended or time.monotonic()) - self._begun,
            "cpu_percent": self._cpu,
            "requests": self._requests,
        }
        self._file.write_text(json.dumps(content), encoding="utf-8")
