"""Kinds of requests that once cost more than themselves, for a model with four columns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.hostile.wire import connected, post, pour, status_of, talk

MODEL, INPUT = "iris", "features"
PREDICT, INFER = "/predict", f"/v2/models/{MODEL}/infer"
MB = 1_000_000
# As much as the defaults of the service let in: one body, and the bodies of all connections.
BODY = 16 * 1024 * 1024
BODIES = 64 * 1024 * 1024
HEAD = 64 * 1024


@dataclass(frozen=True)
class Kind:
    """Something that a client does.

    Attributes:
        attack: does it to the service on a port; the status of the answer.
        statuses: that are right.
        holds: bytes that the limits of the service let it hold.
    """

    name: str
    attack: Callable[[int], int]
    statuses: tuple[int, ...]
    holds: int = 0


def endless(first: bytes, again: bytes, size: int = 30 * MB) -> Callable[[int], int]:
    """A request that does not end."""

    def attack(port: int) -> int:
        piece = again * (64 * 1024 // len(again))
        return talk(port, itertools.chain([first], itertools.repeat(piece, size // len(piece))))

    return attack


def body(path: str, make: Callable[[], str | bytes], *lines: str) -> Callable[[int], int]:
    """One request with a whole body."""

    def attack(port: int) -> int:
        made = make()
        return talk(port, [post(path, made if isinstance(made, bytes) else made.encode(), *lines)])

    return attack


def filled(before: str, item: str, after: str, size: int) -> Callable[[], str]:
    """Text of about so many characters."""
    return lambda: before + item * (size // len(item)) + after


def tensor(shape: str = "[1, 4]", data: str = "[1, 2, 3, 4]", more: str = "") -> str:
    """A request of the Open Inference Protocol."""
    entry = f'{{"name": "{INPUT}", "datatype": "FP32", "shape": {shape}, "data": {data}}}'
    return f'{{"inputs": [{entry}]{more}}}'


def halves(port: int) -> int:
    """Bodies on many connections, all but their last byte; what the last one is answered."""
    size = 15 * MB
    half = post(PREDICT, b" " * (size - 1), length=size)
    with ExitStack() as stack:
        for _ in range(6):
            connection = stack.enter_context(connected(port))
            connection.sendall(half)
        return status_of(connection)


def heads(port: int) -> int:
    """Heads on many connections, almost as long as they may be; what a request beside them gets."""
    with ExitStack() as stack:
        for _ in range(400):
            connection = stack.enter_context(connected(port))
            connection.sendall(b"GET / HTTP/1.1\r\n" + (b"abc: " + b"d" * 240 + b"\r\n") * 250)
        return talk(port, [post(PREDICT, b'{"data": [[1, 2, 3, 4]]}')])


def different(make: Callable[[int], bytes], count: int = 3000) -> Callable[[int], int]:
    """Requests, each of which is unlike the ones before; the status of the last."""

    def attack(port: int) -> int:
        with connected(port) as connection:
            status = 0
            for number in range(0, count, 20):
                connection.sendall(b"".join(make(number + each) for each in range(20)))
                received = b""
                while received.count(b"HTTP/1.1 ") < 20 or not received.endswith((b"}", b"]}\n")):
                    received += connection.recv(65536)
                status = int(received.split(b" ", 2)[1])
        return status

    return attack


def unread(piece: bytes) -> Callable[[int], int]:
    """Requests whose answers are not read; what a client beside them is answered."""

    def attack(port: int) -> int:
        pour(port, piece * 100, 2)
        return talk(port, [post(PREDICT, b'{"data": [[1, 2, 3, 4]]}')])

    return attack


def short_chunks(port: int) -> int:
    """A body of which each byte is a chunk."""
    first = b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces: Iterator[bytes] = itertools.repeat(b"1\r\n[\r\n" * 1000, 1000)
    return talk(port, itertools.chain([first], pieces, [b"0\r\n\r\n"]))


CHUNKED = b"POST /predict HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
GET = b"GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n"
ONE = post(PREDICT, b'{"data": [[1, 2, 3, 4]]}')
WIDE = '{"data": {"features": ['

KINDS = (
    Kind("endless blank lines", endless(b"\r\n", b"\r\n"), (431,)),
    Kind("endless headers", endless(b"GET / HTTP/1.1\r\n", b"a:b\r\n"), (431,)),
    Kind("an endless header", endless(b"GET / HTTP/1.1\r\na: ", b"a"), (431,)),
    Kind("an endless URL", endless(b"GET /", b"a"), (431,)),
    Kind("endless trailers", endless(CHUNKED + b"0\r\n", b"a: b\r\n"), (431,)),
    Kind("an endless chunk extension", endless(CHUNKED + b"1;a=", b"a"), (431,)),
    Kind("chunks of one byte", short_chunks, (400, 413, 422), BODY),
    Kind("400 heads that do not end", heads, (200,), 400 * HEAD),
    Kind("bodies that do not end", halves, (429,), BODIES),
    Kind("3,000 paths", different(lambda n: post(f"/predict/{n}", b"{}")), (404,)),
    Kind(
        "3,000 heads",
        different(lambda n: post(PREDICT, b'{"data": [[1, 2, 3, 4]]}', f"X-A: {n}")),
        (200,),
    ),
    Kind(
        "3,000 forms of the protocol's JSON",
        different(
            lambda n: post(INFER, tensor(more=f', "parameters": {{"{n:1500}": 1}}').encode())
        ),
        (200,),
    ),
    Kind("answers that nobody reads", unread(GET), (200,)),
    Kind("predictions that nobody reads", unread(ONE), (200,)),
    Kind(
        "a shape of 900,000 sizes",
        body(INFER, lambda: tensor("[" + "1, " * 900_000 + "1]")),
        (413, 422),
    ),
    Kind("a shape of 8 MB", body(INFER, lambda: tensor("[" + "9," * 4 * MB + "1]")), (413, 422)),
    Kind("a shape beyond 64 bits", body(INFER, lambda: tensor(f"[0, {2**62}, {2**62}]")), (422,)),
    Kind("a size of 5,000 digits", body(INFER, lambda: tensor(f"[1, {'9' * 5000}]")), (400, 422)),
    Kind(
        "one output a million times",
        body(
            INFER, lambda: tensor(more=', "outputs": [' + '{"name": "label"}, ' * 800_000 + "{}]")
        ),
        (413, 422),
        BODY,
    ),
    Kind(
        "a million inputs",
        body(INFER, filled('{"inputs": [', '{"name": "x"},', "{}]}", 15 * MB)),
        (413, 422),
        BODY,
    ),
    Kind(
        "a million parameters",
        body(INFER, lambda: tensor(more=', "parameters": {' + '"a": 1, ' * MB + '"b": 1}')),
        (400, 413, 422),
        BODY,
    ),
    Kind(
        "nested a million deep",
        body(PREDICT, lambda: '{"data": ' + "[" * MB),
        (400, 413, 422),
        BODY,
    ),
    Kind(
        "nested 1,000 deep",
        body(PREDICT, lambda: '{"data": ' + "[" * 1000 + "]" * 1000 + "}"),
        (400, 422),
    ),
    Kind(
        "16 MB of rows", body(PREDICT, filled(WIDE, "[1,2,3,4],", "[]]}}", 16 * MB)), (413,), BODY
    ),
    Kind(
        "a wrong element behind 2 MB",
        body(PREDICT, filled('{"data": [[', "1,", '"a"]]}', 1_900_000)),
        (413, 422),
        BODY,
    ),
    Kind(
        "2 MB in one row as an object",
        body(PREDICT, filled(WIDE + "[", "1,", "null]]}}", 1_900_000)),
        (413, 422),
        BODY,
    ),
    Kind(
        "a wrong element in OIP",
        body(INFER, lambda: tensor("[200000, 4]", "[" + "1," * 799_999 + '"a"]')),
        (413, 422),
        BODY,
    ),
    Kind(
        "a million texts",
        body(PREDICT, filled('{"data": [', '["a","b","c","d"],', "[]]}", 4 * MB)),
        (413, 422),
        BODY,
    ),
    Kind("nulls", body(PREDICT, filled('{"data": [[', "null,", "1]]}", 5 * MB)), (413, 422), BODY),
    Kind(
        "a number of 8 MB",
        body(PREDICT, lambda: '{"data": [[' + "9" * 8 * MB + "]]}"),
        (400, 413, 422),
        BODY,
    ),
    Kind("blank space", body(PREDICT, lambda: b" " * 16 * MB), (400,), BODY),
    Kind("bytes that are no text", body(PREDICT, lambda: b"\xff" * 16 * MB), (400, 413), BODY),
    Kind(
        "a million keys",
        body(PREDICT, lambda: "{" + ",".join(f'"{n}": 1' for n in range(MB)) + "}"),
        (400, 413, 422),
        BODY,
    ),
    Kind(
        "a length of 5,000 digits",
        body(INFER, lambda: tensor(), f"Inference-Header-Content-Length: {'9' * 5000}"),
        (400, 422),
    ),
)
