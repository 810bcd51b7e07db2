"""The Docker engine as the double uses it: the only module that talks to Docker.

It speaks the engine's own API over its socket, because there an environment variable is part of a
request body: with the command line a secret would stand in an argument list or in a file.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from . import engine_socket
from .engine_socket import EngineError

__all__ = ["ContainerSpec", "ContainerState", "Engine", "EngineError"]

GIB = 1024**3
THREADS = 16
EXEC_SECONDS = 60.0
NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container to be made. ``memory`` is in GiB; ``ports`` are the ones it listens on;
    ``network`` is a container whose network it joins; ``bridge`` is a network of Docker's in which
    it has the address ``ip``; ``binds`` are "volume:path".
    """

    image: str
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    cpu: float = 1.0
    memory: float = 1.0
    ports: tuple[int, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    bridge: str = ""
    ip: str = ""
    binds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What Docker says of a container. ``addresses`` maps its ports to (host, port) here; ``ip`` is
    its address among containers.
    """

    status: str
    exit_code: int
    out_of_memory: bool
    started: str
    finished: str
    addresses: Mapping[int, tuple[str, int]]
    ip: str = ""

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.status == "running"


class Engine:
    """The local Docker engine. Every method may be awaited from the event loop.

    ``labels`` are put on all that is made through it, so that it can be found and removed.
    """

    def __init__(self, labels: Mapping[str, str], socket_path: str | None = None) -> None:
        self._labels = dict(labels)
        self._socket = socket_path or engine_socket.socket_path()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")
        self._cpus: float | None = None

    async def pull(self, image: str, token: str | None = None) -> None:
        """Fetch an image; ``token`` is a bearer token for its registry.

        Raises:
            EngineError: with the registry's own words when it refuses or has no such image.
        """
        auth = base64.urlsafe_b64encode(json.dumps({"registrytoken": token or ""}).encode())
        query = urlencode({"fromImage": image})
        headers = {"X-Registry-Auth": auth.decode()} if token else {}
        raw = await self._raw("POST", f"/images/create?{query}", headers=headers)
        for line in raw.splitlines():
            if line.strip() and (fault := json.loads(line).get("error")):
                raise EngineError(str(fault), 404)

    async def create(self, spec: ContainerSpec) -> str:
        """Make a container and return its id; it does not run yet."""
        body = {
            "Image": spec.image,
            "Env": [f"{name}={value}" for name, value in spec.environment.items()],
            "Labels": {**self._labels, **spec.labels},
            "ExposedPorts": {} if spec.network else {f"{port}/tcp": {} for port in spec.ports},
            "HostConfig": await self._limits(spec),
        }
        if spec.bridge:
            fixed = {"IPAMConfig": {"IPv4Address": spec.ip}}
            body["NetworkingConfig"] = {"EndpointsConfig": {spec.bridge: fixed}}
        if spec.command:  # ACI's command replaces the image's entry point as well
            body |= {"Entrypoint": list(spec.command), "Cmd": []}
        answer = await self._json("POST", "/containers/create", body)
        return str(answer["Id"])

    async def start(self, container: str) -> None:
        """Run a container that was made or has ended."""
        await self._raw("POST", f"/containers/{container}/start")

    async def stop(self, container: str, grace: int) -> None:
        """SIGTERM, then SIGKILL after ``grace`` seconds; nothing if it does not run."""
        try:
            await self._forgiving("POST", f"/containers/{container}/stop?t={grace}")
        except EngineError:
            # Refused now and then, without a word, when the container ends at the same moment.
            if await self._runs(container):
                raise

    async def _runs(self, container: str) -> bool:
        try:
            return (await self.state(container)).running
        except EngineError as problem:
            if problem.status == NOT_FOUND:
                return False
            raise

    async def remove(self, container: str) -> None:
        """Kill and delete a container; nothing if it is gone."""
        await self._forgiving("DELETE", f"/containers/{container}?force=1&v=1")

    async def state(self, container: str) -> ContainerState:
        """How a container is now."""
        seen = await self._json("GET", f"/containers/{container}/json")
        state = seen["State"]
        return ContainerState(
            status=state["Status"],
            exit_code=state["ExitCode"],
            out_of_memory=state["OOMKilled"],
            started=state["StartedAt"],
            finished=state["FinishedAt"],
            addresses=_addresses(seen["NetworkSettings"]["Ports"] or {}),
            ip=seen["NetworkSettings"].get("IPAddress") or _bridge_ip(seen),
        )

    async def ended(self, container: str) -> None:
        """Return when a container does not run, or is gone. A connection of its own waits."""
        reader, writer = await asyncio.open_unix_connection(self._socket)
        try:
            target = f"/{engine_socket.API_VERSION}/containers/{container}/wait"
            head = f"POST {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            await reader.read()
        finally:
            writer.close()

    async def logs(self, container: str, tail: int | None = None) -> str:
        """What a container has written to both its streams, oldest first."""
        query = urlencode({"stdout": 1, "stderr": 1, "tail": "all" if tail is None else tail})
        raw = await self._raw("GET", f"/containers/{container}/logs?{query}")
        return engine_socket.without_frames(raw).decode(errors="replace")

    async def execute(self, container: str, command: list[str], timeout: float) -> int:
        """Run a command inside a container and return its exit code (124: it took too long)."""
        body = {"Cmd": command, "AttachStdout": True, "AttachStderr": True}
        job = (await self._json("POST", f"/containers/{container}/exec", body))["Id"]
        started = self._raw("POST", f"/exec/{job}/start", {"Detach": False})
        try:
            async with asyncio.timeout(min(timeout, EXEC_SECONDS)):
                await started
        except TimeoutError:
            return 124
        return int((await self._json("GET", f"/exec/{job}/json"))["ExitCode"] or 0)

    async def containers(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """All containers, running or not, that carry these labels (an empty value: any)."""
        query = urlencode({"all": 1, "filters": _label_filter(labels)})
        found: list[dict[str, Any]] = await self._json("GET", f"/containers/json?{query}")
        return found

    async def markers(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """The volumes that carry these labels."""
        answer = await self._json(
            "GET", f"/volumes?{urlencode({'filters': _label_filter(labels)})}"
        )
        return list(answer["Volumes"] or [])

    async def mark(self, name: str, labels: Mapping[str, str]) -> None:
        """Make an empty volume whose labels outlive this process."""
        await self._json("POST", "/volumes/create", {"Name": name, "Labels": dict(labels)})

    async def unmark(self, name: str) -> None:
        """Remove a volume made by ``mark``."""
        await self._forgiving("DELETE", f"/volumes/{name}?force=1")

    async def make_network(self, name: str, prefix: str) -> None:
        """Make a network that leads nowhere else, with these addresses."""
        body = {
            "Name": name,
            "Internal": True,
            "Labels": self._labels,
            "IPAM": {"Config": [{"Subnet": prefix}]},
        }
        await self._json("POST", "/networks/create", body)

    async def networks(self, labels: Mapping[str, str]) -> list[str]:
        """The names of the networks that carry these labels."""
        query = urlencode({"filters": _label_filter(labels)})
        found = await self._json("GET", f"/networks?{query}")
        return [str(each["Name"]) for each in found]

    async def remove_network(self, name: str) -> None:
        """Remove a network; no container may be in it any more."""
        await self._forgiving("DELETE", f"/networks/{name}")

    async def forget_images(self, prefix: str) -> None:
        """Remove every name of an image that begins with ``prefix``; layers may stay in use."""
        for image in await self._json("GET", "/images/json"):
            names = [*(image["RepoTags"] or []), *(image["RepoDigests"] or [])]
            for name in names:
                if name.startswith(prefix):
                    await self._forgiving("DELETE", f"/images/{quote(name, safe='')}?noprune=1")

    async def _limits(self, spec: ContainerSpec) -> dict[str, Any]:
        """The caps of a container. Docker refuses more cores than the machine has: no more then."""
        if self._cpus is None:
            self._cpus = float((await self._json("GET", "/info"))["NCPU"])
        memory = int(spec.memory * GIB)
        return {
            "NanoCpus": int(min(spec.cpu, self._cpus) * 10**9),
            "Memory": memory,
            "MemorySwap": memory,  # equal: no swap
            **_network(spec),
            "Binds": list(spec.binds),
            "RestartPolicy": {"Name": "no"},  # the group's own policy restarts, and counts
        }

    async def _forgiving(self, method: str, path: str) -> None:
        try:
            await self._raw(method, path)
        except EngineError as problem:
            if problem.status not in (304, NOT_FOUND, 409):
                raise

    async def _json(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(await self._raw(method, path, body))

    async def _raw(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, engine_socket.request, self._socket, method, path, body, headers
        )


def _network(spec: ContainerSpec) -> dict[str, Any]:
    if spec.network:
        return {"NetworkMode": f"container:{spec.network}"}
    if spec.bridge:
        return {"NetworkMode": spec.bridge}
    return {"PortBindings": {f"{port}/tcp": [{"HostIp": "127.0.0.1"}] for port in spec.ports}}


def _bridge_ip(seen: Mapping[str, Any]) -> str:
    joined = (seen["NetworkSettings"].get("Networks") or {}).values()
    return next((each["IPAddress"] for each in joined if each.get("IPAddress")), "")


def _addresses(ports: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
    return {
        int(name.partition("/")[0]): (bound[0]["HostIp"], int(bound[0]["HostPort"]))
        for name, bound in ports.items()
        if bound
    }


def _label_filter(labels: Mapping[str, str]) -> str:
    wanted = [f"{name}={value}" if value else name for name, value in labels.items()]
    return json.dumps({"label": wanted})
