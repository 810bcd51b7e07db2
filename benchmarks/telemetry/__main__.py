"""`python -m benchmarks.telemetry`: what metrics, request lines and traces cost."""

from __future__ import annotations

import argparse
import os
import sys

from benchmarks import prepare, wrk
from benchmarks.environments import BUILD, environment, render_service
from benchmarks.telemetry.collector import collecting
from benchmarks.telemetry.measure import Compared, Site, compare, measure
from benchmarks.telemetry.variants import BASE, DEFAULT, VARIANTS, apart

OUT = BUILD / "telemetry"
# Most that what is on by default may add to the CPU time of a request.
ALLOWED = 1.05


def main() -> int:
    """Measure and print a table.

    Returns:
        0 when the default costs no more than is allowed, 1 when it does.
    """
    options = _options()
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    wrk.install()
    folder = render_service(OUT / "service")
    venv = environment("serve", folder / "requirements" / "serve-cpu.txt")
    scratch = OUT / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    site = Site(folder, venv / "bin" / "python", scratch)
    known = prepare.settings_of(site.python, folder)
    variants = [each for each in VARIANTS if not each.needs or each.needs in known]
    if options.only:
        variants = [each for each in variants if each.name in (BASE, *options.only)]
    default = None
    with collecting(scratch) as collector:
        for group in apart(variants):
            samples = []
            for sample in measure(
                group, site, collector, options.repetitions, options.clients, options.turns
            ):
                samples.append(sample)
                cpu = f"{sample.cpu_seconds * 1e6:.1f} µs CPU"
                print(f"telemetry: {sample.variant}: {sample.rate:.0f}/s, {cpu}", flush=True)
            rows = compare(samples)
            print(table(rows), flush=True)
            default = next((row for row in rows if row.variant == DEFAULT), default)
    if default is not None and default.cpu_ratio > ALLOWED:
        print(f"error: {DEFAULT} cost {default.cpu_ratio:.3f} of {BASE}, more than {ALLOWED}")
        return 1
    return 0


def table(rows: list[Compared]) -> str:
    """The comparison in Markdown."""
    lines = [
        "| telemetry | requests/s | CPU per request | requests/s, ratio | CPU, ratio |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.variant} | {row.rate:.0f} | {row.cpu_microseconds:.1f} µs | "
        f"{row.rate_ratio:.3f} | {row.cpu_ratio:.3f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--turns", type=int, default=6, help="seconds for each, in each repetition")
    parser.add_argument("--only", action="append", help="a variant to measure; may be repeated")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
