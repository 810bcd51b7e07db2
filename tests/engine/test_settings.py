"""Settings: all faults at once, no secret repeated, and a table in the reference that is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from engine.deploy.__main__ import COMMANDS
from engine.serving.errors import SettingsError
from engine.serving.remarks import remarks
from engine.serving.settings import Settings, load_settings, markdown_table

from tests.engine.project import ROOT
from tests.engine.server import started

KEY = "a-planted-key-0123456789"


def test_defaults_are_valid() -> None:
    assert load_settings().execution_providers == ("cpu",)


def test_every_fault_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("EXECUTION_PROVIDERS", "tpu")
    monkeypatch.setenv("MAX_BATCH_ROWS", "0")
    monkeypatch.setenv("API_KEYS", f"{KEY},short-secret")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    faults = refused.value.faults
    assert [fault.split("=")[0] for fault in faults] == [
        "PORT",
        "EXECUTION_PROVIDERS",
        "API_KEYS",
        "MAX_BATCH_ROWS",
    ]
    assert "'eighty'" in faults[0]
    assert "must be cpu, cuda or cuda,cpu" in faults[1]
    assert "key 2 must have at least 16" in faults[2]
    assert "short-secret" not in str(faults)
    assert KEY not in str(faults)


def test_keys_are_not_in_the_representation() -> None:
    assert KEY not in repr(Settings(api_keys=(KEY,)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("cpu", ("cpu",)), ("CUDA", ("cuda",)), ("cuda, cpu", ("cuda", "cpu"))],
)
def test_execution_providers(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]
) -> None:
    monkeypatch.setenv("EXECUTION_PROVIDERS", text)
    assert load_settings().execution_providers == expected


@pytest.mark.slow
def test_wrong_settings_stop_the_process_before_it_listens() -> None:
    environment = {"PATH": os.environ["PATH"], "PORT": "99999", "LOG_LEVEL": "loud"}
    done = subprocess.run(
        [sys.executable, "-m", "engine.serving"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: PORT='99999'")
    assert lines[1].startswith("error: LOG_LEVEL='loud'")


REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def test_the_reference_shows_the_table_of_every_variable() -> None:
    assert markdown_table() in REFERENCE


def test_the_reference_lists_every_command_that_deploys() -> None:
    table = REFERENCE.partition("## Commands that deploy")[2].partition("\n## ")[0]
    listed = {
        name
        for cell in re.findall(r"^\| (`.+`) \|", table, re.M)
        for name in re.findall(r"`([a-z]+)", cell)
    }
    assert listed == set(COMMANDS)


def test_the_reference_lists_every_route(sample: httpx.Client) -> None:
    table = REFERENCE.partition("## Settings")[0]
    paths = set(re.findall(r"`(?:[A-Z]+ )?(/[^`]*)`", table)) - {"/docs", "/"}
    documented = set(sample.get("/openapi.json").json()["paths"])
    assert {re.sub(r"/(sides|\{name\})", "/{model}", path) for path in documented} <= paths


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("LOGLEVEL", "LOG_LEVEL"),
        ("log_levl", "LOG_LEVEL"),
        ("WORKER", "WORKERS"),
        ("API_KEY", "API_KEYS"),
        ("MODEL_DIR", "MODELS_DIR"),
        ("MAX_BACTH_ROWS", "MAX_BATCH_ROWS"),
        ("TRACE_SAMPLE_RATE", "TRACE_SAMPLE_RATIO"),
    ],
)
def test_a_misspelt_setting_is_pointed_out(typed: str, meant: str) -> None:
    said = remarks([typed], Settings.model_fields, 1, 1)
    assert said == [f"{typed.upper()} is not a setting and has no effect; did you mean {meant}?"]
    # The right one is given, too: the other one belongs to something else.
    assert remarks([typed, meant], Settings.model_fields, 1, 1) == []


def test_variables_of_others_are_no_misspelt_settings() -> None:
    # What shells, Python, Docker, Kubernetes, Azure and OpenTelemetry set.
    others = """
        PATH HOME HOSTNAME HOSTTYPE PAGER PAGES LANG LANGUAGE TERM SHELL SHLVL USER LOGNAME MAIL PWD
        EDITOR LS_COLORS OLDPWD DISPLAY TMPDIR PORTS GPG_KEY PYTHON_VERSION PYTHONUNBUFFERED
        KUBERNETES_PORT KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT IRIS_PORT IRIS_SERVICE_HOST
        CONTAINER_APP_NAME CONTAINER_APP_PORT CONTAINER_APP_REVISION CONTAINER_APP_HOSTNAME
        IDENTITY_ENDPOINT IDENTITY_HEADER IDENTITY_RESOURCE_ID MSI_ENDPOINT WEBSITE_HOSTNAME
        WEB_CONCURRENCY MODEL_NAME
        OTEL_EXPORTER_OTLP_HEADERS OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_METRIC_EXPORT_TIMEOUT
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT OTEL_SERVICE_NAME OTEL_TRACES_SAMPLER
        NVIDIA_VISIBLE_DEVICES CUDA_VISIBLE_DEVICES OMP_NUM_THREADS HTTP_PROXY NO_PROXY
        APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL LOGGING_LEVEL_ROOT GIT_REVIEW
    """
    assert remarks(others.split(), Settings.model_fields, 1, 1) == []


def test_more_workers_than_cpus_are_remarked() -> None:
    (said,) = remarks([], Settings.model_fields, workers=64, cpus=2)
    assert said.startswith("WORKERS=64 and this process may use 2 CPUs")
    assert said.endswith("use WORKERS=2")
    assert remarks([], Settings.model_fields, workers=2, cpus=2) == []


def test_remarks_are_in_the_log_of_a_service_that_starts(tmp_path: Path) -> None:
    with started(tmp_path, API_KEY="k") as server:
        server.wait_for("failed")  # there is no model
        server.stop()
        assert server.process.stderr is not None
        assert "did you mean API_KEYS?" in server.process.stderr.read()
