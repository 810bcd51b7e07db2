"""Requests of the protocol that are like an earlier one are read as if they were the first, and the
answers of a run are those that each request gets alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from engine.serving.errors import RequestError
from engine.serving.inference.arrays import arrays_of
from engine.serving.inference.model import Model, load_model
from engine.serving.package.reader import read_package
from engine.serving.request import Request
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import NUMPY, Array, datatype_of
from engine.serving.tensors.signature import Signature, TensorSpec
from engine.serving.transports import oip
from engine.serving.transports.oip_answers import Writer
from engine.serving.transports.oip_binary import HEADER_LENGTH, split
from engine.serving.transports.oip_known import (
    FEW_VALUES,
    LARGEST_FRAME,
    MOST_FRAMES,
    KnownRequests,
    Wish,
)
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


def read_like_another(
    model: Model, body: bytes, length: bytes | None, known: KnownRequests
) -> Request | None:
    """The request as it is read by what is known; None where that does not read it."""
    request = Request("infer", "t")
    request.headers = {} if length is None else {HEADER_LENGTH: length}
    request.id = "of another"
    return request if known.read(request, body) else None


def learned(model: Model, body: bytes, length: bytes | None) -> KnownRequests:
    """What is known after that request, if it is right."""
    known = KnownRequests(model.signature)
    try:
        exact = oip.decode(body, length, model, 100)
    except RequestError:
        return known
    text, _ = split(body, length)
    known.learn(text, exact.inputs, exact.outputs)
    return known


def check_same(request: Request, exact: oip.OipRequest, model: Model) -> None:
    """It was read as the exact way reads it."""
    assert request.id == exact.id
    assert request.wishes == exact.outputs
    read = plainly(request.inputs, model)
    model.signature.check(read)
    if isinstance(request.inputs, list):
        # The queue tells only arrays of several widths apart.
        assert model.signature.inputs[0].shape[1] > 0
    assert read.keys() == exact.inputs.keys()
    for each, array in exact.inputs.items():
        assert (read[each].dtype, read[each].shape) == (array.dtype, array.shape)
        assert read[each].tobytes() == array.tobytes()


@pytest.mark.parametrize("name", ["scale", "add", "sides", "wide", "fixed"])
@settings(max_examples=examples(150), deadline=None)
@given(data=st.data())
def test_a_request_like_an_earlier_one_is_read_as_the_exact_way_reads_it(
    named: Named, name: str, data: st.DataObject
) -> None:
    model = named[name]
    body, length = data.draw(asked(model))
    known = learned(model, body, length)
    # Once more as it was; and with something changed anywhere.
    changed = bytearray(body)
    changed[data.draw(st.integers(0, len(body) - 1))] = data.draw(
        st.sampled_from(b'01,[]"\\ \0\1e')
    )
    for again in (body, bytes(changed)):
        request = read_like_another(model, again, length, known)
        if request is None:
            continue
        exact = oip.decode(again, length, model, 100)
        try:
            model.signature.check(exact.inputs)
        except RequestError:
            # Arrays are checked where they are used.
            assert not isinstance(request.inputs, list)
            continue
        check_same(request, exact, model)


@pytest.mark.parametrize("name", ["scale", "add", "sides"])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("rows", [1, FEW_VALUES])
def test_usual_requests_are_known_when_they_come_again(
    named: Named, name: str, binary: bool, rows: int
) -> None:
    """Else the test before would prove nothing."""
    model = named[name]
    bodies = []
    for number in (1, 2):
        document = oip.example(model)
        tensors = b""
        for entry in document["inputs"]:
            entry["shape"] = [rows, *entry["shape"][1:]]
            values = (np.array(entry["data"] * rows) + number).tolist()
            tensor = np.array(values, NUMPY[entry["datatype"]]).tobytes()
            if binary:
                del entry["data"]
                entry["parameters"] = {"binary_data_size": len(tensor)}
                tensors += tensor
            else:
                entry["data"] = values
        if binary:
            document["parameters"] = {"binary_data_output": True}
        document["id"] = "mine" * number
        document["outputs"] = [{"name": spec.name} for spec in model.signature.outputs]
        text = json.dumps(document).encode()
        bodies.append((text + tensors, b"%d" % len(text) if binary else None))
    known = learned(model, *bodies[0])
    request = read_like_another(model, *bodies[1], known)
    assert request is not None
    check_same(request, oip.decode(*bodies[1], model, 100), model)
    assert request.id == "minemine"


KINDS = [np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_, np.object_]


def as_protocol_says(outputs: Mapping[str, Array], request: Request, model: Model) -> Any:
    """The answer's JSON, and what is behind it: text of each element, or little-endian bytes."""
    described, tensors = [], b""
    for name, binary in request.wishes or [(each, False) for each in outputs]:
        array = outputs[name]
        flat = array.reshape(-1).tolist()
        if array.dtype == np.object_:
            texts = [text.encode() for text in flat]
            tensor = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        else:
            tensor = array.astype(array.dtype.newbyteorder("<")).tobytes()
        entry = {"name": name, "shape": list(array.shape), "datatype": datatype_of(array)}
        if binary:
            tensors += tensor
            described.append(entry | {"parameters": {"binary_data_size": len(tensor)}})
        else:
            data = [None if value != value else value for value in flat]
            described.append(entry | {"data": data})
    named = {} if request.id is None else {"id": request.id}
    version = {"model_name": model.name, "model_version": model.manifest.version}
    return version | {"outputs": described} | named, tensors


def rounded(document: Any, outputs: Mapping[str, Array]) -> Any:
    """Numbers in as many digits as their type has."""
    for entry in document["outputs"]:
        dtype = outputs[entry["name"]].dtype
        if dtype.kind == "f" and "data" in entry:
            entry["data"] = [None if each is None else dtype.type(each) for each in entry["data"]]
    return document


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
        tail = data.draw(st.sampled_from([(), (1,), (3,), (2, 2), (0,), (2, 0)]))
        values = np.random.default_rng(data.draw(st.integers(0, 2**32))).normal(size=(total, *tail))
        dtype = data.draw(st.sampled_from(KINDS))
        array: Array = (
            (values * 100).astype(np.str_ if dtype is np.object_ else dtype).astype(dtype)
        )
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
        request.wishes = wishes if data.draw(st.integers(0, 3)) else choices[0]
        request.id = data.draw(st.sampled_from([None, "", "a", 'q"%', "ü"]))
    written = Writer(model.name, model.manifest.version, names).write(outputs, requests)
    start = 0
    for request, (status, headers, chunks) in zip(requests, written, strict=True):
        part = {name: value[start : start + request.rows] for name, value in outputs.items()}
        start += request.rows
        document, tensors = as_protocol_says(part, request, model)
        body = b"".join(chunks)
        length = dict(headers).get(HEADER_LENGTH)
        assert (status, length is None) == (200, not any(each[1] for each in request.wishes or ()))
        end = len(body) if length is None else int(length)
        assert body[end:] == tensors
        assert rounded(json.loads(body[:end]), part) == document


def test_outputs_without_rows_are_written_as_they_are(named: Named) -> None:
    outputs: dict[str, Array] = {"a": np.array(2.5), "b": np.arange(6, dtype=np.int8).reshape(2, 3)}
    request = requested({}, 1)
    for binary in (False, True):
        request.wishes = tuple(Wish(name, binary) for name in outputs)
        ((_, _, chunks),) = Writer("sides", "1", list(outputs)).write(outputs, [request])
        document, tensors = as_protocol_says(outputs, request, named["sides"])
        text, *rest = map(bytes, chunks)
        assert json.loads(text) == document
        assert b"".join(rest) == tensors


def like(entry: Mapping[str, Any], signature: Signature, *, binary: bool = False) -> KnownRequests:
    """What is known after a right request with this entry for `scale`."""
    known = KnownRequests(signature)
    more = {"parameters": {"binary_data_size": 12}} if binary else {"data": [7, 8, 9]}
    text = json.dumps({"inputs": [{**entry, **more}]}).encode()
    known.learn(text, {"x": np.array([[7, 8, 9]], np.float32)}, None)
    return known


SCALE = {"name": "x", "shape": [1, 3], "datatype": "FP32"}
UNUSUAL = ["[true, 1, 2]", "[1, 2]", "[1, 2, 1e39]", "[1, 2, null]", "[[1, 2, 3]]", '["1", 2, 3]']


@pytest.mark.parametrize("data", [*UNUSUAL, "[1, 2, 3], [4]", "[1, 2, 3]]", "[1,2,3e]"])
def test_what_is_unusual_is_left_to_the_exact_way(named: Named, data: str) -> None:
    known = like(SCALE, named["scale"].signature)
    body = json.dumps({"inputs": [SCALE | {"data": "HERE"}]}).encode()
    assert known.read(Request("infer", "t"), body.replace(b'"HERE"', b"[4, 5, 6]"))
    assert not known.read(Request("infer", "t"), body.replace(b'"HERE"', data.encode()))


def test_a_table_of_a_known_shape_is_read_as_the_first_one(named: Named) -> None:
    known = like(SCALE, named["scale"].signature, binary=True)
    text = json.dumps({"inputs": [SCALE | {"parameters": {"binary_data_size": 12}}]}).encode()
    request = Request("infer", "t")
    request.headers = {HEADER_LENGTH: b"%d" % len(text)}
    for values in ([1, 2, 3], [4.5, -5, 6], [7, 8, 9]):
        request.id = "of another"
        assert known.read(request, text + np.array(values, np.float32).tobytes())
        expected: Any = ([values], None, None)
        assert (request.inputs, request.id, request.wishes) == expected
    for wrong in (b"", b"1234" * 2, b"1234" * 4, np.array([1, np.inf, 2], np.float32).tobytes()):
        assert not known.read(request, text + wrong)


def test_bytes_behind_known_tensors_are_left_to_the_exact_way(named: Named) -> None:
    for name in ("scale", "add"):
        model = named[name]
        entries, tensors = [], b""
        for spec in model.signature.inputs:
            array = np.ones(
                [2 if size == -1 else size for size in spec.shape], NUMPY[spec.datatype]
            )
            size = {"binary_data_size": array.nbytes}
            entry = {"name": spec.name, "shape": array.shape, "datatype": spec.datatype}
            entries.append({**entry, "parameters": size})
            tensors += array.tobytes()
        text = json.dumps({"inputs": entries}).encode()
        length = b"%d" % len(text)
        known = learned(model, text + tensors, length)
        assert read_like_another(model, text + tensors, length, known) is not None
        for wrong in (tensors + b"\0", tensors[:-1], b""):
            assert read_like_another(model, text + wrong, length, known) is None


@pytest.mark.parametrize("name", ["id", "data"])
def test_inputs_with_the_names_of_keys_are_left_to_the_exact_way(name: str) -> None:
    """What follows such a name looks like the value of the key."""
    known = KnownRequests(Signature((TensorSpec(name, "FP32", (-1, 3)),), ()))
    entry = {"name": name, "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    text = json.dumps({"inputs": [entry]}).encode()
    known.learn(text, {name: np.ones((1, 3), np.float32)}, None)
    for other in (text, text.replace(b'"shape"', b'"other"'), text.replace(b"[1, 3]", b"[3, 1]")):
        assert not known.read(Request("infer", "t"), other)


def test_what_is_kept_of_requests_is_bounded(named: Named) -> None:
    known = KnownRequests(named["scale"].signature)
    array = np.ones((1, 3), np.float32)
    for number in range(2 * MOST_FRAMES):
        entry = {**SCALE, "data": [1, 2, 3], "parameters": {"of_client": number}}
        known.learn(json.dumps({"inputs": [entry]}).encode(), {"x": array}, None)
    assert 0 < len(known._frames) <= MOST_FRAMES
    entry = {**SCALE, "data": [1, 2, 3], "parameters": {"of_client": "x" * LARGEST_FRAME}}
    text = json.dumps({"inputs": [entry]}).encode()
    known.learn(text, {"x": array}, None)
    assert not known.read(Request("infer", "t"), text)


@pytest.mark.parametrize("name", ["scale", "wide"])
@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_what_is_known_of_requests_before_changes_no_later_one(
    named: Named, name: str, data: st.DataObject
) -> None:
    model = named[name]
    known = KnownRequests(model.signature)
    pieces = data.draw(st.lists(st.sampled_from(PIECES), min_size=2, max_size=6))
    for numbers, form in pieces:
        body = form.replace("NUMBERS", numbers).encode()
        request = Request("infer", "t")
        read = known.read(request, body)
        try:
            exact = oip.decode(body, None, model, 100)
        except RequestError:
            assert not read
            continue
        if read:
            check_same(request, exact, model)
        else:
            known.learn(body, exact.inputs, exact.outputs)


ENTRY = '"name":"x","datatype":"FP32"'
FORMS = [
    '{"inputs":[{"shape":[1,3],ENTRY,"data":NUMBERS}],"id":"a"}',
    '{"inputs":[{"shape":[1,3],ENTRY,"data":NUMBERS}],"id":"b\\u0063"}',
    '{"inputs":[{"shape":[1,3],ENTRY,"data":NUMBERS}],"id":null,"a":""}',
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
