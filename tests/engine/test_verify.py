"""`engine.deploy.verify`: a right service passes, each kind of wrong one fails by its own name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from engine.client import burst, service
from engine.client.failures import (
    KeyRefused,
    NotReady,
    Replaced,
    Report,
    TooSlow,
    Unreachable,
    Unsteady,
    VerifyError,
    WrongAnswers,
    WrongRelease,
)
from engine.client.identity import ModelsOnly
from engine.client.service import Limits
from engine.deploy import __main__ as command_line
from engine.deploy import verify as verifying
from engine.deploy.az_error import AzError, Problem
from engine.deploy.commands import verify as verify_command
from engine.deploy.commands.verify import require_image
from engine.deploy.config.names import TAG_IMAGE
from engine.deploy.targets.base import Live
from engine.serving.package.digest import models_digest

from tests.engine.front import LOST, Answer, Asked, Change, front_of
from tests.engine.project import ROOT
from tests.engine.server import free_port, running, started

KEY = "a-key-for-the-verification-0"
OTHER = "another-key-of-somebody-else"
LIMITS = Limits(ready_seconds=10, request_seconds=10, burst_requests=20, burst_p95_ms=2000)
IMPATIENT = replace(LIMITS, ready_seconds=0.5)


@dataclass(frozen=True)
class Wanted:
    revision: str | None
    model_digest: str


Verify = Callable[..., Report]


@pytest.fixture
def verify(sample_dir: Path) -> Verify:
    """`engine.deploy.verify.verify` with the golden records of the tests' own classifier."""
    return partial(verifying.verify, models=sample_dir)


def url_of(service: httpx.Client) -> str:
    return str(service.base_url).rstrip("/")


def names(report: Report | None) -> list[tuple[str, bool]]:
    assert report is not None
    return [(check.name, check.passed) for check in report.checks]


def test_a_right_service_passes_every_check(
    verify: Verify, sample_dir: Path, sample: httpx.Client
) -> None:
    said: list[str] = []
    wanted = Wanted("unknown", models_digest(sample_dir))
    report = verify(url_of(sample), wanted, LIMITS, said.append)
    assert report.passed
    checks = ["ready", "release", "answers", "speed", "still ready"]
    assert names(report) == [(name, True) for name in checks]
    assert "golden samples through binary tensors" in "\n".join(said)
    assert "golden samples through /predict" in "\n".join(said)
    assert report.text().splitlines()[0].startswith("ok      ready")
    assert report.markdown().count("| ok |") == len(checks)


def test_every_datatype_several_inputs_and_fixed_shapes_pass(
    verify: Verify, toys: httpx.Client, toy_dir: Path
) -> None:
    wanted = ModelsOnly(models_digest(toy_dir))
    assert verify(url_of(toys), wanted, LIMITS, models=toy_dir).passed


@pytest.mark.slow
def test_a_service_that_takes_few_rows_is_asked_in_small_pieces(
    verify: Verify, toy_dir: Path
) -> None:
    with running(toy_dir, MAX_QUEUE_ROWS="1") as server:
        assert verify(server.url, None, replace(LIMITS, burst_clients=1), models=toy_dir).passed


def changed(name: str, change: Change) -> Any:
    return pytest.param(change, id=name)


def on(path: str, made: Callable[[Answer], Answer]) -> Change:
    return lambda asked, answer: made(answer) if asked.path.startswith(path) else answer


def one_label_wrong(_: Asked, answer: Answer) -> Answer:
    if not answer.body.startswith(b'{"predictions"'):
        return answer
    predictions = json.loads(answer.body)["predictions"]
    return answer.with_json(predictions=[*predictions[:-1], 1 - predictions[-1] % 2])


def last_byte_wrong(asked: Asked, answer: Answer) -> Answer:
    if not asked.path.endswith("/infer"):
        return answer
    # The highest byte of the last probability.
    return replace(answer, body=answer.body[:-1] + bytes([answer.body[-1] ^ 0x40]))


def slow(asked: Asked, answer: Answer) -> Answer:
    return replace(answer, seconds=0.4) if asked.path.startswith("/predict") else answer


def every_seventh_fails(asked: Asked, answer: Answer) -> Answer:
    fails = asked.path.startswith("/predict") and len(asked.body) < 200
    return replace(answer, status=500) if fails and asked.position % 7 == 0 else answer


def dies_in_the_burst(asked: Asked, answer: Answer) -> Answer:
    if asked.path != "/readyz" or asked.position < 4:
        return answer
    body = b'{"ready": false, "state": "draining", "reason": "the process was asked to stop"}'
    return replace(answer, status=503, body=body)


def crashes_now_and_then(asked: Asked, answer: Answer) -> Answer:
    fails = asked.path.startswith("/predict") and len(asked.body) < 200
    broke = replace(answer, status=500, body=b'{"error": "broke"}')
    return broke if fails and asked.position % 7 == 0 else answer


FAULTS: list[tuple[str, Change, type[VerifyError], str, str]] = [
    (
        "another revision",
        on("/v2", lambda a: a.with_json(revision="f" * 40)),
        WrongRelease,
        "runs revision ffffffffffff, not unknown",
        "release",
    ),
    (
        "other models",
        on("/v2", lambda a: a.with_json(model_digest="0" * 64)),
        WrongRelease,
        "serves models 000000000000, not",
        "release",
    ),
    (
        "another server",
        on("/v2", lambda a: replace(a, status=404, body=b"not found")),
        WrongRelease,
        "HTTP 404 without a release",
        "release",
    ),
    ("one wrong label", one_label_wrong, WrongAnswers, "output 'label' at [", "answers"),
    ("one wrong byte", last_byte_wrong, WrongAnswers, "output 'probabilities' at [", "answers"),
    (
        "a body cut short",
        on("/v2/models", lambda a: replace(a, body=a.body[:-3])),
        WrongAnswers,
        "asked through binary tensors",
        "answers",
    ),
    (
        "an error behind 200",
        on("/predict", lambda a: replace(a, body=b"<html>")),
        WrongAnswers,
        "the answer is not JSON",
        "answers",
    ),
    (
        "a model that is not served",
        on("/v2/models", lambda a: replace(a, status=404, body=b'{"error": "no model"}')),
        WrongRelease,
        "HTTP 404: no model",
        "answers",
    ),
    (
        "golden samples refused",
        on("/predict", lambda a: replace(a, status=422, body=b'{"error": "shape"}')),
        WrongAnswers,
        "it refuses the golden samples: shape",
        "answers",
    ),
    (
        "a crash while computing",
        on("/predict", lambda a: replace(a, status=500, body=b'{"error": "broke"}')),
        WrongAnswers,
        "HTTP 500: broke",
        "answers",
    ),
    (
        "a gateway in between",
        on("/predict", lambda a: replace(a, status=502, body=b"Bad Gateway")),
        Unreachable,
        "no answer of this service: Bad Gateway",
        "answers",
    ),
    ("slow answers", slow, TooSlow, "the limit is 100 ms", "speed"),
    ("failing now and then", every_seventh_fails, Unsteady, "requests to", "speed"),
    ("crashing now and then", crashes_now_and_then, Unsteady, "HTTP 500: broke", "speed"),
    (
        "a login page behind 200",
        on("/v2", lambda a: replace(a, body=b"<html>log in</html>")),
        WrongRelease,
        "HTTP 200 without a release",
        "release",
    ),
    (
        "a firewall that refuses",
        on("/predict", lambda a: replace(a, status=422, body=b"<html>blocked</html>")),
        WrongAnswers,
        "HTTP 422",
        "answers",
    ),
    (
        "a connection that is lost each time",
        on("/predict", lambda a: replace(a, status=LOST)),
        Unreachable,
        "",
        "answers",
    ),
    ("a stop in the end", dies_in_the_burst, NotReady, "draining", "still ready"),
]


NO_PROOF = {
    "another server",
    "a body cut short",
    "an error behind 200",
    "a gateway in between",
    "slow answers",
    "failing now and then",
    "a login page behind 200",
    "a firewall that refuses",
    "a connection that is lost each time",
}
"""Faults that may be those of the path to the service, or of what asks."""


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("change", "kind", "cause", "failed", "proof"),
    [pytest.param(*f[1:], f[0] not in NO_PROOF, id=f[0]) for f in FAULTS],
)
def test_each_fault_fails_by_its_name(
    verify: Verify,
    sample_dir: Path,
    sample: httpx.Client,
    change: Change,
    kind: type[VerifyError],
    cause: str,
    failed: str,
    proof: bool,
) -> None:
    wanted = Wanted("unknown", models_digest(sample_dir))
    limits = replace(LIMITS, burst_p95_ms=100 if kind is TooSlow else 5000)
    with front_of(url_of(sample), change) as front, pytest.raises(VerifyError) as caught:
        verify(front.url, wanted, limits)
    assert type(caught.value) is kind
    assert caught.value.proof is proof
    assert cause in caught.value.cause
    assert front.url in caught.value.cause
    assert caught.value.fix
    assert names(caught.value.report)[-1] == (failed, False)
    assert all(passed for _, passed in names(caught.value.report)[:-1])


def test_a_front_that_changes_nothing_passes(verify: Verify, sample: httpx.Client) -> None:
    with front_of(url_of(sample), lambda _, answer: answer) as front:
        assert verify(front.url, None, replace(LIMITS, burst_p95_ms=5000)).passed


@pytest.mark.slow
def test_a_slow_path_is_no_slow_service(
    verify: Verify, sample: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path takes longer than the limit, which a busy machine alone does not reach."""
    measured: list[Asked] = []

    def far(asked: Asked, answer: Answer) -> Answer:
        if asked.path == burst.LIVE:
            measured.append(asked)
        return replace(answer, seconds=1.5 if measured else 0.0)

    monkeypatch.setattr(burst, "PATH_SAMPLES", 1)
    limits = replace(LIMITS, burst_p95_ms=1400, burst_requests=8)
    with front_of(url_of(sample), far) as front:
        assert verify(front.url, None, limits).passed


@pytest.mark.slow
def test_a_busy_service_is_asked_again_when_it_says(verify: Verify, sample: httpx.Client) -> None:
    def busy_at_first(asked: Asked, answer: Answer) -> Answer:
        if asked.path.startswith("/predict") and asked.position < 5:
            return Answer(429, b'{"error": "overloaded"}', {"Retry-After": "0.05"})
        return answer

    with front_of(url_of(sample), busy_at_first) as front:
        assert verify(front.url, None, replace(LIMITS, burst_p95_ms=5000)).passed


@pytest.mark.slow
def test_a_failed_service_is_not_waited_for_and_its_reason_is_shown(
    verify: Verify, tmp_path: Path
) -> None:
    with started(tmp_path) as server:
        server.wait_for("failed")
        with pytest.raises(NotReady, match="failed: no model package in") as caught:
            verify(server.url, None, replace(LIMITS, ready_seconds=60))
    assert caught.value.report is not None
    assert caught.value.report.checks[0].seconds < 5


@pytest.mark.slow
def test_waiting_ends_in_time_and_says_what_was_seen(verify: Verify, sample: httpx.Client) -> None:
    starting = b'{"ready": false, "state": "starting", "reason": "models are being loaded"}'
    change = on("/readyz", lambda a: replace(a, status=503, body=starting))
    said: list[str] = []
    with (
        front_of(url_of(sample), change) as front,
        pytest.raises(NotReady, match="starting: models are being loaded"),
    ):
        verify(front.url, None, IMPATIENT, said.append)
    assert said[0].startswith("not ready after 0 s: starting")


def test_nobody_there_is_unreachable(verify: Verify) -> None:
    with pytest.raises(Unreachable, match="nothing listens on that port"):
        verify(f"http://127.0.0.1:{free_port()}", None, IMPATIENT)


@pytest.mark.slow
def test_a_name_that_does_not_exist_is_unreachable(verify: Verify) -> None:
    with pytest.raises(Unreachable, match="does not resolve"):
        verify("http://no-such-name.invalid:8000", None, IMPATIENT)


@pytest.mark.slow
def test_proxies_of_the_environment_are_used(
    verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy}")
    monkeypatch.setenv("http_proxy", f"http://{proxy}")
    with pytest.raises(Unreachable, match="nothing listens"):
        verify("http://no-such-name.invalid:8000", None, IMPATIENT)


@pytest.mark.slow
def test_a_key_is_sent_where_it_is_needed_and_shown_nowhere(
    verify: Verify, sample_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setenv("API_KEYS", f" {KEY} , {OTHER}")
    with running(sample_dir, API_KEYS=KEY) as server:
        with front_of(server.url, lambda _, answer: answer) as front:
            report = verify(front.url, None, replace(LIMITS, burst_p95_ms=5000), said.append)
        sent = {asked.path.split("/")[1] for asked in front.asked if KEY in str(asked.headers)}
        assert sent == {"v2", "predict"}
        assert not any(
            KEY in str(a.headers)
            for a in front.asked
            if a.method == "GET" and not a.path.endswith("/answers")
        )
        monkeypatch.setenv("API_KEYS", OTHER)
        with pytest.raises(KeyRefused, match="is not accepted") as wrong:
            verify(server.url, None, LIMITS, said.append)
        monkeypatch.delenv("API_KEYS")
        with pytest.raises(KeyRefused, match="an API key is needed") as none:
            verify(server.url, None, LIMITS, said.append)
    shown = "\n".join([*said, report.text(), report.markdown(), str(wrong.value), str(none.value)])
    assert KEY not in shown
    assert OTHER not in shown


def test_the_first_key_of_the_environment_is_taken() -> None:
    assert verifying.key_from({"API_KEYS": f"{KEY},{OTHER}", "LOAD_API_KEY": "x"}) == KEY
    assert verifying.key_from({"API_KEYS": "", "LOAD_API_KEY": OTHER}) == OTHER
    assert verifying.key_from({}) is None


@pytest.fixture
def root(sample_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose only model is the tests' own; `python -m engine.deploy` works on it."""
    (tmp_path / "models").symlink_to(sample_dir)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(command_line, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_command_line_prints_a_table(
    sample: httpx.Client, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["verify", "--url", f"{url_of(sample)}/", "--any-revision"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * 5


def lost_once() -> Change:
    """A front that loses the connection of the first inference and of one in the burst."""
    times: list[Asked] = []

    def change(asked: Asked, answer: Answer) -> Answer:
        if asked.path.startswith("/predict"):
            times.append(asked)
            if len(times) in (1, 12):
                return replace(answer, status=LOST)
        return answer

    return change


@pytest.mark.parametrize(
    ("change", "code", "verdict"),
    [
        pytest.param(lost_once(), 0, "right", id="a connection lost now and then"),
        pytest.param(on("/v2", lambda a: a.with_json(model_digest="0")), 3, "wrong", id="wrong"),
        pytest.param(on("/", lambda a: replace(a, status=LOST)), 4, "unproved", id="no way there"),
        pytest.param(on("/predict", lambda a: replace(a, status=502)), 4, "unproved", id="gateway"),
    ],
)
def test_the_exit_code_tells_proof_from_no_answer(
    sample: httpx.Client,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
    code: int,
    verdict: str,
) -> None:
    monkeypatch.setattr(verifying, "AGAIN_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(service, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(verify_command, "URL_READY_SECONDS", 0.2 if code == 4 else 10.0)
    monkeypatch.setenv("GITHUB_OUTPUT", str(root / "outputs"))
    with front_of(url_of(sample), change) as front:
        assert command_line.main(["verify", "--url", front.url, "--any-revision"]) == code
    last = (root / "outputs").read_text(encoding="utf-8").splitlines()[-1]
    assert last == f"verdict={verdict}"


def test_what_azure_does_not_answer_is_no_proof(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(*_: object) -> None:
        asked.append("once more")
        raise AzError(Problem("ServiceUnavailable", 503, "try later"), "az rest")

    monkeypatch.setattr(verifying, "AGAIN_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(verify_command, "open_context", fail)
    assert command_line.main(["verify", "staging", "--any-revision"]) == 4
    assert len(asked) == 3


def test_the_command_line_fails_with_cause_and_fix(
    sample: httpx.Client, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = on("/v2", lambda a: a.with_json(model_digest="0" * 64))
    with front_of(url_of(sample), other) as front:
        assert command_line.main(["verify", "--url", front.url, "--any-revision"]) == 3
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].startswith("FAILED  release")
    assert "error: " in printed.err
    assert "fix: the image was built from other models" in printed.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [[], ["staging", "--url", "http://x"], ["--url", "x:8000"], ["--url", "http://x/y"]],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    whole = [sys.executable, "-m", "engine.deploy", "verify", *arguments]
    done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "usage:" in done.stderr


def test_the_image_is_compared_in_what_azure_runs() -> None:
    good, bad = "iris.azurecr.io/iris@sha256:aa", "iris.azurecr.io/iris@sha256:bb"
    document = {"properties": {"containers": [{"properties": {"image": good}}]}}
    live = Live(document, {TAG_IMAGE: "sha256:aa"}, "http://x", "", settled=True, running=True)
    require_image(live, good, "staging")
    require_image(live, None, "staging")
    with pytest.raises(Replaced, match=r"staging runs .*aa, not .*bb"):
        require_image(live, bad, "staging")
    with pytest.raises(WrongRelease, match="its tag image-digest says sha256:cc"):
        require_image(replace(live, tags={TAG_IMAGE: "sha256:cc"}), None, "staging")
