"""What a container group may be, and may yet surprise."""

from __future__ import annotations

from collections.abc import Iterator

from engine.deploy.targets.aci.environment import GroupEnvironment

# Azure docs: quota limits, and "big containers" for what needs a request to support.
CPU_WITHOUT_REQUEST, MEMORY_WITHOUT_REQUEST = 4, 16
CPU_OF_A_NEW_SUBSCRIPTION = 10


def warnings(environment: GroupEnvironment) -> Iterator[str]:
    """One sentence for each thing to know, with the field it comes from."""
    if environment.cpu > CPU_WITHOUT_REQUEST or environment.memory_gb > MEMORY_WITHOUT_REQUEST:
        yield (
            f"cpu is {environment.cpu:g} and memory_gb {environment.memory_gb:g}: more than "
            f"{CPU_WITHOUT_REQUEST} cpu or {MEMORY_WITHOUT_REQUEST} GB in one container group "
            "needs a support request to Azure first"
        )
    if environment.cpu > CPU_OF_A_NEW_SUBSCRIPTION:
        yield (
            f"cpu is {environment.cpu:g}: a new subscription has {CPU_OF_A_NEW_SUBSCRIPTION} cores "
            "in each region; ask for a higher quota (StandardCores) first"
        )
    if environment.gpu != "none":
        yield (
            f"gpu is {environment.gpu}, retired on Container Instances: the request is sent, for "
            "allow_retired_gpu is true, and Azure is expected to answer ServiceUnavailable"
        )
    yield (
        "Container Instances have no TLS: requests, answers and API keys travel readable over "
        "http; target: containerapps has https, or put a gateway in front"
    )
    if environment.port < 1024:
        yield (
            f"port is {environment.port}: the image runs without root, and not every platform lets "
            "such a process listen below 1024; 8000 works everywhere"
        )
    if environment.dns.reuse == "Unsecure":
        yield (
            "dns.reuse is Unsecure: when the group is deleted, anyone in Azure can take its "
            "address, and your clients would talk to them"
        )
    if environment.restart_policy == "Never":
        yield "restart_policy is Never: a service that crashed stays down"
    if environment.dns.reuse == "Noreuse":
        yield "dns.reuse is Noreuse: the address is another one after every delete and create"
