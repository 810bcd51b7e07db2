"""Modules of the owner's that a model needs: files of its package, imported from there."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, spec_from_loader
from pathlib import Path
from types import ModuleType

from engine.serving.errors import PackageError
from engine.serving.package.reader import Package

PACKAGE_FILE = "__init__.py"


@dataclass(frozen=True, slots=True)
class Module:
    """The source of a module: where it is, for messages and traces, and its bytes."""

    path: Path
    content: bytes


class OwnModules(MetaPathFinder, ExecutionLoader):
    """Finds and loads modules whose source is in memory, before all other modules."""

    def __init__(self) -> None:
        self._modules: dict[str, Module] = {}

    def add(self, modules: Mapping[str, Module]) -> None:
        """Make modules importable.

        Args:
            modules: by dotted name.

        Raises:
            PackageError: another package has a module of this name and other content. A pickle
                names its classes by module, so one process can hold only one of them.
        """
        for name, module in modules.items():
            other = self._modules.get(name)
            if other is not None and other.content != module.content:
                raise PackageError(
                    f"{module.path}: differs from {other.path}, and one process holds only one "
                    f"module {name!r}; rename it in one of the two, or serve the models apart"
                )
        self._modules.update(modules)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def names(self) -> frozenset[str]:
        """The dotted names of all modules."""
        return frozenset(self._modules)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See ``MetaPathFinder``."""
        return spec_from_loader(fullname, self) if fullname in self._modules else None

    def is_package(self, fullname: str) -> bool:
        """See ``InspectLoader``."""
        return self._modules[fullname].path.name.endswith(PACKAGE_FILE)

    def get_filename(self, fullname: str) -> str:
        """See ``ExecutionLoader``."""
        return str(self._modules[fullname].path)

    def get_source(self, fullname: str) -> str:
        """See ``InspectLoader``."""
        return decode_source(self._modules[fullname].content)


OWN_MODULES = OwnModules()


def import_from(package: Package) -> None:
    """Make the modules of a verified package importable.

    The bytes are compared with the manifest once more, and exactly those bytes are imported.

    Raises:
        PackageError: a file was changed, or another package has another module of the same name.
    """
    found = {}
    for module, name in package.manifest.modules.items():
        path = package.directory / name
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != package.manifest.files[name].sha256:
            raise PackageError(f"{path}: changed while it was being loaded")
        found[module] = Module(path, content)
    OWN_MODULES.add(found)
