"""What Azure says of an app, read for a rollout and for a diagnosis, without Azure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from engine.deploy.targets.containerapps.client import readable
from engine.deploy.targets.containerapps.evidence import read_app
from engine.deploy.targets.containerapps.live import live_of
from engine.deploy.targets.containerapps.shape import REVISION_TAG

Json = dict[str, Any]
NAME = "iris-staging--r1"
TEMPLATE: Json = {
    "containers": [
        {
            "name": "service",
            "image": "iris.azurecr.io/iris@sha256:0",
            "resources": {"cpu": 1, "memory": "2Gi"},
            "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "K", "secretRef": "k-r1"}],
        }
    ],
    "scale": {"minReplicas": 0, "maxReplicas": 1},
}


def app(**properties: Any) -> Json:
    return {
        "name": "iris-staging",
        "location": "West Europe",
        "tags": {REVISION_TAG: NAME, "rollout-state": "verifying"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/I": {}}},
        "properties": {
            "provisioningState": "Succeeded",
            "runningStatus": "Running",
            "configuration": {
                "ingress": {"fqdn": "iris-staging.calm.example"},
                "registries": [{"server": "iris.azurecr.io", "identity": "/I"}],
            },
            "template": TEMPLATE,
            **properties,
        },
    }


def revision(**properties: Any) -> Json:
    return {
        "name": NAME,
        "properties": {
            "active": True,
            "provisioningState": "Provisioned",
            "runningState": "Running",
            "template": TEMPLATE,
            "fqdn": f"{NAME}.calm.example",
            **properties,
        },
    }


def replica(**container: Any) -> Json:
    shown = {"name": "service", "restartCount": 0, "runningState": "Running", **container}
    return {"name": "x", "properties": {"createdTime": "2026-11-21", "containers": [shown]}}


def event(message: str, **more: Any) -> str:
    return json.dumps({"RevisionName": NAME, "Type": "Warning", "Msg": message, **more})


def test_a_revision_that_runs_is_running_and_settled() -> None:
    live = live_of(app(), revision(), [replica()])
    assert (live.settled, live.running, live.failure) == (True, True, None)
    assert live.address == "https://iris-staging.calm.example"
    assert REVISION_TAG not in live.tags


@pytest.mark.parametrize(
    ("shown", "of_revision"),
    [
        *(({"provisioningState": word}, {}) for word in ("InProgress", "Waiting", "Tomorrow")),
        *(({}, {"provisioningState": word}) for word in ("Provisioning", "Tomorrow")),
        ({}, {"runningState": "Deprovisioning"}),
    ],
)
def test_what_azure_works_on_is_not_settled(shown: Json, of_revision: Json) -> None:
    assert not live_of(app(**shown), revision(**of_revision), []).settled


SERVING: list[tuple[Json, list[Json]]] = [
    *(
        ({"runningState": word, "healthState": "Healthy", "replicas": 2}, [replica(ready=True)])
        for word in (
            "Running",
            "RunningAtMaxScale",
            "Processing",
            "Degraded",
            "Activating",
            "Unknown",
        )
    ),
    ({"runningState": "Processing", "healthState": "None"}, [replica(ready=True)]),
    (
        {"runningState": "Degraded", "healthState": "Unhealthy"},
        [replica(ready=True, restartCount=3), replica(ready=False, runningState="Waiting")],
    ),
]


@pytest.mark.parametrize(("of_revision", "replicas"), SERVING)
def test_a_revision_with_a_replica_that_is_ready_runs(
    of_revision: Json, replicas: list[Json]
) -> None:
    """Microsoft's table of running states: "Processing" and "Degraded" have replicas that run."""
    live = live_of(app(), revision(**of_revision), replicas)
    assert (live.settled, live.running, live.failure) == (True, True, None)


@pytest.mark.parametrize("word", ["Processing", "Degraded", "Activating", "Unknown", "Tomorrow"])
def test_a_revision_without_such_a_replica_is_waited_for(word: str) -> None:
    shown = revision(runningState=word, healthState="Unhealthy")
    live = live_of(app(), shown, [replica(ready=False, restartCount=1)])
    assert (live.running, live.failure) == (False, None)


def test_the_reason_that_azure_names_is_shown() -> None:
    """As in published answers of apps whose port was wrong."""
    reason = (
        "Deployment Progress Deadline Exceeded. 0/1 replicas ready. The TargetPort 80 does not "
        "match the listening port 8080."
    )
    shown = {"runningState": "Degraded", "healthState": "Unhealthy", "runningStateDetails": reason}
    live = live_of(app(), revision(**shown), [replica(ready=False)])
    assert reason in str(live.failure)
    assert reason in live.state


@pytest.mark.parametrize(
    "text", ["2026-06-22 02:24:25.7316352 +0000 UTC", "2026-06-22T02:24:25.731635+00:00"]
)
def test_the_time_of_an_event_is_read_in_both_forms(text: str) -> None:
    group = read_app(app(), revision(), [], [event("x", TimeStamp=text)])
    assert group.containers[0].events[0].last == datetime(2026, 6, 22, 2, 24, 25, 731635, UTC)


def test_an_app_that_sleeps_runs() -> None:
    live = live_of(app(), revision(runningState="ScaledToZero", replicas=0), [])
    assert live.running
    assert live.failure is None


@pytest.mark.parametrize(
    ("of_revision", "replicas", "words"),
    [
        ({"provisioningError": "no room"}, [], "no room"),
        ({"provisioningState": "Failed"}, [], "could not be made"),
        ({"active": False, "runningState": "Stopped"}, [], "deactivated"),
        ({"runningState": "Failed"}, [], "does not come up"),
        (
            {"runningState": "Processing"},
            [replica(restartCount=3, runningStateDetails="CrashLoopBackOff")],
            "keeps crashing, 3 times so far: CrashLoopBackOff",
        ),
    ],
)
def test_what_cannot_come_up_says_why(of_revision: Json, replicas: list[Json], words: str) -> None:
    assert words in (live_of(app(), revision(**of_revision), replicas).failure or "")


def test_a_first_revision_that_could_not_be_made_is_a_failure() -> None:
    assert live_of(app(provisioningState="Failed"), None, []).failure


def test_a_stopped_app_is_no_failure() -> None:
    live = live_of(app(runningStatus="Stopped"), revision(runningState="Stopped"), [])
    assert (live.stopped, live.running, live.failure, live.state) == (True, False, None, "stopped")


def test_the_log_is_what_the_service_wrote() -> None:
    lines = [
        json.dumps({"TimeStamp": "t", "Log": "Connecting to the container 'service'..."}),
        json.dumps({"TimeStamp": "t", "Log": "Successfully Connected to container: 'service'"}),
        json.dumps({"TimeStamp": "t", "Log": "F error: no such model"}),
        json.dumps({"TimeStamp": "t", "Log": '{"level": "info"}'}),
        "plain",
    ]
    assert list(readable(lines)) == ["error: no such model", '{"level": "info"}', "plain"]


def test_evidence_has_the_shape_of_a_container_groups() -> None:
    log = [
        "no JSON",
        event("of another one", RevisionName="iris-staging--r0"),
        event("Probe of Liveness failed with status code: 500", Reason="ProbeFailed", Count=3),
        event("Container 'service' was terminated with exit code '137' and reason 'OOMKilled'"),
    ]
    waiting = replica(restartCount=2, runningState="Waiting", runningStateDetails="BackOff")
    group = read_app(app(), revision(), [replica(), waiting], log)
    container = group.containers[0]
    assert (container.restarts, container.memory_gb) == (2, 2.0)
    assert container.current is not None and container.current.detail == "BackOff"
    assert [(end.exit_code, end.detail) for end in container.ends] == [(137, "OOMKilled")]
    assert container.events[0].message == "Liveness probe failed with status code: 500"
    assert len(container.events) == 2
    assert (container.names, container.variables) == (("LOG_LEVEL", "K"), {"LOG_LEVEL": "info"})
    assert group.credentials == {"iris.azurecr.io": "/i"}
    assert group.identities == ("/i",)


def test_evidence_needs_no_revision() -> None:
    group = read_app(app(provisioningState="Failed"), None, [], [])
    assert group.provisioning == "Failed"
    assert group.containers[0].current is None
