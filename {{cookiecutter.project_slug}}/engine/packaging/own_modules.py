"""Files and folders of the owner's that a pickle needs: `--module my_steps.py`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from engine.packaging.installed import distributions
from engine.serving.errors import PackageError
from engine.serving.runtimes.own_modules import OWN_MODULES, PACKAGE_FILE, Module

# What an image has of this repository.
SERVED = "engine.serving"
# What the repository itself has by these names.
TAKEN = ("engine", "service")


def collect(paths: Iterable[Path]) -> dict[str, Module]:
    """The modules of files and folders, by dotted name, made importable here.

    A folder is a package, with all that is below it; one without ``__init__.py`` gets an empty one.

    Raises:
        PackageError: no Python file, or a name that is taken.
    """
    found: dict[str, Module] = {}
    for path in paths:
        name = path.resolve().name if path.is_dir() else path.stem
        if not is_module(path):
            raise PackageError(
                f"--module {path}: is not a Python file or a folder of them, named as in the "
                "model's imports, as in --module my_steps.py"
            )
        if name in TAKEN or name in sys.stdlib_module_names or name in distributions():
            raise PackageError(
                f"--module {path}: {name} is also the name of an installed module; rename yours, "
                "and train again"
            )
        found |= dict(_below(path, name)) if path.is_dir() else {name: _read(path)}
    OWN_MODULES.add(found)
    return found


def is_module(path: Path) -> bool:
    """Whether a file or folder can be imported by its name."""
    return (
        path.resolve().name.isidentifier()
        if path.is_dir()
        else (path.suffix == ".py" and path.stem.isidentifier())
    )


def _below(folder: Path, name: str) -> Iterator[tuple[str, Module]]:
    yield name, Module(folder / PACKAGE_FILE, b"")
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name.isidentifier() and any(path.rglob("*.py")):
            yield from _below(path, f"{name}.{path.name}")
        elif path.name == PACKAGE_FILE:
            yield name, _read(path)
        elif path.suffix == ".py" and path.stem.isidentifier():
            yield f"{name}.{path.stem}", _read(path)


def _read(path: Path) -> Module:
    try:
        return Module(path, path.read_bytes())
    except OSError as error:
        raise PackageError(f"--module {path}: cannot be read: {error.strerror}") from None


def manifest_of(modules: Mapping[str, Module]) -> dict[str, dict[str, str]]:
    """The manifest's entry: the name of each module's file in the package, which has no folders."""
    names = {
        name: f"{name}.{PACKAGE_FILE}" if module.path.name == PACKAGE_FILE else f"{name}.py"
        for name, module in modules.items()
    }
    return {"modules": names} if names else {}


def files_of(modules: Mapping[str, Module]) -> dict[str, bytes]:
    """The files of modules, by their names in the package."""
    names = manifest_of(modules).get("modules", {})
    return {file: modules[name].content for name, file in names.items()}


def refuse_unknown(modules: Iterable[str], path: Path) -> None:
    """Refuse a pickle that names modules which no image would have.

    Args:
        modules: dotted names that the pickle imports.
        path: of the pickle, for the message.

    Raises:
        PackageError: a module is neither installed nor given; with the option that gives it.
    """
    for name in sorted(set(modules) - OWN_MODULES.names()):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top == "__main__" or top in distributions():
            continue
        if f"{name}.".startswith(f"{SERVED}."):
            continue
        raise PackageError(
            f"{path}: needs the module {name!r} ({_place(name)}), which no image has; package it "
            f'with OPTIONS="--module {_option(name)}"'
        )


def _place(name: str) -> str:
    spec = importlib.util.find_spec(name)
    return str(spec.origin) if spec and spec.origin else "of this session"


def _option(name: str) -> str:
    """The file of a module, or the folder of its outermost package."""
    top, _, below = name.partition(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return top if below else f"{top}.py"
    folders = list(spec.submodule_search_locations or ())
    place = Path(folders[0] if folders else str(spec.origin)).resolve()
    here = Path.cwd()
    return str(place.relative_to(here)) if place.is_relative_to(here) else str(place)
