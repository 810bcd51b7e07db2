"""The load gate: what counts, what is judged, and that Locust's real runs are judged rightly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from engine.client import wire
from engine.client.parity import read_records
from engine.errors import ConfigError, EngineError
from engine.load.measured import Recording, Request, measure, quantile
from engine.load.proxy import proxy_arguments
from engine.load.report import Run, markdown, result, text
from engine.load.samples import ON_PURPOSE, prepare
from engine.load.slo import Slo, read_slo
from engine.load.verdict import judge
from engine.serving.errors import PackageError

from tests.engine.front import Answer, Asked, Change, front_of
from tests.engine.project import ROOT

pytestmark = pytest.mark.slow

SLO = Slo(
    p95_ms=100,
    error_ratio=0.01,
    minimum_rps=10,
    users=4,
    ramp_seconds=1,
    warm_up_seconds=1,
    run_seconds=8,
)
PREDICT = "predict, 1 row"


def recording(times: list[float], failures: int = 0, start: float = 2.0) -> Recording:
    """Ten seconds, the first two not judged; answers evenly over the rest."""
    step = 8 / (len(times) + failures)
    requests = [
        Request(start + step * (index + 0.5), PREDICT, milliseconds, "")
        for index, milliseconds in enumerate(times)
    ]
    failed = [Request(9.5, PREDICT, 1.0, "status 500 instead of 200") for _ in range(failures)]
    return Recording(start, 10.0, [*requests, *failed])


def judged(*arguments: Any) -> list[str]:
    return [each.name for each in judge(SLO, measure(recording(*arguments))).missed]


def test_a_healthy_run_passes() -> None:
    assert judged([20.0] * 200) == []


def test_each_objective_is_missed_alone() -> None:
    assert judged([20.0] * 180 + [101.0] * 20) == ["p95_ms"]
    assert judged([20.0] * 200, 3) == ["error_ratio"]
    assert judged([20.0] * 79) == ["minimum_rps"]


def test_objectives_hold_at_their_limits() -> None:
    assert judged([100.0] * 200) == []
    assert judged([20.0] * 198, 2) == []
    assert judged([20.0] * 80) == []
    # 95 of 100 is enough, 94 is not.
    assert judged([20.0] * 190 + [500.0] * 10) == []
    assert judged([20.0] * 189 + [500.0] * 11) == ["p95_ms"]


def test_a_run_without_answers_keeps_nothing() -> None:
    assert len(judge(SLO, measure(Recording(2, 10, []))).missed) == 3
    assert len(judge(SLO, measure(recording([], 100))).missed) == 3


def test_failures_do_not_flatter_the_times() -> None:
    measured = measure(recording([80.0] * 100, 100))
    assert measured.p50_ms == 80.0
    assert measured.rps == 100 / 8


def test_the_warm_up_is_not_judged() -> None:
    cold = [Request(1.5, PREDICT, 5000.0, "status 503 instead of 200")] * 50
    run = recording([20.0] * 200)
    assert measure(replace(run, requests=[*cold, *run.requests])) == measure(run)


def test_refusals_on_purpose_count_as_requests_only() -> None:
    run = recording([20.0] * 100)
    refused = [Request(5, ON_PURPOSE, 0.1, "")] * 100
    wrong = [Request(5, ON_PURPOSE, 0.1, "status 200 instead of 422")]
    measured = measure(replace(run, requests=[*run.requests, *refused, *wrong]))
    assert (measured.requests, measured.failed) == (201, 1)
    assert measured.rps == 100 / 8
    assert measured.p50_ms == 20.0


def test_a_busy_generator_is_named() -> None:
    verdict = judge(SLO, measure(replace(recording([20.0] * 200), cpu_percent=97.0)))
    assert "97 % of a CPU" in verdict.notes[0]
    assert judge(SLO, measure(recording([20.0] * 200))).notes == ()


def test_a_busy_machine_is_blamed_and_nothing_else() -> None:
    slow_and_wrong = measure(recording([400.0] * 200, failures=20))
    quiet, busy = judge(SLO, slow_and_wrong), judge(SLO, slow_and_wrong, "this machine was busy")
    assert [each.name for each in busy.missed] == [each.name for each in quiet.missed]
    assert "more cpu" in quiet.missed[0].advice
    assert busy.missed[0].advice == "see the note, and measure again"
    assert busy.missed[1].advice == quiet.missed[1].advice
    assert busy.notes == ("this machine was busy",)


def test_quantiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [quantile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert quantile([7.0], 0.95) == 7
    assert quantile([], 0.95) == 0


def test_every_form_of_the_report_tells_what_was_missed() -> None:
    measured = measure(recording([20.0] * 180 + [400.0] * 20, 1))
    verdict = judge(SLO, measured)
    run = Run("http://x:8000", "2026-11-21T00:00:00+00:00", SLO, measured, verdict)
    assert "Load test failed: p95_ms of load/slo.yaml missed" in text(run)
    page = markdown(run)
    assert "| p95_ms | at most 100 ms | 400.0 ms | MISSED |" in page
    assert "- 1 times: `predict, 1 row: status 500 instead of 200`" in page
    assert "xychart-beta" in page
    content = json.loads(json.dumps(result(run)))
    assert content["passed"] is False
    assert [each["name"] for each in content["objectives"] if not each["kept"]] == ["p95_ms"]
    assert content["measured"]["p95_ms"] == 400.0


def test_the_shipped_file_is_right() -> None:
    assert read_slo(ROOT / "load" / "slo.yaml").users == 20


def test_another_load_keeps_the_promise_in_proportion() -> None:
    slo = SLO.scaled(2, 5)
    assert (slo.users, slo.minimum_rps) == (2, 5)
    assert (slo.ramp_seconds, slo.warm_up_seconds, slo.run_seconds) == (1, 1, 5)
    assert SLO.scaled(None, 2).ramp_seconds == pytest.approx(0.4)
    assert SLO.scaled(None, None) == SLO


def test_all_faults_of_the_file_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text("p95_ms: fast\nerror_ratio: 2\nusers: 0\nramp_seconds: 1\nrun_second: 5\n")
    with pytest.raises(ConfigError) as caught:
        read_slo(path)
    fields = {fault.field for fault in caught.value.faults}
    missing = {"minimum_rps", "warm_up_seconds", "run_seconds"}
    assert fields == {"p95_ms", "error_ratio", "users", "run_second"} | missing
    assert "slo.yaml:2: error_ratio is 2: input should be less than 1" in str(caught.value)


def test_faults_of_the_section_on_quality_are_named(tmp_path: Path) -> None:
    path = tmp_path / "slo.yaml"
    quality = {"metric": "acc", "margin": -1, "file": "rows.csv"}
    path.write_text(json.dumps(SLO.model_dump() | {"quality": quality}))
    with pytest.raises(ConfigError) as caught:
        read_slo(path)
    told = {fault.field: f"{fault.rule}; {fault.fix}" for fault in caught.value.faults}
    assert told.keys() == {"quality.metric", "quality.margin", "quality.file"}
    assert "'accuracy', 'f1_macro', 'log_loss', 'roc_auc', 'rmse', 'mae'" in told["quality.metric"]
    assert told["quality.margin"] == "input should be greater than or equal to 0; correct it"
    assert told["quality.file"].endswith("use metric, margin, data, label, model")


@pytest.mark.parametrize("content", ["- 1", "", "a: [", "p95_ms: true", "users: 1\nusers: 2"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError):
        read_slo(path)
    with pytest.raises(ConfigError, match=r"absent\.yaml: the file is unreadable: must exist"):
        read_slo(tmp_path / "absent.yaml")


def test_a_throughput_that_the_users_cannot_ask_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text(json.dumps(SLO.model_dump() | {"minimum_rps": 50}))
    with pytest.raises(ConfigError, match="4 users ask for at most 36 requests per second"):
        read_slo(path)


def test_samples_are_answered_as_they_say_and_mistakes_refused(
    toys: httpx.Client, toy_dir: Path
) -> None:
    """For every datatype, several inputs, and models whose rows cannot be told apart."""
    prepared = prepare(read_records(toy_dir), seed=1)
    for samples in prepared.values():
        for sample in samples[::4]:
            request = sample.request
            answer = toys.post(request.path, content=request.content, headers=request.headers)
            assert answer.status_code == sample.status, answer.text
            if sample.check:
                sample.check(answer.content, answer.headers.get(wire.LENGTH))


def test_a_sample_knows_a_wrong_answer(sample_dir: Path) -> None:
    (sample, *_) = prepare(read_records(sample_dir), seed=1)["single_row"]
    assert sample.check is not None
    with pytest.raises(wire.Unreadable):
        sample.check(b"{}", None)
    with pytest.raises(PackageError, match="golden check failed"):
        sample.check(b'{"predictions": [7], "outputs": {"probabilities": [[0, 1]]}}', None)


def test_proxies_of_the_environment_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    assert proxy_arguments("https://service.example") == {}
    monkeypatch.setenv("https_proxy", "http://me:p%40ss@proxy.example:3128")
    assert proxy_arguments("https://service.example") == {
        "proxy_host": "proxy.example",
        "proxy_port": 3128,
        "proxy_user": "me",
        "proxy_password": "p@ss",
    }
    assert proxy_arguments("http://service.example") == {}
    monkeypatch.setenv("no_proxy", "127.0.0.1,.example")
    assert proxy_arguments("https://service.example") == {}
    monkeypatch.setenv("http_proxy", "socks5://proxy.example")
    with pytest.raises(EngineError, match="kind 'socks5'"):
        proxy_arguments("http://elsewhere.test")


@dataclass(frozen=True)
class Case:
    """One real run of `python -m engine.load`: what is in the way, and the objectives it must miss.

    ``proxied``: the address is known to nobody but the proxy that the environment names.
    """

    change: Change | None
    missed: list[str]
    slo: Mapping[str, float] = field(default_factory=dict)
    proxied: bool = False


def slow(asked: Asked, answer: Answer) -> Answer:
    return replace(answer, seconds=0.3) if asked.method == "POST" else answer


def failing(asked: Asked, answer: Answer) -> Answer:
    """One in five fails: half of them say so, and half give a wrong answer."""
    if asked.position % 10 == 4:
        return replace(answer, status=500)
    if asked.position % 10 == 9:
        body = answer.body.replace(b'ons":[', b'ons":[7,', 1).replace(b'"data":[', b'"data":[7,', 1)
        return replace(answer, body=body)
    return answer


LOOSE = {"p95_ms": 5000.0, "error_ratio": 0.5, "minimum_rps": 1.0}
CASES = {
    "healthy": Case(None, [], {"p95_ms": 2500.0, "error_ratio": 0.0, "minimum_rps": 2.0}),
    "slowed": Case(slow, ["p95_ms"], {**LOOSE, "p95_ms": 250.0}),
    "failing": Case(failing, ["error_ratio"], {**LOOSE, "error_ratio": 0.01}),
    "throttled": Case(slow, ["minimum_rps"], {**LOOSE, "minimum_rps": 20.0}, proxied=True),
}


def run_case(name: str, case: Case, url: str, models: Path, folder: Path) -> dict[str, Any]:
    """Run the gate as a user does; its result file."""
    out = folder / name
    slo = {"users": 4, "ramp_seconds": 0.5, "warm_up_seconds": 0.5, "run_seconds": 3, **case.slo}
    (folder / f"{name}.yaml").write_text(json.dumps(slo))
    summary = str(folder / f"{name}.md")
    environment = {**os.environ, "GITHUB_STEP_SUMMARY": summary, "MODELS_DIR": str(models)}
    if case.proxied:
        environment |= {"http_proxy": url, "HTTP_PROXY": url, "no_proxy": "", "NO_PROXY": ""}
    address = "http://reached-through-a-proxy-only.invalid:8000" if case.proxied else url
    command = [sys.executable, "-m", "engine.load", "--url", address, "--out", str(out)]
    command += ["--slo", str(folder / f"{name}.yaml")]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == (1 if case.missed else 0), f"{name}: {done.stdout}{done.stderr}"
    assert (out / "report.html").stat().st_size > 0
    assert (out / "latency.svg").read_text().startswith("<svg")
    assert (folder / f"{name}.md").read_text().strip() == (out / "summary.md").read_text().strip()
    content: dict[str, Any] = json.loads((out / "result.json").read_text())
    return content


@pytest.mark.slow
def test_real_runs_are_judged_rightly(
    sample: httpx.Client, sample_dir: Path, tmp_path: Path
) -> None:
    """All at the same time, for they wait more than they compute."""
    service = str(sample.base_url).rstrip("/")
    with ExitStack() as fronts, ThreadPoolExecutor(len(CASES)) as pool:
        urls = {
            name: fronts.enter_context(front_of(service, case.change)).url
            if case.change
            else service
            for name, case in CASES.items()
        }
        runs = {
            name: pool.submit(run_case, name, case, urls[name], sample_dir, tmp_path)
            for name, case in CASES.items()
        }
        results = {name: run.result() for name, run in runs.items()}
    missed = {
        name: [each["name"] for each in content["objectives"] if not each["kept"]]
        for name, content in results.items()
    }
    assert missed == {name: case.missed for name, case in CASES.items()}
    kinds = {each["name"] for each in results["healthy"]["measured"]["kinds"]}
    assert {"predict, 1 row", "infer, JSON", "infer, binary", ON_PURPOSE} <= kinds
    failures = str(results["failing"]["measured"]["failures"])
    assert "status 500 instead of 200" in failures
    assert "wrong answer: golden check failed" in failures


def local_run(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """The gate with a service of its own, shortly."""
    slo = {"users": 1, "ramp_seconds": 0, "warm_up_seconds": 0, "run_seconds": 1, **LOOSE}
    (folder / "slo.yaml").write_text(json.dumps(slo))
    command = [sys.executable, "-m", "engine.load", "--slo", str(folder / "slo.yaml")]
    environment = {**os.environ, **settings}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_log_of_its_own_service_is_a_file(sample_dir: Path, tmp_path: Path) -> None:
    slow_lines = {"LOG_SLOW_SECONDS": "0.0001", "LOG_FORMAT": "json"}
    done = local_run(tmp_path, MODELS_DIR=str(sample_dir), **slow_lines)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "p95 ms" in done.stdout
    assert "log of the service: build/load-service.log" in done.stdout
    assert '"message":"request"' not in done.stdout + done.stderr
    assert '"message":"request"' in (ROOT / "build" / "load-service.log").read_text()


def test_why_its_own_service_does_not_start_is_shown(tmp_path: Path) -> None:
    done = local_run(tmp_path, WORKERS="many")
    assert done.returncode == 1
    assert "WORKERS" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--url", "ftp://x"], ["--users", "0"], ["--slo", "absent.yaml"], ["--what"]]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "engine.load", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
