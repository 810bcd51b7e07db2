"""Who answers for which host name; the proxy asks here."""

from __future__ import annotations

from .wire import Handler


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

    def add(self, host: str, handler: Handler) -> None:
        """Let the handler answer for a host name, on every port, over http and https.

        The handler sees `Request.port` and `Request.scheme` and may refuse by raising
        `Unreachable`. To pass requests on, use `forward.forward`.
        """
        self._handlers[host.lower()] = handler

    def remove(self, host: str) -> None:
        """Forget a host name; no error when it is unknown."""
        self._handlers.pop(host.lower(), None)

    def find(self, host: str) -> Handler | None:
        """The handler for a host name; None when nobody has it, which the proxy answers as 502."""
        return self._handlers.get(host.lower())
