"""Tables over `/predict`: every form that is taken, what the documentation says of it, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from tests.engine import toy_models
from tests.engine.server import running

pytestmark = pytest.mark.slow

PEOPLE = pd.DataFrame({"age": [31.5, None], "port": ["Cherbourg", "Dover"]})
NAMED = pd.DataFrame({"height (cm)": [2.0, 1.0], "width (cm)": [1.0, 2.0]})


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of the service with a table of several inputs, and one of a single input."""
    folder: Path = tmp_path_factory.mktemp("tables")
    toy_models.write_table(folder)
    toy_models.write_named(folder)
    toy_models.write_linear(folder, "single", np.array([[2.0]]), np.array([0.0]), [])
    with (
        running(folder, MAX_QUEUE_ROWS="5") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        yield client


def documented(tables: httpx.Client, name: str) -> tuple[Any, Any]:
    """What the OpenAPI document says of the data of a request, and of its answer."""
    operation = tables.get("/openapi.json").json()["paths"][f"/predict/{name}"]["post"]
    parts = (operation["requestBody"], operation["responses"]["200"])
    asked, answered = (each["content"]["application/json"]["schema"] for each in parts)
    return asked["properties"]["data"], answered["properties"]


def records(frame: pd.DataFrame) -> Any:
    """The records of a frame, as pandas writes them."""
    return json.loads(frame.to_json(orient="records"))


@pytest.mark.parametrize(
    "data",
    [
        {"age": [31.5, None], "port": ["Cherbourg", "Dover"]},
        records(PEOPLE),
    ],
    ids=["columns", "records"],
)
def test_every_form_of_a_table_is_taken(tables: httpx.Client, data: object) -> None:
    answer = tables.post("/predict/people", json={"data": data})
    assert answer.json()["predictions"] == [["Cherbourg"], ["Dover"]]
    assert answer.json()["outputs"]["age_out"] == [[31.5], [None]]


@pytest.mark.parametrize(
    "data",
    [
        {"age": 31.5, "port": "Dover"},
        {"age": [[31.5]], "port": [["Dover"]]},
    ],
    ids=["single values", "nested"],
)
def test_one_row_is_taken_with_any_number_of_lists(tables: httpx.Client, data: object) -> None:
    answer = tables.post("/predict/people", json={"data": data})
    assert answer.json()["predictions"] == [["Dover"]]


def test_records_of_a_single_input_are_put_into_the_order_of_its_columns(
    tables: httpx.Client,
) -> None:
    body = {"data": records(NAMED)}
    answer = tables.post("/predict/named", json=body)
    assert answer.json()["labels"] == ["high", "wide"]


@pytest.mark.parametrize(
    "data",
    [[{"a": 2.5}, {"a": -1.0}], {"a": [2.5, -1.0]}, [[2.5], [-1.0]], [2.5, -1.0]],
    ids=["records", "columns", "rows", "values"],
)
def test_a_table_of_one_column_is_asked_by_the_name_of_the_column(
    tables: httpx.Client, data: object
) -> None:
    assert tables.post("/predict/single", json={"data": data}).json()["predictions"] == [[5], [-2]]
    schema = documented(tables, "single")[0]["anyOf"][-1]
    assert list(schema["items"]["properties"]) == ["a"]


def test_the_example_is_flat_as_documented(tables: httpx.Client) -> None:
    example = tables.get("/v2/models/people/example").json()
    assert example == {"data": {"age": [41.5], "port": ["Cherbourg"]}}
    assert tables.post("/predict/people", json=example).status_code == 200


def test_the_documentation_has_both_forms_and_null_only_where_it_is_taken(
    tables: httpx.Client,
) -> None:
    """As JSON Schema writes them; a generated client can send what pandas gives."""
    age, port = {"type": ["number", "null"]}, {"type": "string"}
    columns, rows = documented(tables, "people")[0]["anyOf"]
    for name, value in (("age", age), ("port", port)):
        column = {"type": "array", "items": value, "minItems": 1}
        alone = {"type": "array", "items": value, "minItems": 1, "maxItems": 1}
        nested = {"type": "array", "items": alone, "minItems": 1}
        assert columns["properties"][name] == {"anyOf": [column, nested, value]}
    assert rows["items"]["properties"] == {"age": age, "port": port}
    assert columns["required"] == rows["items"]["required"] == ["age", "port"]
    named = documented(tables, "named")[0]["anyOf"][-1]["items"]["properties"]
    # Beyond these a number is infinite as FP32.
    end = 2.0**128 - 2.0**103
    number = {"type": "number", "exclusiveMinimum": -end, "exclusiveMaximum": end}
    assert named == {"width (cm)": number, "height (cm)": number}


def test_null_where_the_samples_had_none_says_so(tables: httpx.Client) -> None:
    answer = tables.post("/predict/people", json={"data": {"age": [1.0], "port": [None]}})
    words = "data.port[0] is null; BYTES takes text: the samples that the model was packaged with"
    assert answer.json()["error"].startswith(words)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([{"age": 1.0}], "data[0] has no 'port'"),
        ([{"age": 1.0, "port": "a", "name": "b"}], "data[0] has 'name', and the model has no such"),
        ([{"age": 1.0, "port": "a"}, [2.0, "b"]], "data[1] is no object, and the first row is one"),
        ([{"age": "old", "port": "a"}], "data.age[0] is 'old'"),
        ([{"age": [[1.0]], "port": "a"}], "'age' has shape [1, 1, 1]"),
        ([[1.0, "a"]], 'send for example {"data":{"age":[41.5],"port":["Cherbourg"]}}'),
    ],
)
def test_a_record_that_does_not_fit_is_named(
    tables: httpx.Client, data: object, words: str
) -> None:
    answer = tables.post("/predict/people", json={"data": data})
    assert answer.status_code == 422
    assert words in answer.json()["error"]


def test_a_key_twice_in_a_record_is_refused(tables: httpx.Client) -> None:
    body = '{"data": [{"age": 1, "age": 2, "port": "a"}]}'
    answer = tables.post(
        "/predict/people", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.json()["rule"] == "each key once"


def test_records_count_as_rows_before_they_are_read(tables: httpx.Client) -> None:
    body = {"data": [{"age": 1.0}] + records(PEOPLE)[:1] * 5}
    answer = tables.post("/predict/people", json=body)
    assert answer.status_code == 413
    assert answer.json()["error"] == "the request has 6 rows; send at most 5 at a time"


def test_names_of_columns_are_in_metadata_and_documentation(tables: httpx.Client) -> None:
    outputs = tables.get("/v2/models/people").json()["outputs"]
    assert outputs[2]["parameters"] == {"labels": ["lost", "saved"]}
    people, named = documented(tables, "people")[1], documented(tables, "named")[1]
    parts = people["outputs"]["properties"]["parts"]
    assert parts["description"] == "Columns: lost, saved."
    assert "labels" not in people
    assert named["labels"]["items"]["enum"] == ["wide", "high", None]


def test_a_single_value_for_a_row_is_refused_in_plain_words(toys: httpx.Client) -> None:
    answer = toys.post("/predict", json={"data": 5})
    assert answer.status_code == 422
    assert answer.json()["error"] == ("data is a single value; put the values of a row into a list")
