"""Print the Debian packages that the models need: `python -m engine.serving.package.system`.

For the image's build, which installs them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from engine.serving.errors import PackageError
from engine.serving.package.digest import find_packages
from engine.serving.package.manifest import read_manifest


def main(models_dir: Path = Path("models")) -> int:
    """Print one name in a line; those of the manifests' ``system``."""
    try:
        names = {
            each for folder in find_packages(models_dir) for each in read_manifest(folder).system
        }
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(sorted(names)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
