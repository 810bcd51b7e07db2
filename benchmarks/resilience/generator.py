"""The clients in a process of their own: what they are told, and what they tell.

`python -m benchmarks.resilience.generator` reads its orders from standard input, as JSON, and
prints what it saw.
"""

from __future__ import annotations

import base64
import gc
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.environments import ROOT
from benchmarks.resilience.client import Kind
from benchmarks.resilience.traffic import Shape, Traffic

PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Seen:
    """What the clients saw. `elapsed` seconds is the time in which requests were sent."""

    sent: int
    unsent: int
    elapsed: float
    statuses: dict[str, dict[str, float]]
    kinds: dict[str, int]
    faults: dict[str, int]

    @property
    def rate(self) -> float:
        """Answers with status 200 a second."""
        return self.of("200").get("count", 0.0) / self.elapsed

    def of(self, status: str) -> dict[str, float]:
        """Count and latencies of one status; empty when there was none."""
        return self.statuses.get(status, {})

    @property
    def refused(self) -> float:
        """How many were answered with 429 or 503."""
        return self.of("429").get("count", 0.0) + self.of("503").get("count", 0.0)


class Clients:
    """Clients at work; start them, do what has to be done meanwhile, then ask what they saw."""

    def __init__(
        self, port: int, kinds: list[Kind], shape: Shape, *, until_gone: bool = False
    ) -> None:
        orders = {
            "port": port,
            "kinds": [_packed(kind) for kind in kinds],
            "shape": asdict(shape),
            "until_gone": until_gone,
        }
        self._timeout = shape.seconds + PATIENCE_SECONDS
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.resilience.generator"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(orders))
        self._process.stdin.close()
        self._process.stdin = None

    @property
    def at_work(self) -> bool:
        """Whether they have not ended yet."""
        return self._process.poll() is None

    def seen(self) -> Seen:
        """Wait for the end.

        Raises:
            subprocess.SubprocessError: they failed, or took too long.
        """
        try:
            output, _ = self._process.communicate(timeout=self._timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        if self._process.returncode:
            raise subprocess.CalledProcessError(self._process.returncode, self._process.args)
        return Seen(**json.loads(output))


def load(port: int, kinds: list[Kind], shape: Shape) -> Seen:
    """Load a server and wait for the end."""
    return Clients(port, kinds, shape).seen()


def main() -> None:
    """Do what standard input says."""
    orders: dict[str, Any] = json.load(sys.stdin)
    kinds = [_unpacked(each) for each in orders["kinds"]]
    traffic = Traffic(
        orders["port"], kinds, Shape(**orders["shape"]), until_gone=orders["until_gone"]
    )
    # A collection would stop the clock of every request on its way.
    gc.disable()
    traffic.run()
    seen = {"sent": traffic.sent, "unsent": traffic.unsent, "elapsed": traffic.elapsed}
    print(json.dumps(seen | traffic.tally.summary()))


def _packed(kind: Kind) -> dict[str, Any]:
    return asdict(kind) | {"request": base64.b64encode(kind.request).decode()}


def _unpacked(kind: dict[str, Any]) -> Kind:
    expected = tuple(kind["expected"])
    return Kind(**kind | {"request": base64.b64decode(kind["request"]), "expected": expected})


if __name__ == "__main__":
    main()
