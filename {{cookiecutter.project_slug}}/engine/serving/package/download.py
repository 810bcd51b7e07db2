"""Download one file, compared with its checksum: from blobs, MLflow's server, any address, a disk.

Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from urllib.response import addinfourl

from engine.serving.errors import PackageError

BLOB_HOST = re.compile(r"[a-z0-9-]+\.blob\.core\.[a-z.]+")
STORAGE = "https://storage.azure.com/"
# Azure docs: "How to use managed identities to acquire an access token", on a virtual machine and
# on Container Instances; where IDENTITY_ENDPOINT is set (Container Apps), that one is asked.
IMDS = "http://169.254.169.254/metadata/identity/oauth2/token"
# The resource id of the user-assigned identity, which Container Apps want to be told.
IDENTITY = "IDENTITY_RESOURCE_ID"
BLOB_API = "2023-11-03"
CHUNK = 1 << 20
SECONDS = 60


def without_query(address: str) -> str:
    """An address as it may be shown: a signature in its query is a secret."""
    return re.sub(r"\?[^#]*", "?…", address)


def download(place: str, target: Path, sha256: str) -> None:
    """Write what an address gives into a file.

    Args:
        place: its address; blobs are asked with the managed identity unless it is signed.
        target: where it is written.
        sha256: of the bytes.

    Raises:
        PackageError: it cannot be reached, refuses, or gives other bytes.
    """
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
    elif needs_identity(place):
        token = identity_token()
    request = urllib.request.Request(place)  # noqa: S310 - https, http or file
    request.add_header("x-ms-version", BLOB_API)
    if token:
        # Not repeated where the server redirects to another one.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    answer: addinfourl = urllib.request.urlopen(request, timeout=SECONDS)  # noqa: S310
    return answer


def needs_identity(place: str) -> bool:
    """Whether an address is that of a blob, and carries no signature."""
    parts = urllib.parse.urlsplit(place)
    host = parts.hostname or ""
    signed = "sig" in urllib.parse.parse_qs(parts.query)
    return not signed and BLOB_HOST.fullmatch(host) is not None


def identity_token() -> str:
    """A token for storage, of the container's managed identity.

    Raises:
        PackageError: no identity gives one.
    """
    endpoint, header = os.environ.get("IDENTITY_ENDPOINT"), os.environ.get("IDENTITY_HEADER")
    query = {"resource": STORAGE, "api-version": "2019-08-01" if endpoint else "2018-02-01"}
    if os.environ.get("AZURE_CLIENT_ID"):
        query["client_id"] = os.environ["AZURE_CLIENT_ID"]
    elif os.environ.get(IDENTITY):
        query["mi_res_id"] = os.environ[IDENTITY]
    place = f"{endpoint or IMDS}?{urllib.parse.urlencode(query)}"
    headers = {"X-IDENTITY-HEADER": header or ""} if endpoint else {"Metadata": "true"}
    request = urllib.request.Request(place, headers=headers)  # noqa: S310 - fixed by the platform
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return str(json.load(answer)["access_token"])
    except (OSError, ValueError, KeyError) as error:
        raise PackageError(
            f"no managed identity gives a token for storage: {error}; assign one to the container, "
            "with the role Storage Blob Data Reader (for CAPTURE: Contributor), or sign the address"
        ) from None


def _mlflow(place: str) -> str:
    """`runs:/<run>/<path>` at MLflow's server, which reads whatever store is behind it."""
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not server.startswith(("http://", "https://")):
        raise PackageError(f"{place}: set MLFLOW_TRACKING_URI to the address of MLflow's server")
    run, _, path = place.removeprefix("runs:/").partition("/")
    query = urllib.parse.urlencode({"run_uuid": run, "path": path})
    return f"{server.rstrip('/')}/get-artifact?{query}"
