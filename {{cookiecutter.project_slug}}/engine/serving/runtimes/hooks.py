"""Code of the model's own around its run: ``model_code.py`` in a package.

The file may define either or both of

    def preprocess(inputs: Mapping[str, Array]) -> Mapping[str, Array]: ...
    def postprocess(outputs: Mapping[str, Array]) -> Mapping[str, Array]: ...

``preprocess`` gets the inputs as the manifest declares them, already checked, and gives those of
the model file; ``postprocess`` gets the model file's outputs and gives those of the manifest. Both
are called from several threads at once, with the rows of several requests together where the
manifest says ``batching: declared``. ``engine.serving.errors.InvalidInput``, raised in either, is
the client's fault and becomes a 422; anything else is the service's, a 500 whose id stands in the
log.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np

from engine.serving.errors import PackageError
from engine.serving.package.manifest import OutputTensor
from engine.serving.package.reader import Package
from engine.serving.reasons import reason_of
from engine.serving.runtimes.base import Runtime
from engine.serving.tensors.datatypes import NUMPY, Array, canonical

Hook = Callable[[Mapping[str, Array]], Mapping[str, Array]]
NAMES = ("preprocess", "postprocess")


class HookedRuntime:
    """A runtime between its package's hooks; see ``Runtime``."""

    def __init__(
        self,
        inner: Runtime,
        outputs: tuple[OutputTensor, ...],
        preprocess: Hook | None,
        postprocess: Hook | None,
    ) -> None:
        self._inner = inner
        self._outputs = outputs
        self._before = preprocess
        self._after = postprocess

    @property
    def provider(self) -> str:
        """The execution provider in use."""
        return self._inner.provider

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs; see ``Runtime``.

        Raises:
            InvalidInput: a hook says so.
            TypeError: a hook gives something else than it promised.
        """
        if self._before is not None:
            inputs = _named(self._before(inputs), "preprocess")
        given: Mapping[str, Array] = self._inner.run(inputs)
        if self._after is None:
            return dict(given)
        given = _named(self._after(given), "postprocess")
        return {each.name: self._output(each, given) for each in self._outputs}

    def _output(self, each: OutputTensor, given: Mapping[str, Array]) -> Array:
        if each.name not in given:
            raise TypeError(f"postprocess gave {sorted(given)}; {each.name!r} is missing")
        array = canonical(given[each.name])
        if array.dtype != NUMPY[each.datatype] or array.ndim != len(each.shape):
            raise TypeError(
                f"postprocess gave {each.name!r} as {array.dtype}{list(array.shape)}; the manifest "
                f"says {each.datatype}{list(each.shape)}"
            )
        return array


def _named(value: object, hook: str) -> dict[str, Array]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"{hook} gave {type(value).__name__}; it must give arrays by name")
    return {name: np.asarray(array) for name, array in value.items()}


def read_hooks(package: Package) -> tuple[Hook | None, Hook | None]:
    """Run the package's code file and find its hooks; (None, None) where there is no such file.

    The bytes are compared with the manifest once more, and exactly those bytes are run.

    Raises:
        PackageError: the file was changed, cannot be run, or defines neither hook.
    """
    name = package.manifest.code_file
    if name is None:
        return None, None
    path = package.directory / name
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != package.manifest.files[name].sha256:
        raise PackageError(f"{path}: changed while it was being loaded")
    return hooks_of(content, path, package.manifest.name)


def hooks_of(content: bytes, path: Path, name: str) -> tuple[Hook | None, Hook | None]:
    """Run the code of a file and find its hooks.

    Args:
        content: the code.
        path: where it stands, for messages and traces.
        name: the package's name.

    Raises:
        PackageError: it cannot be run, or defines neither hook.
    """
    module = _run(content, path, f"model_code_of_{name}")
    hooks = [getattr(module, each, None) for each in NAMES]
    if hooks == [None, None]:
        raise PackageError(f"{path}: defines neither preprocess nor postprocess")
    for each, hook in zip(NAMES, hooks, strict=True):
        if hook is not None and not callable(hook):
            raise PackageError(f"{path}: {each} is not a function")
    return hooks[0], hooks[1]


def _run(content: bytes, path: Path, name: str) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = str(path)
    # Dataclasses look their module up by name. The name is the package's, so that two packages can
    # each have a file of the same name.
    sys.modules[name] = module
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)  # noqa: S102 - verified bytes
    except Exception as error:  # noqa: BLE001 - running it can raise anything
        raise PackageError(
            f"{path}: cannot be run: {type(error).__name__}: {reason_of(error)}; correct it, and "
            "package the model again"
        ) from None
    return module
