"""Kinds that others add to Kubernetes, from their own Go modules, whose hashes are checked here."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.engine.kubernetes.control_plane import ControlPlane

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Module:
    """A module with its version, its hash as of go.sum, and files with definitions in it."""

    path: str
    hash: str
    files: tuple[str, ...]


GATEWAY_API = Module(
    "sigs.k8s.io/gateway-api@v1.4.1",
    "h1:NPxFutNkKNa8UfLd2CMlEuhIPMQgDQ6DXNKG9sHbJU8=",
    tuple(
        f"config/crd/standard/gateway.networking.k8s.io_{kind}.yaml"
        for kind in ("gatewayclasses", "gateways", "httproutes")
    ),
)
KEDA = Module(
    "github.com/kedacore/keda/v2@v2.21.0",
    "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
    (
        "config/crd/bases/keda.sh_scaledobjects.yaml",
        "config/crd/bases/keda.sh_triggerauthentications.yaml",
    ),
)
KSERVE = Module(
    "github.com/kserve/kserve@v0.15.2",
    "h1:uph7Umk331fvBMrHHpTJNDt6+lf3IAuyiskaQw8wIAk=",
    ("config/crd/full/serving.kserve.io_inferenceservices.yaml",),
)


def define(plane: ControlPlane, module: Module) -> None:
    """Let a cluster know the kinds of a module, and wait until it does."""
    go = shutil.which("go")
    assert go is not None
    command = [go, "mod", "download", "-json", module.path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["Sum"] == module.hash
    for file in module.files:
        wanted = yaml.safe_load(Path(found["Dir"], file).read_text(encoding="utf-8"))
        path = f"{_DEFINITIONS}/{wanted['metadata']['name']}?fieldManager=cluster&force=true"
        plane.ask("PATCH", path, wanted, "application/apply-patch+yaml")
        spec = wanted["spec"]
        version = next(each["name"] for each in spec["versions"] if each["storage"])
        _wait_for(plane, f"/apis/{spec['group']}/{version}/{spec['names']['plural']}")


def _wait_for(plane: ControlPlane, path: str) -> None:
    give_up = time.monotonic() + _SECONDS
    while True:
        try:
            plane.ask("GET", path)
            return
        except urllib.error.HTTPError:
            assert time.monotonic() < give_up
            time.sleep(0.1)
