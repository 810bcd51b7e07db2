"""Fetch model packages that are too large for git: `MODEL_URI`, or `python -m app.package.fetch`.

An address ends with `#sha256=<64 digits>`, the checksum of a zip file with one package's folder. It
is `https://…` (Azure Blob storage is asked with the managed identity of the container),
`runs:/<run>/<path>` (MLflow's server at MLFLOW_TRACKING_URI) or `file:///…`. What was fetched is
kept by checksum and not fetched again. Standard library only: an image build may ask for it first.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.response import addinfourl

from app.errors import PackageError
from app.package.digest import MANIFEST, find_packages

log = logging.getLogger(__name__)

ADDRESS = re.compile(r"(?P<address>(?:https?|file|runs):/\S+)#sha256=(?P<sha256>[0-9a-f]{64})")
BLOB_HOST = re.compile(r"[a-z0-9-]+\.blob\.core\.[a-z.]+")
STORAGE = "https://storage.azure.com/"
# Azure docs: "How to use managed identities to acquire an access token", on a virtual machine and
# on Container Instances; where IDENTITY_ENDPOINT is set (Container Apps), that one is asked.
IMDS = "http://169.254.169.254/metadata/identity/oauth2/token"
BLOB_API = "2023-11-03"
CHUNK = 1 << 20
SECONDS = 60


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


def without_query(address: str) -> str:
    """An address as it may be shown: a signature in its query is a secret."""
    return re.sub(r"\?[^#]*", "?…", address)


def _fetch(address: str, cache: Path) -> Path:
    place, sha256 = parse(address)
    target = cache / sha256
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{sha256}.lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as scratch:
                archive = Path(scratch) / "package.zip"
                log.info("fetching %s", without_query(place))
                _download(place, archive, sha256)
                fresh = Path(scratch) / "package"
                _unpack(archive, fresh, place)
                fresh.rename(target)
    (folder,) = find_packages(target)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; several workers start together."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(place: str, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    try:
        with _open(place) as answer, target.open("wb") as file:
            while chunk := answer.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
    except urllib.error.HTTPError as error:
        raise PackageError(
            f"{without_query(place)}: the server answers {error.code} {error.reason}{_help(error)}"
        ) from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise PackageError(f"{without_query(place)}: cannot be fetched: {reason}") from None
    if digest.hexdigest() != sha256:
        raise PackageError(
            f"{without_query(place)}: its sha256 is {digest.hexdigest()[:12]}… and MODEL_URI says "
            f"{sha256[:12]}…; it was changed there, or the wrong file is named"
        )


def _help(error: urllib.error.HTTPError) -> str:
    if error.code in (401, 403):
        return (
            "; give the container's identity the role Storage Blob Data Reader on the container, "
            "or sign the address"
        )
    return ""


def _open(place: str) -> addinfourl:
    token = None
    if place.startswith("runs:"):
        place, token = _mlflow(place), os.environ.get("MLFLOW_TRACKING_TOKEN")
    elif _needs_identity(place):
        token = _token()
    request = urllib.request.Request(place)  # noqa: S310 - https, http or file
    request.add_header("x-ms-version", BLOB_API)
    if token:
        # Not repeated where the server redirects to another one.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    answer: addinfourl = urllib.request.urlopen(request, timeout=SECONDS)  # noqa: S310
    return answer


def _needs_identity(place: str) -> bool:
    """A blob whose address carries no signature."""
    parts = urllib.parse.urlsplit(place)
    host = parts.hostname or ""
    signed = "sig" in urllib.parse.parse_qs(parts.query)
    return not signed and BLOB_HOST.fullmatch(host) is not None


def _token() -> str:
    """A token for storage, of the container's managed identity."""
    endpoint, header = os.environ.get("IDENTITY_ENDPOINT"), os.environ.get("IDENTITY_HEADER")
    query = {"resource": STORAGE, "api-version": "2019-08-01" if endpoint else "2018-02-01"}
    if os.environ.get("AZURE_CLIENT_ID"):
        query["client_id"] = os.environ["AZURE_CLIENT_ID"]
    place = f"{endpoint or IMDS}?{urllib.parse.urlencode(query)}"
    headers = {"X-IDENTITY-HEADER": header or ""} if endpoint else {"Metadata": "true"}
    request = urllib.request.Request(place, headers=headers)  # noqa: S310 - fixed by the platform
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return str(json.load(answer)["access_token"])
    except (OSError, ValueError, KeyError) as error:
        raise PackageError(
            f"no managed identity gives a token for storage: {error}; assign one to the container, "
            "with the role Storage Blob Data Reader, or sign the address"
        ) from None


def _mlflow(place: str) -> str:
    """`runs:/<run>/<path>` at MLflow's server, which reads whatever store is behind it."""
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not server.startswith(("http://", "https://")):
        raise PackageError(f"{place}: set MLFLOW_TRACKING_URI to the address of MLflow's server")
    run, _, path = place.removeprefix("runs:/").partition("/")
    query = urllib.parse.urlencode({"run_uuid": run, "path": path})
    return f"{server.rstrip('/')}/get-artifact?{query}"


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
                    "make it with `python -m training.archive models/<name>`"
                )
            for name in names:
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with content.open(name) as source, path.open("wb") as file:
                    shutil.copyfileobj(source, file, CHUNK)
    except zipfile.BadZipFile:
        raise PackageError(f"{without_query(place)}: is not a zip file") from None


def main() -> int:
    """Fetch what MODEL_URI names into the models folder, for builds that should hold the models."""
    addresses = tuple(part.strip() for part in os.environ.get("MODEL_URI", "").split(",") if part)
    models_dir = Path(os.environ.get("MODELS_DIR", "models"))
    cache = Path(os.environ.get("MODEL_CACHE_DIR", "/tmp/models"))  # noqa: S108 - the usual cache
    try:
        for folder in fetch_all(addresses, cache):
            target = models_dir / folder.name
            if target.exists():
                shutil.rmtree(target)
            shutil.copytree(folder, target)
            print(f"fetched {target}")
    except PackageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
