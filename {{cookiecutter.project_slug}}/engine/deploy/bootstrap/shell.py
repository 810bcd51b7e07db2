"""Commands as a person would type them: quoted, asking for the ids that are not known yet."""

from __future__ import annotations

import shlex

from engine.deploy.bootstrap.expect import Known, resolved
from engine.deploy.bootstrap.step import Argument, Command, Output, Step

_SAFE_IN_QUOTES = str.maketrans({"\\": "\\\\", '"': '\\"', "$": "\\$", "`": "\\`"})


def typed(command: Command, known: Known, steps: dict[str, Step]) -> str:
    """One line for a shell. An id that does not exist yet becomes the command that asks for it.

    Args:
        steps: by key, for the look of the step that an id comes from.
    """
    parts = (_typed(each, known, steps) for each in command.arguments)
    line = " ".join([command.program, *parts])
    return line if command.body is None else f"echo {shlex.quote(command.body)} | {line}"


def _typed(argument: Argument, known: Known, steps: dict[str, Step]) -> str:
    text = resolved(argument, known)
    if text is not None:
        return shlex.quote(text)
    assert isinstance(argument, Output)  # noqa: S101 - a text is always known
    step = steps[argument.step]
    query = _query(step, argument.path, known)
    look = typed(step.look, known, steps)
    return f'"{argument.prefix.translate(_SAFE_IN_QUOTES)}$({look} --query {query} --output tsv)"'


def _query(step: Step, path: str, known: Known) -> str:
    """JMESPath to the value; a list is searched by the first condition, which is a plain text."""
    if step.among is None:
        return path
    name, value = next(iter(step.among.where.items()))
    at = step.among.path
    return shlex.quote(f"{at}[?{name}=='{resolved(value, known)}'] | [0].{path}")
