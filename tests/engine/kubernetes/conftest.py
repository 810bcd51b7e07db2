"""One control plane for all tests of this folder, and the tools that speak to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.kubernetes.control_plane import ControlPlane, program
from tests.engine.kubernetes.guard import READER as READS
from tests.engine.kubernetes.guard import WRITER, Guard
from tests.once import installed

REPOSITORY = Path(__file__).resolve().parents[3]

DEPLOYER, READER, NOBODY, OWNER = "deployer", "reader", "nobody", "owner"
TOKENS = {f"token-of-{name}": name for name in (DEPLOYER, READER, NOBODY, OWNER)}
NAMESPACE = "iris-staging"
MADE = (
    *(("apis/autoscaling/v2", "horizontalpodautoscalers"), ("apis/apps/v1", "deployments")),
    *(("apis/policy/v1", "poddisruptionbudgets"), ("api/v1", "services"), ("api/v1", "secrets")),
)
"""What a release consists of, and the live Service."""


def allows(user: str, namespace: str, action: str) -> bool:
    """What these four may do; Cluster Admin has all actions."""
    if user == OWNER:
        return True
    role = {DEPLOYER: WRITER, READER: READS}.get(user, frozenset())
    return namespace == NAMESPACE and action in role


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real one, with a namespace and a service account."""
    if program() is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say("Go is not installed; it builds Kubernetes: https://go.dev/doc/install")
    folder: Path = tmp_path_factory.mktemp("control-plane")
    with Guard(TOKENS.get, allows) as guard, ControlPlane(folder, guard.address) as plane:
        plane.make_namespace(NAMESPACE, NAMESPACE)
        yield plane


@pytest.fixture(scope="session")
def kubectl() -> Path:
    """The official one."""
    return installed("kubernetes", REPOSITORY / "requirements" / "kubernetes.txt") / "kubectl"


@pytest.fixture(scope="module", autouse=True)
def emptied(control_plane: ControlPlane) -> None:
    """Nothing of the module before is in the namespace."""
    for group, kind in MADE:
        path = f"/{group}/namespaces/{NAMESPACE}/{kind}"
        for each in control_plane.ask("GET", path)["items"]:
            control_plane.ask("DELETE", f"{path}/{each['metadata']['name']}")
