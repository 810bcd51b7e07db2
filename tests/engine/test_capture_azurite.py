"""Captured requests in Microsoft's emulator of Azure storage, which checks requests and tokens."""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine.serving.capture import stores
from engine.serving.capture.stores import Container

from tests.engine.server import free_port

VERSION = "3.35.0"
API = "2023-11-03"


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def token() -> str:
    """A token for storage; the emulator reads its claims and checks no signature."""
    now = int(time.time())
    claims = {
        "aud": "https://storage.azure.com",
        "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000001/",
        **{"iat": now - 60, "nbf": now - 60, "exp": now + 3600, "ver": "1.0"},
    }
    return f"{part({'alg': 'RS256', 'typ': 'JWT'})}.{part(claims)}.c2ln"


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty container."""
    npm, openssl = shutil.which("npm"), shutil.which("openssl")
    if npm is None or openssl is None:
        # Where everything must run, their absence is a failure.
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say("needs npm and openssl (Debian: apt install npm openssl)")
    install = [npm, "install", "--silent", "--no-audit", "--no-fund", f"azurite@{VERSION}"]
    subprocess.run(install, cwd=tmp_path, check=True)
    certificate, key, port = tmp_path / "cert.pem", tmp_path / "key.pem", free_port()
    made = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -addext"
    names: list[str | Path] = ["subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([openssl, *made.split(), *names], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(stores, "identity_token", token)
    command: list[str | Path] = [
        tmp_path / "node_modules" / ".bin" / "azurite-blob",
        *("--oauth", "basic", "--silent", "--disableTelemetry", "--location", tmp_path / "blobs"),
        *("--cert", certificate, "--key", key, "--blobHost", "127.0.0.1", "--blobPort", str(port)),
    ]
    process = subprocess.Popen(command)
    try:
        address = f"https://127.0.0.1:{port}/devstoreaccount1/captured"
        deadline = time.monotonic() + 60
        while True:
            try:
                assert asked("PUT", f"{address}?restype=container") == b""
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=15)


def asked(method: str, address: str) -> bytes:
    headers = {"Authorization": f"Bearer {token()}", "x-ms-version": API, "Content-Length": "0"}
    request = urllib.request.Request(address, method=method, headers=headers)
    with urllib.request.urlopen(request, context=ssl.create_default_context()) as answer:
        return bytes(answer.read())


@pytest.mark.exhaustive
def test_lines_are_appended_listed_and_removed(container: str) -> None:
    store = Container(container)
    store.append("iris", "2026-11-29", "23", b'{"a":1}\n')
    store.append("iris", "2026-11-30", "00", b'{"a":2}\n')
    store.append("iris", "2026-11-30", "00", b'{"a":3}\n')
    before = list(store._names())
    assert [asked("GET", f"{container}/{name}") for name in before] == [
        b'{"a":1}\n',
        b'{"a":2}\n{"a":3}\n',
    ]
    store.remove_before("2026-11-30")
    assert list(store._names()) == before[1:]
