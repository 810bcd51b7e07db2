"""File shares that containers mount: what `bootstrap` makes of them, and the role to mount them.

An environment has one storage account for its certificates and for its ``volumes``.
"""

from __future__ import annotations

from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.price import RETAIL, Cost, Price
from engine.deploy.bootstrap.role import CustomRole
from engine.deploy.bootstrap.step import Found, Rule, Step, always, az, value_at
from engine.deploy.bootstrap.storage import PROVIDER, Account, account_step
from engine.deploy.config import names
from engine.deploy.config.environment import Environment
from engine.deploy.config.volumes import CERTIFICATES, Volume

ROLE = CustomRole(
    "role certificates",
    names.storage_role,
    (f"{PROVIDER}/storageAccounts/read", f"{PROVIDER}/storageAccounts/listKeys/action"),
    "lets a workflow mount the file shares of an environment",
)
"""The built-in role that reads the key may also replace it."""
PRICE = Price(0.06, "GB and month of a file share, Standard LRS", RETAIL, "2026")
_QUOTA_GB = {CERTIFICATES: "1"}
_OTHERS_GB = "100"


def steps(
    inputs: Inputs,
    stage: str,
    environment: Environment,
    volumes: tuple[Volume, ...],
    *,
    certificates: bool = False,
) -> tuple[Step, ...]:
    """The storage account of an environment and the shares in it; none, if it mounts nothing.

    Args:
        certificates: HTTPS keeps its certificates there.
    """
    shares = ((CERTIFICATES,) if certificates else ()) + tuple(each.share for each in volumes)
    if not shares:
        return ()
    group = environment.resource_group
    name = names.storage_account(inputs.account.subscription, group)
    account = Account(name, group, environment.region)
    return (
        account_step(
            inputs,
            account,
            f"storage {stage}",
            f"keeps the file shares that {stage} mounts",
            Cost(PRICE.dollars, "a GB and month"),
            rules=(
                Rule(
                    path=_takes_keys,
                    wanted=True,
                    wrong="refuses its key, with which a share is mounted",
                    repair=always(
                        az(
                            *("storage", "account", "update", *account.place),
                            *("--allow-shared-key-access", "true"),
                        )
                    ),
                ),
            ),
        ),
        *(_share(stage, account, share) for share in shares),
    )


def _share(stage: str, account: Account, name: str) -> Step:
    place = ("--resource-group", account.group, "--storage-account", account.name, "--name", name)
    secure = name == CERTIFICATES
    return Step(
        key=f"share {stage}" if secure else f"share {stage}/{name}",
        what=f"file share {name} of {account.name}",
        purpose="is mounted by the container that ends HTTPS"
        if secure
        else "is mounted read-only by the service",
        look=az("storage", "share-rm", "show", *place),
        make=(
            az(
                *("storage", "share-rm", "create", *place),
                *("--quota", _QUOTA_GB.get(name, _OTHERS_GB)),
            ),
        ),
    )


def _takes_keys(found: Found) -> bool:
    return value_at(found, "allowSharedKeyAccess") is not False  # null: as it always was, allowed
