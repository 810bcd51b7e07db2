"""Whether scikit-learn's API promises that an estimator answers each row by itself.

The API says that ``predict`` and ``transform`` give a row for each row. Code that is no library's
may break that, and only its author can say that it does not.
"""

from __future__ import annotations

import io
import pickle
import warnings
from typing import Any

LIBRARIES = frozenset(
    (
        "_codecs", "builtins", "catboost", "collections", "copyreg", "functools", "joblib",
        "lightgbm", "numpy", "operator", "pandas", "scipy", "sklearn", "xgboost",
    )
)  # fmt: skip
API = "scikit-learn's API"


def promised(estimator: Any) -> str:
    """Whose word it is that each row is answered by itself; empty: nobody's."""
    if not hasattr(estimator, "get_params"):
        return ""
    return API if modules_of(estimator) <= LIBRARIES else ""


def promised_of(content: bytes) -> str:
    """The same for an estimator in a joblib file that was loaded before."""
    import joblib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return promised(joblib.load(io.BytesIO(content)))


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
