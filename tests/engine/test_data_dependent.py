"""Models whose shapes depend on values, in a running service that many clients ask at a time.

Each client asks something else, and what it must get comes from ONNX Runtime alone.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from engine.packaging.options import Options
from engine.packaging.package import package
from engine.serving.tensors.datatypes import Array

from tests.engine.server import Server, running
from tests.engine.test_batching import COUPLED, F32, I64, MATRIX, PLACES, TEXT, detector, node
from tests.engine.test_packaging import save

pytestmark = pytest.mark.slow

CLIENTS = 32
REQUESTS = 60_000 if "ACI_ML_ALL" in os.environ else 320
CONTENTS = 150
JSON = {"Content-Type": "application/json"}
DATATYPES = {"float32": "FP32", "int64": "INT64", "object": "BYTES"}
WORDS = ["a", "few", "words", "of", "a", "long", "sentence"]

Tensors = dict[str, Array]


def boxes(draw: np.random.Generator, rows: int) -> Tensors:
    """Three boxes for each image, the second of which may cover the first."""
    moved = np.array([PLACES] * rows, np.float32)
    moved[:, 1] -= draw.choice([0, 8], (rows, 1)).astype(np.float32) * [0, 1, 0, 1]
    scores = draw.integers(0, 10, (rows, 1, 3)).astype(np.float32)
    return {"boxes": moved, "scores": scores}


def texts(draw: np.random.Generator, rows: int) -> Tensors:
    """Texts of one to seven words."""
    made = [" ".join(WORDS[: draw.integers(1, 8)]) for _ in range(rows)]
    return {"x": np.array(made, np.object_)}


def matrix(most: int) -> Any:
    """Whole numbers up to ``most``."""

    def make(draw: np.random.Generator, rows: int) -> Tensors:
        return {"x": draw.integers(0, most + 1, (rows, 4)).astype(np.float32)}

    return make


def any_width(draw: np.random.Generator, rows: int) -> Tensors:
    """Rows of two to five values, some of them nothing."""
    return {"x": draw.integers(0, 2, (rows, draw.integers(2, 6))).astype(np.float32)}


MODELS = {
    "any-width": any_width,
    "detector": boxes,
    "words": texts,
    "non-zero": matrix(1),
    "compress": matrix(1400),
    "unique": matrix(1),
}


def source(name: str, folder: Path) -> Path:
    """The model as an exporter leaves it."""
    path = folder / f"{name}.onnx"
    if name == "detector":
        return detector(path)
    if name == "any-width":
        nodes = [node("NonZero", "x", "a"), node("Transpose", "a")]
        return save(path, nodes, {"x": (F32, ["rows", "w"])}, {"y": (I64, ["n", 2])}, opset=17)
    if name == "words":
        split = node("StringSplit", "x", "y counts", delimiter=" ")
        outputs = {"y": (TEXT, ["rows", "most"]), "counts": (I64, ["rows"])}
        return save(path, [split], {"x": (TEXT, ["rows"])}, outputs)
    nodes, weights, output, _ = COUPLED[name]
    return save(path, nodes, {"x": MATRIX}, {"y": output}, weights=weights, opset=17)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data-dependent")
    for name in MODELS:
        package(str(source(name, folder)), Options(name=name), folder / "models")
    return folder


@pytest.fixture(scope="module")
def service(sources: Path) -> Iterator[Server]:
    with running(sources / "models", DEFAULT_MODEL="words", MAX_QUEUE_ROWS="4096") as server:
        yield server


def contents(name: str, model: Path) -> list[tuple[list[dict[str, Any]], Tensors]]:
    """Inputs of requests as the protocol writes them, and what ONNX Runtime makes of each alone."""
    draw = np.random.default_rng(16)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    made = []
    for number in range(CONTENTS):
        given = MODELS[name](draw, 1 + number % 3)
        sent = [
            {
                "name": each,
                "datatype": DATATYPES[str(value.dtype)],
                "shape": list(value.shape),
                "data": value.ravel().tolist(),
            }
            for each, value in given.items()
        ]
        made.append((sent, dict(zip(names, session.run(None, given), strict=True))))
    return made


def is_own(answer: dict[str, Any], number: int, expected: Tensors) -> bool:
    """Whether an answer is the one of this request."""
    got = {each["name"]: each for each in answer["outputs"]}
    return (
        answer["id"] == str(number)
        and got.keys() == expected.keys()
        and all(
            got[name]["shape"] == list(value.shape)
            and np.array_equal(np.array(got[name]["data"], value.dtype), value.ravel())
            for name, value in expected.items()
        )
    )


@pytest.mark.parametrize("name", MODELS)
def test_each_client_gets_the_answer_to_what_it_asked(
    name: str, service: Server, sources: Path
) -> None:
    cases = contents(name, sources / f"{name}.onnx")

    def ask(client: int) -> list[str]:
        """What was wrong with the answers of one client."""
        wrong = []
        connection = http.client.HTTPConnection(service.host, service.port, timeout=60)
        for number in range(client, REQUESTS, CLIENTS):
            sent, expected = cases[number % CONTENTS]
            body = json.dumps({"id": str(number), "inputs": sent})
            connection.request("POST", f"/v2/models/{name}/infer", body, JSON)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200 or not is_own(json.loads(content), number, expected):
                wrong.append(f"{number}: {answer.status} {content[:300]!r}")
        connection.close()
        return wrong

    with ThreadPoolExecutor(CLIENTS) as pool:
        wrong = [each for client in pool.map(ask, range(CLIENTS)) for each in client]
    assert wrong == []
