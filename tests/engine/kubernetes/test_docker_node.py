"""Pods with containers: what kubelet does for a release, and what the API server's proxy does.

The image is a small server that shows what it was sent; no release of the service's own.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine.client.failures import Unreachable
from engine.client.service import Service
from engine.client.wire import Request
from engine.deploy.config import names
from engine.deploy.targets.aks.target import Aks
from engine.deploy.targets.base import Live, Places, Release

from tests.engine.kubernetes.conftest import DEPLOYER, NAMESPACE
from tests.engine.kubernetes.control_plane import ControlPlane
from tests.engine.kubernetes.docker_node import DockerNode
from tests.engine.kubernetes.registry import Registry
from tests.engine.kubernetes.test_control_plane import client, environment
from tests.service.containers import docker_client

pytestmark = pytest.mark.slow
SECONDS = 60
BASE = "python:3.13-slim-trixie"
SERVER = '''\
"""POST / says what it was sent; /die/CODE ends, /unready and /sicken change the probes' answers."""
import http.server, json, os, pathlib, signal, sys, time

signal.signal(signal.SIGTERM, lambda *_: (print("asked to leave", flush=True), os._exit(0)))
state = {"/healthz": 200, "/readyz": 200}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, verb, word = (self.path + "/").split("/")[:3]
        if verb == "die":
            os._exit(int(word))
        if verb in ("sicken", "unready"):
            state["/healthz" if verb == "sicken" else "/readyz"] = 500
        if verb == "sleep":
            time.sleep(float(word))
        self.answer(state.get(self.path, 200), {"user": os.getuid(), "writes": writes()})

    def do_POST(self):
        size = len(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(200, {"headers": {k.lower(): v for k, v in self.headers.items()},
                          "size": size, "path": self.path, "key": os.environ.get("API_KEYS")})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def writes():
    found = []
    for each in ("/", "/tmp"):
        try:
            pathlib.Path(each, "x").write_text("x")
            found.append(each)
        except OSError:
            pass
    return found


print("starting with", os.environ.get("LOG_LEVEL"), flush=True)
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
'''


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """With nothing."""
    if subprocess.run([docker_client(), "info"], capture_output=True, check=False).returncode:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say("there is no Docker engine: scripts/docker_engine.sh start")
    with Registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def image(registry: Registry) -> str:
    """By its digest."""
    stream = io.BytesIO()
    lines = f'FROM {BASE}\nCOPY server.py /\nENTRYPOINT ["python", "-u", "/server.py"]\n'
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in (("Dockerfile", lines), ("server.py", SERVER)):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    tag = "aci-ml-template-test:node-probe"
    command = [docker_client(), "build", "--quiet", "--tag", tag, "-"]
    subprocess.run(command, input=stream.getvalue(), capture_output=True, check=True)
    return registry.push(tag, "probe")


@pytest.fixture(scope="module")
def node(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """It runs pods."""
    with DockerNode(control_plane, "docker-0", tmp_path_factory.mktemp("node")):
        yield


@pytest.fixture(scope="module")
def target(
    control_plane: ControlPlane, node: None, registry: Registry, image: str
) -> Iterator[Aks]:
    """One release of the image, applied and ready."""
    quick = {"initial_delay_seconds": 0, "period_seconds": 1, "failure_threshold": 2}
    fields = {
        "secrets": ["API_KEYS"],
        "variables": {"LOG_LEVEL": "info"},
        "probes": {"liveness": quick, "readiness": quick},
        "cpu": 0.5,
    }
    places = Places("s", registry.server, "/identity")
    found = Aks(environment(**fields), places, client(control_plane, DEPLOYER))
    found.delete()
    release = Release(image, "a" * 40, "sha256:" + "1" * 64)
    tags = {names.TAG_ROLLOUT: "probe", names.TAG_STATE: "starting"}
    document = found.document(release, tags)
    found.apply(document, {"API_KEYS": "a-key"}, lambda: None)
    until(found, lambda live: live.running)
    yield found
    found.delete()


def until(target: Aks, holds: Callable[[Live], bool]) -> Live:
    give_up = time.monotonic() + SECONDS
    while True:
        live = target.read()
        assert live is not None
        if holds(live):
            return live
        assert time.monotonic() < give_up, live.state
        time.sleep(0.1)


def asked(target: Aks, key: str | None = None) -> Service:
    """A client of the candidate, by the way that the target names."""
    (address,) = target.candidate_addresses()
    return Service(address, key, 30, target.candidate_headers(), target.candidate_authority())


def test_a_pod_is_what_its_document_says(target: Aks) -> None:
    with asked(target) as service:
        found = service.get("/").json()
    assert found == {"user": 10001, "writes": ["/tmp"]}
    assert "starting with info" in list(target.logs(follow=False))


def test_the_service_gets_its_key_and_not_the_token_of_the_cluster(target: Aks) -> None:
    """What the API server's proxy passes on: all but the login."""
    with asked(target, "a-key") as service:
        found = posted(service, b"x" * 100)
    assert found["headers"]["x-api-key"] == "a-key" and found["key"] == "a-key"
    assert "authorization" not in found["headers"]
    assert found["path"] == "/v2/models/iris/infer?a=b"
    assert found["headers"]["content-type"] == "application/octet-stream"
    assert found["headers"]["inference-header-content-length"] == "10"


def test_large_requests_and_slow_answers_pass_the_proxy(target: Aks) -> None:
    with asked(target) as service:
        assert posted(service, b"x" * 6_000_000)["size"] == 6_000_000
        assert service.get("/sleep/3").status_code == 200


def test_an_authority_that_is_not_the_clusters_is_not_trusted(target: Aks) -> None:
    (address,) = target.candidate_addresses()
    service = Service(address, None, 5, target.candidate_headers())
    with service, pytest.raises(Unreachable, match="cannot be trusted"):
        service.get("/")


@pytest.mark.exhaustive
def test_what_crashes_is_started_again_and_what_is_unready_gets_no_request(
    target: Aks, control_plane: ControlPlane
) -> None:
    with asked(target) as service:
        told(service, "/")
        service.get("/die/3")
        live = until(target, lambda live: live.restarts == 1 and live.running)
        shown = target.evidence()
        assert shown is not None and shown.containers[0].previous is not None
        assert shown.containers[0].previous.exit_code == 3
        told(service, "/sicken")
        until(target, lambda live: live.restarts == 2 and live.running)
        told(service, "/unready")
        until(target, lambda live: not live.running)
        refused = service.get("/")
    assert live.failure is None
    assert refused.status_code == 503 and "no endpoints available" in refused.text
    target.stop()
    live = until(target, lambda live: not live.settled)
    assert not live.stopped, "its pod has some seconds to leave, and bills"
    until(target, lambda live: live.stopped)
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    give_up = time.monotonic() + SECONDS
    while control_plane.ask("GET", path)["items"]:
        assert time.monotonic() < give_up, "a pod does not leave"
        time.sleep(0.2)


def told(service: Service, path: str) -> None:
    """Ask until a pod answers; a pod that has just come up gets no request for a moment."""
    give_up = time.monotonic() + SECONDS
    while (found := service.get(path).status_code) != 200:
        assert time.monotonic() < give_up, found
        time.sleep(0.1)


def posted(service: Service, content: bytes) -> Any:
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": "10",
    }
    answer = service.post(Request("/v2/models/iris/infer?a=b", headers, content))
    assert answer.status_code == 200, answer.text
    return json.loads(answer.content)
