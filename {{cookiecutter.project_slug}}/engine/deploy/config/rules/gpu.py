"""Rules on the GPU: where there is one, and whether the image can use it."""

from __future__ import annotations

from collections.abc import Iterator

from engine.deploy.config.environment import Environment
from engine.deploy.config.project import Project
from engine.deploy.config.rules.rule import Broken, Rule


def count(project: Project, environment: Environment) -> Iterator[Broken]:
    """Without a GPU there is none to count."""
    if environment.gpu == "none" and environment.gpu_count != 1:
        yield Broken(("gpu_count",), "there is no GPU to count with gpu: none", "remove the line")


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
    Rule(("gpu", "gpu_count"), count),
    Rule(("gpu", "variables", "project.accelerator"), image),
)
