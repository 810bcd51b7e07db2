"""The service does what its OpenAPI document says: schemathesis sends what that allows and what it
forbids, and compares statuses, types and bodies of the answers.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.once import installed

from .running import running

pytestmark = pytest.mark.slow

# A thousand examples of each operation take a quarter of an hour where nothing else runs.
EXAMPLES, SECONDS = ("1000", 5400) if "ACI_ML_ALL" in os.environ else ("10", 900)
LEAST_CASES = 300


@pytest.fixture(scope="module")
def url(rendered_service: Path, service_python: Path) -> Iterator[str]:
    """A running service."""
    with running(service_python, rendered_service, LOG_LEVEL="error") as url:
        yield url


def test_every_answer_is_as_documented(url: str, tmp_path: Path) -> None:
    programs = installed("schemas-venv", REPOSITORY / "requirements" / "schemas.txt")
    settings = ["--config-file", str(Path(__file__).with_name("schemathesis.toml"))]
    command = [str(programs / "schemathesis"), *settings, "run", f"{url}/openapi.json"]
    options = ["--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing", "--no-color"]
    done = subprocess.run(
        [*command, *options, "--workers", "1", "--continue-on-failure", "--no-shrink"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found is not None and found[1] == found[2], done.stdout
    assert int(found[1]) >= LEAST_CASES
