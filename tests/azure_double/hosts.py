"""Who answers for which host name; the proxy asks here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .wire import Handler

Tunnel = Callable[[int], Awaitable[tuple[str, int] | None]]
"""Where bytes to a port of a name go; None: nowhere now."""


class Unreachable(Exception):
    """Raised by a handler of `Hosts` for a name that exists and does not answer, for example a
    container group that is not ready; the proxy answers 502 with the reason.
    """


class Hosts:
    """Host names of the double. Fixed ones (Azure's, GitHub's) are added at start; providers add
    and remove those of container groups and apps.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._tunnels: dict[str, Tunnel] = {}

    def add(self, host: str, handler: Handler, tunnel: Tunnel | None = None) -> None:
        """Let the handler answer for a host name, on every port, over http and https.

        The handler sees `Request.port` and `Request.scheme` and may refuse by raising
        `Unreachable`. To pass requests on, use `forward.forward`. With a tunnel, TLS to the name is
        not ended here.
        """
        self._handlers[host.lower()] = handler
        if tunnel:
            self._tunnels[host.lower()] = tunnel

    def remove(self, host: str) -> None:
        """Forget a host name; no error when it is unknown."""
        self._handlers.pop(host.lower(), None)
        self._tunnels.pop(host.lower(), None)

    def find(self, host: str) -> Handler | None:
        """The handler for a host name; None when nobody has it, which the proxy answers as 502."""
        return self._handlers.get(host.lower())

    def tunnel(self, host: str) -> Tunnel | None:
        """Where TLS to a host name goes; None: it is ended here."""
        return self._tunnels.get(host.lower())
