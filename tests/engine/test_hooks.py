"""Code of a model's own: what it refuses is a 422, where it fails a 500 that the log explains."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml
from engine.packaging.options import Options
from engine.packaging.package import package
from engine.packaging.write import file_entry
from engine.serving.errors import InvalidInput, PackageError
from engine.serving.inference.model import Model, load_model
from engine.serving.package.reader import read_package
from engine.serving.settings import Settings

from tests.engine import toy_models
from tests.engine.server import started

pytestmark = pytest.mark.slow
CPU = Settings(execution_providers=("cpu",))
CODE = """
from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from engine.serving.errors import InvalidInput


@dataclass
class Limits:
    least: float = 0.0


def preprocess(inputs):
    time.sleep(0.005)  # long enough for requests to wait, and so to share a run
    price = inputs["price"]
    if price.min() < Limits().least:
        raise InvalidInput("'price' must not be negative", field="price")
    if price.max() > 1000:
        raise ArithmeticError("out of the table")
    return {"x": np.repeat(price, 3, axis=1)}


def postprocess(outputs):
    return {"sum": outputs["y"].sum(axis=1), "big": outputs["y"][:, 0] > 10}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with `hooked`: a price in, six times of it and a flag out."""
    place = tmp_path_factory.mktemp("hooks")
    source = toy_models.write_scale(place) / "model.onnx"
    (place / "code.py").write_text(CODE)
    np.savez(place / "samples.npz", price=np.array([[1], [2], [9]], np.float32))
    options = Options(
        name="hooked",
        code=place / "code.py",
        samples=place / "samples.npz",
        batching="declared",
    )
    package(str(source), options, place / "models")
    return place / "models"


def test_signature_and_golden_record_are_those_of_the_whole(folder: Path) -> None:
    model: Model = load_model(read_package(folder / "hooked"), CPU)
    assert [str(each) for each in model.signature.inputs] == ["FP32[-1, 1]"]
    assert [(each.name, str(each)) for each in model.signature.outputs] == [
        ("sum", "FP32[-1]"),
        ("big", "BOOL[-1]"),
    ]
    assert model.signature.batched
    assert model.package.golden.outputs["sum"].tolist() == [6, 12, 54]
    with pytest.raises(InvalidInput):
        model.run({"price": np.array([[-1]], np.float32)})


def test_a_bad_request_hurts_none_that_shares_its_run(folder: Path) -> None:
    prices = [5.0, -1.0, 2000.0, 7.0] * 10
    with started(folder, LOG_FORMAT="json") as server:
        server.wait_for("ready")

        def ask(price: float) -> httpx.Response:
            return httpx.post(f"{server.url}/predict", json={"data": [[price]]})

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, prices))
        assert server.stop() == 0
        assert server.process.stderr is not None
        log = server.process.stderr.read()
    for price, answer in zip(prices, answers, strict=True):
        if price < 0:
            assert answer.status_code == 422
            assert answer.json()["error"] == "'price' must not be negative"
            assert answer.json()["field"] == "price"
        elif price > 1000:
            assert answer.status_code == 500
            assert "out of the table" not in answer.text
            assert answer.json()["id"] in log
        else:
            assert answer.json()["predictions"] == [price * 6]
    # What an exception says may quote the request, so that is left out.
    assert log.count("ArithmeticError: (message left out") == prices.count(2000.0)
    assert "ArithmeticError: out of the table" not in log
    assert "must not be negative" not in log


BROKEN = [
    ("raise RuntimeError('boom')", "cannot be run: RuntimeError: boom"),
    ("x = 1", "defines neither preprocess nor postprocess"),
    ("preprocess = 3", "preprocess is not a function"),
    (CODE + "\ndef postprocess(outputs): return {}", "postprocess gave []; 'sum' is missing"),
    (
        CODE + "\ndef postprocess(outputs): return 3",
        "postprocess gave int; it must give arrays by name",
    ),
    (CODE.replace(".sum(axis=1)", ".sum(axis=1).astype('f8')"), "gave 'sum' as float64"),
    (CODE.replace("np.repeat(price, 3", "np.repeat(price + 1, 3"), "golden check failed"),
]


@pytest.mark.parametrize(("code", "words"), BROKEN, ids=[case[1] for case in BROKEN])
def test_code_that_cannot_be_right_is_refused_before_it_serves(
    folder: Path, tmp_path: Path, code: str, words: str
) -> None:
    broken = tmp_path / "hooked"
    broken.mkdir()
    for path in (folder / "hooked").iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "model_code.py").write_text(code)
    with pytest.raises(PackageError, match=r"has \d+ bytes|was altered"):
        read_package(broken)
    content = yaml.safe_load((broken / "model.yaml").read_text())
    content["files"]["model_code.py"] = file_entry(broken / "model_code.py")
    (broken / "model.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(PackageError) as refused:
        load_model(read_package(broken), CPU)
    assert words in str(refused.value)


def test_code_that_fails_on_the_samples_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(CODE)
    np.savez(tmp_path / "samples.npz", price=np.array([[5000]], np.float32))
    options = Options(name="x", code=tmp_path / "code.py", samples=tmp_path / "samples.npz")
    source = toy_models.write_scale(tmp_path) / "model.onnx"
    with pytest.raises(PackageError, match="fails on the samples: ArithmeticError"):
        package(str(source), options, tmp_path / "models")
