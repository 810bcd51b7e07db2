"""Run a package once with nothing but what an image has: `python -m engine.packaging.serving_set`.

The environment that packages a model has the training set as well. Here the modules of packages
that the serving lock does not have cannot be imported, nor can other code of the repository.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from engine.packaging.installed import distributions
from engine.serving.errors import PackageError
from engine.serving.package.lock import Lock, read_lock

SECONDS = 300
ALLOWED = "engine.serving"
# What pip, virtual environments and editable installations add to each Python.
SITE = ("_distutils_hack", "_virtualenv", "sitecustomize", "usercustomize")


class OnlyLocked(MetaPathFinder):
    """Refuses to find modules that an image would not have."""

    def __init__(self, locked: frozenset[str]) -> None:
        self._locked = locked
        self._providers = distributions()
        installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        self._elsewhere = [each for each in sys.path if each not in installed]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise where the module is none of an image's; see ``MetaPathFinder``."""
        if self._is_hidden(fullname):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None

    def _is_hidden(self, fullname: str) -> bool:
        top = fullname.partition(".")[0]
        if top == "engine":
            return fullname not in ("engine", ALLOWED) and not fullname.startswith(f"{ALLOWED}.")
        if top in sys.stdlib_module_names or top in SITE:
            return False
        names = {each.lower().replace("_", "-") for each in self._providers.get(top, ())}
        if names:
            return not names & self._locked
        return PathFinder.find_spec(top, self._elsewhere) is not None


def check(folder: Path, lock: Lock) -> None:
    """Load a package and answer its golden requests, in a process that has only the lock's.

    Raises:
        PackageError: an image would not serve it.
    """
    command = [sys.executable, "-W", "ignore", "-m", __name__, str(folder), str(lock.path)]
    try:
        done = subprocess.run(  # noqa: S603 - this module
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise PackageError(
            f"{folder.name}: answers its samples in more than {SECONDS} s; give fewer samples"
        ) from None
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip()).splitlines()
        fault = said[-1] if said else f"the process ended with {done.returncode}"
        raise PackageError(f"with the packages of {lock.path.name} alone, as in the image: {fault}")


def main(folder: Path, lock: Path) -> int:
    """Check one package; the fault goes to standard output."""
    sys.meta_path.insert(0, OnlyLocked(frozenset(read_lock(lock).pins)))
    from engine.serving.errors import StartupError
    from engine.serving.inference.model import load_model
    from engine.serving.package.reader import read_package
    from engine.serving.reasons import lacking
    from engine.serving.settings import Settings

    try:
        load_model(read_package(folder), Settings(execution_providers=("cpu",)))
    except StartupError as error:
        print(str(error).replace(f"{folder}/", ""))
        return 1
    except ModuleNotFoundError as error:  # of a runtime
        print(lacking(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
