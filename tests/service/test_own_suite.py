"""A rendered service passes its own tests and its own linters, in its own locked environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Rendered
from tests.once import BUILD
from tests.service.suite import assert_every_model_passes, copied, run_tests_of

DIFFERENCES = {
    ".cruft.json",
    "models/iris/model.joblib",
    "models/iris/model.onnx",
    "models/iris/model.yaml",
    "requirements/serve-cpu.in",
    "requirements/serve-cpu.txt",
}

OWN_IMPORTS = "import Extension, ServiceSettings\nfrom pydantic import Field\n"
OWN_SETTING = """service = Extension()


class Settings(ServiceSettings):
    limit: int = Field(10, gt=0, description="Largest value.")


service.settings(Settings)


def doubled(value):
    return 2 * value
"""

# What mypy knows of the packages and of files that did not change, kept with the environments.
MYPY = ("mypy", "--cache-dir", str(BUILD / "mypy-service"))


def run(python: Path, folder: Path, *arguments: str, **variables: str) -> None:
    """Run a module of the service's environment in a folder, usually the service's."""
    done = subprocess.run(
        [str(python), "-m", *arguments],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]


def test_its_own_tests_pass(rendered_service: Path, service_python: Path) -> None:
    assert_every_model_passes(service_python, rendered_service, ["iris"])


@pytest.mark.slow
def test_its_own_tests_hold_for_other_models(
    rendered_service: Path, service_python: Path, tmp_path: Path
) -> None:
    """Text labels from a DataFrame, no labels, an output of code, several inputs; no sample.

    tests/models/test_mlflow.py does the same with a Keras network alone.
    """
    service = copied(rendered_service, tmp_path / "service")
    program = str(Path(__file__).with_name("other_models.py"))
    done = subprocess.run(
        [str(service_python), program, str(tmp_path)],
        cwd=service,
        env={**os.environ, "PYTHONPATH": str(service)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shutil.rmtree(service / "models")
    (tmp_path / "models").rename(service / "models")
    assert_every_model_passes(service_python, service, ["churn", "scores", "percent", "pair"])


@pytest.mark.slow
def test_a_mistake_of_the_owner_is_named_in_one_sentence(
    rendered_service: Path, service_python: Path, tmp_path: Path
) -> None:
    """Wherever it is: an environment, the promise, a secret, a limit, or a workflow."""
    service = copied(rendered_service, tmp_path / "service")
    for path, good, bad in (
        ("deploy/environments/staging.yaml", "cpu: 1", "cpu: 99"),
        ("deploy/environments/production.yaml", "secrets: []", "secrets: [TOKEN]"),
        ("deploy/environments/production.yaml", '  LOG_LEVEL: "info"', '  LIMIT: "0"'),
        ("deploy/environments/production.yaml", "start_seconds: 600", "start_seconds: 1800"),
        ("service.py", "import Extension\n", OWN_IMPORTS),
        ("service.py", "service = Extension()\n", OWN_SETTING),
        ("load/slo.yaml", "users: 20", "users: 0"),
        (".github/workflows/ci.yml", "    timeout-minutes: ", "    # timeout-minutes: "),
    ):
        text = (service / path).read_text(encoding="utf-8")
        assert good in text, path
        (service / path).write_text(text.replace(good, bad, 1), encoding="utf-8")
    printed = run_tests_of(service_python, service, "tests/test_service.py").stdout
    for sentence in (
        r"deploy/environments/staging\.yaml:\d+: cpu is 99(\.0)?: ",
        r"LIMIT='0': Input should be greater than 0 \(default: 10\)",
        r"service\.py:\d+: error: Function is missing a type annotation",
        r"deploy\.yml: job production, step .* lacks TOKEN: \$\{\{ secrets\.TOKEN \}\}",
        r"job production: timeout-minutes is \d+, and a deploy to production can take \d+ minutes",
        r"slo\.yaml:\d+: users is 0: input should be greater than or equal to 1; correct it",
        r"ci\.yml: job \w+ has no time limit; add timeout-minutes",
    ):
        assert re.search(sentence, printed), printed
    assert "7 failed" in printed
    assert "During handling" not in printed
    assert "Traceback" not in printed and " def test_" not in printed


@pytest.mark.slow
def test_the_types_of_the_tests_of_the_machinery_are_right(
    rendered_service: Path, service_python: Path
) -> None:
    """They need the packages of the service, and follow its settings."""
    settings = str(rendered_service / "engine" / "mypy.ini")
    checked = (*MYPY, "--config-file", settings, "-p", "tests.engine")
    run(service_python, REPOSITORY, *checked, MYPYPATH=str(rendered_service))


def test_the_formats_differ_in_the_model_and_in_what_serves_it(rendered: Rendered) -> None:
    """So the README of the other format needs only those tests that read one of these."""
    one, other = (
        {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and not {".git", "__pycache__"} & set(path.relative_to(folder).parts)
        }
        for folder in (rendered("onnx"), rendered("joblib"))
    )
    different = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
    assert different == DIFFERENCES


@pytest.mark.slow
@pytest.mark.parametrize("model_format", ["onnx", "joblib"])
def test_training_again_gives_the_same_answers(
    rendered: Rendered, service_python: Path, model_format: str, tmp_path: Path
) -> None:
    """`make train` reproduces the sample; the files are equal where the versions are."""
    folder = rendered(model_format)
    models = str(tmp_path / "models")
    run(service_python, folder, "training.train", "--models-dir", models, "--format", model_format)
    fresh, shipped = tmp_path / "models" / "iris", folder / "models" / "iris"
    assert (fresh / "golden.npz").read_bytes() == (shipped / "golden.npz").read_bytes()
    assert (fresh / "reference.json").read_bytes() == (shipped / "reference.json").read_bytes()
    model = f"model.{model_format}"
    assert (fresh / model).read_bytes() == (shipped / model).read_bytes()
