"""Microsoft.ManagedIdentity: user-assigned identities and their federated credentials."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

from ..arm.access import Principal
from ..arm.azure import Azure, Provider
from ..arm.call import Answer, Call, demand, lister, remove, show
from ..arm.errors import ArmError
from ..arm.routes import ResourceType, Route
from ..arm.store import Resource

VERSIONS = frozenset(
    {"2022-01-31-preview", "2023-01-31", "2024-11-30", "2025-01-31-preview", "2025-05-31-preview"}
)
IDENTITY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}")
CREDENTIAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,119}")
MOST_CREDENTIALS = 20
"""Azure documentation: at most 20 federated credentials for one identity."""


class Identity(Provider):
    """An identity is a principal of the tenant as long as the resource exists."""

    namespace = "Microsoft.ManagedIdentity"

    def __init__(self, azure: Azure) -> None:
        super().__init__(azure)
        name = "userAssignedIdentities"
        self.identities = ResourceType(self.namespace, name, VERSIONS, on_delete=self.forget)
        self.credentials = ResourceType(
            self.namespace, f"{name}/federatedIdentityCredentials", VERSIONS
        )

    def types(self) -> Iterable[ResourceType]:
        """Both types."""
        return self.identities, self.credentials

    def routes(self) -> Iterable[Route]:
        """The usual calls of both types."""
        identities, credentials = self.identities, self.credentials
        yield identities.put(self.put_identity)
        yield identities.get(show)
        yield identities.delete(remove)
        yield identities.list(lister(identities.name))
        yield identities.list_all(lister(identities.name))
        yield credentials.put(self.put_credential)
        yield credentials.get(show)
        yield credentials.delete(remove)
        yield credentials.list(lister(credentials.name))

    async def forget(self, identity: Resource) -> None:
        """The principal goes; role assignments of it stay behind, as in Azure."""
        self.azure.principals.remove(identity.properties["clientId"])

    async def put_identity(self, call: Call) -> Answer:
        """A new identity has new ids, also when one of that name existed before."""
        _check_name(IDENTITY_NAME, call.values["name"])
        location = demand(call.body, "location")
        body = {"location": location, "tags": call.body.get("tags") or {}}
        if existing := self.azure.store.get(call.id):
            body["properties"] = existing.properties
            return Answer(200, self.azure.store.put(call.id, body).shown())
        principal = self.azure.principals.add(
            Principal(
                call.values["name"], str(uuid.uuid4()), str(uuid.uuid4()), resource_id=call.id
            )
        )
        body["properties"] = {
            "tenantId": self.azure.settings.tenant,
            "principalId": principal.object_id,
            "clientId": principal.client_id,
        }
        return Answer(201, self.azure.store.put(call.id, body).shown())

    async def put_credential(self, call: Call) -> Answer:
        """Issuer and subject together are unique within the identity."""
        _check_name(CREDENTIAL_NAME, call.values["name"])
        parent = call.id.rpartition("/federatedIdentityCredentials/")[0]
        self.azure.store.require(parent)
        properties = {
            name: demand(call.body, f"properties.{name}")
            for name in ("issuer", "subject", "audiences")
        }
        if len(properties["audiences"]) != 1:
            raise ArmError(
                400, "InvalidAudiences", "A federated identity credential has one audience."
            )
        others = [
            each
            for each in self.azure.store.list(self.credentials.name, parent)
            if each.name.lower() != call.values["name"].lower()
        ]
        for other in others:
            if all(other.properties[each] == properties[each] for each in ("issuer", "subject")):
                raise ArmError(
                    409,
                    "FederatedIdentityCredentialAlreadyExists",
                    f"Issuer '{properties['issuer']}' and subject '{properties['subject']}' "
                    f"combination already exists for this Managed Identity: '{other.name}'.",
                )
        existed = self.azure.store.get(call.id) is not None
        if not existed and len(others) >= MOST_CREDENTIALS:
            raise ArmError(
                400,
                "FederatedIdentityCredentialsLimitReached",
                f"A managed identity has at most {MOST_CREDENTIALS} federated credentials.",
            )
        made = self.azure.store.put(call.id, {"properties": properties})
        return Answer(200 if existed else 201, made.shown())


def _check_name(pattern: re.Pattern[str], name: str) -> None:
    if not pattern.fullmatch(name):
        raise ArmError(
            400,
            "InvalidResourceName",
            f"The name '{name}' does not match the pattern '{pattern.pattern}'.",
        )
