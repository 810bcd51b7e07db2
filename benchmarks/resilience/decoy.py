"""A server that only reads: what slow clients cost the machine when nothing is done for them.

`python -m benchmarks.resilience.decoy` prints its port, on 127.0.0.1, and ends when its standard
input is closed.
"""

from __future__ import annotations

import asyncio
import sys


class Reader(asyncio.Protocol):
    """Takes what comes and answers nothing."""


async def serve() -> None:
    """Read from whoever connects, until standard input is closed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Reader, "127.0.0.1", 0)
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
