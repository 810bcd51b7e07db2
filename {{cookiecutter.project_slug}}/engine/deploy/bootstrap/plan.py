"""The plan: all steps, in an order in which each one finds what it needs.

It is a pure function of what was read, so it can be shown, compared and tested without Azure.
"""

from __future__ import annotations

from engine.deploy.bootstrap import github, monitoring, providers, resources, roles, trust
from engine.deploy.bootstrap.ground import Ground
from engine.deploy.bootstrap.step import Step
from engine.deploy.targets.kind import kind_of


def plan(ground: Ground) -> tuple[Step, ...]:
    """All steps. Without a repository those on GitHub are left out, without a subject the trust."""
    steps = [
        providers.registrations(ground),
        *resources.groups(ground),
        resources.registry(ground),
        *resources.identities(ground),
        *monitoring.monitoring(ground),
        *roles.custom_roles(ground),
        *roles.assignments(ground),
        *(
            step
            for stage, environment in ground.environments.items()
            for step in kind_of(environment).bootstrap(ground, stage, environment)
        ),
    ]
    if ground.subject is not None:
        steps += trust.credentials(ground, ground.subject)
    if ground.repository is not None:
        steps += github.environments(ground, ground.repository)
        steps += github.variables(ground, ground.repository)
        steps.append(github.pull_requests(ground.repository))
        steps.append(github.ruleset(ground.repository))
    return tuple(steps)
