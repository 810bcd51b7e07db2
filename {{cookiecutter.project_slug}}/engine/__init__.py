"""The machinery of the service; see README.md. Updates replace this folder as a whole."""

import sys
from types import TracebackType

# Package of commands -> the environment of the Makefile that has what it imports.
_ENVIRONMENTS = {"deploy": ".deploy", "load": ".dev", "packaging": ".train", "upkeep": ".ci"}


def _report(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    """Answer `python -m engine.…` in a Python without the locked packages with one sentence."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    command = spec.name.removesuffix(".__main__") if spec else ""
    if not isinstance(error, ModuleNotFoundError) or not command.startswith("engine."):
        sys.__excepthook__(kind, error, at)
        return
    needed = _ENVIRONMENTS.get(command.split(".")[1], ".serve")
    print(
        f"error: {sys.executable} has no package {error.name!r}: run `make .venv/{needed}`, then "
        f"`.venv/bin/python -m {command}`",
        file=sys.stderr,
    )


sys.excepthook = _report
