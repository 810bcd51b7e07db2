"""The hooks of `service.py` around one request of one model."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np
from pydantic import BaseModel

from engine.serving.errors import InvalidInput, StartupError
from engine.serving.package.answers import Answers
from engine.serving.package.manifest import Manifest
from engine.serving.request import Arrays
from engine.serving.tensors.datatypes import NUMPY, Array, Datatype, canonical, datatype_of

log = logging.getLogger(__name__)

# What a name of an added output may be: it is written into JSON, metrics and documentation.
OUTPUT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,99}")


class Hooks(Protocol):
    """The hooks of `service.py`, as `engine.serving.extension.Extension` collects them."""

    @property
    def requests(self) -> Sequence[Callable[..., Any]]:
        """Called before the model computes."""
        ...

    @property
    def answers(self) -> Sequence[Callable[..., Any]]:
        """Called before the answer is sent."""
        ...

    @property
    def starts(self) -> Sequence[Callable[[], None]]:
        """Called once, after the models are checked."""
        ...

    @property
    def stops(self) -> Sequence[Callable[[], None]]:
        """Called when the process stops."""
        ...

    @property
    def own_settings(self) -> Sequence[BaseModel]:
        """What hooks may depend on."""
        ...

    @property
    def has_hooks(self) -> bool:
        """Whether requests or answers pass through hooks."""
        ...


class HookFailed(Exception):
    """A hook raised something else than a refusal, or returned what it must not. A 500."""


class ServiceHooks:
    """Calls the hooks, and checks what they return.

    Args:
        manifest: of the model before the hooks.
        answers: to the golden requests; None while these are answered. The outputs that hooks add
            to them come with every answer.
    """

    def __init__(
        self, extension: Hooks, manifest: Manifest, answers: Answers | None = None
    ) -> None:
        self._requests = extension.requests
        self._answers = extension.answers
        self._model = manifest.name
        self._signature = manifest.signature
        self._outputs = {each.name: each for each in manifest.outputs}
        self._added = (
            None
            if answers is None
            else {
                name: (datatype_of(array), array.shape[1:])
                for name, array in answers.outputs.items()
                if name not in self._outputs
            }
        )

    def before(self, inputs: Arrays) -> Arrays:
        """The inputs that the model gets.

        Raises:
            InvalidInput: a hook refuses the request.
            HookFailed: see there.
        """
        for hook in self._requests:
            changed = _call(hook, self._model, _read_only(inputs))
            if changed:
                inputs = self._checked_inputs(hook, inputs, changed)
        return inputs

    def after(self, inputs: Arrays, outputs: Arrays) -> dict[str, Array]:
        """The outputs that are sent.

        Raises:
            InvalidInput: a hook refuses the request.
            HookFailed: see there.
        """
        rows = self._rows(inputs)
        result = dict(outputs)
        for hook in self._answers:
            changed = _call(hook, self._model, _read_only(inputs), _read_only(result))
            for name, array in changed.items():
                result[name] = self._checked_output(hook, name, array, rows)
        missing = sorted(set(self._added or ()) - set(result))
        if missing:
            raise HookFailed(f"no hook added {missing}, which come with the golden answers")
        return result

    def _rows(self, inputs: Arrays) -> int | None:
        """Rows of the request; None where the model has no row dimension."""
        if not self._signature.batched:
            return None
        return int(inputs[self._signature.inputs[0].name].shape[0])

    def _checked_inputs(self, hook: Callable[..., Any], before: Arrays, changed: Arrays) -> Arrays:
        specs = {spec.name: spec for spec in self._signature.inputs}
        inputs = dict(before)
        for name, array in changed.items():
            if name not in specs:
                raise HookFailed(f"{_name(hook)} returned {name!r}, which is no input of the model")
            inputs[name] = _cast(hook, name, array, specs[name].datatype)
        try:
            self._signature.check(inputs)
        except InvalidInput as error:
            raise HookFailed(f"{_name(hook)} returned other inputs: {error.message}") from None
        if self._rows(inputs) != self._rows(before):
            raise HookFailed(f"{_name(hook)} changed the number of rows")
        return inputs

    def _checked_output(
        self, hook: Callable[..., Any], name: str, array: Array, rows: int | None
    ) -> Array:
        own = self._outputs.get(name)
        if own is not None:
            array = _cast(hook, name, array, own.datatype)
            right = array.ndim == len(own.shape)
        elif self._added is None:
            if not OUTPUT_NAME.fullmatch(name):
                raise HookFailed(
                    f"{_name(hook)} added an output with the name {name!r}; a name has up to 100 "
                    "letters, digits and _ . : / -, and begins with a letter or _"
                )
            right = True
        elif name in self._added:
            datatype, shape = self._added[name]
            array = _cast(hook, name, array, datatype)
            right = rows is None or array.shape[1:] == shape
        else:
            raise HookFailed(
                f"{_name(hook)} added {name!r}, which does not come with the golden answers; an "
                "output that is added comes with every answer"
            )
        if not right or (rows is not None and array.shape[:1] != (rows,)):
            raise HookFailed(
                f"{_name(hook)} returned {name!r} with the shape {list(array.shape)} for "
                f"{1 if rows is None else rows} rows; an output has one element or row for each "
                "row of the request, and the same other dimensions in every answer"
            )
        return array


def run_start_hooks(extension: Hooks) -> None:
    """Call them in their order.

    Raises:
        StartupError: one raised something. Its message is left out, as it may hold a password and
            the reason is shown by probes; it is the cause of this error.
    """
    for hook in extension.starts:
        try:
            hook()
        except BaseException as error:
            raise StartupError(f"{_name(hook)} failed with {type(error).__name__}") from error


def run_stop_hooks(extension: Hooks) -> None:
    """Call all of them; what one raises is logged."""
    for hook in extension.stops:
        try:
            hook()
        except BaseException:
            log.exception("%s failed at stop", _name(hook))


def _call(hook: Callable[..., Any], *arguments: Any) -> dict[str, Array]:
    """The arrays that a hook returns; none where it returns None."""
    try:
        changed = hook(*arguments)
    except InvalidInput:
        raise
    # Also what would end a thread or the event loop.
    except BaseException as error:
        raise HookFailed(f"{_name(hook)} failed with {type(error).__name__}") from error
    if changed is None:
        return {}
    if not isinstance(changed, Mapping):
        raise HookFailed(
            f"{_name(hook)} returned {type(changed).__name__}; return a dict of arrays, or None"
        )
    return {_text(hook, name): _array(hook, name, value) for name, value in changed.items()}


def _text(hook: Callable[..., Any], name: object) -> str:
    if not isinstance(name, str):
        raise HookFailed(f"{_name(hook)} returned an array with the name {name!r}; names are text")
    return name


def _array(hook: Callable[..., Any], name: object, value: Any) -> Array:
    try:
        array = canonical(np.asarray(value))
        datatype_of(array)
        if array.dtype.kind == "O" and not all(isinstance(each, str) for each in array.flat):
            raise TypeError("not all of them text")
    except Exception as error:
        raise HookFailed(
            f"{_name(hook)} returned {name!r} as {type(value).__name__}; an array of numbers, "
            "booleans or text of one shape can be sent"
        ) from error
    return array


def _cast(hook: Callable[..., Any], name: str, array: Array, datatype: Datatype) -> Array:
    """The same numbers in the datatype that is declared; whole numbers never from fractions."""
    wanted = NUMPY[datatype]
    if array.dtype == wanted:
        return array
    if wanted.kind == "O" or not np.can_cast(array.dtype, wanted, "same_kind"):
        raise HookFailed(
            f"{_name(hook)} returned {name!r} as {datatype_of(array)}; it is {datatype}"
        )
    return array.astype(wanted)


def _read_only(arrays: Arrays) -> Arrays:
    """Views that a hook cannot write into, in a mapping that it cannot write into either."""
    views: dict[str, Array] = {}
    for name, array in arrays.items():
        views[name] = view = array.view()
        view.flags.writeable = False
    return MappingProxyType(views)


def _name(hook: Callable[..., Any]) -> str:
    return f"service.py: {getattr(hook, '__name__', 'a hook')}"
