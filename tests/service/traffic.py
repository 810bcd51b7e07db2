"""Load on a running service: bounded in threads and in time, every request accounted for."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter

from .containers import Container

BODY = json.dumps({"data": [[5.9, 3.0, 5.1, 1.8]]}).encode()
JSON = {"Content-Type": "application/json"}
CLOSED = "connection closed before a new request"
LOST = "request lost on an open connection"
CUT = "answer broken off"


class Load:
    """Threads that post one after the other on kept-alive connections.

    Each request ends as a status ("200"), or as one of CLOSED, LOST and CUT, after which its
    thread stops. CLOSED is no fault of a service that stops: it had not accepted the request.
    """

    def __init__(self, container: Container, threads: int, seconds: float) -> None:
        self._container = container
        self._end = time.monotonic() + seconds
        self._outcomes: list[tuple[float, str]] = []
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def wait_for_answers(self, count: int) -> None:
        """Wait until so many requests have ended."""
        while len(self._outcomes) < count:
            assert time.monotonic() < self._end, f"only {len(self._outcomes)} requests ended"
            time.sleep(0.01)

    def finish(self, moment: float) -> tuple[Counter[str], Counter[str]]:
        """Wait for the threads; how requests ended, those sent before and after a moment."""
        for thread in self._threads:
            thread.join()
        before = Counter(outcome for sent, outcome in self._outcomes if sent < moment)
        return before, Counter(outcome for sent, outcome in self._outcomes if sent >= moment)

    def _work(self) -> None:
        connection = self._container.connect()
        while time.monotonic() < self._end:
            sent = time.monotonic()
            outcome = _post(connection)
            self._outcomes.append((sent, outcome))
            if outcome in (CLOSED, LOST, CUT):
                break
        connection.close()


def _post(connection: http.client.HTTPConnection) -> str:
    # After an answer with `Connection: close` the next request opens a connection of its own.
    reused = connection.sock is not None
    try:
        connection.request("POST", "/predict", BODY, JSON)
        response = connection.getresponse()
    except (ConnectionError, http.client.RemoteDisconnected):
        return LOST if reused else CLOSED
    try:
        response.read()
    except (ConnectionError, http.client.IncompleteRead):
        return CUT
    return str(response.status)


class HalfSent:
    """A request of which the service has the head and a part of the body, and waits for more."""

    def __init__(self, container: Container) -> None:
        self._connection = container.connect()
        self._connection.putrequest("POST", "/predict")
        for name, value in {**JSON, "Content-Length": str(len(BODY))}.items():
            self._connection.putheader(name, value)
        self._connection.endheaders(BODY[:10])

    def finish(self) -> int:
        """Send the rest and read the whole answer: its status."""
        try:
            self._connection.send(BODY[10:])
            response = self._connection.getresponse()
            response.read()
            return response.status
        finally:
            self._connection.close()
