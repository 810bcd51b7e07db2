"""The files of a generated project, as a function of the answers."""

from __future__ import annotations

ALWAYS = """
.dockerignore
.editorconfig
.gitignore
.python-version
Dockerfile
Makefile
README.md
deploy/__init__.py
deploy/image.py
deploy/project.yaml
models/iris/golden.npz
models/iris/model.yaml
pyproject.toml
requirements/cuda.in
requirements/cuda.txt
requirements/dev.in
requirements/dev.txt
requirements/serve-cpu.in
requirements/serve-cpu.txt
requirements/serve-gpu.in
requirements/serve-gpu.txt
requirements/train.in
requirements/train.txt
"""


def expected_files(model_format: str) -> list[str]:
    """Return the sorted paths that a project with this model format consists of, .git aside."""
    return sorted([*ALWAYS.split(), f"models/iris/model.{model_format}"])
