"""Fetch model packages too large for git: `MODEL_URI` or `python -m engine.serving.package.fetch`.

An address ends with `#sha256=<64 digits>`, the checksum of a zip file with one package's folder. It
is `https://…` (Azure Blob storage is asked with the managed identity of the container),
`runs:/<run>/<path>` (MLflow's server at MLFLOW_TRACKING_URI) or `file:///…`. What was fetched is
kept by checksum and not fetched again. Standard library only: an image build may ask for it first.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from engine.serving.errors import PackageError
from engine.serving.package.digest import MANIFEST, file_sha256, find_packages
from engine.serving.package.download import CHUNK, download, without_query
from engine.serving.proxies import keep_local_direct

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"(?P<address>(?:https?|file|runs):/\S+)#sha256=(?P<sha256>[0-9a-f]{64})")


def fetch_all(addresses: tuple[str, ...], cache: Path) -> list[Path]:
    """Fetch packages, or find them in the cache.

    Args:
        addresses: each with its checksum.
        cache: folder for what was fetched; safe for several processes.

    Returns:
        The packages' folders, sorted by name.

    Raises:
        PackageError: an address is malformed, cannot be reached, or gives other bytes than its
            checksum says.
    """
    keep_local_direct()
    folders = [_fetch(address, cache) for address in addresses]
    return sorted(folders, key=lambda folder: folder.name)


def all_packages(models_dir: Path, addresses: tuple[str, ...], cache: Path) -> list[Path]:
    """The packages of the models folder and those fetched, sorted by name.

    Raises:
        PackageError: there is none, one cannot be fetched, or two have one name.
    """
    if not addresses:
        return find_packages(models_dir)
    local = sorted(path.parent for path in models_dir.glob(f"*/{MANIFEST}"))
    folders = sorted([*local, *fetch_all(addresses, cache)], key=lambda folder: folder.name)
    names = [folder.name for folder in folders]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise PackageError(f"several packages are called {sorted(twice)}; see MODEL_URI")
    return folders


def parse(address: str) -> tuple[str, str]:
    """Split an address from its checksum.

    Raises:
        PackageError: it is not of that form.
    """
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise PackageError(
            f"MODEL_URI={without_query(address)!r}: must be https://…, runs:/… or file:///… and "
            "end with #sha256= and 64 digits of the file's checksum"
        )
    return match["address"], match["sha256"]


def _fetch(address: str, cache: Path) -> Path:
    place, sha256 = parse(address)
    target = cache / sha256
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{sha256}.lock"):
        listing = cache / f"{sha256}.json"
        if not _is_whole(target, listing):
            shutil.rmtree(target, ignore_errors=True)
            for left in cache.glob(f".new-{sha256}-*"):  # by a process that was stopped meanwhile
                shutil.rmtree(left)
            with tempfile.TemporaryDirectory(dir=cache, prefix=f".new-{sha256}-") as scratch:
                archive = Path(scratch) / "package.zip"
                log.info("fetching %s", without_query(place))
                download(place, archive, sha256)
                fresh = Path(scratch) / "package"
                _unpack(archive, fresh, place)
                listing.write_text(json.dumps(_listed(fresh)))
                fresh.rename(target)
    (folder,) = find_packages(target)
    return folder


def _listed(target: Path) -> dict[str, str]:
    """The checksum of each file of what was fetched, by its path."""
    files = sorted(each for each in target.rglob("*") if not each.is_dir())
    return {str(each.relative_to(target)): file_sha256(each) for each in files}


def _is_whole(target: Path, listing: Path) -> bool:
    """Whether what lies in the cache is what was unpacked there."""
    if not target.exists():
        return False
    try:
        whole: bool = json.loads(listing.read_text()) == _listed(target)
    except (OSError, ValueError):
        whole = False
    if not whole:
        log.warning("%s is not what was fetched; it is fetched again", target)
    return whole


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; several workers start together."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unpack(archive: Path, target: Path, place: str) -> None:
    """One folder with a manifest, and nothing that could land elsewhere."""
    try:
        with zipfile.ZipFile(archive) as content:
            names = [each for each in content.namelist() if not each.endswith("/")]
            folders = {PurePosixPath(name).parts[0] for name in names}
            plain = all(
                len(PurePosixPath(name).parts) == 2 and ".." not in PurePosixPath(name).parts
                for name in names
            )
            if len(folders) != 1 or not plain or f"{min(folders)}/{MANIFEST}" not in names:
                raise PackageError(
                    f"{without_query(place)}: must hold one folder with {MANIFEST} and its files; "
                    "make it with `.venv/bin/python -m engine.packaging.archive models/<name>`"
                )
            size = sum(each.file_size for each in content.infolist())
            room = shutil.disk_usage(archive.parent).free
            if size > room:
                raise PackageError(
                    f"{without_query(place)}: has {size} bytes when unpacked and {room} are free; "
                    "choose another MODEL_CACHE_DIR"
                )
            for name in names:
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with content.open(name) as source, path.open("wb") as file:
                    shutil.copyfileobj(source, file, CHUNK)
    except zipfile.BadZipFile:
        raise PackageError(f"{without_query(place)}: is not a zip file") from None
    except PackageError:
        raise
    # zipfile and zlib raise nearly everything on what is broken inside.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PackageError(f"{without_query(place)}: cannot be unpacked: {reason}") from None


def _put(folder: Path, models_dir: Path) -> Path:
    """Copy a package into the models folder; the one that it replaces stays until it is whole."""
    target = models_dir / folder.name
    models_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models_dir, prefix=".new-") as scratch:
        fresh = Path(shutil.copytree(folder, Path(scratch) / folder.name))
        if target.exists():
            target.rename(Path(scratch) / "old")
        fresh.rename(target)
    return target


def main() -> int:
    """Fetch what MODEL_URI names into the models folder, for builds that should hold the models."""
    addresses = tuple(part.strip() for part in os.environ.get("MODEL_URI", "").split(",") if part)
    models_dir = Path(os.environ.get("MODELS_DIR", "models"))
    cache = Path(os.environ.get("MODEL_CACHE_DIR", "/tmp/models"))  # noqa: S108 - the usual cache
    try:
        for folder in fetch_all(addresses, cache):
            print(f"fetched {_put(folder, models_dir)}")
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
