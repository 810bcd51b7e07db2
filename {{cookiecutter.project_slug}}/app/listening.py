"""The listening socket, from its opening to a close that resets nobody."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress

from app.errors import StartupError
from app.settings import Settings

BACKLOG = 2048
# From Linux's asm-generic/socket.h and linux/bpf_common.h; Python has no names for them.
SO_ATTACH_FILTER = 26
BPF_RETURN = 0x06


def listen(settings: Settings) -> socket.socket:
    """A listening socket.

    Raises:
        StartupError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = (settings.host, settings.port)
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise StartupError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; "
            "choose another address with HOST and PORT"
        ) from None


def accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """All connections that wait to be accepted; the listener must not block.

    Raises:
        OSError: one could not be accepted: its client is gone, or descriptors have run out.
    """
    with suppress(BlockingIOError):
        for _ in range(BACKLOG):
            yield listener.accept()[0]


def turn_away(listener: socket.socket) -> None:
    """Let no new connection begin, while those that have begun can still be accepted.

    Closing a listener resets what connects between the last ``accept`` and ``close``. A filter
    that drops every packet leaves a late client to try again, and to be refused then.
    """
    if sys.platform == "linux":
        drop_all = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN, 0, 0, 0))
        program = struct.pack("HP", 1, ctypes.addressof(drop_all))
        # Where the kernel has no such filters, the gap of some microseconds remains.
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
