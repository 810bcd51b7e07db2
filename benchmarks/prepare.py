"""Make ready what a run needs: the service, the models, the environments, the plan."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import (
    BUILD,
    ROOT,
    CannotInstallError,
    environment,
    installed_megabytes,
    pinned,
    render_service,
)
from benchmarks.image import image_megabytes
from benchmarks.launch import Site
from benchmarks.loads import LOADS, samples
from benchmarks.measure import Contender, Plan, say
from benchmarks.results import Results
from benchmarks.servers import SERVERS, Server

MAKE_MODELS = Path(__file__).with_name("make_models.py")
RUNTIME = "onnxruntime"


@dataclass(frozen=True)
class Choice:
    """What the command line asked for; None: as the kind of run has it.

    `template` is the checkout to render, `out` the folder of the results and of all that is made
    for them, but for the environments, which all runs share.
    """

    servers: tuple[str, ...]
    models: tuple[str, ...]
    quick: bool = False
    repetitions: int | None = None
    seconds: float | None = None
    template: Path = ROOT
    out: Path = BUILD
    image: bool = False


def plan(results: Results, choice: Choice) -> Plan:
    """Prepare everything; servers that cannot be installed are left out with a printed reason."""
    site = site_of(choice.out, choice.template)
    if choice.image and not results.image_mb:
        say("building the CPU image")
        try:
            results.image_mb = list(image_megabytes(site.venv / "bin" / "python", site.folder))
        except CannotInstallError as error:
            say(f"image: LEFT OUT: {error}")
            results.left_out["image"] = str(error)
    known = settings_of(site.venv / "bin" / "python", site.folder)
    contenders = []
    for server in SERVERS:
        if server.name in choice.servers:
            try:
                contenders.append(_contender(server, site, known, results, quick=choice.quick))
            except CannotInstallError as error:
                say(f"{server.title}: LEFT OUT: {error}")
                results.left_out[server.title] = str(error)
    return Plan(
        contenders=contenders,
        loads=tuple(
            load
            for load in LOADS
            if load.model in choice.models and (load.quick or not choice.quick)
        ),
        repetitions=choice.repetitions or (1 if choice.quick else 3),
        seconds=choice.seconds or (1 if choice.quick else 4),
        warm_seconds=1,
        site=site,
    )


def site_of(out: Path, template: Path = ROOT) -> Site:
    """The service rendered from a checkout, its environment, and the models that it made."""
    service = render_service(out / "service", template)
    locks = service / "requirements"
    scratch = out / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    site = Site(environment("serve", locks / "serve-cpu.txt"), service, out / "models", scratch)
    _make_models(site, environment("train", locks / "train.txt"))
    return site


def about(*, quick: bool) -> dict[str, str]:
    """When and where this was measured."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "revision": revision.stdout.strip() or "unknown",
        "machine": f"{len(os.sched_getaffinity(0))} CPUs, {models[0] if models else 'unknown'}",
        "python": platform.python_version(),
        "run": "quick" if quick else "full",
    }


def _contender(
    server: Server, site: Site, known: set[str], results: Results, *, quick: bool
) -> Contender:
    venv, folder = site.venv, server.folder or site.folder
    if server.lock:
        ours = pinned(site.folder / "requirements" / "serve-cpu.txt", RUNTIME)
        theirs = pinned(server.lock, RUNTIME)
        if ours != theirs:
            raise CannotInstallError(
                f"its lock has {RUNTIME} {theirs} and the service {ours}; "
                "run python -m benchmarks.lock"
            )
        venv = environment(server.lock.parent.name, server.lock)
    if server.kind != "limit":
        results.installed_mb[server.name] = installed_megabytes(venv)
    configurations = []
    for each in server.configurations:
        if each.needs and each.needs not in known:
            reason = f"the service has no setting {each.needs}"
            say(f"{server.title} ({each.name}): LEFT OUT: {reason}")
            results.left_out[f"{server.title} ({each.name})"] = reason
        elif each.quick or not quick:
            configurations.append(each)
    return Contender(server, tuple(configurations), Site(venv, folder, site.models, site.scratch))


def _make_models(site: Site, train: Path) -> None:
    subprocess.run(
        [train / "bin" / "python", MAKE_MODELS, site.models], cwd=site.folder, check=True
    )
    for model in site.models.iterdir():
        for kept in model.glob("samples-*.npz"):
            rows = int(kept.stem.removeprefix("samples-"))
            # What the constant server answers: as long as ours, and right.
            answer = samples(site.models, model.name, rows)[1]
            text = json.dumps({"predictions": answer.astype(float).round(8).tolist()})
            (model / f"{rows}.json").write_text(text, encoding="utf-8")


def settings_of(python: Path, service: Path) -> set[str]:
    """The names of the service's settings, from the table that it prints of them."""
    table = subprocess.run(
        [python, "-m", "engine.serving.settings"],
        cwd=service,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in table.stdout.splitlines() if line.startswith("| `")]
    return {line.split("`")[1] for line in lines}
