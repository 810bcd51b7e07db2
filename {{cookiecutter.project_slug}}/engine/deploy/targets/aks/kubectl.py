"""The few commands of kubectl that a bootstrap needs, over the API: nothing has to be installed.

A dry run prints them, and a person can run them with kubectl itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from engine.deploy.az import Az, AzError
from engine.deploy.targets.aks.access import access_of
from engine.deploy.targets.aks.client import KubeClient, KubeError
from engine.deploy.targets.aks.environment import Cluster
from engine.errors import EngineError

FORBIDDEN: Final = 403
_GRANT_SECONDS: Final = 300.0
"""How long a role that was given may take until a cluster knows it (Microsoft's page on it)."""
_PAUSE_SECONDS: Final = 10.0

_Answer = TypeVar("_Answer")


class Kubectl:
    """See ``engine.deploy.bootstrap.looks.Tool``; ``clusters`` are those that may be named."""

    def __init__(
        self,
        az: Az,
        clusters: Mapping[str, Cluster],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._az = az
        self._clusters = clusters
        self._sleep = sleep
        self._clock = clock
        self._give_up: float | None = None
        self._clients: dict[tuple[str, str], KubeClient] = {}

    def find(self, *arguments: str) -> Any:
        """``auth whoami`` or ``get KIND NAME``; None where it, or the cluster, does not exist."""
        _, context, *command = arguments
        try:
            if command[:2] == ["auth", "whoami"]:
                return self._allowed(self._client(context, "").whoami)
            _, kind, name, *rest = command
            namespace = rest[1] if rest[0] == "--namespace" else ""
            return self._allowed(lambda: self._client(context, namespace).get(kind, name))
        except AzError as error:
            if not error.missing:
                raise
            return None

    def change(self, *arguments: str, stdin: str | None = None) -> Any:
        """``apply`` of one object."""
        context, wanted = arguments[1], json.loads(stdin or "{}")
        namespace = wanted["metadata"].get("namespace", "")
        return self._allowed(lambda: self._client(context, namespace).apply(wanted))

    def _client(self, context: str, namespace: str) -> KubeClient:
        cluster = self._clusters[context]
        if (context, namespace) not in self._clients:
            made = KubeClient(lambda: access_of(self._az, cluster), namespace)
            self._clients[context, namespace] = made
        return self._clients[context, namespace]

    def _allowed(self, ask: Callable[[], _Answer]) -> _Answer | None:
        """Ask again while a role that was just given is not known yet; in a dry run nothing was."""
        while True:
            try:
                return ask()
            except KubeError as error:
                if error.status != FORBIDDEN:
                    raise
                if self._az.dry_run:
                    return None
                now = self._clock()
                self._give_up = self._give_up or now + _GRANT_SECONDS
                if now > self._give_up:
                    raise EngineError(
                        f"the cluster does not let this login do it: {error.message}",
                        "an Owner gives it the role Azure Kubernetes Service RBAC Cluster Admin on "
                        "the cluster; then run the same command again",
                    ) from None
                self._az.say.detail("the cluster does not know the new role yet; trying again")
            self._sleep(_PAUSE_SECONDS)
