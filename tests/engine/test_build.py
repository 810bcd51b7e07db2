"""A build of the image that Docker refuses, said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine.deploy.image import main

# As docker 28.2.2 without the plugin answers, docker 20.10 without it, and docker 28.2.2 with it.
CLIENT = """\
#!/bin/sh
case $1 in
version) echo {version};;
buildx) exit {buildx};;
build) echo "{says}" >&2; exit 1;;
esac
"""
NO_BUILDX = "ERROR: BuildKit is enabled but the buildx component is missing or broken."


@pytest.mark.parametrize(
    ("version", "buildx", "lacking"),
    [("28.2.2", 1, True), ("20.10.24", 1, False), ("28.2.2", 0, False)],
)
def test_a_client_without_buildx_is_named(
    version: str,
    buildx: int,
    *,
    lacking: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = tmp_path / "docker"
    client.write_text(CLIENT.format(version=version, buildx=buildx, says=NO_BUILDX))
    client.chmod(0o755)
    monkeypatch.setenv("DOCKER", str(client))
    assert main(["build", "--tag", "x:1"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    named = f"image: {client} has no buildx, which it needs to build: install it, or name another"
    assert last.startswith(named if lacking else "image: docker build failed (exit code 1)")
    assert ("make image DOCKER=/usr/bin/docker" in last) == lacking
