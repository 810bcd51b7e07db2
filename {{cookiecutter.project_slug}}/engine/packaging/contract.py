"""Whether an API promises that an estimator answers each row by itself.

scikit-learn's says that ``predict`` and ``transform`` give a row for each row, and so do those of
boosters. Code that is no library's may break that, and only its author can say that it does not.
"""

from __future__ import annotations

import io
import pickle
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from engine.packaging.installed import distributions

LIBRARIES = frozenset(
    (
        "_codecs", "builtins", "catboost", "collections", "copyreg", "functools", "joblib",
        "lightgbm", "numpy", "operator", "pandas", "scipy", "sklearn", "xgboost",
    )
)  # fmt: skip
API = "scikit-learn's API"
BOOSTERS = {"lightgbm": "LightGBM's API", "xgboost": "XGBoost's API"}
# What every serving set for joblib models has.
SERVED = frozenset(
    ("_codecs", "builtins", "collections", "copyreg", "functools", "joblib", "numpy", "operator",
     "scipy", "sklearn", "threadpoolctl")
)  # fmt: skip


def promised(estimator: Any) -> str:
    """Whose word it is that each row is answered by itself; empty: nobody's."""
    library = type(estimator).__module__.split(".")[0]
    by = API if hasattr(estimator, "get_params") else BOOSTERS.get(library, "")
    return by if by and modules_of(estimator) <= LIBRARIES else ""


@dataclass(frozen=True, slots=True)
class Pickled:
    """What a pickle holds: the promise of ``promised``, and the manifest's fields on training.

    ``modules`` are the dotted names of all that loading it imports.
    """

    promised: str
    holds_code: bool
    needs: tuple[str, ...]
    modules: frozenset[str] = frozenset()


def read_pickled(content: bytes, dataframe: bool = False) -> Pickled:
    """Look at the estimator in a joblib file that was loaded before.

    Args:
        content: the file.
        dataframe: whether it is called with a DataFrame, and so needs pandas.
    """
    import joblib

    with warnings.catch_warnings(), _named_modules() as named:
        warnings.simplefilter("ignore")
        estimator = joblib.load(io.BytesIO(content))
    # A pickle by reference names modules that a walk over the estimator may miss, and a class that
    # cloudpickle took along names a module that is not needed.
    modules = {name.partition(".")[0] for name in named}
    needs = {name for module in modules - SERVED for name in distributions().get(module, [])[:1]}
    needs |= {"pandas"} if dataframe else set()
    holds_code = not modules | modules_of(estimator) <= LIBRARIES
    return Pickled(promised(estimator), holds_code, tuple(sorted(needs)), frozenset(named))


_listening: list[set[str]] = []


@contextmanager
def _named_modules() -> Iterator[set[str]]:
    """The dotted names of the modules of all that is unpickled within."""
    if not _listening:
        sys.addaudithook(_hear)  # for the rest of the process: hooks cannot be removed
        _listening.append(set())
    names: set[str] = set()
    _listening.append(names)
    try:
        yield names
    finally:
        _listening.pop()


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "pickle.find_class":
        _listening[-1].add(arguments[0])


def modules_of(value: Any) -> set[str]:
    """Top-level modules of all classes and functions that a pickle of the value names."""
    finder = _Finder()
    try:
        finder.dump(value)
    except Exception:  # noqa: BLE001 - what cannot be pickled again is somebody's own
        finder.found.add("__main__")
    return finder.found


class _Nowhere:
    def write(self, content: bytes) -> int:
        """Forget it."""
        return len(content)


class _Finder(pickle.Pickler):
    """Pickles to nowhere, and sees every object that does not fit into the stream itself."""

    def __init__(self) -> None:
        super().__init__(_Nowhere(), protocol=4)
        self.found: set[str] = set()

    def persistent_id(self, obj: Any) -> None:
        """Called for each object before it is pickled."""
        module = getattr(obj, "__module__", None)
        if isinstance(module, str):
            self.found.add(module.split(".")[0])
