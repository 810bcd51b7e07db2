"""Small requests of the protocol are read, and their answers written, exactly as large ones are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from engine.serving.inference.arrays import arrays_of
from engine.serving.inference.model import Model, load_model
from engine.serving.package.reader import read_package
from engine.serving.request import Request
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import NUMPY, Array
from engine.serving.transports import oip
from engine.serving.transports.oip_binary import HEADER_LENGTH
from engine.serving.transports.oip_small import SMALL_BYTES, SmallReader, SmallWriter, Wish
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.asked import requested
from tests.engine.toy_models import write_all, write_classifier
from tests.engine.volume import examples

NUMBERS = (
    0, 1, -1, 255, 256, 2**31, -(2**31) - 1, 2**53 + 1, 2**62, 2**63, 2**64, 10**25, 0.1, -2.5,
    1e-400, 1e38, 1e39, True, False, None, "1", [1], 3.0,
)  # fmt: skip
Named = dict[str, Model]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Named:
    folder = tmp_path_factory.mktemp("models")
    write_all(folder)
    write_classifier(folder)
    names = ("scale", "add", "sides", "wide", "fixed")
    return {name: load_model(read_package(folder / name), Settings()) for name in names}


def an_entry(data: st.DataObject, model: Model) -> tuple[dict[str, Any], bytes]:
    """One input, right or wrong, and its tensor where that is binary."""
    spec = data.draw(st.sampled_from(model.signature.inputs))
    rows = data.draw(st.integers(1, 3))
    shape = [rows if size == -1 else size for size in spec.shape]
    size = int(np.prod(shape))
    entry: dict[str, Any] = {"name": spec.name, "shape": shape, "datatype": spec.datatype}
    if data.draw(st.booleans()):
        entry["data"] = data.draw(
            st.lists(st.integers(-5, 5) | st.floats(-9, 9), min_size=size, max_size=size)
        )
        if data.draw(st.integers(0, 3)) == 0:
            entry["data"][0] = data.draw(st.sampled_from(NUMBERS))
        tensor = b""
    else:
        values = data.draw(st.lists(st.integers(-5, 5), min_size=size, max_size=size))
        tensor = np.array(values, NUMPY[spec.datatype]).tobytes()
        if spec.datatype.startswith("FP") and data.draw(st.integers(0, 5)) == 0:
            tensor = np.full(size, np.nan, NUMPY[spec.datatype]).tobytes()
        entry["parameters"] = {"binary_data_size": len(tensor)}
    for key, wrong in data.draw(
        st.lists(
            st.sampled_from(
                [
                    ("shape", [size]),
                    ("shape", [True, *shape[1:]]),
                    ("shape", [0, *shape[1:]]),
                    ("datatype", "FP64"),
                    ("name", "nobody"),
                    ("data", "12"),
                    ("data", []),
                    ("parameters", {}),
                    ("parameters", {"binary_data_size": True}),
                    ("more", 1),
                ]
            ),
            max_size=data.draw(st.integers(0, 1)),
        )
    ):
        entry[key] = wrong
    return entry, tensor


@st.composite
def asked(draw: st.DrawFn, model: Model) -> tuple[bytes, bytes | None]:
    """The body of a request, and the length of its JSON where tensors follow."""
    data = draw(st.data())
    document: dict[str, Any] = {}
    tensors = b""
    count = data.draw(st.sampled_from([len(model.signature.inputs)] * 3 + [0, 1, 2]))
    entries = [an_entry(data, model) for _ in range(count)]
    document["inputs"] = [entry for entry, _ in entries]
    tensors = b"".join(tensor for _, tensor in entries)
    names = [spec.name for spec in model.signature.outputs]
    choices: dict[str, Any] = {
        "id": ["a", "", 'q"', "ü", 1, "x" * 1025],
        "parameters": [{"binary_data_output": True}, {"binary_data_output": False}, {}, {"a": 1}],
        "outputs": [
            [{"name": names[-1]}],
            [{"name": each, "parameters": {"binary_data": True}} for each in names],
            [{"name": names[0]}] * 2,
            [{"name": "nobody"}],
            [],
            [{"name": names[0], "parameters": {"binary_data": 1}}],
        ],
        "other": [{"inputs": []}],
    }
    for key in data.draw(st.lists(st.sampled_from(sorted(choices)), unique=True, max_size=2)):
        document[key] = data.draw(st.sampled_from(choices[key]))
    text = json.dumps(document, ensure_ascii=data.draw(st.booleans()))
    twice = data.draw(st.sampled_from(["", "", "", '"id":"b"', '"inputs":[]', '"i\\u0064":"c"']))
    if twice:
        text = text[:-1] + "," + twice + "}"
    binary = tensors or data.draw(st.booleans())
    body = text.encode() + tensors + data.draw(st.sampled_from([b"", b"", b"", b" "]))
    return body, b"%d" % len(text.encode()) if binary else None


def plainly(inputs: Any, model: Model) -> Mapping[str, Array]:
    return arrays_of(inputs, model.signature.inputs[0])


@pytest.mark.parametrize("name", ["scale", "add", "sides", "wide", "fixed"])
@settings(max_examples=examples(150), deadline=None)
@given(data=st.data())
def test_a_small_request_is_read_as_the_exact_way_reads_it(
    named: Named, name: str, data: st.DataObject
) -> None:
    model = named[name]
    body, length = data.draw(asked(model))
    request = Request("infer", "t")
    request.headers = {} if length is None else {HEADER_LENGTH: length}
    if not SmallReader(model.signature, 100).read(request, body):
        return
    exact = oip.decode(body, length, model, 100)
    assert request.id == exact.id
    usual = tuple(Wish(spec.name, False) for spec in model.signature.outputs)
    assert (request.wishes or usual) == exact.outputs
    read = plainly(request.inputs, model)
    if isinstance(request.inputs, list):
        # Nobody looks at rows again, and the queue tells only arrays of several widths apart.
        model.signature.check(read)
        assert model.signature.inputs[0].shape[1] > 0
    assert read.keys() == exact.inputs.keys()
    for each, array in exact.inputs.items():
        assert (read[each].dtype, read[each].shape) == (array.dtype, array.shape)
        assert read[each].tobytes() == array.tobytes()


@pytest.mark.parametrize("name", ["scale", "add", "sides"])
@pytest.mark.parametrize("binary", [False, True])
def test_usual_requests_are_small_ones(named: Named, name: str, binary: bool) -> None:
    """Else the test before would prove nothing."""
    model = named[name]
    document = oip.example(model)
    tensors = b""
    if binary:
        for entry in document["inputs"]:
            tensor = np.array(entry.pop("data"), NUMPY[entry["datatype"]]).tobytes()
            entry["parameters"] = {"binary_data_size": len(tensor)}
            tensors += tensor
        document["parameters"] = {"binary_data_output": True}
    document["id"] = "mine"
    document["outputs"] = [{"name": spec.name} for spec in model.signature.outputs]
    text = json.dumps(document, default=list).encode()
    request = Request("infer", "t")
    request.headers = {HEADER_LENGTH: b"%d" % len(text)} if binary else {}
    assert SmallReader(model.signature, 100).read(request, text + tensors)
    assert request.id == "mine"
    assert len(text) < SMALL_BYTES


KINDS = [np.float32, np.float64, np.int64, np.uint8]


@settings(max_examples=examples(150), deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=5))
def test_the_answers_of_a_batch_are_those_of_each_request(
    named: Named, data: st.DataObject, sizes: list[int]
) -> None:
    model = named["sides"]
    names = [spec.name for spec in model.signature.outputs]
    total = sum(sizes)
    outputs: dict[str, Array] = {}
    for name in names:
        tail = data.draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
        values = np.random.default_rng(data.draw(st.integers(0, 2**32))).normal(size=(total, *tail))
        array = (values * 100).astype(data.draw(st.sampled_from(KINDS)))
        if array.dtype.kind == "f" and data.draw(st.booleans()):
            array[0] = np.nan
        outputs[name] = array if data.draw(st.booleans()) else np.asfortranarray(array)
    choices = [
        None,
        (Wish(names[1], False),),
        tuple(Wish(name, True) for name in names),
        (Wish(names[1], True), Wish(names[0], False)),
    ]
    wishes = data.draw(st.sampled_from(choices))
    requests = [requested({}, rows) for rows in sizes]
    for request in requests:
        request.wishes = wishes
        request.id = data.draw(st.sampled_from([None, "", "a", 'q"%', "ü"]))
    written = SmallWriter(model.name, model.manifest.version, names).write(outputs, requests)
    assert written is not None
    usual = wishes or tuple(Wish(name, False) for name in names)
    start = 0
    for request, (status, headers, chunks) in zip(requests, written, strict=True):
        part = {name: value[start : start + request.rows] for name, value in outputs.items()}
        start += request.rows
        exact, length = oip.encode(part, oip.OipRequest({}, usual, request.id), model)
        assert b"".join(chunks) == b"".join(exact)
        assert (status, dict(headers).get(HEADER_LENGTH)) == (
            200,
            None if length is None else b"%d" % length,
        )


@pytest.mark.parametrize(
    "data", ["[true, 1, 2]", "[1, 2]", "[1, 2, 1e39]", "[1, 2, null]", "[[1, 2, 3]]", '["1", 2, 3]']
)
def test_what_is_unusual_is_left_to_the_exact_way(named: Named, data: str) -> None:
    entry = f'{{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": {data}}}'
    body = f'{{"inputs": [{entry}]}}'.encode()
    assert not SmallReader(named["scale"].signature, 100).read(Request("infer", "t"), body)


def test_a_table_of_a_known_shape_is_read_as_the_first_one(named: Named) -> None:
    signature = named["scale"].signature
    reader = SmallReader(signature, 100)
    entry = {"name": "x", "shape": [1, 3], "datatype": "FP32"}
    text = json.dumps({"inputs": [entry | {"parameters": {"binary_data_size": 12}}]}).encode()
    request = Request("infer", "t")
    request.headers = {HEADER_LENGTH: b"%d" % len(text)}
    for values in ([1, 2, 3], [4.5, -5, 6], [7, 8, 9]):
        request.id = "of another"
        assert reader.read(request, text + np.array(values, np.float32).tobytes())
        expected: Any = ([values], None, None)
        assert (request.inputs, request.id, request.wishes) == expected
    for wrong in (b"", b"1234" * 2, b"1234" * 4, np.array([1, np.inf, 2], np.float32).tobytes()):
        assert not reader.read(request, text + wrong)


@pytest.mark.parametrize("name", ["scale", "wide"])
@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_what_is_known_of_requests_before_changes_no_later_one(
    named: Named, name: str, data: st.DataObject
) -> None:
    model = named[name]
    reader = SmallReader(model.signature, 100)
    pieces = data.draw(st.lists(st.sampled_from(PIECES), min_size=2, max_size=6))
    for numbers, form in pieces:
        body = form.replace("NUMBERS", numbers).encode()
        request = Request("infer", "t")
        if reader.read(request, body):
            exact = oip.decode(body, None, model, 100)
            assert plainly(request.inputs, model)["x"].tolist() == exact.inputs["x"].tolist()
            assert request.id == exact.id


ENTRY = '"name":"x","datatype":"FP32"'
FORMS = [
    '{"inputs":[{"shape":[1,3],ENTRY,"data":NUMBERS}]}',
    '{"inputs":[{"data":NUMBERS,ENTRY,"shape":[1,3]}]}',
    '{"inputs":[{"data":NUMBERS,ENTRY,"shape":[2,3]}]}',
    '{"id":"data","inputs":[{"shape":NUMBERS,ENTRY,"data":[1,3]}]}',
    '{"id":"[","inputs":[{"shape":[1,3],ENTRY,"data" : NUMBERS }]}',
    '{"inputs":[{"shape":[1,3],ENTRY,"data":1,"data":NUMBERS}]}',
    '{"inputs":[{"shape":[1,3],ENTRY,"data"NUMBERS:}]}',
]
LISTS = ["[1,2,3]", "[1,3]", "[4.5, -5, 6e3]", "[[1,2,3]]", "[1,2,true]", "[1,2,3],[4,5,6]", "[]"]
PIECES = [
    (numbers, form.replace("ENTRY", ENTRY))
    for numbers in [*LISTS, "[1,2,3,4,5,6]"]
    for form in FORMS
]
