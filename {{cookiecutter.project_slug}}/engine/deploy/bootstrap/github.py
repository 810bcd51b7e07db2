"""GitHub's side: which repository this is, its environments, and the names that workflows read.

Nothing here is secret: ids are no passwords, so they are variables, not secrets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from engine.deploy.bootstrap.inputs import Inputs, Repository, Reviewer
from engine.deploy.bootstrap.step import (
    Among,
    Argument,
    Command,
    Found,
    Output,
    Rule,
    Step,
    always,
    gh,
    value_at,
)
from engine.deploy.bootstrap.trust import BRANCH
from engine.deploy.config import names

GATED = "production"
"""The environment that waits for a person's approval."""
RULESET = "deploys"
CHECK = "CI"
"""The job of ci.yml that needs all others, by whose name GitHub knows its check."""
_RULES = {
    "name": RULESET,
    "target": "branch",
    "enforcement": "active",
    "conditions": {"ref_name": {"include": [f"refs/heads/{BRANCH}"], "exclude": []}},
    # 5 is GitHub's number of the role of administrators: people who repair at night.
    "bypass_actors": [{"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}],
    "rules": [
        {"type": "deletion"},
        {"type": "non_fast_forward"},
        {
            "type": "pull_request",
            "parameters": {
                "required_approving_review_count": 0,
                "dismiss_stale_reviews_on_push": False,
                "require_code_owner_review": False,
                "require_last_push_approval": False,
                "required_review_thread_resolution": False,
            },
        },
        {
            "type": "required_status_checks",
            "parameters": {
                "strict_required_status_checks_policy": False,
                "required_status_checks": [{"context": CHECK}],
            },
        },
    ],
}


def environments(inputs: Inputs, repository: Repository) -> tuple[Step, ...]:
    """GitHub's environments, each open to one branch only."""
    steps: list[Step] = []
    for stage in (*names.JOBS, *inputs.environments):
        reviewer = repository.reviewer if stage == GATED else None
        steps += [
            _environment(repository.name, stage, reviewer),
            _branch(repository.name, stage),
        ]
    return tuple(steps)


def variables(inputs: Inputs, repository: Repository) -> tuple[Step, ...]:
    """What workflows read: who to log in as, and where."""
    own = f"repos/{repository.name}/actions/variables"
    account = inputs.account
    build = names.build_identity(inputs.project)
    steps = [
        _variable(own, "AZURE_TENANT_ID", account.tenant, "the directory to log in to"),
        _variable(own, "AZURE_SUBSCRIPTION_ID", account.subscription, "where resources are"),
        _variable(
            *(own, "AZURE_BUILD_CLIENT_ID", Output("identity build", "clientId")),
            f"the identity {build}, for the job that pushes the image",
        ),
        _variable(
            *(own, "AZURE_PRUNE_CLIENT_ID", Output("identity prune", "clientId")),
            f"the identity {names.prune_identity(inputs.project)}, for the weekly clean-up",
        ),
    ]
    for stage in inputs.environments:
        path = f"repos/{repository.name}/environments/{stage}/variables"
        identity = names.deploy_identity(inputs.project, stage)
        client = Output(f"identity deploy {stage}", "clientId")
        steps.append(_variable(path, "AZURE_CLIENT_ID", client, f"the identity {identity}", stage))
    return tuple(steps)


def pull_requests(repository: Repository) -> Step:
    """Pull requests of the scheduled workflows, which new repositories forbid."""
    path = f"repos/{repository.name}/actions/permissions/workflow"

    def allow(found: Found) -> tuple[Command, ...]:
        # The other setting of this call stays as it is; `read` is that of new repositories.
        default = value_at(found, "default_workflow_permissions") or "read"
        kept = ("-f", f"default_workflow_permissions={default}")
        allowed = ("-F", "can_approve_pull_request_reviews=true")
        return (gh("api", "--method", "PUT", path, *kept, *allowed),)

    return Step(
        key="pull requests",
        what="the permission of workflows to open pull requests on GitHub",
        purpose="lets the weekly workflows offer newer locks and a newer template",
        look=gh("api", path),
        make=allow(None),
        rules=(
            Rule(
                path="can_approve_pull_request_reviews",
                wanted=True,
                wrong="is not given",
                repair=allow,
                fix="an owner of the organisation allows it: Settings, Actions, General, Allow "
                "GitHub Actions to create and approve pull requests",
            ),
        ),
        optional=True,
    )


def ruleset(repository: Repository) -> Step:
    """What a change must have passed before it is on the branch that deploys."""
    path = f"repos/{repository.name}/rulesets"

    def enforce(found: Found) -> tuple[Command, ...]:
        one = f"{path}/{value_at(found, 'id')}"
        return (gh("api", "--method", "PUT", one, "-F", "enforcement=active"),)

    return Step(
        key="ruleset",
        what=f"GitHub ruleset {RULESET} of the branch {BRANCH}",
        purpose=f"lets changes into {BRANCH} by pull requests whose checks passed; administrators "
        "may go past it",
        look=gh("api", path),
        make=(gh("api", "--method", "POST", path, "--input", "-", body=json.dumps(_RULES)),),
        among=Among({"name": RULESET}, exact=True),
        rules=(
            Rule(
                path="enforcement",
                wanted="active",
                wrong="is not active",
                repair=enforce,
                fix=f"everyone who may push to {BRANCH} deploys without a check: make the "
                "repository public or take a plan that has rulesets, then run this again",
            ),
        ),
        optional=True,
    )


def _environment(repository: str, stage: str, reviewer: Reviewer | None) -> Step:
    path = f"repos/{repository}/environments/{stage}"

    def put(found: Found) -> tuple[Command, ...]:
        return (gh("api", "--method", "PUT", path, *_settings(found, reviewer)),)

    rules = [
        Rule(
            path="deployment_branch_policy.custom_branch_policies",
            wanted=True,
            wrong="lets other branches deploy",
            repair=put,
        )
    ]
    if reviewer is not None:
        rules.append(
            Rule(
                path=lambda found: _reviewed(found, reviewer),
                wanted=True,
                wrong=f"does not wait for the approval of {reviewer.login}",
                repair=put,
            )
        )
    waits = f", after the approval of {reviewer.login}" if reviewer else ""
    return Step(
        key=f"environment {stage}",
        what=f"GitHub environment {stage}",
        purpose=f"lets only jobs of the branch {BRANCH} act for {stage}{waits}",
        look=gh("api", path),
        make=put(None),
        rules=tuple(rules),
    )


def _settings(found: Found, reviewer: Reviewer | None) -> tuple[str, ...]:
    """The fields of an environment; what a person set beyond ours stays as it is."""
    fields = [
        "deployment_branch_policy[protected_branches]=false",
        "deployment_branch_policy[custom_branch_policies]=true",
    ]
    fields += [f"wait_timer={rule['wait_timer']}" for rule in _protection(found, "wait_timer")]
    if any(rule.get("prevent_self_review") for rule in _protection(found, "required_reviewers")):
        fields.append("prevent_self_review=true")
    reviewers: list[tuple[str, int | str]] = list(reviewers_of(found))
    if reviewer is not None and not _reviewed(found, reviewer):
        reviewers.append(("User", reviewer.id))
    for kind, number in reviewers:
        fields += [f"reviewers[][type]={kind}", f"reviewers[][id]={number}"]
    return tuple(item for each in fields for item in ("-F", each))


def _reviewed(environment: Found, reviewer: Reviewer) -> bool:
    """Anyone will do, unless a certain person was asked for."""
    reviewers = reviewers_of(environment)
    return ("User", reviewer.id) in reviewers if reviewer.asked else bool(reviewers)


def reviewers_of(environment: Found) -> tuple[tuple[str, int], ...]:
    """Kind and id of those who must approve a job of an environment."""
    return tuple(
        (str(each["type"]), int(each["reviewer"]["id"]))
        for rule in _protection(environment, "required_reviewers")
        for each in rule.get("reviewers", ())
    )


def _protection(environment: Found, kind: str) -> list[Mapping[str, Found]]:
    rules = value_at(environment, "protection_rules") or ()
    return [rule for rule in rules if rule.get("type") == kind]


def _branch(repository: str, stage: str) -> Step:
    path = f"repos/{repository}/environments/{stage}/deployment-branch-policies"
    return Step(
        key=f"environment {stage} branch",
        what=f"branch {BRANCH} in GitHub environment {stage}",
        purpose="names the branch that may deploy",
        look=gh("api", path),
        make=(gh("api", "--method", "POST", path, "-f", f"name={BRANCH}"),),
        among=Among({"name": BRANCH}, path="branch_policies", exact=True),
    )


def _variable(
    path: str, name: str, value: Argument, meaning: str, stage: str | None = None
) -> Step:
    if isinstance(value, Output):
        given: Argument = Output(value.step, value.path, prefix="value=")
    else:
        given = f"value={value}"
    one = f"{path}/{name}"
    where = f" of {stage}" if stage else ""
    return Step(
        key=f"variable {name}{where}",
        what=f"GitHub variable {name}{where}",
        purpose=f"tells workflows {meaning}",
        look=gh("api", one),
        make=(gh("api", "--method", "POST", path, "-f", f"name={name}", "-f", given),),
        rules=(
            Rule(
                path="value",
                wanted=value,
                wrong="has another value",
                repair=always(gh("api", "--method", "PATCH", one, "-f", given)),
                exact=True,
            ),
        ),
    )
