"""A table as a list of records, one object for each row: what ``df.to_dict("records")`` gives."""

from __future__ import annotations

from typing import Any, TypeGuard

import orjson
import simdjson

from engine.serving.errors import InvalidInput, quoted
from engine.serving.inference.model import Model
from engine.serving.package.manifest import InputTensor
from engine.serving.tensors.signature import TensorSpec
from engine.serving.transports.bounds import check_keys, check_rows
from engine.serving.transports.json_body import parse_object


def is_column(spec: TensorSpec | InputTensor) -> bool:
    """Whether an input is one column of a table."""
    return spec.shape in ((-1,), (-1, 1))


def column_names(model: Model) -> tuple[str, ...]:
    """The keys of a record; none where the model takes no table with named columns."""
    specs, features = model.signature.inputs, model.manifest.inputs[0].features
    if len(specs) == 1 and features and specs[0].shape == (-1, len(features)):
        return features
    return tuple(spec.name for spec in specs) if all(map(is_column, specs)) else ()


def are_records(data: Any, model: Model) -> TypeGuard[simdjson.Array]:
    """Whether a list begins with a record, and the model takes a table."""
    first = data[0] if isinstance(data, simdjson.Array) and len(data) else None
    return isinstance(first, simdjson.Object) and bool(column_names(model))


def as_arrays(records: simdjson.Array, model: Model, most: int) -> simdjson.Object:
    """The request that says the same in arrays: a list for each input, or for each row.

    Args:
        records: one or more.
        model: takes a table.
        most: rows allowed.

    Raises:
        InvalidInput: a record lacks a column, or has one that the model does not take.
        BodyTooLarge: more rows than allowed.
    """
    names = column_names(model)
    check_rows(len(records), most)
    rows = [_row(record, names, f"data[{position}]") for position, record in enumerate(records)]
    data: Any = rows
    if is_column(model.signature.inputs[0]):
        inputs = enumerate(model.signature.inputs)
        data = {spec.name: [row[at] for row in rows] for at, spec in inputs}
    return parse_object(orjson.dumps({"data": data}))


def is_one_table(data: Any, model: Model) -> TypeGuard[simdjson.Object]:
    """Whether an object holds columns, or one row, of the single input that has named columns."""
    inputs, names = tuple(spec.name for spec in model.signature.inputs), column_names(model)
    is_object = isinstance(data, simdjson.Object) and inputs[0] not in data
    return is_object and names not in ((), inputs)


def from_columns(data: simdjson.Object, model: Model, most: int) -> simdjson.Object:
    """The request that says the same in rows.

    Args:
        data: a list for each column, or a value for each.
        model: takes one table with named columns.
        most: rows allowed.

    Raises:
        InvalidInput: a column is missing, unknown, or of another length than the first.
        BodyTooLarge: more rows than allowed.
    """
    names = column_names(model)
    check_names(set(check_keys(data, "data", len(names))), names, "data")
    columns = [data[name] for name in names]
    lists = [each.as_list() if isinstance(each, simdjson.Array) else [each] for each in columns]
    check_rows(len(lists[0]), most)
    for name, each in zip(names, lists, strict=True):
        if len(each) != len(lists[0]):
            raise InvalidInput(
                f"data.{name} has {len(each)} values and data.{names[0]} has {len(lists[0])}",
                field=f"data.{name}",
                rule="as many values in each column",
            )
    return parse_object(orjson.dumps({"data": list(zip(*lists, strict=True))}))


def _row(record: Any, names: tuple[str, ...], field: str) -> list[Any]:
    if not isinstance(record, simdjson.Object):
        raise InvalidInput(f"{field} is no object, and the first row is one", field=field)
    check_names(set(check_keys(record, field, len(names))), names, field)
    row = record.as_dict()
    return [row[name] for name in names]


def check_names(keys: set[str], names: tuple[str, ...], field: str) -> None:
    """Check that these are the columns of the model.

    Raises:
        InvalidInput: one is missing, or the model has no such column.
    """
    for missing in sorted(set(names) - keys)[:1]:
        raise InvalidInput(f"{field} has no {quoted(missing)}", field=field, rule=_rule(names))
    for unknown in sorted(keys - set(names))[:1]:
        raise InvalidInput(
            f"{field} has {quoted(unknown)}, and the model has no such column",
            field=field,
            rule=_rule(names),
        )


def _rule(names: tuple[str, ...]) -> str:
    return f"the keys {', '.join(map(repr, names))}"
