"""`az` on the PATH of the tests: lets the server beside it run one command, and ends as that did.

Only built-in modules are imported, so that this process starts in a hundredth of a second.
"""

from __future__ import annotations

import _socket
import marshal
import os
import signal
import sys

SERVER_GONE = 70


def main() -> int:
    """Hand over arguments, environment, folder and the three streams; gives the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    connection.connect(f"{__file__}.socket")
    umask = os.umask(0)
    os.umask(umask)
    request = marshal.dumps((sys.argv[1:], dict(os.environ), os.getcwd(), umask))
    streams = b"".join(stream.to_bytes(4, sys.byteorder) for stream in (0, 1, 2))
    connection.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    child = int.from_bytes(connection.recv(8), "little")

    def forward(number: int, frame: object) -> None:
        os.kill(child, number)

    if child:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, forward)
    status = connection.recv(8)
    if not status:
        print("az: its server has ended", file=sys.stderr)
        return SERVER_GONE
    code = os.waitstatus_to_exitcode(int.from_bytes(status, "little"))
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main())
