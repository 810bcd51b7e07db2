"""`service.py`: what fits the engine, what is refused and how, and what it changes."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from engine.serving.api_version import SUPPORTED, api_fault
from engine.serving.errors import DeadlineExceeded, InvalidInput, SettingsError, StartupError
from engine.serving.extension import Arrays, Extension, Refused, ServiceSettings
from engine.serving.http.own_routes import route_faults
from engine.serving.inference import hooked
from engine.serving.inference.hooked import HookedModel
from engine.serving.inference.host import ServedModel
from engine.serving.inference.model import load_model
from engine.serving.inference.queue import Limits
from engine.serving.inference.service_hooks import HookFailed, ServiceHooks
from engine.serving.package.answers import Answers, read_answers, written
from engine.serving.package.digest import digest_of, find_packages
from engine.serving.package.manifest import read_manifest
from engine.serving.package.reader import read_package
from engine.serving.service import Service
from engine.serving.service_file import load_service_file
from engine.serving.service_imports import import_faults
from engine.serving.settings import Settings
from fastapi import APIRouter
from pydantic import Field, SecretStr

from tests.engine.asked import outcome_of, requested
from tests.engine.own_service import BEGIN, project
from tests.engine.project import ROOT

ROWS = {"x": np.array([[1, 2], [3, 4]], np.float32)}
OUTPUTS = {
    "label": np.array([1, 1]),
    "probabilities": np.array([[0.25, 0.75], [0.5, 0.5]], np.float32),
}


def written_file(folder: Path, text: str) -> Path:
    path = folder / "service.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("API = 1\n", None),
        ("API: int = 1\n", None),
        ("API = 2\n", "uses API 2, and this engine supports 1"),
        ("API = '1'\n", "uses API '1', and this engine supports 1"),
        ("API = True\n", "uses API True, and this engine supports 1"),
        ("VERSION = 1\n", "does not name the API version it uses; write for example API = 1"),
        ("API = 1 +\n", "cannot be read as Python"),
    ],
)
def test_a_file_for_another_engine_is_refused_without_running_it(
    tmp_path: Path, text: str, fault: str | None
) -> None:
    path = written_file(tmp_path, f"{text}raise SystemExit('it was run')\n")
    found = api_fault(path)
    assert (found is None) if fault is None else (found is not None and fault in found)


def test_an_update_can_ask_before_anything_is_installed(tmp_path: Path) -> None:
    """-S: no package but the standard library's."""
    path = written_file(tmp_path, "API = 7\n")
    ask = [sys.executable, "-S", "-m", "engine.upkeep.api"]
    refused, fits, absent = (
        subprocess.run([*ask, str(each)], cwd=ROOT, capture_output=True, text=True, check=False)
        for each in (path, ROOT / "service.py", tmp_path / "none.py")
    )
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1 and "API 7" in refused.stderr
    assert (fits.returncode, absent.returncode) == (0, 0), fits.stderr + absent.stderr
    assert SUPPORTED == (1,), "docs/service.md and the shipped service.py name the version"


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("1 / 0\n", r"service\.py, line 4: ZeroDivisionError: division by zero$"),
        ("service = None\n", r"must define service = Extension\(\)$"),
        ("@service.routes.get('/v2/about')\ndef about(): ...\n", "the route /v2/about may be one"),
        ("service.requests_hook\n", "line 4: AttributeError: .*requests_hook"),
        ("@service.start\nasync def go(): ...\n", "the hook go is async; write an ordinary"),
        ("API = 9\n", "uses API 9, and this engine supports 1"),
        ("import sys; sys.exit(3)\n", r"service\.py, line 4: SystemExit: 3"),
        ("import no_such\n", r"No module named 'no_such'; .* requirements/serve-cpu\.in"),
        ("@service.routes.get('about')\ndef about(): ...\n", "the route 'about' has to begin"),
        ("@service.routes.websocket('/ws')\ndef ws(): ...\n", "/ws is a APIWebSocketRoute; "),
        (
            "@service.routes.get('/a')\n@service.open_routes.get('/a')\ndef a(): ...\n",
            "GET /a is there twice",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(tmp_path: Path, code: str, sentence: str) -> None:
    with pytest.raises(StartupError, match=sentence):
        load_service_file(written_file(tmp_path, BEGIN + code))


def test_no_file_and_the_shipped_file_put_nothing_in_front_of_the_models(
    tmp_path: Path, toy_dir: Path
) -> None:
    for extension in (load_service_file(tmp_path / "service.py"), load_service_file()):
        service = Service(Settings(models_dir=str(toy_dir)), extension=extension)

        async def load(service: Service = service) -> None:
            await service.host.load()
            service.host.close()

        asyncio.run(load())
        assert {type(served) for served in service.host.models.values()} == {ServedModel}


def test_the_faults_of_all_settings_are_reported_at_once(tmp_path: Path) -> None:
    root = project(
        tmp_path / "project",
        "from pydantic import Field, SecretStr\n"
        "from engine.serving.extension import ServiceSettings\n"
        "class Own(ServiceSettings):\n"
        "    limit: float = Field(10, gt=0, description='Largest value.')\n"
        "    token: SecretStr | None = Field(None, min_length=20, description='Secret.')\n"
        "service.settings(Own)\n"
        "class More(ServiceSettings):\n"
        "    names: list[str] = Field(['a'], description='Languages.')\n"
        "names = service.settings(More).names[0]\n",
    )
    own = {"PORT": "abc", "LIMIT": "-1", "TOKEN": "too-short-to-show", "NAMES": "a,b"}
    done = subprocess.run(
        [sys.executable, "-m", "engine.serving"],
        cwd=root,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    port, limit, token, names = done.stderr.splitlines()
    assert port.startswith("error: PORT='abc': ")
    assert limit == "error: LIMIT='-1': Input should be greater than 0 (default: 10)"
    assert token.startswith("error: TOKEN=(hidden): ") and "too-short" not in done.stderr
    assert '"names"' in names and names.endswith('; write it as JSON, for example ["a", "b"]')
    table = subprocess.run(
        [sys.executable, "-m", "engine.serving.settings"],
        cwd=root, capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert "| `LIMIT` | `10` | Largest value. |" in table
    assert "| `PORT` | `8000` | " in table


def test_a_setting_is_named_although_the_file_fails_with_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIT", "many")
    code = (
        "from engine.serving.extension import ServiceSettings\n"
        "class Own(ServiceSettings):\n"
        "    limit: int = 0\n"
        "1 / service.settings(Own).limit\n"
    )
    with pytest.raises(SettingsError) as refused:
        load_service_file(written_file(tmp_path, BEGIN + code))
    setting, failure = refused.value.faults
    assert setting.startswith("LIMIT='many': ")
    assert failure.endswith("service.py, line 7: ZeroDivisionError: division by zero")


def test_a_setting_needs_a_default_and_a_name_of_its_own() -> None:
    class Needed(ServiceSettings):
        limit: float

    class Taken(ServiceSettings):
        port: int = 1

    class Fine(ServiceSettings):
        token: SecretStr = Field(SecretStr("secret"), description="Shown nowhere.")

    with pytest.raises(StartupError, match="LIMIT has no default"):
        Extension().settings(Needed)
    with pytest.raises(StartupError, match="PORT is a setting of the engine"):
        Extension().settings(Taken)
    assert Extension().settings(Fine).token.get_secret_value() == "secret"
    assert issubclass(SettingsError, StartupError)


def paths_of(routes: Any) -> list[str]:
    """Of all routes, those of included routers as well."""
    return [each.path for each in routes if hasattr(each, "path")]


def test_every_route_of_the_engine_is_reserved(toy_dir: Path) -> None:
    service = Service(Settings(models_dir=str(toy_dir)), extension=Extension())
    paths = paths_of(service.api.routes)
    assert {"/", "/metrics", "/v2", "/readyz", "/docs", "/openapi.json"} <= set(paths)
    for path in [*paths, "/predict", "/predict/iris", "/predictions", "/{name}", "/{name}/about"]:
        router = APIRouter()
        router.add_api_route(path, lambda: None)
        assert len(list(route_faults([router]))) == 1, path
    free = APIRouter()
    free.add_api_route("/about/{name}", lambda name: None)
    assert list(route_faults([free])) == []


def test_the_identity_of_a_release_covers_the_file_whatever_its_line_ends(
    tmp_path: Path, toy_dir: Path
) -> None:
    packages = find_packages(toy_dir)
    path = tmp_path / "service.py"
    without = digest_of(packages, path)
    path.write_bytes(b"API = 1\nLIMIT = 10\n")
    first = digest_of(packages, path)
    path.write_bytes(b"API = 1\r\nLIMIT = 10\r\n")
    other_ends = digest_of(packages, path)
    path.write_bytes(b"API = 1\nLIMIT = 11\n")
    assert other_ends == first
    assert len({without, first, digest_of(packages, path)}) == 3
    assert digest_of(packages) == digest_of(packages, ROOT / "service.py")


def hooks_of(
    sample_dir: Path,
    request: Callable[[str, Arrays], Any] | None = None,
    answer: Callable[[str, Arrays, Arrays], Any] | None = None,
    answers: Answers | None = None,
) -> ServiceHooks:
    extension = Extension()
    if request is not None:
        extension.request(request)
    if answer is not None:
        extension.answer(answer)
    return ServiceHooks(extension, read_manifest(sample_dir / "sides"), answers)


def test_a_request_hook_replaces_inputs_in_their_datatype(sample_dir: Path) -> None:
    def centimetres(model: str, inputs: Arrays) -> Arrays:
        assert model == "sides"
        return {"x": inputs["x"].astype(np.float64) * 100}

    given = hooks_of(sample_dir, centimetres).before(ROWS)
    assert given["x"].dtype == np.float32
    assert given["x"].tolist() == [[100, 200], [300, 400]]


def test_an_answer_hook_replaces_and_adds_outputs(sample_dir: Path) -> None:
    def more(model: str, inputs: Arrays, outputs: Arrays) -> Arrays:
        return {"label": [0, 1], "side": np.array(["left", "right"]), "sum": inputs["x"].sum(1)}

    after = hooks_of(sample_dir, answer=more).after(ROWS, OUTPUTS)
    assert after["label"].tolist() == [0, 1]
    assert after["side"].dtype == object and after["side"].tolist() == ["left", "right"]
    assert after["sum"].tolist() == [3, 7]
    assert after["probabilities"] is OUTPUTS["probabilities"]


def in_place(arrays: Arrays) -> None:
    arrays["x"][0, 0] = 9


def put(arrays: Any) -> None:
    arrays["x"] = np.zeros((2, 2), np.float32)


BAD_REQUESTS: dict[str, tuple[Callable[[Arrays], Any], str]] = {
    "raises": (lambda x: 1 / 0, "failed with ZeroDivisionError"),
    "another error of the engine's": (lambda x: x["y"], "failed with KeyError"),
    "ends the process": (lambda x: sys.exit(1), "failed with SystemExit"),
    "changes in place": (in_place, "failed with ValueError"),
    "puts another in": (put, "failed with TypeError"),
    "no mapping": (lambda x: [1], "returned list; return a dict of arrays, or None"),
    "unknown input": (lambda x: {"z": x["x"]}, "'z', which is no input"),
    "other rows": (lambda x: {"x": x["x"][:1]}, "changed the number of rows"),
    "other shape": (lambda x: {"x": x["x"][:, :1]}, r"takes \[-1, 2\]"),
    "other type": (lambda x: {"x": np.array([["a", "b"], ["c", "d"]])}, "as BYTES; it is FP32"),
    "not finite": (lambda x: {"x": x["x"] * np.nan}, "holds nan"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_what_a_request_hook_must_not_do_is_its_own_failure(sample_dir: Path, name: str) -> None:
    hook, sentence = BAD_REQUESTS[name]
    with pytest.raises(HookFailed, match=sentence):
        hooks_of(sample_dir, lambda _, inputs: hook(inputs)).before(ROWS)


BAD_ANSWERS: dict[str, tuple[Mapping[Any, Any], str]] = {
    "other rows": ({"sum": [1]}, r"'sum' with the shape \[1\] for 2 rows"),
    "no rows": ({"sum": 1}, r"'sum' with the shape \[\] for 2 rows"),
    "fractions for a label": ({"label": [0.5, 1]}, "'label' as FP64; it is INT64"),
    "other dimensions": ({"label": [[0], [1]]}, r"'label' with the shape \[2, 1\]"),
    "no datatype": ({"sum": np.array([1j, 2])}, "'sum' as ndarray; an array of numbers"),
    "objects": ({"sum": np.array([object(), 1])}, "'sum' as ndarray; an array of numbers"),
    "no text for a name": ({3: [1, 2]}, "with the name 3; names are text"),
    "an empty name": ({"": [1, 2]}, "with the name ''; a name has up to 100"),
    "a name with blanks": ({"a b\n": [1, 2]}, "a name has up to 100"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_what_an_answer_hook_must_not_return_is_its_own_failure(
    sample_dir: Path, name: str
) -> None:
    returned, sentence = BAD_ANSWERS[name]
    with pytest.raises(HookFailed, match=sentence):
        hooks_of(sample_dir, answer=lambda *_: returned).after(ROWS, OUTPUTS)


def test_an_added_output_comes_with_every_answer(sample_dir: Path) -> None:
    golden = Answers(("",), {**OUTPUTS, "sum": np.array([1.5], np.float32)})
    returned: dict[str, Any] = {"sum": [1, 2]}
    hooks = hooks_of(sample_dir, answer=lambda *_: returned, answers=golden)
    assert hooks.after(ROWS, OUTPUTS)["sum"].dtype == np.float32
    returned["sum"] = [[1, 2], [3, 4]]
    with pytest.raises(HookFailed, match=r"'sum' with the shape \[2, 2\] for 2 rows"):
        hooks.after(ROWS, OUTPUTS)
    returned |= {"sum": [1, 2], "other": [1, 2]}
    with pytest.raises(HookFailed, match="'other', which does not come with the golden answers"):
        hooks.after(ROWS, OUTPUTS)
    returned.clear()
    with pytest.raises(HookFailed, match="no hook added"):
        hooks.after(ROWS, OUTPUTS)


def test_a_refusal_is_the_clients(sample_dir: Path) -> None:
    def refuse(*_: Any) -> None:
        raise Refused("too large", field="x", rule="at most 1")

    calls: tuple[Callable[[], object], ...] = (
        lambda: hooks_of(sample_dir, refuse).before(ROWS),
        lambda: hooks_of(sample_dir, answer=refuse).after(ROWS, OUTPUTS),
    )
    for call in calls:
        with pytest.raises(InvalidInput) as raised:
            call()
        assert raised.value.status == 422
        assert raised.value.body() == {
            "error": "too large", "code": "refused", "field": "x", "rule": "at most 1",
        }  # fmt: skip


def test_the_file_of_answers_keeps_every_value() -> None:
    outputs = {
        "text": np.array(["żółw", ""], np.object_),
        "number": np.array([np.nan, np.inf]),
        "flag": np.array([True, False]),
    }
    again = read_answers(written(Answers(("", "no, 'x' is\ttoo large", ""), outputs)))
    assert again.refusals == ("", "no, 'x' is\ttoo large", "")
    for name, array in outputs.items():
        assert again.outputs[name].dtype == array.dtype
        np.testing.assert_array_equal(again.outputs[name], array)


def test_hooks_that_never_end_make_the_process_not_live(
    sample_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooked, "THREADS", 2)
    end = threading.Event()
    told: list[str | None] = []

    def hang(model: str, inputs: Arrays) -> None:
        end.wait()

    async def requests() -> None:
        served = HookedModel(
            load_model(read_package(sample_dir / "sides"), Settings()),
            # No request gets as far as to the queue.
            cast(Any, SimpleNamespace(close=lambda: None)),
            0.1,
            hooks_of(sample_dir, hang),
            Answers((), {}),
            Limits(1, 100, 1000, 1.0, 1, stuck_seconds=0.0),
            told.append,
        )
        waiting = [outcome_of(served.post, requested(ROWS)) for _ in range(3)]
        for each in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(each, DeadlineExceeded)
        assert "the hooks of service.py have not ended for 0 s" in told
        assert None not in told
        end.set()
        # Both threads are free again, so this request comes as far as to the queue.
        with pytest.raises(AttributeError, match="post"):
            await outcome_of(served.post, requested(ROWS))
        assert told[-1] is None
        served.close()

    try:
        asyncio.run(requests())
    finally:
        end.set()  # or the threads would keep the tests from ending


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import json, numpy\nfrom fastapi import FastAPI\n", None),
        ("from engine.serving.extension import Extension\n", None),
        ("from engine.serving import extension\n", None),
        ("import engine.serving.settings\n", "may import engine.serving.extension only"),
        ("from engine.serving.inference import queue\n", "engine.serving.extension only"),
        (
            "def later():\n    import sklearn.svm\n",
            "line 2: imports sklearn.svm; the image has",
        ),
        ("from rules import LIMIT\n", "imports rules; the image has no such module: put the code"),
        ("from . import rules\n", "the image has no such module"),
    ],
)
def test_what_is_imported_and_not_in_the_image_is_named(
    tmp_path: Path, code: str, fault: str | None
) -> None:
    """Whatever this environment has: the lock of what is served decides."""
    found = import_faults(written_file(tmp_path, code), ["numpy", "fastapi"])
    assert (found == []) if fault is None else re.search(fault, "".join(found)), found
