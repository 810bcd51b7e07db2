"""Long-running operations: the answer comes at once, the work goes on, the client polls."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .errors import ArmError

Work = Callable[[], Awaitable[None]]
_log = logging.getLogger(__name__)


@dataclass
class Operation:
    """One piece of work.

    Attributes:
        id: a GUID.
        status: ``InProgress``, ``Succeeded``, ``Failed`` or ``Canceled``.
        error: why it failed, in ARM's shape; None otherwise.
        task: the work itself.
    """

    id: str
    status: str
    error: dict[str, Any] | None
    task: asyncio.Task[None] | None = None

    def body(self, path: str) -> dict[str, Any]:
        """What a poll answers."""
        shown: dict[str, Any] = {"id": path, "name": self.id, "status": self.status}
        if self.error:
            shown["error"] = self.error
        return shown


class Operations:
    """All operations of the run."""

    def __init__(self) -> None:
        self._operations: dict[str, Operation] = {}

    def start(self, work: Work) -> Operation:
        """Run the work beside everything else. An `ArmError` from it fails the operation."""
        operation = Operation(str(uuid.uuid4()), "InProgress", None)
        operation.task = asyncio.create_task(self._run(operation, work))
        self._operations[operation.id] = operation
        return operation

    def require(self, identifier: str) -> Operation:
        """The operation.

        Raises:
            ArmError: 404, there is none with this id.
        """
        found = self._operations.get(identifier.lower())
        if found is None:
            raise ArmError(404, "OperationNotFound", f"The operation '{identifier}' was not found.")
        return found

    async def clear(self) -> None:
        """Cancel what runs, and forget all."""
        tasks = [each.task for each in self._operations.values() if each.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._operations.clear()

    async def _run(self, operation: Operation, work: Work) -> None:
        try:
            await work()
        except ArmError as error:
            operation.status, operation.error = "Failed", error.body()["error"]
        except asyncio.CancelledError:
            operation.status = "Canceled"
            raise
        except Exception as error:  # noqa: BLE001
            # A fault of the double itself must be seen by the test, not hang its client.
            _log.exception("operation %s", operation.id)
            operation.status = "Failed"
            operation.error = {"code": "DoubleBroken", "message": f"{error!r}"}
        else:
            operation.status = "Succeeded"
