"""Renew docs/page.png: `make picture` renders a service, loads it for two minutes and looks.

The picture is of this machine, and of its fonts: Debian's `fonts-inter` was installed.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from pathlib import Path

import httpx
from playwright.sync_api import ViewportSize, expect

from scripts.rendering import render
from tests.once import installed
from tests.service.running import running

from .browser import chromium, program

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "page.png"
SIZE: ViewportSize = {"width": 1200, "height": 900}
MOST_BYTES = 150_000
SECONDS = 122
OPENING = 8  # until the browser has started
CLIENTS = 8
# How busy the clients are, as a day might go: pauses between requests, in seconds.
PAUSES = (0.03, 0.025, 0.02, 0.012, 0.008, 0.012, 0.02, 0.015, 0.01, 0.02)
FLOWERS = '{"data": [%s]}'
FLOWER = "[5.9, 3.0, 5.1, 1.8]"


def main() -> None:
    """Render, serve, load, look.

    Raises:
        SystemExit: there is no browser, or the picture is too large.
    """
    path = program()
    if path is None:
        raise SystemExit("error: no Chromium; scripts/browser.sh installs Debian's")
    with tempfile.TemporaryDirectory() as folder:
        service = render(folder)
        python = installed("service-venv", service / "requirements" / "dev.txt") / "python"
        revision = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True)
        limits = {"MAX_BATCH_ROWS": "64", "GIT_REVISION": revision.strip()}
        with running(python, service, **limits) as url:
            _look(path, url)
    if PICTURE.stat().st_size > MOST_BYTES:
        raise SystemExit(f"error: {PICTURE} has more than {MOST_BYTES} bytes")
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size} bytes")


def _look(path: str, url: str) -> None:
    end = time.monotonic() + OPENING + SECONDS
    clients = [threading.Thread(target=_ask, args=(url, end, each)) for each in range(CLIENTS)]
    for client in clients:
        client.start()
    with chromium(path) as browser:
        page = browser.new_page(viewport=SIZE)
        page.goto(url)
        expect(page.get_by_role("button", name="Predict")).to_be_enabled()
        page.wait_for_timeout((SECONDS - 2) * 1000)
        page.get_by_role("button", name="Predict").click()
        expect(page.locator("#outcome")).to_contain_text("200 in")
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=PICTURE)
    for client in clients:
        client.join()


def _ask(url: str, end: float, number: int) -> None:
    rows = 1 + number % 4
    body = FLOWERS % ", ".join([FLOWER] * rows)
    headers = {"Content-Type": "application/json"}
    with httpx.Client(base_url=url, headers=headers) as client:
        while (left := end - time.monotonic()) > 0:
            phase = max(0, int((1 - left / SECONDS) * len(PAUSES)))
            client.post("/predict", content=body)
            time.sleep(PAUSES[phase])


if __name__ == "__main__":
    main()
