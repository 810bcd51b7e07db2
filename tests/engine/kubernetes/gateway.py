"""A load balancer of the tests: a proxy that follows the EndpointSlices of the live Service."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from tests.engine.kubernetes.control_plane import ControlPlane

LOOK_SECONDS = 0.5
"""Between two looks: a load balancer learns of a change after some time."""
SECONDS = 30


class Gateway:
    """The proxy; use it as a context manager. It asks each request once, at a ready pod.

    Attributes:
        address: where clients ask.
        served: the releases that were asked, in the order in which each was first.
    """

    def __init__(self, plane: ControlPlane, namespace: str, service: str) -> None:
        self._plane = plane
        self._path = (
            f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
            f"?labelSelector=kubernetes.io/service-name%3D{service}"
        )
        self._ready: list[tuple[str, str, int]] = []
        self._turn = itertools.count()
        self._stop = threading.Event()
        self.served: list[str] = []
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                status, body = gateway.ask(self.path, content, dict(self.headers))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._threads = [
            threading.Thread(target=each, daemon=True)
            for each in (self._server.serve_forever, self._follow)
        ]

    def __enter__(self) -> Gateway:
        """Listen, and follow."""
        for each in self._threads:
            each.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Stop."""
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        for each in self._threads:
            each.join()

    def wait(self) -> None:
        """Until there is a pod to ask."""
        give_up = time.monotonic() + SECONDS
        while not self._ready:
            assert time.monotonic() < give_up, "no pod serves"
            time.sleep(0.05)

    def ask(self, path: str, content: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and body of a pod's answer; 502 or 503 without one."""
        ready = self._ready
        if not ready:
            return 503, b"no pod is ready"
        release, address, port = ready[next(self._turn) % len(ready)]
        connection = http.client.HTTPConnection(address, port, timeout=SECONDS)
        try:
            connection.request("POST", path, content, headers)
            answer = connection.getresponse()
            if release not in self.served:
                self.served.append(release)
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            return 502, f"{release}: {error!r}".encode()
        finally:
            connection.close()

    def _follow(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            found = []
            for part in self._plane.ask("GET", self._path)["items"]:
                port = next((int(each["port"]) for each in part["ports"] or []), 0)
                for each in part["endpoints"] or []:
                    if each["conditions"].get("ready"):
                        release = each["targetRef"]["name"].rsplit("-", 2)[0]
                        found.append((release, each["addresses"][0], port))
            self._ready = found
