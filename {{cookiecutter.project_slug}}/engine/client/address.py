"""An address that somebody typed."""

from __future__ import annotations

import argparse
from urllib.parse import urlsplit


def address(text: str) -> str:
    """The address of a service without a slash at its end, as a type for argparse.

    Raises:
        ArgumentTypeError: it is none, or has more than scheme, host and port.
    """
    parts = urlsplit(text)
    try:
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no address of a service: write http:// or https://, host and port"
        )
    return text.rstrip("/")
