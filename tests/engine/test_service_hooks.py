"""Hooks of `service.py` in the running service: every protocol, refusals, failures, verification.

Its classifier is `sides`. The hooks refuse what is above 1.5, and add twice the sum of the inputs
and the rows that they saw.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from engine.client import wire
from engine.client.failures import KeyRefused, VerifyError, WrongAnswers
from engine.client.parity import read_records, served_records
from engine.client.service import Limits, Service
from engine.deploy.verify import verify
from engine.load.samples import prepare
from engine.serving.package.reader import read_package

from tests.engine.front import Answer, Asked, front_of
from tests.engine.own_service import project
from tests.engine.server import Server, environment, free_port, running, started

pytestmark = pytest.mark.slow

CODE = """
import asyncio, time
from contextlib import suppress
from pathlib import Path

import numpy as np
from fastapi import HTTPException
from pydantic import Field, SecretStr

from engine.serving.extension import Refused, ServiceSettings


class Own(ServiceSettings):
    factor: float = Field(2, gt=0, description="Of the sum.")
    token: SecretStr = Field(SecretStr(""), description="Shown nowhere.")


own = service.settings(Own)
notes = Path(__file__).with_name("notes")


@service.start
def begin():
    service.began = True


@service.stop
def end():
    notes.write_text(f"stopped {service.began}")


@service.request
def bounded(model, inputs):
    largest = inputs["x"].max()
    if largest == 1000:
        time.sleep(3)
    if largest == 999:
        raise ArithmeticError(f"{largest} is out")
    if largest > 1.5:
        raise Refused(f"'x' is {largest:.3g}; send at most 1.5", field="x", rule="at most 1.5")


@service.answer
def more(model, inputs, outputs):
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise SystemExit("a hook runs on the event loop")
    rows = len(inputs["x"])
    return {"sum": own.factor * inputs["x"].sum(axis=1), "rows": np.full(rows, rows)}


@service.routes.get("/about")
def about() -> dict[str, str]:
    return {"began": str(service.began)}


@service.routes.post("/size")
def size(content: list[int]) -> int:
    return len(content)


@service.open_routes.get("/free")
def free(number: int) -> dict[str, float]:
    if number < 0:
        raise HTTPException(409, "negative")
    return {"inverse": 1 / number}
"""
KEY = "a-key-for-the-hooks-0123"
SETTINGS = {"API_KEYS": KEY, "REQUEST_TIMEOUT_SECONDS": "1.5", "TOKEN": "very-secret",
            "MAX_BODY_BYTES": "1500000", "MAX_JSON_VALUES": "500000"}  # fmt: skip
LIMITS = Limits(ready_seconds=30, request_seconds=10, burst_requests=20, burst_p95_ms=5000)
ROW = np.array([[1, 0.5]], np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, sample_dir: Path) -> Path:
    """A project as its image holds it: with the answers that the build recorded."""
    root = project(tmp_path_factory.mktemp("hooks") / "project", CODE)
    checked(root, sample_dir, "--record")
    return root


@pytest.fixture(scope="module")
def server(root: Path, sample_dir: Path) -> Iterator[Server]:
    with running(sample_dir, root, **SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": KEY}
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
        yield client


def checked(root: Path, models: Path, *arguments: str) -> str:
    """What `engine.serving.check` prints in the project."""
    done = subprocess.run(
        [sys.executable, "-m", "engine.serving.check", "--providers", "cpu", *arguments],
        cwd=root,
        env=environment(models, 0, {}) | {"PORT": "8000"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(client: httpx.Client, request: wire.Request) -> httpx.Response:
    return client.post(request.path, headers=dict(request.headers), content=request.content)


def post(client: httpx.Client, *rows: list[float]) -> httpx.Response:
    return client.post("/predict", json={"data": list(rows)})


def test_every_protocol_passes_through_the_hooks(client: httpx.Client, sample_dir: Path) -> None:
    (before,) = read_records(sample_dir)
    with Service(str(client.base_url), KEY, 30) as service:
        (record,) = served_records(service, sample_dir)
    assert [each.name for each in before.manifest.outputs] == ["label", "probabilities"]
    manifest = record.manifest
    for name in ("/predict", "/predict/sides"):
        answer = ask(client, replace(wire.predict("sides", {"x": ROW}), path=name))
        assert wire.read_predict(answer.content, manifest)["sum"].tolist() == [3]
    for made in (wire.infer_json, wire.infer_binary):
        answer = ask(client, made("sides", {"x": ROW}))
        got = wire.read_infer(answer.content, answer.headers.get(wire.LENGTH), manifest)
        assert got["sum"].tolist() == [3] and got["rows"].tolist() == [1]
        refused = ask(client, made("sides", {"x": ROW * 8}))
        assert (refused.status_code, refused.json()["code"]) == (422, "refused")
    described = client.get("/v2/models/sides").json()["outputs"]
    assert [each["name"] for each in described] == ["label", "probabilities", "sum", "rows"]


def test_a_refusal_and_its_sentence_are_the_answer(client: httpx.Client) -> None:
    answer = post(client, [1, 7])
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "'x' is 7; send at most 1.5", "code": "refused",
        "field": "x", "rule": "at most 1.5",
    }  # fmt: skip


def test_hooks_see_one_request_although_runs_are_shared(client: httpx.Client) -> None:
    def rows_seen(count: int) -> list[int]:
        outputs: list[int] = post(client, *[[0.1, 0.2]] * count).json()["outputs"]["rows"]
        return outputs

    with ThreadPoolExecutor(16) as pool:
        for count, seen in zip(range(1, 17), pool.map(rows_seen, range(1, 17)), strict=True):
            assert seen == [count] * count


def test_a_hook_that_does_not_end_costs_its_request_alone(client: httpx.Client) -> None:
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(post, client, [1000, 0])
        assert post(client, [0, 0]).status_code == 200
        answer = late.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "deadline_exceeded")


def test_routes_ask_for_the_key_and_fail_in_the_form_of_the_others(server: Server) -> None:
    with httpx.Client(base_url=server.url) as anybody:
        refused = anybody.get("/about")
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        allowed = anybody.get("/about", headers={"X-API-Key": KEY})
        assert allowed.json() == {"began": "True"}
        large = anybody.post("/size", content=b"[" + b"1," * 40_000 + b"1]")
        assert large.status_code == 401
        with_key = {"X-API-Key": KEY, "Content-Type": "application/json"}
        for count, rule in ((600_000, "MAX_JSON_VALUES"), (800_000, "MAX_BODY_BYTES")):
            large = anybody.post("/size", headers=with_key, content=b"[" + b"1," * count + b"1]")
            assert (large.status_code, large.json()["code"]) == (413, "too_large")
            assert rule in large.json()["rule"]
        assert anybody.post("/size", headers=with_key, content=b"[1, 2]").json() == 2
        assert anybody.get("/free?number=4").json() == {"inverse": 0.25}
        wrong = anybody.get("/free?number=four")
        assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_input")
        own = anybody.get("/free?number=-1")
        assert (own.status_code, own.json()) == (409, {"error": "negative", "code": "http_409"})
        failed = anybody.get("/free?number=0")
        assert (failed.status_code, failed.json()["code"]) == (500, "route_failed")
        for path, methods in (("/about", "GET, HEAD"), ("/size", "POST")):
            other = anybody.delete(path)
            assert (other.status_code, other.headers["Allow"]) == (405, methods)
        document = anybody.get("/openapi.json").json()["paths"]
    assert document["/about"]["get"]["security"] == [{"ApiKey": []}, {"Bearer": []}]
    assert "security" not in document["/free"]["get"]


def test_what_a_hook_raises_is_a_500_that_the_log_explains(root: Path, sample_dir: Path) -> None:
    with started(sample_dir, root, LOG_LEVEL="info", LOG_FORMAT="json") as server:
        server.wait_for("ready")
        answer = httpx.post(f"{server.url}/predict", json={"data": [[999, 0]]}, timeout=30)
        server.process.terminate()
        log = server.process.communicate(timeout=60)[1]
    assert (answer.status_code, answer.json()["code"]) == (500, "inference_failed")
    events = [json.loads(line) for line in log.splitlines()]
    incident = answer.json()["id"]
    (told,) = [each for each in events if each.get("request_id") == incident
               and "exception" in each]  # fmt: skip
    assert "ArithmeticError" in told["exception"] and "service.py" in told["exception"]
    assert "999.0 is out" not in log, "a message may quote the request"
    (begun,) = [each for each in events if each["message"] == "starting"]
    assert "token" not in begun["settings"]
    assert (root / "notes").read_text() == "stopped True"


def test_own_settings_are_shown_and_secrets_are_not(root: Path, sample_dir: Path) -> None:
    settings = {**SETTINGS, "FACTOR": "3", "LOG_LEVEL": "info", "LOG_FORMAT": "json"}
    with started(sample_dir, root, **settings) as server:
        server.wait_for("ready")
        # Not the settings of the build: the golden requests are answered anew, and verified.
        assert verify(server.url, None, LIMITS, models=sample_dir, key=KEY).passed
        server.process.terminate()
        log = server.process.communicate(timeout=60)[1]
    (begun,) = [each for each in map(json.loads, log.splitlines()) if each["message"] == "starting"]
    assert begun["settings"]["factor"] == 3
    assert begun["settings"]["token"] == "(hidden)" and "very-secret" not in log
    assert "settings or device are not those of the build" in log


def test_verification_compares_the_answers_after_the_hooks(
    server: Server, sample_dir: Path
) -> None:
    report = verify(server.url, None, LIMITS, models=sample_dir, key=KEY)
    assert report.passed
    assert "as recorded after the hooks: sides (24 samples, " in report.text()
    assert "of them refused" in report.text()
    with pytest.raises(KeyRefused):
        verify(server.url, None, LIMITS, models=sample_dir, key="some-other-key-0123")


def other_sum(_: Asked, answer: Answer) -> Answer:
    if not answer.body.startswith(b'{"predictions"'):
        return answer
    outputs = json.loads(answer.body)["outputs"]
    return answer.with_json(outputs=outputs | {"sum": [each + 1 for each in outputs["sum"]]})


def other_reason(_: Asked, answer: Answer) -> Answer:
    if answer.status != 422:
        return answer
    return answer.with_json(error="'x' is unknown")


def never_refused(asked: Asked, answer: Answer) -> Answer:
    return replace(answer, status=200) if answer.status == 422 else answer


@pytest.mark.parametrize("change", [other_sum, other_reason, never_refused])
def test_an_answer_that_was_not_recorded_is_noticed(
    server: Server, sample_dir: Path, change: object
) -> None:
    with front_of(server.url, change) as front, pytest.raises(WrongAnswers):  # type: ignore[arg-type]
        verify(front.url, None, LIMITS, models=sample_dir, key=KEY)


def test_hooks_that_answer_otherwise_than_in_the_build_are_noticed(
    root: Path, sample_dir: Path, tmp_path: Path
) -> None:
    """The same file, setting and device; something else that the hooks read is another."""
    code = CODE.replace("own.factor", "float(Path(__file__).with_name('factor').read_text())")
    other = project(tmp_path / "project", code)
    (other / "factor").write_text("2")
    told = checked(other, sample_dir, "--record")
    assert "sides: service.py answers " in told
    (other / "factor").write_text("3")
    with running(sample_dir, other) as server, pytest.raises(VerifyError, match="'sum'"):
        verify(server.url, None, LIMITS, models=sample_dir)


def test_answers_by_chance_fail_the_check_of_the_build(sample_dir: Path, tmp_path: Path) -> None:
    code = "from itertools import count\nnumbers = count()\n@service.answer\n"
    code += "def more(model, inputs, outputs):\n    number = next(numbers)\n"
    code += "    return {'n': [number] * len(inputs['x'])}\n"
    with pytest.raises(AssertionError, match=r"with other output 'n' the second time"):
        checked(project(tmp_path / "project", code), sample_dir)


def test_the_documented_example_is_a_sample_that_the_rules_let_through(
    sample_dir: Path, tmp_path: Path
) -> None:
    code = "from engine.serving.extension import Refused\n@service.request\n"
    code += "def bounded(model, inputs):\n    if inputs['x'][0, 1] > 0.8:\n"
    code += "        raise Refused('no')\n"
    first = read_package(sample_dir / "sides").golden.inputs["x"][:1]
    with running(sample_dir, project(tmp_path / "project", code)) as server:
        url = f"{server.url}/predict"
        assert httpx.post(url, json={"data": first.tolist()}).status_code == 422
        example = httpx.get(f"{server.url}/v2/models/sides/example").content
        paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
        shown = paths["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
        infer = paths["/v2/models/sides/infer"]["post"]["requestBody"]["content"]
        assert json.loads(example) == shown
        assert httpx.post(url, content=example).status_code == 200
        asked = httpx.post(
            f"{server.url}/v2/models/sides/infer", json=infer["application/json"]["example"]
        )
        assert asked.status_code == 200, asked.text


def test_the_load_test_knows_the_same_answers(client: httpx.Client, sample_dir: Path) -> None:
    with Service(str(client.base_url), KEY, 30) as service:
        samples = prepare(served_records(service, sample_dir))
    statuses = set()
    for name in ("single_row", "batch", "protocol_json", "protocol_binary"):
        for sample in samples[name]:
            answer = ask(client, sample.request)
            assert answer.status_code == sample.status, answer.text
            statuses.add((name, sample.status))
            if sample.check is not None:
                sample.check(answer.content, answer.headers.get(wire.LENGTH))
    assert ("single_row", 422) in statuses and ("single_row", 200) in statuses
    # A hook may look at the number of rows: only requests with recorded answers are sent.
    assert {sample.kind for sample in samples["batch"]} == {"predict, 1 row"}


def test_a_start_hook_that_fails_keeps_the_service_from_becoming_ready(
    sample_dir: Path, tmp_path: Path
) -> None:
    code = "@service.start\ndef connect():\n    raise OSError('postgres://admin:pw@db refused')\n"
    root = project(tmp_path / "project", code)
    with started(sample_dir, root) as server:
        report = server.wait_for("failed", "ready")
    # Probes are open, and the message may hold a password; `make check` has one reader.
    sentence = "service.py: connect failed with OSError"
    assert report["reason"] == sentence
    done = subprocess.run(
        [sys.executable, "-m", "engine.serving.check"], cwd=root, text=True, timeout=120,
        env=environment(sample_dir, free_port(), {}), capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1,
        f"error: {sentence}: postgres://admin:pw@db refused\n",
    )


def test_a_service_whose_hooks_cannot_be_recorded_fails_and_says_why(
    sample_dir: Path, tmp_path: Path
) -> None:
    code = "@service.answer\ndef more(model, inputs, outputs):\n"
    code += "    return {'': [0] * len(inputs['x'])}\n"
    with started(sample_dir, project(tmp_path / "project", code)) as server:
        report = server.wait_for("failed", "ready")
    assert "more added an output with the name ''; a name has up to 100" in str(report["reason"])
    refusing = "from engine.serving.extension import Refused\n@service.request\n"
    refusing += "def none(model, inputs):\n    raise Refused('never')\n"
    done = subprocess.run(
        [sys.executable, "-m", "engine.serving.check"], text=True, timeout=120, check=False,
        cwd=project(tmp_path / "refusing", refusing), capture_output=True,
        env=environment(sample_dir, free_port(), {}),
    )  # fmt: skip
    assert done.returncode == 1
    assert "service.py refuses every golden request, for example with 'never'" in done.stderr
