"""`python -m engine.deploy doctor ENV`: look at everything, and name what is wrong and what to do.

With `--log FILE` it reads a saved log, of a workflow's login for example, and asks nobody.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.deploy.commands.context import open_context
from engine.deploy.diagnose import diagnose
from engine.deploy.diagnosis.evidence import Evidence, Problem
from engine.deploy.diagnosis.gather import gather
from engine.deploy.finding import Certainty, Finding
from engine.deploy.say import Say
from engine.errors import EngineError

_WORDS = {
    Certainty.CERTAIN: "certain",
    Certainty.LIKELY: "likely",
    Certainty.POSSIBLE: "possible",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this command."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("environment", nargs="?", metavar="ENV", help="an environment")
    which.add_argument("--log", metavar="FILE", help="a saved log instead; -: standard input")


def run(options: argparse.Namespace, root: Path, say: Say) -> int:
    """Print the findings, or that it is healthy; 1 where something certain or likely is wrong.

    Raises:
        EngineError: Azure cannot be asked, or the log cannot be read.
    """
    if options.log:
        where, evidence = "the log", _read_log(options.log)
    else:
        where = options.environment
        say.step(f"looking at {where}")
        evidence = gather(open_context(where, root, say))
    findings = diagnose(evidence)
    text = report(where, evidence, findings, live=not options.log)
    print(say.redact(text))
    say.summary(f"```text\n{text}\n```")
    return 1 if any(each.certainty < Certainty.POSSIBLE for each in findings) else 0


def report(
    where: str, evidence: Evidence, findings: tuple[Finding, ...], *, live: bool = True
) -> str:
    """The findings, the surest first, each with its fix and its evidence."""
    lines = []
    if not findings:
        lines.append(f"{where} is healthy" if live else f"{where} shows nothing that is known here")
    for number, each in enumerate(findings, 1):
        lines += [f"{number}. {each.cause} ({_WORDS[each.certainty]})", f"   fix: {each.fix}"]
        lines += [f"   seen: {line}" for line in each.evidence]
    if live:
        lines += [f"readiness: {evidence.readiness.kind}"] if evidence.readiness else []
        lines += [f"could not be looked at: {what}" for what in evidence.unseen]
    return "\n".join(lines)


def _read_log(name: str) -> Evidence:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(errors="replace")
    except OSError as error:
        raise EngineError(f"{name} cannot be read: {error.strerror}", "name another file") from None
    lines = tuple(line for line in text.splitlines() if line.strip())
    return Evidence(problems=tuple(Problem(line) for line in lines), logs=lines)
