"""A real control plane of Kubernetes: etcd, API server, controllers and scheduler, no nodes.

All four are parts of one program that is built from Kubernetes' own modules, whose hashes Go
verifies. As on AKS, who asks and what they may do is decided by a webhook (see ``guard``).
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.once import BUILD, once

SOURCE = Path(__file__).parent / "kubeplane"
VERSION = "1.37.2"
SECONDS = 90
PAUSE_SECONDS = 0.1
CONTROLLERS = (
    "deployment-controller", "replicaset-controller", "endpointslice-controller",
    "namespace-controller", "serviceaccount-controller", "garbage-collector-controller",
    "disruption-controller", "horizontal-pod-autoscaler-controller",
)  # fmt: skip


def program() -> Path | None:
    """The program, built once; None where Go is missing."""
    go = shutil.which("go")
    if go is None:
        return None
    folder = BUILD / "go" / f"kubeplane-v{VERSION}"
    major, minor, _ = VERSION.split(".")
    package = "k8s.io/component-base/version"
    said = {"gitVersion": f"v{VERSION}", "gitMajor": major, "gitMinor": minor}
    flags = " ".join(["-s", "-w", *(f"-X {package}.{key}={value}" for key, value in said.items())])
    with once(folder) as missing:
        if missing:
            known = _sources(go, folder)
            command = [go, "build", "-mod=mod", "-trimpath", f"-ldflags={flags}", "-o"]
            subprocess.run(
                [*command, folder / "kubeplane", "."],
                cwd=folder,
                check=True,
                env=os.environ | {"CGO_ENABLED": "0"},
            )
            assert _hashes(folder) <= known, "a module was used whose hash nobody had named"
    return folder / "kubeplane"


def _sources(go: str, folder: Path) -> set[str]:
    """Lay out what is built; the hashes of all modules that may be used.

    Those of Kubernetes are here, and name its own list for the modules that it uses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("main.go", "go.mod", "go.sum"):
        shutil.copy(SOURCE / name, folder / name)
    ask = [go, "mod", "download", "-json", f"k8s.io/kubernetes@v{VERSION}"]
    done = subprocess.run(ask, cwd=folder, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert f"k8s.io/kubernetes v{VERSION} {found['Sum']}" in _hashes(folder)
    known = _hashes(folder) | _hashes(Path(found["Dir"]))
    (folder / "go.sum").write_text("\n".join(sorted(known)) + "\n", encoding="utf-8")
    return known


def _hashes(folder: Path) -> set[str]:
    return set((folder / "go.sum").read_text(encoding="utf-8").splitlines())


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


class ControlPlane:
    """A running control plane; use it as a context manager.

    Attributes:
        server: its address.
        authority: the certificate authority of its server, PEM.
        admin: a token that may do everything.
    """

    def __init__(self, folder: Path, guard: str = "") -> None:
        """Prepare it.

        Args:
            folder: for its files.
            guard: address of the webhook that knows tokens and rights; "": the admin alone.
        """
        self._folder = folder
        self._guard = guard
        self._processes: list[subprocess.Popen[bytes]] = []
        self._local = threading.local()
        self._etcd, self._peer, port = free_ports(3)
        self._port = port
        self.server = f"https://127.0.0.1:{port}"
        self.admin = secrets.token_hex(16)

    @property
    def authority(self) -> str:
        """See above; there as soon as the server has started."""
        return (self._folder / "tls" / "apiserver.crt").read_text(encoding="utf-8")

    def __enter__(self) -> ControlPlane:
        """Start it, and wait until it is ready."""
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Stop it."""
        self._stop()

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        kind: str = "application/json",
    ) -> Any:
        """One request of the admin; what was answered.

        Raises:
            urllib.error.HTTPError: refused.
        """
        content = None if body is None else json.dumps(body).encode()
        try:
            answer, told = self._once(method, path, content, kind)
        except (http.client.RemoteDisconnected, ConnectionError):
            # A connection that nobody used for a while is closed by the server.
            answer, told = self._once(method, path, content, kind)
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            where = f"{method} {self.server}{path}: {told[:500]!r}"
            raise urllib.error.HTTPError(where, answer.status, where, answer.headers, None)
        return json.loads(told or b"null")

    def _once(
        self, method: str, path: str, content: bytes | None, kind: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self._connection()
        headers = {"Authorization": f"Bearer {self.admin}", "Content-Type": kind}
        try:
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise

    def _connection(self) -> http.client.HTTPSConnection:
        """One for each thread, kept open: to trust and to greet takes longer than to ask."""
        if not hasattr(self._local, "connection"):
            trust = ssl.create_default_context(cadata=self.authority)
            self._local.connection = http.client.HTTPSConnection(
                "127.0.0.1", self._port, timeout=SECONDS, context=trust
            )
        found: http.client.HTTPSConnection = self._local.connection
        return found

    def make_namespace(self, name: str, *service_accounts: str) -> None:
        """What bootstrap makes: a namespace in which pods must keep the restricted profile."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": name, "labels": labels}
        self.ask("POST", "/api/v1/namespaces", {"metadata": metadata})
        for each in service_accounts:
            path = f"/api/v1/namespaces/{name}/serviceaccounts"
            self.ask("POST", path, {"metadata": {"name": each}})

    def _start(self) -> None:
        found = program()
        assert found is not None
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        openssl: list[str | Path] = ["openssl", "genrsa", "-out", folder / "accounts.key", "2048"]
        subprocess.run(openssl, check=True, capture_output=True)
        (folder / "tokens.csv").write_text(f'{self.admin},admin,admin,"system:masters"\n')
        etcd = f"http://127.0.0.1:{self._etcd}"
        peer = f"http://127.0.0.1:{self._peer}"
        self._run(
            "etcd",
            *("--data-dir", folder / "etcd", "--log-level", "warn", "--unsafe-no-fsync"),
            *("--listen-client-urls", etcd, "--advertise-client-urls", etcd),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}"),
        )
        self._run("apiserver", *self._server_options(etcd))
        self._wait()
        config = self._kubeconfig("admin.json", self.server, self.admin)
        own = ("--kubeconfig", config, "--leader-elect=false", "--secure-port=0")
        self._run(
            "controllers",
            *own,
            f"--controllers={','.join(CONTROLLERS)}",
            *("--service-account-private-key-file", folder / "accounts.key"),
        )
        self._run("scheduler", *own)

    def _server_options(self, etcd: str) -> list[str | Path]:
        folder = self._folder
        options: list[str | Path] = [
            *("--etcd-servers", etcd, "--cert-dir", folder / "tls"),
            *("--bind-address", "127.0.0.1", "--secure-port", str(self._port)),
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--service-account-signing-key-file", folder / "accounts.key"),
            *("--service-account-key-file", folder / "accounts.key"),
            *("--service-cluster-ip-range", "10.9.0.0/16"),
            *("--token-auth-file", folder / "tokens.csv"),
            "--anonymous-auth=false",
        ]
        if self._guard:
            tokens = self._kubeconfig("tokens.json", f"{self._guard}/tokens", "")
            rights = self._kubeconfig("rights.json", f"{self._guard}/rights", "")
            options += [
                *("--authentication-token-webhook-config-file", tokens),
                *("--authentication-token-webhook-version", "v1"),
                *("--authorization-mode", "Webhook"),
                *("--authorization-webhook-config-file", rights),
                *("--authorization-webhook-version", "v1"),
                *("--authorization-webhook-cache-authorized-ttl", "1s"),
                *("--authorization-webhook-cache-unauthorized-ttl", "1s"),
            ]
        else:
            options += ["--authorization-mode", "RBAC"]
        return options

    def _kubeconfig(self, name: str, server: str, token: str) -> Path:
        cluster: dict[str, Any] = {"server": server}
        if server.startswith("https:"):
            cluster["certificate-authority"] = str(self._folder / "tls" / "apiserver.crt")
        path = self._folder / name
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "own", "cluster": cluster}],
                    "users": [{"name": "own", "user": {"token": token} if token else {}}],
                    "contexts": [{"name": "own", "context": {"cluster": "own", "user": "own"}}],
                    "current-context": "own",
                }
            ),
            encoding="utf-8",
        )
        return path

    def kubeconfig(self, token: str) -> Path:
        """A file for kubectl with this token."""
        return self._kubeconfig(f"kubectl-{token[:8]}.json", self.server, token)

    def _run(self, part: str, *options: str | Path) -> None:
        found = program()
        assert found is not None
        with (self._folder / f"{part}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen([found, part, *options], stdout=log, stderr=log, cwd=self._folder)
            )

    def _wait(self) -> None:
        give_up = time.monotonic() + SECONDS
        while True:
            try:
                if self.ask("GET", "/version")["gitVersion"]:
                    self.ask("GET", "/api/v1/namespaces/default")
                    return
            except (OSError, ValueError):
                pass
            ended = [each for each in self._processes if each.poll() is not None]
            if ended or time.monotonic() > give_up:
                log = (self._folder / "apiserver.log").read_text(errors="replace")
                raise AssertionError(f"the control plane does not start: {log[-2000:]}")
            time.sleep(PAUSE_SECONDS)

    def _stop(self) -> None:
        # Killed: an API server takes twenty seconds to end, and nothing of it is kept.
        for each in self._processes:
            each.kill()
        for each in self._processes:
            each.wait()
