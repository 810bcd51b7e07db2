"""Signals as a terminal leaves them: `nohup` and `&` make all children ignore some."""

from __future__ import annotations

import signal


def restore() -> None:
    """Give ignored signals their default again, so that programs under test heed them."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
