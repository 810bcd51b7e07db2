"""Where a model comes from: versions, run, licence, as far as its files tell."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from engine.packaging.onnx_file import OnnxFile
from engine.packaging.options import Options
from engine.serving.errors import PackageError
from engine.serving.reasons import reason_of

PIN = re.compile(r"^\s*([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*={2,3}\s*([^\s;#,]+)")
# Versions that say something about the answers; an MLflow environment pins many others.
TELLING = (
    "scikit-learn", "numpy", "scipy", "pandas", "joblib", "cloudpickle", "xgboost", "lightgbm",
    "onnx", "onnxruntime", "skl2onnx", "tf2onnx", "tensorflow", "keras", "torch", "protobuf",
    "mlflow",
)  # fmt: skip
ALIASES = {
    "tensorflow-cpu": "tensorflow",
    "tensorflow-intel": "tensorflow",
    "sklearn": "scikit-learn",
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """The manifest's training section: ``section`` without versions, and the versions."""

    section: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    python: str = field(default_factory=platform.python_version)


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment that trained a model; ``python`` is empty where no file tells it."""

    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)

    def telling(self) -> dict[str, str]:
        """Versions of the libraries that shape answers."""
        return {name: self.packages[name] for name in TELLING if name in self.packages}


def read_environment(path: Path) -> Environment:
    """Read requirements.txt, conda.yaml or python_env.yaml, or all of them in a folder.

    Raises:
        PackageError: the file is missing or not what its name says.
    """
    if path.is_dir():
        known = ("requirements.txt", "conda.yaml", "python_env.yaml")
        parts = [read_environment(path / name) for name in known if (path / name).exists()]
        python = next((part.python for part in reversed(parts) if part.python), "")
        packages = {name: v for part in reversed(parts) for name, v in part.packages.items()}
        return Environment(python, packages)
    try:
        text = path.read_text(encoding="utf-8")
        return _from_yaml(text) if path.suffix in (".yaml", ".yml") else _from_lines(text)
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise PackageError(
            f"{path}: is not an environment file: {reason_of(error)}; give a requirements.txt or "
            "conda.yaml of the training"
        ) from None


def _from_lines(text: str) -> Environment:
    found = (PIN.match(line) for line in text.splitlines())
    pins = [(match[1].lower().replace("_", "-"), match[2]) for match in found if match]
    return Environment(packages={ALIASES.get(name, name): version for name, version in pins})


def _from_yaml(text: str) -> Environment:
    content: Any = yaml.safe_load(text)
    python = str(content.get("python", ""))
    lines: list[str] = list(content.get("build_dependencies", []))
    for entry in content.get("dependencies", []):
        if isinstance(entry, dict):
            lines += entry.get("pip", [])
        else:
            name, _, version = str(entry).partition("=")
            if name == "python":
                python = version.strip("=")
            else:
                lines.append(f"{name}=={version.strip('=').split('=')[0]}")
    return Environment(python, _from_lines("\n".join(map(str, lines))).packages)


def here(*names: str) -> dict[str, str]:
    """Versions of installed libraries."""
    return {name: metadata.version(name) for name in names}


def onnx_section(file: OnnxFile, path: Path, options: Options) -> dict[str, str]:
    """The manifest's training section, as far as an ONNX file tells it."""
    producer = f"{file.model.producer_name} {file.model.producer_version}".strip()
    opsets = ", ".join(f"{domain} {version}" for domain, version in sorted(file.opsets.items()))
    return {
        "estimator": f"ONNX, operator sets {opsets}"
        + (f", made by {producer}" if producer else ""),
        "data": options.data,
        "licence": options.licence or file.metadata("license") or file.metadata("licence"),
        "source": path.name,
    }
