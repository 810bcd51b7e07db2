"""`python -m engine.serving`: serve the models of MODELS_DIR over HTTP."""

from __future__ import annotations

# ruff: noqa: E402 - the first process of a container gets no signal that it does not handle: so the
# handlers are set before anything that takes long is imported.
import os
import signal
from types import FrameType


def stop_at_once(number: int, frame: FrameType | None) -> None:
    """End a process that has not begun to serve: it has nothing to finish."""
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop_at_once)
    signal.signal(signal.SIGINT, stop_at_once)
    # The image blocks them until here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))

import gc
import logging
import sys

from engine.serving.errors import SettingsError, StartupError
from engine.serving.installed import locked_packages
from engine.serving.proxies import keep_local_direct

WRONG_SETTINGS = 2
CANNOT_RUN_HERE = 1


def main() -> int:
    """Serve; see docs/reference.md for the settings.

    Returns:
        0 after a stop by signal, 1 when the models cannot run here, 2 for wrong settings.
    """
    # ONNX Runtime reads it when it is imported, and would report usage over the network.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    keep_local_direct()
    # What is imported lives as long as the process: the collector need not look through it, neither
    # now nor in each worker, whose pages would have to be copied for its marks.
    gc.disable()
    with locked_packages(".venv/.serve"):
        from engine.serving import server, workers
        from engine.serving.listening import allow_connections
        from engine.serving.logs import setup as logs
        from engine.serving.remarks import remarks
        from engine.serving.runtimes.cpu import granted_cpus
        from engine.serving.service_file import own_extension
        from engine.serving.settings import Settings, load_settings

    gc.freeze()
    gc.enable()
    faults: list[str] = []
    settings = None
    # All faults at once: those of the engine's settings and those of service.py.
    try:
        settings = load_settings()
    except SettingsError as error:
        faults += error.faults
    code = WRONG_SETTINGS
    known = set(Settings.model_fields)
    try:
        known |= {name for each in own_extension().own_settings for name in type(each).model_fields}
    except SettingsError as error:
        faults += error.faults
    except StartupError as error:
        faults.append(str(error))
        code = WRONG_SETTINGS if settings is None else CANNOT_RUN_HERE
    if settings is None or faults:
        for fault in faults:
            print(f"error: {fault}", file=sys.stderr)
        return code
    logs.configure(settings)
    for each in remarks(os.environ, known, settings.workers, granted_cpus()):
        logging.getLogger("engine.serving").warning(each)
    if few := allow_connections(settings.max_connections):
        logging.getLogger("engine.serving").warning(few)
    try:
        try:
            return server.serve(settings) if settings.workers == 1 else workers.serve(settings)
        finally:
            logs.finish()
    except StartupError as error:
        print(f"error: {error}", file=sys.stderr)
        return CANNOT_RUN_HERE


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Without waiting for threads: a run of a model, or a download, may take longer than a stop.
    os._exit(code)
