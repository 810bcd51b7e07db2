"""Chromium, and an eye on what a page does in it: its requests, its errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

PROGRAMS = ("chromium", "google-chrome", "chromium-browser")
# As root, in a container, without a network; and with nothing that asks its maker's servers.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def program() -> str | None:
    """The browser to use, None where there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page and what it did.

    ``expects`` is a part of the complaints that the test provokes, such as of an answer with 401:
    the browser tells of each on the console.
    """

    page: Page
    expects: str = ""
    addresses: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.addresses.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._heard)

    def _heard(self, message: ConsoleMessage) -> None:
        expected = self.expects and self.expects in message.text
        # Breaches of the content security policy are told here as well.
        if message.type in ("error", "warning") and not expected:
            self.complaints.append(message.text)

    def check(self, url: str) -> None:
        """Nothing was asked of another place than this one, and nothing went wrong."""
        assert self.addresses, "the page asked for nothing; was it watched?"
        assert [each for each in self.addresses if not _within(each, url)] == []
        assert self.complaints == []


def _within(address: str, root: str) -> bool:
    asked, own = urlsplit(address), urlsplit(root)
    if asked.scheme == "data":
        return True
    folder = own.path.rstrip("/")
    here = asked.path == folder or asked.path.startswith(f"{folder}/")
    return (asked.scheme, asked.netloc) == (own.scheme, own.netloc) and here
