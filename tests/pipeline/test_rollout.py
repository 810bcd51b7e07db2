"""The rollout with the real `az`, real Docker and a real registry.

Every point at which it can fail or die is tried in memory by the service's own tests; here it is
shown that the same holds for Azure's own command line and for containers that really run.
"""

from __future__ import annotations

import copy
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from .rollout_world import (
    PLANTED,
    Deployed,
    RolloutWorld,
    answers,
    failed,
    succeeded,
)

COULD_NOT_ASK = 4
"""The exit code of verify, in docs/reference.md."""

pytestmark = pytest.mark.slow
STAGES = {"staging": {}, "bad": {"start": 20}, "first": {"start": 20}}
KEYS = PLANTED.split(",")


def variable(sent: dict[str, Any], name: str) -> str:
    container = sent["properties"]["containers"][0]["properties"]
    return next(
        str(each.get("secureValue") or each.get("value"))
        for each in container["environmentVariables"]
        if each["name"] == name
    )


class Watch:
    """Looks at all processes of this machine while something runs."""

    def __init__(self) -> None:
        self.leaks: set[str] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.01):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    command = (process / "cmdline").read_bytes()
                    is_az = b"/bin/az\0" in command
                    seen = command + ((process / "environ").read_bytes() if is_az else b"")
                except OSError:
                    continue
                if any(key.encode() in seen for key in KEYS):
                    self.leaks.add(command.replace(b"\0", b" ").decode(errors="replace"))


def test_deploys_serve_repeat_without_a_change_and_leak_no_secret(
    world: RolloutWorld, tmp_path: Path
) -> None:
    summary, output = tmp_path / "summary.md", tmp_path / "output"
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    settings = {
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_OUTPUT": str(output),
        "TMPDIR": str(scratch),
    }
    with Watch() as watch:
        one = succeeded(world.up("staging", "good", settings=settings))
    answers(world, one)
    assert world.serves("staging", "good")
    assert f"url={one.address}" in output.read_text()
    before, running = world.changes(), world.docker_ids("staging")

    again = succeeded(world.up("staging", "good", settings=settings))
    assert again.address == one.address
    assert world.changes() == before
    assert world.docker_ids("staging") == running

    two = succeeded(world.up("staging", "other", "--verbose", settings=settings))
    answers(world, two)
    assert world.serves("staging", "other")
    assert not any(change.startswith("DELETE") for change in world.changes())

    sent = world.sent("staging")
    assert sent is not None
    assert variable(sent, "API_KEYS") == PLANTED
    assert watch.leaks == set()
    assert_unseen(world, "staging", [one, again, two], [tmp_path, world.service])


def assert_unseen(
    world: RolloutWorld, stage: str, runs: list[Deployed], folders: list[Path]
) -> None:
    """The planted keys are in nothing that was printed, recorded or left behind."""
    shown = [run.out + run.err for run in runs]
    shown.append(json.dumps(world.records(stage)))
    stored = world.double.resource(world.group(stage))
    assert stored is not None
    shown.append(json.dumps(stored["body"]))
    for text in shown:
        assert not any(key in text for key in KEYS)
    for folder in [*folders, world.double.folder]:
        for path in folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not any(key.encode() in content for key in KEYS), path
    for request in world.double.requests():
        if any(key in json.dumps(request["body"]) for key in KEYS):
            assert request["method"] == "PUT"
            assert "containerGroups" in request["path"]


BAD = {
    "crash": ("ends again and again|keeps ending", "no such model"),
    "hungry": ("exit code 137", "more memory than 1 GB"),
    "slow": ("liveness|not ready after 20 s",),
    "unready": ("not ready|gave up|golden",),
    "wrong-model": ("serves models",),
    "wrong-revision": ("runs revision 000000000000",),
}


@pytest.mark.parametrize("image", BAD)
def test_a_bad_release_is_undone_to_the_last_property(world: RolloutWorld, image: str) -> None:
    good = world.stand("bad")
    before, running = copy.deepcopy(world.sent("bad")), world.containers()
    failed(world.up("bad", image), *BAD[image], "previous release serves again")
    assert world.sent("bad") == before
    answers(world, good)
    assert world.containers() == running
    assert world.records("bad")[-1]["phase"] == "restored"


def test_a_digest_that_is_not_there_is_refused_before_anything_is_touched(
    world: RolloutWorld,
) -> None:
    before = world.changes()
    image = world.images["good"].partition("@")[0] + "@sha256:" + "ab" * 32
    failed(world.deploy("bad", "up", "bad", "--image", image), "irisservice does not have")
    assert world.changes() == before


def test_another_digest_than_the_one_that_was_meant_is_found(world: RolloutWorld) -> None:
    world.stand("bad")
    verify = ("verify", "bad", "--image")
    succeeded(world.deploy("bad", *verify, world.images["good"]))
    # No proof that the service is wrong: it may be the release of another deploy.
    found = world.deploy("bad", *verify, world.images["other"])
    failed(found, "runs .*, not ", code=COULD_NOT_ASK)


def test_captured_requests_are_asked_again_of_an_environment(
    world: RolloutWorld, service_python: Path, tmp_path: Path
) -> None:
    url, proxy = world.stand("bad").address, world.double.network()["http_proxy"]
    body: dict[str, Any] = {"data": [[5.1, 3.5, 1.4, 0.2]]}
    key = {"X-API-Key": KEYS[0]}
    answer = httpx.post(f"{url}/predict", json=body, headers=key, proxy=proxy).json()
    # As docs/models.md describes a captured row.
    names = ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)")
    outputs = {"label": answer["predictions"][0]}
    captured = {"model": answer["model"], "request": "a-request", "row": 0, "outputs": outputs}
    row = dict(zip(names, body["data"][0], strict=True)) | {"captured": captured}
    file = tmp_path / "captured.jsonl"
    file.write_text(json.dumps(row), encoding="utf-8")
    alike = succeeded(world.replay("bad", service_python, file))
    assert alike.out.rstrip().endswith("alike")
    outputs["label"] = "versicolor"
    file.write_text(json.dumps(row), encoding="utf-8")
    different = world.replay("bad", service_python, file)
    assert (different.code, "a-request" in different.out) == (3, True), different.err


def test_a_first_deploy_that_fails_leaves_nothing_that_bills(world: RolloutWorld) -> None:
    failed(world.up("first", "crash"), "nothing bills")
    assert world.sent("first") is None
    assert [record["phase"] for record in world.records("first")] == ["failed"]


def test_the_daily_commands(world: RolloutWorld) -> None:
    """In the environment of the first test, which has left two releases on record."""
    if [record["phase"] for record in world.records("staging")][-2:] != ["kept", "kept"]:
        succeeded(world.up("staging", "good"))
    succeeded(world.up("staging", "other"))

    back = succeeded(world.deploy("staging", "rollback", "staging"))
    answers(world, back)
    assert world.serves("staging", "good")

    succeeded(world.deploy("staging", "stop", "staging"))
    assert "stopped" in succeeded(world.deploy("staging", "status", "staging")).out
    answers(world, succeeded(world.deploy("staging", "start", "staging")))
    assert '"ready"' in succeeded(world.deploy("staging", "logs", "staging")).out

    plan = succeeded(world.deploy("staging", "plan", "staging", "--image", world.images["good"]))
    assert "change nothing" in plan.out
    assert '"secureValue": "***"' in plan.out

    unused = {world.images[name].partition("@")[2] for name in ("crash", "slow")}
    pruned = succeeded(world.deploy("staging", "prune", "--keep", "0", settings=world.owner))
    removed = set(pruned.out.split())
    assert unused <= removed
    assert removed.isdisjoint(world.images[name].partition("@")[2] for name in ("good", "other"))


def test_what_azure_cannot_change_in_place_is_deleted_and_created(
    world: RolloutWorld, tmp_path: Path
) -> None:
    succeeded(world.up("staging", "good"))
    service = world.larger(tmp_path)
    arguments = ("up", "staging", "--image", world.images["larger"])
    done = succeeded(world.deploy("staging", *arguments, folder=service))
    answers(world, done)
    assert "cannot change" in done.err
    assert [change for change in world.changes() if change.startswith("DELETE")]
    assert world.serves("staging", "larger")

    failed(world.deploy("staging", "down", "staging", settings=world.owner), "for good")
    succeeded(world.deploy("staging", "down", "staging", "--yes", settings=world.owner))
    assert world.sent("staging") is None
