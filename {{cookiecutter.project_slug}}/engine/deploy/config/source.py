"""A YAML file of the configuration: its values, and for messages how and where they are written."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from engine.errors import Fault

Location = Sequence[int | str]
"""Keys and positions that lead to a value, as pydantic reports them."""


class Written(str):
    """Text for a message that is shown as it is, without quotes around it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


HIDDEN = Written("(hidden)")
MISSING = Written("missing")


@dataclass(frozen=True, slots=True)
class Source:
    """One file. ``data`` is its content, ``faults`` what is wrong with it as YAML; ``node`` is the
    content with its spelling and its lines, None if the file could not be read.
    """

    file: str
    data: dict[str, object]
    node: yaml.MappingNode | None
    faults: tuple[Fault, ...]

    def place(self, location: Location) -> str:
        """File and line of a value, or of the nearest part around it that exists."""
        nearest, _ = self._find(location)
        return f"{self.file}:{nearest.start_mark.line + 1}" if nearest else self.file

    def written(self, location: Location) -> Written | None:
        """A plain value as the file spells it (``yes``, ``007``); None for all else."""
        _, value = self._find(location)
        if isinstance(value, yaml.ScalarNode) and value.style is None:
            return Written(value.value)
        return None

    def _find(self, location: Location) -> tuple[yaml.Node | None, yaml.Node | None]:
        """The nearest node to a location, and its value if it exists."""
        nearest: yaml.Node | None = self.node
        value: yaml.Node | None = self.node
        for step in location:
            found: list[tuple[yaml.Node, yaml.Node]] = []
            if isinstance(value, yaml.MappingNode):
                found = [pair for pair in value.value if pair[0].value == step]
            elif isinstance(value, yaml.SequenceNode) and isinstance(step, int):
                found = [(item, item) for item in value.value[step : step + 1]]
            if not found:
                return nearest, None
            nearest, value = found[-1]
        return nearest, value


def read_source(root: Path, file: str) -> Source:
    """Read a file below the repository's root; what cannot be read is a Source with a fault."""
    try:
        text = (root / file).read_text(encoding="utf-8")
        loader = _Loader(text)
        node = loader.get_single_node()
        data = loader.construct_document(node) if isinstance(node, yaml.MappingNode) else None
    except FileNotFoundError:
        return _unreadable(file, "must exist", "restore it from git, or generate it again")
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return _unreadable(
            file, f"must be YAML in UTF-8, but: {_one_line(error)}", "correct the file"
        )
    if not isinstance(node, yaml.MappingNode) or not isinstance(data, dict):
        return _unreadable(file, "must consist of fields", "write lines such as  cpu: 1")
    return Source(file, data, node, tuple(_doubled(file, node, "", set())))


class _Loader(yaml.SafeLoader):
    """YAML as usual, but every key is text, so that ``NO: "x"`` sets NO and not False."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        self.flatten_mapping(node)
        return {
            key.value if isinstance(key, yaml.ScalarNode) else str(key.value): (
                self.construct_object(value, deep=deep)
            )
            for key, value in node.value
        }


def _unreadable(file: str, rule: str, fix: str) -> Source:
    return Source(file, {}, None, (Fault(file, "the file", Written("unreadable"), rule, fix),))


def _doubled(file: str, node: yaml.Node, path: str, seen: set[int]) -> Iterator[Fault]:
    """A fault for every key that is defined twice in one mapping; YAML would take the last one."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield from _doubled(file, item, f"{path}[{position}]", seen)
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            field = f"{path}.{key.value}" if path else str(key.value)
            line = key.start_mark.line + 1
            if key.value in first:
                rule = f"must be there once, and is in line {first[key.value]} too"
                yield Fault(f"{file}:{line}", field, Written("doubled"), rule, "remove one")
            first.setdefault(key.value, line)
            yield from _doubled(file, value, field, seen)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
