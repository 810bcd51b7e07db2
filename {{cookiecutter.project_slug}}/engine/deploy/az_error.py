"""From what `az` prints on stderr to an error with a code, a status and a way out.

`az` writes the errors of Azure in three shapes: ``(Code) message`` where a client library made the
request, ``Reason({"error": {...}})`` where `az rest` made it, and free text where `az` itself
refuses or the connection failed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from engine.deploy.processes import TIMED_OUT as KILLED
from engine.errors import EngineError, NoAccess

TIMED_OUT = "TimedOut"
TRANSITIONING = "ContainerGroupTransitioning"
NOT_FOUND = frozenset(
    {"ResourceNotFound", "ResourceGroupNotFound", "NotFound", "ParentResourceNotFound"}
)

_STATUS_OF_CODE = {
    **dict.fromkeys(NOT_FOUND, 404),
    "DeploymentNotFound": 404,
    "AuthorizationFailed": 403,
    "LinkedAuthorizationFailed": 403,
    "Forbidden": 403,
    "InvalidAuthenticationToken": 401,
    "ExpiredAuthenticationToken": 401,
    TRANSITIONING: 409,
    "Conflict": 409,
    "TooManyRequests": 429,
    "SubscriptionRequestsThrottled": 429,
    "ResourceCollectionRequestsThrottled": 429,
    "InternalServerError": 500,
    "BadGateway": 502,
    "GatewayTimeout": 504,
}
_CONNECTION = re.compile(
    r"connection (aborted|reset|refused|broken)|max retries exceeded|remotedisconnected"
    r"|failed to establish a new connection|read timed out|connection error|incompleteread"
    r"|name or service not known|temporary failure in name resolution|eof occurred",
    re.IGNORECASE,
)
_NOT_LOGGED_IN = re.compile(
    r"run:? *'?az login|az logout\naz login|interactive authentication is needed"
    r"|AADSTS(70043|700082|50173|700084|500133)\b|no subscription found"
)
# A container registry answers these, and az passes its words on without the status. "could not be
# found" is not among them: so Azure itself speaks of a registry that is not there.
_NOT_IN_REGISTRY = re.compile(
    r"not found|does not exist|(manifest|repository|tag).{0,80}unknown|name not known",
    re.IGNORECASE | re.DOTALL,
)
# Words of a 409 that ends by itself. Azure uses the status for refusals that do not, too.
_TRANSITIONING = re.compile(
    r"\btransition|\bbeing (creat|updat|delet|provision)ed"
    r"|\bis (still |currently )?(creat|updat|delet|provision)ing"
    r"|another operation|operation (is )?in progress|(retry|try again) later",
    re.IGNORECASE,
)
_UNAUTHORIZED = re.compile(r"unauthori[sz]ed|denied|authentication required", re.IGNORECASE)
_PHRASES = {status.phrase.lower(): status.value for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Problem:
    """What a failed command printed, taken apart. ``status`` is HTTP's, where one is known."""

    code: str
    status: int | None
    message: str
    not_logged_in: bool = False
    connection: bool = False


class AzError(EngineError):
    """A command of `az` failed. ``command`` is its command line without any secret."""

    def __init__(self, problem: Problem, command: str) -> None:
        super().__init__(f"`{command}` failed: {_one_line(problem)}", _fix(problem))
        self.code = problem.code
        self.status = problem.status
        self.message = problem.message
        self.command = command
        self.connection = problem.connection

    @property
    def login_expired(self) -> bool:
        """GitHub's token for the job, which `az` presents for another one, is too old."""
        return "AADSTS700024" in self.message

    @property
    def missing(self) -> bool:
        """Azure does not have what was asked for."""
        return self.status == 404

    @property
    def not_in_registry(self) -> bool:
        """The registry was asked, and has no such repository, tag or digest."""
        refused = _UNAUTHORIZED.search(self.message)
        return refused is None and _NOT_IN_REGISTRY.search(self.message) is not None

    @property
    def transitioning(self) -> bool:
        """Azure is still busy with an earlier change of the same container group."""
        if self.code.startswith("ContainerApp"):
            return False  # waited for by engine.deploy.targets.containerapps.client
        conflict = self.status in (409, None) and not self.connection
        return self.code == TRANSITIONING or (
            conflict and _TRANSITIONING.search(self.message) is not None
        )

    @property
    def refused(self) -> bool:
        """Azure understood the request and does not do it, however often it is asked."""
        final = self.status is not None and 400 <= self.status < 500
        return final and self.status not in (401, 404, 408, 409, 429)

    @property
    def forbidden(self) -> bool:
        """The login lacks a role, or has one that does not hold everywhere yet."""
        return self.status == 403

    @property
    def transient(self) -> bool:
        """The same request may well succeed in a moment."""
        return self.connection or (
            self.status is not None and (self.status == 429 or self.status >= 500)
        )


class NotLoggedIn(AzError, NoAccess):
    """A command of `az` failed because nobody is logged in, or the login has ended."""


def read_problem(stderr: str, exit_code: int) -> Problem:
    """Take apart what `az` printed before it exited with ``exit_code``."""
    text = _without_noise(stderr)
    if _NOT_LOGGED_IN.search(text):
        return Problem("NotLoggedIn", 401, text, not_logged_in=True)
    if exit_code == KILLED:
        return Problem(TIMED_OUT, None, text)
    if found := _library_error(text) or _rest_error(text):
        return found
    if _CONNECTION.search(text):
        return Problem("ConnectionFailed", None, text, connection=True)
    status = 404 if exit_code == 3 else _status_in_words(text)
    return Problem(f"Exit{exit_code}", status, text or f"exit code {exit_code}, no message")


def _without_noise(stderr: str) -> str:
    lines = [line for line in stderr.strip().splitlines() if not line.startswith("WARNING: ")]
    text = "\n".join(lines).removeprefix("ERROR: ")
    # az adds examples of the command and links after its own refusals.
    return re.split(r"\n\s*\nExamples from |\nhttps://aka\.ms/", text)[0].strip()


def _library_error(text: str) -> Problem | None:
    found = re.match(r"\(([A-Za-z][\w.]*)\) (.*)", text, re.DOTALL)
    if found is None:
        return None
    code, message = found.groups()
    # The client library repeats code and message on lines of their own.
    message = re.split(r"\nCode: ", message)[0].strip()
    return Problem(code, _STATUS_OF_CODE.get(code), message)


def _rest_error(text: str) -> Problem | None:
    found = re.match(r"([A-Za-z][A-Za-z '-]*)\((.*)\)\s*$", text, re.DOTALL)
    if found is None or found.group(1).lower() not in _PHRASES:
        return None
    reason, body = found.groups()
    code, message = _code_and_message(body)
    return Problem(code or reason.replace(" ", ""), _PHRASES[reason.lower()], message)


def _code_and_message(body: str) -> tuple[str | None, str]:
    try:
        content: Any = json.loads(body)
    except ValueError:
        return None, body
    error = content.get("error", content) if isinstance(content, dict) else None
    if not isinstance(error, dict):
        return None, body
    code, message = error.get("code"), error.get("message")
    return (str(code) if code else None), str(message or body)


def _status_in_words(text: str) -> int | None:
    found = re.search(r"invalid status '([^']+)'", text)
    return _PHRASES.get(found.group(1).lower()) if found else None


def _one_line(problem: Problem) -> str:
    named = "" if problem.code.startswith("Exit") else f"{problem.code}: "
    return named + " ".join(problem.message.split())


def _fix(problem: Problem) -> str:
    if problem.not_logged_in:
        return "run `az login`; in a workflow: azure/login before this step"
    if problem.connection or problem.code == TIMED_OUT:
        return "check the network and the proxy, then run the same command again"
    if problem.code == TRANSITIONING:
        return "Azure is still busy with an earlier change: wait some minutes and run this again"
    if problem.code == "LinkedAuthorizationFailed":
        return (
            "give the deploy identity the role Managed Identity Operator on the runtime identity: "
            "`.venv/bin/python -m engine.deploy bootstrap`"
        )
    if problem.status == 403:
        return (
            "the role is missing (roles take minutes to work): `.venv/bin/python -m engine.deploy "
            "bootstrap`"
        )
    if problem.status == 429:
        return "Azure limits requests per hour; wait some minutes and run the same command again"
    if problem.status is not None and problem.status >= 500:
        return "Azure had a fault of its own; run the same command again, see status.azure.com"
    return "the message is Azure's; `--verbose` shows each command"
