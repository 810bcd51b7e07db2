"""Findings: one for each version that differs somewhere, with what it means and the fix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.serving.environment import Environment
from engine.serving.package.drift import Difference, Severity, differences
from engine.serving.package.lock import Lock
from engine.serving.package.manifest import Manifest

ORDER: tuple[Severity, ...] = ("refused", "risky", "harmless")
# Libraries that compute answers or carry them; the others only serve.
COMPUTE = frozenset(
    ("numpy", "scipy", "scikit-learn", "joblib", "pandas", "onnxruntime", "onnxruntime-gpu")
)
OLDEST_CUDA = 13


@dataclass(frozen=True, slots=True)
class Places:
    """What is compared with a manifest; ``image`` is None where none was named."""

    lock: Lock
    here: Environment
    image: Environment | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. ``versions`` are those of each side."""

    severity: Severity
    name: str
    versions: str
    reason: str
    fix: str = ""


def of_model(manifest: Manifest, places: Places) -> list[Finding]:
    """How training differs from lock, environment and image; the worst first."""
    found: dict[str, list[tuple[str, Difference]]] = {}
    lock, here, image = places.lock, places.here, places.image
    sides = [("lock", lock.one_each(), lock.python or here.python, lock.path.name)]
    sides.append(("here", here.packages, here.python, "this environment"))
    if image is not None:
        sides.append(("image", image.packages, image.python, "the image"))
    for side, packages, python, where in sides:
        for each in differences(manifest, packages, python, where):
            found.setdefault(each.name, []).append((side, each))
    findings = [_merged(name, sides_of) for name, sides_of in found.items()]
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))


def _merged(name: str, differing: list[tuple[str, Difference]]) -> Finding:
    worst = min((each for _, each in differing), key=lambda each: ORDER.index(each.severity))
    versions = [f"training {worst.trained}"]
    versions += [f"{side} {each.here or 'none'}" for side, each in differing]
    return Finding(worst.severity, name, ", ".join(versions), worst.reason, worst.fix)


def of_places(places: Places) -> list[Finding]:
    """How this environment and the image differ from the lock; the worst first."""
    findings = list(_from_lock(places.lock, places.here, "here", "rm -r .venv && make check"))
    if places.image is not None:
        fix = "make image"
        findings += _from_lock(places.lock, places.image, "image", fix)
        findings += _cuda(places.image)
    findings += _cuda(places.here)
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))


def _from_lock(lock: Lock, there: Environment, side: str, fix: str) -> Iterator[Finding]:
    for name, pins in lock.pins.items():
        version = there.packages.get(name)
        if version in pins or (version is None and name not in COMPUTE):
            continue
        yield Finding(
            "risky" if name in COMPUTE else "harmless",
            name,
            f"lock {' or '.join(sorted(pins))}, {side} {version or 'none'}",
            "what was tested is not what runs",
            fix,
        )
    minor = ".".join(there.python.split(".")[:2])
    if lock.python and minor != ".".join(lock.python.split(".")[:2]):
        yield Finding(
            "risky" if side == "image" else "harmless",
            "Python",
            f".python-version {lock.python}, {side} {there.python}",
            "the image has its own Python" if side == "here" else "the image was built for another",
            fix,
        )


def _cuda(there: Environment) -> Iterator[Finding]:
    """CUDA 13 needs a driver that offers it; NVIDIA: driver 580 or newer."""
    if "onnxruntime-gpu" not in there.packages or not there.cuda_driver:
        return
    if int(there.cuda_driver.split(".")[0]) < OLDEST_CUDA:
        yield Finding(
            "refused",
            "CUDA",
            f"lock {OLDEST_CUDA}, driver {there.cuda_driver}",
            "the CUDA libraries are newer than the driver of this machine",
            "use a machine with NVIDIA driver 580 or newer, or onnxruntime-gpu==1.26.0",
        )
