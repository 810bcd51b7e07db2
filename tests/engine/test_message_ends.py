"""Where a message ends: the same answers however its bytes are cut, to exactly the requests that
an independent implementation (h11) reads in them; and nothing without a bound before a key is
looked at.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import h11
import pytest
from engine.serving.errors import RequestError
from engine.serving.http.connection import Connection
from engine.serving.http.parser import BUSY_PARTS, MAX_HEAD_BYTES, MAX_HEADERS
from engine.serving.request import Request

from tests.engine.wire import Memory, World, opened, post

pytestmark = pytest.mark.sampled

KEY = "a-key-of-this-test"
BODY = b'{"data":[[1,2,3]]}'
KEYED = f"X-API-Key: {KEY}"
JSON = "Content-Type: application/json"
GET = b"GET /v2 HTTP/1.1\r\nHost: t\r\n\r\n"
LAST = post(b'{"data":[[7,8,9]]}', KEYED)
# A body that is a request: read as one, it would be answered.
HIDDEN = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"

Answers = list[tuple[int, bytes]]


def head(
    *lines: str, method: str = "POST", target: str = "/predict", version: str = "1.1"
) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: t", *lines, "", ""]).encode()


def chunks(*bodies: bytes, trailers: bytes = b"", extension: bytes = b"") -> bytes:
    parts = b"".join(b"%x%b\r\n%b\r\n" % (len(each), extension, each) for each in bodies)
    return parts + b"0\r\n" + trailers + b"\r\n"


def upgrading(protocol: str, *lines: str, connection: str = "Upgrade", **of: str) -> bytes:
    return head(KEYED, JSON, f"Connection: {connection}", f"Upgrade: {protocol}", *lines, **of)


def length(body: bytes) -> str:
    return f"Content-Length: {len(body)}"


CHUNKED = "Transfer-Encoding: chunked"
HALF = len(BODY) // 2
# Each is a whole number of good requests.
GOOD = {
    "h2c as Java sends it": upgrading(
        "h2c", length(BODY), "HTTP2-Settings: AAEAAEAA", connection="Upgrade, HTTP2-Settings"
    )
    + BODY,
    "h2c with a hidden request": upgrading("h2c", length(HIDDEN)) + HIDDEN + LAST,
    "h2c, chunked": upgrading("h2c", CHUNKED) + chunks(BODY[:HALF], BODY[HALF:]) + LAST,
    "h2c, a hidden request in chunks": upgrading("h2c", CHUNKED) + chunks(HIDDEN, HIDDEN) + LAST,
    "websocket with a body": upgrading("websocket", length(BODY), connection="upgrade") + BODY,
    "several protocols": upgrading(
        "websocket, h2c, TLS/1.0, foo/9", length(BODY), connection="keep-alive, UPGRADE"
    )
    + BODY
    + LAST,
    "two Connection headers": upgrading(
        "h2c", "connection: uPGRADE", length(BODY), connection="keep-alive"
    )
    + BODY
    + LAST,
    "two Upgrade headers": upgrading("h2c", "upgrade:websocket", length(BODY)) + BODY + LAST,
    "Upgrade without a Connection": head(KEYED, JSON, "Upgrade: h2c", length(BODY)) + BODY + LAST,
    "an upgrading GET and a request": upgrading("h2c", method="GET", target="/v2") + LAST,
    "upgrading GETs": upgrading("websocket", method="GET", target="/v2") * 3 + GET,
    "an upgrading GET with a body": upgrading("h2c", length(HIDDEN), method="GET", target="/v2")
    + HIDDEN
    + LAST,
    "an upgrading request without a key": head(
        "Connection: upgrade", "Upgrade: h2c", length(HIDDEN), target="/v2/models/none/ready"
    )
    + HIDDEN
    + GET,
    "an upgrading HTTP/1.0": upgrading("h2c", length(BODY), version="1.0") + BODY,
    "upgrade and close": upgrading("h2c", length(BODY), connection="upgrade, close") + BODY,
    "nothing behind a close": post(BODY, KEYED, "Connection: close") + GET,
    "nothing behind HTTP/1.0": post(BODY, KEYED, version="1.0") + LAST,
    "trailers without a meaning": head(KEYED, JSON, CHUNKED)
    + chunks(BODY, trailers=b"X-Checksum: 7\r\nHost: u\r\nUpgrade: h2c\r\n")
    + LAST,
    "a trailer with an encoding": head(KEYED, JSON, CHUNKED)
    + chunks(BODY, trailers=b"Content-Encoding: gzip\r\nX-Request-Id: trailing\r\n"),
    "a trailer with a wrong key": head(KEYED, JSON, CHUNKED)
    + chunks(BODY, trailers=b"X-API-Key: no\r\n"),
    "extensions of chunks": head(KEYED, JSON, CHUNKED)
    + chunks(BODY, extension=b';a="b;c";d')
    + LAST,
    "a length with a blank": head(KEYED, JSON, f"{length(BODY)} ") + BODY + LAST,
    "a length with a tab": head(KEYED, JSON, f"{length(BODY)}\t") + BODY,
    "a key with a blank": head(f"{KEYED} ", JSON, length(BODY)) + BODY,
    "a target with a fragment": head(KEYED, JSON, length(BODY), target="/predict#a") + BODY,
    "a model with a fragment": head(KEYED, JSON, length(BODY), target="/predict/scale#a?b") + BODY,
    "a whole address": head(KEYED, JSON, length(BODY), target="http://t/predict") + BODY + LAST,
    "no Host in HTTP/1.0": b"GET /v2 HTTP/1.0\r\n\r\n",
}
# What is wrong comes last: statuses of all answers, and then the connection is closed.
BAD: dict[str, tuple[bytes, list[int]]] = {
    "a trailer with the key": (
        head(JSON, CHUNKED) + chunks(BODY, trailers=f"{KEYED}\r\n".encode()),
        [401],
    ),
    "an upgrading request without a key": (upgrading("h2c").replace(KEY.encode(), b"x"), [401]),
    "length and chunks": (head(KEYED, JSON, length(BODY), CHUNKED) + chunks(BODY) + LAST, [400]),
    "chunks and length": (head(KEYED, JSON, CHUNKED, length(BODY)) + chunks(BODY) + LAST, [400]),
    "an upgrade with both": (upgrading("h2c", CHUNKED, length(BODY)) + chunks(BODY) + LAST, [400]),
    "a length twice": (head(KEYED, length(BODY), length(BODY)) + BODY + LAST, [400]),
    "two lengths": (head(KEYED, length(BODY), length(b"")) + BODY + LAST, [400]),
    "lengths in a list": (head(KEYED, "Content-Length: 18, 18") + BODY + LAST, [400]),
    "a length with a sign": (head(KEYED, "Content-Length: +18") + BODY + LAST, [400]),
    "chunks, then identity": (
        head(KEYED, JSON, "Transfer-Encoding: chunked, identity") + chunks(BODY) + LAST,
        [400],
    ),
    "identity only": (head(KEYED, JSON, "Transfer-Encoding: identity") + BODY + LAST, [400]),
    "gzip, then chunks": (
        head(KEYED, JSON, "Transfer-Encoding: gzip, chunked") + chunks(BODY) + LAST,
        [400],
    ),
    "a parameter of chunked": (
        head(KEYED, JSON, "Transfer-Encoding: chunked;q=1") + chunks(BODY) + LAST,
        [400],
    ),
    "chunks in HTTP/1.0": (head(KEYED, JSON, CHUNKED, version="1.0") + chunks(BODY) + LAST, [400]),
    "an upgrade, then identity": (
        upgrading("h2c", "Transfer-Encoding: identity") + HIDDEN + LAST,
        [400],
    ),
    "a folded header": (head(KEYED, "A: b\r\n c", length(BODY)) + BODY + LAST, [400]),
    "a size with a prefix": (head(KEYED, JSON, CHUNKED) + b"0x12\r\n" + BODY + LAST, [400]),
    "a trailer with a length": (
        head(KEYED, JSON, CHUNKED) + chunks(BODY, trailers=b"Content-Length: 5\r\n") + LAST,
        [400],
    ),
    "a trailer that closes": (
        head(KEYED, JSON, CHUNKED) + chunks(BODY, trailers=b"connection: Close\r\n") + LAST,
        [400],
    ),
    "a trailer that upgrades": (
        upgrading("h2c", CHUNKED) + chunks(HIDDEN, trailers=b"Connection: x\r\nA: b\r\n") + LAST,
        [400],
    ),
    "CONNECT": (head(method="CONNECT", target="t:80") + GET + LAST, [405]),
    "CONNECT with a body": (
        head(length(HIDDEN), method="CONNECT", target="t:80") + HIDDEN + LAST,
        [405],
    ),
    "a request, then CONNECT": (LAST + head(method="CONNECT", target="t:80") + GET, [200, 405]),
    "no Host": (b"GET /v2 HTTP/1.1\r\n\r\n" + GET, [400]),
    "two Hosts": (head("Host: u", KEYED, length(BODY)) + BODY + LAST, [400]),
    "no path": (head(method="GET", target="http://t") + GET, [400]),
    "a request, then garbage": (LAST + b"GARBAGE\r\n\r\n", [200, 400]),
    "a probe, then garbage": (GET + b"\x00\x01\r\n\r\n", [200, 400]),
    "three requests, then garbage": (LAST + GET + LAST + b"GARBAGE\r\n\r\n", [200, 200, 200, 400]),
    "a wrong key, then garbage": (
        LAST + post(BODY) + GET + b"GARBAGE\r\n\r\n",
        [200, 401],
    ),
    "a request, then a wrong length": (
        LAST + GET + head(KEYED, length(BODY), length(b"")) + BODY,
        [200, 200, 400],
    ),
    "a request, then a wrong chunk": (
        LAST + head(KEYED, JSON, CHUNKED) + b"z\r\n" + LAST,
        [200, 400],
    ),
}


@pytest.fixture(scope="module")
def world(toy_dir: Path) -> Iterator[World]:
    with opened(toy_dir, api_keys=KEY) as world:
        yield world


def answers_of(written: bytes) -> Answers:
    """The answers that were written, one behind the other, without interim ones."""
    answers = []
    while written:
        top, _, rest = written.partition(b"\r\n\r\n")
        status = int(top.split()[1])
        found = re.search(rb"\r\ncontent-length: (\d+)", top)
        if status != 100:
            assert found is not None
            size = int(found[1])
            assert len(rest) >= size
            answers.append((status, rest[:size]))
            rest = rest[size:]
        written = rest
    return answers


def read_by_h11(stream: bytes) -> list[bytes]:
    """The requests that h11 reads, each written in the plainest way."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(stream)
    requests = []
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            kept = [JSON, *([KEYED] if (b"x-api-key", KEY.encode()) in request.headers else [])]
            lines = head(*kept, length(body), method=request.method.decode(), target="TARGET")
            requests.append(lines.replace(b"TARGET", request.target) + body)
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                return requests
            connection.start_next_cycle()
        else:
            return requests


def cuts(stream: bytes) -> Iterator[list[bytes]]:
    """The stream in one piece, in single bytes, and in two pieces at any place."""
    yield [stream]
    yield [stream[at : at + 1] for at in range(len(stream))]
    for at in range(1, len(stream), 7):
        yield [stream[:at], stream[at:]]


def given_to(world: World, pieces: list[bytes]) -> tuple[Answers, bool]:
    written, closed = world.answers([(piece, True) for piece in pieces], known=True)
    return answers_of(written), closed


@pytest.mark.parametrize("name", GOOD)
def test_every_cut_is_answered_as_h11_reads_it(
    world: World, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    requests = read_by_h11(GOOD[name])
    assert requests
    plainly = [given_to(world, [request])[0] for request in requests]
    expected = [answer for answers in plainly for answer in answers]
    assert len(expected) == len(requests)
    for pieces in cuts(GOOD[name]):
        answers, closed = given_to(world, pieces)
        assert answers == expected, pieces
        assert closed == ("close" in name or "1.0" in name)
    # Nothing is wrong, so nothing is logged.
    assert [each for each in caplog.records if each.name.startswith("uvicorn")] == []


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_ends_the_connection_in_every_cut(
    world: World, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream, statuses = BAD[name]
    for pieces in cuts(stream):
        answers, closed = given_to(world, pieces)
        assert [status for status, _ in answers] == statuses, pieces
        assert closed
        assert set(json.loads(answers[-1][1])) >= {"error", "code"}
    assert [each for each in caplog.records if each.name.startswith("uvicorn")] == []


def test_nothing_behind_an_answer_that_closes_is_begun(world: World) -> None:
    requests = world.service._telemetry._requests
    before = requests.begun
    answers, closed = given_to(world, [post(BODY) + LAST])
    assert [status for status, _ in answers] == [401]
    assert closed
    assert requests.begun == before + 1


def test_a_client_that_asks_before_its_body_may_offer_an_upgrade(world: World) -> None:
    asking = upgrading("h2c", "Expect: 100-continue", length(BODY))
    written, _ = world.answers([(asking, True), (BODY, True)], known=True)
    assert written.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert answers_of(written) == given_to(world, [post(BODY, KEYED)])[0]


def pieces_of(stream: bytes, size: int) -> list[bytes]:
    borders = [*range(0, len(stream), size), len(stream)]
    return [stream[a:b] for a, b in pairwise(borders)]


def filled(line: bytes, size: int = MAX_HEAD_BYTES, behind: bytes = b"") -> bytes:
    """A head of exactly so many bytes, in which ``FILL`` grows."""
    top = b"GET /v2LINE HTTP/1.1\r\nHost: t\r\n" if line.startswith(b"?") else b""
    whole = top.replace(b"LINE", line) if top else b"GET /v2 HTTP/1.1\r\nHost: t\r\n" + line
    whole += behind + (b"\r\n" if top else b"\r\n\r\n")
    return whole.replace(b"FILL", b"a" * (size - len(whole) + 4))


FULL = {
    "one long value": b"A: FILL",
    "one long name": b"FILL: a",
    "a long target": b"?FILL",
    "many headers": b"".join(b"A%d: b\r\n" % number for number in range(MAX_HEADERS - 2))
    + b"A: FILL",
}


@pytest.mark.parametrize("size", [1 << 20, 1 << 14, 1000], ids=["whole", "large", "small"])
@pytest.mark.parametrize("name", FULL)
def test_a_head_may_have_so_many_bytes_and_none_more(world: World, name: str, size: int) -> None:
    good = filled(FULL[name])
    assert len(good) == MAX_HEAD_BYTES
    bad = filled(FULL[name], MAX_HEAD_BYTES + 1)
    for before in (b"", GET):
        answers, closed = given_to(world, pieces_of(before + good + GET, size))
        assert [status for status, _ in answers] == [200] * (len(before + GET) // len(GET) + 1)
        assert not closed
    # Where a head begins inside of a packet, blanks and line ends are not counted.
    answers, closed = given_to(world, pieces_of(GET + filled(FULL[name], 9 * 8192) + GET, size))
    assert [status for status, _ in answers] == [200, 431]
    assert closed
    answers, closed = given_to(world, pieces_of(bad + GET, size))
    assert [status for status, _ in answers] == [431]
    assert closed
    assert json.loads(answers[0][1])["code"] == "head_too_large"


# None of them ends.
ENDLESS = {
    "blank lines": (b"", b"\r\n"),
    "blank lines of one byte": (b"", b"\n"),
    "line ends that end no line": (b"\r", b"\r"),
    "a value": (head()[:-2] + b"A: ", b"a"),
    "blanks before a value": (head()[:-2] + b"A:", b" "),
    "a name": (head()[:-2], b"a"),
    "a target": (b"GET /", b"a"),
    "headers": (head()[:-2], b"a:b\r\n"),
    "short headers": (head()[:-2], b"a:\r\n"),
    "trailers": (head(KEYED, JSON, CHUNKED) + chunks(BODY)[:-2], b"a:b\r\n"),
    "one trailer": (head(KEYED, JSON, CHUNKED) + chunks(BODY)[:-2] + b"a:", b"b"),
    "an extension": (head(KEYED, JSON, CHUNKED) + b"1;", b"a"),
    "extensions": (head(KEYED, JSON, CHUNKED), b"1;" + b"a" * 100 + b"\r\n \r\n"),
    "the head of an upgrade": (upgrading("h2c")[:-2], b"a:b\r\n"),
    "trailers of an upgrade": (upgrading("h2c", CHUNKED) + chunks(BODY)[:-2], b"a:b\r\n"),
}


@pytest.mark.parametrize("size", [1 << 18, 997], ids=["large pieces", "small pieces"])
@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("before", [b"", GET], ids=["first", "second"])
def test_what_does_not_end_is_refused_within_the_limit(
    world: World, name: str, size: int, before: bytes
) -> None:
    begin, more = ENDLESS[name]
    # One piece may be parsed before it is counted.
    stream = before + begin + more * (3 * MAX_HEAD_BYTES // len(more))
    answers, closed = given_to(world, pieces_of(stream, size))
    assert [status for status, _ in answers] == [200] * (before == GET) + [431]
    assert closed


@pytest.mark.parametrize("blank", [b"\r\n", b"\n", b"\r\n" * 8000, b"\n" * 40_000])
def test_blank_lines_before_a_request_are_skipped_and_counted_for_it_alone(
    world: World, blank: bytes
) -> None:
    """In whatever pieces they come; RFC 9112, 2.2, asks for one line."""
    requests = [GET, post(BODY, KEYED)] * 8
    alike = {"lines apart": [piece for each in requests for piece in (blank, each)]}
    alike["lines first"] = [blank + each for each in requests]
    alike["lines last"] = [each + blank for each in requests]
    alike["one piece"] = [b"".join(alike["lines apart"])]
    for name, pieces in alike.items():
        answers, closed = given_to(world, pieces)
        assert [status for status, _ in answers] == [200] * len(requests), name
        assert not closed


def test_a_head_has_a_bounded_number_of_headers(world: World) -> None:
    headers = [f"A{number}: b" for number in range(MAX_HEADERS - 1)]
    for more, status in (([], 200), (["B: c"], 431)):
        stream = head(*headers, *more, method="GET", target="/v2")
        for size in (len(stream), 100):
            assert given_to(world, pieces_of(stream, size))[0][0][0] == status


def test_a_body_of_small_chunks_is_no_head(world: World) -> None:
    """Chunks of one byte have five times as many bytes around them."""
    body = b'{"data":[[1,2,3]' + b" " * MAX_HEAD_BYTES + b"]}"
    stream = head(KEYED, JSON, CHUNKED) + chunks(*(body[at : at + 1] for at in range(len(body))))
    for size in (len(stream), 5000):
        answers, closed = given_to(world, pieces_of(stream, size))
        assert [status for status, _ in answers] == [200]
        assert not closed


def test_many_small_chunks_leave_other_connections_their_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop would read the connection again and again before it looks at others."""
    events: list[str] = []
    for name in ("pause_reading", "resume_reading"):
        monkeypatch.setattr(Memory, name, lambda _, name=name: events.append(name))
    body = b'{"data":[[1,2,3]' + b" " * BUSY_PARTS + b"]}"
    start = head(KEYED, JSON, CHUNKED)
    for pieces, expected in (
        ([body], []),
        ([body[at : at + 1] for at in range(len(body))], ["pause_reading", "resume_reading"]),
    ):
        answers, _ = given_to(world, [start + chunks(*pieces)])
        assert [status for status, _ in answers] == [200]
        assert events == expected


def test_they_do_so_within_one_piece_of_bytes(world: World) -> None:
    """The event loop may hand over hundreds of kilobytes at a time."""
    body = b'{"data":[[1,2,3]' + b" " * 40 * BUSY_PARTS + b"]}"
    stream = head(KEYED, JSON, CHUNKED) + chunks(*(body[at : at + 1] for at in range(len(body))))

    async def parsed_at_once() -> list[int]:
        memory, sizes = Memory(), [0]
        connection = world.connect(memory)
        connection.data_received(stream)
        while not memory.written:
            current = connection._current
            sizes.append(current.held if isinstance(current, Request) else sizes[-1])
            await asyncio.sleep(0)
        assert memory.written.startswith(b"HTTP/1.1 200 OK\r\n")
        return [after - before for before, after in pairwise(sizes)]

    # Each piece that is parsed has fewer than four times as many chunks.
    assert 0 < max(world.run(parsed_at_once())) < 4 * BUSY_PARTS


class Forbidden(RequestError):
    """A status that no metric knows."""

    status: ClassVar[int] = 403
    code: ClassVar[str] = "forbidden"


@pytest.mark.parametrize("known", [False, True], ids=["parsed", "known head"])
def test_an_error_with_a_status_of_the_owner_gets_one_answer(
    world: World, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = world.service

    def refuse(*_: object) -> None:
        raise Forbidden("not you")

    world.answers([(LAST, True)], known=True)
    before = dict(service._telemetry._meters["predict"][0])
    monkeypatch.setattr(service.inference, "_decode", refuse)
    written, closed = world.answers([(LAST, True), (GET, True)], known=known)
    assert [status for status, _ in answers_of(written)] == [403, 200]
    assert not closed
    after = service._telemetry._meters["predict"][0]
    assert after == before | {400: before[400] + 1}


@pytest.mark.parametrize("known", [False, True], ids=["parsed", "known head"])
@pytest.mark.parametrize("where", ["end", "begin"])
def test_what_raises_while_answering_closes_with_one_answer_at_most(
    world: World, where: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("nobody foresaw this")

    world.answers([(LAST, True)], known=True)
    telemetry = world.service._telemetry
    monkeypatch.setattr(telemetry, where, broken)
    for pieces in ([(LAST + GET, True)], [(LAST, True), (GET, True)]):
        written, closed = world.answers(pieces, known=known)
        assert [status for status, _ in answers_of(written)] == [200 if where == "end" else 500]
        assert closed


def test_pipelined_requests_are_read_as_they_are_answered(toy_dir: Path) -> None:
    """As requests, bytes take a hundred times the memory: most of them wait as bytes."""
    request = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"
    count = 128 * 1024 // len(request)
    with opened(toy_dir) as world:
        most = 0
        take = Connection._take

        def counted(self: Connection, message: Any) -> None:
            nonlocal most
            most = max(most, len(self._waiting))
            take(self, message)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Connection, "_take", counted)
            written, closed = world.answers([(request * count, True)], known=False)
    assert written.count(b"HTTP/1.1 200 OK\r\n") == count
    assert not closed
    assert most < count / 5


def test_a_client_that_leaves_gives_up_all_that_it_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request that is answered, and not only the last one that was read."""
    telemetry = world.service._telemetry
    statuses: list[int] = []
    monkeypatch.setattr(telemetry, "end", lambda _, status: statuses.append(status))

    async def leave() -> int:
        connection = world.connect(Memory())
        connection.data_received(head(KEYED, JSON, CHUNKED))
        connection.data_received(chunks(BODY) + LAST + LAST)
        connection.connection_lost(None)
        return len(connection._waiting)

    assert world.run(leave()) == 0
    assert statuses == [499, 499, 499]
