"""The kinds Gateway and HTTPRoute, from their own project, whose hash is checked here."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
from pathlib import Path

import yaml

from tests.engine.kubernetes.control_plane import ControlPlane

MODULE = "sigs.k8s.io/gateway-api@v1.4.1"
HASH = "h1:NPxFutNkKNa8UfLd2CMlEuhIPMQgDQ6DXNKG9sHbJU8="
KINDS = ("gatewayclasses", "gateways", "httproutes")
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_SECONDS = 20


def define(plane: ControlPlane) -> None:
    """Let a cluster know them, as AKS does where its Gateway API is on."""
    go = shutil.which("go")
    assert go is not None
    command = [go, "mod", "download", "-json", MODULE]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["Sum"] == HASH
    for kind in KINDS:
        name = f"{kind}.gateway.networking.k8s.io"
        file = Path(found["Dir"], f"config/crd/standard/gateway.networking.k8s.io_{kind}.yaml")
        wanted = yaml.safe_load(file.read_text(encoding="utf-8"))
        path = f"{_DEFINITIONS}/{name}?fieldManager=cluster&force=true"
        plane.ask("PATCH", path, wanted, "application/apply-patch+yaml")
        _wait_for(plane, kind)


def _wait_for(plane: ControlPlane, kind: str) -> None:
    give_up = time.monotonic() + _SECONDS
    while True:
        try:
            plane.ask("GET", f"/apis/gateway.networking.k8s.io/v1/{kind}")
            return
        except urllib.error.HTTPError:
            assert time.monotonic() < give_up
            time.sleep(0.1)
