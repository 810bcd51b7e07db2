"""Where captured requests are kept: a folder, or a container of Azure Blob storage.

A store holds files `MODEL/DAY/HOUR-PROCESS.jsonl`; days are those of UTC, as in 2026-11-30.
"""

from __future__ import annotations

import http.client
import os
import re
import secrets
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol
from xml.etree import ElementTree

from engine.serving.package.download import BLOB_API, identity_token

SECONDS: Final = 10
# Tokens of a managed identity are valid for hours, and asked for anew long before they end.
TOKEN_SECONDS: Final = 300
# Of a blob's name or a folder: the day.
DAY: Final = re.compile(r"[^/]+/(\d{4}-\d\d-\d\d)/[^/]+\.jsonl")
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


class Store(Protocol):
    """Keeps lines by model and day."""

    def append(self, model: str, day: str, hour: str, lines: bytes) -> None:
        """Keep lines.

        Raises:
            OSError: they cannot be kept.
        """

    def used(self, day: str) -> int:
        """Bytes that were kept on a day: in a folder by all workers, else by this one."""

    def remove_before(self, day: str) -> None:
        """Remove what is older.

        Raises:
            OSError: it cannot be removed.
        """

    def read(self, model: str, most: int) -> bytes | None:
        """The newest lines of a model, at most so many bytes; None: they are read elsewhere."""


def open_store(place: str) -> Store:
    """The store that the setting CAPTURE names."""
    return Container(place) if place.startswith("https://") else Folder(Path(place))


class Folder:
    """A folder on this machine, readable by the user of this process only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = secrets.token_hex(4)

    def append(self, model: str, day: str, hour: str, lines: bytes) -> None:
        """See ``Store``."""
        folder = self._folder / model / day
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        path = folder / f"{hour}-{self._process}.jsonl"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with os.fdopen(os.open(path, flags, PRIVATE_FILE), "ab") as file:
            file.write(lines)

    def used(self, day: str) -> int:
        """See ``Store``."""
        return sum(path.stat().st_size for path in self._folder.glob(f"*/{day}/*.jsonl"))

    def remove_before(self, day: str) -> None:
        """See ``Store``."""
        for folder in self._folder.glob("*/*/"):
            if DAY.fullmatch(f"m/{folder.name}/f.jsonl") and folder.name < day:
                shutil.rmtree(folder, ignore_errors=True)

    def read(self, model: str, most: int) -> bytes | None:
        """See ``Store``."""
        newest: list[bytes] = []
        # A process has at most one file for each hour.
        for path in sorted(
            self._folder.glob(f"{model}/*/*.jsonl"), key=_day_and_hour, reverse=True
        ):
            if most <= 0:
                break
            with suppress(OSError), path.open("rb") as file:
                start = max(0, path.stat().st_size - most)
                file.seek(start)
                lines = file.read(most)
                if start:
                    lines = lines[lines.find(b"\n") + 1 :]
                newest.append(lines[: lines.rfind(b"\n") + 1])
                most -= len(newest[-1])
        return b"".join(reversed(newest))


def _day_and_hour(path: Path) -> tuple[str, str]:
    return path.parent.name, path.name


class Container:
    """A container of Azure Blob storage, written to with the managed identity of this container.

    Source: Azure Storage REST API, "Put Blob", "Append Block", "List Blobs", "Delete Blob".
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._process = secrets.token_hex(4)
        self._token, self._token_until = "", 0.0
        self._made = ""
        self._used: dict[str, int] = {}

    def append(self, model: str, day: str, hour: str, lines: bytes) -> None:
        """See ``Store``."""
        name = f"{model}/{day}/{hour}-{self._process}.jsonl"
        if self._made != name:
            self._send("PUT", name, b"", {"x-ms-blob-type": "AppendBlob"})
            self._made = name
        self._send("PUT", f"{name}?comp=appendblock", lines)
        self._used = {day: self._used.get(day, 0) + len(lines)}

    def used(self, day: str) -> int:
        """See ``Store``."""
        return self._used.get(day, 0)

    def remove_before(self, day: str) -> None:
        """See ``Store``."""
        for name in self._names():
            found = DAY.fullmatch(name)
            if found is not None and found[1] < day:
                self._send("DELETE", urllib.parse.quote(name))

    def read(self, model: str, most: int) -> bytes | None:
        """See ``Store``."""
        return None

    def _names(self) -> Iterator[str]:
        marker = ""
        while True:
            query = urllib.parse.urlencode(
                {"restype": "container", "comp": "list", "marker": marker}
            )
            # The platform's own answer: a page of at most 5,000 names.
            page = ElementTree.fromstring(self._send("GET", f"?{query}"))  # noqa: S314
            yield from (each.text or "" for each in page.iterfind("Blobs/Blob/Name"))
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return

    def _send(
        self,
        method: str,
        name: str,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        if time.monotonic() >= self._token_until:
            self._token = identity_token()
            self._token_until = time.monotonic() + TOKEN_SECONDS
        place = f"{self._address}{name}" if name.startswith("?") else f"{self._address}/{name}"
        sent = {"Authorization": f"Bearer {self._token}", "x-ms-version": BLOB_API}
        sent |= headers or {}
        request = urllib.request.Request(place, content, sent, method=method)  # noqa: S310 - https
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            # Another worker may have removed it.
            if (method, error.code) == ("DELETE", http.client.NOT_FOUND):
                return b""
            self._token_until = 0.0
            raise
