"""Starts the service with everything that observes it taken out; there is no setting for that.

Run by the service's own interpreter, in the folder of the service. Requests are still made, because
the batcher writes into them and answers carry their ids; nothing else is made of them.
"""

from __future__ import annotations

import itertools
import os
import runpy
import sys
from collections.abc import Mapping
from typing import Any


def main() -> None:
    """Serve without metrics, lines or traces."""
    sys.path.insert(0, os.getcwd())
    # Before onnxruntime is imported, as in engine.serving.__main__.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from engine.serving.metrics.models import ModelMetrics
    from engine.serving.metrics.shared_table import Distribution
    from engine.serving.metrics.ticker import Ticker
    from engine.serving.request import Request
    from engine.serving.telemetry.requests import RequestTelemetry

    numbers = itertools.count(1)

    def begin(self: Any, route: str, path: str, headers: Mapping[bytes, bytes]) -> Request:
        return Request(route, self._ids.of(headers, next(numbers)), None, path)

    def nothing(*_: Any) -> None:
        return None

    RequestTelemetry.begin = begin
    RequestTelemetry.end = nothing
    make_distribution = Distribution.__init__

    def distribution(self: Any, *arguments: Any) -> None:
        make_distribution(self, *arguments)
        self.add = nothing

    Distribution.__init__ = distribution
    ModelMetrics.computed = nothing
    Ticker.start = nothing
    runpy.run_module("engine.serving", run_name="__main__")


if __name__ == "__main__":
    main()
