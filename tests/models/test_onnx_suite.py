"""ONNX's own backend test suite, packaged, served, and asked over HTTP.

The suite comes with the `onnx` package: small models for every operator, with inputs and expected
outputs. Whatever the protocol can carry and ONNX Runtime can run answers as the suite expects.
`make test` takes one case of eight, `make test-all` all of them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models import asking
from tests.service.running import running

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("onnx_suite.py")
# JSON knows neither NaN nor infinity, so every so-manieth case is asked in JSON as well.
EVERY, MOST_IN_JSON = 10, 500_000

# What is left out: a pattern of the packager's refusal, how many cases it is at most, and the
# reason. Other versions of onnx and onnxruntime change the numbers.
LEFT_OUT: tuple[tuple[str, int, str], ...] = (
    (
        "which the Open Inference Protocol cannot carry",
        164,
        "4- and 8-bit floats, 2- and 4-bit integers: the protocol has no name for them",
    ),
    (
        "carries tensors only|a value that is no tensor",
        29,
        "sequences and optionals: the protocol carries tensors",
    ),
    ("takes no input", 1, "a constant: there is nothing to ask"),
    (
        "IR version|is under development",
        78,
        "an operator set newer than the runtime's, which cannot be expressed in an older one",
    ),
    ("preview", 20, "preview and training operators, which the runtime does not have"),
    (
        "Could not find an implementation|Unrecognized attribute|bound to different types",
        38,
        "the runtime has no CPU kernel of this operator for this type",
    ),
    (
        "golden check failed|answers the same input differently",
        28,
        "the runtime answers outside the suite's tolerance (float32 DFT, random numbers, "
        "deviations that it documents), and the package is refused for that",
    ),
    (
        "the samples cannot be run|Exception during initialization",
        9,
        "the runtime refuses inputs that the operator allows",
    ),
    ("holds no rows", 2, "its inputs have no rows, and without rows nothing would be compared"),
)
STEP, FEWEST_SERVED = (1, 1655) if "ACI_ML_ALL" in os.environ else (8, 210)


@pytest.fixture(scope="module")
def suite(
    service_python: Path, rendered_service: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """The packaged cases and the report."""
    output = tmp_path_factory.mktemp("onnx-suite")
    done = subprocess.run(
        [service_python, PROGRAM, output, str(STEP)],
        cwd=rendered_service,
        env={**os.environ, "PYTHONPATH": str(rendered_service)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report: dict[str, Any] = json.loads((output / "report.json").read_text())
    return output, report


def reason_of(message: str) -> str | None:
    """The reason in the table that a refusal falls under."""
    for pattern, _, reason in LEFT_OUT:
        if re.search(pattern, message):
            return reason
    return None


def test_what_is_left_out_has_one_of_few_reasons(suite: tuple[Path, dict[str, Any]]) -> None:
    refused: dict[str, str] = suite[1]["refused"]
    counts = dict.fromkeys((reason for _, _, reason in LEFT_OUT), 0)
    for name, message in refused.items():
        reason = reason_of(message)
        assert reason is not None, f"{name}: {message}"
        counts[reason] += 1
    print(f"\n{len(suite[1]['packaged'])} cases packaged, {len(refused)} left out:")
    for reason, count in counts.items():
        print(f"{count:5} {reason}")
    for _, most, reason in LEFT_OUT:
        assert counts[reason] <= most, reason
    assert len(suite[1]["packaged"]) >= FEWEST_SERVED


def test_every_packaged_case_answers_as_the_suite_expects(
    suite: tuple[Path, dict[str, Any]], service_python: Path, rendered_service: Path
) -> None:
    output, report = suite
    cases: dict[str, dict[str, Any]] = report["packaged"]
    wrong: dict[str, str] = {}
    asked = 0
    for folder in sorted({case["folder"] for case in cases.values()}):
        models = {"MODELS_DIR": str(output / folder)}
        with running(service_python, rendered_service, **models) as url:
            client = asking.client(url)
            for number, (name, case) in enumerate(cases.items()):
                if case["folder"] != folder:
                    continue
                for samples in case["samples"]:
                    fault = answers_wrong(client, name, case, output / "sources" / samples, number)
                    asked += 1
                    if fault:
                        wrong[name] = fault
    print(f"\n{asked} sets of inputs of {len(cases)} cases asked over HTTP")
    assert not wrong
    assert asked >= len(cases) >= FEWEST_SERVED


def answers_wrong(client: Any, name: str, case: dict[str, Any], path: Path, number: int) -> str:
    """What is wrong with the answer to one set of inputs; empty where nothing is."""
    with np.load(path) as archive:
        arrays = dict(archive)
    inputs, expected = asking.stored(arrays, "input"), asking.stored(arrays, "output")
    ways = [True] + [False] * (number % EVERY == 0 and json_can_carry(arrays))
    for binary in ways:
        try:
            got = asking.ask(client, name, inputs, binary=binary)
        except Exception as error:  # noqa: BLE001 - the client's own classes
            return f"{'binary' if binary else 'JSON'}: {error}"
        for output, value in expected.items():
            fault = asking.difference(value, got[output], case["rtol"], case["atol"])
            if fault:
                return f"{output}: {fault}"
    return ""


def json_can_carry(arrays: dict[str, asking.Array]) -> bool:
    """Finite numbers only, and not more than a body may have; float16 goes as raw bytes only."""
    return sum(value.size for value in arrays.values()) < MOST_IN_JSON and all(
        value.dtype != np.float16 and (value.dtype.kind != "f" or bool(np.isfinite(value).all()))
        for value in arrays.values()
    )
