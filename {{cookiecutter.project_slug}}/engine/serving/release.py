"""The identity of this release: names from pyproject.toml, revision, digest.

`python -m engine.serving.release` prints it as JSON. Standard library only, so that a build can ask
before anything is installed.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.serving.package.digest import models_digest

PROJECT_FILE = Path(__file__).resolve().parents[2] / "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Release:
    """What is running. ``name`` is the repository's slug, ``title`` the name for people;
    ``model_digest`` covers the models and `service.py`.
    """

    name: str
    title: str
    description: str
    version: str
    revision: str
    model_digest: str


def read_release(model_digest: str, revision: str, project_file: Path = PROJECT_FILE) -> Release:
    """Put the release together.

    Args:
        model_digest: see ``engine.serving.package.digest.models_digest``; empty while unknown.
        revision: the git commit, or "unknown".
        project_file: pyproject.toml of the service.
    """
    content: dict[str, Any] = tomllib.loads(project_file.read_text(encoding="utf-8"))
    project = content["project"]
    return Release(
        name=project["name"],
        title=content["tool"]["service"]["title"],
        description=project["description"],
        version=project["version"],
        revision=revision,
        model_digest=model_digest,
    )


def main() -> None:
    """Print the release as JSON; the models are digested, not loaded."""
    models_dir = Path(os.environ.get("MODELS_DIR", "models"))
    revision = os.environ.get("GIT_REVISION", "unknown")
    print(json.dumps(asdict(read_release(models_digest(models_dir), revision))))


if __name__ == "__main__":
    main()
