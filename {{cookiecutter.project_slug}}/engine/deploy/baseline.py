"""What the deploy workflow hands from the job that may ask Azure to the one that compares models.

The first has an identity and runs no model; the second runs models and has no identity.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from engine.errors import EngineError

ARCHIVE = "image.tar"
IMAGE = "service:baseline"
"""The tag of the image in the archive."""
_FILE = "baseline.json"


class Baseline(BaseModel):
    """What production serves. ``why`` says why nothing is compared; empty: an image is there.

    ``image`` is ``<registry>/<repository>@sha256:<64 hex digits>``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = ""
    revision: str = ""
    why: str = ""

    def write(self, folder: Path) -> None:
        """Into a file of the folder."""
        (folder / _FILE).write_text(self.model_dump_json(indent=2), encoding="utf-8")


def read_baseline(folder: Path) -> Baseline:
    """What ``Baseline.write`` wrote.

    Raises:
        EngineError: it cannot be read.
    """
    try:
        return Baseline.model_validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError) as error:
        told = " ".join(str(error).split())
        raise EngineError(
            f"{folder / _FILE} cannot be read: {told}",
            f"`.venv/bin/python -m engine.deploy baseline production --out {folder}` writes it",
        ) from None
