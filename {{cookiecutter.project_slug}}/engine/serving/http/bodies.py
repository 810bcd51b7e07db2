"""The bytes of request bodies, bounded one by one and all together."""

from __future__ import annotations

from typing import Final, Protocol

from engine.serving.errors import BodyTooLarge, MalformedBody, Overloaded

MOST_DIGITS: Final = 18


class Holder(Protocol):
    """What keeps a body: its bytes, and how many of them are counted."""

    body: bytes | bytearray
    held: int


class Bodies:
    """The bytes of all bodies that were received and not decoded yet, which are bounded together.

    Args:
        limit: most bytes of one body.
        budget: most bytes of all.
    """

    def __init__(self, limit: int, budget: int) -> None:
        self._limit = limit
        self._budget = budget
        self.held = 0

    def check_length(self, declared: bytes | None) -> None:
        """Look at a ``Content-Length`` before anything of the body is read.

        Raises:
            MalformedBody: it is no number.
            BodyTooLarge: more than a body may have.
        """
        if declared is None:
            return
        # Python does not read numbers of any length.
        if not declared.isdigit() or len(declared) > MOST_DIGITS:
            raise MalformedBody(
                "Content-Length is not a number of bytes", rule=f"at most {MOST_DIGITS} digits"
            )
        if int(declared) > self._limit:
            raise self._too_large(int(declared))

    def add(self, holder: Holder, more: bytes) -> None:
        """Take in a piece of a body.

        Raises:
            BodyTooLarge: it has too many bytes.
            Overloaded: all bodies together have.
        """
        size = len(more)
        if holder.held + size > self._limit:
            raise self._too_large(holder.held + size)
        if self.held + size > self._budget and self.held > holder.held:
            raise Overloaded(
                f"bodies of other requests fill {self.held} of {self._budget} bytes; try again "
                "later",
                rule=f"at most {self._budget} bytes of bodies at a time (MAX_BODIES_BYTES)",
                retry_after=1,
                limit="bytes",
            )
        self.held += size
        holder.held += size
        if not holder.body:
            holder.body = more
        elif isinstance(holder.body, bytearray):
            holder.body += more
        else:
            holder.body = bytearray(holder.body) + more

    def release(self, holder: Holder) -> None:
        """The body is not kept any longer."""
        self.held -= holder.held
        holder.held = 0
        holder.body = b""

    def _too_large(self, size: int) -> BodyTooLarge:
        return BodyTooLarge(
            f"the body has {size} bytes or more; at most {self._limit} are read",
            rule=f"at most {self._limit} bytes (MAX_BODY_BYTES)",
        )
