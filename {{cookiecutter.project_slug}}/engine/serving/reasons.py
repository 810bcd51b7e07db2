"""What another library says about a failure, as part of a sentence of this service's."""

from __future__ import annotations

import re
from textwrap import shorten

MOST_CHARACTERS = 300
SHARED_LIBRARY = re.compile(r"lib[\w.+-]+\.so[.\d]*(?=: cannot open shared object)")
# ONNX Runtime's code, and the file, line and function of C++ before what it and XGBoost say.
NATIVE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from \S+ failed:"
    r"|(?:\[\d\d:\d\d:\d\d\] )?\S+\.(?:cc|cpp|cu|cuh|h|hpp):\d+:? "
    r"(?:[\w:~<>&*, ]*?::[\w:~<>&*, ]*?[\w>]\((?:[^()]|\([^()]*\))*\)"
    r"(?: const)?(?: \[with [^\]]*\])? )?"
)
# Where XGBoost, LightGBM and ONNX Runtime begin to list frames.
STACK = re.compile(r"\s*(?:Stack trace|\[bt\]|Traceback \(most recent call last\)).*", re.DOTALL)


def reason_of(error: BaseException) -> str:
    """The message of an error on one line, without C++ and cut between two words.

    The class's name alone where there is no message; what is missing, and the way out, where the
    error comes from a module or a system library that is not there.
    """
    text = NATIVE.sub("", STACK.sub("", str(error)))
    words = shorten(" ".join(text.split()), MOST_CHARACTERS, placeholder=" …").rstrip(".;:, ")
    return lacking(error) or words or type(error).__name__


def lacking(error: BaseException) -> str:
    """The sentence for an error that a missing module or system library caused; else empty."""
    library = SHARED_LIBRARY.search(str(error))
    if library is not None:
        return (
            f"it needs the system library {library[0]}, which is not installed here; install its "
            "Debian package, and add it to requirements/system.txt for the image"
        )
    if isinstance(error, ModuleNotFoundError) and error.name:
        file = error.name.partition(".")[0]
        return (
            f"it needs the module {error.name!r}, which is not here; a file of yours goes into the "
            f"package with --module {file}.py, a folder with --module {file}, and a library into "
            "requirements/serve-cpu.in (then run `make lock`)"
        )
    return ""
