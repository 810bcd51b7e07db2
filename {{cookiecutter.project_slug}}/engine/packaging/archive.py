"""A package as a zip file for `MODEL_URI`: `python -m engine.packaging.archive models/<name>`."""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

from engine.serving.installed import locked_packages

with locked_packages(".venv/.train"):
    from engine.serving.errors import PackageError
    from engine.serving.package.digest import MANIFEST, file_sha256
    from engine.serving.package.reader import read_package

# The same package gives the same bytes, and so the same checksum.
EARLIEST = (1980, 1, 1, 0, 0, 0)


def archive(package: Path, target: Path) -> str:
    """Write the zip file.

    Returns:
        Its sha256, as MODEL_URI wants it.

    Raises:
        PackageError: the package is not whole.
    """
    manifest = read_package(package).manifest
    with zipfile.ZipFile(target, "w") as content:
        for name in sorted([MANIFEST, *manifest.files]):
            entry = zipfile.ZipInfo(f"{package.name}/{name}", EARLIEST)
            with (
                (package / name).open("rb") as source,
                content.open(entry, "w", force_zip64=True) as f,
            ):
                while chunk := source.read(1 << 20):
                    f.write(chunk)
    return file_sha256(target)


def main() -> int:
    """Archive one package and print what to put into MODEL_URI."""
    parser = argparse.ArgumentParser(prog="python -m engine.packaging.archive", description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--output", type=Path, help="default: <name>-<version>.zip")
    asked = parser.parse_args()
    try:
        version = read_package(asked.package).manifest.version
        target = asked.output or Path(f"{asked.package.name}-{version}.zip")
        sha256 = archive(asked.package, target)
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {target}; once it is uploaded, set")
    print(
        f"MODEL_URI=https://<account>.blob.core.windows.net/<container>/{target.name}#sha256={sha256}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
