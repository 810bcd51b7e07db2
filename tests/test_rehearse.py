"""`make rehearse`: how it shows what the commands print."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from scripts.rehearse import Story

# As BuildKit and `docker push` print to a pipe.
PRINTS = """\
import sys
print(" 0:01  building registry/iris-service:abc", flush=True)
print("#1 [internal] load build definition from Dockerfile", file=sys.stderr)
print("#1 DONE 0.0s\\n", file=sys.stderr)
print("The push refers to repository [registry/iris-service]", file=sys.stderr)
print("5f70bf18a086: Layer already exists", file=sys.stderr)
print("abc: digest: sha256:0123 size: 2414", file=sys.stderr, flush=True)
print(" 0:09  pushed registry/iris-service@sha256:0123", flush=True)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path, dict(os.environ), tmp_path / "log", chapters=13)


def test_parts_are_numbered(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        story.tell("Something.")
    assert "\n3 of 13 [0 s] Something.\n" in capsys.readouterr().out


def test_what_docker_prints_goes_to_the_log_alone(
    story: Story, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    story.run(sys.executable, "-c", PRINTS, "0")
    shown = capfd.readouterr().out.splitlines()
    assert shown[-2:] == [
        " 0:01  building registry/iris-service:abc",
        " 0:09  pushed registry/iris-service@sha256:0123",
    ]
    log = (tmp_path / "log").read_text()
    assert "#1 [internal] load build definition from Dockerfile\n" in log
    assert "5f70bf18a086: Layer already exists\n" in log


def test_the_end_of_the_log_is_shown_when_a_command_fails(
    story: Story, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="exit code 3 instead of 0"):
        story.run(sys.executable, "-c", PRINTS, "3")
    shown = capfd.readouterr().out
    assert f"the last lines of {tmp_path / 'log'}:" in shown
    assert "#1 [internal] load build definition from Dockerfile\n" in shown
