"""Estimators that would start processes and threads of their own for each request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

# LightGBM takes None for all processors; scikit-learn takes it for one.
ALL_BY_DEFAULT = ("lightgbm",)
PLAIN = (str, bytes, int, float, bool, type(None), type)


def one_job(estimator: Any) -> int:
    """Set ``n_jobs`` to 1 in the estimator and in all of its parts.

    Requests share the processors already, and a run of one row never pays for starting processes.

    Returns:
        How many parts had another value.
    """
    found = list(_parallel(estimator))
    for part in found:
        part.n_jobs = 1
        if hasattr(part, "get_booster"):  # XGBoost copies it into what computes
            part.get_booster().set_param({"nthread": 1})
    return len(found)


def _parallel(estimator: Any) -> Iterator[Any]:
    """The estimator and the objects within it whose ``n_jobs`` means more than one."""
    seen: set[int] = set()
    open_parts: list[Any] = [estimator]
    while open_parts:
        part = open_parts.pop()
        if isinstance(part, PLAIN) or id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            open_parts.extend(part.values())
        elif isinstance(part, (list, tuple)):
            open_parts.extend(part)
        elif isinstance(part, np.ndarray):
            open_parts += part.reshape(-1).tolist() if part.dtype.kind == "O" else ()
        else:
            fields = getattr(part, "__dict__", {})
            if _is_parallel(part, fields):
                yield part
            open_parts += fields.values()


def _is_parallel(part: Any, fields: dict[str, Any]) -> bool:
    if "n_jobs" not in fields or not hasattr(part, "get_params"):
        return False
    jobs = fields["n_jobs"]
    library = type(part).__module__.partition(".")[0]
    return jobs != 1 and (jobs is not None or library in ALL_BY_DEFAULT)
