"""Parse a JSON request body, and explain what is wrong with one that does not parse."""

from __future__ import annotations

import json
import re
from typing import NoReturn

import numpy as np
import simdjson

from engine.serving.errors import MalformedBody

NOT_JSON = "the body is not JSON"
# From here on numpy counts faster: four times, in a megabyte.
LARGE_BYTES = 16 * 1024
# Largest body that is read a second time to say where its fault is.
EXPLAINED_BYTES = 1024 * 1024
LOWEST, HIGHEST = -(2**63), 2**64 - 1
# As many digits as are surely beyond 64 bits; Python does not read numbers of any length.
MOST_DIGITS = 25
# A string, or a whole number that may be beyond 64 bits.
# An unclosed string ends with the text: no part of the text is read twice, whatever it is.
_TOKEN = re.compile(
    rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|(?<![\d.eE+-])-?\d{19,}+(?![.eE])', re.DOTALL
)
# Faults that only simdjson sees, by its code.
_CAUSES = {
    "NUMBER_ERROR": "it has a number out of range of 64-bit floating point, about 1.8e308",
    "BIGINT_ERROR": "it has a whole number out of range of 64 bits; write it as 3e19",
    "STRING_ERROR": "it has half of a surrogate pair in a string, such as \\ud83d alone",
}


def parse_object(body: bytes) -> simdjson.Object:
    """Parse a body that must be one JSON object.

    The object refers to the parser's memory, so each request gets a parser of its own.

    Raises:
        MalformedBody: it is empty, not JSON, or not an object.
    """
    if not body:
        raise MalformedBody("the body is empty; send a JSON object", rule="a JSON object")
    try:
        document = simdjson.Parser().parse(body)
    except (ValueError, RuntimeError) as error:
        document = simdjson.Parser().parse(_within_64_bits(body, error))
    if not isinstance(document, simdjson.Object):
        raise MalformedBody("the body must be a JSON object, in braces", rule="a JSON object")
    return document


def opening_brackets(body: bytes) -> int:
    """How many opening square brackets a body has, those within strings included."""
    if len(body) < LARGE_BYTES:
        return body.count(b"[")
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord("[")))


def _within_64_bits(body: bytes, error: Exception) -> bytes:
    """The body with its whole numbers beyond 64 bits written as floating-point numbers, if that is
    all that the parser could not read.

    Raises:
        MalformedBody: it is something else.
    """
    if len(body) <= EXPLAINED_BYTES:
        written = _TOKEN.sub(_as_float, body)
        if written != body:
            try:
                simdjson.Parser().parse(written)
            except (ValueError, RuntimeError) as fault:
                error = fault
            else:
                return written
    _explain(body, error)


def _as_float(token: re.Match[bytes]) -> bytes:
    text = token[0]
    if text.startswith(b'"') or LOWEST <= int(text[:MOST_DIGITS]) <= HIGHEST:
        return text
    return text + b".0"


def _explain(body: bytes, error: Exception) -> NoReturn:
    """simdjson does not say where; the standard library does."""
    raise MalformedBody(f"{NOT_JSON}: {_fault(body, error)}", rule="JSON as in RFC 8259")


def _fault(body: bytes, error: Exception) -> str:
    if b"\0" in body:
        return "it is not UTF-8 (it holds NUL bytes, as UTF-16 and UTF-32 do); send it in UTF-8"
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        return f"byte {fault.start} is not UTF-8; send it in UTF-8"
    code = str(error).partition(":")[0]
    if code == "DEPTH_ERROR":
        return "it is nested too deeply"
    if len(body) > EXPLAINED_BYTES:
        # The standard library would hold Python's lock for seconds, and take the memory of all
        # values as Python objects.
        return f"{_CAUSES.get(code, 'a comma, bracket, quotation mark or value is wrong')} ({code})"
    try:
        json.loads(text, parse_constant=_no_constant, parse_int=len, parse_float=len)
    except json.JSONDecodeError as fault:
        return f"{fault.msg} at line {fault.lineno}, column {fault.colno}"
    except ValueError as fault:
        return str(fault)
    except RecursionError:
        return "it is nested too deeply"
    return _CAUSES.get(code, f"the parser says {code}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
