"""The rules that only the template's own workflows keep, beside those for every owner.

Each function gives the violations of one rule, as sentences; none means that the rule is kept.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

GENERATED = Path(__file__).resolve().parents[2] / "{{cookiecutter.project_slug}}"
sys.path.insert(0, str(GENERATED))
# Byte code beside the sources would be copied into every project that is rendered.
WRITES, sys.dont_write_bytecode = sys.dont_write_bytecode, True

from engine.upkeep import workflow_rules as rules  # noqa: E402
from engine.upkeep.workflow_rules import Job, Workflow  # noqa: E402

sys.dont_write_bytecode = WRITES

__all__ = ["GENERATED", "Workflow", "rules"]

LOGIN = "azure/login@"
SCANNERS = ("anchore/", "aquasecurity/")


IDENTITIES = {"AZURE_BUILD_CLIENT_ID": "registry", "AZURE_PRUNE_CLIENT_ID": "prune"}


def subjects(workflow: Workflow) -> list[str]:
    """Each identity is trusted by the environment of its job, which no other job may name."""
    found = []
    for name, job in workflow.jobs.items():
        environment = str(job.get("environment", {}).get("name", ""))
        text = yaml.safe_dump(job)
        for client, wanted in IDENTITIES.items():
            if (client in text) != (environment == wanted):
                found.append(f"job {name}: {client} in the environment {environment or 'none'}")
    return found


def exceptions(workflow: Workflow) -> list[str]:
    """Every scan reads the owner's exceptions, which Grype takes from .grype.yaml."""
    found = []
    for name, job in workflow.jobs.items():
        steps = job.get("steps", [])
        scans = [
            at for at, step in enumerate(steps) if "/scan-action@" in str(step.get("uses", ""))
        ]
        before = [str(step.get("run")) for step in steps[: scans[0]]] if scans else []
        if scans and not any(run.endswith(" .grype.yaml") for run in before):
            found.append(f"job {name}: the scan knows no exceptions")
    return found


def one_line(workflow: Workflow) -> list[str]:
    """A script is one line; what needs more is a program with tests."""
    return [
        f"job {job}: a script of several lines: {step['run'].splitlines()[0]} …"
        for job, step in workflow.steps()
        if "\n" in str(step.get("run", "")).strip()
    ]


def credentials(workflow: Workflow) -> list[str]:
    """No checkout leaves a token behind, and the keys of the clients are the only secret."""
    found = [
        f"job {job}: the checkout keeps its token"
        for job, step in workflow.steps()
        if "actions/checkout@" in step.get("uses", "")
        and step.get("with", {}).get("persist-credentials") is not False
    ]
    secrets = set(re.findall(r"secrets\.(\w+)", workflow.text)) - {"API_KEYS"}
    return found + [f"a stored secret: {name}" for name in sorted(secrets)]


def identities(workflow: Workflow) -> list[str]:
    """`id-token: write` only where a login follows; never beside a third-party scanner."""
    found = []
    for name, job in workflow.jobs.items():
        uses = [str(step.get("uses", "")) for step in job.get("steps", [])]
        may = job.get("permissions", {}).get("id-token") == "write"
        if may != any(use.startswith(LOGIN) for use in uses):
            found.append(f"job {name}: id-token and azure/login do not belong together")
        scans = any(use.startswith(SCANNERS) for use in uses)
        text = yaml.safe_dump(job)
        if scans and (may or "secrets." in text or "environment" in job):
            found.append(f"job {name}: a scanner beside an identity or a secret")
        if scans and any(v == "write" for v in job.get("permissions", {}).values()):
            found.append(f"job {name}: a scanner with write access")
    return found


def caches(workflow: Workflow) -> list[str]:
    """Nothing that is released is built from a cache that another run may have filled."""
    found = []
    for job, step in workflow.steps():
        if step.get("uses", "").startswith("actions/cache"):
            found.append(f"job {job}: actions/cache")
        if any(str(key).startswith("cache") for key in step.get("with", {})):
            found.append(f"job {job}: a cache of {step.get('uses')}")
    return found


def concurrency(workflow: Workflow) -> list[str]:
    """Every job that logs in to an environment queues with the others of it, uncancelled."""
    whole = workflow.content.get("concurrency", {})
    found = [] if whole else ["no concurrency group"]
    for name, job in workflow.jobs.items():
        uses = [str(step.get("uses", "")) for step in job.get("steps", [])]
        if not any(use.startswith(LOGIN) for use in uses):
            continue
        if any(group.get("cancel-in-progress") for group in (whole, job.get("concurrency", {}))):
            found.append(f"job {name}: a deploy could be cut off")
        if job.get("environment", {}).get("deployment") is False:
            continue  # it deploys nothing there
        environment = job.get("environment", {}).get("name")
        queue = "rollback" if workflow.name == "rollback.yml" else "deploy"
        groups = {whole.get("group"), job.get("concurrency", {}).get("group")}
        if environment and f"{queue}-{environment}" not in _plain(groups):
            found.append(f"job {name}: not in the queue of {environment}")
    return found


CHANGES_AZURE = re.compile(r'-m engine.deploy (up|rollback|recover|stop|start|"\$ACTION") ')
RECOVERS = "(cancelled() || failure()) && steps.{}.outcome != 'skipped'"


def cancellation(workflow: Workflow) -> list[str]:
    """What changes Azure receives the runner's signals; a job that rolls out recovers at its end.

    The runner signals the shell of a step, so the program has to replace the shell.
    """
    found = []
    for name, job in workflow.jobs.items():
        steps = [
            each for each in job.get("steps", []) if CHANGES_AZURE.search(str(each.get("run")))
        ]
        found += [
            f"job {name}: no signal reaches: {each['run']}"
            for each in steps
            if not each["run"].startswith("exec .venv/bin/python -m engine.deploy ")
        ]
        rollouts = [each for each in steps if re.search(" (up|rollback) ", each["run"])]
        if not rollouts:
            continue
        last = job["steps"][-1]
        if " recover " not in str(last.get("run")) or not str(last["run"]).endswith(" --undo"):
            found.append(f"job {name} does not end with a recovery")
        elif last.get("if") != RECOVERS.format(rollouts[0]["id"]):
            found.append(f"job {name} recovers only if: {last.get('if')}")
        secrets = {key for each in rollouts for key in each["env"] if key != "REVISION"}
        if secrets - set(last.get("env", {})):
            found.append(f"job {name}: the recovery lacks {sorted(secrets - set(last['env']))}")
    return found


def _plain(groups: set[str | None]) -> set[str]:
    return {str(group) for group in groups if group}


GENERAL: tuple[Callable[[Workflow], list[str]], ...] = (
    *rules.RULES,
    one_line,
    credentials,
    identities,
    subjects,
    exceptions,
    caches,
    concurrency,
    cancellation,
)


def promotion(workflow: Workflow) -> list[str]:
    """deploy.yml: one build; staging and production get its digest, in this order, after gates."""
    found = []
    builds = [
        job for job, step in workflow.steps() if "engine.deploy.image build" in str(step.get("run"))
    ]
    if builds != ["build"]:
        found.append(f"built in {builds}")
    for name in ("staging", "production"):
        job = workflow.jobs[name]
        if job.get("env", {}).get("IMAGE") != "${{ needs.publish.outputs.image }}":
            found.append(f"{name} does not deploy what was published")
        ups = [step["run"] for step in job["steps"] if "engine.deploy up " in str(step.get("run"))]
        if ups != [
            f'exec .venv/bin/python -m engine.deploy up {name} --image "$IMAGE" --edge "$EDGE"'
        ]:
            found.append(f"{name} deploys by {ups}")
        if job.get("environment", {}).get("name") != name:
            found.append(f"{name} is not in its environment")
        texts = [str(step.get("run")) for step in job["steps"]]
        verifies = [text.startswith("cosign verify ") and '"$IMAGE"' in text for text in texts]
        verified = [at for at, each in enumerate(verifies) if each]
        deployed = [at for at, text in enumerate(texts) if "engine.deploy up " in text]
        if not verified or verified[0] > deployed[0]:
            found.append(f"{name} deploys before it has verified the signature")
    found += _order(workflow)
    found += _gates(workflow)
    return found


ORDER = {
    "test": set[str](),
    "build": {"test"},
    "scan": {"build"},
    "publish": {"build", "scan"},
    "staging": {"publish"},
    "load": {"staging"},
    "quality": {"publish"},
    "production": {"publish", "staging", "load", "quality"},
}


def _order(workflow: Workflow) -> list[str]:
    found = []
    for name, wanted in ORDER.items():
        needs = workflow.jobs[name].get("needs", [])
        if set([needs] if isinstance(needs, str) else needs) != wanted:
            found.append(f"{name} waits for {needs}")
        if "if" in workflow.jobs[name]:
            found.append(f"{name} may run although a gate before it failed")
        if any("continue-on-error" in each for each in _with_steps(workflow.jobs[name])):
            found.append(f"{name} forgives a failing step")
    return found


PUSH = (
    '.venv/bin/python -m engine.deploy push --built service:candidate --expect-id "$IMAGE_ID" '
    '--built-edge "$EDGE_ID"'
)
BASELINE = '.venv/bin/python -m engine.deploy baseline production --out "$RUNNER_TEMP/baseline"'
COMPARE = '.venv/bin/python -m engine.comparing --gate "$RUNNER_TEMP/baseline"'
LOAD_INSIDE = "exec .venv/bin/python -m engine.deploy load staging"
GATES: Mapping[str, tuple[Job, ...]] = {
    "test": ({"run": "make lint"}, {"run": "make test"}),
    "scan": (
        {
            "uses": "anchore/scan-action",
            "sbom": "sbom.spdx.json",
            "severity-cutoff": "high",
            "only-fixed": True,
            "fail-build": True,
        },
    ),
    "publish": ({"run": PUSH}, {"run": BASELINE}),
    "quality": ({"run": COMPARE},),
    "staging": ({"if": "steps.up.outputs.private", "run": LOAD_INSIDE},),
    "load": (
        {
            "run": '.venv/bin/python -m engine.load --url "$URL" --env staging --out load-report',
            "URL": "${{ needs.staging.outputs.url }}",
            # Where staging is private, its own job does the same from inside.
            "if": "${{ !needs.staging.outputs.private }}",
        },
    ),
}
"""Steps whose failure ends a run, and what makes them fail."""


def _gates(workflow: Workflow) -> list[str]:
    found = []
    for name, wanted in GATES.items():
        steps = [
            {
                **{"run": step.get("run"), "uses": str(step.get("uses", "")).partition("@")[0]},
                **{"if": step.get("if")},
                **step.get("with", {}),
                **step.get("env", {}),
            }
            for step in workflow.jobs[name]["steps"]
        ]
        found += [
            f"{name} does not always do: {each}"
            for each in wanted
            if not any(({"if": None} | each).items() <= step.items() for step in steps)
        ]
    return found


def _with_steps(job: Job) -> list[Job]:
    return [job, *job["steps"]]
