"""Refuse a model whose training environment does not agree with the serving one.

Only pickles carry library internals, so only joblib models are refused; an ONNX file carries
its operators' versions itself and ONNX Runtime checks them.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata

from app.errors import PackageError
from app.package.manifest import Manifest

# How many leading parts of the version must agree. scikit-learn promises nothing for pickles
# between versions; its patch releases keep attributes. numpy's arrays unpickle within a major.
MUST_AGREE = {"scikit-learn": 2, "numpy": 1}


def check_drift(manifest: Manifest, installed: Mapping[str, str] | None = None) -> list[str]:
    """Compare versions of training with those installed here.

    Args:
        manifest: the package's manifest.
        installed: versions by distribution name; read from the environment when not given.

    Returns:
        Differences that are risky but not refused, a sentence each.

    Raises:
        PackageError: a version that matters differs; it names both and the way out.
    """
    if manifest.format != "joblib":
        return []
    risky = []
    for name, parts in MUST_AGREE.items():
        trained = manifest.training.packages.get(name)
        if trained is None:
            raise PackageError(f"the manifest does not say which {name} trained the model")
        here = installed.get(name) if installed is not None else _installed(name)
        if here is None:
            raise PackageError(
                f"the model needs {name} {trained}, and {name} is not installed here; add "
                f"{name}=={trained} to requirements/serve-cpu.in and run `make lock`"
            )
        if here.split(".")[:parts] != trained.split(".")[:parts]:
            raise PackageError(
                f"the model was trained with {name} {trained} and this environment has {here}; "
                f"put {name}=={trained} into requirements/serve-cpu.in and run `make lock`, or "
                "train again with `make train`"
            )
        if here != trained:
            risky.append(f"{name} {trained} in training, {here} here")
    python = platform.python_version()
    if python.split(".")[:2] != manifest.training.python.split(".")[:2]:
        risky.append(f"Python {manifest.training.python} in training, {python} here")
    return risky


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
