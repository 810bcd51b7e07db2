"""Storage accounts, and the Blob containers in which environments keep captured requests.

These are in the group of what the environments share: removing an environment keeps what it
captured, and two environments may name one account.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.price import Cost
from engine.deploy.bootstrap.resources import tags
from engine.deploy.bootstrap.step import Found, Guard, Rule, Step, az, value_at

PROVIDER = "Microsoft.Storage"
_CAPTURE = re.compile(r"https://([a-z0-9]{3,24})\.blob\.core\.windows\.net/([a-z0-9-]{3,63})(/.*)?")


@dataclass(frozen=True, slots=True)
class Account:
    """A storage account to be made."""

    name: str
    group: str
    region: str

    @property
    def place(self) -> tuple[str, ...]:
        """What names it, as options of a command."""
        return ("--resource-group", self.group, "--name", self.name)


def account_step(
    inputs: Inputs,
    account: Account,
    key: str,
    purpose: str,
    cost: Cost,
    *options: str,
    rules: tuple[Rule, ...] = (),
    guard: Guard | None = None,
) -> Step:
    """A storage account that takes HTTPS only and shows nothing to everybody."""
    return Step(
        key=key,
        what=f"storage account {account.name}",
        purpose=purpose,
        look=az("storage", "account", "show", *account.place),
        make=(
            az(
                *("storage", "account", "create", *account.place, "--location", account.region),
                *("--sku", "Standard_LRS", "--kind", "StorageV2"),
                *("--min-tls-version", "TLS1_2", "--https-only", "true"),
                *("--allow-blob-public-access", "false", *options, *tags(inputs)),
            ),
        ),
        state="provisioningState",
        rules=rules,
        guard=guard,
        cost=cost,
    )


def captured(inputs: Inputs) -> tuple[tuple[str, str], ...]:
    """The account and name of each Blob container that CAPTURE names in an environment."""
    named = (
        _CAPTURE.fullmatch(value)
        for environment in inputs.environments.values()
        for name, value in environment.variables.items()
        if name.upper() == "CAPTURE"
    )
    return tuple(dict.fromkeys((found[1], found[2]) for found in named if found is not None))


def container_id(inputs: Inputs, account: str, container: str) -> str:
    """Azure's id of such a container."""
    kind = f"{PROVIDER}/storageAccounts/{account}/blobServices/default/containers"
    return f"{inputs.group_id(inputs.shared)}/providers/{kind}/{container}"


def capture_steps(inputs: Inputs) -> tuple[Step, ...]:
    """The accounts and containers for captured requests."""
    places = captured(inputs)
    accounts = (_account(inputs, name) for name in dict.fromkeys(name for name, _ in places))
    return (*accounts, *(_container(inputs, *each) for each in places))


def _account(inputs: Inputs, name: str) -> Step:
    return account_step(
        inputs,
        Account(name, inputs.shared, inputs.project.region),
        f"storage {name}",
        "keeps captured requests; it has no keys, and opens to who has a role there",
        Cost(0.0, "by what is captured, some cents for a GB and month"),
        *("--allow-shared-key-access", "false"),
        guard=Guard(
            az("storage", "account", "check-name", "--name", name),
            lambda found: _taken(inputs, name, found),
        ),
    )


def _taken(inputs: Inputs, name: str, found: Found) -> tuple[str, str] | None:
    if value_at(found, "nameAvailable") is not False:
        return None
    return (
        f"the storage account {name}, which CAPTURE names, cannot be made: "
        f"{value_at(found, 'message')}",
        "names of storage accounts are unique in all of Azure: name another one in CAPTURE in "
        "deploy/environments/. If it is yours, move it: az resource move --destination-group "
        f"{inputs.shared} --ids $(az storage account list --query \"[?name=='{name}'].id\" "
        "--output tsv)",
    )


def _container(inputs: Inputs, account: str, container: str) -> Step:
    place = ("--resource-group", inputs.shared, "--storage-account", account, "--name", container)
    return Step(
        key=f"container {account}/{container}",
        what=f"Blob container {container} of {account}",
        purpose="is where the service keeps captured requests",
        look=az("storage", "container-rm", "show", *place),
        make=(az("storage", "container-rm", "create", *place),),
    )
