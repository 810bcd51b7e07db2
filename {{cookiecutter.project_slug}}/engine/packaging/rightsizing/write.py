"""Write a recommendation into deploy/environments/<stage>.yaml, and leave all else as it is."""

from __future__ import annotations

import re
from pathlib import Path

from engine.packaging.rightsizing.recommend import Advice


def write(path: Path, advice: Advice) -> list[str]:
    """Change cpu, memory_gb and the variables; comments and order stay.

    Returns:
        The lines that changed.

    Raises:
        ValueError: the file has no line for one of them, or deploys to a GPU, whose sizes are
            not free.
    """
    text = path.read_text(encoding="utf-8")
    gpu = re.search(r"^gpu: *(\S+)", text, re.MULTILINE)
    if gpu is not None and gpu[1] != "none":
        raise ValueError(f"{path}: has gpu: {gpu[1]}, and then Azure fixes cpu and memory")
    cpu, memory = advice.cpu, advice.memory_gb
    if re.search(r"^target: *containerapps", text, re.MULTILINE):
        # Azure docs: "Containers in Azure Container Apps": memory is twice the CPU.
        cpu = max(cpu, memory / 2)
        memory = 2 * cpu
    changed = []
    for key, value in (("cpu", f"{cpu:g}"), ("memory_gb", f"{memory:g}")):
        text, line = _replace(text, key, value, path)
        changed.append(line)
    for key, value in advice.variables.items():
        text, line = _set_variable(text, key, value, path)
        changed.append(line)
    path.write_text(text, encoding="utf-8")
    return changed


def _replace(text: str, key: str, value: str, path: Path) -> tuple[str, str]:
    pattern = re.compile(rf"^{key}: *[0-9.]+", re.MULTILINE)
    if pattern.search(text) is None:
        raise ValueError(f"{path}: has no line `{key}: <number>`")
    line = f"{key}: {value}"
    return pattern.sub(line, text, count=1), line


def _set_variable(text: str, key: str, value: str, path: Path) -> tuple[str, str]:
    line = f'  {key}: "{value}"'
    present = re.compile(rf"^  {key}:.*$", re.MULTILINE)
    if present.search(text) is not None:
        return present.sub(line, text, count=1), line.strip()
    block = re.compile(r"^variables:.*$", re.MULTILINE)
    found = block.search(text)
    if found is None:
        raise ValueError(f"{path}: has no line `variables:`")
    head = re.sub(r" *\{ *\}", "", found[0])
    return text[: found.start()] + f"{head}\n{line}" + text[found.end() :], line.strip()
