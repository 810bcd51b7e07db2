"""`make profile`: measure a packaged model on this machine and recommend sizes and settings."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from engine.machine import doubt
from engine.packaging.rightsizing.chart import bars, svg
from engine.packaging.rightsizing.measure import MEGABYTE, Batch, Measurement
from engine.packaging.rightsizing.recommend import Advice, Model, advise
from engine.packaging.rightsizing.write import write
from engine.serving.errors import StartupError
from engine.serving.package.digest import find_packages
from engine.serving.package.manifest import read_manifest
from engine.serving.runtimes.cpu import granted_cpus

ROOT = Path(__file__).resolve().parents[3]
LIMIT_SECONDS = 600


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, draw, and write where asked."""
    asked = _parser().parse_args(arguments)
    try:
        directories = find_packages(asked.models_dir)
        chosen = [each for each in directories if asked.model in ("", each.name)]
        if len(chosen) != 1:
            names = [each.name for each in directories]
            print(f"error: name one model with --model; there are {names}", file=sys.stderr)
            return 2
        package = chosen[0]
        advice = _report(package, asked.max_rows, asked.requests_per_second, asked.chart)
        for stage in asked.write:
            path = ROOT / "deploy" / "environments" / f"{stage}.yaml"
            print(f"{path.relative_to(ROOT)}: {', '.join(write(path, advice))}")
    except (StartupError, ValueError, OSError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _report(package: Path, max_rows: int, wanted: float, chart: Path) -> Advice:
    unquiet = doubt()
    cpus = granted_cpus()
    threads = [1] if cpus == 1 else [1, cpus]
    measured = [_measure(package, each, max_rows, "cpu") for each in threads]
    cuda = _on_cuda(package, max_rows)
    model = describe(package)
    print(f"{package.name}: {model.parameters_mb:.1f} MB on disk, on {cpus} CPU(s) here")
    for each in [*measured, *([cuda] if cuda else [])]:
        what = "CUDA" if each.provider == "cuda" else f"{each.threads} thread(s)"
        print(f"{what}: loaded in {each.load_seconds:.2f} s, {each.peak_mb:.0f} MB at most")
        print("\n".join(bars(each)))
    advice = advise(model, measured, cuda, wanted)
    print(f"cpu: {advice.cpu:g}, memory_gb: {advice.memory_gb:g}", end="")
    print("".join(f", {name}={value}" for name, value in advice.variables.items()))
    print("\n".join(f"- {reason}" for reason in advice.reasons))
    if unquiet is not None:
        print(f"note: {unquiet}")
    chart.parent.mkdir(parents=True, exist_ok=True)
    chart.write_text(svg(package.name, [*measured, *([cuda] if cuda else [])]), encoding="utf-8")
    print(f"chart: {chart}")
    return advice


def _measure(package: Path, threads: int, max_rows: int, providers: str) -> Measurement:
    command = [sys.executable, "-m", "engine.packaging.rightsizing.measure"]
    arguments = [str(package.resolve()), str(threads), str(max_rows), providers]
    done = subprocess.run(  # noqa: S603 - arguments as a list
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise ValueError(f"{package}: cannot be measured: {done.stderr.strip().splitlines()[-1]}")
    content = json.loads(done.stdout)
    content["batches"] = [Batch(**each) for each in content["batches"]]
    return Measurement(**content)


def _on_cuda(package: Path, max_rows: int) -> Measurement | None:
    """The measurement on a GPU, where this environment and machine have one."""
    if read_manifest(package).format == "joblib":
        return None
    from engine.serving.runtimes.providers import cuda_obstacle

    return None if cuda_obstacle() else _measure(package, 1, max_rows, "cuda")


def describe(package: Path) -> Model:
    """Format, size, and the domains of the operators."""
    manifest = read_manifest(package)
    size = sum((package / name).stat().st_size for name in manifest.files) / MEGABYTE
    domains: frozenset[str] = frozenset()
    if manifest.format == "onnx":
        import onnx

        graph = onnx.load(package / manifest.model_file, load_external_data=False).graph
        domains = frozenset(node.domain for node in graph.node)
    return Model(manifest.format, domains, size)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m engine.packaging.rightsizing", description=__doc__
    )
    add = parser.add_argument
    add("--model", default="", help="name of the package; not needed while there is only one")
    add("--models-dir", type=Path, default=Path("models"))
    add("--max-rows", type=int, default=256, help="largest batch to measure")
    add("--requests-per-second", type=float, default=0.0, help="of one row, to be answered")
    add("--chart", type=Path, default=Path("build/profile.svg"))
    add("--write", nargs="*", default=[], metavar="STAGE", help="into deploy/environments/STAGE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
