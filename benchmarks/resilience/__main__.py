"""`python -m benchmarks.resilience`: see that promises under stress are kept; --help for more."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from benchmarks.environments import BUILD
from benchmarks.resilience.overload import overload
from benchmarks.resilience.service import Site, prepare
from benchmarks.resilience.sigterm import sigterm
from benchmarks.resilience.slow_clients import slow_clients
from benchmarks.resilience.soak import soak
from benchmarks.resilience.verdict import Outcome, save, show

EXPERIMENTS: dict[str, Callable[..., Outcome]] = {
    "overload": overload,
    "sigterm": sigterm,
    "slow-clients": slow_clients,
    "soak": soak,
}


def main() -> int:
    """Run the chosen experiments.

    Returns:
        0 when every promise was kept, else 1.
    """
    options = _options()
    # Every child process that imports onnxruntime must know it before.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    site: Site = prepare()
    kept = True
    for name in options.experiments or EXPERIMENTS:
        outcome = EXPERIMENTS[name](site, quick=options.quick)
        print(f"\n{show(outcome)}\nwritten: {save(outcome, BUILD)}", flush=True)
        kept = kept and outcome.kept
    return 0 if kept else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resilience", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter loads, fewer repetitions")
    parser.add_argument("experiments", nargs="*", help=f"of {', '.join(EXPERIMENTS)}; default: all")
    options = parser.parse_args()
    if unknown := set(options.experiments) - set(EXPERIMENTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(EXPERIMENTS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
