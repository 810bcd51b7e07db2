"""What `engine/serving/server.py` uses of uvicorn is there, and does what is relied on.

It needs nothing but uvicorn, so it can be run with any release of it.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import uvicorn


class Silent(asyncio.Protocol):
    """Keeps what it was made with, and its connections where uvicorn looks for them."""

    made: ClassVar[list[dict[str, Any]]] = []
    stopped: ClassVar[int] = 0

    def __init__(self, **given: Any) -> None:
        self.given = given
        Silent.made.append(given)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.given["server_state"].connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.given["server_state"].connections.discard(self)

    def shutdown(self) -> None:
        Silent.stopped += 1
        self.transport.close()


def test_members_that_are_used_exist() -> None:
    server = uvicorn.Server(uvicorn.Config("none:app"))
    assert server.server_state.connections == set()
    assert server.server_state.tasks == set()
    assert server.should_exit is False
    for name, given in (
        ("run", ["sockets"]),
        ("startup", ["sockets"]),
        ("shutdown", ["sockets"]),
        ("handle_exit", ["sig", "frame"]),
        ("capture_signals", []),
    ):
        assert list(inspect.signature(getattr(server, name)).parameters) == given, name
    for option in (
        "http", "ws", "interface", "lifespan", "log_config", "access_log", "server_header",
        "date_header", "proxy_headers", "backlog", "timeout_graceful_shutdown",
    ):  # fmt: skip
        assert option in inspect.signature(uvicorn.Config).parameters, option


def test_a_server_makes_connections_keeps_state_and_waits_for_its_end() -> None:
    """The lifespan's state reaches the server; a connection is made by the callable of `http`; the
    end asks each connection to close, waits for tasks, and ends the lifespan last.
    """
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        await receive()
        scope["state"]["of the lifespan"] = 1
        events.append("begun")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        events.append("ended")
        await send({"type": "lifespan.shutdown.complete"})

    async def main() -> None:
        made: Any = Silent
        config = uvicorn.Config(
            app, http=made, ws="none", interface="asgi3", lifespan="on", log_config=None
        )
        server = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        assert server.lifespan.state == {"of the lifespan": 1}
        _, writer = await asyncio.open_connection(*listener.getsockname())
        while not server.server_state.connections:
            await asyncio.sleep(0.01)

        async def work() -> None:
            await asyncio.sleep(0.2)
            events.append("worked")

        task = asyncio.create_task(work())
        server.server_state.tasks.add(task)
        task.add_done_callback(server.server_state.tasks.discard)
        server.should_exit = True
        await asyncio.wait_for(serving, 10)
        writer.close()

    Silent.made.clear()
    asyncio.run(main())
    assert events == ["begun", "worked", "ended"]
    assert len(Silent.made) == 1
    assert Silent.stopped == 1


def test_a_server_without_a_listener_ends_tasks_after_the_time_that_was_set_last() -> None:
    """A worker takes connections from the dispatcher, and knows when it stops how long it may."""
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
            events.append(kind)

    class Own(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """It would raise them again in the end."""
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            self.server_state.tasks.add(asyncio.create_task(self.endless()))
            self.handle_exit(15, None)

        async def endless(self) -> None:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                events.append("cancelled")
                raise

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            assert self.should_exit
            self.config.timeout_graceful_shutdown = 0.1  # type: ignore[assignment]
            await super().shutdown(sockets)
            events.append("stopped")

    config = uvicorn.Config(app, ws="none", interface="asgi3", lifespan="on", log_config=None)
    asyncio.run(asyncio.wait_for(Own(config).serve([]), 10))
    assert events[0] == "startup"
    assert sorted(events[1:]) == ["cancelled", "shutdown", "stopped"]
