"""Microsoft.Authorization: role definitions and role assignments."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable

from ..arm import ids
from ..arm.access import ASSIGNMENTS, DEFINITIONS, EFFECTIVE, Principal
from ..arm.azure import Provider
from ..arm.call import Answer, Call, demand
from ..arm.errors import ArmError, not_modelled
from ..arm.routes import Route
from .builtin_roles import ROLES, Role

VERSIONS = frozenset({"2022-04-01", "2022-05-01-preview", "2018-01-01-preview"})
PROVIDERS = "{scope*}/providers/Microsoft.Authorization"
_ROLE_NAME = re.compile(r"roleName eq '([^']*)'")
_ASSIGNEE = re.compile(r"(?:principalId eq|assignedTo\()\s*'([^']*)'", re.I)

_NAMESPACE = re.compile(r"(?<=/managedClusters/)([^/]+)/namespaces/[^/]+$", re.IGNORECASE)


class Authorization(Provider):
    """Assignments take effect at once, unless the fault ``authorization.propagation`` strikes
    when one is made (subject: its scope): then only after ``detail["seconds"]``.
    """

    namespace = "Microsoft.Authorization"
    registration_free = True

    def routes(self) -> Iterable[Route]:
        """Definitions and assignments, at any scope."""
        definition = f"{PROVIDERS}/roleDefinitions/{{name}}"
        assignment = f"{PROVIDERS}/roleAssignments/{{name}}"
        for method, template, handle, action, kind in (
            ("GET", f"{PROVIDERS}/roleDefinitions", self.list_definitions, "read", DEFINITIONS),
            ("GET", definition, self.show_definition, "read", DEFINITIONS),
            ("PUT", definition, self.put_definition, "write", DEFINITIONS),
            ("DELETE", definition, self.delete_definition, "delete", DEFINITIONS),
            ("GET", f"{PROVIDERS}/roleAssignments", self.list_assignments, "read", ASSIGNMENTS),
            ("GET", assignment, self.show_assignment, "read", ASSIGNMENTS),
            ("PUT", assignment, self.put_assignment, "write", ASSIGNMENTS),
            ("DELETE", assignment, self.delete_assignment, "delete", ASSIGNMENTS),
        ):
            action = f"{kind}/{action}"
            yield Route(method, template, handle, action, kind, VERSIONS, scope="{scope*}")

    async def start(self) -> None:
        """The built-in roles."""
        for role in ROLES:
            self.azure.store.put(self._definition_id(role.id), _definition(role))

    def assign(self, principal: Principal, role_name: str, scope: str) -> None:
        """Give a role, as an administrator did before the test began."""
        role = next(
            each
            for each in self.azure.store.list(DEFINITIONS)
            if each.properties["roleName"] == role_name
        )
        name = f"{scope}/providers/{ASSIGNMENTS}/{uuid.uuid4()}"
        properties = {
            "principalId": principal.object_id,
            "principalType": "ServicePrincipal",
            "roleDefinitionId": role.id,
            "scope": scope,
        }
        self.azure.store.put(name, {"properties": properties})

    def _definition_id(self, name: str) -> str:
        return f"{self.azure.settings.subscription_id}/providers/{DEFINITIONS}/{name}"

    async def list_definitions(self, call: Call) -> Answer:
        """All that apply to the scope, or the one with the name in ``$filter``."""
        query = call.query.get("$filter", "")
        found = _ROLE_NAME.search(query)
        if query and not found and "type eq" not in query and "atScope" not in query:
            raise not_modelled(f"role definitions with $filter={query}")
        roles = self.azure.store.list(DEFINITIONS)
        if found:
            roles = [each for each in roles if each.properties["roleName"] == found[1]]
        return Answer(200, {"value": [each.shown() for each in roles]})

    async def show_definition(self, call: Call) -> Answer:
        """One role, whatever the scope in the path."""
        found = self.azure.store.get(self._definition_id(call.values["name"]))
        if found is None:
            raise _no_definition(call.values["name"])
        return Answer(200, found.shown())

    async def put_definition(self, call: Call) -> Answer:
        """A custom role: needs assignable scopes; its name is unique in the tenant."""
        properties = demand(call.body, "properties")
        name, scopes = demand(properties, "roleName"), demand(properties, "assignableScopes")
        identifier = self._definition_id(call.values["name"])
        for each in self.azure.store.list(DEFINITIONS):
            if each.properties["roleName"] == name and ids.key(each.id) != ids.key(identifier):
                raise ArmError(
                    409,
                    "RoleDefinitionWithSameNameExists",
                    f"A custom role with the same name already exists: '{name}'.",
                )
        if not scopes:
            raise ArmError(
                400, "MissingAssignableScopes", "The role definition has no assignable scopes."
            )
        for scope in scopes:
            self.azure.access.require(call.caller, call.log.action, scope)
        made = self.azure.store.put(
            identifier, {"properties": {**properties, "type": "CustomRole"}}
        )
        # 201 for a change, too: the client library takes nothing else.
        return Answer(201, made.shown())

    async def delete_definition(self, call: Call) -> Answer:
        """A custom role that is assigned nowhere."""
        found = self.azure.store.get(self._definition_id(call.values["name"]))
        if found is None:
            return Answer(204)
        if any(
            ids.key(each.properties["roleDefinitionId"]) == ids.key(found.id)
            for each in self.azure.store.list(ASSIGNMENTS)
        ):
            raise ArmError(
                400,
                "RoleDefinitionHasAssignments",
                "There are existing role assignments referencing role.",
            )
        await self.azure.remove(found.id)
        return Answer(200, found.shown())

    async def list_assignments(self, call: Call) -> Answer:
        """At, above or below the scope; ``$filter`` may name a principal and ``atScope()``."""
        query = call.query.get("$filter", "")
        assignee = _ASSIGNEE.search(query)
        if query and not assignee and query != "atScope()":
            raise not_modelled(f"role assignments with $filter={query}")
        found = [
            each
            for each in self.azure.store.list(ASSIGNMENTS)
            if ids.is_below(call.scope, each.properties["scope"])
            or ("atScope()" not in query and ids.is_below(each.properties["scope"], call.scope))
        ]
        if assignee:
            found = [each for each in found if each.properties["principalId"] == assignee[1]]
        return Answer(200, {"value": [each.shown() for each in found]})

    async def show_assignment(self, call: Call) -> Answer:
        """One assignment."""
        return Answer(200, call.resource().shown())

    async def put_assignment(self, call: Call) -> Answer:
        """Role, principal and scope must exist, and not be assigned to one another already."""
        properties = demand(call.body, "properties")
        role_id, principal = demand(properties, "roleDefinitionId"), properties.get("principalId")
        role = self.azure.store.get(self._definition_id(ids.name(role_id)))
        if role is None:
            raise _no_definition(ids.name(role_id))
        scope = call.values["scope"]
        # Namespaces of a cluster are no resources, and roles hold on them all the same.
        if self.azure.store.get(_NAMESPACE.sub(r"\1", scope)) is None:
            raise ArmError(404, "ResourceNotFound", f"The scope '{scope}' was not found.")
        self._check_principal(str(principal))
        for each in self.azure.store.list(ASSIGNMENTS):
            same = each.properties
            if (
                same["principalId"] == principal
                and ids.key(same["roleDefinitionId"]) == ids.key(role.id)
                and ids.key(same["scope"]) == ids.key(scope)
            ):
                raise ArmError(
                    409,
                    "RoleAssignmentExists",
                    "The role assignment already exists. The ID of the conflicting role "
                    f"assignment is {each.name.replace('-', '')}.",
                )
        fault = self.azure.faults.take("authorization.propagation", scope)
        seconds = fault.detail["seconds"] if fault else 0
        made = self.azure.store.put(
            call.id,
            {"properties": {**properties, "roleDefinitionId": role.id, "scope": scope}},
            {EFFECTIVE: time.monotonic() + seconds},
        )
        return Answer(201, made.shown())

    def _check_principal(self, object_id: str) -> None:
        if self.azure.principals.by_object(object_id) is None:
            raise ArmError(
                400,
                "PrincipalNotFound",
                f"Principal {object_id.replace('-', '')} does not exist in the directory "
                f"{self.azure.settings.tenant}. Check that you have the correct principal ID. If "
                "you are creating this principal and then immediately assigning a role, this "
                "error might be related to a replication delay.",
            )

    async def delete_assignment(self, call: Call) -> Answer:
        """200 with the assignment, 204 when there was none."""
        found = self.azure.store.get(call.id)
        if found is None:
            return Answer(204)
        await self.azure.remove(call.id)
        return Answer(200, found.shown())


def _definition(role: Role) -> dict[str, object]:
    permission = {
        "actions": list(role.actions),
        "notActions": list(role.not_actions),
        "dataActions": list(role.data_actions),
        "notDataActions": [],
    }
    properties = {
        "roleName": role.name,
        "type": "BuiltInRole",
        "description": role.name,
        "assignableScopes": ["/"],
        "permissions": [permission],
    }
    return {"properties": properties}


def _no_definition(name: str) -> ArmError:
    return ArmError(
        404,
        "RoleDefinitionDoesNotExist",
        f"The specified role definition with ID '{name.replace('-', '')}' does not exist.",
    )
