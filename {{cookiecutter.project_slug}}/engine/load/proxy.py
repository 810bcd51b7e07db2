"""The proxy that the environment names for an address: HTTPS_PROXY, HTTP_PROXY, NO_PROXY.

Locust's fast client takes a proxy and does not look for one itself.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from engine.errors import EngineError


def proxy_arguments(url: str) -> dict[str, Any]:
    """What geventhttpclient has to be told to reach an address; empty: no proxy.

    Raises:
        EngineError: the proxy is of a kind that cannot be used.
    """
    target = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    host = target.hostname or ""
    port = target.port or (443 if target.scheme == "https" else 80)
    if not proxy or proxy_bypass(f"{host}:{port}"):
        return {}
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme != "http" or not parts.hostname:
        raise EngineError(
            f"the load test cannot go through a proxy of kind {parts.scheme!r}",
            f"name an http:// proxy in {target.scheme.upper()}_PROXY, or the host in NO_PROXY",
        )
    arguments: dict[str, Any] = {"proxy_host": parts.hostname, "proxy_port": parts.port or 80}
    if parts.username:
        arguments["proxy_user"] = unquote(parts.username)
        arguments["proxy_password"] = unquote(parts.password or "")
    return arguments
