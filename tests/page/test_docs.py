"""`/docs` in a browser without any other host: every operation, and an example that is answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from .asking import get, post
from .conftest import KEY, Visit
from .test_page import request

pytestmark = pytest.mark.slow
MOST_BYTES = 8_000  # compressed, as a browser gets it


def opened(page: Page, operation: str) -> Any:
    """The card of an operation, such as "POST /predict", opened."""
    card = page.locator("details.operation").filter(
        has=page.locator("summary code", has_text=operation.split()[1])
    )
    card = card.filter(has=page.locator("summary b", has_text=operation.split()[0])).first
    if card.get_attribute("open") is None:
        card.locator("summary").first.click()
    return card


def test_every_operation_of_the_document_is_there(url: str, visit: Visit) -> None:
    page = visit(url, path="/docs")
    paths = get(url, "openapi.json")["paths"]
    wanted = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    expect(page.locator("details.operation")).to_have_count(len(wanted))
    shown = page.locator("details.operation > summary").all_inner_texts()
    assert {" ".join(text.split()[:2]) for text in shown} == wanted


@pytest.mark.parametrize("operation", ["POST /predict/iris", "POST /v2/models/iris/infer"])
def test_the_example_is_answered_as_it_stands(url: str, visit: Visit, operation: str) -> None:
    page = visit(url, path="/docs")
    card = opened(page, operation)
    sent = card.get_by_role("textbox", name="Request body").input_value()
    card.get_by_role("button", name="Send").click()
    expect(card.get_by_role("status")).to_have_text("Status 200")
    answer = json.loads(card.get_by_role("region", name="Answer").inner_text())
    assert answer == httpx.post(f"{url}{operation.split()[1]}", json=json.loads(sent)).json()


def test_a_path_with_a_parameter_is_filled_in(url: str, visit: Visit) -> None:
    page = visit(url, path="/docs")
    card = opened(page, "GET /v2/models/{name}/example")
    card.get_by_role("button", name="Send").click()
    expect(card.get_by_role("status")).to_have_text("Status 200")


def test_a_key_is_sent_and_not_shown(guarded: str, visit: Visit) -> None:
    page = visit(guarded, path="/docs", expects="status of 401")
    card = opened(page, "POST /predict/second")
    card.get_by_role("button", name="Send").click()
    expect(card.get_by_role("status")).to_have_text("Status 401")
    page.get_by_label("API key").fill(KEY)
    card.get_by_role("button", name="Send").click()
    expect(card.get_by_role("status")).to_have_text("Status 200")
    assert KEY not in page.content()


@pytest.mark.parametrize("place", ["/docs", ""], ids=["docs", "page"])
def test_what_is_copied_as_curl_python_and_javascript_works(
    guarded: str, visit: Visit, place: str
) -> None:
    """A request with apostrophes, quotes and line ends works in each copied snippet."""
    page = visit(guarded, path=place, permissions=["clipboard-read", "clipboard-write"])
    body = '{"data": [[5.9, 3.0, 5.1, 1.8]],\n "note": "it\'s \\"é\\" $HOME `x` \\\\"}'
    page.get_by_label("API key").fill(KEY)
    if place:
        card = opened(page, "POST /predict/iris")
        card.get_by_role("textbox", name="Request body").fill(body)
        card.get_by_role("button", name="Send").click()
        answer = card.get_by_role("region", name="Answer")
    else:
        card = page
        expect(page.get_by_role("button", name="Predict")).to_be_enabled()
        request(page).fill(body)
        page.get_by_role("button", name="Predict").click()
        answer = page.locator("#answer")
    card.get_by_text("The same with curl, Python and JavaScript").click()
    wanted = json.loads(answer.inner_text())
    assert wanted == post(guarded, body, **{"X-API-Key": KEY}).json()
    environment = {"API_KEY": KEY, "PATH": os.environ["PATH"]}
    commands = {"curl": ["bash", "-c"], "Python": [sys.executable, "-c"]}
    if os.environ.get("ACI_ML_AZURE_TOOLS") != "absent":  # Node.js comes with them
        commands["JavaScript"] = ["node", "--input-type=module", "-e"]
    for name, command in commands.items():
        card.get_by_role("button", name=f"Copy {name}").click()
        expect(card.get_by_role("button", name=f"Copied {name}")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        done = subprocess.run(
            [*command, copied], env=environment, capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout) == wanted, name


def test_it_works_behind_a_path_prefix(prefixed: str, visit: Visit) -> None:
    page = visit(prefixed, path="/docs")
    # Nothing outside of the prefix is there, so a wrong address would not be answered.
    card = opened(page, "POST /predict/iris")
    card.get_by_role("button", name="Send").click()
    expect(card.get_by_role("status")).to_have_text("Status 200")
    assert page.get_by_role("link").first.get_attribute("href") == f"{prefixed}/openapi.json"


def test_it_is_small_and_has_the_policy_of_the_page(url: str) -> None:
    answer = httpx.get(f"{url}/docs", headers={"Accept-Encoding": "gzip"})
    assert int(answer.headers["content-length"]) < MOST_BYTES
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")
    for name in ("x-content-type-options", "referrer-policy", "cache-control"):
        assert answer.headers[name] == httpx.get(url).headers[name]
