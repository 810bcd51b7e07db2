"""What the requirements ask for is in the locks, and the owner's include the engine's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Render

NAME = re.compile(r"^[A-Za-z0-9._-]+")
LOCKED = {
    "serve-cpu": ["requirements/serve-cpu.in"],
    "train": ["requirements/train.in"],
    "dev": ["requirements/train.in", "engine/requirements/dev.in"],
    "deploy": ["engine/requirements/deploy.in"],
    "serve-gpu": ["requirements/serve-gpu.in"],
    "cuda": ["engine/requirements/cuda.in"],
}
VARIANTS = [{"model_format": "joblib"}, {"runs_on": "containerapps-t4"}]


def asked_for(file: Path) -> Iterator[str]:
    """The packages that a requirements file and those that it includes name."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            yield from asked_for((file.parent / line.removeprefix("-r ").strip()).resolve())
        elif name := NAME.match(line):
            yield name.group().lower().replace("_", "-")


@pytest.mark.parametrize("answers", VARIANTS, ids=lambda answers: next(iter(answers.values())))
def test_every_package_asked_for_is_locked(answers: dict[str, str], render: Render) -> None:
    """`make lock` compiles them."""
    project = render(**answers)
    locks = {path.stem: path for path in (project / "requirements").glob("*.txt")}
    locks.pop("system", None)
    assert locks.keys() == LOCKED.keys() - ({"serve-gpu", "cuda"} if len(locks) < 6 else set())
    for name, lock in locks.items():
        pinned = set(re.findall(r"^([a-z0-9.-]+)==", lock.read_text(encoding="utf-8"), re.M))
        for file in LOCKED[name]:
            missing = set(asked_for(project / file)) - pinned
            assert not missing, f"{name}.txt lacks {missing}"


@pytest.mark.parametrize("answers", VARIANTS, ids=lambda answers: next(iter(answers.values())))
def test_every_file_of_the_owners_includes_the_engines(
    answers: dict[str, str], render: Render
) -> None:
    for file in (render(**answers) / "requirements").glob("*.in"):
        included = re.findall(r"^-r (.*)$", file.read_text(encoding="utf-8"), re.M)
        assert f"../engine/requirements/{file.name}" in included
