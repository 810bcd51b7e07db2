"""Build the service's image, and run it here as the cloud would.

`python -m engine.deploy.image build` tells the Dockerfile what identifies the build: the names and
the version of pyproject.toml, the git revision, the digest of the models.
`python -m engine.deploy.image run` starts the image with a read-only root, without capabilities, on
127.0.0.1 only.

The environment variable DOCKER names the client (default: docker).
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.serving.installed import locked_packages

with locked_packages(".venv/.deploy"):
    import yaml

    from engine.deploy import git
    from engine.deploy.docker import (
        CONTAINER_PORT,
        NO_GPUS,
        BuildOptions,
        DockerError,
        RunOptions,
        build_command,
        client,
        edge_build_command,
        run_command,
    )
    from engine.deploy.outcome import write_output
    from engine.errors import EngineError
    from engine.serving.errors import PackageError
    from engine.serving.package.digest import models_digest
    from engine.serving.release import Release, read_release

ROOT = Path(__file__).resolve().parents[2]
BUILDX_SINCE = 23
"""Docker clients before this one build with BuildKit by themselves."""
_NO_BUILDX = (
    "{} has no buildx, which it needs to build: install it, or name another client: "
    "make image DOCKER=/usr/bin/docker"
)


def git_revision(root: Path = ROOT) -> str:
    """The commit of a checkout, with ``-dirty`` if files differ from it; "unknown" without one.

    Raises:
        EngineError: git refuses to work here.
    """
    try:
        commit = git.ask(root, "rev-parse", "--verify", "--quiet", "HEAD")
        changed = git.ask(root, "status", "--porcelain", "--", ".")
    except git.NothingThere:
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def current_release(root: Path = ROOT) -> Release:
    """The release that a build of this checkout makes.

    Raises:
        EngineError: git refuses to work here.
        PackageError: there is no model package to build in.
    """
    return read_release(models_digest(root / "models"), git_revision(root), root / "pyproject.toml")


def default_accelerator(root: Path = ROOT) -> str:
    """What deploy/project.yaml says: "cpu" or "gpu"."""
    project = yaml.safe_load((root / "deploy" / "project.yaml").read_text(encoding="utf-8"))
    return str(project["accelerator"])


def build(options: BuildOptions) -> None:
    """Build the image; docker's own output shows the progress.

    Raises:
        EngineError: git refuses to work here.
        DockerError: docker is missing, or the build failed.
        PackageError: there is no model package to build in.
    """
    _find_lock(options.accelerator)
    command = build_command(client(), current_release(), options)
    _show(command)
    # The Dockerfile's mounts need BuildKit; Docker 23 and newer use it without being told.
    # Without attestations of its own the image is one manifest, whose digest names the image.
    environment = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode  # noqa: S603
    if status != 0:
        raise DockerError(
            _NO_BUILDX.format(command[0])
            if _lacks_buildx(command[0])
            else f"docker build failed (exit code {status}); the cause is above"
        )


def wants_edge(root: Path = ROOT) -> bool:
    """Whether an environment of a checkout has https, and so needs the image that ends it."""
    files = (root / "deploy" / "environments").glob("*.yaml")
    read = (yaml.safe_load(each.read_text(encoding="utf-8")) for each in files)
    return any(isinstance(each, dict) and each.get("https") for each in read)


def build_edge(
    tag: str, revision: str, base_image: str | None = None, *, pull: bool = False
) -> str:
    """Build the image that ends HTTPS, of this checkout's commit; its id.

    Raises:
        DockerError: docker is missing, or the build failed.
    """
    command = edge_build_command(client(), revision, tag, base_image, pull=pull)
    _show(command)
    environment = {**os.environ, "DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode  # noqa: S603
    if status != 0:
        raise DockerError(f"docker build of {tag} failed (exit code {status}); the cause is above")
    return image_id(tag)


def _find_lock(accelerator: str) -> None:
    """A project that was generated for the CPU has no lock of the GPU image."""
    source = f"requirements/serve-{accelerator}.in"
    if not (ROOT / source).with_suffix(".txt").exists():
        raise DockerError(
            f"requirements/serve-{accelerator}.txt is missing: write `-r ../engine/{source}` into "
            f"{source}, run `make lock` and commit both"
        )


def image_id(tag: str) -> str:
    """The id of an image that is here: ``sha256:…``, equal wherever the same image is loaded.

    Raises:
        DockerError: docker is missing, or has no such image.
    """
    command = [client(), "image", "inspect", "--format", "{{.Id}}", tag]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise DockerError(f"there is no image {tag}: build it with `make image`")
    return done.stdout.strip()


def run(options: RunOptions) -> None:
    """Become ``docker run``, so that Ctrl-C and SIGTERM reach it directly; does not return.

    Raises:
        DockerError: docker is missing.
    """
    command = run_command(client(), options)
    _show(command)
    os.execv(command[0], command)  # noqa: S606


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 with one line on stderr."""
    options = _parser().parse_args(argv)
    try:
        accelerator = options.accelerator or default_accelerator()
        names = read_release("", "")
        tag = options.tag or f"{names.name}:{names.version}-{accelerator}"
        if options.action == "build":
            told = BuildOptions(
                accelerator, tag, options.base_image, options.ca_bundle, pull=options.pull
            )
            build(told)
            write_output(**{"image-id": image_id(tag)})
            if options.edge and wants_edge():
                base, pull = options.edge_base_image, options.pull
                built = build_edge(options.edge, git_revision(), base, pull=pull)
                write_output(**{"edge-id": built})
            print(tag)
        else:
            gpus = options.gpus or ("all" if accelerator == "gpu" else NO_GPUS)
            run(RunOptions(tag, options.port, gpus, tuple(options.env), options.name))
    except (EngineError, DockerError, PackageError) as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--accelerator", choices=("cpu", "gpu"), help="default: that of deploy/project.yaml"
    )
    shared.add_argument("--tag", help="default: <name>:<version>-<accelerator>")
    parser = argparse.ArgumentParser(prog="python -m engine.deploy.image", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    build_parser = actions.add_parser("build", parents=[shared], help="build the image")
    build_parser.add_argument("--base-image", help="default: the Dockerfile's")
    edge_help = "also build the image that ends HTTPS, as TAG, if an environment has https"
    build_parser.add_argument("--edge", metavar="TAG", help=edge_help)
    build_parser.add_argument("--edge-base-image", help="default: that of engine/edge/Dockerfile")
    build_parser.add_argument("--ca-bundle", help="certificates that pip trusts in the build")
    build_parser.add_argument("--pull", action="store_true", help="look for a newer base image")
    run_parser = actions.add_parser("run", parents=[shared], help="run the image on 127.0.0.1")
    run_parser.add_argument("--port", type=int, default=CONTAINER_PORT, help="default: %(default)s")
    run_parser.add_argument("--gpus", help="docker's --gpus, or none; default: all for a GPU image")
    run_parser.add_argument(
        "--env", action="append", default=[], metavar="NAME[=VALUE]", help="a setting; repeatable"
    )
    run_parser.add_argument("--name", help="run in the background, as a container of this name")
    return parser


def _lacks_buildx(docker: str) -> bool:
    """Whether this is why a build failed."""
    version, buildx = (
        subprocess.run([docker, *each], capture_output=True, text=True, check=False)  # noqa: S603
        for each in (("version", "--format", "{{.Client.Version}}"), ("buildx", "version"))
    )
    major = version.stdout.strip().partition(".")[0]
    return buildx.returncode != 0 and major.isdigit() and int(major) >= BUILDX_SINCE


def _show(command: Sequence[str]) -> None:
    print(f"+ {shlex.join(command)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
