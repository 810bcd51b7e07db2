"""Has a secret changed? Answered from a tag that gives nothing away.

Azure never returns a secret, so what was set can only be recognised by something kept beside it.
scrypt makes every guess at the secrets cost memory and time, and the salt makes equal secrets look
different in every group.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping

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
