"""The listening socket, from its opening to a close that resets nobody."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress

if sys.platform != "win32":
    import resource

from engine.serving.errors import StartupError
from engine.serving.settings import Settings

BACKLOG = 2048
ANY_IPV6 = "::"
# Files, sockets of the workers and of the exporters, beside the connections of clients.
OTHER_DESCRIPTORS = 200
# From Linux's tcp.h; Python 3.11 has no name for it.
TCP_NOTSENT_LOWAT = 25
# Answers that the kernel holds for one client beside those that are on their way. By itself it
# takes up to 4 MB (tcp_wmem), counted as the container's memory: a client that asks and never reads
# would be answered for minutes before anybody noticed.
UNSENT_BYTES = 128 * 1024
# From Linux's asm-generic/socket.h; Python has no name for it.
SO_ATTACH_FILTER = 26
# A classic BPF program, instruction by instruction: code, jump if true, jump if false, value.
DROP_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),  # load byte 13 of the TCP header: its flags
    (0x54, 0, 0, 0x12),  # of these SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone begins a connection
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)


def listen(settings: Settings) -> socket.socket:
    """A listening socket.

    Raises:
        StartupError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = (settings.host, settings.port)
    try:
        socket.getaddrinfo(*address, family=family)
        both = settings.host == ANY_IPV6 and socket.has_dualstack_ipv6()
        listener = socket.create_server(
            address, family=family, backlog=BACKLOG, dualstack_ipv6=both
        )
    except socket.gaierror as error:
        raise StartupError(
            f"HOST={settings.host!r} is not an address of this machine ({error.strerror}); set it "
            "to an IP address such as 127.0.0.1 or 0.0.0.0 (some shells and conda's compilers "
            "export a HOST of their own)"
        ) from None
    except OSError as error:
        raise StartupError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; "
            "choose another address with HOST and PORT"
        ) from None
    if sys.platform == "linux":
        # Connections inherit it. A sandbox's own network stack may not know it: serve without.
        with suppress(OSError):
            listener.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    return listener


def allow_connections(count: int) -> str:
    """Raise the limit on open files so that a process can have so many connections.

    Returns:
        A warning where the system allows fewer; else nothing.
    """
    if sys.platform == "win32":
        return ""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + OTHER_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return ""
    possible = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
        soft = possible
    if soft >= needed:
        return ""
    return (
        f"MAX_CONNECTIONS={count}: this process may open {soft} files, which suffice for "
        f"{max(0, soft - OTHER_DESCRIPTORS)} connections; raise the limit (ulimit -n)"
    )


def accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """All connections that wait to be accepted; the listener must not block.

    Raises:
        OSError: one could not be accepted: its client is gone, or descriptors have run out.
    """
    with suppress(BlockingIOError):
        for _ in range(BACKLOG):
            yield listener.accept()[0]


def turn_away(listener: socket.socket) -> None:
    """Let no new connection begin; those that have begun can still be accepted.

    Closing a listener resets the connections that nobody has accepted yet. A filter that drops the
    first packet of each new one leaves nothing to be reset: a late client tries again after a
    second, and then the port refuses it.
    """
    if sys.platform == "linux":
        code = b"".join(struct.pack("HBBI", *each) for each in DROP_NEW_CONNECTIONS)
        kept = ctypes.create_string_buffer(code)
        program = struct.pack("HP", len(DROP_NEW_CONNECTIONS), ctypes.addressof(kept))
        # Where the kernel has no such filters, the gap of some microseconds remains.
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
