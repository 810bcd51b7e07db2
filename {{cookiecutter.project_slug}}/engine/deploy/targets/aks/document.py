"""From configuration and release to the objects of Kubernetes. Pure.

A document is a List, as ``kubectl apply`` takes it: the live Service, and what belongs to one
release: its Deployment, its Secret, its autoscaler, its disruption budget, and a Service by which
it is verified. A release has a name of its own, so that its pods start beside those that serve.
The live Service leads to the pods of one release by their label, and its annotations are the tags;
one PATCH changes both.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from engine.deploy.config import names
from engine.deploy.config.environment import Probe
from engine.deploy.targets.aks.environment import AksEnvironment
from engine.deploy.targets.base import Document, Places, Release, check_image, release_tags

Object = dict[str, Any]

NAME_LABEL: Final = "app.kubernetes.io/name"
RELEASE_LABEL: Final = "deploy.service/release"
# Annotations need no prefix, but those of others may come beside them.
TAG_PREFIX: Final = "deploy.service/"
# Two Services may not ask for the same labels (AKS's deployment safeguards), so a pod has two that
# name its release: the first is what the live Service asks for.
VERIFIED_LABEL: Final = "app.kubernetes.io/instance"
APPLIED: Final = "release.deploy.service/applied"
"""The annotation by which the live Service knows the release that was applied last; no tag."""
NONE: Final = "none"
"""What the live Service's selector asks for before the first release is kept: no pod has it."""
GPU: Final = "nvidia.com/gpu"
GPU_TAINT: Final = "sku"
# The service drains for 8 s after SIGTERM; the seconds before let clients of the Service learn
# that the pod is gone. (Kubernetes documentation, "Pod termination".)
LEAVE_SECONDS: Final = 5
GRACE_SECONDS: Final = 30
STARTUP_PERIOD: Final = 2
USER: Final = 10001


def release_name(name: str, tags: Mapping[str, str]) -> str:
    """The name of what belongs to one release: the service's, and the end of its rollout's id.

    As long as no rollout has begun it is a placeholder, see ``renamed``.
    """
    if names.TAG_ROLLOUT not in tags:
        return f"{name}-release"
    plain = re.sub(r"[^a-z0-9]", "", tags[names.TAG_ROLLOUT].lower())
    return f"{name}-r{plain[-12:]}"


def render(
    environment: AksEnvironment, release: Release, places: Places, tags: Mapping[str, str]
) -> Document:
    """The complete document; every secret is there by name, with None in place of its value.

    Args:
        tags: of the rollout; they and those of the release win over the configured ones.

    Raises:
        EngineError: the image is not named by its digest, or is not in the registry of ``places``.
    """
    check_image(release.image, places.registry_server)
    everything = {**environment.tags, **release_tags(release), **tags}
    name = release_name(environment.name, everything)
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            _live(environment, name, everything),
            *_of_release(environment, release, name),
        ],
    }


def live_service(document: Document) -> Object:
    """The Service to which the address leads."""
    found: Object = document["items"][0]
    return found


def of_release(document: Document) -> list[Object]:
    """What belongs to the release alone, in the order in which it is made."""
    return list(document["items"][1:])


def own_name(document: Document) -> str:
    """The name of the release; NONE where its Deployment was not there."""
    found = (each for each in of_release(document) if each["kind"] == "Deployment")
    return next((str(each["metadata"]["name"]) for each in found), NONE)


def renamed(document: Document, name: str) -> Document:
    """The same document, for a release of this name."""
    text = json.dumps(document).replace(json.dumps(own_name(document)), json.dumps(name))
    changed: Document = json.loads(text)
    return changed


def tags_of(document: Document) -> dict[str, str]:
    """The tags in a document."""
    annotations = live_service(document)["metadata"].get("annotations") or {}
    return {
        key.removeprefix(TAG_PREFIX): value
        for key, value in annotations.items()
        if key.startswith(TAG_PREFIX)
    }


def with_tags(document: Document, tags: Mapping[str, str]) -> Document:
    """The same document with exactly these tags."""
    changed = copy.deepcopy(document)
    live_service(changed)["metadata"]["annotations"] = annotations_of(tags)
    return changed


def annotations_of(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as annotations."""
    return {TAG_PREFIX + key: value for key, value in tags.items()}


def secret_names(document: Document) -> tuple[str, ...]:
    """The secrets that the document needs values for."""
    found = (each for each in of_release(document) if each["kind"] == "Secret")
    return tuple(sorted(key for each in found for key in each["stringData"]))


def _live(environment: AksEnvironment, name: str, tags: Mapping[str, str]) -> Object:
    metadata = _metadata(environment, environment.name) | {"annotations": annotations_of(tags)}
    return _service(metadata, _labels(environment, name))


def _service(metadata: Object, selector: Mapping[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "selector": dict(selector),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _metadata(environment: AksEnvironment, own: str, **labels: str) -> Object:
    return {
        "name": own,
        "namespace": environment.own_namespace,
        "labels": {NAME_LABEL: environment.name, **labels},
    }


def _labels(environment: AksEnvironment, release: str) -> dict[str, str]:
    return {NAME_LABEL: environment.name, RELEASE_LABEL: release}


def _of_release(environment: AksEnvironment, release: Release, name: str) -> Iterator[Object]:
    def metadata() -> Object:
        return _metadata(environment, name, **{RELEASE_LABEL: name})

    if environment.secret_settings:
        yield {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata(),
            "type": "Opaque",
            "immutable": True,
            "stringData": dict.fromkeys(sorted(environment.secret_settings)),
        }
    yield _service(metadata(), {VERIFIED_LABEL: name})
    replicas = environment.replicas
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(),
        "spec": {
            # Left to the autoscaler where there is one.
            **({} if replicas.max > replicas.min else {"replicas": replicas.min}),
            "selector": {"matchLabels": _labels(environment, name)},
            "progressDeadlineSeconds": environment.rollout.start_seconds,
            "revisionHistoryLimit": 1,
            "template": {
                "metadata": {"labels": _labels(environment, name) | {VERIFIED_LABEL: name}},
                "spec": _pod(environment, release, name),
            },
        },
    }
    if replicas.max > replicas.min:
        yield _autoscaler(environment, metadata(), name)
    if replicas.min > 1:
        yield {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(),
            "spec": {
                "maxUnavailable": 1,
                "selector": {"matchLabels": _labels(environment, name)},
            },
        }


def _autoscaler(environment: AksEnvironment, metadata: Object, name: str) -> Object:
    target = {"type": "Utilization", "averageUtilization": environment.replicas.cpu_percent}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": environment.replicas.min,
            "maxReplicas": environment.replicas.max,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def _pod(environment: AksEnvironment, release: Release, name: str) -> Object:
    pod: Object = {
        "automountServiceAccountToken": False,
        "serviceAccountName": environment.name,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _labels(environment, name)},
            }
        ],
        "containers": [_container(environment, release, name)],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if environment.gpu != "none":
        pod["nodeSelector"] = {"agentpool": environment.gpu_pool}
        pod["tolerations"] = [
            {"key": GPU_TAINT, "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}
        ]
    return pod


def _container(environment: AksEnvironment, release: Release, name: str) -> Object:
    gpus = {GPU: str(environment.gpu_count)} if environment.gpu != "none" else {}
    size = {"cpu": _cores(environment.cpu), "memory": _memory(environment.memory_gb)}
    live, ready = environment.probes.liveness, environment.probes.readiness
    return {
        "name": names.CONTAINER,
        "image": release.image,
        "ports": [{"name": "http", "containerPort": environment.port, "protocol": "TCP"}],
        "env": _variables(environment, name),
        # Equal: nothing of the pod's is lent to others, and it is the last one to be evicted.
        "resources": {"requests": size | gpus, "limits": size | gpus},
        "startupProbe": _probe(live.model_copy(update={"initial_delay_seconds": 0}))
        | {
            "periodSeconds": STARTUP_PERIOD,
            "failureThreshold": max(1, environment.rollout.start_seconds // STARTUP_PERIOD),
        },
        "livenessProbe": _probe(live),
        "readinessProbe": _probe(ready),
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the container's
    }


def _cores(cpu: float) -> str:
    return f"{cpu:g}" if float(cpu).is_integer() else f"{round(cpu * 1000)}m"


def _memory(gigabytes: float) -> str:
    """In the form in which Kubernetes gives it back."""
    mebibytes = round(gigabytes * 1024)
    return f"{mebibytes}Mi" if mebibytes % 1024 else f"{mebibytes // 1024}Gi"


def _variables(environment: AksEnvironment, name: str) -> list[Object]:
    plain: list[Object] = [
        {"name": key, "value": value} for key, value in environment.settings.items()
    ]
    secret: list[Object] = [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
        for key in environment.secret_settings
    ]
    return sorted([*plain, *secret], key=lambda variable: str(variable["name"]))


def _probe(probe: Probe) -> Object:
    # A cluster leaves out a delay of 0.
    delay = probe.initial_delay_seconds
    return {
        "httpGet": {"path": probe.path, "port": "http", "scheme": "HTTP"},
        **({"initialDelaySeconds": delay} if delay else {}),
        "periodSeconds": probe.period_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "failureThreshold": probe.failure_threshold,
        "successThreshold": 1,
    }
