"""Rules on the GPU: where there is one, and whether the image can use it."""

from __future__ import annotations

from collections.abc import Iterator

from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Broken, Rule

RETIRED_ON = "2025-07-14"
RETIRED_GPUS = ("k80", "p100", "v100")
# Azure docs: deploy container instances that use GPU resources, before their retirement.
RETIRED_COUNTS = (1, 2, 4)


def retired(project: Project, environment: Environment) -> Iterator[Broken]:
    """Container Instances lost their GPUs. Azure docs: their page on GPU resources."""
    if environment.target != "aci" or environment.gpu == "none":
        return
    if not environment.allow_retired_gpu:
        yield Broken(
            ("gpu",),
            f"Azure Container Instances has no GPUs: Microsoft retired them on {RETIRED_ON}, and a "
            "container group that asks for one fails to start (ServiceUnavailable)",
            "for a GPU write target: containerapps with gpu: t4 or a100; without one write "
            "gpu: none, and accelerator: cpu in deploy/project.yaml; allow_retired_gpu: true sends "
            "the request nevertheless",
        )
    elif environment.gpu not in RETIRED_GPUS:
        yield Broken(
            ("gpu",),
            "Azure Container Instances knew k80, p100 and v100 only",
            "write gpu: v100, or target: containerapps",
        )


def count(project: Project, environment: Environment) -> Iterator[Broken]:
    """How many GPUs a container group could have."""
    if environment.gpu == "none" and environment.gpu_count != 1:
        yield Broken(("gpu_count",), "there is no GPU to count with gpu: none", "remove the line")
    elif environment.target == "aci" and environment.gpu_count not in RETIRED_COUNTS:
        yield Broken(("gpu_count",), "must be 1, 2 or 4", "take one of these")


def image(project: Project, environment: Environment) -> Iterator[Broken]:
    """The image is the same in all environments, so it must suit each of them."""
    providers = environment.variables.get("EXECUTION_PROVIDERS", "")
    if environment.gpu != "none" and project.accelerator != "gpu":
        yield Broken(
            ("gpu",),
            "needs the GPU image, and accelerator in deploy/project.yaml is cpu",
            "write accelerator: gpu there, or gpu: none here",
        )
    if environment.gpu == "none" and project.accelerator == "gpu" and "cpu" not in providers:
        yield Broken(
            ("gpu",),
            "the GPU image (accelerator in deploy/project.yaml) does not start without a GPU",
            'give this environment one, or let it run on the CPU: EXECUTION_PROVIDERS: "cpu" under '
            "variables",
        )


RULES = (
    Rule(("target", "gpu", "allow_retired_gpu"), retired),
    Rule(("target", "gpu", "gpu_count"), count),
    Rule(("gpu", "variables", "project.accelerator"), image),
)
