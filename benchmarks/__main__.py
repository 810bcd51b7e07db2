"""`python -m benchmarks`: measure the service beside other servers; --help lists the options."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks import prepare, report, results, wrk
from benchmarks.curves import measure_curves
from benchmarks.environments import BUILD, ROOT
from benchmarks.loads import LOADS
from benchmarks.measure import measure, say
from benchmarks.servers import SERVERS


def main() -> int:
    """Measure, then write results.json, results.md and benchmark.svg.

    Returns:
        0 when there is a report, 1 when nothing could be measured.
    """
    options = options_of()
    # Every child process that imports onnxruntime must know it before.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    # Ends like Ctrl-C: what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "results.json"
    if options.report:
        _write(results.load(kept), options)
        _keep_chart(options)
        return 0
    try:
        wrk.install()
    except wrk.LoadFailedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    found = results.Results(about=prepare.about(quick=options.quick))
    if options.resume and kept.exists():
        before = results.load(kept)
        if others := differences(before.about, found.about):
            print(f"error: {kept} is of another run: {others}", file=sys.stderr)
            return 1
        found = before
    plan = prepare.plan(
        found,
        prepare.Choice(
            servers=options.servers,
            models=options.models,
            quick=options.quick,
            repetitions=options.repetitions,
            seconds=options.seconds,
            template=options.template,
            out=options.out.resolve(),
            image=options.image,
        ),
    )
    try:
        measure(plan, found, kept)
        if options.curves and not found.curves:
            measure_curves(plan, found, every=2 if options.quick else 1)
    finally:
        # Also of a run that is cut off; --resume goes on with it.
        found.save(kept)
        _write(found, options)
    _keep_chart(options)  # not of a run that was cut off
    return 0 if found.samples else 1


def _write(found: results.Results, options: argparse.Namespace) -> None:
    report.write(found, options.out)
    say(f"wrote {options.out}/results.md, results.json and benchmark.svg")


def _keep_chart(options: argparse.Namespace) -> None:
    if options.chart:
        shutil.copy(options.out / "benchmark.svg", options.chart)


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What keeps one run from being the rest of the other; empty when nothing does."""
    return ", ".join(
        f"{name} {before.get(name)!r} before and {value!r} now"
        for name, value in now.items()
        if name != "date" and before.get(name) != value
    )


def names_of(given: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The names in a list with commas.

    Raises:
        argparse.ArgumentTypeError: one is not known; with those that are.
    """
    names = tuple(each.strip() for each in given.split(","))
    if unknown := [each for each in names if each not in known]:
        raise argparse.ArgumentTypeError(
            f"{', '.join(map(repr, unknown))} is none of {', '.join(known)}"
        )
    return names


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one configuration each, short loads: a few minutes"
    )
    servers = tuple(each.name for each in SERVERS)
    models = tuple(dict.fromkeys(each.model for each in LOADS))
    for option, known in (("--servers", servers), ("--models", models)):
        parser.add_argument(
            option,
            type=partial(names_of, known=known),
            default=known,
            help=f"some of {','.join(known)}; default: all",
        )
    parser.add_argument("--repetitions", type=int, help="default: 3; with --quick 1")
    parser.add_argument("--seconds", type=float, help="of each load; default: 4; with --quick 1")
    parser.add_argument("--no-curves", dest="curves", action="store_false")
    parser.add_argument("--out", type=Path, default=BUILD, help="folder of the results")
    parser.add_argument(
        "--template", type=Path, default=ROOT, help="checkout to render; default: this one"
    )
    parser.add_argument("--chart", type=Path, help="write the chart to this file too")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with a run that was cut off; give its options too",
    )
    parser.add_argument(
        "--image", action="store_true", help="build the CPU image too, for its size (needs Docker)"
    )
    parser.add_argument("--report", action="store_true", help="only write the last results anew")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
