"""What Azure says of an endpoint and of the deployment applied last, as ``Live``."""

from __future__ import annotations

from urllib.parse import urlsplit

from engine.deploy.targets.azureml.client import Json, settled, state_of, traffic_of
from engine.deploy.targets.azureml.shape import APPLIED_TAG, STOPPED_TAG, document_of
from engine.deploy.targets.base import Live

_MADE = ("Succeeded", "Updating")


def applied_deployment(endpoint: Json) -> str | None:
    """The deployment that was applied last; of an endpoint made elsewhere, that with the most
    traffic.
    """
    named = (endpoint.get("tags") or {}).get(APPLIED_TAG)
    shares = traffic_of(endpoint)
    return named or max(shares, key=lambda name: shares[name], default=None)


def address_of(endpoint: Json) -> str | None:
    """The URL of an endpoint, without a path."""
    parts = urlsplit(str(endpoint["properties"].get("scoringUri") or ""))
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else None


def live_of(endpoint: Json, deployment: Json | None, environment: Json | None) -> Live:
    """What is there now, of the release that was applied last."""
    document = document_of(endpoint, deployment, environment)
    stopping = bool((endpoint.get("tags") or {}).get(STOPPED_TAG))
    state = state_of(deployment)
    name = deployment["name"] if deployment else None
    return Live(
        document=document,
        tags=document["tags"],
        address=address_of(endpoint),
        state=_state(endpoint, deployment, stopping=stopping),
        settled=settled(endpoint) and settled(deployment),
        running=state in _MADE and not stopping,
        stopped=stopping and deployment is None,
        failure=_failure(endpoint, deployment, stopping=stopping),
        since=str((deployment.get("systemData") or {}).get("createdAt")) if deployment else None,
        copies=(f"{endpoint['name']}/deployments/{name}",) if name else (),
    )


def _state(endpoint: Json, deployment: Json | None, *, stopping: bool) -> str:
    if deployment is None:
        return "stopped" if stopping else "no deployment"
    share, name = traffic_of(endpoint).get(deployment["name"], 0), deployment["name"]
    copies = (deployment.get("sku") or {}).get("capacity")
    return f"deployment {name}: {state_of(deployment)}, {copies} instance(s), {share} % of traffic"


def _failure(endpoint: Json, deployment: Json | None, *, stopping: bool) -> str | None:
    if deployment is not None and stopping:
        return f"stopping it was interrupted: {deployment['name']} has no traffic, and bills"
    for resource, what in ((endpoint, "the endpoint"), (deployment, "its deployment")):
        if resource is not None and state_of(resource) in ("Failed", "Canceled"):
            return f"{what} {resource['name']} is in state {state_of(resource)}"
    return None
