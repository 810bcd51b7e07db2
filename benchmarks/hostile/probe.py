"""`python -m benchmarks.hostile.probe PORT PID`: ask /healthz until standard input is closed.

Then prints the longest wait for an answer, in seconds. A process of its own: what the other
clients do must not delay it. While the service waits for a CPU that others use, a wait is not its
own; so one counts for at most the CPU time that the service took meanwhile.
"""

from __future__ import annotations

import http.client
import select
import sys
import time

EVERY_SECONDS = 0.005
# The kernel's number for the clock of a process, see clock_getcpuclockid(3): all its threads.
CPU_CLOCK = 2


def main() -> None:
    """Ask on one connection that is kept."""
    client = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=120)
    clock = ~int(sys.argv[2]) << 3 | CPU_CLOCK
    longest, first = 0.0, True
    while not select.select([sys.stdin], [], [], EVERY_SECONDS)[0]:
        began, used = time.perf_counter(), time.clock_gettime(clock)
        client.request("GET", "/healthz")
        answer = client.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"/healthz answers {answer.status}")
        if first:
            # The first one connects, and says that the others begin.
            print("ready", flush=True)
        else:
            own = time.clock_gettime(clock) - used
            longest = max(longest, min(time.perf_counter() - began, own))
        first = False
    print(longest)


if __name__ == "__main__":
    main()
