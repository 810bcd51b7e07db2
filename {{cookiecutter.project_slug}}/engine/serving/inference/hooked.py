"""A model behind the hooks of `service.py`, which run on threads under the request's deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from engine.serving.errors import DeadlineExceeded, Overloaded
from engine.serving.inference.arrays import arrays_of, size_of
from engine.serving.inference.batcher import Batcher
from engine.serving.inference.delivery import deliver
from engine.serving.inference.host import ServedModel, shutting_down
from engine.serving.inference.model import Model
from engine.serving.inference.queue import Limits
from engine.serving.inference.service_hooks import ServiceHooks
from engine.serving.package.answers import Answers
from engine.serving.request import Arrays, Request
from engine.serving.tensors.datatypes import Array

T = TypeVar("T")

# Hooks of one model that run at the same time, in a process.
THREADS = 8


class HookThreads:
    """Runs hooks off the event loop.

    Args:
        stuck_seconds: when every thread has been busy with one call for so long, the process
            cannot answer any more.
        on_stuck: called with the reason then, and with None when a thread is free again.
    """

    def __init__(self, stuck_seconds: float, on_stuck: Callable[[str | None], None]) -> None:
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="hooks")
        # Requests wait here and not in the executor, which would keep those of clients that left.
        self._free = asyncio.Semaphore(THREADS)
        self._begun: dict[Future[Any], float] = {}
        self._stuck_seconds = stuck_seconds
        self._on_stuck = on_stuck
        self._stuck = False

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work``. It goes on when the caller is cancelled; its thread is busy."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        try:
            future = self._executor.submit(work)
        except RuntimeError:
            self._free.release()
            raise
        self._begun[future] = time.monotonic()
        future.add_done_callback(partial(self._ended, loop))
        return await asyncio.wrap_future(future)

    def look(self) -> None:
        """Say so if no thread ends its call."""
        latest = time.monotonic() - self._stuck_seconds
        if len(self._begun) == THREADS and all(begun < latest for begun in self._begun.values()):
            self._stuck = True
            self._on_stuck(f"the hooks of service.py have not ended for {self._stuck_seconds:g} s")

    def close(self) -> None:
        """Release the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _ended(self, loop: asyncio.AbstractEventLoop, future: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(self._release, future)

    def _release(self, future: Future[Any]) -> None:
        del self._begun[future]
        self._free.release()
        if self._stuck:
            self._stuck = False
            self._on_stuck(None)


class HookedModel(ServedModel):
    """See ``ServedModel``. Its requests and answers pass through hooks, one request at a time.

    Args:
        answers: to the golden requests, after the hooks.
    """

    def __init__(
        self,
        model: Model,
        batcher: Batcher,
        timeout: float,
        hooks: ServiceHooks,
        answers: Answers,
        limits: Limits,
        on_stuck: Callable[[str | None], None],
    ) -> None:
        super().__init__(model, batcher, timeout)
        self.answers = answers
        self._hooks = hooks
        self._limits = limits
        self._threads = HookThreads(limits.stuck_seconds, on_stuck)
        # Of the requests between their arrival and their answer.
        self._rows = self._bytes = 0
        self._tasks: dict[asyncio.Task[None], Request] = {}

    def post(self, request: Request) -> None:
        """See ``ServedModel``; it is answered later in any case.

        Raises:
            RequestError: the inputs break the signature, or there is no room for them.
        """
        request.rows = self._check(request.inputs)
        spec = self.model.signature.inputs[0]
        request.size = size_of(request.inputs, spec)
        self._admit(request.rows, request.size)
        self._rows += request.rows
        self._bytes += request.size
        inputs, request.inputs = arrays_of(request.inputs, spec), {}
        task = asyncio.ensure_future(self._deliver(request, inputs))
        self._tasks[task] = request
        request.leave = partial(_cancel, task)
        task.add_done_callback(self._leave)

    def give_up(self) -> None:
        """See ``ServedModel``."""
        for task, request in tuple(self._tasks.items()):
            deliver(request, shutting_down())
            task.cancel()

    def close(self) -> None:
        """Release the threads of the hooks as well."""
        super().close()
        self._threads.close()

    def _admit(self, rows: int, size: int) -> None:
        limits = self._limits
        if self._rows and self._rows + rows > limits.queue_rows:
            raise Overloaded(
                f"{self._rows} of {limits.queue_rows} rows are in work; try again later",
                rule=f"at most {limits.queue_rows} rows waiting (MAX_QUEUE_ROWS)",
                retry_after=1,
                limit="rows",
            )
        if self._bytes and self._bytes + size > limits.queue_bytes:
            raise Overloaded(
                f"{self._bytes} of {limits.queue_bytes} bytes are in work; try again later",
                rule=f"at most {limits.queue_bytes} bytes waiting (MAX_QUEUE_BYTES)",
                retry_after=1,
                limit="bytes",
            )

    def _leave(self, task: asyncio.Task[None]) -> None:
        request = self._tasks.pop(task)
        request.leave = None
        self._rows -= request.rows
        self._bytes -= request.size

    async def _deliver(self, request: Request, inputs: Arrays) -> None:
        try:
            outcome = await self._within(request, inputs)
        except Exception as error:  # noqa: BLE001 - answered
            outcome = error
        deliver(request, outcome)

    async def _within(self, request: Request, inputs: Arrays) -> Any:
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                return await self._answer(request, inputs)
        except TimeoutError:
            if not deadline.expired():
                raise
            self._threads.look()
            raise DeadlineExceeded(
                f"the request was not answered within {self._timeout:g} s; try again later",
                rule="REQUEST_TIMEOUT_SECONDS",
                retry_after=1,
            ) from None

    async def _answer(self, request: Request, inputs: Arrays) -> Any:
        given = await self._threads.run(partial(self._hooks.before, inputs))
        outputs = await self._outputs(request, given)

        def finish() -> Any:
            after = self._hooks.after(given, outputs)
            return after if request.encode is None else request.encode(after, [request])[0]

        return await self._threads.run(finish)

    async def _outputs(self, request: Request, given: Arrays) -> dict[str, Array]:
        """The outputs of the model."""
        future: asyncio.Future[dict[str, Array]] = asyncio.get_running_loop().create_future()

        def settle(_: Request, outcome: Any) -> None:
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        inner = request.part(given, request.rows, None, settle)
        try:
            super().post(inner)
            return await future
        finally:
            inner.cancel()


def _cancel(task: asyncio.Task[None], _: Request) -> None:
    task.cancel()
