"""The fast ways of small requests give what the exact ways give."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from engine.serving.errors import RequestError
from engine.serving.inference.arrays import arrays_of, joined
from engine.serving.inference.model import Model, load_model
from engine.serving.package.manifest import OutputTensor
from engine.serving.package.reader import read_package
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import Array
from engine.serving.tensors.signature import Signature, TensorSpec
from engine.serving.transports import tutorial
from engine.serving.transports.few import LARGEST, FewRows
from engine.serving.transports.json_body import LARGE_BYTES, opening_brackets
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.asked import requested
from tests.engine.volume import examples

pytestmark = pytest.mark.slow

X = TensorSpec("x", "FP32", (-1, 3))
SIGNATURE = Signature((X,), (TensorSpec("y", "FP32", (-1, 3)),))
NUMBER = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.integers(-(2**70), 2**70),
)
ODD: st.SearchStrategy[object] = st.sampled_from(
    [None, True, False, "1", [], [1.0], {}, 1e39, -1e300, 2**63, 2**64]
)


class Stub:
    """What reading needs of a model."""

    signature = SIGNATURE
    manifest = SimpleNamespace(inputs=(SimpleNamespace(features=()),))


def exact(body: bytes) -> Array | str:
    try:
        arrays = tutorial.decode(body, Stub())  # type: ignore[arg-type]
        SIGNATURE.check(arrays)
    except RequestError as error:
        return str(error)
    return arrays["x"]


@settings(max_examples=examples(300), deadline=None)
@given(
    st.lists(st.lists(st.one_of(NUMBER, NUMBER, NUMBER, ODD), min_size=2, max_size=4), max_size=4),
    st.sampled_from(["{}", '{{"data":{}}}', ' {{ "data" : {} }}\n', '{{"d\\u0061ta":{}}}']),
)
def test_rows_that_are_read_fast_are_the_exact_ones(rows: list[list[object]], form: str) -> None:
    body = form.format(json.dumps(rows)).encode()
    read = FewRows(SIGNATURE).read(body)
    if read is not None:
        expected = exact(body)
        assert isinstance(expected, np.ndarray), expected
        array = arrays_of(read, X)["x"]
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
        assert array.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":[[1,2,3]]}',
        b'{"data":[[1,2.5,-3e-7],[0,-0.0,4611686018427387903]]}',
        b'{"data": [[1e5, 2, 3]] }',
    ],
)
def test_the_usual_bodies_are_read_fast(body: bytes) -> None:
    assert FewRows(SIGNATURE).read(body) is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b'{"data":7}',
        b'{"data":[]}',
        b'{"data":{}}',
        b'{"data":[1,2,3]}',
        b'{"data":[[1,2]]}',
        b'{"data":[[1,2,3],[1,2]]}',
        b'{"data":[[1,true,3]]}',
        b'{"data":[[1,false,3]]}',
        b'{"data":[[1,null,3]]}',
        b'{"data":[[[1],[2],[3]]]}',
        b'{"data":[[1,2,3]],"data":[[4,5,6]]}',
        b'{"data":[[1,2,3]],"id":1}',
        b'{"other":[[1,2,3]]}',
        b'{"data":[[1,2,%d]]}' % LARGEST,
        b'{"data":[[1,2,1e400]]}',
        b'{"data":[[1,2,NaN]]}',
        b'{"data":[[1,2,3]]',
        b'{"data":[[1,2,3]]}' + b" " * 512,
    ],
)
def test_all_else_is_left_to_the_exact_way(body: bytes) -> None:
    assert FewRows(SIGNATURE).read(body) is None


@pytest.mark.parametrize(
    "signature",
    [
        Signature((X, X), SIGNATURE.outputs),
        Signature((TensorSpec("x", "INT64", (-1, 3)),), SIGNATURE.outputs),
        Signature((TensorSpec("x", "FP32", (-1, -1)),), SIGNATURE.outputs),
        Signature((TensorSpec("x", "FP32", (1, 3)),), SIGNATURE.outputs),
        Signature((TensorSpec("x", "FP32", (-1,)),), SIGNATURE.outputs),
        Signature((X,), SIGNATURE.outputs, independent_rows=False),
    ],
)
def test_other_signatures_are_left_to_the_exact_way(signature: Signature) -> None:
    assert FewRows(signature).read(b'{"data":[[1,2,3]]}') is None


def test_rows_and_arrays_join() -> None:
    few, array = [[1.0, 2.0, 3.0]], {"x": np.array([[4, 5, 6], [7, 8, 9]], np.float32)}
    whole = joined([requested(few, 1), requested(array, 2), requested(few, 1)], X)["x"]
    assert whole.dtype == np.float32
    assert whole.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 2, 3]]
    assert joined([requested(few, 1), requested(few, 1)], X)["x"].tolist() == [[1, 2, 3], [1, 2, 3]]


DTYPES = st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_, object])
SIZES = st.lists(st.integers(1, 3), min_size=1, max_size=5)


def an_array(data: st.DataObject, rows: int) -> Array:
    dtype = data.draw(DTYPES)
    shape = (rows, *data.draw(st.sampled_from([(), (1,), (3,), (2, 2), (0,)])))
    if dtype is object:
        return np.array(["a,b", "],[", "ä"] * 20, object)[: int(np.prod(shape))].reshape(shape)
    # Any bits: also numbers that are none.
    values = np.frombuffer(np.random.default_rng(data.draw(st.integers(0, 2**32))).bytes(1024))
    array: Array = values[: int(np.prod(shape))].reshape(shape)
    with np.errstate(all="ignore"):
        array = array > 0 if dtype is np.bool_ else array.astype(dtype)
    return array if data.draw(st.booleans()) else np.asfortranarray(array)


def as_documented(outputs: Mapping[str, Array], model: Model) -> dict[str, Any]:
    """What an answer says, with the values in the types of the outputs."""
    first, *others = (each.name for each in model.manifest.outputs)
    answer: dict[str, Any] = {"predictions": outputs[first].tolist()}
    if labels := model.manifest.outputs[0].labels:
        values = outputs[first]
        if model.manifest.outputs[0].exclusive:
            classes = [-1 if np.isnan(row).any() else int(row.argmax()) for row in values]
        else:
            classes = values.ravel().tolist()
        answer["labels"] = [labels[each] if 0 <= each < len(labels) else None for each in classes]
    if others:
        answer["outputs"] = {name: outputs[name].tolist() for name in others}
    return answer | {"model": model.name, "version": model.manifest.version}


def read_back(answer: bytes, outputs: Mapping[str, Array], model: Model) -> dict[str, Any]:
    """An answer with numbers in as many digits as their type has."""
    document: dict[str, Any] = json.loads(answer)
    first, *others = (each.name for each in model.manifest.outputs)

    def typed(value: Any, name: str) -> Any:
        dtype = outputs[name].dtype
        if isinstance(value, list):
            return [typed(each, name) for each in value]
        return dtype.type(value).item() if dtype.kind == "f" and value is not None else value

    document["predictions"] = typed(document["predictions"], first)
    for name in others:
        document["outputs"][name] = typed(document["outputs"][name], name)
    return document


def without_nan(value: Any) -> Any:
    """JSON has neither NaN nor infinity."""
    if isinstance(value, dict):
        return {name: without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@settings(max_examples=examples(200), deadline=None)
@given(SIZES, st.data())
def test_answers_cut_from_a_batch_are_those_of_each_request(
    named: dict[str, Model], sizes: list[int], data: st.DataObject
) -> None:
    for model in named.values():
        outputs = {each.name: an_array(data, sum(sizes)) for each in model.manifest.outputs}
        if model.manifest.outputs[0].labels:
            first = model.manifest.outputs[0].name
            shape = data.draw(st.sampled_from([(-1,), (-1, 1)]))
            outputs[first] = np.resize(np.array([0, 1, 2, -1, 5]), sum(sizes)).reshape(shape)
            if model.manifest.outputs[0].exclusive:
                shares = np.array([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [np.nan, 0.5, 0.5]])
                outputs[first] = np.resize(shares, (sum(sizes), 3))
        requests = [requested({}, rows) for rows in sizes]
        start = 0
        for rows, (status, headers, chunks) in zip(
            sizes, tutorial.Codec(model).encode(outputs, requests), strict=True
        ):
            part = {name: value[start : start + rows] for name, value in outputs.items()}
            start += rows
            answer = b"".join(chunks)
            assert (status, dict(headers)) == (200, {b"content-type": b"application/json"})
            assert read_back(answer, part, model) == without_nan(as_documented(part, model))


def test_an_output_without_rows_is_written_as_it_is(named: dict[str, Model]) -> None:
    for array in (np.array(2.5), np.arange(6).reshape(2, 3), np.zeros((0, 2))):
        ((_, _, chunks),) = tutorial.Codec(named["single"]).encode({"y": array}, [requested({}, 1)])
        assert json.loads(b"".join(chunks))["predictions"] == array.tolist()


@pytest.fixture(scope="module")
def named(toy_dir: Path) -> dict[str, Model]:
    """Models with one output, with several, with labels and a per cent sign in its words, and with
    a column for each class.
    """
    single, labelled, shares = (
        load_model(read_package(toy_dir / "scale"), Settings()) for _ in range(3)
    )
    several = load_model(read_package(toy_dir / "echo"), Settings())
    outputs = (
        OutputTensor(name="y", datatype="INT64", shape=(-1,), labels=("%s", "b,", "ü")),
        OutputTensor(name="100%", datatype="FP32", shape=(-1,)),
    )
    labelled.manifest = labelled.manifest.model_copy(update={"outputs": outputs})
    columns = outputs[0].model_copy(update={"datatype": "FP64", "exclusive": True})
    shares.manifest = shares.manifest.model_copy(update={"outputs": (columns, outputs[1])})
    return {"single": single, "labelled": labelled, "several": several, "shares": shares}


@pytest.mark.parametrize("size", [10, LARGE_BYTES - 1, LARGE_BYTES, 3 * LARGE_BYTES])
def test_opening_brackets_are_counted_in_bodies_of_every_size(size: int) -> None:
    body = (b"[[1,2],[" * size)[:size]
    assert opening_brackets(body) == body.count(b"[")
