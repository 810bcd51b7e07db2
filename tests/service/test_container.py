"""The CPU image as a container: quick to be ready, right, confined, and gone without a loss."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from .containers import HARDENED, Container, docker, docker_client, image_config, running
from .traffic import BODY, CLOSED, HalfSent, Load

pytestmark = pytest.mark.slow

LIMITS = ("--memory", "512m", "--cpus", "1")


@pytest.fixture(scope="module")
def container(cpu_image: str) -> Iterator[Container]:
    """One hardened, limited container that is ready, for the tests that only ask it."""
    with running(cpu_image, *HARDENED, *LIMITS) as started:
        started.seconds_until_ready()
        yield started


def test_it_is_ready_after_less_than_3_seconds_of_work(
    cpu_image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seconds of CPU time: how long they take depends on what else the machine does."""
    with running(cpu_image, *HARDENED, *LIMITS) as started:
        seconds = started.seconds_until_ready()
        times = docker("exec", started.name, "cat", "/proc/1/stat").rpartition(")")[2].split()
    user, system = (int(times[place]) / os.sysconf("SC_CLK_TCK") for place in (11, 12))
    with capsys.disabled():
        print(f"\n  ready after {seconds:.2f} s, {user + system:.2f} s of them on a CPU")
    assert 0 < user + system < 3


def test_it_runs_without_root_and_without_capabilities(container: Container) -> None:
    status = docker("exec", container.name, "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["10001"] * 4
    assert fields["Gid"].split() == ["10001"] * 4
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"


def test_it_answers_the_tutorials_request(container: Container) -> None:
    status, answer = container.post("/predict", json.loads(BODY))
    assert status == 200
    assert answer["predictions"] == [2]


def test_it_answers_as_in_training(container: Container, rendered_service: Path) -> None:
    package = rendered_service / "models" / "iris"
    manifest = yaml.safe_load((package / "model.yaml").read_text(encoding="utf-8"))
    with np.load(package / "golden.npz", allow_pickle=False) as golden:
        inputs = [_tensor(each, golden[f"input/{each['name']}"]) for each in manifest["inputs"]]
        expected = {each["name"]: golden[f"output/{each['name']}"] for each in manifest["outputs"]}
    status, answer = container.post("/v2/models/iris/infer", {"inputs": inputs})
    assert status == 200, answer
    served = {each["name"]: each for each in answer["outputs"]}
    assert served.keys() == expected.keys()
    for name, values in expected.items():
        assert served[name]["shape"] == list(values.shape)
        np.testing.assert_allclose(served[name]["data"], values.ravel(), rtol=1e-5, atol=1e-5)


def test_its_image_verifies_another_copy_and_loads_it(cpu_image: str, container: Container) -> None:
    """So does a container in a subnet, where only its own network reaches a service."""
    digest = image_config(cpu_image)["Labels"]["org.openinference.model.digest"]
    limits = {"ready_seconds": 20, "burst_requests": 20, "burst_p95_ms": 5000}
    task: dict[str, Any] = {"url": "http://127.0.0.1:8000", "limits": limits}
    for wanted, outcome in ((digest, '"kind": "WrongRelease"'), ("", "")):
        task |= {"model_digest": wanted or digest, "revision": None if not wanted else "0" * 40}
        code, said = _inside(container, cpu_image, "engine.client", task)
        assert code == (1 if wanted else 0), said
        verdict = said.splitlines()[-1]
        assert verdict.startswith("verdict: {")
        assert outcome in verdict
    assert "as in training: iris (" in verdict
    load = {"url": task["url"], "users": 2, "ramp_seconds": 0, "before_seconds": 0.5}
    load |= {"run_seconds": 1, "think": [0.01, 0.02]}
    code, said = _inside(container, cpu_image, "engine.load.inside", load)
    assert code == 0, said
    measured = json.loads(said.splitlines()[-1].removeprefix("measured: "))
    assert measured["requests"] > 10
    assert measured["failed"] == 0, measured["failures"]


def _inside(container: Container, image: str, module: str, task: dict[str, Any]) -> tuple[int, str]:
    """Run a module of the image in the network of a container: exit code and output."""
    place = ("--rm", "--network", f"container:{container.name}", *HARDENED)
    command = [docker_client(), "run", *place, image, "python", "-m", module, json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_its_metadata_and_its_labels_agree(cpu_image: str, container: Container) -> None:
    labels = image_config(cpu_image)["Labels"]
    status, metadata = container.get("/v2")
    assert status == 200
    assert metadata["revision"] == labels["org.opencontainers.image.revision"]
    assert metadata["version"] == labels["org.opencontainers.image.version"]
    assert metadata["title"] == labels["org.opencontainers.image.title"]
    assert metadata["model_digest"] == labels["org.openinference.model.digest"]


def test_it_writes_nothing_and_reports_to_nobody(cpu_image: str) -> None:
    """Where onnxruntime's telemetry is on, it leaves a data base under ~/.cache."""
    with running(cpu_image) as unrestricted:
        unrestricted.seconds_until_ready()
        assert unrestricted.post("/predict", json.loads(BODY))[0] == 200
        assert "ORT_DISABLE_TELEMETRY=1" in docker("exec", unrestricted.name, "env").splitlines()
        assert docker("diff", unrestricted.name) == ""


def test_sigterm_under_load_loses_no_accepted_request(cpu_image: str) -> None:
    with running(cpu_image, *HARDENED, *LIMITS) as stopping:
        stopping.seconds_until_ready()
        load = Load(stopping, threads=4, seconds=20)
        load.wait_for_answers(50)
        half_sent = [HalfSent(stopping) for _ in range(4)]
        time.sleep(0.2)  # for the service to have read the halves
        asked = time.monotonic()
        docker("kill", "--signal", "TERM", stopping.name)
        time.sleep(0.3)  # for the stop to be under way
        assert [each.finish() for each in half_sent] == [200] * 4
        code = stopping.exit_code(timeout=20)
        took = time.monotonic() - asked
        before, after = load.finish(asked)
        assert code == 0, stopping.logs()
        assert took < 10
        assert set(before) == {"200"}, before
        assert set(after) <= {"200", "503", CLOSED}, after


def test_cuda_is_refused_in_one_line(cpu_image: str) -> None:
    with running(cpu_image, *HARDENED, "--env", "EXECUTION_PROVIDERS=cuda") as refused:
        assert refused.exit_code() == 1
        (cause,) = refused.causes("EXECUTION_PROVIDERS=cuda")
        assert "CPU build of ONNX Runtime" in cause
        assert "ACCELERATOR=gpu" in cause


def _tensor(described: dict[str, Any], values: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {
        "name": described["name"],
        "datatype": described["datatype"],
        "shape": list(values.shape),
        "data": values.ravel().tolist(),
    }
