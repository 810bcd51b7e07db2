"""Where two JSON documents differ, the digest of one, and whether a secret has changed.

Azure never returns a secret, so a fingerprint of it is kept in a tag, which gives nothing away.
scrypt makes every guess at the secrets cost memory and time, and the salt makes equal secrets look
different in every group.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

_SCHEME = "scrypt1"
# 32 MiB and some 50 ms for each guess.
_COST = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024, "dklen": 32}


def secrets_fingerprint(values: Mapping[str, str], salt: bytes | None = None) -> str:
    """The fingerprint of secrets by name, with a new salt unless one is given; fits into a tag."""
    salt = secrets.token_bytes(16) if salt is None else salt
    text = json.dumps(sorted(values.items())).encode()
    return f"{_SCHEME}:{salt.hex()}:{hashlib.scrypt(text, salt=salt, **_COST).hex()}"


def same_secrets(values: Mapping[str, str], fingerprint: str | None) -> bool:
    """Whether the fingerprint was made of these secrets; one that cannot be read was not."""
    parts = (fingerprint or "").split(":")
    if len(parts) != 3 or parts[0] != _SCHEME:
        return False
    try:
        salt = bytes.fromhex(parts[1])
    except ValueError:
        return False
    return hmac.compare_digest(secrets_fingerprint(values, salt), fingerprint or "")


_NAMES = ("name", "port", "server", "id", "type")
"""What the items of a list are known by, first match; else by their position."""


def differing_paths(one: object, other: object, path: str = "") -> Iterator[str]:
    """The paths of all that differs, such as ``properties.containers[service].name``."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            below = f"{path}.{key}" if path else str(key)
            yield from _below(one, other, key, below)
    elif isinstance(one, list) and isinstance(other, list):
        ones, others = _named(one), _named(other)
        for name in sorted(ones.keys() | others.keys()):
            yield from _below(ones, others, name, f"{path}[{name}]")
    elif one != other:
        yield path


def canonical_digest(document: object) -> str:
    """sha256 of a JSON document, the order of its keys aside: ``sha256:<64 hex digits>``."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def whole_numbers(value: Any) -> Any:
    """The same document with 1 in place of 1.0, as which Azure gives it back."""
    if isinstance(value, dict):
        return {key: whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def without_empty(value: Any, keep: frozenset[str] = frozenset()) -> Any:
    """The same document without keys that say nothing: null, empty text, list or object.

    ``keep`` names keys that say something by being there.
    """
    if isinstance(value, dict):
        lean = {key: without_empty(item, keep) for key, item in value.items()}
        return {k: v for k, v in lean.items() if k in keep or v not in (None, "", [], {})}
    if isinstance(value, list):
        return [without_empty(item, keep) for item in value]
    return value


def _below(one: dict[str, Any], other: dict[str, Any], key: str, path: str) -> Iterator[str]:
    if key in one and key in other:
        yield from differing_paths(one[key], other[key], path)
    else:
        yield path


def _named(items: list[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for position, item in enumerate(items):
        known = [str(item[key]) for key in _NAMES if key in item] if isinstance(item, dict) else []
        name = known[0] if known and known[0] not in named else str(position)
        named[name] = item
    return named
