"""A service on a port of this machine, within the loop of the test: it answers with bytes that the test scripts.

Owns the framing of HTTP/1.1, as far as a test wants it kept. Knows no dialect.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

DEADLINE_S: Final = 20.0


@dataclass(slots=True)
class Asked:
    """A request as it came. Header names are lower-case."""

    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    def json(self) -> Any:
        return json.loads(self.body)


class Line:
    """One connection, as a script sees it."""

    def __init__(self, writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
        self.writer = writer
        self.reader = reader

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def whole(self, body: bytes | Any, status: int = 200, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"content-type": "application/json", **_named(headers), "content-length": str(len(data))}
        await self.raw(_head(status, fields) + data)

    async def begin(self, **headers: str) -> None:
        """The head of a stream of chunks."""
        fields = {"content-type": "text/event-stream", **_named(headers), "transfer-encoding": "chunked"}
        await self.raw(_head(200, fields))

    async def say(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.raw(b"0\r\n\r\n")

    async def stream(self, pieces: Iterable[bytes], **headers: str) -> None:
        await self.begin(**headers)
        for piece in pieces:
            await self.say(piece)
        await self.end()

    async def closed(self) -> None:
        """Wait until the other side closes the connection."""
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass

    def hang_up(self) -> None:
        self.writer.transport.abort()


type Script = Callable[[Asked, Line], Awaitable[None]]


@dataclass(slots=True)
class Service:
    """See the module. ``script`` answers every request."""

    script: Script
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    lines: list[Line] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.changed.set()
        number, line = self.connections, Line(writer, reader)
        self.lines.append(line)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (one.partition(":") for one in head[1:] if one)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                asked = Asked(head[0].split(" ")[1], headers, body, number)
                self.asked.append(asked)
                await self.script(asked, line)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except BaseException as error:
            self.faults.append(error)
            raise
        finally:
            self.open -= 1
            writer.close()
            self.changed.set()

    async def until_open(self, count: int) -> None:
        """Wait until so many connections are open."""
        async with asyncio.timeout(DEADLINE_S):
            while self.open != count:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Service]:
    """A running service."""
    service = Service(script)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, backlog=1024)
    service.port = server.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        server.close()
        for line in service.lines:
            line.hang_up()
        await service.until_open(0)
        assert not service.faults, service.faults


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def _head(status: int, fields: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")
