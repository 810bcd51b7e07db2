"""Microsoft.Storage: accounts, their keys, file shares that containers mount, Blob containers.

The specification's StorageAccount_Create, _ListKeys, FileShares_Create and BlobContainers_Create.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterable
from typing import Any

from ..arm.azure import Azure, Provider
from ..arm.call import Answer, Call, demand, lister, remove, show
from ..arm.errors import ArmError
from ..arm.routes import ResourceType, Route

NAMESPACE = "Microsoft.Storage"
ACCOUNTS = f"{NAMESPACE}/storageAccounts"
NAME = re.compile(r"[a-z0-9]{3,24}")
SHARE = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")
CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")
_ANY: frozenset[str] = frozenset()


class Storage(Provider):
    """Accounts and shares; what is in a share is a volume of Docker's."""

    namespace = NAMESPACE

    def __init__(self, azure: Azure) -> None:
        super().__init__(azure)
        self.accounts = ResourceType(NAMESPACE, "storageAccounts", _ANY)
        self.shares = ResourceType(NAMESPACE, "storageAccounts/fileServices/shares", _ANY)
        self.containers = ResourceType(NAMESPACE, "storageAccounts/blobServices/containers", _ANY)

    def types(self) -> Iterable[ResourceType]:
        """Accounts, and the shares and containers in them."""
        return (self.accounts, self.shares, self.containers)

    def routes(self) -> Iterable[Route]:
        """What `az storage account`, `share-rm` and `container-rm` call."""
        accounts, shares, containers = self.accounts, self.shares, self.containers
        yield accounts.put(self.put)
        yield accounts.patch(self.patch)
        yield accounts.get(show)
        yield accounts.delete(remove)
        yield accounts.list(lister(accounts.name))
        yield accounts.post("listKeys", self.keys)
        yield accounts.post("regenerateKey", self.replace_key)
        yield accounts.in_subscription(
            "POST", "checkNameAvailability", self.is_free, "checkNameAvailability/read"
        )
        yield shares.put(self.put_share)
        yield shares.get(show)
        yield containers.put(self.put_container)
        yield containers.get(show)

    async def is_free(self, call: Call) -> Answer:
        """Whether nobody in Azure has a name yet."""
        name = str(demand(call.body, "name"))
        if not any(each.name == name for each in self.azure.store.list(ACCOUNTS)):
            return Answer(200, {"nameAvailable": True})
        message = f"The storage account named {name} is already taken."
        return Answer(200, {"nameAvailable": False, "reason": "AlreadyExists", "message": message})

    async def put(self, call: Call) -> Answer:
        """Create or update; the keys stay."""
        name = call.values["name"]
        if not NAME.fullmatch(name):
            raise ArmError(
                400,
                "AccountNameInvalid",
                f"{name} is not a valid storage account name. Storage account name must be between "
                "3 and 24 characters in length and use numbers and lower-case letters only.",
            )
        given: dict[str, Any] = call.body.get("properties") or {}
        existing = self.azure.store.get(call.id)
        body = {
            "location": demand(call.body, "location"),
            "kind": demand(call.body, "kind"),
            "sku": {"name": demand(call.body, "sku.name"), "tier": "Standard"},
            "tags": call.body.get("tags") or {},
            "properties": {**given, "provisioningState": "Succeeded"},
        }
        keys = existing.hidden if existing else {"key1": _key(), "key2": _key()}
        made = self.azure.store.put(call.id, body, keys)
        return Answer(200, made.shown())

    async def patch(self, call: Call) -> Answer:
        """Change properties."""
        resource = call.resource()
        resource.properties.update(call.body.get("properties") or {})
        return Answer(200, resource.shown())

    async def keys(self, call: Call) -> Answer:
        """Both keys."""
        known = call.resource().hidden
        listed = [
            {"keyName": name, "value": known[name], "permissions": "FULL"}
            for name in ("key1", "key2")
        ]
        return Answer(200, {"keys": listed})

    async def replace_key(self, call: Call) -> Answer:
        """A new key; the old one opens nothing any more."""
        call.resource().hidden[demand(call.body, "keyName")] = _key()
        return await self.keys(call)

    async def put_share(self, call: Call) -> Answer:
        """Create or update."""
        return self._put_inside(call, SHARE)

    async def put_container(self, call: Call) -> Answer:
        """Create or update."""
        return self._put_inside(call, CONTAINER)

    def _put_inside(self, call: Call, rule: re.Pattern[str]) -> Answer:
        if not rule.fullmatch(call.values["name"]):
            raise ArmError(400, "InvalidResourceName", "The specified resource name is invalid.")
        self.azure.store.require(re.split("/(?:file|blob)Services/", call.id)[0])
        existing = self.azure.store.get(call.id)
        made = self.azure.store.put(call.id, {"properties": call.body.get("properties") or {}})
        return Answer(200 if existing else 201, made.shown())


def may_mount(azure: Azure, volume: dict[str, Any]) -> bool:
    """Whether account, key and share of an ``azureFile`` volume fit, and the account takes keys."""
    for account in azure.store.list(ACCOUNTS):
        if account.name.lower() != str(volume["storageAccountName"]).lower():
            continue
        if account.properties.get("allowSharedKeyAccess") is False:
            return False
        share = f"{account.id}/fileServices/default/shares/{volume['shareName']}"
        known = volume.get("storageAccountKey") in account.hidden.values()
        return known and azure.store.get(share) is not None
    return False


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(64)).decode()
