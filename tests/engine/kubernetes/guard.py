"""Who asks the API server and what they may do, as AKS decides it with Azure's roles.

AKS runs `guard`: the API server asks it for each token (TokenReview) and each request
(SubjectAccessReview). Its rule for actions is reproduced here from its source: the group and the
resource, then read, write or delete; a subresource counts only for ``pods/exec``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

VERBS = {
    **dict.fromkeys(("get", "list", "watch"), "read"),
    **dict.fromkeys(("create", "patch", "update"), "write"),
    **dict.fromkeys(("delete", "deletecollection"), "delete"),
}
# Microsoft's page on built-in roles for containers: of what a deploy needs or must not have.
READER = frozenset(
    {
        "apps/deployments/read", "apps/replicasets/read", "services/read", "pods/read",
        "autoscaling/horizontalpodautoscalers/read", "policy/poddisruptionbudgets/read",
        "configmaps/read", "events/read", "namespaces/read", "serviceaccounts/read",
        "discovery.k8s.io/endpointslices/read",
    }
)  # fmt: skip
WRITER = READER | frozenset(
    f"{resource}/{verb}"
    for resource in (
        "apps/deployments", "apps/replicasets", "services", "pods", "secrets", "configmaps",
        "autoscaling/horizontalpodautoscalers", "policy/poddisruptionbudgets", "serviceaccounts",
        "networking.k8s.io/ingresses", "batch/jobs",
    )
    for verb in ("read", "write", "delete")
)  # fmt: skip


# What the default role system:basic-user lets everybody ask who is logged in.
SELF = frozenset({"selfsubjectreviews", "selfsubjectaccessreviews"})


def action(asked: Mapping[str, Any]) -> str:
    """Azure's action of a request for a resource."""
    group, resource = asked.get("group") or "", asked.get("resource") or ""
    place = f"{group}/{resource}" if group else resource
    if resource == "pods" and asked.get("subresource") == "exec":
        return f"{place}/exec/action"
    return f"{place}/{VERBS.get(asked.get('verb') or '', 'action')}"


class Guard:
    """The webhook; use it as a context manager.

    Args:
        principal: the object id of whom a token belongs to; None: it is not valid.
        allows: whether an object id may take an action of Azure in a namespace; "" for what is in
            none.

    Attributes:
        refused: actions that were refused, with who asked.
    """

    def __init__(
        self,
        principal: Callable[[str], str | None],
        allows: Callable[[str, str, str], bool],
    ) -> None:
        self._principal = principal
        self._allows = allows
        self.refused: list[tuple[str, str]] = []
        guard = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                review = json.loads(self.rfile.read(size))
                answered = (guard.tokens if "/tokens" in self.path else guard.rights)(
                    review["spec"]
                )
                body = json.dumps({**review, "status": answered}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Guard:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def tokens(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """The status of a TokenReview."""
        found = self._principal(spec["token"])
        if found is None:
            return {"authenticated": False, "error": "the token is not valid"}
        user = {"username": found, "uid": found, "extra": {"oid": [found]}}
        return {"authenticated": True, "user": user}

    def rights(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """The status of a SubjectAccessReview."""
        user, asked = spec.get("user") or "", spec.get("resourceAttributes")
        if user.startswith("system:"):
            # Kubernetes' own accounts keep the rights that its own roles give; none is used here.
            return {"allowed": False}
        if asked is None:
            # What everybody may read: version, health and the API's own description.
            return {"allowed": spec["nonResourceAttributes"]["verb"] == "get"}
        if asked.get("resource") in SELF:
            return {"allowed": True}
        wanted = action(asked)
        allowed = self._allows(user, asked.get("namespace") or "", wanted)
        if not allowed:
            self.refused.append((user, wanted))
        reason = "" if allowed else f"no role of {user} has {wanted}"
        return {"allowed": allowed, "denied": not allowed, "reason": reason}
