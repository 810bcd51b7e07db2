"""Metrics of inference requests, and of the connections that they come over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from engine.serving.metrics.families import SECONDS, counter, gauge, histogram, size_of
from engine.serving.metrics.shared_table import Count, Distribution, Gauge, SharedTable

ROUTES: Final = ("predict", "infer")
# 499: the client went away before it was answered.
OTHERS: Final = (400, 401, 404, 405, 408, 413, 415, 422, 429, 499, 500, 503)
STATUSES: Final = (200, *OTHERS)


class RequestMetrics:
    """Counts requests and connections.

    Args:
        connections: how many this worker has open now.
    """

    COLUMNS: Final = len(ROUTES) * (len(STATUSES) + size_of(SECONDS)) + 4

    def __init__(self, shared_table: SharedTable, connections: Callable[[], int]) -> None:
        self._answered = {
            (route, status): Gauge(shared_table) for route in ROUTES for status in STATUSES
        }
        self._duration = {route: Distribution(shared_table, SECONDS) for route in ROUTES}
        # What changes with every request, as it can be changed without a call in between: answers
        # by status, but for 200, and what takes the seconds of each answer. How many were 200 is
        # what remains of the seconds, so that the usual request is put down once.
        self.meters: dict[str, tuple[dict[int, int], Callable[[float], None]]] = {
            route: (dict.fromkeys(OTHERS, 0), self._duration[route].add) for route in ROUTES
        }
        self._good = dict.fromkeys(ROUTES, 0)
        self._in_flight = Gauge(shared_table)
        self._connections = Gauge(shared_table)
        self._refused = Count(shared_table)
        self._lines_dropped = Count(shared_table)
        self._connections_now = connections
        # Requests that were read.
        self.begun = 0

    def connection_refused(self) -> None:
        """A client was turned away, because too many connections are open."""
        self._refused.add()

    def lines_dropped(self, count: int) -> None:
        """So many request lines were left out of the log."""
        self._lines_dropped.add(count)

    def answered(self) -> int:
        """How many requests this worker has answered."""
        return sum(each.added for each in self._duration.values())

    def publish(self) -> None:
        """Write this worker's numbers for the others to read."""
        ended = 0
        for route, (others, _) in self.meters.items():
            # Before the others, which are counted first: one that is counted meanwhile is missing
            # among the good ones until the next time, and a counter must not fall.
            answered = self._duration[route].added
            self._good[route] = max(self._good[route], answered - sum(others.values()))
            self._answered[route, 200].set(self._good[route])
            for status, count in others.items():
                self._answered[route, status].set(count)
            ended += answered
        self._in_flight.set(self.begun - ended)
        self._connections.set(self._connections_now())

    def collect(self) -> Iterator[Metric]:
        """The families of all workers."""
        yield counter(
            "inference_requests",
            "Inference requests answered; status 499: the client went away.",
            ("route", "status"),
            (((route, str(status)), each.total()) for (route, status), each in self._pairs()),
        )
        yield histogram(
            "inference_request_duration_seconds",
            "From the first byte read to the answer written.",
            ("route",),
            (((route,), each) for route, each in self._duration.items()),
        )
        yield gauge(
            "inference_requests_in_flight",
            "Inference requests that are being answered now.",
            (),
            [((), self._in_flight.total())],
        )
        yield gauge(
            "inference_connections",
            "Client connections that are open.",
            (),
            [((), self._connections.total())],
        )
        yield counter(
            "inference_connections_refused",
            "Connections turned away with 503, beyond MAX_CONNECTIONS.",
            (),
            [((), self._refused.total())],
        )
        yield counter(
            "inference_log_lines_dropped",
            "Request lines left out of the log, beyond LOG_REQUESTS_PER_SECOND.",
            (),
            [((), self._lines_dropped.total())],
        )

    def _pairs(self) -> Iterator[tuple[tuple[str, int], Gauge]]:
        yield from self._answered.items()
