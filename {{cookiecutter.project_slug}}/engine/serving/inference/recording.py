"""Answer the golden requests through the hooks of `service.py`, when the image is built or starts.

The answers recorded in the image are compared over the network where the service runs as it was
built: the same `service.py`, settings and device. With others it answers the golden requests
itself when it starts, and those answers count.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

from engine.serving.errors import InvalidInput, PackageError, StartupError
from engine.serving.inference.model import Model
from engine.serving.inference.service_hooks import HookFailed, Hooks, ServiceHooks
from engine.serving.package.answers import Answers, joined, read_answers, written
from engine.serving.package.digest import SERVICE_FILE, text_sha256
from engine.serving.package.golden import compare
from engine.serving.tensors.datatypes import Array

log = logging.getLogger(__name__)

RECORDED = SERVICE_FILE.with_name("answers")


def record(model: Model, extension: Hooks, answers: Answers, folder: Path = RECORDED) -> None:
    """Write the answers into the image, for the service that starts there."""
    folder.mkdir(exist_ok=True)
    (folder / _file(model, extension)).write_bytes(written(answers))


def recorded(model: Model, extension: Hooks, folder: Path = RECORDED) -> Answers:
    """The answers recorded in the image, or new ones where it runs in another way.

    Raises:
        StartupError: a hook fails on a golden request.
    """
    path = folder / _file(model, extension)
    if path.exists():
        return read_answers(path.read_bytes())
    if folder.exists():
        log.info("%s: settings or device are not those of the build; golden requests are answered "
                 "again", model.name)  # fmt: skip
    return answer_golden_requests(model, ServiceHooks(extension, model.manifest))


def unsteady(model: Model, extension: Hooks, answers: Answers) -> str:
    """What of the answers is another the second time, for a message; empty if nothing is.

    Raises:
        StartupError: a hook fails on a golden request.
    """
    again = answer_golden_requests(model, ServiceHooks(extension, model.manifest))
    if again.refusals != answers.refusals:
        return "refusals"
    for output in answers.manifest(model.manifest).outputs if answers.outputs else ():
        try:
            compare((output,), answers.outputs, again.outputs)
        except PackageError:
            return f"output {output.name!r}"
    return ""


def answer_golden_requests(model: Model, hooks: ServiceHooks) -> Answers:
    """The answer to each golden request after the hooks.

    Raises:
        StartupError: a hook fails on one, or the model does on what a hook makes of it.
    """
    refusals: list[str] = []
    parts: list[dict[str, Array]] = []
    for number, inputs in enumerate(_requests(model)):
        try:
            given = hooks.before(inputs)
            parts.append(hooks.after(given, model.run(given)))
            refusals.append("")
            if {name: _kind(array) for name, array in parts[0].items()} != {
                name: _kind(array) for name, array in parts[-1].items()
            }:
                first, last = parts[0], parts[-1]
                names = sorted(
                    name
                    for name in first.keys() | last.keys()
                    if (name in first) != (name in last) or _kind(first[name]) != _kind(last[name])
                )
                raise HookFailed(
                    f"service.py: {names} differ in presence, type or shape from the first answer; "
                    "an output that is added comes with every answer, alike"
                )
        except InvalidInput as error:
            refusals.append(error.message)
        except Exception as error:  # noqa: BLE001 - it becomes the reason
            # Messages of others are left out: they may hold a password, and probes show the reason.
            told = str(error) if isinstance(error, HookFailed) else type(error).__name__
            raise StartupError(f"golden request {number} of model {model.name!r}: {told}") from (
                error.__cause__ or error
            )
    return Answers(tuple(refusals), joined(parts))


def _requests(model: Model) -> Iterator[dict[str, Array]]:
    inputs = model.package.golden.inputs
    if not model.signature.batched:
        yield inputs
        return
    for row in range(len(next(iter(inputs.values())))):
        yield {name: array[row : row + 1] for name, array in inputs.items()}


def _kind(array: Array) -> tuple[str, tuple[int, ...]]:
    return array.dtype.str, array.shape[1:]


def _file(model: Model, extension: Hooks) -> str:
    """A name that another model, `service.py`, setting or device changes."""
    settings = [repr(each.model_dump()) for each in extension.own_settings]
    code = text_sha256(SERVICE_FILE) if SERVICE_FILE.exists() else ""
    parts = [model.package.digest, code, model.provider, *settings]
    return f"{model.name}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}.npz"
