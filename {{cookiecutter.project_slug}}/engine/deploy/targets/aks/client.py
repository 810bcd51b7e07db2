"""The Kubernetes API, asked over HTTPS with a token of Entra: no kubectl, no kubelogin.

Objects are sent by server-side apply, in which a field that the cluster does not know is refused
and a field that somebody else has set is named. (Kubernetes documentation, "Server-Side Apply".)
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from engine.deploy.targets.aks.document import Object
from engine.deploy.targets.base import Check
from engine.errors import EngineError

Objects = list[Object]

MANAGER: Final = "deploy"
SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 180.0
PAUSE_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 20.0
UNAUTHORIZED, MISSING, CONFLICT = 401, 404, 409
LOG_LINES: Final = 300
# The API server answers an apply with an unknown field with 500.
_NO_FIELD: Final = "failed to create typed patch object"

# Prefix of the path and name in it, by kind.
KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "Deployment": ("/apis/apps/v1", "deployments"),
    "ReplicaSet": ("/apis/apps/v1", "replicasets"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "Service": ("/api/v1", "services"),
    "Secret": ("/api/v1", "secrets"),
    "Pod": ("/api/v1", "pods"),
    "Event": ("/api/v1", "events"),
    "Namespace": ("/api/v1", "namespaces"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "DaemonSet": ("/apis/apps/v1", "daemonsets"),
    "Gateway": ("/apis/gateway.networking.k8s.io/v1", "gateways"),
    "HTTPRoute": ("/apis/gateway.networking.k8s.io/v1", "httproutes"),
}


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is and who asks. ``authority`` is its certificate authority, PEM."""

    server: str
    authority: str
    token: str


class KubeError(EngineError):
    """The API server refused. ``status`` is that of HTTP, 0 where no answer came; ``reason`` is
    Kubernetes' own, such as Forbidden or Invalid.
    """

    def __init__(self, what: str, status: int, reason: str, message: str) -> None:
        told = message or reason or f"status {status}"
        super().__init__(f"{what}: {told}", _fix(status, reason, message))
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def transient(self) -> bool:
        """Whether the same may pass later."""
        if _NO_FIELD in self.message:
            return False
        return self.status in (0, 408, 429) or self.status >= 500


class KubeClient:
    """The objects of one namespace, and with an empty one those of the whole cluster; ``sleep`` and
    ``clock`` are there for tests.
    """

    def __init__(
        self,
        source: Callable[[], Access],
        namespace: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.namespace = namespace
        self._source = source
        self._sleep = sleep
        self._clock = clock
        self._known: tuple[Access, httpx.Client] | None = None

    @property
    def login(self) -> Mapping[str, str]:
        """The header that says who asks."""
        return {"Authorization": f"Bearer {self._session()[0].token}"}

    @property
    def authority(self) -> str:
        """That of the API server's certificate, PEM."""
        return self._session()[0].authority

    def _session(self) -> tuple[Access, httpx.Client]:
        """Asked for at the first request: a plan needs none."""
        if self._known is None:
            access = self._source()
            trust = ssl.create_default_context(cadata=access.authority)
            self._known = (
                access,
                httpx.Client(
                    base_url=access.server,
                    verify=trust,
                    headers={
                        "Authorization": f"Bearer {access.token}",
                        "Accept": "application/json",
                    },
                    timeout=SECONDS,
                ),
            )
        return self._known

    def get(self, kind: str, name: str) -> Object | None:
        """An object; None where there is none."""
        try:
            return self._ask("GET", self._path(kind, name))
        except KubeError as error:
            if error.status == MISSING and error.reason == "NotFound":
                return None
            raise

    def whoami(self) -> Object:
        """Who asks, as the API server sees it (Kubernetes documentation, SelfSubjectReview)."""
        kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        return self._ask("POST", path, body=kind, kind="application/json")

    def list(self, kind: str, labels: Mapping[str, str]) -> Objects:
        """All objects of a kind that have these labels, in the order of their names."""
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}
        return self._all(kind, query)

    def events(self, kind: str, name: str) -> Objects:
        """What happened to one object, oldest first."""
        query = {"fieldSelector": f"involvedObject.kind={kind},involvedObject.name={name}"}
        found = self._all("Event", query)
        return sorted(found, key=lambda each: str(each.get("lastTimestamp") or ""))

    def apply(self, wanted: Object, check: Check | None = None) -> Object:
        """Make the object as it is wanted, or change it; what is there then.

        Raises:
            KubeError: refused: a field is not known, or somebody else sets it.
        """
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        path = self._path(wanted["kind"], wanted["metadata"]["name"])
        return self._ask("PATCH", path, query, wanted, "application/apply-patch+yaml", check)

    def merge(self, kind: str, name: str, change: Object, check: Check | None = None) -> Object:
        """Change an object in part, in one step; None removes a key. What is there then."""
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        path = self._path(kind, name)
        return self._ask("PATCH", path, query, change, "application/merge-patch+json", check)

    def delete(self, kind: str, name: str) -> None:
        """Remove an object and what it made; no fault where there is none."""
        try:
            self._ask("DELETE", self._path(kind, name), {"propagationPolicy": "Background"})
        except KubeError as error:
            if error.status != MISSING:
                raise

    def log(self, pod: str, container: str, *, follow: bool) -> Iterator[str]:
        """Lines of a container's log, oldest first."""
        query = {"container": container, "tailLines": str(LOG_LINES)}
        if follow:
            query["follow"] = "true"
        url = f"{self._path('Pod', pod)}/log"
        try:
            with self._session()[1].stream("GET", url, params=query, timeout=None) as answer:
                if answer.status_code != httpx.codes.OK:
                    answer.read()
                    raise _refusal(f"GET {url}", answer)
                yield from answer.iter_lines()
        except httpx.TransportError as error:
            raise KubeError(f"GET {url}", 0, type(error).__name__, str(error)) from None

    def proxy_address(self, service: str) -> str:
        """Where the API server passes requests on to the ready pods of a Service."""
        server = self._session()[0].server.rstrip("/")
        return f"{server}{self._path('Service', f'http:{service}:http')}/proxy"

    def _all(self, kind: str, query: dict[str, str]) -> Objects:
        found: Objects = []
        page = ""
        while True:
            more = {"continue": page} if page else {}
            answer = self._ask("GET", self._path(kind), {**query, "limit": "500", **more})
            found += answer.get("items") or []
            page = (answer.get("metadata") or {}).get("continue") or ""
            if not page:
                return found

    def _path(self, kind: str, name: str = "") -> str:
        prefix, plural = KINDS[kind]
        within = f"/namespaces/{self.namespace}" if self.namespace else ""
        path = f"{prefix}{within}/{plural}"
        return f"{path}/{name}" if name else path

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        kind: str = "",
        check: Check | None = None,
    ) -> Object:
        """One request, again where the cluster is busy: each of them may be repeated."""
        give_up = self._clock() + PATIENCE_SECONDS
        pause, renewed = PAUSE_SECONDS, False
        while True:
            try:
                return self._once(method, path, query, body, kind)
            except KubeError as error:
                if error.status == UNAUTHORIZED and not renewed:
                    # A token lasts about an hour, and a rollout may last longer.
                    self._known, renewed = None, True
                    continue
                if not error.transient or self._clock() >= give_up:
                    raise
            self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            if check is not None:
                check()

    def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Object | None,
        kind: str,
    ) -> Object:
        content = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind} if kind else {}
        what = f"{method} {path}"
        try:
            answer = self._session()[1].request(
                method, path, params=query, content=content, headers=headers
            )
        except httpx.TransportError as error:
            raise KubeError(what, 0, type(error).__name__, str(error)) from None
        if not answer.is_success:
            raise _refusal(what, answer)
        found: Object = answer.json()
        return found


def _refusal(what: str, answer: httpx.Response) -> KubeError:
    try:
        told: Any = answer.json()
    except ValueError:
        told = {}
    if not isinstance(told, dict):
        told = {}
    return KubeError(
        what, answer.status_code, str(told.get("reason") or ""), str(told.get("message") or "")
    )


def _fix(status: int, reason: str, message: str) -> str:
    if status == UNAUTHORIZED:
        return "log in again (`az login`): the token is not accepted"
    if status == 403:
        return (
            "give the identity the role Azure Kubernetes Service RBAC Writer for the namespace; "
            "`.venv/bin/python -m engine.deploy bootstrap` does, and it takes up to five minutes"
        )
    if status == MISSING:
        return "`.venv/bin/python -m engine.deploy bootstrap` makes the namespace"
    if status == CONFLICT:
        return "somebody else sets this; remove it there, or leave it to the deploy"
    if status == 422 or reason == "Invalid" or _NO_FIELD in message:
        return "correct the named field"
    return "try again"
