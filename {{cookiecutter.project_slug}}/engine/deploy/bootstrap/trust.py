"""Whom Azure believes: GitHub's tokens, by their issuer, their subject and their audience.

A federated credential is a line that says: a token from this issuer with exactly this subject may
act as this identity. There is no password that could leak. Every job that logs in has an
environment of its own on GitHub, which is in its subject: what runs in one job cannot log in as the
identity of another.
"""

from __future__ import annotations

from engine.deploy.bootstrap.ground import Ground
from engine.deploy.bootstrap.step import Rule, Step, always, az
from engine.deploy.config import names
from engine.deploy.job_login import AUDIENCE

ISSUER = "https://token.actions.githubusercontent.com"
BRANCH = "main"


def subjects(ground: Ground, prefix: str) -> dict[str, str]:
    """Identity to the subject that it trusts; ``prefix`` is what GitHub's tokens begin with."""
    where = {
        names.build_identity(ground.project): names.BUILDS,
        names.prune_identity(ground.project): names.PRUNES,
        **{names.deploy_identity(ground.project, stage): stage for stage in ground.environments},
    }
    return {identity: f"{prefix}:environment:{name}" for identity, name in where.items()}


def credentials(ground: Ground, prefix: str) -> tuple[Step, ...]:
    """One federated credential per identity that a workflow uses."""
    return tuple(
        _credential(ground, identity, subject)
        for identity, subject in subjects(ground, prefix).items()
    )


def _credential(ground: Ground, identity: str, subject: str) -> Step:
    place = ("--resource-group", ground.shared, "--identity-name", identity, "--name", "github")
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
