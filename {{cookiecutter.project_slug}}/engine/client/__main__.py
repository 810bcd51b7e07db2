"""`python -m engine.client TASK`: verify a service from inside of its network.

Only a deploy runs it, in the service's own image; see ``engine.client.inside``. The API key comes
from LOAD_API_KEY. Exit code 0: verified; 1: not, and the last line says why; 2: wrong usage.
"""

from __future__ import annotations

import sys

from engine.client.inside import read_task, run
from engine.errors import EngineError
from engine.serving.proxies import keep_local_direct

WRONG_USAGE = 2


def main(arguments: list[str]) -> int:
    """The command line; its exit code."""
    keep_local_direct()
    try:
        (text,) = arguments
        task = read_task(text)
    except (EngineError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USAGE
    code, line = run(task, lambda text: print(text, flush=True))
    print(line, flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
