"""Bodies made to cost more than they should: refused with a rule, before any work, by status 4xx.

Most are decoded in this process, which takes milliseconds; one real process answers its probe
beside the largest of them.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from engine.serving.errors import MESSAGE_CHARACTERS, BodyTooLarge, RequestError
from engine.serving.http import routes
from engine.serving.http.inference import LARGE_BODY
from engine.serving.http.routes import route_of
from engine.serving.server import Server
from engine.serving.settings import Settings
from engine.serving.tensors.datatypes import NUMPY, Array, Datatype
from engine.serving.tensors.signature import Signature, TensorSpec
from engine.serving.transports import oip, oip_binary, tutorial
from engine.serving.transports.bounds import (
    LARGEST_EMPTY_SIZE,
    MOST_KEYS,
    PARSED_BYTES,
    UNLIMITED,
    check_json,
    check_values,
)
from engine.serving.transports.few import json_of
from engine.serving.transports.json_body import EXPLAINED_BYTES
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.server import running
from tests.engine.volume import examples
from tests.engine.wire import Memory

MAX_ROWS = 500
PROBE_SECONDS = 1.0
KEY = "k" * 16


class Stub:
    """What decoding needs of a model."""

    name = "stub"
    sample = 0

    def __init__(self, *inputs: TensorSpec) -> None:
        outputs = (TensorSpec("y", "FP32", (-1, 3)), TensorSpec("z", "FP32", (-1,)))
        self.signature = Signature(inputs, outputs)
        samples = {
            spec.name: np.zeros([abs(size) for size in spec.shape], NUMPY[spec.datatype])
            for spec in inputs
        }
        self.package = SimpleNamespace(golden=SimpleNamespace(inputs=samples))
        self.manifest = SimpleNamespace(inputs=[SimpleNamespace(features=("a", "b", "c"))])


X = Stub(TensorSpec("x", "FP32", (-1, 3)))
WIDE = Stub(TensorSpec("x", "FP32", (-1, -1), allow_empty=True))
DEEP = Stub(TensorSpec("x", "FP32", (-1, 2, 2)))
TEXT = Stub(TensorSpec("x", "BYTES", (-1, 1)))
WHOLE = Stub(TensorSpec("x", "INT64", (-1, 3)))
ONE = Stub(TensorSpec("x", "FP32", ()))


def predict(body: bytes | str, model: Stub = X) -> dict[str, Array]:
    text = body.encode() if isinstance(body, str) else body
    arrays = tutorial.decode(text, model, MAX_ROWS)  # type: ignore[arg-type]
    model.signature.check(arrays)
    return arrays


def infer(body: bytes | str, model: Stub = X, length: bytes | None = None) -> oip.OipRequest:
    text = body.encode() if isinstance(body, str) else body
    request = oip.decode(text, length, model, MAX_ROWS)  # type: ignore[arg-type]
    model.signature.check(request.inputs)
    return request


def entry(shape: str = "[1, 3]", data: str = "[1, 2, 3]", *, datatype: str = "FP32") -> str:
    return f'{{"name": "x", "datatype": "{datatype}", "shape": {shape}, "data": {data}}}'


def inputs(*entries: str, more: str = "") -> str:
    return f'{{"inputs": [{", ".join(entries)}]{more}}}'


def refused(call: Callable[[], object]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        call()
    error = caught.value
    assert 400 <= error.status < 500
    assert len(error.message) <= MESSAGE_CHARACTERS + 1
    return error


def nested(depth: int) -> str:
    return "[" * depth + "1" + "]" * depth


SHAPES = [
    ("[" + "1," * 399_999 + "1]", "399999"),
    (json.dumps([1] * 65), "shape has 65 sizes"),
    (json.dumps([1] * 64), "shape [1, 1, 1, 1, 1, 1, 1, 1, …]"),
    (json.dumps([0, 2**62]), "the model takes [-1, 3]"),
    (json.dumps([0, 2**63]), "the model takes [-1, 3]"),
    (json.dumps([0, 2**62, 2**62]), "the model takes [-1, 3]"),
    (json.dumps([2**63, 3]), "needs 27670116110564327424"),
    (json.dumps([2**62, 4, 0]), "the model takes [-1, 3]"),
    (json.dumps([2**64, 3]), "not a list of sizes"),
    ("[1" + "0" * 5000 + ", 3]", "out of range"),
    ("[-1, 3]", "not a list of sizes"),
    ("[true, 3]", "not a list of sizes"),
    ("[1.0, 3]", "not a list of sizes"),
    ("[[1], 3]", "not a list of sizes"),
    ("[null, 3]", "not a list of sizes"),
    ("[]", "the model takes [-1, 3]"),
    ("{}", "not a list of sizes"),
    ('"1,3"', "not a list of sizes"),
    ("[501, 3]", "needs 1503"),
]


@pytest.mark.parametrize(("shape", "words"), SHAPES, ids=lambda text: text[:24])
def test_a_shape_is_compared_before_it_is_multiplied(shape: str, words: str) -> None:
    if words == "399999":
        words = "shape has 400000 sizes"
    error = refused(lambda: infer(inputs(entry(shape))))
    assert words in error.message
    assert error.rule


@pytest.mark.parametrize(("shape", "words"), SHAPES, ids=lambda text: text[:24])
def test_so_is_the_shape_of_a_binary_tensor(shape: str, words: str) -> None:
    described = inputs(
        f'{{"name": "x", "datatype": "FP32", "shape": {shape}, '
        '"parameters": {"binary_data_size": 12}}'
    ).encode()
    length = b"%d" % len(described)
    error = refused(lambda: infer(described + b"\0" * 12, length=length))
    assert error.rule


@pytest.mark.parametrize("shape", [[0, LARGEST_EMPTY_SIZE + 1], [0, 2**62], [2**40, 0]])
@pytest.mark.parametrize("binary", [False, True])
def test_an_empty_tensor_has_no_huge_sizes(shape: list[int], binary: bool) -> None:
    described = {"name": "x", "datatype": "FP32", "shape": shape}
    more: dict[str, object] = {"data": []}
    if binary:
        more = {"parameters": {"binary_data_size": 0}}
    body = json.dumps({"inputs": [described | more]}).encode()
    error = refused(lambda: infer(body, WIDE, b"%d" % len(body)))
    assert "empty" in error.message


@pytest.mark.parametrize("depth", [2, 3, 64, 65, 66, 500, 990, 1010, 1022])
@pytest.mark.parametrize("model", [X, WIDE, DEEP, TEXT, WHOLE, ONE])
def test_nesting_is_compared_with_the_rank(model: Stub, depth: int) -> None:
    datatype = model.signature.inputs[0].datatype
    value = nested(depth + 1)
    for body in (f'{{"data": {value}}}', f'{{"data": {{"x": {value}}}}}'):
        if depth > 2:
            assert refused(lambda body=body: predict(body, model)).status in (400, 422)  # type: ignore[misc]
    if depth > 2:
        shape = json.dumps([1 if size == -1 else size for size in model.signature.inputs[0].shape])
        body = inputs(entry(shape, value, datatype=datatype))
        assert refused(lambda: infer(body, model)).rule


def test_a_deeper_list_behind_the_first_one_is_refused() -> None:
    later = f'{{"data": [[[1, 2], [3, 4]], [[1, 2], {nested(900)}]]}}'
    assert "data[1][1]" in refused(lambda: predict(later, DEEP)).message
    column = f'{{"data": {{"x": [[1, 2, 3], [1, 2, {nested(900)}]]}}}}'
    assert "data.x[1][2] is a list" in refused(lambda: predict(column)).message


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: predict('{"data": [[1, 2, 3, "a"]]}'), "shape [1, 4]"),
        (lambda: predict('{"data": [[[1, 2, "a"]]]}'), "shape [1, 1, 3]"),
        (lambda: predict('{"data": {"x": [1, 2, 3, "a"]}}'), "shape [1, 4]"),
        (lambda: predict('{"data": [[1, 2], ["a", null, 3]]}'), "data[1] has 3 values"),
        (lambda: predict('{"data": [[1, 2, 3], [4, 5], [6, 7, 8, 9]]}'), "data[1] has 2 values"),
        (lambda: infer(inputs(entry(data='[1, 2, 3, "a"]'))), "has 4 values"),
        (lambda: infer(inputs(entry(data='[[1, 2, "a"], [3]]'))), "is nested as [2, 3]"),
    ],
)
def test_the_shape_is_compared_before_elements_are_read(
    call: Callable[[], object], words: str
) -> None:
    assert words in refused(call).message


ROWS = ", ".join(["[1, 2, 3]"] * (MAX_ROWS + 1))
WRONG_LAST = ROWS + ', [1, 2, "3"]'


@pytest.mark.parametrize(
    "call",
    [
        lambda: predict(f'{{"data": [{WRONG_LAST}]}}'),
        lambda: predict(f'{{"data": {{"x": [{WRONG_LAST}]}}}}'),
        lambda: infer(inputs(entry(f"[{MAX_ROWS + 2}, 3]", f"[{WRONG_LAST}]"))),
        lambda: infer(inputs(entry(f"[{MAX_ROWS + 1}, 3]", f"[{'null,' * 1502} 1]"))),
        lambda: predict(json.dumps({"data": ["a"] * 501 + [1]}), TEXT),
        lambda: predict(json.dumps({"data": [["a"]] * 501 + [[1]]}), TEXT),
        lambda: predict(json.dumps({"data": [[1]] * 501 + [["a"]]}), WIDE),
    ],
)
def test_rows_are_counted_before_their_elements_are_read(call: Callable[[], object]) -> None:
    error = refused(call)
    assert error.status == 413
    assert "MAX_QUEUE_ROWS" in (error.rule or "")


def test_so_are_those_of_binary_text() -> None:
    size = 501
    texts = b"\1\0\0\0\xff" * size  # not UTF-8, if anybody looked
    described = {"name": "x", "datatype": "BYTES", "shape": [size, 1]}
    header = json.dumps(
        {"inputs": [described | {"parameters": {"binary_data_size": len(texts)}}]}
    ).encode()
    error = refused(lambda: infer(header + texts, TEXT, b"%d" % len(header)))
    assert error.status == 413


@pytest.mark.parametrize(
    "item", [b"[1,2,3],", b"1,", b"[1],", b'{"name":"y"},', b"[", b"[[],"], ids=repr
)
def test_a_large_body_with_too_many_values_is_not_even_parsed(
    item: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tutorial, "parse_object", None)
    monkeypatch.setattr(oip, "parse_object", None)
    body = b'{"data": [' + item * (PARSED_BYTES // len(item) + 1)
    for call in (lambda: predict(body), lambda: infer(body)):
        assert refused(call).status == 413


def test_blank_space_is_no_value() -> None:
    body = b'{"data": [[1, 2, 3]]' + b" " * PARSED_BYTES + b"}"
    assert predict(body)["x"].tolist() == [[1, 2, 3]]


def test_an_output_is_given_once() -> None:
    ask = ', "outputs": [{}]'
    twice = ", ".join(['{"name": "y"}'] * 2)
    mixed = '{"name": "y"}, {"name": "z"}, {"name": "y", "parameters": {"binary_data": true}}'
    for names in (twice, mixed, ", ".join(['{"name": "z"}'] * 5000)):
        error = refused(lambda names=names: infer(inputs(entry(), more=ask.format(names))))  # type: ignore[misc]
        assert error.status == 422
        assert "twice" in error.message
    both = infer(inputs(entry(), more=ask.format('{"name": "z"}, {"name": "y"}')))
    assert [wish.name for wish in both.outputs] == ["z", "y"]


LONG = "n" * 100_000


@pytest.mark.parametrize(
    "call",
    [
        lambda: infer(inputs(entry().replace('"x"', f'"{LONG}"'))),
        lambda: infer(inputs(entry(datatype=LONG))),
        lambda: infer(inputs(entry(data=f'["{LONG}", 2, 3]'))),
        lambda: infer(inputs(entry(), more=f', "outputs": [{{"name": "{LONG}"}}]')),
        lambda: infer(inputs(entry(), more=f', "id": "{LONG}"')),
        lambda: infer(inputs(entry(), more=f', "parameters": "{LONG}"')),
        lambda: infer(
            inputs(entry().replace("}", f', "parameters": {{"binary_data_size": "{LONG}"}}}}'))
        ),
        lambda: infer(inputs(entry(), more=f', "{LONG}": 1, "{LONG}": 2')),
        lambda: predict(f'{{"data": "{LONG}"}}'),
        lambda: predict(f'{{"data": [["{LONG}", 2, 3]]}}'),
        lambda: predict(f'{{"data": {{"{LONG}": [[1, 2, 3]]}}}}'),
        lambda: infer("{}", length=LONG.encode()),
        lambda: infer("{}", length=b"9" * 5000),
    ],
)
def test_what_is_repeated_to_the_client_is_short(call: Callable[[], object]) -> None:
    assert len(json.dumps(refused(call).body())) < 2000


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ('{"data": [[1, 2, 3]], "data": [[4, 5, 6]]}', predict),
        ('{"data": [[1, 2, 3]], "d\\u0061ta": null}', predict),
        ('{"data": {"x": [[1, 2, 3]], "x": [[4, 5, 6]]}}', predict),
        (inputs(entry(), more=', "inputs": []'), infer),
        (inputs(entry(), more=', "id": "a", "id": "b"'), infer),
        (inputs(entry().replace("}", ', "shape": [3, 1]}')), infer),
        (inputs(entry().replace("}", ', "data": [4, 5, 6]}')), infer),
        (inputs(entry(), more=', "parameters": {"a": 1, "a": 2}'), infer),
    ],
)
def test_a_key_twice_is_refused(body: str, read: Callable[[str], object]) -> None:
    error = refused(lambda: read(body))
    assert (error.status, error.rule) == (422, "each key once")


@pytest.mark.parametrize("shape", [(), (-1,), (-1, 3), (2, 2)])
def test_a_body_without_data_is_shown_an_example(shape: tuple[int, ...]) -> None:
    model = Stub(TensorSpec("x", "FP32", shape))
    message = refused(lambda: predict("{}", model)).message
    predict(message[message.index("{") :], model)


def test_the_example_of_a_wide_row_is_not_sent_unasked() -> None:
    wide = Stub(TensorSpec("x", "FP32", (-1, 3, 224, 224)))
    assert len(refused(lambda: predict("{}", wide)).message) < 200


def test_an_object_has_no_endless_keys() -> None:
    body = "{" + ", ".join(f'"{key}": 1' for key in range(MOST_KEYS + 1)) + "}"
    assert f"at most {MOST_KEYS}" in (refused(lambda: predict(body)).rule or "")


TEXTS = [
    (b'{"data": [["\\ud83d", 2, 3]]}', "surrogate"),
    ('{"data": [[1, 2, 3]]}'.encode("utf-16"), "not UTF-8"),
    ('{"data": [[1, 2, 3]]}'.encode("utf-16-le"), "not UTF-8"),
    ('{"data": [[1, 2, 3]]}'.encode("utf-32-be"), "not UTF-8"),
    (b'{"data": [["\xff", 2, 3]]}', "not UTF-8"),
    (b'{"data": [[1, 2, 1e309]]}', "out of range"),
    (f'{{"data": {nested(1100)}}}'.encode(), "nested too deeply"),
    (b'{"data": [[1, 2, 3]', "line 1"),
    (b'{"data": [[1, 2, "' + b'\\"' * 200_000, "Unterminated string"),
    (b'{"data": [[1, 2, 3' + b" " * EXPLAINED_BYTES, "a comma, bracket"),
]


@pytest.mark.parametrize(("body", "words"), TEXTS, ids=[words for _, words in TEXTS])
def test_the_cause_is_named_when_a_body_is_no_json(body: bytes, words: str) -> None:
    error = refused(lambda: predict(body))
    assert error.status == 400
    assert words in error.message


@pytest.mark.parametrize("pad", [0, 20_000])
@pytest.mark.parametrize(
    "digits", ["30000000000000000000", "18446744073709551616", "-9223372036854775809", "1" * 50]
)
def test_whole_numbers_beyond_64_bits_are_floating_point_numbers(digits: str, pad: int) -> None:
    """JSON has one kind of number; Python's own reader is the judge."""
    body = f'{{"{digits}": "{digits}\\"{digits}", "data": [[{digits}, 2, {digits}]]{" " * pad}}}'
    expected = np.array([[json.loads(digits), 2, json.loads(digits)]], np.float64)
    wide = Stub(TensorSpec("x", "FP64", (-1, 3)))
    assert predict(body, wide)["x"].tolist() == expected.tolist()
    error = refused(lambda: predict(body, WHOLE))
    assert "data[0][0] is" in error.message
    assert error.status == 422


JSON_VALUE = st.recursive(
    st.sampled_from(
        ["1", "2.5", "-0", "1e39", "1e309", "1" * 30, "9223372036854775808", "true", "null",
         '"a"', '"\\ud83d"', "[]", "{}", '{"x": 1}', "NaN", nested(66), nested(1010)]
    ),
    lambda inner: st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]"),
    max_leaves=12,
)  # fmt: skip
SHAPE = st.sampled_from([shape for shape, _ in SHAPES[1:]] + ["[1, 3]", "[2, 2, 2]", "[1]", "[0]"])
STUBS = [X, WIDE, DEEP, TEXT, WHOLE, ONE]


@pytest.mark.slow
@settings(max_examples=examples(150), deadline=None)
@given(
    model=st.sampled_from(STUBS),
    value=JSON_VALUE,
    shape=SHAPE,
    cut=st.none() | st.tuples(st.integers(0, 200), st.binary(max_size=4)),
)
def test_no_body_is_an_error_of_the_server(
    model: Stub, value: str, shape: str, cut: tuple[int, bytes] | None
) -> None:
    datatype = model.signature.inputs[0].datatype
    bodies = (
        (predict, f'{{"data": {value}}}'),
        (predict, f'{{"data": {{"x": {value}}}}}'),
        (infer, inputs(entry(shape, value, datatype=datatype))),
    )
    for read, text in bodies:
        body = text.encode()
        if cut is not None:
            body = body[: cut[0]] + cut[1] + body[cut[0] + 1 :]
        try:
            read(body, model)
        except RequestError as error:
            json.dumps(error.body()).encode()
            assert 400 <= error.status < 500


@pytest.mark.parametrize("datatype", ["FP32", "INT8", "UINT64", "BOOL", "BYTES"])
def test_long_lists_are_read_in_pieces_as_a_whole(datatype: Datatype) -> None:
    """A null for NaN, and all that has no buffer, is read element by element."""
    rows, width = 3, 20_011
    values: Any = np.arange(rows * width) % 2
    array = values.astype(bool if datatype == "BOOL" else NUMPY[datatype]).reshape(rows, width)
    listed = array.astype(str).tolist() if datatype == "BYTES" else array.tolist()
    spec = TensorSpec("x", datatype, (-1, -1), allow_nan=True)
    if datatype == "FP32":
        listed[1][17_000] = None
        array[1, 17_000] = np.nan
    read = predict(json.dumps({"data": listed}), Stub(spec))["x"]
    expected = array.astype(str).astype(object) if datatype == "BYTES" else array
    np.testing.assert_array_equal(read, expected)
    listed[2][20_001] = {}
    error = refused(lambda: predict(json.dumps({"data": listed}), Stub(spec)))
    assert "data[2][20001] is an object" in error.message


def test_routes_of_long_paths_are_not_kept() -> None:
    before = routes._known_route.cache_info().currsize
    for number in range(20):
        route = route_of(f"/predict/{'n' * 5000}{number}")
        assert route is not None
        assert route.name is not None
        assert len(route_of(f"/predict{'n' * 5000}{number}").fault or "") < 400  # type: ignore[union-attr]
    assert routes._known_route.cache_info().currsize == before


@pytest.fixture(scope="module")
def loaded(toy_dir: Path) -> Iterator[tuple[Server, asyncio.Runner]]:
    server = Server(Settings(models_dir=str(toy_dir), default_model="scale"))

    async def start() -> None:
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.lifespan.startup()
        while not server._service.lifecycle.ready:
            await asyncio.sleep(0.001)

    with asyncio.Runner() as runner:
        runner.run(start())
        yield server, runner
        runner.run(server.lifespan.shutdown())


async def answered(server: Server, route: str, body: bytes, *, leaves: bool = False) -> bytes:
    """What a connection writes for one request that comes in one piece."""
    connection, memory = server.connection(), Memory()
    connection.connection_made(memory)
    head = (
        f"POST {route} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection.data_received(head.encode() + body)
    async with asyncio.timeout(10):
        while not memory.written and not leaves:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    connection.connection_lost(None)
    await asyncio.sleep(0.001)
    return memory.written


@pytest.mark.parametrize("route", ["/predict", "/v2/models/scale/infer"])
def test_a_large_body_is_decoded_off_the_event_loop(
    loaded: tuple[Server, asyncio.Runner], route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it comes in one piece, which a connection answers by itself otherwise."""
    server, runner = loaded
    threads: list[str] = []
    decoder: Any = tutorial.Codec if route == "/predict" else oip.Codec
    original = decoder.decode

    def noting(*arguments: Any) -> Any:
        threads.append(threading.current_thread().name)
        return original(*arguments)

    monkeypatch.setattr(decoder, "decode", noting)
    text = b'{"data": [[1, 2, 3]]}' if route == "/predict" else inputs(entry()).encode()

    for size in (LARGE_BODY, LARGE_BODY + 1, LARGE_BODY + 1):
        body = text + b" " * (size - len(text))
        assert b" 200 OK\r\n" in runner.run(answered(server, route, body))
    assert threads == [threading.main_thread().name, "decode_0", "decode_0"]


def test_a_large_body_waits_for_its_turn_no_longer_than_it_may(
    loaded: tuple[Server, asyncio.Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, runner = loaded
    inference, go_on = server._service.inference, threading.Event()
    decoded: list[bytes] = []
    monkeypatch.setattr(tutorial.Codec, "decode", lambda *asked: decoded.append(asked[2]))
    monkeypatch.setattr(inference, "_timeout", 0.05)
    busy = inference._decoder.submit(go_on.wait)
    body = b'{"data": [[1, 2, 3]]}' + b" " * LARGE_BODY
    try:
        late = runner.run(answered(server, "/predict", body))
        assert b"HTTP/1.1 503 " in late
        assert b"REQUEST_TIMEOUT_SECONDS" in late
        assert b"retry-after: 1\r\n" in late
        assert runner.run(answered(server, "/predict", body, leaves=True)) == b""
    finally:
        go_on.set()
    busy.result()
    inference._decoder.submit(int).result()
    # Nobody waited for them any more.
    assert decoded == []


def test_bodies_of_clients_that_left_are_not_kept(
    loaded: tuple[Server, asyncio.Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while another body is decoded: the thread's own queue would keep them."""
    server, runner = loaded
    inference, go_on = server._service.inference, threading.Event()
    monkeypatch.setattr(tutorial.Codec, "decode", lambda *_: go_on.wait(10))
    body = b'{"data": [[1, 2, 3]]}' + b" " * LARGE_BODY

    async def leave() -> int:
        for _ in range(5):
            await answered(server, "/predict", body, leaves=True)
        return inference._decoder._work_queue.qsize()

    try:
        assert runner.run(leave()) == 0
    finally:
        go_on.set()
        inference._decoder.submit(int).result()


@pytest.fixture(scope="module")
def plain(toy_dir: Path) -> Iterator[httpx.Client]:
    with (
        running(toy_dir, DEFAULT_MODEL="scale", API_KEYS=KEY) as server,
        httpx.Client(base_url=server.url, headers={"X-API-Key": KEY}, timeout=60) as client,
    ):
        yield client


def filled(before: str, item: str, after: str, size: int = 8_000_000) -> bytes:
    return (before + item * (size // len(item)) + after).encode()


PROBED = [
    ("/v2/models/scale/infer", inputs(entry("[" + "1," * 399_999 + "1]")).encode(), 422),
    ("/v2/models/scale/infer", filled('{"inputs": [', '{"name": "x"},', "{}]}"), 413),
    ("/predict", filled('{"data": {"x": [', "[1,2,3],", "[1,2,3]]}}"), 413),
    ("/predict/wide", filled('{"data": [[', "1,", "null]]}", 1_900_000), 200),
    ("/predict/wide", filled('{"data": [[', "1,", '"a"]]}', 1_900_000), 422),
    ("/predict/wide", filled('{"data": [[', "1,", "1]]}", 16_000_000), 413),
    ("/predict", filled('{"data": [', "[1,2,3],", "[1,2,", 900_000), 400),
    ("/predict", filled('{"data": [', "[1,2,3],", "[1,2,", 3_000_000), 413),
]


@pytest.mark.slow
def test_the_probe_is_answered_beside_the_costliest_bodies(plain: httpx.Client) -> None:
    waits: list[float] = []
    over = threading.Event()

    def probe() -> None:
        with httpx.Client(base_url=plain.base_url, timeout=60) as client:
            while not over.wait(0.01):
                began = time.perf_counter()
                assert client.get("/healthz").status_code == 200
                waits.append(time.perf_counter() - began)

    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(probe)
        try:
            for path, body, status in PROBED:
                headers = {"Content-Type": "application/json"}
                assert plain.post(path, content=body, headers=headers).status_code == status
        finally:
            over.set()
        probing.result()
    assert max(waits) < PROBE_SECONDS


@pytest.mark.slow
def test_without_a_key_nothing_is_decoded(plain: httpx.Client) -> None:
    for body in (b"", b"\xff", b"{}" + b" " * (LARGE_BODY + 1)):
        answer = plain.post("/predict", content=body, headers={"X-API-Key": "w" * 16})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("text", "most", "fits"),
    [
        ('{"data": [[' + "1," * 999 + "1]]}", 1000, True),
        ('{"data": [[' + "1," * 1000 + "1]]}", 1000, True),
        ('{"data": [[' + "1," * 1001 + "1]]}", 1000, False),
        ('{"data": [' + "[" * 1001 + "]" * 1001 + "]}", 1000, False),
    ],
    ids=["fewer", "as many", "more", "lists"],
)
def test_a_request_has_a_bounded_number_of_values_as_json(
    monkeypatch: pytest.MonkeyPatch, text: str, most: int, fits: bool
) -> None:
    """Also where neither the rows nor the other dimensions are limited."""
    monkeypatch.setattr("engine.serving.transports.bounds.PARSED_BYTES", 100)
    specs = (TensorSpec("x", "FP32", (-1, -1)),)
    signature = Signature(specs, specs, independent_rows=False)
    if fits:
        check_values(text.encode(), signature, UNLIMITED, most)
        return
    with pytest.raises(BodyTooLarge, match="binary tensors"):
        check_values(text.encode(), signature, UNLIMITED, most)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-be"])
def test_so_has_json_that_a_route_of_service_py_reads(encoding: str) -> None:
    text = " " * PARSED_BYTES + json.dumps([0] * 1002)
    check_json(text.replace(",", "").encode(encoding), 1000)
    check_json(f"no JSON: {text}".encode(encoding), 1000)
    with pytest.raises(BodyTooLarge, match="more than 1000 values"):
        check_json(text.encode(encoding), 1000)


def test_a_binary_tensor_has_a_bounded_number_of_texts() -> None:
    """Each becomes an object of Python, and may be empty."""
    read = partial(oip_binary.read, datatype="BYTES", field="t")
    assert read(memoryview(bytes(4 * 10)), shape=(10,), max_texts=10).shape == (10,)
    with pytest.raises(BodyTooLarge, match="at most 10 at a time"):
        read(memoryview(bytes(4 * 11)), shape=(11,), max_texts=10)


@pytest.mark.parametrize("shape", [(5,), (70_000,), (3, 50_000), (2, 70_000), (40_000, 3), (0,)])
def test_a_large_array_is_written_in_pieces_as_in_one(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    assert np.array(json.loads(json_of(array)), np.float32).tobytes() == array.tobytes()
    assert json_of(array).count(b"[") == json.dumps(array.tolist()).count("[")
