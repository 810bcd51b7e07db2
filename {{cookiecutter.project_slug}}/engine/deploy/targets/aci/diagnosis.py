"""Failures that only a container group has: no GPU, the size of an image, ports that differ."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.deploy.config import names
from engine.deploy.diagnosis.evidence import Container, Evidence
from engine.deploy.diagnosis.image import PULL_CODES, first
from engine.deploy.diagnosis.sentences import GPU_RETIRED, TIMEOUT
from engine.deploy.finding import Certainty, Finding

LARGEST_GB = 15
DEFAULT_PORT = 8000
PORT_MISMATCH = "port-mismatch"
_NOT_REACHED = re.compile(
    r"pull image.*(i/o timeout|no such host|connection timed out|context deadline exceeded)",
    re.IGNORECASE | re.DOTALL,
)
_NO_SPACE = re.compile(r"no space left on device", re.IGNORECASE)


def too_large(evidence: Evidence) -> list[Finding]:
    """The image does not fit into a container group."""
    size = evidence.registry.image_bytes if evidence.registry else None
    gigabytes = (size or 0) / 1e9
    said = first(evidence, _NO_SPACE)
    if gigabytes <= LARGEST_GB and not said:
        return []
    known = f"the image has {gigabytes:.1f} GB compressed" if size else "the image is too large"
    return [
        Finding(
            "image-size",
            f"{known}, and Azure Container Instances take images of at most {LARGEST_GB} GB",
            "make it smaller: only locked serving packages, the model from a file share",
            Certainty.CERTAIN if gigabytes > LARGEST_GB else Certainty.LIKELY,
            said,
            explains=PULL_CODES,
        )
    ]


def gpu_retired(evidence: Evidence) -> list[Finding]:
    """A GPU was asked for where there are none any more."""
    in_group = any(container.gpu for container in evidence.containers)
    if evidence.gpu == "none" and not in_group:
        return []
    return [
        Finding(
            GPU_RETIRED,
            "a GPU is asked for on Azure Container Instances; Microsoft retired those on "
            "2025-07-14",
            "set target: containerapps with gpu: t4 or a100, or gpu: none and accelerator: cpu",
            evidence=("the container group asks for one",)
            if in_group
            else (f"gpu: {evidence.gpu}",),
            explains=frozenset({"gpu-quota", "quota", "capacity", TIMEOUT}),
        )
    ]


def port_mismatch(evidence: Evidence) -> Iterator[Finding]:
    """Service, probes and address do not mean the same port."""
    if evidence.group is None:
        return
    secure = any(each.name == names.EDGE for each in evidence.group.containers)
    for container in evidence.group.containers:
        if container.name == names.EDGE:
            continue
        port = _listens_on(container)
        wrong = [
            *([] if secure else _others("the address of the group", evidence.group.ports, port)),
            *_others("the container", container.ports, port),
            *_others("a probe", container.probe_ports, port),
        ]
        if wrong:
            yield Finding(
                PORT_MISMATCH,
                f"the service listens on port {port}, and {wrong[0]}",
                f"set `port` in deploy/environments/{evidence.stage}.yaml, which sets all of them, "
                "and leave PORT out of `variables`; then `.venv/bin/python -m engine.deploy up`",
                evidence=tuple(wrong),
                explains=frozenset({"readiness", "unreachable", "liveness", "crash-loop"}),
            )


def _listens_on(container: Container) -> int:
    value = container.variables.get("PORT", "")
    return int(value) if value.isdigit() else DEFAULT_PORT


def _others(what: str, ports: tuple[int, ...], port: int) -> list[str]:
    if not ports or port in ports:
        return []
    return [f"{what} means port {', '.join(map(str, ports))}"]


def no_way_out(evidence: Evidence) -> Iterator[Finding]:
    """A group in a subnet does not reach its registry: no NAT gateway, or names do not resolve."""
    if evidence.group is None or evidence.group.public:
        return
    said = first(evidence, _NOT_REACHED)
    if not said:
        return
    names_fail = "no such host" in said[0].lower()
    yield Finding(
        "subnet-dns" if names_fail else "subnet-nat",
        "from the subnet of the container group the registry's name does not resolve"
        if names_fail
        else "from the subnet of the container group the registry is not reached",
        "container groups ask Azure's own DNS and not that of your network; a private endpoint of "
        "the registry needs its private DNS zone linked to the network"
        if names_fail
        else "give the subnet a NAT gateway: `.venv/bin/python -m engine.deploy bootstrap` does "
        "so, or `az network vnet subnet update --nat-gateway NAME`; is there a firewall?",
        evidence=said,
        explains=PULL_CODES,
    )


RULES = (too_large, gpu_retired, port_mismatch, no_way_out)
