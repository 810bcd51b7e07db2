"""Estimators in skops' format, MLflow's default since its third version: no pickle, no code."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

import joblib

from engine.serving.errors import PackageError

KNOWN = ("sklearn.", "numpy.", "scipy.", "builtins.", "collections.")


def read_skops(path: Path, trusted: Collection[str] = ()) -> tuple[bytes, Any]:
    """Load an estimator.

    Args:
        path: the file.
        trusted: types that the model was logged with as trusted.

    Returns:
        The estimator as joblib bytes, which is what the service loads, and itself.

    Raises:
        PackageError: skops is not installed, the file is damaged, or it holds unknown types.
    """
    try:
        import skops.io
    except ImportError:
        raise PackageError(
            f"{path}: is in skops' format, and skops is not installed; add skops to "
            "requirements/train.in and run `make lock`"
        ) from None
    try:
        types = skops.io.get_untrusted_types(file=path)
        unknown = [each for each in types if each not in trusted and not each.startswith(KNOWN)]
        if unknown:
            raise PackageError(
                f"{path}: holds the types {unknown}, which nobody declared to be trusted; log it "
                "again with skops_trusted_types"
            )
        estimator = skops.io.load(path, trusted=types)
    except PackageError:
        raise
    except Exception as error:  # noqa: BLE001 - zipfile, json and constructors raise their own
        raise PackageError(f"{path}: cannot be read by skops: {error}") from None
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    return buffer.getvalue(), estimator
