"""Why a container ends: memory, settings, a probe that kills it, its own exit code.

Exit codes of this service: 0 after a stop by signal, 1 when it cannot run here, 2 for wrong
settings. Azure docs, troubleshooting: 137 is SIGKILL, mostly out of memory; 7147 and 7148 are stops
by the platform.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.deploy.diagnosis.evidence import Container, Event, Evidence, State
from engine.deploy.diagnosis.words import complaints, last_line
from engine.deploy.finding import Certainty, Finding

KILLED, WRONG_SETTINGS, CANNOT_RUN = 137, 2, 1
CRASHES = 2
FOLLOWS = frozenset({"crash-loop", "provisioning-timeout", "provisioning-failed", "unreachable"})

# Exit code: what it means, what to do. 128 and more: ended by a signal.
_CODES = {
    125: ("the container runtime could not start it", "look at the events of the group"),
    126: ("its start command cannot be executed", "the image was changed: build it again"),
    127: ("its start command does not exist", "the image was changed: build it again"),
    128: ("its start command could not be run", "is the image built for linux/amd64?"),
    132: (
        "the processor does not know an instruction of a library (SIGILL)",
        "build for linux/amd64, with the locked packages",
    ),
    134: ("a library gave up (SIGABRT)", "read its log; run the image here with the same model"),
    135: ("it read memory that is not there (SIGBUS)", "shared memory may be full: fewer WORKERS"),
    139: (
        "a library crashed (SIGSEGV)",
        "run the image here with the same model; compare the locked versions",
    ),
}
_PLATFORM = {7147: "gracefully", 7148: "by force"}


def out_of_memory(evidence: Evidence) -> Iterator[Finding]:
    """Killed, and either Azure says that memory was the reason or nothing else explains it."""
    for container, end in _ends(evidence):
        said = "oom" in end.detail.lower()
        if end.exit_code != KILLED or not (said or not _liveness_failures(container)):
            continue
        has = f"{container.memory_gb:g} GB" if container.memory_gb else "its limit"
        yield Finding(
            "out-of-memory",
            f"the container was killed (exit code 137): it needs more memory than {has}",
            f"raise memory_gb in deploy/environments/{evidence.stage}.yaml; fewer WORKERS and a "
            "smaller MAX_BATCH_ROWS or MAX_QUEUE_BYTES need less",
            Certainty.CERTAIN if said else Certainty.LIKELY,
            (_told(container, end),),
            explains=FOLLOWS,
        )


def killed_by_probe(evidence: Evidence) -> Iterator[Finding]:
    """Azure killed it because it did not answer the liveness probe."""
    for container in evidence.containers:
        failures = _liveness_failures(container)
        killed = any(event.name == "Killing" for event in container.events)
        if failures and (killed or container.restarts):
            yield Finding(
                "liveness",
                f"Azure kills the container: {failures[-1].message}",
                "does it answer /healthz on its port in time? More cpu, or a longer timeout and "
                "initial delay under probes.liveness; a 503 means that its GPU is lost or that a "
                "run of a model does not end: the restart ends both",
                evidence=tuple(str(event) for event in failures[-2:]),
                explains=FOLLOWS,
            )


def wrong_settings(evidence: Evidence) -> Iterator[Finding]:
    """It ended with 2: a variable or a secret breaks its rule, and its log names each."""
    for container, end in _ends(evidence):
        if end.exit_code == WRONG_SETTINGS:
            named = complaints(evidence.logs)
            yield Finding(
                "settings",
                "the service refuses its settings: " + ("; ".join(named) or "its log names them"),
                f"correct `variables` in deploy/environments/{evidence.stage}.yaml, or the secret; "
                "docs/reference.md has the rules",
                Certainty.CERTAIN if named else Certainty.LIKELY,
                (_told(container, end), *named),
                explains=FOLLOWS,
            )


def cannot_run(evidence: Evidence) -> Iterator[Finding]:
    """It ended with 1 and said why."""
    for container, end in _ends(evidence):
        named = complaints(evidence.logs)
        if end.exit_code == CANNOT_RUN and named:
            yield Finding(
                "cannot-run",
                f"the service gave up: {named[-1]}",
                _fix_of(named[-1]),
                evidence=(_told(container, end), *named),
                explains=FOLLOWS,
            )


def known_exit_code(evidence: Evidence) -> Iterator[Finding]:
    """An exit code that says by itself what happened."""
    for container, end in _ends(evidence):
        if end.exit_code in _CODES:
            meaning, fix = _CODES[end.exit_code]
            yield Finding(
                f"exit-{end.exit_code}",
                f"the container ended with exit code {end.exit_code}: {meaning}",
                fix,
                Certainty.LIKELY,
                (_told(container, end), *complaints(evidence.logs)),
                explains=FOLLOWS,
            )
        elif end.exit_code in _PLATFORM:
            yield Finding(
                "platform-stop",
                f"Azure itself stopped the container ({_PLATFORM[end.exit_code]}), for maintenance",
                "nothing to do: it starts again; one container group is not always there",
                Certainty.POSSIBLE,
                (_told(container, end),),
            )


def crash_loop(evidence: Evidence) -> Iterator[Finding]:
    """It ends again and again, and its exit code does not say why."""
    for container in evidence.containers:
        backing_off = container.current and "CrashLoopBackOff" in container.current.detail
        if evidence.stopped or not (container.restarts >= CRASHES or backing_off):
            continue
        code = container.ends[0].exit_code if container.ends else None
        words = complaints(evidence.logs)
        last = words[-1] if words else last_line(evidence.logs)
        how = "without an error (exit code 0)" if code == 0 else f"with exit code {code}"
        yield Finding(
            "crash-loop",
            f"the container ends again and again, {how}, {container.restarts} times so far"
            + (f"; its last words: {last}" if last else "; its log is empty"),
            "run the same image here: `make run-image`; `make check` looks at the models",
            Certainty.LIKELY,
            tuple(_told(container, end) for end in container.ends),
            explains=FOLLOWS - {"crash-loop"},
        )


def _ends(evidence: Evidence) -> Iterator[tuple[Container, State]]:
    """How each container ended last; a stop on purpose is no such end."""
    if evidence.stopped:
        return
    for container in evidence.containers:
        if container.ends:
            yield container, container.ends[0]


def _liveness_failures(container: Container) -> tuple[Event, ...]:
    return tuple(
        event for event in container.events if "liveness probe failed" in event.message.lower()
    )


def _told(container: Container, end: State) -> str:
    reason = f" ({end.detail})" if end.detail else ""
    return (
        f"container {container.name}: exit code {end.exit_code}{reason}, "
        f"{container.restarts} restart(s)"
    )


def _fix_of(complaint: str) -> str:
    lowered = complaint.lower()
    if "cuda" in lowered or "gpu" in lowered or "execution provider" in lowered:
        return (
            "no usable GPU: on Container Instances there is none, so set accelerator: cpu in "
            "deploy/project.yaml; on Container Apps set gpu: t4 or a100"
        )
    if "address already in use" in lowered or "cannot listen" in lowered:
        return "another process has the port: one port for each container of a group"
    return "correct what it says; `make check` and `make run-image` do the same here"


RULES = (
    out_of_memory,
    killed_by_probe,
    wrong_settings,
    cannot_run,
    known_exit_code,
    crash_loop,
)
