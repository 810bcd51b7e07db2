"""What is kept of an exception for the log: where it happened, without holding on to anything.

A traceback holds the frames, and so the inputs of the request. And an exception's message may
quote them: ``could not convert string to float: 'Smith'``. So the message is kept apart, and shown
only where somebody asked to see such things.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass

UNREADABLE = "(its message cannot be read)"
WITHHELD = "(message left out, it may quote the request; LOG_LEVEL=debug shows it)"
FRAMES = 20
CAUSES = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """An exception's class, message, frames, and the fault that it came from."""

    name: str
    message: str
    frames: traceback.StackSummary
    cause: Fault | None

    def text(self, *, with_messages: bool = False) -> str:
        """It and its causes as Python prints them, the first one first."""
        message = self.message if with_messages else WITHHELD
        own = f"Traceback (most recent call last):\n{''.join(self.frames.format())}"
        own += f"{self.name}: {message}"
        if self.cause is None:
            return own
        return f"{self.cause.text(with_messages=with_messages)}\n\n{own}"


def fault_of(error: BaseException, causes: int = CAUSES) -> Fault:
    """What the log needs of an exception, and of at most so many that led to it."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)
    # Source lines are looked up when the text is made, which is not for every fault.
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(error.__traceback__), limit=-FRAMES, lookup_lines=False
    )
    cause = None if before is None or causes == 0 else fault_of(before, causes - 1)
    return Fault(name, _message(error), frames, cause)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a class of the model's own may have a faulty __str__
        return UNREADABLE


def _full_name(kind: type[BaseException]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
