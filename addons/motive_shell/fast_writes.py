"""Fast writes: what mitmproxy writes to a connection piece by piece goes to the system in one piece.

mitmproxy hands the head and the body of a message over one after the other, and asyncio sends each of them at once: two
system calls for one message, and two awakenings of whoever reads it. Here the pieces wait until the event loop has done
what it is about, which is before it looks for input again.

This patches a private part, by the same option and for the same versions as ``fast_dispatch``. Knows nothing of Motive.
"""

from __future__ import annotations

import asyncio
from typing import Any

from mitmproxy.connection import Client, Connection
from mitmproxy.master import Master


def gather_writes(master: Master, client: Client, connection: Connection) -> None:
    """Gather what is written to a connection: to ``client``, or to a server on its behalf. To be called when it has
    been made; does nothing if it is not a TCP connection."""
    proxyserver: Any = master.addons.get("proxyserver")
    handler = proxyserver.connections.get(client.id)
    transport = handler.transports.get(connection) if handler is not None else None
    if transport is not None and isinstance(transport.writer, asyncio.StreamWriter):
        transport.writer = GatheringWriter(transport.writer)


class GatheringWriter:
    """Stands in for a ``StreamWriter`` within its event loop."""

    __slots__ = ("_loop", "_pieces", "_writer")

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """See ``StreamWriter``."""
        if not self._pieces:
            self._loop.call_soon(self._send)
        self._pieces.append(data)

    def _send(self) -> None:
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._writer.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    async def drain(self) -> None:
        """See ``StreamWriter``."""
        self._send()
        await self._writer.drain()

    def write_eof(self) -> None:
        """See ``StreamWriter``."""
        self._send()
        self._writer.write_eof()

    def close(self) -> None:
        """See ``StreamWriter``."""
        self._send()
        self._writer.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)
