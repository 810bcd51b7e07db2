"""The names of everything in Azure that is not named in a file: all follow from the project's."""

from __future__ import annotations

import hashlib

from engine.deploy.config.project import Project

CONTAINER = "service"
"""The one container in a group or app; logs are asked for by this name."""

EDGE = "edge"
"""The container beside it that ends HTTPS, where an environment has one."""

# Tags of a container group or app. The first three say what runs, the others belong to rollouts.
TAG_REVISION = "git-revision"
TAG_IMAGE = "image-digest"
TAG_MODEL = "model-digest"
TAG_CONFIG = "config-digest"
TAG_SECRETS = "secrets-fingerprint"
TAG_ROLLOUT = "rollout-id"
TAG_STATE = "rollout-state"
TAG_HEARTBEAT = "rollout-heartbeat"
RELEASE_TAGS = (TAG_REVISION, TAG_IMAGE, TAG_MODEL)
ROLLOUT_TAGS = (TAG_CONFIG, TAG_SECRETS, TAG_ROLLOUT, TAG_STATE, TAG_HEARTBEAT)


BUILDS, PRUNES = "registry", "prune"
JOBS = (BUILDS, PRUNES)
"""GitHub's environments of the jobs that push images and that delete them."""


def image_repository(project: Project) -> str:
    """The repository of the image in the registry."""
    return project.name


def edge_repository(project: Project) -> str:
    """The repository of the image that ends HTTPS."""
    return f"{project.name}-edge"


def runtime_identity(project: Project) -> str:
    """The identity that pulls the image (AcrPull)."""
    return f"{project.name}-runtime"


def build_identity(project: Project) -> str:
    """The identity of the workflow that pushes images (AcrPush)."""
    return f"{project.name}-build"


def deploy_identity(project: Project, stage: str) -> str:
    """The identity of the workflow that deploys to one environment."""
    return f"{project.name}-deploy-{stage}"


def prune_identity(project: Project) -> str:
    """The identity of the workflow that removes old images (AcrDelete); no other may delete."""
    return f"{project.name}-prune"


def workspace(project: Project) -> str:
    """The Log Analytics workspace."""
    return f"{project.name}-logs"


def insights(project: Project) -> str:
    """The Application Insights component."""
    return f"{project.name}-insights"


def records_role(project: Project) -> str:
    """The custom role that lets a deploy identity keep the journal of its rollouts."""
    return f"{project.name} rollout records"


def logs_role(project: Project) -> str:
    """The custom role that lets a deploy identity send a container's log to the workspace."""
    return f"{project.name} container logs"


def dns_role(project: Project) -> str:
    """The custom role that lets a deploy identity make records of own names in a DNS zone."""
    return f"{project.name} own names"


def storage_role(project: Project) -> str:
    """The custom role that lets a deploy identity mount file shares."""
    return f"{project.name} certificates"


def subnet_role(project: Project) -> str:
    """The custom role that lets a deploy identity put container groups into a subnet."""
    return f"{project.name} subnet"


def storage_account(subscription: str, resource_group: str) -> str:
    """The storage account of an environment: unique in Azure, 24 lower-case letters and digits."""
    text = f"{subscription}/{resource_group}".lower()
    return "edge" + hashlib.sha256(text.encode()).hexdigest()[:20]
