"""No proxy between a program and its own machine."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

LOCAL = ("127.0.0.1", "localhost", "::1", "169.254.169.254")
"""Loopback, and where Azure's machines give out tokens of their identity."""


def keep_local_direct(environment: MutableMapping[str, str] = os.environ) -> None:
    """Add the machine's own addresses to NO_PROXY.

    HTTP_PROXY, HTTPS_PROXY and ALL_PROXY apply to all other addresses. HTTP clients and child
    processes read the variable, those of libraries included.
    """
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if listed.strip() != "*":
        hosts = [each.strip() for each in listed.split(",") if each.strip()]
        listed = ",".join(dict.fromkeys([*hosts, *LOCAL]))
    environment["NO_PROXY"] = environment["no_proxy"] = listed
