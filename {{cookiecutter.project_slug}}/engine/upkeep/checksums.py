"""`python -m engine.upkeep.checksums`: name the files of engine/ that differ from its manifest.

engine/CHECKSUMS has a line for each file, as `sha256sum` writes it. A difference is a remark and no
failure: the service runs with an edited engine, but the next update replaces it.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

ENGINE = Path(__file__).resolve().parents[1]
MANIFEST = "CHECKSUMS"


def checksums(engine: Path) -> dict[str, str]:
    """SHA-256 of each file by its path from the repository's root, the manifest itself left out.

    Caches and hidden files do not count.
    """
    found = {}
    for path in engine.rglob("*"):
        inside = path.relative_to(engine)
        left_out = any(part == "__pycache__" or part.startswith(".") for part in inside.parts)
        if path.is_file() and not left_out and inside.as_posix() != MANIFEST:
            name = f"{engine.name}/{inside.as_posix()}"
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return dict(sorted(found.items()))


def written(sums: dict[str, str]) -> str:
    """The manifest's text."""
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def differences(engine: Path) -> list[str]:
    """Each file that is changed, missing or added, with that word; sorted by path.

    Raises:
        FileNotFoundError: There is no manifest.
    """
    lines = (engine / MANIFEST).read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = checksums(engine)
    words = dict.fromkeys(listed.keys() - found.keys(), "missing")
    words |= dict.fromkeys(found.keys() - listed.keys(), "added")
    words |= {
        name: "changed" for name in listed.keys() & found.keys() if listed[name] != found[name]
    }
    return [f"{name} ({word})" for name, word in sorted(words.items())]


def main() -> int:
    """Print one remark with the files that differ; always 0."""
    try:
        differing = differences(ENGINE)
    except FileNotFoundError:
        differing = [f"{ENGINE.name}/{MANIFEST} (missing)"]
    if differing:
        print(
            f"remark: {', '.join(differing)}: not as delivered. The service runs, but each "
            "update has to merge these files; engine/README.md says what to change instead."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
