"""Renew the pictures in docs/: `make picture` renders a service, loads it for two minutes and
looks.

One is of the whole page, the others of how a drift is shown there. They are of this machine and its
fonts: Debian's `fonts-inter` was installed.
"""

from __future__ import annotations

import csv
import json
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Literal

import httpx
from playwright.sync_api import ViewportSize, expect

from scripts.rendering import render
from tests.once import installed
from tests.service.running import running

from .browser import chromium, program

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "page.png"
# By file, the colours and the width in pixels.
DRIFT: dict[str, tuple[Literal["light", "dark"], int]] = {
    "drift.png": ("light", 1200),
    "drift-dark.png": ("dark", 1200),
    "drift-phone.png": ("light", 390),
}
LONGER_CM = 1.5
SIZE: ViewportSize = {"width": 1200, "height": 900}
MOST_BYTES = 150_000
SECONDS = 122
OPENING = 8  # until the browser has started
CLIENTS = 8
# How busy the clients are, as a day might go: pauses between requests, in seconds.
PAUSES = (0.03, 0.025, 0.02, 0.012, 0.008, 0.012, 0.02, 0.015, 0.01, 0.02)
FLOWERS = '{"data": [%s]}'
FLOWER = "[5.9, 3.0, 5.1, 1.8]"
# The table of scikit-learn that the sample was trained on, as a file.
WRITE = """
from sklearn.datasets import load_iris
data = load_iris()
with open("{path}", "w") as file:
    print(*data.feature_names, sep=",", file=file)
    for row in data.data.tolist():
        print(*row, sep=",", file=file)
"""


def main() -> None:
    """Render, serve, load, look.

    Raises:
        SystemExit: there is no browser, or a picture is too large.
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
        training = Path(folder) / "train.csv"
        subprocess.run([python, "-c", WRITE.format(path=training)], check=True)
        with running(python, service) as url:
            _drift(path, url, training)
    for picture in (PICTURE, *(PICTURE.with_name(name) for name in DRIFT)):
        if picture.stat().st_size > MOST_BYTES:
            raise SystemExit(f"error: {picture} has more than {MOST_BYTES} bytes")
        print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size} bytes")


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


def _drift(path: str, url: str, training: Path) -> None:
    """The panel of drift, after flowers of the training with longer petals."""
    with training.open(newline="") as file:
        rows = [list(map(float, row)) for row in list(csv.reader(file))[1:]]
    for row in rows:
        row[2] += LONGER_CM
    headers = {"Content-Type": "application/json"}
    body = json.dumps({"data": rows})
    httpx.post(f"{url}/predict", content=body, headers=headers).raise_for_status()
    with chromium(path) as browser:
        for name, (scheme, width) in DRIFT.items():
            page = browser.new_page(
                viewport={"width": width, "height": SIZE["height"]}, color_scheme=scheme
            )
            page.goto(url)
            expect(page.locator("#drift-verdict")).to_contain_text("Not as in training")
            page.locator("#drift-card").screenshot(path=PICTURE.with_name(name))


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
