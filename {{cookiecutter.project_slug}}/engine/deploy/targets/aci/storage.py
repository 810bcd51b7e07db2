"""The share that keeps certificates: what `bootstrap` makes of it, and the role to mount it."""

from __future__ import annotations

from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.price import RETAIL, Cost, Price
from engine.deploy.bootstrap.role import CustomRole
from engine.deploy.bootstrap.step import Found, Rule, Step, always, az, value_at
from engine.deploy.bootstrap.storage import PROVIDER, Account, account_step
from engine.deploy.config import names
from engine.deploy.targets.aci import edge
from engine.deploy.targets.aci.environment import GroupEnvironment

ROLE = CustomRole(
    "role certificates",
    names.storage_role,
    (f"{PROVIDER}/storageAccounts/read", f"{PROVIDER}/storageAccounts/listKeys/action"),
    "lets a workflow mount the share that keeps certificates",
)
"""The built-in role that reads the key may also replace it."""
PRICE = Price(0.06, "GB and month of a file share, Standard LRS", RETAIL, "2026")
_QUOTA_GB = "1"


def steps(inputs: Inputs, stage: str, environment: GroupEnvironment) -> tuple[Step, ...]:
    """The storage account of an environment, and the share in it."""
    group = environment.resource_group
    name = edge.account(inputs.account.subscription, group)
    account = Account(name, group, environment.region)
    share = ("--resource-group", group, "--storage-account", name, "--name", edge.SHARE)
    return (
        account_step(
            inputs,
            account,
            f"storage {stage}",
            f"keeps the certificates of {stage}, so that a release orders none anew",
            Cost(PRICE.dollars, "some cents a month"),
            rules=(
                Rule(
                    path=_takes_keys,
                    wanted=True,
                    wrong="refuses its key, with which Container Instances mount a share",
                    repair=always(
                        az(
                            *("storage", "account", "update", *account.place),
                            *("--allow-shared-key-access", "true"),
                        )
                    ),
                ),
            ),
        ),
        Step(
            key=f"share {stage}",
            what=f"file share {edge.SHARE} of {name}",
            purpose="is mounted by the container that ends HTTPS",
            look=az("storage", "share-rm", "show", *share),
            make=(az("storage", "share-rm", "create", *share, "--quota", _QUOTA_GB),),
        ),
    )


def _takes_keys(found: Found) -> bool:
    return value_at(found, "allowSharedKeyAccess") is not False  # null: as it always was, allowed
