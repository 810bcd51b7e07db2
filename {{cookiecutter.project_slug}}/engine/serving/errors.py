"""Every error a caller or an operator can meet, each with its HTTP status and a stable code.

Two families. A ``RequestError`` is answered to the client and never stops the service. A
``StartupError`` keeps the service from becoming ready, or from starting at all.
"""

from __future__ import annotations

from typing import ClassVar, Final

from engine.serving.fault import Fault

# Most characters of a client's own text that a message repeats, and of a whole message.
QUOTED_CHARACTERS = 100
MESSAGE_CHARACTERS = 2000
# What bounds the queue in front of a model.
LIMITS: Final = ("rows", "bytes", "seconds")


def quoted(text: str) -> str:
    """A client's text in quotation marks, for a message; cut where it is long."""
    if len(text) <= QUOTED_CHARACTERS:
        return repr(text)
    return f"{text[:QUOTED_CHARACTERS]!r}… ({len(text)} characters)"


class RequestError(Exception):
    """One request cannot be answered; the next one is not affected.

    Args:
        message: one sentence with the value and the way out, without a trailing stop.
        field: where in the request the fault is, for example ``data[3][1]``.
        rule: the rule that was broken.
        retry_after: whole seconds after which a retry makes sense.
        incident: id under which the log tells more.
    """

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        rule: str | None = None,
        retry_after: int | None = None,
        incident: str | None = None,
    ) -> None:
        if len(message) > MESSAGE_CHARACTERS:
            message = f"{message[:MESSAGE_CHARACTERS]}…"
        super().__init__(message)
        self.message = message
        self.incident = incident
        self.field = field
        self.rule = rule
        self.retry_after = retry_after

    def body(self) -> dict[str, str]:
        """The JSON answer. ``error`` is a string because the Open Inference Protocol says so."""
        answer = {"error": self.message, "code": self.code}
        if self.field is not None:
            answer["field"] = self.field
        if self.rule is not None:
            answer["rule"] = self.rule
        if self.incident is not None:
            answer["id"] = self.incident
        return answer


class MalformedBody(RequestError):
    """The body is not what its content type says."""

    code = "malformed_body"


class Unauthorized(RequestError):
    """No API key, or one that is not accepted."""

    status = 401
    code = "unauthorized"


class Forbidden(RequestError):
    """The request did not come the way that is trusted."""

    status = 403
    code = "forbidden"


class NotFound(RequestError):
    """No such route, model or version."""

    status = 404
    code = "not_found"


class MethodNotAllowed(RequestError):
    """The route exists, with another HTTP method.

    Args:
        allow: the methods that it has, for the header ``Allow``.
    """

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str = "POST") -> None:
        super().__init__(message)
        self.allow = allow


class BodyTooLarge(RequestError):
    """More bytes or more rows than one request, or its answer, may carry."""

    status = 413
    code = "too_large"


class HeadTooLarge(RequestError):
    """More bytes around the body, or more headers, than one request may carry."""

    status = 431
    code = "head_too_large"


class UnsupportedMediaType(RequestError):
    """A content type, or a content encoding, that is not read here."""

    status = 415
    code = "unsupported_media_type"


class InvalidInput(RequestError):
    """Readable, but it breaks the model's signature."""

    status = 422
    code = "invalid_input"


class RequestTimeout(RequestError):
    """The client took too long to send its body."""

    status = 408
    code = "request_timeout"


class Overloaded(RequestError):
    """There is no room for the request; nothing was computed.

    Args:
        limit: which of the queue's limits was met, one of ``LIMITS``; "" for another one.
    """

    status = 429
    code = "overloaded"

    def __init__(
        self, message: str, *, rule: str, retry_after: int | None = None, limit: str = ""
    ) -> None:
        super().__init__(message, rule=rule, retry_after=retry_after)
        self.limit = limit


class DeadlineExceeded(RequestError):
    """The request waited past its deadline; nothing was computed."""

    status = 503
    code = "deadline_exceeded"


class NotReady(RequestError):
    """The service is starting, failed or draining."""

    status = 503
    code = "not_ready"


class InferenceFailed(RequestError):
    """The runtime refused a request that fits the signature; details are in the log only.

    Args:
        fault: what the log says.
    """

    status = 500
    code = "inference_failed"

    def __init__(
        self, message: str, *, incident: str | None = None, fault: Fault | None = None
    ) -> None:
        super().__init__(message, incident=incident)
        self.fault = fault


class RouteFailed(RequestError):
    """A route that is not inference raised an exception; details are in the log only."""

    status = 500
    code = "route_failed"


class StartupError(Exception):
    """Something that an operator has to correct before the service can answer."""


class SettingsError(StartupError):
    """Environment variables that break their rules; one line for each fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class PackageError(StartupError):
    """A model package that must not be served: missing, altered, drifted or answering wrongly."""


class ProviderError(StartupError):
    """The execution provider that was asked for cannot be used on this machine."""
