"""Values that a model does not take: refused as the client's fault, with the known ones.

Whether it takes a value is for the library to say: the test asks the estimator itself.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import joblib
import numpy as np
import pandas as pd
import pytest
from engine.serving.errors import InvalidInput
from engine.serving.inference.model import Model
from engine.serving.inference.refusals import SECONDS, refusal
from engine.serving.package.manifest import InputTensor, Manifest, read_manifest
from engine.serving.pages.openapi import data_schema
from engine.serving.transports import tutorial
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, OneHotEncoder, OrdinalEncoder

from tests.engine.server import running
from tests.engine.test_packaging import made
from tests.engine.test_packaging_tables import Passing

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("steps_of_tests")]

ROWS = 60
AGE = np.random.default_rng(2).normal(size=ROWS).round(2)
PORTS = pd.DataFrame({"port": ["C", "Q", "S"] * 20, "age": AGE})
ROOMS = pd.DataFrame({"rooms": [1.0, 2.0, 4.0] * 20, "age": AGE})
TARGET = np.where((PORTS.port == "S") ^ (PORTS.age > 0), "yes", "no")


class Coded(Passing):
    """A step of one's own around an encoder of labels, which refuses others."""

    def fit(self, x: Any, y: Any = None) -> Coded:
        """Learn the values."""
        del y
        self.encoder = LabelEncoder().fit(x["port"])
        return self

    def transform(self, x: Any) -> Any:
        """Numbers for them."""
        return np.column_stack([self.encoder.transform(x["port"]), x["age"]])


def encoded(encoder: Any, frame: pd.DataFrame) -> Any:
    """A classifier whose first column is encoded."""
    columns = make_column_transformer((encoder, [frame.columns[0]]), remainder="passthrough")
    return make_pipeline(columns, LogisticRegression()).fit(frame, TARGET)


def asked(model: Model, rows: list[dict[str, Any]]) -> list[Any]:
    """What `/predict` computes for records."""
    inputs = tutorial.decode(json.dumps({"data": rows}).encode(), model)
    model.signature.check(inputs)
    answer: list[Any] = model.answer(inputs)["label"].tolist()
    return answer


def packaged(
    folder: Path, estimator: Any, frame: pd.DataFrame, **options: Any
) -> tuple[Model, Manifest]:
    """The package of an estimator, with samples that have types."""
    joblib.dump(estimator, folder / "m.joblib")
    (folder / "s.json").write_text(frame[:9].to_json(orient="records"))
    source = {"source": folder / "m.joblib", "folder": folder / "models"}
    model, _, _ = made(**source, samples=folder / "s.json", **options)
    return model, read_manifest(folder / "models" / "made")


def record_schema(model: Model) -> dict[str, Any]:
    """What the OpenAPI document says of the columns of a record."""
    records: dict[str, Any] = data_schema(model)["anyOf"][-1]["items"]["properties"]
    return records


@pytest.mark.parametrize("to", ["as-is", "onnx"])
@pytest.mark.parametrize(
    ("encoder", "frame", "other", "column"),
    [
        pytest.param(OneHotEncoder(), PORTS, "Z", "port", id="one-hot"),
        pytest.param(
            OrdinalEncoder(), PORTS, "", "port", id="ordinal", marks=pytest.mark.exhaustive
        ),
        # Numbers share one input, with a place for each column.
        pytest.param(OneHotEncoder(), ROOMS, 3.0, "rooms", id="numbers"),
    ],
)
def test_a_value_that_an_encoder_refuses_is_refused_with_the_known_ones(
    tmp_path: Path, to: str, encoder: Any, frame: pd.DataFrame, other: Any, column: str
) -> None:
    estimator = encoded(encoder, frame)
    row = frame.iloc[0].to_dict()
    wrong = {**row, column: other}
    with pytest.raises(ValueError, match="unknown categories"):
        estimator.predict(pd.DataFrame([row, wrong]))
    model, manifest = packaged(tmp_path, estimator, frame, to=to)
    known = sorted(frame[column].unique().tolist())
    assert [list(values) for each in manifest.inputs for values in each.only.values()] == [known]
    assert model.signature.batched
    assert asked(model, [row]) == estimator.predict(pd.DataFrame([row])).tolist()
    with pytest.raises(InvalidInput) as refused:
        asked(model, [row, wrong])
    told = ", ".join(map(repr, known))
    assert refused.value.message == (
        f"{column!r} holds {other!r}, which the model does not know; send one of {told}"
    )
    assert refused.value.rule == f"one of {told}"
    assert refused.value.field is not None
    assert "[1]" in refused.value.field
    assert record_schema(model)[column]["enum"] == known


def test_what_takes_all_values_refuses_none_and_shows_its_own(tmp_path: Path) -> None:
    estimator = encoded(OneHotEncoder(handle_unknown="ignore"), PORTS)
    model, manifest = packaged(tmp_path, estimator, PORTS)
    wrong = {"port": "Z", "age": 0.5}
    assert [each.only for each in manifest.inputs] == [{}, {}]
    assert asked(model, [wrong]) == estimator.predict(pd.DataFrame([wrong])).tolist()
    assert record_schema(model)["port"] == {"type": "string", "examples": ["C", "Q", "S"]}


@pytest.mark.parametrize(
    ("estimator", "frame", "field", "other"),
    [
        # A step of one's own tells nothing, and float32 has no such number.
        pytest.param(
            make_pipeline(Coded(), LogisticRegression()), PORTS, "port[6][0]", "Z", id="own-step"
        ),
        pytest.param(RandomForestClassifier(3), ROOMS, "features[6][1]", 1e300, id="float32"),
    ],
)
def test_a_value_at_which_the_model_fails_is_found_and_named(
    tmp_path: Path, estimator: Any, frame: pd.DataFrame, field: str, other: Any
) -> None:
    model, _ = packaged(tmp_path, estimator.fit(frame, TARGET), frame)
    column = "port" if isinstance(other, str) else "age"
    rows: list[dict[str, Any]] = frame[:9].to_dict("records")
    rows[6][column] = other
    with pytest.raises(ValueError, match=r"unseen|too large"):
        estimator.predict(pd.DataFrame(rows))
    with pytest.raises(InvalidInput) as refused:
        asked(model, rows)
    assert refused.value.field == field
    assert refused.value.message.startswith(f"{column!r} holds {other!r}, which the model does not")
    assert "send a value as in its training, such as" in refused.value.message


TENSORS = (InputTensor(name="x", datatype="FP64", shape=(-1, 3)),)
RIGHT = {"x": np.zeros((2, 3))}


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("right", "fails for every value"),
        ("pair", "two values are to blame together"),
        ("machine", "not of values"),
        ("slow", "takes too long"),
    ],
)
def test_no_client_is_blamed_for_what_no_value_of_its_own_causes(
    statement: str, message: str
) -> None:
    def run(inputs: Any) -> None:
        end = time.thread_time() + 0.3 * (statement == "slow")
        while time.thread_time() < end:
            pass
        x = inputs["x"]
        if statement == "machine" and x.any():
            raise RuntimeError
        if statement == "right" or (x[:, 0] * x[:, 2]).any() or (statement == "slow" and x.any()):
            raise ValueError

    given = {"x": np.ones((100, 3))}
    began = time.thread_time()
    assert refusal(run, given, RIGHT, TENSORS) is None, message
    assert time.thread_time() - began < SECONDS + 1


def test_columns_of_different_lengths_are_refused_where_rows_run_alone(tmp_path: Path) -> None:
    model, _ = packaged(tmp_path, make_pipeline(Coded(), LogisticRegression()).fit(PORTS, TARGET),
                        PORTS)  # fmt: skip
    assert not model.signature.batched
    text, number = np.array([["C"], ["Q"]], np.object_), np.zeros((3, 1))
    with pytest.raises(InvalidInput) as refused:
        model.signature.check({"port": text, "age": number})
    assert refused.value.rule == "all inputs have the same number of rows"


@pytest.mark.parametrize("only", [{1: ["C"]}, {0: []}, {0: [1]}])
def test_a_list_that_cannot_be_is_refused(only: dict[int, list[Any]]) -> None:
    with pytest.raises(ValueError, match="only: "):
        InputTensor(name="port", datatype="BYTES", shape=(-1, 1), only=only)


def test_each_way_of_reading_a_request_looks_at_the_values(tmp_path: Path) -> None:
    """Small bodies, and requests like earlier ones, are read in ways that make no arrays."""
    packaged(tmp_path, encoded(OneHotEncoder(), ROOMS), ROOMS)
    with running(tmp_path / "models") as server, httpx.Client(base_url=server.url) as client:
        for rooms, status in ((1.0, 200), (1.0, 200), (3.0, 422), (3.0, 422)):
            table = {"name": "features", "shape": [1, 2], "datatype": "FP64", "data": [rooms, 0.5]}
            for path, body in (
                ("/predict", {"data": [[rooms, 0.5]]}),
                ("/predict", {"data": [{"rooms": rooms, "age": 0.5}]}),
                ("/v2/models/made/infer", {"inputs": [table]}),
            ):
                answer = client.post(path, json=body)
                assert answer.status_code == status, (path, answer.text)
                if status == 422:
                    assert answer.json()["rule"] == "one of 1.0, 2.0, 4.0"
