"""axe-core finds nothing to object to, in any state, light or dark, wide or narrow."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from .conftest import KEY, Visit

pytestmark = pytest.mark.slow
PHONE = {"width": 320, "height": 640}  # the width at which WCAG 1.4.10 wants no sideways scrolling


def faults(page: Page) -> list[str]:
    """What axe objects to: the rule and the place."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response
    assert found["passes"], "axe looked at nothing"
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, PHONE["width"]], ids=["wide", "narrow"])
def test_ready_with_an_answer(guarded: str, visit: Visit, scheme: str, width: int) -> None:
    page = visit(guarded, color_scheme=scheme, viewport=PHONE | {"width": width})
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome")).to_contain_text("200 in")
    page.get_by_text("The charts as a table").click()
    page.wait_for_timeout(2500)  # a second scrape, for values
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_refused(guarded: str, visit: Visit, scheme: str) -> None:
    page = visit(guarded, expects="status of 401", color_scheme=scheme)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome")).to_contain_text("401 in")
    assert faults(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_not_ready(failed: str, visit: Visit, scheme: str) -> None:
    page = visit(failed, color_scheme=scheme)
    expect(page.locator("#state")).to_have_text("Failed")
    assert faults(page) == []


def test_the_documentation(guarded: str, visit: Visit) -> None:
    page = visit(guarded, path="/docs", viewport=PHONE)
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    page.get_by_text("Schema").click()
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_axe_would_find_a_fault(url: str, visit: Visit) -> None:
    page = visit(url)
    expect(page.locator("#state")).to_have_text("Ready")
    page.get_by_text("The request as JSON").click()
    expect(page.locator("#body")).to_be_visible()
    expect(page.locator("#body")).not_to_be_empty()
    page.evaluate("document.querySelector('label[for=body]').remove()")
    assert any(fault.startswith("label") for fault in faults(page))


def test_less_motion_is_respected(url: str, visit: Visit) -> None:
    page = visit(url, reduced_motion="reduce")
    expect(page.locator("#state")).to_have_text("Ready")
    assert page.evaluate("document.getAnimations().length") == 0
