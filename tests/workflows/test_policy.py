"""What the workflows promise, and that each rule finds a workflow that breaks it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workflows import policy
from tests.workflows.policy import Workflow, rules

REPOSITORY = Path(__file__).resolve().parents[2]
OWN = rules.read(REPOSITORY / ".github" / "workflows")
GENERATED = rules.read(policy.GENERATED / ".github" / "workflows")
PREPARE = policy.GENERATED / "engine/actions/prepare/action.yml"
DEPLOY = next(each for each in GENERATED if each.name == "deploy.yml")


def test_there_are_workflows() -> None:
    assert [each.name for each in OWN] == [
        *("nightly.yml", "refresh.yml", "release.yml", "test.yml"),
    ]
    names = ["ci", "deploy", "power", "prune", "rebuild", "rollback", "template"]
    assert [each.name for each in GENERATED] == [f"{name}.yml" for name in names]


@pytest.mark.parametrize("rule", policy.GENERAL, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("workflow", [*OWN, *GENERATED], ids=lambda each: each.name)
def test_a_rule_is_kept(rule: Callable[[Workflow], list[str]], workflow: Workflow) -> None:
    assert rule(workflow) == []


def test_one_digest_is_promoted_through_every_gate() -> None:
    assert policy.promotion(DEPLOY) == []


def test_the_aggregate_check_asks_every_job() -> None:
    for workflow, job in ((GENERATED[0], "ci"), (OWN[-1], "tested")):
        others = set(workflow.jobs) - {job, "findings"}
        assert set(workflow.jobs[job]["needs"]) == others
        wanted = " ".join(["success"] * len(others))
        assert workflow.jobs[job]["steps"][0]["run"] == f'test "$RESULTS" = "{wanted}"'


def test_the_outcome_hears_of_every_gate() -> None:
    assert set(DEPLOY.jobs["outcome"]["needs"]) == set(DEPLOY.jobs) - {"outcome"}
    assert DEPLOY.jobs["outcome"]["if"] == "always()"


def test_equal_actions_have_equal_pins() -> None:
    pins: dict[str, set[str]] = {}
    for text in (*(workflow.text for workflow in (*OWN, *GENERATED)), PREPARE.read_text("utf-8")):
        for action, pin in re.findall(r"uses: ([\w./-]+)@(\w+ # \S+)", text):
            pins.setdefault(action, set()).add(pin)
    assert {action: found for action, found in pins.items() if len(found) > 1} == {}


PLANTED: list[tuple[Callable[[Workflow], list[str]], str, str]] = [
    (rules.permissions, "permissions: {}\n", "permissions: read-all\n"),
    (rules.permissions, "      contents: read # check out\n", "      contents: read\n"),
    (rules.time_limits, "    timeout-minutes: 20\n", ""),
    (rules.pins, "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7"),
    (rules.pins, " # v7.0.1", ""),
    (rules.scripts, "run: make lint", 'run: make lint "${{ github.ref }}"'),
    (policy.one_line, "run: make lint", "run: |\n          make\n          make lint"),
    (policy.credentials, "          persist-credentials: false\n", "          fetch-depth: 1\n"),
    (policy.credentials, "secrets.API_KEYS", "secrets.OTHER"),
    (rules.passwords, "secrets.API_KEYS", "secrets.AZURE_CREDENTIALS"),
    (rules.passwords, "          client-id:", "          creds: a password\n          client-id:"),
    (
        policy.identities,
        "      contents: read # check out; the scan itself needs nothing",
        "      id-token: write # no",
    ),
    (policy.identities, "      id-token: write # log in to Azure as staging's own identity\n", ""),
    (policy.subjects, "      name: registry # ", "      name: staging # "),
    (policy.exceptions, "run: mv grype.json .grype.yaml", "run: rm grype.json"),
    (policy.caches, "          install: .venv/.deploy\n", "          cache: pip\n"),
    (
        policy.concurrency,
        "      group: deploy-production\n      cancel-in-progress: false",
        "      group: deploy-production\n      cancel-in-progress: true",
    ),
    (policy.concurrency, "group: deploy-staging", "group: anything"),
    (
        policy.cancellation,
        "run: exec .venv/bin/python -m engine.deploy up",
        "run: .venv/bin/python -m engine.deploy up",
    ),
    (policy.cancellation, "(cancelled() || failure()) &&", "failure() &&"),
    (
        policy.cancellation,
        'deploy recover production --image "$IMAGE" --undo',
        "deploy status production",
    ),
    (policy.promotion, 'up production --image "$IMAGE"', 'up production --image "$TAG"'),
    (policy.promotion, "needs: [publish, staging, load, quality]", "needs: [publish, staging]"),
    (policy.promotion, ", load, quality]", ", load]"),
    (policy.promotion, "comparing --gate", "comparing --help"),
    (policy.promotion, "baseline production --out", "baseline staging --out"),
    (
        policy.promotion,
        "      IMAGE: ${{ needs.publish.outputs.image }}",
        "      IMAGE: ${{ vars.IMAGE }}",
    ),
    (policy.promotion, "cosign verify", "echo cosign verify"),
    (policy.promotion, "    needs: staging\n", "    needs: staging\n    if: always()\n"),
    (policy.promotion, "    name: Scan\n", "    name: Scan\n    continue-on-error: true\n"),
    (policy.promotion, "run: make test", "run: make test || true"),
    (policy.promotion, "        run: make lint", "        if: false\n        run: make lint"),
    (policy.promotion, "fail-build: true", "fail-build: false"),
    (policy.promotion, "severity-cutoff: high", "severity-cutoff: critical"),
    (policy.promotion, 'push --built service:candidate --expect-id "$IMAGE_ID"', "push"),
    (policy.promotion, "${{ needs.staging.outputs.url }}", "http://127.0.0.1"),
    (policy.promotion, "if: ${{ !needs.staging.outputs.private }}", "if: false"),
    (policy.promotion, "if: steps.up.outputs.private", "if: false"),
]


@pytest.mark.parametrize(
    ("rule", "good", "bad"), PLANTED, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_planted_fault_is_found(
    rule: Callable[[Workflow], list[str]], good: str, bad: str
) -> None:
    assert good in DEPLOY.text
    assert rule(Workflow("planted.yml", DEPLOY.text.replace(good, bad, 1))) != []


@pytest.mark.parametrize("action", ["./engine/actions/python", f"docker://a/b@sha256:{'a' * 64}"])
def test_what_cannot_change_unnoticed_needs_no_pin(action: str) -> None:
    assert rules.pins(Workflow("own.yml", f"jobs:\n  own:\n    uses: {action}\n")) == []


@pytest.mark.parametrize("text", ["jobs: [", "name: Without\n", "- a list\n", "jobs:\n"])
def test_what_is_no_workflow_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"own\.yml (is not YAML|has no jobs)"):
        Workflow("own.yml", text)
