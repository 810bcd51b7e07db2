"""Differences between the environment that trained a model and the one that serves it.

Only pickles carry library internals, so only joblib models are refused for a version; an ONNX file
carries its operators' versions itself and ONNX Runtime checks them.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from engine.serving.errors import PackageError
from engine.serving.package.manifest import Manifest

Severity = Literal["harmless", "risky", "refused"]
# How many leading parts of the version must agree. scikit-learn promises nothing for pickles
# between versions; its patch releases keep attributes. numpy's arrays unpickle within a major.
MUST_AGREE = {"scikit-learn": 2, "numpy": 1}
# What else shapes the answers of a pickled model while it is served.
IN_PICKLES = ("scipy", "joblib", "pandas", "cloudpickle", "xgboost", "lightgbm", "catboost")
HERE = "this environment"
ADVICE = "put {0}=={1} into requirements/serve-cpu.in and run `make lock`"


@dataclass(frozen=True, slots=True)
class Difference:
    """One version that is not what it was in training; ``here`` is None where it is missing."""

    name: str
    trained: str
    here: str | None
    severity: Severity
    reason: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.trained} in training, {self.here or 'none'} here"


def check_drift(
    manifest: Manifest, installed: Mapping[str, str] | None = None, where: str = HERE
) -> list[str]:
    """Compare versions of training with those installed here.

    Args:
        manifest: the package's manifest.
        installed: versions by distribution name; read from the environment when not given.
        where: what holds them, for the sentences.

    Returns:
        Differences that are risky but not refused, a sentence each.

    Raises:
        PackageError: a version that matters differs; it names both and the way out.
    """
    if manifest.format != "joblib":
        return []
    risky = []
    for each in differences(manifest, installed, where=where):
        if each.severity == "refused":
            raise PackageError(f"{each.reason}; {each.fix}")
        if each.severity == "risky":
            risky.append(str(each))
    return risky


def differences(
    manifest: Manifest,
    installed: Mapping[str, str] | None = None,
    python: str = "",
    where: str = HERE,
) -> list[Difference]:
    """All differences, the refused ones first, Python last.

    Args:
        manifest: the package's manifest.
        installed: versions by distribution name; read from the environment when not given.
        python: version of Python; that of this process when not given.
        where: what holds them, for the sentences.
    """
    if manifest.format == "joblib":
        found = list(_of_pickle(manifest, installed, where))
    else:
        found = list(_of_onnx(manifest, installed))
    here = python or platform.python_version()
    trained = manifest.training.python
    if here.split(".")[:2] != trained.split(".")[:2]:
        found.append(_of_python(manifest, trained, here))
    return found


def _of_python(manifest: Manifest, trained: str, here: str) -> Difference:
    minor = ".".join(trained.split(".")[:2])
    fix = f"generate the service for Python {minor}, or train and package the model again here"
    if manifest.format != "joblib":
        return Difference("Python", trained, here, "harmless", "an ONNX file holds no code", fix)
    if manifest.training.holds_code is False:
        reason = "the pickle holds data of libraries and no code of one Python"
        return Difference("Python", trained, here, "harmless", reason, fix)
    return Difference("Python", trained, here, "risky", "a pickle may hold code of one Python", fix)


def _of_pickle(
    manifest: Manifest, installed: Mapping[str, str] | None, where: str
) -> Iterator[Difference]:
    packages = manifest.training.packages
    for name, parts in MUST_AGREE.items():
        here = _version(name, installed)
        yield from _must_agree(name, parts, packages.get(name), here, where)
    for name, trained in packages.items():
        here = _version(name, installed)
        if name in MUST_AGREE or here == trained:
            continue
        if here is None and name in manifest.training.needs:
            yield _missing(name, trained, where)
            continue
        used = name in IN_PICKLES and (here is not None or name not in ("cloudpickle", "scipy"))
        yield Difference(
            name,
            trained,
            here,
            "risky" if used else "harmless",
            "the pickle may use it" if used else "not used where the model is served",
            ADVICE.format(name, trained) if used else "",
        )


def _must_agree(
    name: str, parts: int, trained: str | None, here: str | None, where: str
) -> Iterator[Difference]:
    if trained is None:
        yield Difference(
            name, "?", here, "refused", f"the manifest does not say which {name} trained the model",
            "package the model again with --environment requirements.txt",
        )  # fmt: skip
        return
    if here == trained:
        return
    if here is None:
        yield _missing(name, trained, where)
    elif here.split(".")[:parts] != trained.split(".")[:parts]:
        reason = (
            f"the model was trained with {name} {trained} and {where} has {here}, which "
            "may read its pickle wrongly"
        )
        fix = f"{ADVICE.format(name, trained)}, or train again with `make train`"
        yield Difference(name, trained, here, "refused", reason, fix)
    else:
        reason = "a pickle holds library internals, which patch releases rarely change"
        yield Difference(name, trained, here, "risky", reason, ADVICE.format(name, trained))


def _missing(name: str, trained: str, where: str) -> Difference:
    reason = f"the model needs {name} {trained}, and {where} does not have it"
    fix = f"add {name}=={trained} to requirements/serve-cpu.in and run `make lock`"
    return Difference(name, trained, None, "refused", reason, fix)


def _of_onnx(manifest: Manifest, installed: Mapping[str, str] | None) -> Iterator[Difference]:
    for name, trained in manifest.training.packages.items():
        if name == "onnxruntime":
            here = _version(name, installed) or _version("onnxruntime-gpu", installed)
            if here != trained:
                yield _of_runtime(trained, here)
            continue
        here = _version(name, installed)
        if here != trained:
            reason = "not used where the model is served"
            yield Difference(name, trained, here, "harmless", reason)


def _of_runtime(trained: str, here: str | None) -> Difference:
    older = here is None or _numbers(here) < _numbers(trained)
    return Difference(
        "onnxruntime",
        trained,
        here,
        "risky" if older else "harmless",
        "an older runtime may lack operators; the golden check decides"
        if older
        else "a newer runtime runs older files; the golden check decides",
        ADVICE.format("onnxruntime", trained) if older else "",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _version(name: str, installed: Mapping[str, str] | None) -> str | None:
    if installed is not None:
        return installed.get(name)
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
