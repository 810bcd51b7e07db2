"""Azure Resource Manager: what every call passes before its provider sees it."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from ..habits import HABITS, dressed
from ..requestlog import Entry
from ..settings import LOGIN_HOST, MANAGEMENT_HOST
from ..wire import DropConnection, Request, Response, json_response
from .access import Principal
from .admission import Admission, check_version
from .azure import Azure, Provider
from .call import Answer, Call
from .errors import ArmError, not_modelled
from .routes import Route

AUDIENCE = f"https://{MANAGEMENT_HOST}"
_OPERATION = re.compile(
    r"/subscriptions/[^/]+/providers/[^/]+/locations/[^/]+/operationStatuses/([^/]+)", re.I
)
_UNQUOTED_TEMPLATE = re.compile(r"(?<=[,{])\s*template:")
_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', re.S)


class ArmApp:
    """The handler for the management host."""

    def __init__(self, azure: Azure, providers: list[Provider]) -> None:
        self._azure = azure
        self._routes = [route for provider in providers for route in provider.routes()]
        self._admission = Admission(azure, providers)

    async def __call__(self, request: Request) -> Response:
        """Log, strike with a fault, answer."""
        path = re.sub("/+", "/", request.path).rstrip("/") or "/"
        entry = self._azure.log.begin(request.host, request.method, path, request.query)
        try:
            entry.body = await _parsed(request)
            drop = await strike(self._azure, entry)
            answer = await self._answer(request, path, entry)
        except ArmError as error:
            entry.error = error.code
            answer = Answer(error.status, error.body(), error.headers)
            if error.status == 401:
                answer.headers["WWW-Authenticate"] = _challenge(self._azure.settings.tenant)
            drop = ""
        entry.status = answer.status
        if drop:
            entry.status = 0
            raise DropConnection
        habits = [HABITS[each] for each in self._azure.habits]
        body = dressed(answer.body, habits) if answer.status < 300 else answer.body
        return json_response(answer.status, body, answer.headers)

    async def _answer(self, request: Request, path: str, entry: Entry) -> Answer:
        if request.method == "GET" and path == "/metadata/endpoints":
            return Answer(200, _metadata())
        scheme, _, token = request.header("authorization").partition(" ")
        caller = self._azure.tokens.principal(token if scheme == "Bearer" else "", AUDIENCE)
        entry.principal = caller.name
        if found := _OPERATION.fullmatch(path):
            return self._poll(found[1], path, request)
        route, values = self._find(request.method, path)
        entry.action = route.action
        version = request.query.get("api-version", "")
        check_version(route, version)
        body = entry.body if entry.body is not None else {}
        if not isinstance(body, dict):
            raise _invalid("The request content is not a JSON object.")
        canonical = self._azure.canonical_group
        call = Call(
            self._azure,
            caller,
            values,
            canonical(route.identifier(values)),
            canonical(route.needed_at(values)),
            request.query,
            version,
            json.loads(json.dumps(body)),
            entry,
            dict(request.headers),
        )
        self._admission.check(route, call)
        answer = await route.handle(call)
        if route.cut:
            answer.body["value"] = self._readable(caller, answer.body["value"])
        return answer

    def _readable(self, caller: Principal, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        allows = self._azure.access.allows
        return [
            each for each in listed if allows(caller.object_id, f"{each['type']}/read", each["id"])
        ]

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        for route in self._routes:
            values = route.match(method, path)
            if values is not None:
                return route, values
        raise not_modelled(f"{method} {path}")

    def _poll(self, identifier: str, path: str, request: Request) -> Answer:
        operation = self._azure.operations.require(identifier)
        if operation.status == "InProgress":
            seconds = str(self._azure.settings.retry_after_seconds)
            status = 202 if "location" in request.query else 200
            return Answer(status, operation.body(path), {"Retry-After": seconds})
        return Answer(200, operation.body(path))


async def strike(azure: Azure, entry: Entry) -> str:
    """Let an injected fault of the point "request" happen, if there is one.

    Returns:
        "after" when the answer must be lost, else "".

    Raises:
        DropConnection: the request must be lost.
        ArmError: the injected one.
    """
    fault = azure.faults.take("request", f"{entry.method} {entry.path}")
    if fault is None:
        return ""
    entry.fault = f"status {fault.status} drop {fault.drop!r} delay {fault.delay_seconds} s"
    await asyncio.sleep(fault.delay_seconds)
    if fault.hold:
        await azure.faults.held.wait(entry.number)
    if fault.drop == "before":
        raise DropConnection
    if fault.status:
        raise ArmError(fault.status, fault.code or "Injected", fault.message or "injected fault")
    return fault.drop


async def _parsed(request: Request) -> Any:
    text = (await request.read()).decode("utf-8", "replace")
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        # `az deployment` pastes the template's file as it is, comments included, and leaves its
        # own key unquoted: {"properties": {…, template:{…}}}.
        plain = _COMMENT.sub(lambda found: found[1] or " ", text)
        return json.loads(_UNQUOTED_TEMPLATE.sub('"template":', plain, count=1))
    except ValueError as error:
        raise _invalid(
            f"The request content was invalid and could not be deserialized: {error}"
        ) from error


def _invalid(message: str) -> ArmError:
    return ArmError(400, "InvalidRequestContent", message)


def _challenge(tenant: str) -> str:
    return (
        f'Bearer authorization_uri="https://{LOGIN_HOST}/{tenant}", error="invalid_token", '
        'error_description="The authentication failed."'
    )


def _metadata() -> list[dict[str, Any]]:
    return [
        {
            "name": "AzureCloud",
            "resourceManager": f"https://{MANAGEMENT_HOST}",
            "authentication": {
                "loginEndpoint": f"https://{LOGIN_HOST}",
                "audiences": [f"https://{MANAGEMENT_HOST}"],
                "tenant": "common",
            },
            "suffixes": {"acrLoginServer": "azurecr.io"},
        }
    ]
