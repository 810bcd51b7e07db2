"""The text of an environment file for another kind of place.

A field that only one kind has becomes a comment, ``# on aci: copies: 2``, and a field again when
the environment comes back. So can a value that has to differ: of two lines ``memory_gb: 1.5`` and
``# on containerapps: memory_gb: 2`` the one for the place is in force.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import yaml
from pydantic import BaseModel, ValidationError

from engine.deploy.targets.kind import kind_named
from engine.errors import EngineError

_Pair = tuple[yaml.Node, yaml.Node]


def moved(text: str, to: str) -> str:
    """The same file with another target; ``text`` is a file that was read without a fault.

    Raises:
        EngineError: fields of this kind only are in braces, where no comment can be.
    """
    (start, end), now = _target(text)
    lines = f"{text[:start]}{to}{text[end:]}".splitlines(keepends=True)
    mark = re.compile(rf"(\s*)# on {re.escape(to)}: ?(?=\S|\s+\S)")
    again = {number for number, line in enumerate(lines) if mark.match(line)}
    lines = [mark.sub(r"\1", line, count=1) for line in lines]
    pairs = _mapping("".join(lines)).value
    names = [key.value for key, _ in pairs]
    replaced = [
        key for key, _ in pairs if names.count(key.value) > 1 and key.start_mark.line not in again
    ]
    _comment_out(lines, replaced, now)
    _comment_out(lines, _of_others("".join(lines), to), now)
    return "".join(lines)


def _target(text: str) -> tuple[tuple[int, int], str]:
    """Where the name of the kind is in the file, and which it is."""
    value = next(value for key, value in _mapping(text).value if key.value == "target")
    return (value.start_mark.index, value.end_mark.index), str(value.value)


def _mapping(text: str) -> yaml.MappingNode:
    node = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        raise EngineError("the file is written in braces", "write a field on a line of its own")
    return node


def _of_others(text: str, to: str) -> list[yaml.Node]:
    """The keys that the model of this kind does not have."""
    model: type[BaseModel] = kind_named(to).environment
    node = _mapping(text)
    try:
        model.model_validate({**yaml.safe_load(text), "stage": "stage"})
    except ValidationError as error:
        found = [each["loc"] for each in error.errors() if each["type"] == "extra_forbidden"]
        return list(_keys(node, found, to))
    return []


def _keys(
    node: yaml.MappingNode, locations: Iterable[tuple[int | str, ...]], kind: str
) -> Iterator[yaml.Node]:
    for location in locations:
        parent: yaml.Node = node
        for step in location[:-1]:
            assert isinstance(parent, yaml.MappingNode)  # noqa: S101 - only they have such keys
            parent = next(value for key, value in parent.value if key.value == step)
        assert isinstance(parent, yaml.MappingNode)  # noqa: S101 - likewise
        if parent.flow_style:
            raise EngineError(
                f"{'.'.join(map(str, location))} is in braces, and {kind} does not have it",
                "write each field of these braces on a line of its own, and run it again",
            )
        yield next(key for key, _ in parent.value if key.value == location[-1])


def _comment_out(lines: list[str], keys: Iterable[yaml.Node], kind: str) -> None:
    """Make comments of the lines of these keys, in place."""
    for key in keys:
        column, first = key.start_mark.column, key.start_mark.line
        last = first
        for number in range(first + 1, len(lines)):
            body = lines[number].lstrip(" ")
            depth = len(lines[number]) - len(body)
            if not body.strip() or (body.startswith("#") and depth <= column):
                continue
            if depth < column or (depth == column and not body.startswith("- ")):
                break
            last = number
        for number in range(first, last + 1):
            if lines[number].strip():
                lines[number] = f"{' ' * column}# on {kind}: {lines[number][column:]}"
