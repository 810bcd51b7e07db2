"""A node that runs its pods on the Docker engine, with what a release relies on of kubelet's.

Probes over HTTP, restarts with a back-off, preStop sleep, SIGTERM and grace, secrets in variables,
the security context and the log. A pod has one container; its volumes are empty folders in memory.
"""

from __future__ import annotations

import http.client
import http.server
import json
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from tests.azure_double import engine_socket
from tests.azure_double.engine_socket import EngineError
from tests.engine.kubernetes.control_plane import ControlPlane
from tests.engine.kubernetes.node import Node, Pod, ended, now, status_of, waiting

LABEL = "io.github.aci-ml-template.test"
TICK_SECONDS = 0.1
BACK_OFF_SECONDS = 1.0
"""Before the first restart; twice as long before each further one. Kubelet begins with 10."""
NO_IMAGE, ENDED = 404, 304
KILLED = 137
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DockerNode(Node):
    """A node with containers; use it as a context manager.

    Args:
        folder: for the certificate of its log endpoint.
        gpus: how many it claims to have.
    """

    def __init__(self, plane: ControlPlane, name: str, folder: Path, gpus: int = 0) -> None:
        super().__init__(plane, name, gpus)
        self._socket = engine_socket.socket_path()
        self._running: dict[str, _Running] = {}
        self._logs = _LogServer(self, folder)

    def __enter__(self) -> DockerNode:
        """See ``Node``."""
        self._logs.start()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Leave the cluster; nothing of its pods stays."""
        try:
            super().__exit__(kind, error, _)
        finally:
            for each in self._running.values():
                each.end(at_once=True)
            for each in self._running.values():
                each.thread.join()
            self._logs.stop()

    def details(self) -> dict[str, Any]:
        """See ``Node``: where the API server asks for logs."""
        return {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._logs.port}},
        }

    def look_at(self, pod: Pod) -> None:
        """See ``Node``."""
        uid = pod["metadata"]["uid"]
        leaving = "deletionTimestamp" in pod["metadata"]
        if uid not in self._running:
            if leaving:
                self.forget(pod)
                return
            self._running[uid] = _Running(self, pod)
        if leaving:
            self._running[uid].end()

    def docker(self, method: str, path: str, body: Any = None) -> bytes:
        """One request to the Docker engine."""
        return engine_socket.request(self._socket, method, path, body)

    def end_container(self, container: str, seconds: int) -> None:
        """SIGTERM, and SIGKILL after some seconds; nothing if it has ended."""
        try:
            self.docker("POST", f"/containers/{container}/stop?t={seconds}")
        except EngineError as error:
            if error.status != ENDED:
                raise

    def log(self, namespace: str, name: str, tail: str) -> bytes:
        """What a pod's container has written, that which runs or ran last."""
        for each in self._running.values():
            metadata = each.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, name) and each.container:
                query = f"stdout=1&stderr=1&tail={tail or 'all'}"
                raw = self.docker("GET", f"/containers/{each.container}/logs?{query}")
                return engine_socket.without_frames(raw)
        return b""

    def variables(self, pod: Pod) -> list[str]:
        """The variables of a container, with the values of its secrets.

        Raises:
            KeyError: a secret or its key is not there.
        """
        namespace, found = pod["metadata"]["namespace"], []
        for each in pod["spec"]["containers"][0].get("env") or []:
            value = each.get("value", "")
            if wanted := (each.get("valueFrom") or {}).get("secretKeyRef"):
                path = f"/api/v1/namespaces/{namespace}/secrets/{wanted['name']}"
                try:
                    value = b64decode(self._plane.ask("GET", path)["data"][wanted["key"]]).decode()
                except urllib.error.HTTPError:
                    raise KeyError(wanted["name"]) from None
            found.append(f"{each['name']}={value}")
        return found


class _Running:
    """One pod and the thread that keeps it; ``container`` is Docker's id of the last one."""

    def __init__(self, node: DockerNode, pod: Pod) -> None:
        self.pod = pod
        self.container = ""
        self._node = node
        self._spec = pod["spec"]["containers"][0]
        self._leave, self._at_once = threading.Event(), threading.Event()
        self._began = self._address = ""
        self._restarts = 0
        self._last: dict[str, Any] = {}
        self._told: Any = None
        self.thread = threading.Thread(target=self._keep, daemon=True)
        self.thread.start()

    def end(self, *, at_once: bool = False) -> None:
        """Let it leave: preStop, SIGTERM, the rest of the grace."""
        if at_once:
            self._at_once.set()
        self._leave.set()

    def _keep(self) -> None:
        pause = BACK_OFF_SECONDS
        while not self._leave.is_set():
            if self._begin():
                code, reason = self._until_it_ends()
                self._last = ended(code, self._began, reason)
                self._restarts += 1
                self._tell({"waiting": waiting(self._spec["name"])})
            self._leave.wait(pause)
            pause *= 2
        self._remove(gently=not self._at_once.is_set())
        self._node.forget(self.pod)

    def _begin(self) -> bool:
        """Start a container; false: the pod says why there is none."""
        image = self._spec["image"]
        try:
            self._pull(image)
            variables = self._node.variables(self.pod)
        except EngineError as error:
            self._tell({"waiting": {"reason": "ImagePullBackOff", "message": str(error)}})
            return False
        except KeyError as error:
            message = f"secret {error} not found"
            self._tell({"waiting": {"reason": "CreateContainerConfigError", "message": message}})
            return False
        self._remove(gently=False)
        made = self._node.docker("POST", "/containers/create", self._body(variables))
        self.container = json.loads(made)["Id"]
        self._node.docker("POST", f"/containers/{self.container}/start")
        self._began = now()
        self._address = self._shown()["NetworkSettings"]["IPAddress"]
        return True

    def _pull(self, image: str) -> None:
        try:
            self._node.docker("GET", f"/images/{quote(image, safe='')}/json")
        except EngineError as error:
            if error.status != NO_IMAGE:
                raise
            raw = self._node.docker("POST", f"/images/create?fromImage={quote(image, safe='')}")
            for line in raw.splitlines():
                if line.strip() and (fault := json.loads(line).get("error")):
                    raise EngineError(str(fault), NO_IMAGE) from None

    def _body(self, variables: list[str]) -> dict[str, Any]:
        security = self._spec.get("securityContext") or {}
        user = self.pod["spec"].get("securityContext") or {}
        mounts = self._spec.get("volumeMounts") or []
        rise = security.get("allowPrivilegeEscalation", True)
        return {
            "Image": self._spec["image"],
            "Env": variables,
            "Labels": {LABEL: "node"},
            "User": f"{user['runAsUser']}:{user['runAsGroup']}" if "runAsUser" in user else "",
            "HostConfig": {
                "ReadonlyRootfs": security.get("readOnlyRootFilesystem", False),
                "CapDrop": (security.get("capabilities") or {}).get("drop") or [],
                "SecurityOpt": [] if rise else ["no-new-privileges"],
                "Tmpfs": {each["mountPath"]: "rw,mode=1777" for each in mounts},
                "Memory": _bytes(self._spec["resources"]["limits"]["memory"]),
            },
        }

    def _until_it_ends(self) -> tuple[int, str]:
        """Exit code and reason, once the container has ended or was killed for its probes."""
        ports = {each["name"]: each["containerPort"] for each in self._spec["ports"]}
        startup, live, ready = (
            _Probe(self._spec.get(f"{kind}Probe"), self._address, ports)
            for kind in ("startup", "liveness", "readiness")
        )
        while not self._leave.wait(TICK_SECONDS):
            state = self._shown()["State"]
            if not state["Running"]:
                return state["ExitCode"], "OOMKilled" if state["OOMKilled"] else ""
            for probe in (live, ready) if startup.verdict else (startup,):
                probe.look()
            if startup.verdict is False or live.verdict is False:
                self._node.end_container(self.container, 1)
                return KILLED, ""
            started, good = startup.verdict is True, ready.verdict is True
            self._tell({"running": {"startedAt": self._began}}, ready=good, started=started)
        return 0, ""

    def _shown(self) -> Any:
        return json.loads(self._node.docker("GET", f"/containers/{self.container}/json"))

    def _tell(
        self, state: Mapping[str, Any], *, ready: bool = False, started: bool = False
    ) -> None:
        told = (state, ready, started, self._restarts)
        if told != self._told:
            self._told = told
            status = status_of(
                self.pod,
                state,
                self._address,
                ready=ready,
                started=started,
                restarts=self._restarts,
                last=self._last,
            )
            self._node.report(self.pod, status)

    def _remove(self, *, gently: bool) -> None:
        if not self.container:
            return
        if gently:
            sleep = ((self._spec.get("lifecycle") or {}).get("preStop") or {}).get("sleep") or {}
            grace = int(self.pod["spec"]["terminationGracePeriodSeconds"])
            self._at_once.wait(int(sleep.get("seconds", 0)))
            left = max(1, grace - int(sleep.get("seconds", 0)))
            self._node.end_container(self.container, 0 if self._at_once.is_set() else left)
        self._node.docker("DELETE", f"/containers/{self.container}?force=1&v=1")
        self.container = ""


class _Probe:
    """An HTTP probe; ``verdict`` is None before it has passed or failed often enough."""

    def __init__(
        self, given: Mapping[str, Any] | None, address: str, ports: Mapping[str, int]
    ) -> None:
        self._given = given
        self.verdict = True if given is None else None
        self._failed = 0
        if given is not None:
            get = given["httpGet"]
            port = ports.get(get["port"], get["port"])
            self._url = f"http://{address}:{port}{get['path']}"
            self._next = time.monotonic() + given.get("initialDelaySeconds", 0)

    def look(self) -> None:
        """Ask, if it is time."""
        if self._given is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._given["periodSeconds"]
        try:
            with _DIRECT.open(self._url, timeout=self._given["timeoutSeconds"]):
                self.verdict, self._failed = True, 0
        except (OSError, http.client.HTTPException):
            self._failed += 1
            if self._failed >= self._given["failureThreshold"]:
                self.verdict = False


class _LogServer:
    """The part of kubelet's own API by which the API server reads logs."""

    def __init__(self, node: DockerNode, folder: Path) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                _, _, namespace, name, _ = parts.path.split("/")
                tail = parse_qs(parts.query).get("tailLines", [""])[0]
                body = node.log(namespace, name, tail)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        key, certificate = folder / "node.key", folder / "node.crt"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=node"]
        files: list[str | Path] = ["-keyout", key, "-out", certificate]
        subprocess.run([*command, *files], check=True, capture_output=True)
        trust = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trust.load_cert_chain(certificate, key)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = trust.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])

    def start(self) -> None:
        """Listen."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


def _bytes(memory: str) -> int:
    return int(memory[:-2]) * {"Mi": 2**20, "Gi": 2**30}[memory[-2:]]
