"""One service at one address, asked over HTTP; what can go wrong on the way has a name.

Proxies and certificates come from the environment: HTTPS_PROXY, HTTP_PROXY, NO_PROXY,
SSL_CERT_FILE.

``Limits`` are what a service must keep to be called healthy, and how gently it is asked.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit

import httpx

from engine.client.failures import Unreachable
from engine.client.refusals import is_ours, refusal
from engine.client.wire import Request

TRIES = 5
LONGEST_PAUSE_SECONDS = 5.0
BUSY = (429, 503)
PAUSE_SECONDS = 0.5
"""Before a further try, where the answer names no time."""
TOO_LARGE = 413

# What the message of a transport error contains, what that means, what to do about it.
_TRANSPORT = (
    (
        ("name or service not known", "nodename nor servname", "name resolution", "getaddrinfo"),
        "its name does not resolve",
        "check the address; the DNS name of a new container group takes up to some minutes",
    ),
    (
        ("connection refused",),
        "nothing listens on that port",
        "compare the port of the address with `port` of the environment and PORT of the service",
    ),
    (
        ("certificate", "ssl", "tls"),
        "the TLS connection cannot be trusted or made",
        "check the certificate, or name the file of the authority in SSL_CERT_FILE",
    ),
    (
        ("proxy", "tunnel"),
        "the proxy refuses the connection",
        "check HTTPS_PROXY and HTTP_PROXY, or name the host in NO_PROXY",
    ),
)
_UNKNOWN = (
    "check whether it runs: `.venv/bin/python -m engine.deploy status`, `.venv/bin/python -m "
    "engine.deploy logs ENV`"
)


FRONT_DOOR = "TRUSTED_FRONT_DOOR_ID"


def front_door_setting(settings: Mapping[str, str]) -> dict[str, str]:
    """The setting of that name, in capitals, if it is among these."""
    named = [value for name, value in settings.items() if name.upper() == FRONT_DOOR]
    return {FRONT_DOOR: named[-1]} if named and named[-1] else {}


def front_door(settings: Mapping[str, str]) -> dict[str, str]:
    """The header by which a service lets requests pass that names a Front Door in its settings."""
    found = front_door_setting(settings)
    return {"X-Azure-FDID": found[FRONT_DOOR]} if found else {}


class TooLarge(Exception):
    """The request has more bytes or rows than the service takes; a smaller one may pass."""


class Service:
    """A client of one service. The key goes into inference requests only, and into no message.

    ``headers`` go with every request: the Host by which clients know it where that is another than
    the address, or what leads to one of several releases behind it. So does the header of the Front
    Door that this process's environment names.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        seconds: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._key = {"X-API-Key": key} if key else {}
        given = {**front_door(os.environ), **(headers or {})}
        try:
            self._client = httpx.Client(base_url=self.url, timeout=seconds, headers=given)
        except (httpx.InvalidURL, ValueError) as error:
            raise Unreachable(f"{url}: {error}", "check the address and the proxy") from None

    def __enter__(self) -> Service:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Close all connections."""
        self._client.close()

    def get(self, path: str, *, with_key: bool = False) -> httpx.Response:
        """Ask one of the open routes, or one that needs the key.

        Raises:
            Unreachable: no answer came back.
        """
        try:
            return self._client.get(path, headers=self._key if with_key else None)
        except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise self._unreachable(error) from None

    def post(self, request: Request) -> httpx.Response:
        """Ask for inference, once; any status is an answer.

        Raises:
            Unreachable: no answer came back.
        """
        headers = {**request.headers, **self._key}
        try:
            return self._client.post(request.path, content=request.content, headers=headers)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def ask(self, request: Request) -> httpx.Response:
        """Ask for inference, again where the service is busy or the path is disturbed; any status
        is an answer.

        Raises:
            TooLarge: smaller requests may be answered.
            Unreachable: no answer came back.
        """
        for _ in range(TRIES - 1):
            try:
                response = self.post(request)
            except Unreachable:
                time.sleep(PAUSE_SECONDS)
                continue
            if response.status_code < 500 and response.status_code not in BUSY:
                break
            if response.status_code not in BUSY and is_ours(response):
                break
            time.sleep(_pause(response))
        else:
            response = self.post(request)
        if response.status_code == TOO_LARGE:
            raise TooLarge
        return response

    def infer(self, request: Request) -> httpx.Response:
        """``ask``, for a request that must be answered.

        Raises:
            TooLarge: smaller requests may be answered.
            VerifyError: it is refused; the kind says why.
        """
        response = self.ask(request)
        if response.status_code == 200:
            return response
        raise refusal(f"POST {self.url}{request.path}", response)

    def _unreachable(self, error: Exception) -> Unreachable:
        if isinstance(error, httpx.TimeoutException):
            kind = type(error).__name__
            return Unreachable(f"{self.url}: no answer in time ({kind})", _UNKNOWN)
        text = str(error)
        for words, meaning, fix in _TRANSPORT:
            if any(word in text.lower() for word in words):
                return Unreachable(f"{self.url}: {meaning} ({text})", fix)
        return Unreachable(f"{self.url}: {text or type(error).__name__}", _UNKNOWN)


def _pause(response: httpx.Response) -> float:
    try:
        return min(float(response.headers["Retry-After"]), LONGEST_PAUSE_SECONDS)
    except (KeyError, ValueError):
        return PAUSE_SECONDS


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


MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Times end in their unit; requests stay below ``rows`` and ``request_bytes``.

    ``ready_seconds`` is how long the service may take until it is ready, ``request_seconds`` how
    long one answer may take. The burst sends ``burst_requests`` single rows, ``burst_clients`` at
    a time (0: none); 95 of 100 answers must come within ``burst_p95_ms``, the way over the network
    included.
    """

    ready_seconds: float = 300.0
    request_seconds: float = 30.0
    rows: int = 256
    request_bytes: int = 4 * MEBIBYTE
    burst_requests: int = 200
    burst_clients: int = 4
    burst_p95_ms: float = 500.0
