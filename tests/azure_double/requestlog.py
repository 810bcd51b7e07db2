"""What reached the double: tests assert on it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Entry:
    """One request, also one that was refused or dropped.

    Attributes:
        number: counts from 1.
        seconds: when it came, on the monotonic clock.
        host, method, path: as sent, the path decoded and with doubled slashes collapsed.
        query: names in lower case.
        body: parsed JSON, else text, else None. Secrets are in it: it never leaves the double
            but through the control API.
        principal: the name of the caller; "" where there was none.
        action: the RBAC action that was asked for, for example
            ``Microsoft.ContainerInstance/containerGroups/write``.
        status: of the answer; 0 when the connection was dropped, or while it is being handled.
        error: the error's code, or "".
        fault: the injected fault that struck, in words, or "".
    """

    number: int
    host: str
    method: str
    path: str
    query: dict[str, str]
    body: Any = None
    principal: str = ""
    action: str = ""
    status: int = 0
    error: str = ""
    fault: str = ""
    seconds: float = field(default_factory=time.monotonic)

    def shown(self) -> dict[str, Any]:
        """A plain document."""
        return asdict(self)


class RequestLog:
    """All requests to Azure, Entra and GitHub, and the hosts that the proxy refused."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def begin(self, host: str, method: str, path: str, query: dict[str, str]) -> Entry:
        """A new entry, to be filled in as the request is handled."""
        entry = Entry(len(self.entries) + 1, host, method, path, query)
        self.entries.append(entry)
        return entry

    def clear(self) -> None:
        """Forget all."""
        self.entries.clear()
