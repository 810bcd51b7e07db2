"""File shares with something in them, for the tests of volumes."""

from __future__ import annotations

import hashlib
import subprocess
from typing import Any

from tests.azure_double.client import AzureDouble
from tests.service.containers import docker_client

from . import double_image
from .commands import Azure

ROLE = (
    "Microsoft.Storage/storageAccounts/read",
    "Microsoft.Storage/storageAccounts/listKeys/action",
)


class Share:
    """A share in the storage account of an environment.

    Attributes:
        account: the name of the account, and what `az` says of it.
    """

    def __init__(self, az: Azure, double: AzureDouble, group: str, name: str) -> None:
        # The name follows from the two, and nobody else's storage account may have it.
        digest = hashlib.sha256(f"{double.subscription}/{group}".lower().encode()).hexdigest()
        self.account = f"edge{digest[:20]}"
        self._az, self._group = az, group
        self._volume = f"azure-double-{double.run_id}-{self.account}-{name}"
        place = ("--resource-group", group)
        made: dict[str, Any] = az(
            *("storage", "account", "create", *place, "--name", self.account),
            *("--location", "westeurope", "--sku", "Standard_LRS", "--kind", "StorageV2"),
        )
        self.id = str(made["id"])
        az("storage", "share-rm", "create", *place, "--storage-account", self.account, "-n", name)

    @property
    def keys(self) -> list[str]:
        """Both keys of the account."""
        place = ("--resource-group", self._group, "--account-name", self.account)
        return [
            str(each["value"]) for each in self._az("storage", "account", "keys", "list", *place)
        ]

    def replace_keys(self) -> None:
        """The keys so far open nothing any more."""
        place = ("--resource-group", self._group, "--account-name", self.account)
        for which in ("primary", "secondary"):
            self._az("storage", "account", "keys", "renew", *place, "--key", which)

    def write(self, file: str, text: str) -> None:
        """Put a file into the share."""
        client, image = docker_client(), double_image.built()
        mount = ("--user", "0", "--volume", f"{self._volume}:/share")
        command = ("--entrypoint", "sh", image, "-c", f"cat > /share/{file}")
        run = [client, "run", "--rm", "--interactive", *mount, *command]
        subprocess.run(run, input=text, text=True, check=True, capture_output=True)
