"""The last word of the deploy workflow: what happened, why, and what to do next.

`python3 -m engine.deploy.outcome` reads the results of all jobs from JOBS, the JSON of the
workflow's ``needs``, and writes the summary page's first lines. Standard library only: it runs
on a bare checkout, whatever failed before it. Exit code 0 when everything passed, else 1.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NEW, AS_BEFORE, UNKNOWN = "new", "as-before", "unknown"
"""Values of the step output ``serves``: what an environment serves after a rollout."""

RIGHT, WRONG, UNPROVED = "right", "wrong", "unproved"
"""Values of the step output ``verdict``: what `verify` found after the deploy."""

SUCCESS = "success"
SKIPPED = "skipped"
CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Gate:
    """A job of the workflow.

    ``stopped`` is what its failure means for the environments. Where ``stage`` is set, the job
    deploys to it, and its outputs say what that environment serves.
    """

    title: str
    stopped: str
    fix: str
    stage: str = ""


UNTOUCHED = "Nothing was deployed: staging and production run what they ran before."
STAGING_ONLY = "Production was not touched."
UNPROVED_HEADLINE = "In production; not verified from outside"
UNPROVED_FIX = (
    "It was verified before it was kept. Afterwards it could not be asked from outside, and "
    "nothing shows that it is wrong, so it stays. Look again: "
    "`.venv/bin/python -m engine.deploy verify production`."
)

GATES: Mapping[str, Gate] = {
    "test": Gate(
        "Test",
        UNTOUCHED,
        "Run `make lint` and `make test` on your machine; the job's log names the test.",
    ),
    "build": Gate(
        "Build",
        UNTOUCHED,
        "The job's log ends with the cause; `make image` does the same on your machine.",
    ),
    "scan": Gate(
        "Scan",
        UNTOUCHED,
        "The job's log lists each vulnerability with the version that repairs it: run the workflow "
        "Rebuild, or `make lock UPGRADE=1`, and merge what it changes. What cannot be repaired yet "
        "may be allowed for a time in `deploy/vulnerabilities.yaml`.",
    ),
    "publish": Gate(
        "Publish",
        UNTOUCHED,
        "Was the login refused, or the push? `.venv/bin/python -m engine.deploy bootstrap` repairs "
        "identities, federated credentials and roles; it may be run again at any time.",
    ),
    "staging": Gate(
        "Staging",
        STAGING_ONLY,
        "The section of this page on staging names cause and fix; "
        "`.venv/bin/python -m engine.deploy doctor staging` looks again.",
        "staging",
    ),
    "load": Gate(
        "Load test",
        STAGING_ONLY + " Staging keeps the new release, so that it can be looked at.",
        "The table on this page says which objective was missed. Make the model or the limits "
        "right (`make profile`), or change `load/slo.yaml` if it promises too much.",
    ),
    "quality": Gate(
        "Quality",
        STAGING_ONLY + " Staging may have the new release, so that it can be looked at.",
        "The table on this page compares the model with the one that production serves. Correct "
        "the model, or change `quality:` in `load/slo.yaml` if it asks for too much.",
    ),
    "production": Gate(
        "Production",
        "",
        "The section of this page on production names cause and fix; "
        "`.venv/bin/python -m engine.deploy doctor production` looks again.",
        "production",
    ),
}


def failed_gate(results: Mapping[str, str]) -> str | None:
    """The first job that did not pass, in the order of the workflow; None if all passed."""
    for name in GATES:
        result = results.get(name, SKIPPED)
        if result not in (SUCCESS, SKIPPED):
            return name
    # A job may be skipped with none before it failed: by a cancelled run, or a changed workflow.
    return next((name for name in GATES if results.get(name, SKIPPED) != SUCCESS), None)


def serves(stage: str, outputs: Mapping[str, Any]) -> str:
    """One sentence on what an environment serves, by the outputs of the job that deploys to it.

    Args:
        outputs: ``serves`` as ``up``, ``rollback`` or ``recover`` wrote it last, and ``up``, the
            outcome of that step. GitHub does not document whether a cancelled job's outputs
            arrive, so nothing is concluded where they are absent.
    """
    title, known = stage.capitalize(), outputs.get("serves")
    if known == NEW:
        return f"{title} serves the new release."
    if known == AS_BEFORE:
        return f"{title} does not serve the new release, but what was there before it."
    if not known and outputs.get("up") in (SKIPPED, "failure"):
        return f"{title} was not changed."
    return (
        f"What {stage} serves is not known: `.venv/bin/python -m engine.deploy recover {stage}` "
        "finishes or undoes an interrupted rollout and says what serves. If the job never began, "
        "nothing was changed."
    )


def summary(
    results: Mapping[str, str],
    outputs: Mapping[str, str],
    commit: str,
    deployed: Mapping[str, Mapping[str, Any]],
) -> str:
    """The page: one sentence, a table of the gates, and what to do.

    Args:
        results: job name to success, failure, cancelled or skipped.
        outputs: ``image`` and ``url`` as far as they are known.
        commit: the revision of the run.
        deployed: job name to the outputs that ``serves`` reads.
    """
    failed = failed_gate(results)
    unproved = failed is not None and _unproved(deployed.get(failed, {}))
    lines = [f"# {UNPROVED_HEADLINE if unproved else _headline(failed, results)}", ""]
    lines += [f"- commit: `{commit}`"]
    lines += [f"- {name}: {value}" for name, value in outputs.items() if value]
    lines += ["", "| gate | result |", "|---|---|"]
    lines += [f"| {gate.title} | {_mark(results.get(name))} |" for name, gate in GATES.items()]
    if failed is None:
        lines += ["", "To go back: Actions → Rollback → Run workflow."]
    elif unproved:
        lines += ["", f"**{serves(GATES[failed].stage, deployed[failed])}** {UNPROVED_FIX}"]
    else:
        gate = GATES[failed]
        known = serves(gate.stage, deployed.get(failed, {})) if gate.stage else ""
        lines += ["", f"**{' '.join(filter(None, (gate.stopped, known)))}** {gate.fix}"]
    return "\n".join(lines) + "\n"


def _unproved(outputs: Mapping[str, Any]) -> bool:
    """Whether only the question from outside, after the deploy, came to no result."""
    return outputs.get("serves") == NEW and outputs.get("verdict") == UNPROVED


def _headline(failed: str | None, results: Mapping[str, str]) -> str:
    if failed is None:
        return "In production"
    if results.get(failed) == CANCELLED:
        return f"Not in production: cancelled at {GATES[failed].title.lower()}"
    return f"Not in production: stopped at {GATES[failed].title.lower()}"


def _mark(result: str | None) -> str:
    marks = {SUCCESS: "✅ passed", "failure": "❌ failed", CANCELLED: "⚪ cancelled"}
    return marks.get(result or SKIPPED, "⚪ not run")


def _outputs(jobs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    def of(job: str, name: str) -> str:
        found = jobs.get(job, {})
        # A job that was skipped has no outputs at all.
        outputs = found.get("outputs") if found.get("result") == SUCCESS else None
        return str((outputs or {}).get(name) or "")

    image = of("publish", "image")
    quoted = f"`{image}`" if image else ""
    return {"image": quoted, "staging": of("staging", "url"), "production": of("production", "url")}


def write_output(**values: str) -> None:
    """Write outputs of the workflow's step by their names; outside of a workflow, nothing."""
    if path := os.environ.get("GITHUB_OUTPUT"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.writelines(f"{name}={value}\n" for name, value in values.items())


def main() -> int:
    """Write the page to $GITHUB_STEP_SUMMARY, and to the log."""
    jobs = json.loads(os.environ["JOBS"])
    results = {name: job["result"] for name, job in jobs.items()}
    deployed = {name: job.get("outputs") or {} for name, job in jobs.items()}
    page = summary(results, _outputs(jobs), os.environ.get("GITHUB_SHA", "unknown"), deployed)
    print(page)
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(page)
    return 0 if failed_gate(results) is None else 1


if __name__ == "__main__":
    sys.exit(main())
