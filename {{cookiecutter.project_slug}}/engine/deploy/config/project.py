"""deploy/project.yaml: what is the same in every environment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.deploy.config.kinds import (
    GitHubLogin,
    Region,
    RegistryName,
    ResourceGroup,
    Section,
    Slug,
    Title,
)


class Project(Section):
    """The service, and the resources that its environments share.

    The accelerator is here and not in an environment: one image is built, tested in staging,
    and given to production by its digest.
    """

    name: Slug = Field(description="Start of every name in Azure, and repository of the image.")
    title: Title = Field(description="Name for people.")
    owner: GitHubLogin = Field(description="GitHub user or organisation of the repository.")
    accelerator: Literal["cpu", "gpu"] = Field(description="Which image is built.")
    registry: RegistryName = Field(description="Container registry, unique in all of Azure.")
    region: Region = Field(description="Region of the shared resources.")
    shared_resource_group: ResourceGroup = Field(description="Where the shared resources are.")
