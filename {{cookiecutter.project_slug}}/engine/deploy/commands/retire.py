"""After a rollout: remove what the release before left running, once no client needs it."""

from __future__ import annotations

from engine.deploy.commands.context import Context
from engine.errors import EngineError


def retire(context: Context) -> None:
    """Wait and remove; a failure is said and is none of the command: the next one does it.

    A signal ends it at once. Until then going back is one request, for what served is still there.
    """
    try:
        removed = context.target.retire()
    except EngineError as error:
        context.say.warning(
            f"what served before still runs, and bills: {error.cause}; the next `up`, `rollback` "
            "or `recover` removes it"
        )
        return
    for name in removed:
        context.say.step(f"removed {name}, which served before")
