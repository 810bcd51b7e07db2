"""Searches for the values at which a model failed, on a thread of their own beside its runs.

A search repeats the run many times. In a lane it would let the requests of others wait.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from engine.serving.errors import InferenceFailed, InvalidInput, Overloaded
from engine.serving.inference.arrays import arrays_of
from engine.serving.inference.delivery import deliver
from engine.serving.inference.model import Model
from engine.serving.request import Request

# Requests whose values are searched, or wait for that.
MOST: Final = 4
# What a part of a request gets while another one's value is searched: no answer of its own.
INCOMPLETE: Final = object()


class Searches:
    """The searches of one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._requests: list[Request] = []

    @property
    def requests(self) -> Iterable[Request]:
        """Those that wait for their answer."""
        return tuple(self._requests)

    def may_find(self, error: BaseException) -> bool:
        """Whether a value may be the reason of an error that the model raised."""
        return self._model.failed_at_a_value(error)

    def begin(self, request: Request, failure: InferenceFailed) -> None:
        """Answer a request at which the model failed, once the search ended.

        Args:
            failure: the answer where no value alone is the reason.
        """
        whole = request.whole
        if whole is not None and any(each.whole is whole for each in self._requests):
            deliver(request, INCOMPLETE)
            return
        if len(self._requests) >= MOST:
            busy = Overloaded(
                f"the model failed on this request, and the values of {MOST} others are looked at "
                "already; try again later",
                rule=f"at most {MOST} failed requests at a time",
                retry_after=1,
            )
            deliver(request, busy)
            return
        loop = asyncio.get_running_loop()
        try:
            done = loop.run_in_executor(self._thread, self._search, request)
        except RuntimeError:  # no thread can be started, or the executor was shut down
            deliver(request, failure)
            return
        self._requests.append(request)
        done.add_done_callback(partial(self._ended, request, failure))

    def close(self) -> None:
        """Release the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _search(self, request: Request) -> InvalidInput | None:
        if request.over:
            return None
        parts = (request.whole and request.whole.parts) or ()
        before = itertools.takewhile(lambda part: part is not request, parts)
        inputs = arrays_of(request.inputs, self._model.signature.inputs[0])
        return self._model.refusal(inputs, sum(part.rows for part in before))

    def _ended(
        self,
        request: Request,
        failure: InferenceFailed,
        done: asyncio.Future[InvalidInput | None],
    ) -> None:
        self._requests.remove(request)
        found = None if done.cancelled() or done.exception() else done.result()
        deliver(request, found or failure)
