"""The documents and the client of the deploy, against a real control plane."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from engine.deploy.config import names
from engine.deploy.monitoring import queries
from engine.deploy.targets.aks import document as documents
from engine.deploy.targets.aks.client import Access, KubeClient, KubeError
from engine.deploy.targets.aks.environment import AksEnvironment
from engine.deploy.targets.aks.rules import NAME_LENGTH
from engine.deploy.targets.base import Document, Places, Release

from tests.engine.kubernetes.conftest import DEPLOYER, NAMESPACE, NOBODY, READER
from tests.engine.kubernetes.control_plane import ControlPlane

pytestmark = pytest.mark.slow

SERVER = "iris.azurecr.io"
RELEASE = Release(f"{SERVER}/iris@sha256:{'0' * 64}", "a" * 40, "sha256:" + "1" * 64)
PLACES = Places("00000000-0000-0000-0000-000000000001", SERVER, "/identity")


def environment(**fields: object) -> AksEnvironment:
    return AksEnvironment.model_validate(
        {
            "stage": "staging",
            "target": "aci",
            "region": "westeurope",
            "resource_group": "iris-staging",
            "name": NAMESPACE,
            "cluster": {"name": "iris", "resource_group": "iris-cluster"},
            "telemetry": False,
            **fields,
        }
    )


def document(rollout: str, **fields: object) -> Document:
    tags = {names.TAG_ROLLOUT: rollout}
    return documents.render(environment(**fields), RELEASE, PLACES, tags)


def deployment(document: Document) -> documents.Object:
    """That of the release."""
    return next(each for each in document["items"] if each["kind"] == "Deployment")


def client(plane: ControlPlane, who: str) -> KubeClient:
    access = Access(plane.server, plane.authority, f"token-of-{who}")
    return KubeClient(lambda: access, NAMESPACE, sleep=lambda _: None)


KINDS = {
    "one pod": {},
    "several, with secrets": {
        "replicas": {"min": 2, "max": 5},
        "secrets": ["API_KEYS"],
        "variables": {"LOG_LEVEL": "info"},
    },
    "a GPU": {"gpu": "t4", "cpu": 3.5, "memory_gb": 20},
}


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)
def test_a_deploy_may_make_all_of_a_release_and_nothing_is_left_to_change(
    control_plane: ControlPlane, fields: dict[str, object]
) -> None:
    """With the role Writer of the namespace; every field is known to Kubernetes."""
    asked = client(control_plane, DEPLOYER)
    wanted = document(f"r{list(KINDS.values()).index(fields)}", **fields)
    for each in wanted["items"]:
        if each["kind"] == "Secret":
            each["stringData"] = dict.fromkeys(each["stringData"], "v")
        asked.apply(each)
    name = deployment(wanted)["metadata"]["name"]
    found = asked.get("Deployment", name)
    assert found is not None
    pods = found["spec"]["template"]["spec"]
    own = deployment(wanted)["spec"]["template"]["spec"]
    assert pods["containers"][0]["image"] == RELEASE.image
    assert pods["containers"][0]["lifecycle"] == own["containers"][0]["lifecycle"]
    # Applied again it is the same object: nothing is changed on the way.
    again = asked.apply(deployment(wanted))
    assert again["metadata"]["generation"] == found["metadata"]["generation"]


@pytest.mark.parametrize("name", ["iris", "i" * NAME_LENGTH])
def test_the_saved_queries_know_pods_by_their_names(control_plane: ControlPlane, name: str) -> None:
    """Kubernetes gives the names, and cuts what is too long."""
    asked = client(control_plane, DEPLOYER)
    wanted = deployment(document("20261201001122-4f9c1a", name=name, namespace=NAMESPACE))
    wanted["spec"]["template"]["spec"]["serviceAccountName"] = NAMESPACE
    asked.apply(wanted)
    pods: list[documents.Object] = []
    for _ in range(100):
        if pods := asked.list("Pod", {documents.NAME_LABEL: name}):
            break
        subprocess.run(["sleep", "0.1"], check=True)
    [pod] = [each["metadata"]["name"] for each in pods]
    lines = (queries.FOLDER / "lines.kql").read_text(encoding="utf-8")
    [pattern] = re.findall(r'pod matches regex strcat\("\^", service, "(.+)"\)', lines)
    assert re.match(name + pattern, pod)
    assert not re.match(name + pattern, pod.replace(name, f"{name}-r2", 1))
    assert not re.match(name + pattern, f"{name}-approuting-istio-7d9c5b8f6-x2x4z")


def test_an_unknown_field_is_refused(control_plane: ControlPlane) -> None:
    wanted = deployment(document("typo"))
    wanted["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(KubeError, match="readynessProbe"):
        client(control_plane, DEPLOYER).apply(wanted)


def test_a_pod_with_more_rights_than_the_namespace_allows_is_not_made(
    control_plane: ControlPlane,
) -> None:
    asked = client(control_plane, DEPLOYER)
    wanted = deployment(document("root"))
    wanted["spec"]["template"]["spec"]["securityContext"] = {}
    asked.apply(wanted)
    name = wanted["metadata"]["name"]
    told = ""
    for _ in range(100):
        found = asked.get("Deployment", name) or {}
        conditions = found.get("status", {}).get("conditions") or []
        told = " ".join(each.get("message") or "" for each in conditions)
        if "violates PodSecurity" in told:
            break
        subprocess.run(["sleep", "0.1"], check=True)
    assert "violates PodSecurity" in told and "runAsNonRoot" in told


def test_the_switch_is_one_change_of_the_live_service(control_plane: ControlPlane) -> None:
    asked = client(control_plane, DEPLOYER)
    first, second = document("first"), document("second")
    asked.apply(documents.live_service(first))
    wanted = documents.live_service(second)
    change = {
        "metadata": {"annotations": wanted["metadata"]["annotations"]},
        "spec": {"selector": wanted["spec"]["selector"]},
    }
    before = asked.get("Service", NAMESPACE)
    after = asked.merge("Service", NAMESPACE, change)
    assert before is not None
    assert after["spec"]["clusterIP"] == before["spec"]["clusterIP"]
    assert after["spec"]["selector"][documents.RELEASE_LABEL].endswith("second")
    assert documents.tags_of({"items": [after]})[names.TAG_ROLLOUT] == "second"


@pytest.mark.parametrize(
    ("who", "kind", "status"),
    [(NOBODY, "Deployment", 403), (READER, "Secret", 403), (DEPLOYER, "Secret", 0)],
)
def test_roles_decide_what_may_be_read(
    control_plane: ControlPlane, who: str, kind: str, status: int
) -> None:
    asked = client(control_plane, who)
    if not status:
        asked.list(kind, {})
        return
    with pytest.raises(KubeError) as refused:
        asked.list(kind, {})
    assert refused.value.status == status and refused.value.reason == "Forbidden"


def test_a_token_that_is_not_valid_is_no_login(control_plane: ControlPlane) -> None:
    with pytest.raises(KubeError) as refused:
        client(control_plane, "somebody-else").get("Service", NAMESPACE)
    assert refused.value.status == 401


def test_a_token_that_has_ended_is_asked_for_again_once(control_plane: ControlPlane) -> None:
    """A rollout may last longer than a token."""
    tokens = iter(["token-of-somebody-else", f"token-of-{DEPLOYER}"])

    def access() -> Access:
        return Access(control_plane.server, control_plane.authority, next(tokens))

    asked = KubeClient(access, NAMESPACE, sleep=lambda _: None)
    assert asked.get("Service", "no-such-service") is None
    assert asked.login == {"Authorization": f"Bearer token-of-{DEPLOYER}"}


def test_kubectl_takes_the_document_and_sees_no_difference_afterwards(
    control_plane: ControlPlane, kubectl: Path, tmp_path: Path
) -> None:
    """The official kubectl: what `plan` prints is what the deploy applied."""
    wanted = document("kubectl", replicas={"min": 2, "max": 3})
    asked = client(control_plane, DEPLOYER)
    for each in wanted["items"]:
        asked.apply(each)
    file = tmp_path / "release.yaml"
    file.write_text(yaml.safe_dump(wanted), encoding="utf-8")
    config = control_plane.kubeconfig(control_plane.admin)
    command: list[str | Path] = [
        kubectl,
        "--kubeconfig",
        config,
        "diff",
        "--server-side",
        "--force-conflicts",
    ]
    done = subprocess.run(
        [*command, "--field-manager", "deploy", "-f", file], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
