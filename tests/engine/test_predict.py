"""`/predict` on toy models: what it takes, and what it refuses and how."""

from __future__ import annotations

from typing import Any

import httpx
import pytest


@pytest.mark.parametrize(
    ("data", "predictions"),
    [
        ([[1, 2, 3]], [[2, 4, 6]]),
        ([1, 2.5, -3], [[2, 5, -6]]),
        ([[1, 2, 3], [4, 5, 6]], [[2, 4, 6], [8, 10, 12]]),
        ({"x": [[1, 2, 3]]}, [[2, 4, 6]]),
        ({"x": [1, 2, 3]}, [[2, 4, 6]]),
    ],
)
def test_rows_are_predicted(toys: httpx.Client, data: object, predictions: object) -> None:
    answer = toys.post("/predict", json={"data": data})
    assert answer.status_code == 200
    assert answer.json() == {"predictions": predictions, "model": "scale", "version": "1"}


def test_more_rows_than_a_batch_holds_are_split_and_put_together(toys: httpx.Client) -> None:
    rows = [[index, 0.5, -index] for index in range(450)]
    answer = toys.post("/predict", json={"data": rows})
    assert answer.json()["predictions"] == [[2 * value for value in row] for row in rows]


def test_several_inputs_are_given_by_name(toys: httpx.Client) -> None:
    answer = toys.post("/predict/add", json={"data": {"b": [10, 20], "a": [1, 2]}})
    assert answer.json()["predictions"] == [11, 22]


def test_null_is_nan_where_the_manifest_allows_it(toys: httpx.Client) -> None:
    answer = toys.post("/predict/wide", json={"data": [[1, None]]})
    assert answer.json()["predictions"] == [[-1, None]]


REFUSED: list[tuple[str, str, int, str]] = [
    ("/predict", "", 400, "empty"),
    ("/predict", '{"data": [[1, 2, 3]]', 400, "line 1, column"),
    ("/predict", "[1, 2, 3]", 400, "JSON object"),
    ("/predict", '{"data": [[1, 2, NaN]]}', 400, "NaN"),
    ("/predict", '{"data": [[1, 2, 1e999]]}', 400, "out of range"),
    ("/predict", '{"data": ' + "[" * 3000 + "]" * 3000 + "}", 400, "nested too deeply"),
    ("/predict", '{"date": [[1, 2, 3]]}', 422, '"data" is missing'),
    ("/predict", '{"data": []}', 422, "empty"),
    ("/predict", '{"data": [[]]}', 422, "shape [1, 0]"),
    ("/predict", '{"data": null}', 422, "data is null"),
    ("/predict", '{"data": "abc"}', 422, "data is 'abc'"),
    ("/predict", '{"data": [[1, 2]]}', 422, "shape [1, 2]"),
    ("/predict", '{"data": [[1, 2, 3, 4]]}', 422, "shape [1, 4]"),
    ("/predict", '{"data": [[[1, 2, 3]]]}', 422, "shape [1, 1, 3]"),
    ("/predict", '{"data": [[1, 2, 3], [4, 5]]}', 422, "data[1] has 2 values"),
    ("/predict", '{"data": [[1, 2], [3], [4, 5, 6]]}', 422, "data[1] has 1 values"),
    ("/predict", '{"data": [[1, 2, 3], [4, [5], 6]]}', 422, "data[1][1] is a list"),
    ("/predict", '{"data": [[1, 2, 3], 4]}', 422, "data[1] is 4"),
    ("/predict", '{"data": [[1, 2, "3"]]}', 422, "data[0][2] is '3'"),
    ("/predict", '{"data": [[1, 2, null]]}', 422, "data[0][2] is null"),
    ("/predict", '{"data": [[1, 2, true]]}', 422, "data[0][2] is true"),
    ("/predict", '{"data": [[1, 2, {"a": 3}]]}', 422, "data[0][2] is an object"),
    ("/predict", '{"data": [[1, 2, 1e39]]}', 422, "'x' holds inf at [0, 2]"),
    ("/predict", '{"data": {"z": [[1, 2, 3]]}}', 422, "no input 'z'"),
    ("/predict", '{"data": {}}', 422, "'x' is missing"),
    ("/predict/add", '{"data": [1, 2]}', 422, "'a', 'b'"),
    ("/predict/add", '{"data": {"a": [1, 2], "b": [1]}}', 422, "has 2 rows and input 'b' has 1"),
    ("/predict/add", '{"data": {"a": [1.5], "b": [1]}}', 422, "data.a[0] is 1.5"),
    ("/predict/add", '{"data": {"a": [9223372036854775808], "b": [1]}}', 422, "whole number"),
    ("/predict/nope", "{}", 404, "no model 'nope'"),
    ("/predictable", "{}", 404, "no route /predictable"),
    ("/v2/models/nope/infer", "{}", 404, "no model 'nope'"),
    ("/v2/models/scale/versions/9/infer", "{}", 404, "no version '9'"),
    ("/v2/models/scale/other/9/infer", "{}", 404, "no model"),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), REFUSED)
def test_bad_requests_get_one_clear_error(
    toys: httpx.Client, path: str, body: str, status: int, words: str
) -> None:
    answer = toys.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    fault = answer.json()
    assert words in fault["error"]
    assert fault["code"]
    assert "Traceback" not in answer.text


def test_no_bad_request_has_an_effect_on_the_next_one(toys: httpx.Client) -> None:
    for path, body, _, _ in REFUSED:
        toys.post(path, content=body, headers={"Content-Type": "application/json"})
        answer = toys.post("/predict", json={"data": [[1, 2, 3]]})
        assert answer.json()["predictions"] == [[2, 4, 6]]


def test_a_body_that_is_not_utf8_is_refused(toys: httpx.Client) -> None:
    body = b'{"data": "\xff"}'
    answer = toys.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "not UTF-8" in answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Content-Type": "text/csv"}, "text/csv"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "send application/json"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "gzip"),
    ],
)
def test_other_content_is_refused(toys: httpx.Client, headers: dict[str, str], words: str) -> None:
    answer = toys.post("/predict", content=b"1,2,3", headers=headers)
    assert answer.status_code == 415
    assert words in answer.json()["error"]


def test_too_large_a_body_is_refused_by_its_declared_length(toys: httpx.Client) -> None:
    answer = toys.post("/predict", json={"data": [[0.123456789, 2, 3]] * 2000})
    assert answer.status_code == 413
    assert "MAX_BODY_BYTES" in answer.json()["rule"]


def test_too_large_a_body_is_refused_while_it_is_read(toys: httpx.Client) -> None:
    def chunks() -> Any:
        yield from [b" " * 5000] * 5

    answer = toys.post("/predict", content=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_more_rows_than_the_queue_holds_are_refused(toys: httpx.Client) -> None:
    answer = toys.post("/predict", json={"data": [[1, 2, 3]] * 501})
    assert answer.status_code == 413
    assert "501 rows" in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("PUT", "/v2/models/scale/infer", 405),
        ("DELETE", "/v2", 405),
        ("GET", "/nothing", 404),
        ("GET", "/v2/models/nope", 404),
        ("GET", "/v2/models/nope/ready", 404),
        ("GET", "/v2/models/scale/versions/9", 404),
    ],
)
def test_wrong_routes_and_methods_get_the_same_form_of_error(
    toys: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = toys.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()) >= {"error", "code"}
    if status == 405:
        assert answer.headers["allow"]
