"""Other languages' clients get what scikit-learn said in training, straight and behind proxies.

Each asks 200 times, with all its defaults. `make test` asks with those that it installs anyway; the
others need a JDK, Go and ab (Debian: apache2-utils), and `make test-all` says so where one is
missing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from tests.conftest import REPOSITORY
from tests.once import BUILD, installed

from .proxies import proxy
from .running import running

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent / "clients"
PREDICTIONS = 200
SECONDS = 120
BUILD_SECONDS = 600
PROXIES = ("caddy", "caddy-prefix", "nginx-default", "nginx-prefix")


@dataclass(frozen=True)
class Asked:
    """Samples of shape ``[n, 4]``, and the label of each row."""

    samples: np.ndarray[Any, Any]
    labels: list[int]


Client = Callable[[str, Sequence[Asked]], list[list[int]]]
"""Asks the service at an address; the labels that it got, request by request."""


@pytest.fixture(scope="module")
def asked(rendered_service: Path) -> list[Asked]:
    """Requests of one to three rows, no two in a row alike."""
    with np.load(rendered_service / "models" / "iris" / "golden.npz") as golden:
        samples, labels = golden["input/features"], golden["output/label"]
    made = []
    for number in range(PREDICTIONS):
        rows = [(number * 7 + each) % len(samples) for each in range(1 + number % 3)]
        made.append(Asked(samples[rows], labels[rows].tolist()))
    return made


@pytest.fixture(scope="module")
def addresses(
    programs: None,
    rendered_service: Path,
    service_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
    """The address of one service, straight and behind each proxy."""
    with ExitStack() as stack:
        direct = stack.enter_context(running(service_python, rendered_service))
        found = {"direct": direct}
        for name in PROXIES:
            folder = tmp_path_factory.mktemp(name)
            port = stack.enter_context(proxy(name, direct.removeprefix("http://"), folder))
            prefix = "/ml" if name.endswith("-prefix") else ""
            found[name] = f"http://127.0.0.1:{port}{prefix}"
        yield found


def program(name: str, package: str) -> str:
    """The path of a program."""
    path = shutil.which(name)
    if path is None:
        if name == "node" and os.environ.get("ACI_ML_AZURE_TOOLS") == "absent":
            pytest.skip("Node.js cannot be had on this machine: see the log above")
        pytest.fail(f"no {name}; install it (Debian: apt install {package})", False)
    return path


def output(command: Sequence[str | Path], given: str = "") -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        [str(each) for each in command],
        input=given,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout


def body(each: Asked) -> str:
    """A request to `/predict`."""
    return json.dumps({"data": each.samples.tolist()})


def predictions(lines: str) -> list[list[int]]:
    """The labels of answers, one a line behind its status."""
    got = [line.split(" ", 1) for line in lines.splitlines()]
    assert {status for status, _ in got} == {"200"}, lines[:2000]
    return [json.loads(answer)["predictions"] for _, answer in got]


@cache
def go_client() -> Path:
    """The client in Go, built: that takes a minute where Go has compiled nothing before."""
    made, variables = BUILD / "go-client", {**os.environ, "GOCACHE": str(BUILD / "go-cache")}
    command = [program("go", "golang"), "build", "-o", str(made), str(HERE / "ask.go")]
    subprocess.run(command, env=variables, timeout=BUILD_SECONDS, check=True)
    return made


def by_lines(command: Callable[[], Sequence[str | Path]]) -> Client:
    """A program that takes a body a line and prints an answer a line."""

    def ask(url: str, asked: Sequence[Asked]) -> list[list[int]]:
        given = "".join(f"{body(each)}\n" for each in asked)
        return predictions(output([*command(), f"{url}/predict"], given))

    return ask


def curl(version: str) -> Client:
    """curl with its option for a version of HTTP; all requests in one process."""

    def ask(url: str, asked: Sequence[Asked]) -> list[list[int]]:
        requests = [
            f'url = "{url}/predict"\n{version}\nheader = "Content-Type: application/json"\n'
            f'data = {json.dumps(body(each))}\nwrite-out = "\\n"\nfail-with-body\n'
            for each in asked
        ]
        answers = output(["curl", "-sS", "-K", "-"], "next\n".join(requests))
        return predictions("".join(f"200 {line}\n" for line in answers.splitlines()))

    return ask


def tritonclient(url: str, asked: Sequence[Asked]) -> list[list[int]]:
    """NVIDIA's client, with binary tensors and as JSON by turns."""
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    got = []
    for number, each in enumerate(asked):
        tensor = triton.InferInput("features", each.samples.shape, "FP32")
        tensor.set_data_from_numpy(each.samples.astype(np.float32), binary_data=number % 2 == 0)
        got.append(client.infer("iris", [tensor]).as_numpy("label").tolist())
    return got


def ab(url: str, asked: Sequence[Asked]) -> list[list[int]]:
    """Apache's, which speaks HTTP/1.0; it compares nothing but lengths and statuses."""
    command = [program("ab", "apache2-utils"), "-n", str(len(asked)), "-T", "application/json"]
    file = BUILD / "ab-body.json"
    file.write_text(body(asked[0]), encoding="utf-8")
    printed = output([*command, "-p", file, f"{url}/predict"])
    found = re.search(r"Complete requests: +(\d+)\nFailed requests: +(\d+)", printed)
    assert found is not None and found.groups() == (str(len(asked)), "0"), printed
    assert "Non-2xx" not in printed
    return [each.labels for each in asked]


def mlserver(url: str, asked: Sequence[Asked]) -> list[list[int]]:
    """MLServer's command for many requests, which writes an answer a line in any order."""
    lock = REPOSITORY / "benchmarks" / "peers" / "mlserver" / "requirements.txt"
    requests = [
        {
            "id": str(number),
            "inputs": [
                {
                    "name": "features",
                    "datatype": "FP32",
                    "shape": list(each.samples.shape),
                    "data": each.samples.ravel().tolist(),
                }
            ],
        }
        for number, each in enumerate(asked)
    ]
    given, made = BUILD / "mlserver-in.jsonl", BUILD / "mlserver-out.jsonl"
    given.write_text("".join(f"{json.dumps(each)}\n" for each in requests), encoding="utf-8")
    command = [str(installed("mlserver-venv", lock) / "mlserver"), "infer", "-m", "iris"]
    address = url.removeprefix("http://")
    output([*command, "-t", "rest", "-u", address, "-i", str(given), "-o", str(made)])
    got: list[list[int]] = [[] for _ in asked]
    for answer in map(json.loads, made.read_text(encoding="utf-8").splitlines()):
        (label,) = (each["data"] for each in answer["outputs"] if each["name"] == "label")
        got[int(answer["id"])] = label
    return got


def kserve(url: str, asked: Sequence[Asked]) -> list[list[int]]:
    """KServe's own, with both of its protocols by turns."""
    python = installed("kserve-venv", REPOSITORY / "requirements" / "kserve.txt") / "python"
    given = "".join(f"{json.dumps(each.samples.tolist())}\n" for each in asked)
    printed = output([python, HERE / "ask_kserve.py", url], given)
    return [json.loads(line) for line in printed.splitlines()]


CLIENTS: dict[str, Client] = {
    "Node's fetch": by_lines(lambda: [program("node", "nodejs"), HERE / "ask.mjs"]),
    "curl --http2": curl("http2"),
    "curl --http1.0": curl("http1.0"),
    "tritonclient": tritonclient,
}
OTHERS: dict[str, Client] = {
    "Java's HttpClient": by_lines(lambda: [program("java", "default-jdk"), HERE / "Ask.java"]),
    "Go's net/http": by_lines(lambda: [go_client()]),
    "ab": ab,
    "mlserver infer": mlserver,
    "kserve": kserve,
}


@pytest.mark.parametrize("way", ["direct", *PROXIES])
@pytest.mark.parametrize(
    "client", [*CLIENTS, *(pytest.param(name, marks=pytest.mark.exhaustive) for name in OTHERS)]
)
def test_every_prediction_is_the_one_of_training(
    client: str, way: str, addresses: dict[str, str], asked: list[Asked]
) -> None:
    got = (CLIENTS | OTHERS)[client](addresses[way], asked)
    assert got == [each.labels for each in asked]
