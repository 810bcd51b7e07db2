"""The plan: all steps, in an order in which each one finds what it needs.

It is a pure function of what was read, so it can be shown, compared and tested without Azure.
"""

from __future__ import annotations

from engine.deploy.bootstrap import (
    github,
    monitoring,
    providers,
    resources,
    roles,
    storage,
    trust,
)
from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.step import Step
from engine.deploy.targets.kind import kind_of


def plan(inputs: Inputs) -> tuple[Step, ...]:
    """All steps. Without a repository those on GitHub are left out, without a subject the trust."""
    steps = [
        providers.registrations(inputs),
        *resources.groups(inputs),
        resources.registry(inputs),
        *resources.identities(inputs),
        *monitoring.monitoring(inputs),
        *storage.capture_steps(inputs),
        *roles.custom_roles(inputs),
        *roles.assignments(inputs),
        *(
            step
            for stage, environment in inputs.environments.items()
            for step in kind_of(environment).bootstrap(inputs, stage, environment)
        ),
    ]
    if inputs.subject is not None:
        steps += trust.credentials(inputs, inputs.subject)
    if inputs.repository is not None:
        steps += github.environments(inputs, inputs.repository)
        steps += github.variables(inputs, inputs.repository)
        steps.append(github.pull_requests(inputs.repository))
        steps.append(github.ruleset(inputs.repository))
    return tuple(steps)
