"""Events that are read by one task and closed by another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from motive_core.exchange import Handed, Spoken
from motive_core.stream import Finished


class Source:
    """Events that come when they are let; ``closed`` is set at their end, which takes a while."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.closed = asyncio.Event()

    async def events(self) -> AsyncGenerator[Sequence[Spoken]]:
        try:
            yield [Finished()]
            await self.go.wait()
            yield [Finished()]
        finally:
            await asyncio.sleep(0)
            self.closed.set()


async def test_they_are_the_same_events() -> None:
    source = Source()
    source.go.set()
    assert [batch async for batch in Handed(source.events())] == [[Finished()], [Finished()]]
    assert source.closed.is_set()


async def test_who_reads_while_they_are_being_closed_finds_their_end() -> None:
    source = Source()
    handed = Handed(source.events())
    await anext(handed)
    closing = asyncio.ensure_future(handed.aclose())
    await asyncio.sleep(0)
    assert await anext(handed, None) is None
    await closing
    assert source.closed.is_set()
    await handed.aclose()


async def test_who_closes_while_they_are_read_leaves_it_to_the_reader() -> None:
    source = Source()
    handed = Handed(source.events())
    await anext(handed)
    reading = asyncio.ensure_future(anext(handed))
    await asyncio.sleep(0)
    await handed.aclose()
    assert not source.closed.is_set()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await handed.aclose()
    assert source.closed.is_set()
