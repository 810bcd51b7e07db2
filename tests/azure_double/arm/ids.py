"""Resource identifiers: paths of alternating types and names, compared without regard to case."""

from __future__ import annotations

_GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"
_SUBSCRIPTIONS = "Microsoft.Resources/subscriptions"


def key(identifier: str) -> str:
    """What two spellings of one identifier have in common."""
    return "/" + "/".join(part for part in identifier.lower().split("/") if part)


def is_below(identifier: str, scope: str) -> bool:
    """Whether an identifier is the scope itself or lies in it; "/" holds everything."""
    inner, outer = key(identifier), key(scope)
    return outer == "/" or inner == outer or inner.startswith(outer + "/")


def subscription(identifier: str) -> str:
    """The subscription's GUID in an identifier; "" where there is none."""
    return _after(identifier, "subscriptions")


def group(identifier: str) -> str:
    """The name of the resource group in an identifier; "" where there is none."""
    return _after(identifier, "resourceGroups")


def name(identifier: str) -> str:
    """The last segment."""
    return identifier.rstrip("/").rpartition("/")[2]


def type_of(identifier: str) -> str:
    """The type, for example ``Microsoft.ContainerInstance/containerGroups``.

    Raises:
        ValueError: the path names no resource.
    """
    head, found, tail = _last_provider(identifier)
    if found:
        namespace, *rest = tail.split("/")
        if rest and len(rest) % 2 == 0:
            return "/".join([namespace, *rest[::2]])
    elif head and len(head) == 4 and head[2].lower() == "resourcegroups":
        return _GROUPS
    elif head and len(head) == 2 and head[0].lower() == "subscriptions":
        return _SUBSCRIPTIONS
    raise ValueError(f'"{identifier}" is not the identifier of a resource')


def _last_provider(identifier: str) -> tuple[list[str], bool, str]:
    parts = [part for part in identifier.split("/") if part]
    for position in range(len(parts) - 1, -1, -1):
        if parts[position].lower() == "providers":
            return parts[:position], True, "/".join(parts[position + 1 :])
    return parts, False, ""


def _after(identifier: str, segment: str) -> str:
    parts = [part for part in identifier.split("/") if part]
    for position, part in enumerate(parts[:-1]):
        if part.lower() == segment.lower() and position % 2 == 0:
            return parts[position + 1]
    return ""
