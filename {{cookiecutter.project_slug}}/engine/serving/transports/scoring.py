"""What clients of MLflow and KServe send: `POST /invocations`, `POST /v1/models/{name}:predict`.

JSON with one of the keys ``dataframe_split``, ``dataframe_records``, ``instances`` and ``inputs``,
or CSV with a header. The answer is that of `/predict`. Sources: MLflow's scoring server, KServe's
V1 inference protocol.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import orjson
import simdjson

from engine.serving.errors import BodyTooLarge, InvalidInput, MalformedBody, RequestError, quoted
from engine.serving.inference.model import Model
from engine.serving.request import Encode, Request
from engine.serving.tensors.datatypes import Array
from engine.serving.transports import tutorial
from engine.serving.transports.bounds import (
    UNLIMITED,
    check_keys,
    check_rows,
    check_values,
    row_limit,
)
from engine.serving.transports.cells import value_of
from engine.serving.transports.json_body import parse_object
from engine.serving.transports.records import check_names, column_names

FORMS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")
CSV: Final = b"text/csv"
# How `/predict` names the place of a fault.
PLACE = re.compile(r"(?<![\w'])data(?=[.\[]|$)")


class Codec:
    """Reads requests for one model.

    Args:
        model: the model that is asked.
        encode: of `/predict`.
        max_rows: most rows allowed in one request.
        max_values: most values.
    """

    def __init__(
        self, model: Model, encode: Encode, max_rows: int = UNLIMITED, max_values: int = UNLIMITED
    ) -> None:
        self._model = model
        self._encode = encode
        self._most = max_rows, max_values

    def decode(self, request: Request, body: bytes) -> None:
        """Set what the request asks; see ``arrays_of``."""
        kind = request.headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        request.inputs = arrays_of(body, self._model, *self._most, is_csv=kind == CSV)
        request.encode = self._encode


def arrays_of(
    body: bytes,
    model: Model,
    max_rows: int = UNLIMITED,
    max_values: int = UNLIMITED,
    *,
    is_csv: bool = False,
) -> dict[str, Array]:
    """Read the named arrays of a request.

    Raises:
        MalformedBody: neither JSON nor CSV.
        InvalidInput: none of the keys, or values that do not fit the signature.
        BodyTooLarge: more rows than allowed.
    """
    most = row_limit(model, max_rows)
    check_values(body, model.signature, most, max_values)
    key, data = _csv(body, model, min(most, max_values)) if is_csv else _json(body, model, most)
    try:
        return tutorial.decode(b'{"data":%b}' % data, model, max_rows, max_values)
    except RequestError as error:
        if error.field is None:
            raise
        field, message = (PLACE.sub(key, text, 1) for text in (error.field, error.message))
        raise type(error)(message, field=field, rule=error.rule) from None


def _json(body: bytes, model: Model, most: int) -> tuple[str, bytes]:
    """The key of the request, and what is below it as `/predict` takes it."""
    document = check_keys(parse_object(body), "")
    found = [key for key in FORMS if key in document]
    if len(found) != 1:
        example = tutorial.short_example(model).replace('"data"', '"inputs"', 1)
        raise InvalidInput(
            f"the request has {len(found)} of the keys {', '.join(FORMS)}; send for example "
            f"{example}",
            rule="one of these keys",
        )
    (key,) = found
    node = document[key]
    if key == "dataframe_split":
        return f"{key}.data", _split(node, model, most)
    if key == "instances" and not column_names(model):
        return key, _by_name(node, most)
    return key, _raw(node)


def _split(node: Any, model: Model, most: int) -> bytes:
    """A table as ``DataFrame.to_dict("split")`` gives it; its index says nothing."""
    field = "dataframe_split"
    data = node["data"] if isinstance(node, simdjson.Object) and "data" in node else None
    if not isinstance(data, simdjson.Array):
        raise InvalidInput(
            f'{field} must be an object with "columns" and "data", a list of rows', field=field
        )
    check_rows(len(data), most)
    columns = check_keys(node, field)["columns"] if "columns" in node else None
    wanted = column_names(model)
    # One more than the model takes is enough to find one that it does not.
    given = islice(columns, len(wanted) + 1) if isinstance(columns, simdjson.Array) else ()
    names = [str(each) for each in given]
    by_position = names == [str(number) for number in range(len(names))] != list(wanted)
    if not wanted or by_position:
        return _raw(data)
    _check_columns(names, wanted, f"{field}.columns")
    rows = []
    for position, row in enumerate(data):
        if not isinstance(row, simdjson.Array) or len(row) != len(names):
            raise InvalidInput(
                f"{field}.data[{position}] has not one value for each of the {len(names)} columns",
                field=f"{field}.data[{position}]",
                rule=f"{len(names)} values",
            )
        rows.append(dict(zip(names, row.as_list(), strict=True)))
    return orjson.dumps(rows)


def _check_columns(names: Sequence[str], wanted: tuple[str, ...], field: str) -> None:
    """Check names before each row gets them: they would multiply the bytes of a request."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidInput(f"{field} has {quoted(name)} twice", field=field, rule="once each")
        seen.add(name)
    check_names(seen, wanted, field)


def _by_name(node: Any, most: int) -> bytes:
    """Instances that hold a tensor for each input, as one list for each input."""
    is_list = isinstance(node, simdjson.Array) and len(node) > 0
    if not is_list or not isinstance(node[0], simdjson.Object):
        return _raw(node)
    check_rows(len(node), most)
    parts: dict[str, list[bytes]] = {}
    for position, each in enumerate(node):
        keys = set(each) if isinstance(each, simdjson.Object) else set()
        if position and keys != set(parts):
            raise InvalidInput(
                f"instances[{position}] has other keys than instances[0]",
                field=f"instances[{position}]",
                rule=f"the keys {', '.join(map(repr, parts))}",
            )
        for name in keys:
            parts.setdefault(name, []).append(_raw(each[name]))
    lists = [b"%b:[%b]" % (orjson.dumps(name), b",".join(each)) for name, each in parts.items()]
    return b"{%b}" % b",".join(lists)


def _raw(node: Any) -> bytes:
    """A parsed value as JSON again."""
    is_nested = isinstance(node, (simdjson.Array, simdjson.Object))
    return bytes(node.mini) if is_nested else orjson.dumps(node)


def _csv(body: bytes, model: Model, most: int) -> tuple[str, bytes]:
    """The rows of a CSV body with a header, as records in the types of the model's columns."""
    wanted = column_names(model)
    if not wanted:
        raise InvalidInput(
            f"{model.name!r} takes no table with named columns, which CSV is; send JSON with "
            '"inputs"',
            rule="a model with columns",
        )
    try:
        header, *cells = _rows_of(body.decode("utf-8-sig"), most) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedBody(f"the body is not CSV in UTF-8: {error}", rule="RFC 4180") from None
    _check_columns(header, wanted, "the header")
    specs = model.signature.inputs
    types = {name: specs[at if len(specs) > 1 else 0] for at, name in enumerate(wanted)}
    records = []
    for position, row in enumerate(cells):
        if len(row) != len(header):
            raise InvalidInput(
                f"row {position} has {len(row)} values and the header {len(header)} columns",
                field=f"row {position}",
                rule=f"{len(header)} values",
            )
        named = zip(header, row, strict=True)
        records.append({name: value_of(cell, types[name]) for name, cell in named})
    if not records:
        raise InvalidInput("the CSV has no rows below its header", rule="at least one row")
    return "csv", orjson.dumps(records)


def _rows_of(text: str, most: int) -> list[list[str]]:
    """The header and the rows; an empty line is no row, but counts, since reading takes time."""
    rows = []
    for number, row in enumerate(csv.reader(io.StringIO(text), strict=True)):
        if number > most:
            raise BodyTooLarge(
                f"the CSV has more than {most} rows; send at most {most} at a time",
                rule=f"at most {most} rows",
            )
        if row:
            rows.append(row)
    return rows
