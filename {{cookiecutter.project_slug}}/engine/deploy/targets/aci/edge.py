"""HTTPS for a container group: a second container with Caddy, which Azure sees beside the service.

It listens on the ports 80 and 443, orders a certificate when a client asks for a name for the first
time, and keeps it on a file share: another group, or the next release, uses the same one. Names are
allowed by pattern, since Azure puts a hash into an address that nobody knows before the group is
made. The image is made of ``engine/edge``.
"""

from __future__ import annotations

from typing import Any

from engine.deploy.config import names
from engine.deploy.config.environment import Probe
from engine.deploy.config.volumes import CERTIFICATES
from engine.deploy.targets.aci.environment import GroupEnvironment
from engine.deploy.targets.base import Places, check_image
from engine.errors import EngineError

HTTP, HTTPS, ASK = 80, 443, 9080
PORTS = [{"port": port, "protocol": "TCP"} for port in (HTTP, HTTPS)]
CPU, MEMORY_GB = 0.1, 0.2
"""What it asks for besides the service; it has used 57 MB. Its limit is what the service asks for,
so a burst of handshakes takes what is idle."""
_MOST_MEMORY_GB = 0.5
_FOLDER = "/data"
_TRAFFIC_MANAGER = "trafficmanager.net"


def host_pattern(environment: GroupEnvironment) -> str:
    """A regular expression for the names that certificates are ordered for, and no other."""
    label = environment.dns_label
    group = f"{label}(-(blue|green)-[0-9]+)?" if environment.beside else label
    shared = (f"{label}.{_TRAFFIC_MANAGER}",) if environment.beside else ()
    own = environment.https.domains if environment.https else ()
    address = f"{group}([.][a-z0-9]+)?[.]{environment.region}[.]azurecontainer[.]io"
    return "|".join((address, *(each.replace(".", "[.]") for each in (*shared, *own))))


def containers(environment: GroupEnvironment, places: Places) -> list[dict[str, Any]]:
    """The container, if the environment asks for HTTPS.

    Raises:
        EngineError: there is no image of it, or it is not named by its digest.
    """
    if environment.https is None:
        return []
    if places.edge is None:
        raise EngineError(
            f"{environment.stage} has https, and there is no image for it in the registry",
            "`.venv/bin/python -m engine.deploy push` builds and pushes it",
        )
    check_image(places.edge, places.registry_server)
    ready: Probe = environment.probes.readiness
    variables = {
        "EDGE_AUTHORITY": environment.https.authority,
        "EDGE_EMAIL": environment.https.email,
        "EDGE_NAMES": host_pattern(environment),
        # Caddy compares the path alone.
        "EDGE_READY": ready.path.partition("?")[0],
        "EDGE_SERVICE": f"127.0.0.1:{environment.port}",
    }
    properties = {
        "image": places.edge,
        "ports": PORTS,
        "environmentVariables": [{"name": name, "value": text} for name, text in variables.items()],
        "resources": {
            "requests": {"cpu": CPU, "memoryInGB": MEMORY_GB},
            "limits": {"cpu": environment.cpu, "memoryInGB": _MOST_MEMORY_GB},
        },
        "volumeMounts": [{"name": CERTIFICATES, "mountPath": _FOLDER}],
    }
    return [{"name": names.EDGE, "properties": properties}]
