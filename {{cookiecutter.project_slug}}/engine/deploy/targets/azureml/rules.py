"""The rules of Azure Machine Learning that an environment file must keep.

The limits are those of Microsoft's pages on quotas and limits of endpoints, on the YAML of managed
online deployments, and on the sizes that endpoints may have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Broken, Rule
from engine.deploy.targets.azureml.environment import EndpointEnvironment
from engine.deploy.targets.azureml.sizes import KNOWN, quota_cores, size_of
from engine.serving.package.download import needs_identity

_NAME = re.compile(r"(?=.{3,32}$)[a-z](-?[a-z0-9])+")
_SMALL = ("Standard_F2s_v2", "Standard_DS1_v2")


def warnings(environment: EndpointEnvironment) -> Iterator[str]:
    """What is allowed and may surprise."""
    size = size_of(environment)
    if size is None:
        return
    if environment.secrets:
        yield (
            "secrets: Azure Machine Learning shows the variables of a deployment to everyone with "
            "read access to the workspace, secrets among them; the endpoint asks for a key of its "
            "own in any case"
        )
    if size.name in _SMALL:
        yield (
            f"instance_type {size.name}: Microsoft says that it may be too small for an endpoint; "
            "Standard_F4s_v2 is the next one"
        )
    if environment.instances < 3:
        yield (
            f"instances is {environment.instances}: Microsoft promises an availability for 3 or "
            "more only"
        )
    yield (
        f"a rollout runs two releases: the quota of Azure Machine Learning for {size.family} needs "
        f"{quota_cores(environment)} cores in {environment.region}"
    )


def name(project: Project, environment: EndpointEnvironment) -> Iterator[Broken]:
    """The name of an endpoint."""
    if _NAME.fullmatch(environment.name) is None:
        yield Broken(
            ("name",),
            "the name of an endpoint has 3 to 32 lower-case letters, digits and single hyphens "
            "inside, begins with a letter, and is unique in the region",
            "choose another name",
        )


def gpu(project: Project, environment: EndpointEnvironment) -> Iterator[Broken]:
    """No GPU: the driver of Azure Machine Learning is older than the image's CUDA needs."""
    if environment.gpu != "none":
        yield Broken(
            ("gpu",),
            "the image needs CUDA 13, which needs driver 580, and Azure Machine Learning has "
            "driver 535",
            "write gpu: none, or target: containerapps",
        )


def instance_type(project: Project, environment: EndpointEnvironment) -> Iterator[Broken]:
    """The size, named or chosen."""
    size = size_of(environment)
    if size is None and environment.instance_type is not None:
        yield Broken(
            ("instance_type",),
            f"{environment.instance_type} is none of the sizes {KNOWN}",
            "write one of them, or remove the line and write cpu and memory_gb",
        )
    elif size is None:
        yield Broken(
            ("cpu",),
            f"no size has {environment.cpu:g} cores and {environment.memory_gb:g} GB",
            "ask for less, or write instance_type",
        )


def fits(project: Project, environment: EndpointEnvironment) -> Iterator[Broken]:
    """What is asked for is in an instance of a size that is named."""
    size = size_of(environment)
    if size is None or environment.instance_type is None:
        return
    if environment.cpu > size.cores:
        rule = f"{size.name} has {size.cores} cores"
        yield Broken(("cpu",), rule, f"write {size.cores} or less, or another instance_type")
    if environment.memory_gb > size.memory_gb:
        rule = f"{size.name} has {size.memory_gb:g} GB"
        yield Broken(
            ("memory_gb",), rule, f"write {size.memory_gb:g} or less, or another instance_type"
        )


def identity(project: Project, environment: EndpointEnvironment) -> Iterator[Broken]:
    """Blobs that are read by an identity: no document says how a container here gets its token."""
    for given, value in environment.variables.items():
        if given.upper() not in ("MODEL_URI", "CAPTURE"):
            continue
        if any(needs_identity(each.strip()) for each in value.split(",")):
            yield Broken(
                ("variables", given),
                "needs the token of a managed identity, which the service cannot ask for behind "
                "an endpoint",
                "put the model into the image, or take another target",
            )


RULES = (
    Rule(("name",), name),
    Rule(("gpu",), gpu),
    Rule(("instance_type", "cpu", "memory_gb"), instance_type),
    Rule(("instance_type", "cpu", "memory_gb"), fits),
    Rule(("variables",), identity),
)
