"""`python -m benchmarks.hostile [WORDS]`: what hostile requests cost; of kinds with these words."""

from __future__ import annotations

import os
import sys

from benchmarks.hostile.kinds import KINDS
from benchmarks.hostile.measure import cost_of, faults
from benchmarks.resilience.service import prepare, serving


def main() -> int:
    """Print a table in Markdown.

    Returns:
        0 when nothing cost more than it may, else 1.
    """
    words = " ".join(sys.argv[1:])
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    site = prepare()
    bad = 0
    print("| request | status | memory at the peak | longest wait of `/healthz` | |")
    print("|---|---|---|---|---|")
    with serving(site, site.iris) as service:
        for kind in (kind for kind in KINDS if words in kind.name):
            cost = cost_of(kind, service.port, service.process.pid)
            found = faults(kind, cost)
            bad += len(found)
            memory = f"+{cost.grown / 1e6:.0f} MB"
            wait = f"{cost.wait * 1000:.0f} ms"
            print(
                f"| {kind.name} | {cost.status} | {memory} | {wait} | {', '.join(found)} |",
                flush=True,
            )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
