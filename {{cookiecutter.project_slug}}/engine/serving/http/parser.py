"""Bytes of one connection to messages, by httptools; none of them goes beyond its limits.

The same messages come out however the bytes are cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

import httptools

from engine.serving.answer import Header
from engine.serving.errors import HeadTooLarge, MethodNotAllowed, RequestError
from engine.serving.http.answers import lines_of

# What a request may send beside its body: blank lines before it, request line, headers, sizes of
# chunks and trailers.
# Counted before any of it is kept, and before a key is looked at.
MAX_HEAD_BYTES: Final = 64 * 1024
# As Python objects short headers take 25 times their bytes.
MAX_HEADERS: Final = 256
# Bytes that come with each piece of a chunked body: its size in hexadecimal and two line ends.
CHUNK_BYTES: Final = 16
# Pieces that are parsed before they are counted; those of a body are at least so long.
PIECE_BYTES: Final = 16 * 1024
LEAST_PIECE_BYTES: Final = 4096
# Pieces of chunked bodies after which other connections have their turn.
BUSY_PARTS: Final = 1000
# Headers that say something about the message itself.
FRAMING: Final = frozenset((b"expect", b"host", b"transfer-encoding", b"upgrade"))
NO_PATH: Final = "the request target is not a path that begins with /"


class Stage(Enum):
    """Where the parser is in the bytes of a connection."""

    BETWEEN = 0
    HEAD = 1
    BODY = 2
    # Nothing more is read.
    ENDED = 3


class Ended(Exception):
    """Bytes behind the last message of a connection."""


@dataclass(slots=True)
class Head:
    """The head of a message; names of headers in small letters.

    Attributes:
        path: without the query, as it was sent.
        expects: whether the client waits for a "go on" before it sends the body.
    """

    method: str
    path: bytes
    query: bytes
    version: str
    headers: list[Header]
    keep_alive: bool
    expects: bool


class Receiver(Protocol):
    """Takes messages. What it raises ends ``Parser.feed``."""

    @property
    def full(self) -> bool:
        """Whether it takes no more messages for now."""
        ...

    def begin(self) -> None:
        """A message began."""
        ...

    def head(self, head: Head) -> None:
        """The head of a message."""
        ...

    def body(self, piece: bytes) -> None:
        """A piece of its body."""
        ...

    def end(self) -> None:
        """The message is complete."""
        ...


class Parser:
    """Reads messages, one after the other, and gives them to a receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._parser: Any = httptools.HttpRequestParser(self)
        self.stage = Stage.BETWEEN
        self._url = b""
        self._headers: list[Header] = []
        self._hosts = 0
        self._expects = False
        self._keep_alive = True
        self._fault: RequestError | None = None
        # Bytes of blank lines since the last message; they are skipped (RFC 9112, 2.2).
        self.blank = 0
        # Bytes of the message that are no body, and how many of them the head has.
        self._overhead = 0
        self._head_bytes = 0
        # Of the piece that is parsed: its size, what it has of a body, in how many parts; and
        # whether the next message begins with it.
        self._piece = 0
        self._body_bytes = 0
        self._body_parts = 0
        self._begins = True
        # Whether the message began inside of a piece, so that its overhead is counted too low.
        self._began_inside = False

    def close(self) -> None:
        """Read nothing more, and let go of what refers to this: else a closed connection stays in
        memory until the collector looks.
        """
        self.stage = Stage.ENDED
        self._parser = None
        del self._receiver

    def feed(self, data: memoryview) -> tuple[memoryview, bool]:
        """Parse in pieces, none of which goes far beyond what a message may send.

        Returns:
            What was not parsed, because the receiver is full or other connections should have
            their turn; and whether the latter is so, since there were many pieces of bodies.

        Raises:
            RequestError: it sends more, asks for a tunnel, or is not HTTP.
            Exception: what the receiver raised.
        """
        try:
            return self._feed(data)
        except httptools.HttpParserError as error:
            self._explain(error)
            return data[:0], False

    def _feed(self, data: memoryview) -> tuple[memoryview, bool]:
        parts = 0
        while (
            data
            and self.stage is not Stage.ENDED
            and not self._receiver.full
            and parts <= BUSY_PARTS
        ):
            room = MAX_HEAD_BYTES - max(self._overhead, self.blank)
            if self.stage is Stage.BODY:
                room = max(room, LEAST_PIECE_BYTES)
            piece = data[: min(room, PIECE_BYTES)]
            self._piece = len(piece)
            self._body_bytes = self._body_parts = 0
            self._begins = self.stage is Stage.BETWEEN
            upgrades = False
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade as stopped:
                # The offset behind the head.
                self._piece, upgrades = stopped.args[0], True
            if upgrades:
                self._ignore_upgrade()
            data = data[self._piece :]
            self._count()
            parts += self._body_parts
        # What is behind the last message is not kept.
        return data[:0] if self.stage is Stage.ENDED else data, parts > BUSY_PARTS

    def _explain(self, error: httptools.HttpParserError) -> None:
        """Raise what the parser means, or nothing where bytes behind the last message are met."""
        cause = error.__context__
        if isinstance(cause, Ended) or (cause is None and self.stage is Stage.ENDED):
            return
        if isinstance(cause, httptools.HttpParserInvalidURLError):
            raise RequestError(NO_PATH) from None
        if isinstance(cause, Exception):
            raise cause
        if self.stage is Stage.HEAD and self._url and not self._url.startswith(b"/"):
            raise RequestError(NO_PATH) from None
        raise RequestError(f"the request is not valid HTTP/1.1: {error}") from None

    def _count(self) -> None:
        """Count what the piece has beside a body, when its message is not complete."""
        if self.stage is Stage.BETWEEN and self._begins:
            self.blank += self._piece
            if self.blank >= MAX_HEAD_BYTES:
                raise _too_large()
        if self.stage is Stage.HEAD or self.stage is Stage.BODY:
            more = self._piece - self._body_bytes - CHUNK_BYTES * self._body_parts
            self._overhead = max(self._head_bytes, self._overhead + more)
            if self._overhead >= MAX_HEAD_BYTES + (self.stage is Stage.BODY):
                raise _too_large()
            if len(self._headers) > MAX_HEADERS:
                raise _too_large()

    def _ignore_upgrade(self) -> None:
        """Go on with HTTP/1.1 (RFC 9110, 7.8).

        The parser has skipped the body of the message, and cannot be talked out of it. A new one
        gets the same head without the header.
        """
        method = self._parser.get_method()
        if method == b"CONNECT":
            raise MethodNotAllowed("CONNECT is not answered: this service is no proxy; use POST")
        line = b"%b %b HTTP/%b\r\n" % (method, self._url, self._parser.get_http_version().encode())
        overhead = self._overhead
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(line + lines_of(self._headers) + b"\r\n")
        if self.stage is Stage.BODY:
            self._overhead, self._head_bytes = overhead, max(0, overhead)

    # Called by httptools.

    def on_message_begin(self) -> None:
        """A message began."""
        if self.stage is Stage.ENDED:
            raise Ended
        self._url = b""
        self._headers = []
        self._expects = False
        self.stage = Stage.HEAD
        self._hosts = self._head_bytes = 0
        self._fault = None
        self._began_inside = not self._begins
        # What the piece has of the messages before is taken off.
        self._overhead = self.blank if self._begins else -self._piece
        self._begins = False
        self._receiver.begin()

    def on_url(self, url: bytes) -> None:
        """Keep a part of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer is none (RFC 9110, 6.5.1)."""
        if self.stage is not Stage.HEAD:
            if name.lower() == b"connection":
                # The parser would obey it.
                self._fault = RequestError(
                    "Connection is no trailer; send it as a header",
                    field="Connection",
                    rule="not in trailers (RFC 9110, 6.5.1)",
                )
            return
        name, value = name.lower(), value.rstrip(b" \t")
        if name in FRAMING:
            if name == b"upgrade":
                return
            self._note(name, value.lower())
        self._headers.append((name, value))

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"expect":
            self._expects = value == b"100-continue"
        elif value != b"chunked" or self._parser.get_http_version() != "1.1":
            self._fault = RequestError(
                f"Transfer-Encoding {value.decode('latin-1')!r} is not read; send a Content-Length",
                field="Transfer-Encoding",
                rule="chunked, in HTTP/1.1 (RFC 9112, 6.1)",
            )

    def on_headers_complete(self) -> None:
        """The head is there."""
        if self._parser.should_upgrade():
            # The parser stops behind the head.
            return
        if self._began_inside and self._head_size() > MAX_HEAD_BYTES:
            raise _too_large()
        if len(self._headers) > MAX_HEADERS:
            raise _too_large()
        version = self._parser.get_http_version()
        if self._hosts != 1 and (self._hosts or version == "1.1"):
            raise RequestError(
                f"the request has {self._hosts} Host headers; send one",
                field="Host",
                rule="one (RFC 9112, 3.2)",
            )
        if self._fault is not None:
            raise self._fault
        self._head_bytes = max(0, self._overhead)
        path, query = self._target()
        # A trailer changes nothing, so the parser is not asked again.
        self._keep_alive = self._parser.should_keep_alive()
        method = self._parser.get_method().decode()
        head = Head(method, path, query, version, self._headers, self._keep_alive, self._expects)
        self._receiver.head(head)
        self.stage = Stage.BODY if self.stage is not Stage.ENDED else self.stage

    def _head_size(self) -> int:
        """At least so many bytes has the head."""
        return len(self._url) + sum(len(name) + len(value) for name, value in self._headers)

    def _target(self) -> tuple[bytes, bytes]:
        """Path and query, as they were sent."""
        url = self._url
        if url[:1] == b"/" and b"?" not in url and b"#" not in url:
            return url, b""
        parts = httptools.parse_url(url)
        if not parts.path:
            raise RequestError(NO_PATH)
        return parts.path, parts.query or b""

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        self._body_bytes += len(piece)
        self._body_parts += 1
        self._receiver.body(piece)

    def on_message_complete(self) -> None:
        """The message is complete."""
        if self.stage is Stage.HEAD or self.stage is Stage.ENDED:
            # An upgrade, which is ignored: its body follows. Or nobody wants the rest.
            return
        if self._fault is not None:
            raise self._fault
        self.stage = Stage.BETWEEN if self._keep_alive else Stage.ENDED
        self._overhead = self.blank = 0
        self._receiver.end()


def _too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"request line, headers, trailers and blank lines have more than {MAX_HEAD_BYTES} bytes, "
        f"or there are more than {MAX_HEADERS} headers; send fewer",
        rule=f"at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers",
    )
