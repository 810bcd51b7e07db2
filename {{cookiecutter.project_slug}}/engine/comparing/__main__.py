"""`python -m engine.comparing`: are the models of this checkout as good as others?

The others are those of a folder, of an image, or of what an environment serves. What decides is
said by the options, else by `quality:` in load/slo.yaml. Exit code 0: not worse; 1: worse; 2: not
compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.serving.installed import locked_packages

with locked_packages(".venv/.dev"):
    from engine.comparing import report
    from engine.comparing.metrics import CLASS_METRICS, VALUE_METRICS
    from engine.comparing.run import Job, Result, run
    from engine.comparing.sides import BY_DIGEST, NoSuchModel, Side, from_folder, from_image
    from engine.deploy.baseline import ARCHIVE, IMAGE, read_baseline
    from engine.deploy.commands.baseline import served
    from engine.deploy.commands.context import open_context
    from engine.deploy.docker import DockerError, client, docker_run
    from engine.deploy.push import log_in
    from engine.deploy.say import Say, default_say
    from engine.errors import EngineError
    from engine.load.slo import Quality, read_slo
    from engine.scoring.errors import ScoringError
    from engine.scoring.files import open_rows
    from engine.serving.errors import StartupError
    from engine.serving.proxies import keep_local_direct
    from engine.serving.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
SLO = ROOT / "load" / "slo.yaml"
LOGS = ROOT / "build"
NOT_WORSE, WORSE, NOT_COMPARED = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; its exit code."""
    options = _parser().parse_args(argv)
    keep_local_direct()
    say = default_say()
    try:
        quality = read_slo(SLO).quality
        if options.gate is not None:
            return _gated(quality, options.gate, say)
        job = _job(options, quality)
        result = _compared(job, _other(options, say), ("the candidate", "the other"), say)
    except (EngineError, DockerError, ScoringError, StartupError) as error:
        print(f"error: {error}", file=sys.stderr)
        if options.gate is not None:
            say.summary(
                f"## Quality: NOT compared\n\n{error}\n\n**Fix**: correct that, or remove "
                "`quality:` from `load/slo.yaml` to deploy without a comparison"
            )
        return NOT_COMPARED
    return _told(result, "the other", say)


def _gated(quality: Quality | None, folder: Path, say: Say) -> int:
    baseline = read_baseline(folder)
    if quality is None or baseline.why:
        return _open(baseline.why or "load/slo.yaml has no `quality:`", say)
    docker_run(say, [client(), "load", "--input", str(folder / ARCHIVE)], dry_run=False)
    try:
        result = _compared(_of(quality), IMAGE, ("the candidate", "production"), say)
    except NoSuchModel as error:
        return _open(f"{error}, so there is nothing to compare it with", say)
    return _told(result, f"what production serves, `{baseline.image}`", say)


def _open(why: str, say: Say) -> int:
    print(f"no comparison: {why}")
    say.summary(f"## Quality: no comparison\n\n{why[:1].upper()}{why[1:]}.")
    return NOT_WORSE


def _told(result: Result, against: str, say: Say) -> int:
    print(report.text(result))
    say.summary(report.markdown(result, against))
    return WORSE if result.decides.verdict == "worse" else NOT_WORSE


def _compared(job: Job, other: str, titles: tuple[str, str], say: Say) -> Result:
    models = Path(load_settings().models_dir)
    open_rows(job.data)  # a file that is not there is said before anything starts
    with (
        _side(titles[1], other) as against,
        from_folder(titles[0], models, LOGS / "compare-candidate.log") as candidate,
    ):
        say.step(f"comparing on {job.data}")
        return run(job, candidate, against, say.detail)


def _other(options: argparse.Namespace, say: Say) -> str:
    """The other side: what is named, or the image that an environment serves."""
    if options.other:
        return str(options.other)
    if not options.env:
        raise ScoringError(
            "name what to compare with: OTHER=folder, OTHER=registry/image@sha256:… or "
            "ENV=production"
        )
    context = open_context(options.env, ROOT, say)
    found = served(context)
    if not found.image:
        raise ScoringError(f"{found.why}; name another side with OTHER=")
    log_in(context.az, say, context.project)
    return found.image


@contextmanager
def _side(title: str, other: str) -> Iterator[Side]:
    log, folder = LOGS / "compare-other.log", Path(other)
    if folder.is_dir():
        with from_folder(title, folder, log) as side:
            yield side
    elif BY_DIGEST.fullmatch(other) or other == IMAGE:
        with from_image(title, other, log) as side:
            yield side
    else:
        raise ScoringError(
            f"OTHER is {other!r}, which is no folder here and no image by its digest: name "
            "models/, a package in it, or registry/image@sha256:…"
        )


def _of(quality: Quality) -> Job:
    return Job(Path(quality.data), quality.label, quality.model, quality.metric, quality.margin)


def _job(options: argparse.Namespace, quality: Quality | None) -> Job:
    """What the options say, and `quality:` where they say nothing."""
    data = options.data or (Path(quality.data) if quality and quality.data else None)
    if data is None:
        raise ScoringError(
            "name a file of rows with right answers: DATA=labelled.csv, or `data` under "
            "`quality:` in load/slo.yaml"
        )
    base = _of(quality) if quality else Job(data)
    metric = options.metric or base.metric
    margin = base.margin if metric == base.metric else 0.0
    return Job(
        data,
        options.label or base.label,
        options.model or base.model,
        metric,
        margin if options.margin is None else options.margin,
        options.seed,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine.comparing", description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, metavar="DATA", help="rows, right answers")
    parser.add_argument("--other", metavar="WHAT", help="folder, or REGISTRY/NAME@sha256:DIGEST")
    parser.add_argument("--env", metavar="ENV", help="an environment, for what it serves now")
    parser.add_argument("--label", metavar="COLUMN", help="of right answers; default: label")
    parser.add_argument("--model", help="its name; needed where there are several")
    parser.add_argument("--metric", choices=(*CLASS_METRICS, *VALUE_METRICS), help="what decides")
    parser.add_argument("--margin", type=_margin, help="accepted loss of it; default: 0")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling")
    parser.add_argument("--gate", type=Path, metavar="DIR", help="with what baseline wrote there")
    return parser


def _margin(text: str) -> float:
    try:
        margin = float(text)
    except ValueError:
        margin = -1.0
    if not 0 <= margin < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0, such as 0.01")
    return margin


if __name__ == "__main__":
    sys.exit(main())
