"""Where telemetry may be sent: what the two settings must look like.

Checked at the start, so that a slip of the pen is one clear line instead of spans that never
arrive. Messages do not repeat what they refuse: both can hold keys.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
EXAMPLE = "InstrumentationKey=<UUID>;IngestionEndpoint=https://<host>/"


def connection_string(value: object) -> object:
    """Application Insights' connection string, without the semicolon that may end it.

    The parts and their names: https://learn.microsoft.com/azure/azure-monitor/app/connection-strings

    Raises:
        ValueError: it has no usable key or endpoint.
    """
    if not isinstance(value, str):
        return value
    text = value.strip().rstrip(";")
    parts = {}
    for part in text.split(";"):
        name, _, content = part.partition("=")
        if not content or "=" in content:
            raise ValueError(f"must be name=value pairs between semicolons: {EXAMPLE}")
        parts[name.strip().lower()] = content
    if not KEY.fullmatch(parts.get("instrumentationkey", "")):
        raise ValueError("InstrumentationKey must be a UUID in lower case; copy the whole string")
    endpoint = parts.get("ingestionendpoint")
    if endpoint is None and "endpointsuffix" not in parts:
        raise ValueError(f"IngestionEndpoint is missing: {EXAMPLE}")
    if endpoint is not None and not _is_base_url(endpoint):
        raise ValueError("IngestionEndpoint must be https://<host>/")
    return text


def collector_url(value: object) -> object:
    """The base URL of an OTLP collector, without the slash that may end it.

    Raises:
        ValueError: it is not an http or https URL without user, query and fragment.
    """
    if not isinstance(value, str):
        return value
    if not _is_base_url(value):
        raise ValueError(
            "must be http://<host>:<port> or https://…, without user, query and fragment; "
            "keys belong into OTEL_EXPORTER_OTLP_HEADERS"
        )
    return value.rstrip("/")


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # Reading the port checks it.
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    extra = parts.username is not None or parts.query or parts.fragment or "?" in text
    return usable and parts.scheme in ("http", "https") and not extra and text.isprintable()
