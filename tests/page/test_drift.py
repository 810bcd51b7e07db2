"""The panel of drift: both distributions as the service counts them; without a reference, why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.monitoring.packages import without_reference
from tests.service.running import running

from .asking import get, post
from .conftest import KEY, Visit
from .test_accessibility import PHONE, faults

pytestmark = pytest.mark.slow
# Petals of 25 cm: the longest of the training has 6.9.
LONG = json.dumps({"data": [[5.9, 3.0, 25.0, 1.8]] * 200})


@pytest.fixture(scope="module")
def drifting(service_python: Path, rendered_service: Path) -> Iterator[str]:
    """The sample, with the reference that it is shipped with, asked for flowers that its training
    has not seen.
    """
    with running(service_python, rendered_service, API_KEYS=KEY) as url:
        assert post(url, LONG, **{"X-API-Key": KEY}).status_code == 200
        yield url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_distributions_are_shown(drifting: str, visit: Visit, scheme: str) -> None:
    page = visit(drifting, color_scheme=scheme, viewport=PHONE)
    verdict = page.locator("#drift-verdict")
    expect(verdict).to_contain_text("The API key, given above, shows it")
    page.get_by_label("API key").fill(KEY)
    page.get_by_label("API key").blur()
    expect(verdict).to_contain_text("Not as in training: ")
    expect(verdict).to_contain_text("petal length (cm)")
    page.get_by_label("Column").select_option("input petal length (cm)")
    expect(page.locator("#drift-figures")).to_contain_text("Unseen100.0%")
    answer = httpx.get(f"{drifting}/v2/models/iris/drift", headers={"X-API-Key": KEY}).json()
    (column,) = [each for each in answer["columns"] if each["name"] == "petal length (cm)"]
    rows = page.locator("#drift-bins tr").all_inner_texts()
    assert [[cell.strip() for cell in row.split("\t")] for row in rows] == [
        [name, f"{100 * then:.1f}%", f"{100 * now:.1f}%"]
        for name, then, now in zip(
            column["bins"], column["training"], column["hour"]["shares"], strict=True
        )
        if name not in ("missing", "other")
    ]
    assert column["hour"]["shares"][len(rows) - 1] == 1  # all of them in the last bin
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_without_a_reference_it_says_how_to_make_one(
    service_python: Path, rendered_service: Path, tmp_path: Path, visit: Visit
) -> None:
    models = str(without_reference(rendered_service, tmp_path / "models"))
    with running(service_python, rendered_service, MODELS_DIR=models) as url:
        page = visit(url)
        expect(page.locator("#drift-verdict")).to_contain_text("make reference FILE=train.csv")
        expect(page.locator("#drift")).to_be_hidden()
        page.close()


def test_distributions_need_the_key(drifting: str) -> None:
    assert httpx.get(f"{drifting}/v2/models/iris/drift").status_code == 401
    assert get(drifting, "readyz")["ready"]
