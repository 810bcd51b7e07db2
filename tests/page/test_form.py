"""The request as fields: what they show, what they send, and what Python answers to the same."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.service.running import running

from .asking import get, post
from .conftest import Visit
from .test_accessibility import PHONE, faults
from .test_page import request, shown_answer

pytestmark = pytest.mark.slow
ROWS: list[dict[str, Any]] = [
    {"age": None, "port": "Queenstown", "class": 2, "alone": False},
    {"age": 30.25, "port": "Cherbourg", "class": 3, "alone": True},
    {"age": 8, "port": "Southampton", "class": 1, "alone": False},
]


@dataclass(frozen=True)
class Table:
    """A service whose model takes a table, and what the model answers in Python to ``ROWS``."""

    url: str
    labels: list[str]
    classes: list[str]
    probabilities: list[list[float]]


@pytest.fixture(scope="module")
def table(
    service_python: Path, rendered_service: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Table]:
    """See ``Table``."""
    folder = tmp_path_factory.mktemp("table")
    environment = {**os.environ, "PYTHONPATH": str(rendered_service)}

    def run(*arguments: str | Path) -> str:
        command = [str(each) for each in (service_python, "-W", "ignore", *arguments)]
        done = subprocess.run(
            command, cwd=rendered_service, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    program = Path(__file__).with_name("table_model.py")
    answers = json.loads(run(program, folder, json.dumps(ROWS)))
    package: list[str | Path] = [
        "-m",
        "engine.packaging",
        folder / "m.joblib",
        "--samples",
        folder / "s.json",
    ]
    run(*package, "--name", "table", "--models-dir", folder / "models")
    with running(service_python, rendered_service, MODELS_DIR=str(folder / "models")) as url:
        yield Table(url, **answers)


def field(page: Page, name: str, row: int) -> Locator:
    """A field of a row, counted from 0."""
    return page.locator("fieldset").nth(row).get_by_label(name, exact=True)


def fill(page: Page, rows: list[dict[str, Any]]) -> None:
    """Fill in rows as a person does, beginning with the first one of the sample request."""
    expect(page.get_by_role("button", name="Predict")).to_be_enabled()
    first, *_ = json.loads(request(page).input_value())["data"]
    request(page).fill(json.dumps({"data": [first]}))
    for number, row in enumerate(rows):
        if number:
            page.get_by_role("button", name="Add a row").click()
        for name, value in row.items():
            place = field(page, name, number)
            if place.evaluate("field => field.localName") == "select":
                place.select_option(json.dumps(value).strip('"'))
            else:
                place.fill("" if value is None else str(value))


def test_there_is_a_field_for_each_column_with_the_values_of_training(
    table: Table, visit: Visit
) -> None:
    page = visit(table.url)
    expect(page.get_by_role("button", name="Predict")).to_be_enabled()
    names = page.locator("fieldset").first.locator("label").all_inner_texts()
    assert names == list(ROWS[0])
    choices = {name: field(page, name, 0).locator("option").all_inner_texts() for name in ROWS[0]}
    assert choices == {
        "age": [],
        "port": ["Cherbourg", "Queenstown", "Southampton"],
        "class": ["1", "2", "3"],
        "alone": ["true", "false"],
    }
    expect(field(page, "age", 0)).to_have_attribute("placeholder", "(missing)")
    expect(field(page, "age", 0)).to_have_attribute("inputmode", "decimal")


def test_rows_are_answered_as_the_model_answers_them_in_python(table: Table, visit: Visit) -> None:
    page = visit(table.url)
    fill(page, ROWS)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome b")).to_have_text(", ".join(table.labels))
    assert set(table.labels) == {"died", "lived"}
    bars = page.locator("#classes p").all_inner_texts()
    wanted = []
    for parts in table.probabilities:
        for name, part in sorted(zip(table.classes, parts, strict=True), key=lambda each: -each[1]):
            wanted.append([name, f"{100 * part:.1f}%"])
    assert [text.split() for text in bars] == wanted
    titles = page.locator("#classes h3").all_inner_texts()
    assert titles == [f"Row {at}: {label}" for at, label in enumerate(table.labels, start=1)]
    sent = request(page).input_value()
    assert json.loads(sent) == {"data": ROWS}
    assert shown_answer(page) == post(table.url, sent, "table").json()


def test_a_row_is_removed(table: Table, visit: Visit) -> None:
    page = visit(table.url)
    fill(page, ROWS)
    page.get_by_role("button", name="Remove row 2").click()
    assert json.loads(request(page).input_value()) == {"data": [ROWS[0], ROWS[2]]}
    page.get_by_role("button", name="Remove row 1").click()
    expect(page.get_by_role("button", name="Remove")).to_have_count(0)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome b")).to_have_text(table.labels[2])


def test_what_is_no_number_is_refused_by_the_service_and_nothing_by_the_browser(
    table: Table, url: str, visit: Visit
) -> None:
    page = visit(table.url, expects="status of 422")
    fill(page, [{"age": "1,5"}])
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome")).to_contain_text("422 in")
    expect(page.locator("#outcome b")).to_contain_text("1,5")
    # No column of the sample may be missing.
    page = visit(url)
    fill(page, [{"petal length (cm)": ""}])
    page.get_by_role("button", name="Predict").click()
    assert field(page, "petal length (cm)", 0).evaluate("field => field.matches(':invalid')")
    expect(page.locator("#outcome")).to_be_empty()


def test_fields_follow_the_json_and_keep_all_digits(table: Table, visit: Visit) -> None:
    page = visit(table.url)
    expect(page.get_by_role("button", name="Predict")).to_be_enabled()
    columns = (
        '{"age": [0.1000, null], "port": ["Cherbourg", "Other"], "class": [9007199254740993, 2]'
    )
    request(page).fill(f'{{"data": {columns}, "alone": [true, false]}}}}')
    expect(page.locator("fieldset")).to_have_count(2)
    expect(field(page, "class", 0)).to_have_value("9007199254740993")
    expect(field(page, "port", 1)).to_have_value("Other")
    field(page, "alone", 0).select_option("false")
    assert request(page).input_value() == (
        '{"data":[{"age":0.1000,"port":"Cherbourg","class":9007199254740993,"alone":false},'
        '{"age":null,"port":"Other","class":2,"alone":false}]}'
    )


@pytest.mark.parametrize(
    "body",
    [
        '{"data": [{"age": 1, "port": "C", "class": 1}]}',
        '{"data": [{"age": 1, "port": "Cherbourg", "class": 1, "alone": true}], "more": 1}',
        '{"data": [[1, "C", 1, [true]]]}',
        '{"data": {"age": [1, 2], "port": ["C"], "class": [1], "more": [true]}}',
        '{"data": []}',
        '{"data": 1}',
        "{",
    ],
)
def test_a_request_that_fields_cannot_show_is_sent_as_it_is(
    table: Table, visit: Visit, body: str
) -> None:
    page = visit(table.url, expects="status of 4")
    expect(page.get_by_role("button", name="Predict")).to_be_enabled()
    before, rows = request(page).input_value(), page.locator("fieldset").count()
    assert rows > 0
    request(page).fill(body)
    expect(page.locator("fieldset")).to_have_count(0)
    expect(page.get_by_text("is not one that fields can show")).to_be_visible()
    with page.expect_request("**/predict/table") as sent:
        page.get_by_role("button", name="Predict").click()
    assert sent.value.post_data == body
    page.get_by_role("button", name="Sample request").click()
    expect(page.locator("fieldset")).to_have_count(rows)
    assert request(page).input_value() == before


def test_a_model_that_takes_no_table_has_no_fields(url: str, visit: Visit) -> None:
    page = visit(url)
    models = get(url, "v2/models")
    models["models"][0]["inputs"] = [{"name": "image", "datatype": "FP32", "shape": [-1, 2, 2]}]
    page.route("**/v2/models", lambda route: route.fulfill(json=models))
    page.reload()
    expect(page.get_by_role("button", name="Predict")).to_be_enabled()
    expect(page.get_by_role("textbox", name="Request")).to_be_visible()
    expect(page.locator("fieldset")).to_have_count(0)
    expect(page.get_by_text("is not one that fields can show")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_against_it(table: Table, visit: Visit, scheme: str) -> None:
    page = visit(table.url, color_scheme=scheme, viewport=PHONE)
    fill(page, ROWS[:2])
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome")).to_contain_text("200 in")
    page.get_by_text("The same with curl, Python and JavaScript").click()
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
