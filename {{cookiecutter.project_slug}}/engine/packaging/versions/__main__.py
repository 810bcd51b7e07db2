"""`make doctor`: would these models answer elsewhere as they did in training?

Compares each model's manifest with the lock, this environment and, where one is named, an image.
Exit code 1 when something is refused.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from engine.serving.installed import locked_packages

with locked_packages(".venv/.serve"):
    from engine.deploy.docker import DockerError
    from engine.packaging.versions.compare import Finding, Places, of_model, of_places
    from engine.packaging.versions.sources import image_environment
    from engine.serving.environment import this_environment
    from engine.serving.errors import StartupError
    from engine.serving.package.digest import find_packages
    from engine.serving.package.lock import SERVE_LOCK, read_lock
    from engine.serving.package.manifest import read_manifest


def main(arguments: list[str] | None = None) -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.packaging.versions", description=__doc__
    )
    parser.add_argument("--models-dir", type=Path, default=Path(os.getenv("MODELS_DIR", "models")))
    parser.add_argument("--lock", type=Path, default=SERVE_LOCK)
    parser.add_argument("--image", help="compare with this image as well")
    asked = parser.parse_args(arguments)
    try:
        image = image_environment(asked.image) if asked.image else None
        places = Places(read_lock(asked.lock), this_environment(), image)
        reports = [
            (f"model {directory.name}", of_model(read_manifest(directory), places))
            for directory in find_packages(asked.models_dir)
        ]
    except (StartupError, DockerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    reports.append((f"{asked.lock.name} and what is installed", of_places(places)))
    for title, findings in reports:
        _print(title, findings)
    refused = sum(each.severity == "refused" for _, findings in reports for each in findings)
    risky = sum(each.severity == "risky" for _, findings in reports for each in findings)
    print(f"{refused} refused, {risky} risky")
    return 1 if refused else 0


def _print(title: str, findings: list[Finding]) -> None:
    print(title if findings else f"{title}: no difference")
    for each in findings:
        print(f"  {each.severity:8}  {each.name}: {each.versions}; {each.reason}")
        if each.fix and each.severity != "harmless":
            print(f"            fix: {each.fix}")


if __name__ == "__main__":
    sys.exit(main())
