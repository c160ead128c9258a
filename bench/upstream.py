"""The stand-in for the real service: answers every call with one chat completion, over plain HTTP and over TLS.

Run as ``python -m bench.upstream CERTIFICATE``: prints its two ports (plain, TLS) on one line, and serves until its
standard input ends.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from bench.calls import COMPLETION
from bench.wire import Messages

_REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"x-request-id: req_benchmark\r\nopenai-processing-ms: 1\r\n\r\n" % len(COMPLETION)
) + COMPLETION


def _answer(connection: Messages, _line: bytes, _body: bytes) -> None:
    connection.transport.write(_REPLY)


async def _serve(certificate: str) -> None:
    loop = asyncio.get_running_loop()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    plain = await loop.create_server(lambda: Messages(_answer), "127.0.0.1", 0, backlog=4096)
    secure = await loop.create_server(lambda: Messages(_answer), "127.0.0.1", 0, backlog=4096, ssl=tls)
    async with plain, secure:
        print(*(server.sockets[0].getsockname()[1] for server in (plain, secure)), flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
