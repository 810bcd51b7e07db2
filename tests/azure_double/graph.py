"""Microsoft Graph, as far as `az role assignment` asks it for principals."""

from __future__ import annotations

import json
import re
from typing import Any

from .arm.access import Principal
from .arm.azure import Azure
from .arm.errors import ArmError, not_modelled
from .requestlog import Entry
from .settings import GRAPH_HOST
from .wire import Request, Response, json_response

_NAMED = re.compile(r"servicePrincipalNames/any\(c:c eq '([^']*)'\)")
_PREFIX = "/v1.0"


class Graph:
    """The handler for the Graph host."""

    def __init__(self, azure: Azure) -> None:
        self._azure = azure

    async def __call__(self, request: Request) -> Response:
        """Answer a person; identities have no right to read the directory."""
        entry = self._azure.log.begin(request.host, request.method, request.path, request.query)
        try:
            status, body = await self._answer(request, entry)
        except ArmError as error:
            entry.error = error.code
            status, body = error.status, error.body()
        entry.status = status
        return json_response(status, body)

    async def _answer(self, request: Request, entry: Entry) -> tuple[int, dict[str, Any]]:
        token = request.header("authorization").removeprefix("Bearer ")
        caller = self._azure.tokens.principal(token, f"https://{GRAPH_HOST}")
        entry.principal = caller.name
        if not caller.reads_directory:
            raise ArmError(
                403,
                "Authorization_RequestDenied",
                "Insufficient privileges to complete the operation.",
            )
        call = f"{request.method} {request.path.removeprefix(_PREFIX)}"
        if call == "GET /servicePrincipals":
            found = _NAMED.search(request.query.get("$filter", ""))
            if not found:
                raise not_modelled(f"Graph filters such as {request.query}")
            one = self._azure.principals.by_client(found[1])
            return 200, {"value": [_shown(one)] if one else []}
        if call.startswith("GET /servicePrincipals/"):
            one = self._azure.principals.by_object(call.removeprefix("GET /servicePrincipals/"))
            if one is None:
                raise ArmError(404, "Request_ResourceNotFound", f"{call} does not exist.")
            return 200, _shown(one)
        if call == "POST /directoryObjects/getByIds":
            entry.body = json.loads(await request.read())
            asked = {each.lower() for each in entry.body["ids"]}
            found_all = [each for each in self._azure.principals if each.object_id in asked]
            return 200, {"value": [_shown(each) for each in found_all]}
        raise not_modelled(f"Graph: {call}")


def _shown(principal: Principal) -> dict[str, Any]:
    return {
        "@odata.type": "#microsoft.graph.servicePrincipal",
        "id": principal.object_id,
        "appId": principal.client_id,
        "displayName": principal.name,
        "servicePrincipalNames": [principal.client_id],
        "servicePrincipalType": "ManagedIdentity" if principal.resource_id else "Application",
    }
