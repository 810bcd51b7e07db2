"""Whom Azure believes: GitHub's tokens, by their issuer, their subject and their audience.

A federated credential is a line that says: a token from this issuer with exactly this subject may
act as this identity. There is no password that could leak. Every job that logs in has an
environment of its own on GitHub, which is in its subject: what runs in one job cannot log in as the
identity of another.
"""

from __future__ import annotations

from engine.deploy.bootstrap.inputs import Inputs
from engine.deploy.bootstrap.step import Rule, Step, always, az
from engine.deploy.config import names
from engine.deploy.job_login import AUDIENCE

ISSUER = "https://token.actions.githubusercontent.com"
BRANCH = "main"


def subjects(inputs: Inputs, prefix: str) -> dict[str, str]:
    """Identity to the subject that it trusts; ``prefix`` is what GitHub's tokens begin with."""
    where = {
        names.build_identity(inputs.project): names.BUILDS,
        names.prune_identity(inputs.project): names.PRUNES,
        **{names.deploy_identity(inputs.project, stage): stage for stage in inputs.environments},
    }
    return {identity: f"{prefix}:environment:{name}" for identity, name in where.items()}


def credentials(inputs: Inputs, prefix: str) -> tuple[Step, ...]:
    """One federated credential per identity that a workflow uses."""
    return tuple(
        _credential(inputs, identity, subject)
        for identity, subject in subjects(inputs, prefix).items()
    )


def _credential(inputs: Inputs, identity: str, subject: str) -> Step:
    place = ("--resource-group", inputs.shared, "--identity-name", identity, "--name", "github")
    trusts = ("--issuer", ISSUER, "--subject", subject, "--audiences", AUDIENCE)
    command = ("identity", "federated-credential")
    repair = always(az(*command, "update", *place, *trusts))
    return Step(
        key=f"credential {identity}",
        what=f"federated credential of {identity}",
        purpose=f"lets GitHub act as it, with the subject {subject}",
        look=az(*command, "show", *place),
        make=(az(*command, "create", *place, *trusts),),
        # Microsoft Entra compares these with regard to case.
        rules=(
            Rule("issuer", ISSUER, "trusts another issuer", repair, exact=True),
            Rule("subject", subject, "trusts another subject", repair, exact=True),
            Rule("audiences", (AUDIENCE,), "is for another audience", repair, exact=True),
        ),
    )
