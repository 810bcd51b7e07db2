"""Run a module with more arguments: `python -m engine.upkeep.words VARIABLE MODULE ARGUMENT...`.

The text of the environment variable is split into words as a shell splits it; nothing in it is
run. `make model OPTIONS="--licence 'CC BY 4.0'"` needs it.
"""

from __future__ import annotations

import os
import runpy
import shlex
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> None:
    """Put the words before the other arguments, and run the module as `python -m` does."""
    variable, module, *others = arguments
    text = os.environ[variable]
    try:
        words = shlex.split(text)
    except ValueError as error:
        sys.exit(f"error: {variable} is {text!r}: {str(error).lower()}; quote it as for a shell")
    sys.argv = [module, *words, *others]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
