"""Code of the model's own around its run: ``model_code.py`` in a package.

The file may define either or both of

    def preprocess(inputs: Mapping[str, Array]) -> Mapping[str, Array]: ...
    def postprocess(outputs: Mapping[str, Array]) -> Mapping[str, Array]: ...

``preprocess`` gets the inputs as the manifest declares them, already checked, and gives those of
the model file; ``postprocess`` gets the model file's outputs and gives those of the manifest. One
with a second parameter gets there what the model file was called with. Both are called from several
threads at once, with the rows of several requests together where the manifest says ``batching:
declared``. ``engine.serving.errors.InvalidInput``, raised in either, is the client's fault and
becomes a 422; anything else is the service's, a 500 whose id is in the log.
"""

from __future__ import annotations

import hashlib
import inspect
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
from engine.serving.runtimes.own_files import readable
from engine.serving.tensors.datatypes import NUMPY, Array, canonical

Hook = Callable[[Mapping[str, Array]], Mapping[str, Array]]
AfterHook = Callable[[Mapping[str, Array], Mapping[str, Array]], Mapping[str, Array]]
Hooks = tuple[Hook | None, AfterHook | None]
NAMES = ("preprocess", "postprocess")


def run_between(hooks: Hooks, run: Hook, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What the hooks and a run between them give, by name.

    Raises:
        InvalidInput: a hook says so.
        TypeError: a hook gives something else than arrays by name.
    """
    before, after = hooks
    if before is not None:
        inputs = _named(before(inputs), "preprocess")
    given = dict(run(inputs))
    return given if after is None else _named(after(given, inputs), "postprocess")


class HookedRuntime:
    """A runtime between its package's hooks; see ``Runtime``."""

    def __init__(self, inner: Runtime, outputs: tuple[OutputTensor, ...], hooks: Hooks) -> None:
        self._inner = inner
        self._outputs = outputs
        self._hooks = hooks

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
        given = run_between(self._hooks, self._inner.run, inputs)
        if self._hooks[1] is None:
            return given
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


def read_hooks(package: Package, name: str) -> Hooks:
    """Run the package's code file and find its hooks.

    The bytes are compared with the manifest once more, and exactly those bytes are run.

    Raises:
        PackageError: the file was changed, cannot be run, or defines neither hook.
    """
    path = package.directory / name
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != package.manifest.files[name].sha256:
        raise PackageError(f"{path}: changed while it was being loaded")
    files = {each: package.directory / each for each in package.manifest.files}
    return hooks_of(content, path, package.manifest.name, files)


def hooks_of(content: bytes, path: Path, name: str, files: Mapping[str, Path]) -> Hooks:
    """Run the code of a file and find its hooks.

    Args:
        content: the code.
        path: where it is, for messages and traces.
        name: the package's name.
        files: what ``package_file`` finds, by name.

    Raises:
        PackageError: it cannot be run, or defines neither hook.
    """
    with readable(files):
        module = _run(content, path, f"model_code_of_{name}")
    hooks = [getattr(module, each, None) for each in NAMES]
    if hooks == [None, None]:
        raise PackageError(f"{path}: defines neither preprocess nor postprocess")
    for each, hook in zip(NAMES, hooks, strict=True):
        if hook is not None and not callable(hook):
            raise PackageError(f"{path}: {each} is not a function")
    return hooks[0], _with_inputs(hooks[1])


def _with_inputs(hook: Callable[..., Mapping[str, Array]] | None) -> AfterHook | None:
    """A postprocess that is called with the inputs too, and may have no parameter for them."""
    if hook is None:
        return None
    parameters = inspect.signature(hook).parameters.values()
    required = [each for each in parameters if each.default is each.empty]
    return hook if len(required) > 1 else lambda outputs, _: hook(outputs)


def _run(content: bytes, path: Path, name: str) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = str(path)
    # Dataclasses look their module up by name. The name is the package's, so that two packages can
    # each have a file of the same name.
    sys.modules[name] = module
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)  # noqa: S102 - verified bytes
    except PackageError as error:  # of package_file
        raise PackageError(f"{path}: {error}") from None
    except Exception as error:  # noqa: BLE001 - running it can raise anything
        raise PackageError(
            f"{path}: cannot be run: {type(error).__name__}: {reason_of(error)}; correct it, and "
            "package the model again"
        ) from None
    return module
