"""Routes: how a provider says which calls it answers, and what each needs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .call import Answer, Call
    from .store import Resource

Handle = Callable[["Call"], Awaitable["Answer"]]
OnDelete = Callable[["Resource"], Awaitable[None]]

IN_SUBSCRIPTION = "/subscriptions/{subscription}"
IN_GROUP = IN_SUBSCRIPTION + "/resourceGroups/{group}"


@dataclass(frozen=True)
class Route:
    """One call.

    Attributes:
        method: upper case.
        template: the path; ``{name}`` stands for one segment, ``{scope*}`` for any number.
            Literal segments match whatever their case.
        handle: answers it.
        action: what the caller needs on `Call.scope`, or "" for every logged-in caller.
        type: the resource type, for messages.
        versions: the api-versions that are accepted; empty means any.
        makes: a resource is created, so the group must exist and the namespace be registered.
        subject: the template of `Call.id`; default: the path itself.
        scope: the template of `Call.scope`, where the action is needed; default: the subject.
        cut: the answer is a list, cut down to what the caller may read: over a subscription that
            is no error for who has a role on a part of it.
    """

    method: str
    template: str
    handle: Handle
    action: str
    type: str
    versions: frozenset[str] = frozenset()
    makes: bool = False
    subject: str = ""
    scope: str = ""
    cut: bool = False
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pieces = re.split(r"(\{\w+\*?\})", self.template)
        source = "".join(_piece(piece) for piece in pieces)
        object.__setattr__(self, "pattern", re.compile(source, re.IGNORECASE))

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The values of the template's names, spelled as in the path; None: not this route."""
        if method != self.method:
            return None
        found = self.pattern.fullmatch(path)
        return found.groupdict() if found else None

    def identifier(self, values: dict[str, str]) -> str:
        """What the call is about, with the templates' own spelling of everything but values."""
        return _fill(self.subject or self.template, values)

    def needed_at(self, values: dict[str, str]) -> str:
        """Where the caller needs the action."""
        return _fill(self.scope or self.subject or self.template, values)


def _fill(template: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\*?\}", lambda found: values[found[1]], template)


def _piece(piece: str) -> str:
    if not piece.startswith("{"):
        return re.escape(piece)
    name = piece[1:-1]
    if name.endswith("*"):
        return f"(?P<{name[:-1]}>.*)"
    return f"(?P<{name}>[^/]+)"


@dataclass(frozen=True)
class ResourceType:
    """Makes the routes of one resource type, with Azure's conventions for paths and actions.

    In the templates the resource's own name is ``{name}`` and that of its parent ``{parent}``.

    Attributes:
        namespace: for example ``Microsoft.ManagedIdentity``.
        path: for example ``userAssignedIdentities`` or
            ``userAssignedIdentities/federatedIdentityCredentials``.
        versions: the api-versions that this type knows.
        on_delete: awaited before such a resource goes, also when its group or parent is deleted.
    """

    namespace: str
    path: str
    versions: frozenset[str]
    on_delete: OnDelete | None = None

    @property
    def name(self) -> str:
        """Namespace and type as in a resource's ``type``."""
        return f"{self.namespace}/{self.path}"

    @property
    def parent(self) -> str:
        """The template of what holds such resources: a group or a parent resource."""
        names = ["{parent}", "{grandparent}"][: self.path.count("/")][::-1]
        outer = zip(self.path.split("/"), names, strict=False)
        nested = "".join(f"/{part}/{name}" for part, name in outer)
        return f"{IN_GROUP}/providers/{self.namespace}{nested}" if nested else IN_GROUP

    @property
    def collection(self) -> str:
        """The template of the list in a group or parent."""
        last = self.path.rpartition("/")[2]
        if "/" in self.path:
            return f"{self.parent}/{last}"
        return f"{IN_GROUP}/providers/{self.namespace}/{last}"

    @property
    def template(self) -> str:
        """The template of one resource."""
        return self.collection + "/{name}"

    def put(self, handle: Handle) -> Route:
        """Create or replace: needs ``…/write``."""
        return self._one("PUT", handle, "write", makes=True)

    def patch(self, handle: Handle) -> Route:
        """Change in part: needs ``…/write``."""
        return self._one("PATCH", handle, "write")

    def get(self, handle: Handle) -> Route:
        """Show: needs ``…/read``."""
        return self._one("GET", handle, "read")

    def delete(self, handle: Handle) -> Route:
        """Delete: needs ``…/delete``."""
        return self._one("DELETE", handle, "delete")

    def list(self, handle: Handle) -> Route:
        """List in the group or parent: needs ``…/read`` there."""
        return self._many(self.collection, handle, self.parent)

    def list_all(self, handle: Handle) -> Route:
        """List in the subscription: everybody gets what they may read."""
        template = f"{IN_SUBSCRIPTION}/providers/{self.name}"
        scope = IN_SUBSCRIPTION
        return Route("GET", template, handle, "", self.name, self.versions, scope=scope, cut=True)

    def post(self, verb: str, handle: Handle) -> Route:
        """An action on one resource, ``POST …/{name}/verb``: needs ``…/verb/action``."""
        return self.below("POST", verb, handle, f"{verb}/action")

    def below(self, method: str, template: str, handle: Handle, action: str) -> Route:
        """Anything else under one resource, for example
        ``below("GET", "containers/{container}/logs", show_logs, "containers/logs/read")``;
        the action is relative to the type.
        """
        path = f"{self.template}/{template}"
        needed = f"{self.name}/{action}"
        return Route(method, path, handle, needed, self.name, self.versions, subject=self.template)

    def in_subscription(self, method: str, template: str, handle: Handle, action: str) -> Route:
        """A call of the namespace on the subscription, for example
        ``in_subscription("GET", "locations/{location}/usages", usages, "locations/usages/read")``;
        the action is relative to the namespace, and "" lets every logged-in caller pass.
        """
        path = f"{IN_SUBSCRIPTION}/providers/{self.namespace}/{template}"
        needed = f"{self.namespace}/{action}" if action else ""
        return Route(method, path, handle, needed, self.name, self.versions, scope=IN_SUBSCRIPTION)

    def _one(self, method: str, handle: Handle, verb: str, *, makes: bool = False) -> Route:
        action = f"{self.name}/{verb}"
        return Route(method, self.template, handle, action, self.name, self.versions, makes)

    def _many(self, template: str, handle: Handle, scope: str) -> Route:
        action = f"{self.name}/read"
        return Route("GET", template, handle, action, self.name, self.versions, scope=scope)
