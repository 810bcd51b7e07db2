"""An endpoint as Azure shows it, read into the evidence that container groups give."""

from __future__ import annotations

from urllib.parse import urlsplit

from engine.deploy.config import names
from engine.deploy.diagnosis.evidence import Container, Group, State
from engine.deploy.targets.azureml.client import Json, state_of
from engine.deploy.targets.azureml.live import address_of
from engine.deploy.targets.azureml.shape import document_of
from engine.deploy.targets.azureml.sizes import size_named


def read_endpoint(endpoint: Json, deployment: Json | None, environment: Json | None) -> Group:
    """Read an endpoint with the deployment that was applied last."""
    document = document_of(endpoint, deployment, environment)
    identities = tuple(each.lower() for each in document["identity"]["userAssignedIdentities"])
    image = str((document["environment"] or {}).get("image") or "")
    return Group(
        name=str(endpoint["name"]),
        provisioning=state_of(endpoint) or "",
        state=state_of(deployment) or "",
        containers=(_container(document, image, state_of(deployment)),) if deployment else (),
        identities=identities,
        credentials=dict.fromkeys(filter(None, [image.partition("/")[0]]), "".join(identities[:1])),
        fqdn=urlsplit(address_of(endpoint) or "").hostname,
    )


def _container(document: Json, image: str, state: str | None) -> Container:
    properties = document["deployment"]["properties"]
    variables = properties["environmentVariables"]
    size = size_named(str(properties.get("instanceType")))
    return Container(
        name=names.CONTAINER,
        image=image,
        variables=variables,
        names=(*variables, *document["secrets"]),
        memory_gb=size.memory_gb if size else None,
        current=State("Running" if state == "Succeeded" else "Waiting"),
    )
