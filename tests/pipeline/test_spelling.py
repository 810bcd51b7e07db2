"""Azure spells names as it likes: steps of `bootstrap` and `monitoring` by the real `az`, twice."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.azure_double.client import AzureDouble
from tests.azure_double.habits import HABITS

from .artifacts import Repository
from .bootstrap_world import SLUG, Bootstrap, changes, copied
from .commands import run

pytestmark = pytest.mark.slow

STEPS = """
import json, pathlib, sys
from engine.deploy.az import Az
from engine.deploy.bootstrap.inputs import Account, Inputs
from engine.deploy.bootstrap.plan import plan
from engine.deploy.bootstrap.runner import Runner
from engine.deploy.config.read import read_environment
from engine.deploy.monitoring.place import Place
from engine.deploy.monitoring import plan as monitoring
from engine.deploy.say import Say
given = json.load(sys.stdin)
project, environment = read_environment("staging", pathlib.Path.cwd())
assert not environment.alerts.email
account = Account(given["subscription"], "Double", given["tenant"], "owner")
inputs = Inputs(project, {"staging": environment}, account, None, None)
steps = plan(inputs)
place = Place(project, environment, given["subscription"])
steps += monitoring.plan(place, "http://service:8000", 300.0, given["month"])
wanted = ("providers", "resource group", "Log Analytics", "alert NotReady", "budget")
steps = tuple(each for each in steps if each.key in wanted or each.what.startswith(wanted))
say = Say()
outcomes = [each.outcome for each in Runner({"az": Az(say)}, say).run(steps)]
json.dump(outcomes, sys.stdout)
"""


@pytest.fixture
def bootstrap(
    running_double: AzureDouble, rendered_service: Path, deploy_python: Path, tmp_path: Path
) -> Bootstrap:
    """A repository, and an empty subscription."""
    running_double.reset()
    return Bootstrap(running_double, copied(rendered_service, tmp_path), deploy_python)


def outcomes(bootstrap: Bootstrap) -> list[str]:
    """What became of some steps of `bootstrap` and `monitoring`."""
    double = bootstrap.double
    month = f"{datetime.datetime.now(datetime.UTC):%Y-%m}-01"
    given = {"subscription": double.subscription, "tenant": double.tenant, "month": month}
    done = subprocess.run(
        [str(bootstrap.python), "-c", STEPS],
        cwd=bootstrap.service,
        env={**bootstrap.env(double.owner), "PYTHONPATH": str(bootstrap.service)},
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


def test_what_was_made_is_found_in_whichever_spelling(bootstrap: Bootstrap) -> None:
    double = bootstrap.double
    double.habits(*(name for name in HABITS if name not in ("ids-lower", "locations-plain")))
    made = outcomes(bootstrap)
    assert len(made) == 6
    assert set(made) <= {"made", "repaired"}
    before = changes(double)
    double.habits(*(name for name in HABITS if name not in ("ids-upper", "locations-pretty")))
    assert set(outcomes(bootstrap)) == {"there"}
    assert changes(double) == before


def test_prune_takes_signatures_with_their_image_only(bootstrap: Bootstrap) -> None:
    double = bootstrap.double
    double.register()
    env = bootstrap.env(double.owner)
    group = ("--resource-group", f"{SLUG}-shared")
    run(env, "az", "group", "create", "--name", group[1], "--location", "westeurope")
    run(env, "az", "acr", "create", "--name", "irisservice", *group, "--sku", "Basic")
    repository = Repository({**os.environ, **env}, "irisservice", SLUG)
    old = repository.image("old", "v1")
    signature = repository.about(old, "application/vnd.dev.sigstore.bundle.v0.3+json")
    part = repository.image("part")
    index = repository.index(part)
    kept = {index, part, repository.about(index, "application/spdx+json")}
    pruned = bootstrap.deploy(env, "prune", "--keep", "1")
    assert pruned.code == 0, pruned.err
    assert pruned.out.split() == [signature, old]
    place = ("--registry", "irisservice", "--name", SLUG)
    left = json.loads(run(env, "az", "acr", "manifest", "list-metadata", *place))
    assert {each["digest"] for each in left} == kept
