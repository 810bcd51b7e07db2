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

WRONG_SETTINGS = 2
CANNOT_RUN_HERE = 1


def main() -> int:
    """Serve; see README.md for the settings.

    Returns:
        0 after a stop by signal, 1 when the models cannot run here, 2 for wrong settings.
    """
    # ONNX Runtime reads it when it is imported, and would report usage over the network.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # What is imported lives as long as the process: the collector need not look through it, neither
    # now nor in each worker, whose pages would have to be copied for its marks.
    gc.disable()
    from engine.serving import server, workers
    from engine.serving.logs import setup as logs
    from engine.serving.remarks import remarks
    from engine.serving.runtimes.cpu import granted_cpus
    from engine.serving.settings import Settings, load_settings

    gc.freeze()
    gc.enable()
    try:
        settings = load_settings()
    except SettingsError as error:
        for fault in error.faults:
            print(f"error: {fault}", file=sys.stderr)
        return WRONG_SETTINGS
    logs.configure(settings)
    for each in remarks(os.environ, Settings.model_fields, settings.workers, granted_cpus()):
        logging.getLogger("engine.serving").warning(each)
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
