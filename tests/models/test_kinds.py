"""Each kind of model that people have: packaged as it is and as ONNX, asked in rows and tensors.

Each answers as its library did in the process that trained it, on rows that are no samples, or is
refused. The table of docs/models.md is what comes of it. `make test` runs a dozen kinds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.models import asking
from tests.models.conftest import Served, runner

pytestmark = pytest.mark.slow

DOCUMENT = REPOSITORY / "{{cookiecutter.project_slug}}" / "docs" / "models.md"
FRESH = REPOSITORY / "build" / "kinds.md"
HEAD = ("| kind of model | as it is | as ONNX | rows in JSON | protocol |", "|---|---|---|---|---|")
TOLERANCE = {"as-is": 1e-5, "onnx": 1e-4}
# Of each group one that no other test of `make test` has.
CHOSEN = ("linear", "logistic", "forest", "histogram", "two-classes", "neighbours",
          "bayes", "process", "mlp", "clusters", "outliers", "pca-pipeline",
          "calibrated", "stacked", "majority", "search", "labels", "chain", "tf-idf",
          "hashing", "by-name", "by-position", "gaps", "filled", "strict", "module",
          "cloudpickled", "maps", "beside", "strings", "detections", "sequences",
          "dropout", "slashes", "tokenizer")  # fmt: skip
# Packages whose requests run alone: nothing but samples says how they treat rows, they do not
# answer each row by itself, or all answers to the samples are the same.
ALONE = {"module", "cloudpickled", "formula", "statsmodels", "detections", "tokenizer", "int8",
         "factor", "factor-onnx"}  # fmt: skip
MOST_CHARACTERS = 400
NOTHING = "-"
# What another processor may compute otherwise.
VALUES = re.compile(r"(?<=at )\[[\d, ]+\]|-?\d+\.\d+|\d+(?= of \d)|(?<=of )\d+")

Kinds = dict[str, dict[str, Any]]


def trained(program: Callable[..., str], folder: Path, *names: str) -> Kinds:
    """Train and package kinds of models, and read what came of it."""
    program("kinds.py", folder, *names, OMP_NUM_THREADS="1")
    kinds: Kinds = json.loads((folder / "kinds.json").read_text())
    assert not [each["fault"] for each in kinds.values() if "fault" in each]
    return kinds


def alone(folder: Path) -> set[str]:
    """The packages whose requests run alone."""
    manifests = [yaml.safe_load(path.read_text()) for path in folder.glob("models/*/model.yaml")]
    return {each["name"] for each in manifests if not each["independent_rows"]}


def lines(kinds: Kinds, wrong: dict[str, str]) -> tuple[list[str], list[str]]:
    """Rows of the table, and the refusals below it."""
    rows, refusals = [], []
    for name, each in kinds.items():
        cells = []
        for form in ("as-is", "onnx"):
            refusal = each["forms"].get(form)
            if refusal:
                refused = VALUES.sub("…", refusal)
                refusals.append(f"- {each['title']}{' as ONNX' * (form == 'onnx')}: {refused}")
            cells.append(NOTHING if refusal is None else "refused" if refusal else "yes")
        served = [form for form, refusal in each["forms"].items() if not refusal]
        for way in ("rows", "protocol"):
            faults = [wrong[key] for form in served if (key := f"{name} {form} {way}") in wrong]
            cells.append("; ".join(faults) or ("yes" if served else NOTHING))
        rows.append(f"| {each['title']} | {' | '.join(cells)} |")
    return rows, refusals


def asked(kinds: Kinds, url: str) -> dict[str, str]:
    """What is wrong with the answers, by kind, form and way of asking; empty where nothing is."""
    wrong: dict[str, str] = {}
    client = asking.client(url)
    for name, each in kinds.items():
        for form, refusal in each["forms"].items():
            model = name if form == "as-is" else f"{name}-onnx"
            for way, ask in {"rows": in_rows, "protocol": by_protocol}.items():
                if refusal:
                    continue
                try:
                    fault = ask(url, client, model, each, TOLERANCE[form])
                except Exception as error:  # noqa: BLE001 - clients raise their own classes
                    fault = f"{type(error).__name__}: {error}"
                if fault:
                    wrong[f"{name} {form} {way}"] = fault
    return wrong


def in_rows(url: str, _: Any, model: str, kind: dict[str, Any], tolerance: float) -> str:
    """Ask `/predict` for all rows, and for the first alone where rows are independent."""
    data = kind.get("records", kind.get("rows", kind.get("inputs")))
    parts: list[tuple[Any, slice]] = [(data, slice(None))]
    if isinstance(data, list):
        parts.append((data[:1], slice(0, 1)))
    for part, rows in parts:
        answer = httpx.post(f"{url}/predict/{model}", json={"data": part}, timeout=60)
        if answer.status_code != httpx.codes.OK:
            return answer.text
        content = answer.json()
        got = [content["predictions"], *content.get("outputs", {}).values()]
        wanted = [each[rows] for each in kind["answers"]]
        fault = compared([np.asarray(each) for each in got], wanted, tolerance)
        if fault:
            return fault
    return ""


def by_protocol(url: str, client: Any, model: str, kind: dict[str, Any], tolerance: float) -> str:
    """Ask with a client of the Open Inference Protocol, which makes tensors of the columns."""
    metadata = httpx.get(f"{url}/v2/models/{model}", timeout=60).json()
    inputs: dict[str, asking.Array] = {}
    for each in metadata["inputs"]:
        name, features = each["name"], each.get("parameters", {}).get("features", [])
        values = kind.get("inputs", {}).get(name, kind.get("rows"))
        if "records" in kind:
            keys = features or [name]
            values = [[row[key.replace("_", " ") if key not in row else key] for key in keys]
                      for row in kind["records"]]  # fmt: skip
        inputs[name] = typed(values, each)
    binary = any(not is_plain(value) for value in inputs.values())
    answers = asking.ask(client, model, inputs, binary=binary)
    return compared(list(answers.values()), kind["answers"], tolerance)


def typed(values: Any, tensor: dict[str, Any]) -> asking.Array:
    """Values as a tensor of the datatype that the metadata says."""
    datatype = tensor["datatype"]
    dtype: Any = {"BYTES": np.object_, "BOOL": np.bool_}.get(datatype)
    if dtype is None:
        kind = {"F": "float", "I": "int", "U": "uint"}[datatype[0]]
        dtype = np.dtype(f"{kind}{datatype.lstrip('FPINTU')}")
    array = np.array(values, dtype=dtype)
    if datatype == "BYTES":
        array = np.where(array == None, "", array)  # noqa: E711 - each element
    return array.reshape(-1, *tensor["shape"][1:]) if -1 not in tensor["shape"][1:] else array


def is_plain(array: asking.Array) -> bool:
    """Whether the client writes the values as JSON."""
    finite = array.dtype.kind != "f" or bool(np.isfinite(array).all())
    return array.dtype != np.float16 and finite


def compared(got: list[asking.Array], wanted: list[Any], tolerance: float) -> str:
    """The first difference; a model may have fewer outputs, which its packaging said."""
    if not 0 < len(got) <= len(wanted):
        return f"{len(got)} outputs instead of {len(wanted)}"
    for number, (one, other) in enumerate(zip(got, wanted, strict=False)):
        expected = np.asarray(other)
        if one.shape != expected.shape:
            return f"output {number} has {one.shape} instead of {expected.shape}"
        if expected.dtype.kind == "f":
            same = np.isclose(one.astype(float), expected, rtol=tolerance, atol=tolerance)
        else:
            same = one.astype(str) == expected.astype(str)
        if not same.all():
            return f"output {number}: {int((~same).sum())} of {same.size} values are wrong"
    return ""


def test_a_dozen_kinds_are_what_the_document_says(
    program: Callable[..., str], served: Served, tmp_path: Path
) -> None:
    kinds = trained(program, tmp_path, *CHOSEN)
    assert alone(tmp_path) == {each for each in ALONE if each.removesuffix("-onnx") in kinds}
    with served(tmp_path / "models") as url:
        wrong = asked(kinds, url)
        data = {"age": [31.5], "port": [None]}
        answer = httpx.post(f"{url}/predict/strict", json={"data": data})
        assert (answer.status_code, answer.json()["field"]) == (422, "data.port[0]")
    assert wrong == {}
    text = DOCUMENT.read_text(encoding="utf-8")
    rows, refusals = lines(kinds, wrong)
    assert [row for row in (*rows, *refusals) if row not in text.splitlines()] == []


@pytest.mark.exhaustive
def test_all_kinds_are_what_the_document_says(
    program: Callable[..., str],
    torch_python: Path,
    rendered_service: Path,
    served: Served,
    tmp_path: Path,
) -> None:
    # The second run of the program replaces what the first one says, and not its packages.
    kinds = trained(program, tmp_path)
    kinds |= trained(runner(torch_python, rendered_service), tmp_path, "pytorch")
    assert alone(tmp_path) == ALONE
    with served(tmp_path / "models") as url:
        wrong = asked(kinds, url)
    rows, refusals = lines(kinds, wrong)
    FRESH.write_text("\n".join([*HEAD, *rows, "", *refusals]) + "\n", encoding="utf-8")
    assert wrong == {}
    for refusal in refusals:
        assert ";" in refusal, "a refusal says the way out"
        assert len(refusal) < MOST_CHARACTERS
    wanted = FRESH.read_text(encoding="utf-8")
    assert wanted in DOCUMENT.read_text(encoding="utf-8"), f"{FRESH} is what docs/models.md lacks"
