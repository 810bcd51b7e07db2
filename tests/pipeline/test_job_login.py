"""A job that outlives its login to Azure: the real `az`, and tokens that end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from .commands import Azure, CommandError, run

pytestmark = pytest.mark.slow

SUBJECT = "repo:octo-org@1/iris@2:environment:staging"
ACCESS_SECONDS = 310
"""MSAL takes no token out of its cache that ends within five minutes."""
JOB_SECONDS = 2
ASK = """
from engine.deploy.az import Az
from engine.deploy.say import Say
az = Az(Say(verbose=True))
print(az.json("group", "show", "--name", "rg")["name"], az.json("account", "show")["id"])
"""


@pytest.fixture
def job(az: Azure) -> Azure:
    """A job that has logged in, and whose tokens have ended."""
    scope = az.group("rg")
    identity = az.identity("rg", "iris-deploy")
    az.trust("rg", "iris-deploy", SUBJECT)
    az.assign(identity, "Reader", scope)
    az.double.tokens_live(access=ACCESS_SECONDS, job=JOB_SECONDS)
    job = az.as_job(identity, SUBJECT)
    time.sleep(ACCESS_SECONDS - 300 + JOB_SECONDS)
    return job


def test_a_job_logs_in_again_when_its_tokens_have_ended(
    job: Azure, rendered_service: Path, deploy_python: Path
) -> None:
    with pytest.raises(CommandError, match="AADSTS700024"):
        job("group", "show", "--name", "rg")
    env = {**job.env, "PYTHONPATH": str(rendered_service)}
    with pytest.raises(CommandError, match="AADSTS700024"):
        run(env, str(deploy_python), "-c", ASK)
    env |= job.double.oidc_environment(SUBJECT)
    shown = run(env, str(deploy_python), "-c", ASK)
    assert shown.split() == ["rg", job.double.subscription]
