"""What a bootstrap says at its end: what exists, what it costs, what is left for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.deploy.bootstrap import costs
from engine.deploy.bootstrap.github import CHECK
from engine.deploy.bootstrap.inputs import Inputs, Repository
from engine.deploy.bootstrap.runner import Result
from engine.deploy.bootstrap.trust import BRANCH, ISSUER, subjects
from engine.deploy.config import names
from engine.deploy.job_login import AUDIENCE

PORTAL = "https://portal.azure.com/#@{tenant}/resource{group}/overview"
_KINDS_WITH_A_LINE = (
    "group ",
    "registry",
    "identity ",
    "workspace",
    "insights",
    "apps ",
    "storage ",
)


def existing(inputs: Inputs, results: Sequence[Result]) -> list[str]:
    """Lines: what exists and what it costs by being there."""
    steps = [each.step for each in results]
    listed = [each for each in steps if each.key.startswith(_KINDS_WITH_A_LINE) or each.cost.month]
    # The roles of an identity begin with its name, too; they are counted.
    listed = [step for step in listed if ": " not in step.key]
    width = max(len(step.what) for step in listed)
    lines = [f"In subscription {inputs.account.subscription_name}:"]
    lines += [f"  {step.what:{width}}  {step.cost.text}" for step in listed]
    lines.append(f"  {len(results) - len(listed)} roles, federated credentials and settings: free")
    portal = PORTAL.format(tenant=inputs.account.tenant, group=inputs.group_id(inputs.shared))
    month = sum(each.step.cost.month for each in results)
    lines += [
        f"That is about ${month:.0f} a month before anything runs. While it runs:",
        *(f"  {stage}: {costs.running(each)}" for stage, each in inputs.environments.items()),
        costs.remark(),
        f"Look: {portal}",
    ]
    return lines


def remaining(inputs: Inputs, secrets: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines: what is left for a person. ``secrets`` are the names that GitHub lacks, by stage."""
    lines = []
    if inputs.repository is not None:
        lines += [
            f"gh secret set {name} --repo {inputs.repository.name} --env {stage}"
            for stage, absent in secrets.items()
            for name in absent
        ]
        if inputs.repository.reviewer is None:
            lines.append("nobody has to approve production: all who may push to main deploy there")
        if inputs.repository.default_branch != BRANCH:
            lines.append(
                f"the workflows deploy from the branch {BRANCH}, and the default branch is "
                f"{inputs.repository.default_branch}"
            )
    return ["Left to do:", *(f"  {line}" for line in lines)] if lines else []


def by_hand(inputs: Inputs, clients: Mapping[str, str]) -> list[str]:
    """Lines: what to set on GitHub, where nothing may be done there.

    Args:
        clients: the client ids of the identities, by the keys of their steps.
    """
    account = inputs.account
    lines = [
        "To set on GitHub, in the settings of the repository:",
        "  Secrets and variables, Actions, Variables:",
        f"    AZURE_TENANT_ID={account.tenant}",
        f"    AZURE_SUBSCRIPTION_ID={account.subscription}",
        f"    AZURE_BUILD_CLIENT_ID={clients['identity build']}",
        f"    AZURE_PRUNE_CLIENT_ID={clients['identity prune']}",
        "  Actions, General: Allow GitHub Actions to create and approve pull requests",
        f"  Rules, Rulesets, for the branch {BRANCH}: no deletion, no forced push, a pull request, "
        f"and the check {CHECK}",
        *(
            f"  Environments, {each}: Deployment branches: selected, {BRANCH}"
            for each in names.JOBS
        ),
    ]
    for stage in inputs.environments:
        client = clients[f"identity deploy {stage}"]
        reviewers = "; Required reviewers: who approves" if stage == "production" else ""
        lines += [
            f"  Environments, {stage}: Deployment branches: selected, {BRANCH}{reviewers}",
            f"    its variable AZURE_CLIENT_ID={client}",
        ]
    return [*lines, *_trust_by_hand(inputs)]


def _trust_by_hand(inputs: Inputs) -> list[str]:
    if inputs.subject is not None:
        return []
    lines = [
        "To set on Azure, for without it no workflow can log in. PREFIX is what this prints:",
        "  gh api repos/OWNER/REPOSITORY/actions/oidc/customization/sub --jq .sub_claim_prefix",
        "  (or give it to this command: --subject-prefix PREFIX)",
    ]
    for identity, subject in subjects(inputs, "PREFIX").items():
        lines.append(
            f"  az identity federated-credential create --resource-group {inputs.shared} "
            f"--identity-name {identity} --name github --issuer {ISSUER} "
            f"--subject {subject} --audiences {AUDIENCE}"
        )
    return lines


def for_an_administrator(inputs: Inputs, refused: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines: one text to send, with the commands that this login may not run.

    Args:
        refused: the commands of what gives rights, by the keys of their steps.
    """
    account, project = inputs.account, inputs.project.name
    return [
        f"{account.user} may not give roles. Send this to an administrator (Owner, or Role Based "
        "Access Control Administrator):",
        "-" * 20,
        f"Please run these {sum(map(len, refused.values()))} commands for the project {project} in "
        f'the subscription "{account.subscription_name}". They define its roles and give them to '
        "its identities, each on the resource that it names and on nothing else.",
        "",
        f"az account set --subscription {account.subscription}",
        *(command for commands in refused.values() for command in commands),
        "-" * 20,
        "Then run the same command again: it goes on from here.",
    ]


def next_step(repository: Repository | None, stage: str) -> str:
    """The command to type now; ``stage`` is the first environment."""
    if repository is None:
        return f"Next: make up ENV={stage}"
    return f"Next: make up ENV={stage}, or push to {BRANCH} and let the workflow do it"
