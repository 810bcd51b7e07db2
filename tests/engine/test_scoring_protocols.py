"""MLflow's scoring protocol and KServe's V1 protocol, as their documents write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engine import toy_models
from tests.engine.server import running

FIRST = [["Cherbourg"], ["Dover"]]
SPLIT: dict[str, Any] = {"columns": ["age", "port"], "data": [[41.5, "Cherbourg"], [None, "Dover"]]}
TURNED = {"columns": ["port", "age"], "index": [7, 8], "data": [["Cherbourg", 41.5], ["Dover", 1]]}
RECORDS: list[dict[str, Any]] = [{"age": 41.5, "port": "Cherbourg"}, {"port": "Dover", "age": None}]
COLUMNS = {"age": [41.5, None], "port": ["Cherbourg", "Dover"]}
NAMED = ["width (cm)", "height (cm)"]
CSV = {"Content-Type": "text/csv; charset=utf-8"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with tables, of which `people` is the default, and a model of two tensors."""
    folder: Path = tmp_path_factory.mktemp("tables")
    for write in (toy_models.write_table, toy_models.write_named, toy_models.write_add,
                  toy_models.write_scale):  # fmt: skip
        write(folder)
    settings = {"DEFAULT_MODEL": "people", "MAX_QUEUE_ROWS": "500"}
    with running(folder, **settings) as server, httpx.Client(base_url=server.url) as client:
        yield client


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": SPLIT},
        {"dataframe_split": TURNED},
        {"dataframe_records": RECORDS},
        {"instances": RECORDS},
        {"inputs": COLUMNS},
        {"inputs": RECORDS, "params": {}},
    ],
)
@pytest.mark.parametrize("path", ["/invocations", "/v1/models/people:predict"])
def test_a_table_is_taken_in_each_form(
    tables: httpx.Client, body: dict[str, Any], path: str
) -> None:
    answer = tables.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == FIRST


@pytest.mark.parametrize(
    ("model", "body", "predictions"),
    [
        ("named", {"dataframe_split": {"columns": NAMED, "data": [[1, 2], [4, 3]]}}, [1, 0]),
        ("named", {"dataframe_split": {"columns": NAMED[::-1], "data": [[1, 2], [4, 3]]}}, [0, 1]),
        ("named", {"dataframe_split": {"columns": [0, 1], "data": [[1, 2], [4, 3]]}}, [1, 0]),
        ("named", {"inputs": {NAMED[1]: [2, 3], NAMED[0]: [1, 4]}}, [1, 0]),
        ("named", {"inputs": {NAMED[1]: 2, NAMED[0]: 1}}, [1]),
        ("named", {"inputs": [[1, 2], [4, 3]]}, [1, 0]),
        ("add", {"instances": [{"a": 1, "b": 10}, {"b": 20, "a": 2}]}, [11, 22]),
        ("add", {"inputs": {"a": [1, 2], "b": [10, 20]}}, [11, 22]),
        ("scale", {"instances": [[1, 2, 3]]}, [[2, 4, 6]]),
        ("scale", {"instances": [{"x": [1, 2, 3]}, {"x": [0, 0, 1]}]}, [[2, 4, 6], [0, 0, 2]]),
        ("scale", {"dataframe_split": {"columns": ["a", "b", "c"], "data": [[1, 2, 3]]}},
         [[2, 4, 6]]),
    ],
)  # fmt: skip
def test_tensors_and_named_columns_are_put_in_order(
    tables: httpx.Client, model: str, body: dict[str, Any], predictions: list[Any]
) -> None:
    answer = tables.post(f"/v1/models/{model}:predict", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == predictions


def test_csv_is_read_by_its_header_and_empty_is_missing(tables: httpx.Client) -> None:
    text = 'port,age\r\n"Cherbourg, north",41.5\r\nDover,\r\n'
    answer = tables.post("/invocations", content=text, headers=CSV)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == [["Cherbourg, north"], ["Dover"]]
    assert answer.json()["outputs"]["age_out"] == [[41.5], [None]]


REFUSED = [
    ("people", {}, "has 0 of the keys dataframe_split, dataframe_records, instances, inputs; send "
     'for example {"inputs":', None),
    ("people", {"inputs": [], "instances": []}, "has 2 of the keys", None),
    ("people", {"dataframe_split": [[1]]}, 'an object with "columns" and "data"',
     "dataframe_split"),
    ("people", {"dataframe_split": {"columns": ["age", "age"], "data": [[1, 2]]}},
     "has 'age' twice", "dataframe_split.columns"),
    ("people", {"dataframe_split": {"columns": ["age"], "data": [[1]]}},
     "dataframe_split.columns has no 'port'", "dataframe_split.columns"),
    ("people", {"dataframe_split": {"columns": ["age", "port", "x" * 9_000_000],
                                    "data": [[1, "x", 2]] * 500}},
     "dataframe_split.columns has 'xx", "dataframe_split.columns"),
    ("people", {"dataframe_split": SPLIT | {"data": [[1, "x"], [2]]}},
     "data[1] has not one value for each of the 2 columns", "dataframe_split.data[1]"),
    ("people", {"dataframe_records": [RECORDS[0] | {"data": 1}]}, "has 'data', and the model has",
     "dataframe_records[0]"),
    ("people", {"instances": [{"age": "old", "port": "x"}]}, "instances.age[0] is",
     "instances.age[0]"),
    ("named", {"inputs": {NAMED[0]: [1, 2], NAMED[1]: [1]}}, "has 1 values and",
     "inputs.height (cm)"),
    ("add", {"instances": [{"a": 1, "b": 1}, {"a": 1}]}, "instances[1] has no 'b'",
     "instances[1]"),
    ("scale", {"instances": [{"x": [1, 2, 3]}, {"z": [1, 2, 3]}]},
     "has other keys than instances[0]", "instances[1]"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "body", "words", "field"), REFUSED)
def test_what_is_wrong_is_named_in_the_words_of_the_request(
    tables: httpx.Client, model: str, body: dict[str, Any], words: str, field: str | None
) -> None:
    answer = tables.post(f"/v1/models/{model}:predict", json=body)
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["error"]
    assert answer.json().get("field") == field


@pytest.mark.parametrize(
    ("model", "text", "status", "words"),
    [
        ("people", "age,port\n1\n", 422, "row 0 has 1 values and the header 2 columns"),
        ("people", "age,port\n", 422, "no rows below its header"),
        ("people", "age,port\nold,x\n", 422, "csv.age[0] is"),
        ("people", "age,port\n1e999,x\n", 422, "csv.age[0] is '1e999'"),
        ("people", "age,city\n1,x\n", 422, "has no 'port'"),
        ("people", f"age,port,{100_000 * 'x'}\n" + 500 * "1,x,2\n", 422, "the header has 'xx"),
        ("people", "age,age\n1,2\n", 422, "the header has 'age' twice"),
        ("people", "age,port\n" + 501 * "1,x\n", 413, "has more than 500 rows"),
        ("people", "age,port\n" + 501 * "\n", 413, "has more than 500 rows"),
        ("people", b"age,port\n1,\xff\n", 400, "is not CSV in UTF-8"),
        ("scale", "1,2,3\n1,2,3\n", 422, "takes no table with named columns"),
    ],
)
def test_csv_that_does_not_fit_is_refused(
    tables: httpx.Client, model: str, text: str | bytes, status: int, words: str
) -> None:
    answer = tables.post(f"/v1/models/{model}:predict", content=text, headers=CSV)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]


def test_csv_is_for_these_routes_only(tables: httpx.Client) -> None:
    assert tables.post("/predict", content="age,port\n1,x\n", headers=CSV).status_code == 415


def test_more_rows_than_the_queue_holds_are_refused(tables: httpx.Client) -> None:
    body = {"dataframe_split": SPLIT | {"data": [[1, "x"]] * 501}}
    assert tables.post("/invocations", json=body).status_code == 413
    text = "age,port\n" + "1,x\n" * 501
    assert tables.post("/invocations", content=text, headers=CSV).status_code == 413


def test_health_version_and_names_are_told(tables: httpx.Client) -> None:
    for path in ("/ping", "/health"):
        assert tables.get(path).status_code == 200
    assert tables.get("/version").text == tables.get("/v2").json()["version"]
    assert tables.get("/v1/models").json() == {"models": ["add", "named", "people", "scale"]}
    assert tables.get("/v1/models/named").json() == {"name": "named", "ready": True}
    assert tables.get("/v1/models/nope").status_code == 404
    assert tables.get("/invocations").status_code == 405


def test_predict_takes_columns_and_one_row_by_name(tables: httpx.Client) -> None:
    for data, predictions in (
        ({NAMED[1]: [2, 3], NAMED[0]: [1, 4]}, [1, 0]),
        ({NAMED[1]: 2, NAMED[0]: 1}, [1]),
        ({"x": [[1, 2]]}, [1]),
    ):
        answer = tables.post("/predict/named", json={"data": data})
        assert answer.json()["predictions"] == predictions
