"""Replies that end as none should: severed, spoilt or silent on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import pairwise

import pytest

from motive_core.dialects import DIALECTS, Dialect, RequestHead
from motive_core.errors import FramingError, MotiveError
from motive_core.exchange import Beat, Exchange, Garbage, Severed, SeveredError, Spoken
from motive_core.ir import ChatRequest, Choice, Message, Reply, TextPart, ToolCallPart, Usage
from motive_core.stream import PartDelta, collect, replay
from tests.core.dialects.carries import carries
from tests.core.ports import FakePort

REPLY = Reply("id1", "npc", (Choice((TextPart("One, two, three."),)),), Usage(1, 4), 1_700_000_000)
AT_ONCE = Beat(0.0, 0.0001)
NEVER_AGAIN = Beat(0.0, 1e6)


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    assert isinstance(request.param, Dialect)
    return request.param


def exchange_of(dialect: Dialect, *, stream: bool, can_stream: bool = True) -> tuple[Exchange, FakePort]:
    port = FakePort(can_stream=can_stream)
    exchange = Exchange(
        exchange="ex1",
        session="npc",
        listener="reverse",
        head=RequestHead("POST", "127.0.0.1", 8000, "/v1/x"),
        client_host="127.0.0.1",
        credential=None,
        dialect=dialect,
        request=ChatRequest(dialect.name, "npc", (Message("user", (TextPart("hello"),)),), stream=stream),
        port=port,
        arrived_at=1_700_000_000.5,
    )
    return exchange, port


async def told_before_the_end(port: FakePort) -> bytes:
    """What is said until the connection is severed, as it must be."""
    assert port.chunks is not None
    said = b""
    with pytest.raises(SeveredError) as severed:
        async for chunk in port.chunks:
            said += chunk
    assert severed.value.reset is port.reset
    return said


async def events_of(
    *batches: Sequence[Spoken], silent: asyncio.Event | None = None
) -> AsyncGenerator[Sequence[Spoken]]:
    for batch in batches:
        yield batch
    if silent is not None:
        await silent.wait()


@pytest.mark.parametrize("reset", [False, True])
class TestSevered:
    async def test_before_any_byte(self, dialect: Dialect, reset: bool) -> None:
        exchange, port = exchange_of(dialect, stream=True)
        assert exchange.sever(reset=reset)
        assert (port.told, port.reset, exchange.ending) == (["sever"], reset, "failed")
        assert not exchange.sever(reset=reset) and not exchange.spoil(REPLY, Severed())

    async def test_after_signs_of_life(self, dialect: Dialect, reset: bool) -> None:
        exchange, port = exchange_of(dialect, stream=True)
        exchange.keep_alive(NEVER_AGAIN)
        await port.streamed.wait()
        assert exchange.sever(reset=reset)
        assert await told_before_the_end(port) == b""
        assert port.told == ["stream", "sever"]

    async def test_in_the_middle_of_a_stream(self, dialect: Dialect, reset: bool) -> None:
        exchange, port = exchange_of(dialect, stream=True)
        events = list(replay(REPLY))
        middle = next(place for place, event in enumerate(events) if isinstance(event, PartDelta)) + 1
        assert exchange.relay(events_of(events[:middle], [Severed(reset), *events[middle:]]))
        decoder = dialect.decoder()
        said = [*decoder.feed(await told_before_the_end(port)), *decoder.close()]
        with pytest.raises((MotiveError, FramingError)):
            collect(said)
        assert port.told == ["stream", "sever"]

    async def test_in_the_middle_of_a_whole_reply(self, dialect: Dialect, reset: bool) -> None:
        exchange, port = exchange_of(dialect, stream=False)
        assert exchange.spoil(REPLY, Severed(reset))
        said = await told_before_the_end(port)
        whole = dialect.render_reply(exchange.request, REPLY)
        assert 0 < len(said) < len(whole) and whole.startswith(said)

    async def test_where_nothing_can_be_streamed(self, dialect: Dialect, reset: bool) -> None:
        exchange, port = exchange_of(dialect, stream=False, can_stream=False)
        assert exchange.spoil(REPLY, Severed(reset))
        assert (port.told, port.reset) == (["sever"], reset)


class TestSpoilt:
    async def test_a_whole_reply_is_none(self, dialect: Dialect) -> None:
        exchange, port = exchange_of(dialect, stream=False)
        assert exchange.spoil(REPLY, Garbage(b"{nonsense"))
        assert port.told == ["respond"] and port.status == 200 and port.body.endswith(b"{nonsense")
        with pytest.raises(FramingError):
            dialect.parse_reply(port.body)

    async def test_after_signs_of_life(self, dialect: Dialect) -> None:
        exchange, port = exchange_of(dialect, stream=False)
        exchange.keep_alive(NEVER_AGAIN)
        await port.streamed.wait()
        assert exchange.spoil(REPLY, Garbage(b"{nonsense"))
        assert port.chunks is not None
        assert b"".join([chunk async for chunk in port.chunks]).endswith(b"{nonsense")


class TestSilent:
    async def test_before_the_head(self, dialect: Dialect) -> None:
        exchange, port = exchange_of(dialect, stream=True)
        exchange.keep_alive(AT_ONCE)
        exchange.hush()
        for _ in range(5):
            await asyncio.sleep(0.001)
        assert port.told == []

    async def test_after_it(self, dialect: Dialect) -> None:
        exchange, port = exchange_of(dialect, stream=True)
        exchange.keep_alive(AT_ONCE)
        await port.streamed.wait()
        assert port.chunks is not None
        await anext(port.chunks)
        next_chunk = asyncio.ensure_future(anext(port.chunks))
        await asyncio.sleep(0)
        exchange.hush()
        done, _ = await asyncio.wait((next_chunk,), timeout=0.02)
        assert not done
        next_chunk.cancel()

    async def test_while_it_speaks(self, dialect: Dialect) -> None:
        exchange, port = exchange_of(dialect, stream=True)
        exchange.keep_alive(AT_ONCE)
        await port.streamed.wait()
        silent = asyncio.Event()
        exchange.relay(events_of(list(replay(REPLY))[:3], silent=silent))
        assert port.chunks is not None
        said = await anext(port.chunks)
        exchange.hush()
        following = asyncio.ensure_future(anext(port.chunks))
        done, _ = await asyncio.wait((following,), timeout=0.02)
        assert said and not done
        silent.set()
        await following


def test_a_whole_reply_is_streamed_in_pieces(dialect: Dialect) -> None:
    if not carries(dialect.name).calls:
        return
    exchange, port = exchange_of(dialect, stream=True)
    reply = Reply("id1", "npc", (Choice((TextPart("One, two."), ToolCallPart("c", "f", '{"a": 1}')), "tool_calls"),))
    exchange.reply(reply, "replied", pieces=lambda text: [text[:3], text[3:]])
    decoder = dialect.decoder()
    events = [*decoder.feed(port.body), *decoder.close()]
    texts = [event.text for event in events if isinstance(event, PartDelta)]
    assert ("One", ", two.") in pairwise(texts)
    assert collect(events).choices[0].parts[0] == TextPart("One, two.")
