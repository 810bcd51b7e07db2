"""A running service and the events that it logs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.engine.server import Server, started


@contextmanager
def logged(
    models: Path, state: str = "ready", **settings: str
) -> Iterator[tuple[Server, list[str]]]:
    """A service in that state, and its lines as they come; all are there when the block ends."""
    lines: list[str] = []
    with started(models, **settings) as server:
        reader = threading.Thread(target=lambda: lines.extend(server.process.stderr or ()))
        reader.start()
        server.wait_for(state)
        yield server, lines
        assert server.stop() == 0
        reader.join()


def events_of(lines: list[str], message: str | None = None) -> list[dict[str, Any]]:
    """The events, or those with one message."""
    events = [json.loads(line) for line in lines]
    return [each for each in events if message in (None, each["message"])]
