"""The teller over real connections: who gets a reply, what it looks like, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from motive_core.errors import UpstreamError
from motive_core.exchange import SeveredError
from motive_core.origin import Streams, Teller

DEADLINE_S = 10.0
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-y: \xc3\xa9\r\ntransfer-encoding: chunked\r\n\r\n"
HEADERS = {"content-type": "text/plain", "x-y": "é"}


class Words:
    """A reply of some words, and what became of it."""

    def __init__(self, *words: bytes, error: Exception | None = None, waits: bool = False) -> None:
        self._words = words
        self._error = error
        self._waits = waits
        self.fetched = False
        self.closed = asyncio.Event()

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for word in self._words:
                yield word
            if self._waits:
                await asyncio.Event().wait()
            if self._error is not None:
                raise self._error
        finally:
            self.closed.set()

    def fetch(self) -> None:
        self.fetched = True


class Room:
    def __init__(self, teller: Teller, streams: Streams) -> None:
        self.teller = teller
        self.streams = streams

    def offer(self, words: Words) -> bytes:
        """The request that fetches them."""
        token = self.streams.offer(HEADERS, words.chunks(), words.fetch)
        return f"GET /p/{token} HTTP/1.1\r\nhost: x\r\nx-motive-origin: the-secret\r\n\r\n".encode()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self.teller.address is not None
        return await asyncio.open_connection(*self.teller.address)

    async def ask(self, request: bytes) -> bytes:
        """All that is said on a connection of its own."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            async with asyncio.timeout(DEADLINE_S):
                return await reader.read()
        finally:
            writer.close()


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    async with told() as made:
        yield made


@asynccontextmanager
async def told() -> AsyncIterator[Room]:
    streams = Streams(lambda: 0.0)
    teller = Teller(streams, "the-secret")
    await teller.start()
    try:
        yield Room(teller, streams)
    finally:
        await teller.stop(0.1)


async def until(reader: asyncio.StreamReader, end: bytes) -> bytes:
    async with asyncio.timeout(DEADLINE_S):
        return await reader.readuntil(end)


async def test_replies_are_told_one_after_the_other_on_one_connection(room: Room) -> None:
    first, second = Words(b"one", b"", b"two!"), Words(b"three")
    reader, writer = await room.connect()
    writer.write(room.offer(first))
    assert await until(reader, b"0\r\n\r\n") == HEAD + b"3\r\none\r\n4\r\ntwo!\r\n0\r\n\r\n"
    assert first.fetched
    assert first.closed.is_set()
    writer.write(room.offer(second))
    assert await until(reader, b"0\r\n\r\n") == HEAD + b"5\r\nthree\r\n0\r\n\r\n"
    writer.close()


async def test_requests_that_come_together_or_in_pieces_are_all_answered(room: Room) -> None:
    asked = room.offer(Words(b"one")) + room.offer(Words(b"two"))
    reader, writer = await room.connect()
    for at in range(0, len(asked), 7):
        writer.write(asked[at : at + 7])
        await writer.drain()
        await asyncio.sleep(0)
    assert b"one" in await until(reader, b"0\r\n\r\n")
    assert b"two" in await until(reader, b"0\r\n\r\n")
    writer.close()


async def test_a_reply_is_told_once(room: Room) -> None:
    asked = room.offer(Words(b"one"))
    reader, writer = await room.connect()
    writer.write(asked)
    assert b"one" in await until(reader, b"0\r\n\r\n")
    writer.close()
    assert (await room.ask(asked)).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"x-motive-origin: the-secret", b"x-motive-origin: wrong"),
        (b"x-motive-origin: the-secret\r\n", b""),
        (b"host: x", b"x-motive-rank: operator"),
        (b"GET ", b"POST "),
        (b"/p/", b"/q/"),
        (b"/p/", b"/p/x"),
        (b"x-motive-origin: the-secret", b"x-motive-origin: the-secret\r\nx-motive-origin: wrong"),
    ],
)
async def test_nobody_else_is_told_anything(room: Room, before: bytes, after: bytes) -> None:
    words = Words(b"one")
    assert (await room.ask(room.offer(words).replace(before, after))).startswith(b"HTTP/1.1 403 ")
    assert not words.fetched


@pytest.mark.parametrize("error", [UpstreamError("cut"), SeveredError()])
async def test_a_reply_that_is_cut_ends_without_its_end(
    room: Room, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    words = Words(b"one", error=error)
    assert await room.ask(room.offer(words)) == HEAD + b"3\r\none\r\n"
    assert words.closed.is_set()
    assert not caplog.records


async def test_a_defect_is_logged(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert await room.ask(room.offer(Words(b"one", error=KeyError("oops")))) == HEAD + b"3\r\none\r\n"
    assert [record.message for record in caplog.records] == ["a reply could not be told"]


async def test_who_hangs_up_ends_the_reply(room: Room) -> None:
    words = Words(b"one", waits=True)
    reader, writer = await room.connect()
    writer.write(room.offer(words))
    assert b"one" in await until(reader, b"one\r\n")
    writer.transport.abort()
    async with asyncio.timeout(DEADLINE_S):
        await words.closed.wait()


async def test_who_does_not_read_is_waited_for(room: Room) -> None:
    said = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal said
        while True:
            said += 1
            yield b"x" * 65536
            await asyncio.sleep(0)

    token = room.streams.offer(HEADERS, endless(), lambda: None)
    reader, writer = await room.connect()
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(f"GET /p/{token} HTTP/1.1\r\nx-motive-origin: the-secret\r\n\r\n".encode())
    before = -1
    async with asyncio.timeout(DEADLINE_S):
        while said != before or said == 0:
            before = said
            await asyncio.sleep(0.05)
    assert said < 1000
    writer.transport.abort()


async def test_stopping_lets_a_reply_end_and_then_cuts_it() -> None:
    async with told() as room:
        words = Words(b"one", waits=True)
        reader, writer = await room.connect()
        idle, other = await room.connect()
        writer.write(room.offer(words))
        assert b"one" in await until(reader, b"one\r\n")
        await room.teller.stop(0.05)
        async with asyncio.timeout(DEADLINE_S):
            await words.closed.wait()
            assert await idle.read() == b""
        writer.close()
        other.close()


async def test_an_endless_head_is_not_kept(room: Room) -> None:
    reader, writer = await room.connect()
    writer.write(b"GET /p/x HTTP/1.1\r\n" + b"x: y\r\n" * 10_000)
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(ConnectionError):
            while await reader.read(1024):
                pass
            raise ConnectionResetError
    writer.close()
