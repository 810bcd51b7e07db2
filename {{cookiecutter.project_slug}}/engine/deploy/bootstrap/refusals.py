"""What Azure and GitHub answer to a bootstrap that they will not have, and what to do about it."""

from __future__ import annotations

from engine.deploy.az_error import AzError
from engine.deploy.bootstrap.step import Step
from engine.deploy.gh import GhError
from engine.errors import EngineError

_OWNER = (
    "this needs Owner on the subscription, or Contributor together with Role Based Access Control "
    "Administrator: ask who gave you the subscription, or hand them what --dry-run prints"
)
_BY_CODE = {
    "AuthorizationFailed": _OWNER,
    "RoleDefinitionWithSameNameExists": "another subscription of this directory has a role of this "
    "name: change `name` in deploy/project.yaml, or delete that role if nobody needs it",
    "RoleAssignmentLimitExceeded": "the subscription has as many role assignments as it may; "
    "delete some that belong to nobody (they show as unknown identities in the portal)",
    "RequestDisallowedByPolicy": "a policy of your organisation forbids it; the message names it. "
    "Often it allows other regions (deploy/project.yaml) or asks for certain tags",
    "LocationNotAvailableForResourceType": "the message lists the regions that have it: change "
    "`region` in deploy/project.yaml or deploy/environments/",
    "SubscriptionNotFound": "az account list --output table shows those of this login; "
    "az account set --subscription … chooses",
    "ReadOnlyDisabledSubscription": "the subscription is disabled, most often for a bill or an "
    "ended trial: see Subscriptions in the portal",
}
_BILLING_PLAN = (
    "GitHub asks for a paid plan for reviewers in a private repository: make it public, upgrade, "
    "or go without a reviewer (--reviewer none; then everyone who may push to main deploys to "
    "production)"
)


def not_in_plan(error: AzError | GhError) -> bool:
    """Whether GitHub would do it in a public repository, or for a plan that costs more."""
    return error.status == 403 and "upgrade to" in error.message.lower()


def explained(step: Step, error: AzError | GhError) -> EngineError:
    """The error with the step it belongs to, and the fix that fits a bootstrap."""
    if isinstance(error, GhError):
        fix = _BILLING_PLAN if "billing plan" in error.message else error.fix
    else:
        fix = _BY_CODE.get(error.code, _OWNER if error.status == 403 else error.fix)
    return EngineError(f"{step.what}: {error.cause}", f"{fix}. Then run the same command again")
