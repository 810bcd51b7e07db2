"""API keys, the page, metrics and logs: what is open, what is closed, what is never shown."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from engine.serving.pages.page import add_pages
from fastapi import FastAPI

from tests.engine.server import running, started

OLD, NEW = "old-key-0123456789ab", "new-key-0123456789ab"
BODY = {"data": [[1, 2, 3]]}


@pytest.fixture(scope="module")
def guarded(toy_dir: Path) -> Iterator[httpx.Client]:
    """A service that asks for one of two keys."""
    settings = {"DEFAULT_MODEL": "scale", "API_KEYS": f"{OLD},{NEW}"}
    with running(toy_dir, **settings) as server, httpx.Client(base_url=server.url) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [{"X-API-Key": OLD}, {"X-API-Key": NEW}, {"Authorization": f"Bearer {NEW}"},
     {"Authorization": f"bearer {OLD}"}],
)  # fmt: skip
def test_each_key_opens_inference(guarded: httpx.Client, headers: dict[str, str]) -> None:
    assert guarded.post("/predict", json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/predict/scale", "/v2/models/scale/infer"])
@pytest.mark.parametrize(
    "headers", [{}, {"X-API-Key": OLD[:-1]}, {"X-API-Key": ""}, {"Authorization": f"Basic {OLD}"}]
)
def test_inference_is_closed_without_a_key(
    guarded: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    answer = guarded.post(path, json=BODY, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert OLD[:-1] not in answer.text


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/v2", "/v2/models/scale", "/metrics", "/docs"]
)
def test_probes_and_documentation_stay_open(guarded: httpx.Client, path: str) -> None:
    answer = guarded.get(path)
    assert answer.status_code == 200
    assert OLD not in answer.text
    assert NEW not in answer.text


def test_the_documentation_says_that_a_key_is_needed(guarded: httpx.Client) -> None:
    document = guarded.get("/openapi.json").json()
    assert document["paths"]["/predict"]["post"]["security"] == [{"ApiKey": []}, {"Bearer": []}]


def test_without_keys_inference_is_open(toys: httpx.Client) -> None:
    assert toys.post("/predict", json=BODY).status_code == 200
    assert toys.get("/openapi.json").json()["paths"]["/predict"]["post"]["security"] == []


def test_metrics_count_what_happened(toys: httpx.Client) -> None:
    def count(line: str) -> float:
        lines = toys.get("/metrics").text.splitlines()
        return sum(float(each.split()[-1]) for each in lines if each.startswith(line))

    ok = 'inference_requests_total{route="predict",status="200"}'
    refused = 'inference_requests_total{route="predict",status="422"}'
    before = count(ok), count(refused)
    toys.post("/predict", json=BODY)
    toys.post("/predict", json={})
    assert (count(ok), count(refused)) == (before[0] + 1, before[1] + 1)
    assert count("inference_ready") == 1
    assert count('inference_batch_rows_count{model="scale"}') > 0


def test_the_page_needs_nothing_from_elsewhere(toys: httpx.Client) -> None:
    answer = toys.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http://" not in answer.text
    assert "https://" not in answer.text


@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("kind", ["script", "style"])
def test_the_policy_of_a_page_names_its_script_and_its_style(
    toys: httpx.Client, kind: str, path: str
) -> None:
    answer = toys.get(path)
    (content,) = re.findall(rf"<{kind}>(.*?)</{kind}>", answer.text, re.S)
    digest = b64encode(sha256(content.encode()).digest()).decode()
    assert f"{kind}-src 'sha256-{digest}';" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_names_in_a_page_are_text(path: str) -> None:
    """A title is the owner's own text and may hold anything."""
    app = FastAPI(title="<b>A & B</b>", description="$title ${x}", docs_url=None)
    add_pages(app, with_keys=True, with_page=True)

    async def read() -> str:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return (await client.get(path)).text

    text = asyncio.run(read())
    assert "<h1>&lt;b&gt;A &amp; B&lt;/b&gt;" in text
    assert "$title ${x}" in text


@pytest.mark.slow
def test_logs_are_json_lines_without_keys_or_payloads(toy_dir: Path) -> None:
    settings = {"DEFAULT_MODEL": "scale", "API_KEYS": OLD, "LOG_LEVEL": "debug"}
    with started(toy_dir, **settings) as server:
        server.wait_for("ready")
        body = {"data": [[123.456, 2, 3]]}
        assert httpx.post(f"{server.url}/predict", json=body, headers={"X-API-Key": OLD}).is_success
        assert server.stop() == 0
        assert server.process.stderr is not None
        written = server.process.stderr.read()
    events = [json.loads(line) for line in written.splitlines()]
    assert {"time", "level", "logger", "message"} <= set(events[0])
    assert "ready" in [event["message"] for event in events]
    assert OLD not in written
    assert "123.456" not in written
