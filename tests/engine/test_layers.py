"""The rooms of the server form a ladder: none imports one above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.engine.project import ROOT

SERVING = ROOT / "engine" / "serving"
PREFIX = "engine.serving."
# From the ground up; those of one line know nothing of each other.
LADDER = [
    {
        "answer",
        "api_version",
        "budget",
        "cgroups",
        "environment",
        "fault",
        "heap",
        "installed",
        "proxies",
        "reasons",
    },
    {"remarks", "service_imports", "lifecycle", "destinations"},
    {"errors"},
    {"settings", "tensors"},
    {"reference"},
    {"package", "request"},
    {"release", "metrics", "runtimes"},
    {"telemetry"},
    {"logs"},
    {"inference"},
    {"transports"},
    {"capture"},
    {"http"},
    {"extension"},
    {"pages"},
    {"service_file"},
    {"service", "check"},
    {"listening"},
    {"server"},
    {"workers"},
    {"__main__"},
]


def imported(path: Path) -> Iterator[str]:
    """The modules of the server that are imported when a module is."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module == PREFIX[:-1]:
            yield from (f"{PREFIX}{each.name}" for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        waiting.extend(ast.iter_child_nodes(node))


def room(name: str) -> str:
    return name.removeprefix(PREFIX).split(".")[0]


def test_no_room_imports_one_above_it() -> None:
    step = {name: number for number, names in enumerate(LADDER) for name in names}
    wrong = []
    rooms = set()
    for path in sorted(SERVING.rglob("*.py")):
        own = path.relative_to(SERVING).with_suffix("").parts[0]
        if own == "__init__":
            continue
        rooms.add(own)
        for name in imported(path):
            other = room(name)
            if name.startswith(PREFIX) and other != own and step[other] >= step[own]:
                wrong.append(f"{path.relative_to(SERVING)} imports {name}")
    assert not wrong
    assert rooms == set(step)


def test_the_client_is_usable_without_the_deploy() -> None:
    """It asks any running service: load tests, deploys and other programs use it."""
    client = ROOT / "engine" / "client"
    used = {name for path in sorted(client.rglob("*.py")) for name in imported(path)}
    rooms = {name.split(".")[1] for name in used if name.startswith("engine.")}
    assert rooms == {"client", "errors", "serving"}


def test_uvicorn_is_used_in_one_place() -> None:
    users = {
        path.name
        for path in SERVING.rglob("*.py")
        for name in imported(path)
        if name.split(".")[0] == "uvicorn"
    }
    assert users == {"server.py"}
