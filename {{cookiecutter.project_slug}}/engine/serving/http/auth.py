"""API keys. Several at once, so that a key can be replaced without a moment of refusal."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from engine.serving.errors import Unauthorized

BEARER = b"bearer "


class KeyGuard:
    """Lets a request pass when it carries one of the keys; lets all pass when there are none."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = [key.encode() for key in keys]

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Look for ``X-API-Key`` or ``Authorization: Bearer``.

        Raises:
            Unauthorized: no key, or a wrong one. The key is not repeated.
        """
        if not self._keys:
            return
        given = headers.get(b"x-api-key")
        if given is None:
            authorization = headers.get(b"authorization", b"")
            if authorization[: len(BEARER)].lower() == BEARER:
                given = authorization[len(BEARER) :].strip()
        if given is None:
            raise Unauthorized("an API key is needed: send it as X-API-Key or as a bearer token")
        # Every key is compared, in constant time, so that time tells nothing about any of them.
        if not sum(hmac.compare_digest(given, key) for key in self._keys):
            raise Unauthorized("this API key is not accepted")
