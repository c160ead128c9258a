"""A search API on a socket of its own, whose every byte the test decides."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def event(kind: str, data: object) -> bytes:
    """An event as the API writes it."""
    return f"data: { {'type': kind, 'data': data} }\n\n".encode()


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


type Script = Callable[[Line], Awaitable[None]]


@dataclass
class Line:
    """One call: its head as it came, and the way back."""

    head: str
    writer: asyncio.StreamWriter
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has closed the connection."""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def say(self, *events: bytes, end: bool = False) -> None:
        """Pieces of a body, each by itself; the head goes before the first."""
        for data in events:
            await self.send(chunk(data))
        if end:
            await self.send(LAST)

    @property
    def target(self) -> str:
        return self.head.split(" ")[1]

    def header(self, name: str) -> str | None:
        for line in self.head.split("\r\n")[1:]:
            found, _, value = line.partition(": ")
            if found.lower() == name:
                return value
        return None


@dataclass
class SearchApi:
    """The server: ``script`` answers each call."""

    script: Script
    calls: list[Line] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/search"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line = Line(head, writer)
                self.calls.append(line)
                script = asyncio.ensure_future(self.script(line))
                ahead = asyncio.ensure_future(reader.read(1))
                await asyncio.wait((script, ahead), return_when=asyncio.FIRST_COMPLETED)
                if ahead.done():
                    line.gone.set()
                    script.cancel()
                    return
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)
                script.result()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def search_api(script: Script) -> AsyncIterator[SearchApi]:
    """The server, while it runs."""
    api = SearchApi(script)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await api.serve(reader, writer)
        except asyncio.CancelledError:
            writer.close()
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    api.port = server.sockets[0].getsockname()[1]
    try:
        yield api
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):  # its connections must not outlive the loop
            async with asyncio.timeout(1):
                await server.wait_closed()
