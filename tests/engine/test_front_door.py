"""A service behind an Azure Front Door: what reaches it another way gets a 403, probes aside."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from engine.client.failures import KeyRefused
from engine.client.refusals import refusal
from engine.client.service import Service, front_door
from engine.deploy.config.project import Project
from engine.deploy.config.rules import settings as rules
from engine.deploy.rollout.checks import ServiceChecks
from engine.deploy.say import Say
from engine.errors import EngineError
from engine.load import __main__ as load
from engine.serving.settings import Settings
from pydantic import ValidationError

from tests.engine.server import Server, running
from tests.engine.test_aci_document import environment
from tests.engine.test_deploy_config import PROJECT

ID = "0a1b2c3d-0000-4000-8000-00000000000f"
HEADER = "X-Azure-FDID"
BODY = b'{"data": [[1, 2, 3]]}'
OPEN = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
MORE = ("/", "/docs", "/nowhere", "/invocations", "/v1/models/scale:predict", "/%72eadyz/x")


@pytest.fixture(scope="module")
def server(toy_dir: Path) -> Iterator[Server]:
    """A service that trusts one Front Door."""
    with running(toy_dir, DEFAULT_MODEL="scale", TRUSTED_FRONT_DOOR_ID=ID.upper()) as server:
        yield server


def test_every_route_but_the_probes_wants_the_header(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/openapi.json").status_code == 403
        listed = client.get("/openapi.json", headers={HEADER: ID}).json()["paths"]
        routes = {path: next(iter(methods)) for path, methods in listed.items()}
        assert len(routes) > 15, "the routes are read from the service"
        for path, method in {**dict.fromkeys(MORE, "get"), **routes}.items():
            asked = path.replace("{name}", "scale").replace("{version}", "1")
            answer = client.request(method, asked)
            if path in OPEN:
                assert answer.status_code == 200, path
                continue
            assert answer.status_code == 403, path
            told = answer.json()
            assert (told["code"], told["field"]) == ("forbidden", HEADER)
            assert ID not in answer.text.lower()
            assert client.request(method, asked, headers={HEADER: ID}).status_code != 403, path


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [HEADER + ": "],
        [f"{HEADER}: {ID}0"],
        [f"{HEADER}: {ID[:-1]}"],
        [f"{HEADER}: {ID}, {ID}"],
        [f"{HEADER}: {ID}", f"{HEADER}: {ID}"],
        [f"{HEADER}: {ID}", "x-azure-fdid: 00000000-0000-4000-8000-000000000000"],
        [f"{HEADER}: \xff\xfe"],
        [f"X-Azure-FDID-2: {ID}"],
    ],
)
def test_a_header_that_is_not_exactly_the_one_passes_nothing(
    server: Server, lines: list[str]
) -> None:
    head = ["POST /predict HTTP/1.1", "Host: t", "Content-Type: application/json"]
    whole = [*head, f"Content-Length: {len(BODY)}", *lines, "", ""]
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall("\r\n".join(whole).encode("latin-1") + BODY)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 403
        assert answer.headers["connection"] == "close"
        assert json.loads(answer.read())["rule"].endswith("(TRUSTED_FRONT_DOOR_ID)")


def test_a_head_that_is_known_is_known_with_its_header(server: Server) -> None:
    """The second request of a kind does not pass the parser."""
    with httpx.Client(base_url=server.url, headers={"Content-Type": "application/json"}) as client:
        for _ in range(3):
            answer = client.post("/predict", content=BODY, headers={HEADER: ID.upper()})
            assert answer.status_code == 200, answer.text
            assert client.post("/predict", content=BODY).status_code == 403


def test_a_body_that_is_refused_is_not_read(server: Server) -> None:
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Length: 9999999\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 403


def test_commands_of_an_environment_send_its_id(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = environment(variables={"trusted_front_door_id": ID})
    checks = ServiceChecks(given, Path(), Say(), lambda error: error)
    assert "serves" in checks.verify(server.url, {}, None)
    with Service(server.url, None, 5) as service:
        assert service.get("/v2").status_code == 403
    monkeypatch.setenv("TRUSTED_FRONT_DOOR_ID", ID)
    with Service(server.url, None, 5) as service:
        assert service.get("/v2").status_code == 200
    assert front_door({}) == {}
    refused = httpx.Response(403, json={"error": "through Azure Front Door only"})
    assert isinstance(refusal("POST /predict", refused), KeyRefused)


def test_a_load_test_of_an_environment_sends_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []

    def deployed(*_: object) -> None:
        asked.append(front_door(os.environ))
        raise EngineError("enough", "none")

    given = environment(variables={"TRUSTED_FRONT_DOOR_ID": ID})
    monkeypatch.setenv("TRUSTED_FRONT_DOOR_ID", "")
    monkeypatch.setattr(load, "_deployed", deployed)
    monkeypatch.setattr(load, "read_environment", lambda *_: (None, given))
    assert load.main(["--url", "http://127.0.0.1:9", "--env", "staging"]) == 1
    assert asked == [{HEADER: ID}]


@pytest.mark.parametrize("value", ["x", ID[:-1], f"{ID} ", f"{{{ID}}}"])
def test_what_is_no_id_stops_the_start(value: str) -> None:
    with pytest.raises(ValidationError, match="frontDoorId"):
        Settings(trusted_front_door_id=value)
    assert Settings(trusted_front_door_id=ID.upper()).trusted_front_door_id == ID


def test_the_id_is_where_commands_find_it_and_probes_ask_what_is_open() -> None:
    project = Project.model_validate(PROJECT)

    def broken(**fields: object) -> list[tuple[int | str, ...]]:
        return [each.at for each in rules.front_door(project, environment(**fields))]

    named: dict[str, object] = {"variables": {"TRUSTED_FRONT_DOOR_ID": ID}}
    assert broken(**named) == []
    assert broken(secrets=["TRUSTED_FRONT_DOOR_ID"]) == [("secrets", 0)]
    probes = {"readiness": {"path": "/ping"}}
    assert broken(**named, probes=probes) == [("probes", "readiness", "path")]
    assert broken(probes=probes) == []
