"""Inference requests to answers: authorise, find the model, decode, schedule, encode, write."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from engine.serving.answer import JSON, Answer
from engine.serving.capture.sample import Capture
from engine.serving.errors import (
    DeadlineExceeded,
    InferenceFailed,
    MethodNotAllowed,
    NotFound,
    RequestError,
    UnsupportedMediaType,
    quoted,
)
from engine.serving.fault import fault_of
from engine.serving.http.answers import error_answer
from engine.serving.http.auth import KeyGuard
from engine.serving.http.bodies import Bodies
from engine.serving.http.remembering import Remembering
from engine.serving.http.routes import SCORING, Route
from engine.serving.inference.delivery import deliver
from engine.serving.inference.host import ModelHost, ServedModel, shutting_down
from engine.serving.inference.model import Model
from engine.serving.logs.requests import names_of
from engine.serving.request import Client, Encode, Request
from engine.serving.settings import Settings
from engine.serving.telemetry.requests import RequestTelemetry
from engine.serving.transports import oip, scoring, tutorial
from engine.serving.transports.oip_binary import BINARY, HEADER_LENGTH

log = logging.getLogger(__name__)

# Decoding what is larger takes longer than handing it to a thread does, and up to seconds where
# elements have to be looked at one by one. The event loop answers probes meanwhile.
LARGE_BODY: Final = 128 * 1024
CLIENT_GONE: Final = 499


class ArrivalCounter:
    """Counts requests by iteration of the event loop; the next one is likely to bring as many."""

    def __init__(self) -> None:
        self._now = 0
        self._last = 0

    def count(self) -> None:
        """A request came."""
        if self._now == 0:
            asyncio.get_running_loop().call_soon(self._end)
        self._now += 1

    def estimate(self) -> int:
        """Estimated number of requests handled in this event-loop iteration."""
        return max(self._now, self._last)

    def _end(self) -> None:
        self._last, self._now = self._now, 0


class Inference:
    """Answers inference requests. Whatever happens, each gets one answer and is counted once.

    Args:
        capture: takes a sample of them; None: nothing is captured.
    """

    def __init__(
        self,
        settings: Settings,
        host: ModelHost,
        telemetry: RequestTelemetry,
        bodies: Bodies,
        capture: Capture | None = None,
    ) -> None:
        self._host = host
        self._capture = capture
        self._samples = capture is not None or settings.feedback > 0
        self._telemetry = telemetry
        self._guard = KeyGuard(settings.api_keys)
        self._codecs: dict[Model, tuple[tutorial.Codec, oip.Codec, scoring.Codec]] = {}
        self._remembering: dict[ServedModel, Callable[[Encode], Encode]] = {}
        self._most = settings.max_queue_rows, settings.max_json_values
        self._max_answer = settings.max_answer_bytes
        self._timeout = settings.request_timeout_seconds
        self.arrivals = ArrivalCounter()
        self.bodies = bodies
        # One thread: decoding holds Python's lock, so more would not decode more, and the memory
        # of parsing is that of one body.
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="decode")
        # Bodies wait here and not in the executor, which would keep those of clients that left.
        self._decoding = asyncio.Lock()

    def close(self) -> None:
        """Release the decoding thread."""
        self._decoder.shutdown(wait=False, cancel_futures=True)

    def begin(self, target: Route, headers: Mapping[bytes, bytes], client: Client) -> Request:
        """A request whose head was read; it is answered, or given up with ``gone``."""
        request = self._telemetry.begin(target.kind, target.path, headers)
        request.target = target
        request.headers = headers
        request.client = client
        request.settle = self._settle
        return request

    def admit(self, request: Request) -> None:
        """Look at all that needs no body; the answer may come before the body does then."""
        try:
            if request.method != "POST":
                raise MethodNotAllowed(
                    f"{request.method} is not answered on {request.path}; use POST"
                )
            self._guard.check(request.headers)
            if request.fault is not None:
                raise request.fault
            self.bodies.check_length(request.headers.get(b"content-length"))
        except Exception as error:  # noqa: BLE001 - answered
            self.refuse(request, error)

    def answer(self, request: Request) -> None:
        """Answer an admitted request that is complete, now or later."""
        self.arrivals.count()
        body = bytes(request.body)
        self.bodies.release(request)
        try:
            _check_content(request.headers, request.target.form)
            served = self._served(request, body)
            if len(body) > LARGE_BODY:
                task = asyncio.ensure_future(self._answer_large(request, served, body))
                request.leave = partial(_cancel, task)
                return
            self._decode(request, served.model, body)
            if self._samples:
                self._sample(request, served)
            served.post(request)
        except Exception as error:  # noqa: BLE001 - answered
            deliver(request, error)

    def refuse(self, request: Request, error: Exception) -> None:
        """Answer a request with an error; the rest of its body is not read."""
        self.bodies.release(request)
        deliver(request, error)

    def gone(self, request: Request) -> None:
        """The client of a request went away before it was answered."""
        self.bodies.release(request)
        if not request.over:
            request.cancel()
            try:
                self._telemetry.end(request, CLIENT_GONE)
            except Exception:
                log.exception("request %s was not observed", request.request_id)

    def give_up(self, request: Request) -> None:
        """A stop does not wait for the request any longer."""
        self.refuse(request, shutting_down())

    async def _answer_large(self, request: Request, served: ServedModel, body: bytes) -> None:
        """Decode a large body on a thread of its own."""
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                await self._decoding.acquire()
                loop = asyncio.get_running_loop()
                try:
                    work = self._decoder.submit(self._decode, request, served.model, body)
                except RuntimeError:
                    self._decoding.release()
                    raise
                del body  # else it stays while the request waits
                # Also when the client has left: what runs cannot be stopped.
                work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._decoding.release))
                await asyncio.wrap_future(work)
            request.leave = None
            if not request.over:
                if self._samples:
                    self._sample(request, served)
                served.post(request)
        except Exception as error:  # noqa: BLE001 - answered
            late = isinstance(error, TimeoutError) and deadline.expired()
            deliver(request, self._not_decoded() if late else error)

    def _sample(self, request: Request, served: ServedModel) -> None:
        """Let what captures requests and remembers classes see the answer, where that is wanted."""
        if served.feedback is not None and request.encode is not None:
            around = self._remembering.get(served)
            if around is None:
                around = Remembering(served.model, served.feedback).around
                self._remembering[served] = around
            request.encode = around(request.encode)
        if self._capture is not None and self._capture.room > 0:
            self._capture.take(request, served.model)

    def _not_decoded(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"the body was not decoded within {self._timeout:g} s; try again later",
            rule="REQUEST_TIMEOUT_SECONDS",
            retry_after=1,
        )

    def _served(self, request: Request, body: bytes) -> ServedModel:
        """The model that is asked, if its queue has room."""
        target = request.target
        if target.fault is not None:
            raise NotFound(target.fault)
        served = self._host.get(target.name, target.version)
        model = served.model
        request.model, request.version = model.name, model.version
        served.refuse_if_full(None if HEADER_LENGTH in request.headers else body)
        return served

    def _decode(self, request: Request, model: Model, body: bytes) -> None:
        """Read the body; called on any thread."""
        codecs = self._codecs.get(model)
        if codecs is None:
            # Made anew where two threads come first: they are alike.
            most = *self._most, self._max_answer
            predict, infer = tutorial.Codec(model, *most), oip.Codec(model, *most)
            codecs = predict, infer, scoring.Codec(model, predict.encode, *self._most)
            self._codecs[model] = codecs
        place = 2 if request.target.form == SCORING else request.route == "infer"
        codecs[place].decode(request, body)
        request.decoded = time.perf_counter()

    def _settle(self, request: Request, outcome: Any) -> None:
        """Write the answer of a request; see ``Settle``."""
        answer = outcome if type(outcome) is tuple else failure(outcome, request)
        try:
            request.client.reply(request, answer)
        except RequestError as error:
            answer = failure(error, request)
            request.client.reply(request, answer)
        try:
            self._telemetry.end(request, answer[0])
        except Exception as error:  # noqa: BLE001 - the answer was written
            request.client.fail(error)


def failure(error: Exception, request: Request) -> Answer:
    """The answer for a request that failed; what nobody foresaw is logged."""
    if not isinstance(error, RequestError):
        incident = request.request_id
        error = InferenceFailed(
            f"unexpected error; the log has the cause under {incident}",
            incident=incident,
            fault=fault_of(error),
        )
    if isinstance(error, InferenceFailed) and error.fault is not None:
        cause = error.fault.text(with_messages=log.isEnabledFor(logging.DEBUG))
        fields = names_of(request) | {"model": request.model, "exception": cause}
        log.error(
            "a request failed with %s, id %s",
            error.fault.name,
            error.incident,
            extra={"fields": fields},
        )
    try:
        answer = error_answer(error)
    except Exception as unwritable:  # noqa: BLE001 - answered, and logged
        # Such as half of a surrogate pair, in a text of the model's own code.
        return failure(unwritable, request)
    # It remembers where it was raised, and there is the request: a circle for the collector.
    error.__traceback__ = error.__context__ = None
    request.error = error
    return answer


def _cancel(task: asyncio.Task[None], _: Request) -> None:
    task.cancel()


def _check_content(headers: Mapping[bytes, bytes], form: str) -> None:
    kind = headers.get(b"content-type", JSON[1])
    is_usual = kind == JSON[1] or (kind == BINARY and HEADER_LENGTH in headers)
    if is_usual and b"content-encoding" not in headers:
        return
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding != b"identity":
        raise UnsupportedMediaType(
            f"Content-Encoding {quoted(encoding.decode('latin-1'))} is not read; send the body as "
            "it is",
            field="Content-Encoding",
            rule="no content encoding",
        )
    # `curl -d` without a header says form-urlencoded: the refusal tells which header to send.
    kind = kind.split(b";")[0].strip().lower()
    accepted = (b"application/json", BINARY) if HEADER_LENGTH in headers else (b"application/json",)
    if kind not in accepted and not (form == SCORING and kind == scoring.CSV):
        raise UnsupportedMediaType(
            f"Content-Type is {quoted(kind.decode('latin-1'))}; send application/json",
            field="Content-Type",
            rule="application/json, or application/octet-stream with "
            "Inference-Header-Content-Length",
        )
