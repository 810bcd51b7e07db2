"""Large layers that were pushed before, kept in build/layers: compressing one takes Docker seconds.

Docker asks for the digest under which it pushed a layer earlier, to whatever registry, and sends
the layer only where the answer is no.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from ..environments import REPOSITORY
from ..wire import Request, Response
from .storage import DIGEST, Storage, place

CREATED = 201
LARGE = 1 << 20
MOST = 8
FOLDER = Path(os.environ.get("ACI_ML_LAYERS") or REPOSITORY / "build" / "layers")
ASKED = re.compile(r"^/v2/(?P<repository>.+)/blobs/sha256:(?P<hex>[0-9a-f]{64})$")


def offer(storage: Storage, request: Request) -> None:
    """Put the layer of which the request asks whether it is there into the registry."""
    found = ASKED.match(request.path) if request.method == "HEAD" else None
    if found:
        with contextlib.suppress(OSError):
            storage.adopt(found["repository"], DIGEST + found["hex"], FOLDER / found["hex"])


def keep(storage: Storage, request: Request, answer: Response) -> None:
    """Keep the large layers of a manifest that was pushed, and forget the oldest of others."""
    if answer.status != CREATED or "/manifests/" not in request.path:
        return
    manifest = storage.content(dict(answer.headers)["docker-content-digest"])
    large = [each["digest"] for each in manifest.get("layers", []) if each["size"] >= LARGE]
    # Another process may remove a file between two looks at it.
    with contextlib.suppress(FileNotFoundError):
        FOLDER.mkdir(parents=True, exist_ok=True)
        for digest in large:
            file = FOLDER / digest.removeprefix(DIGEST)
            if not file.exists():
                place(storage.blob(digest), file)
            os.utime(file)
        for file in sorted(FOLDER.iterdir(), key=lambda each: each.stat().st_mtime)[:-MOST]:
            file.unlink()
