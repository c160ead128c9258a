"""A reply whose head is out before its end is known: signs of life, then the reply, an error, or the real service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace

import anyio
import pytest

from motive_core.dialects import DIALECTS, Dialect, RequestHead
from motive_core.errors import HoldTimeoutError, RateLimitedError, UpstreamError
from motive_core.exchange import Beat, Events, Exchange, ServiceReply
from motive_core.ir import ChatRequest, Message, TextPart
from motive_core.stream import Failed, PartStarted, Started, collect
from tests.core.ports import FakePort

TEXT = "Grüße,\n\n\tdef f():\n\t\treturn '🐉'  \n"
AT_ONCE = Beat(0.0, 0.0001)
NEVER_AGAIN = Beat(0.0, 1e6)


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    assert isinstance(request.param, Dialect)
    return request.param


def exchange_of(dialect: Dialect, *, stream: bool, can_stream: bool = True) -> tuple[Exchange, FakePort]:
    port = FakePort(can_stream=can_stream)
    request = ChatRequest(dialect.name, "npc", (Message("user", (TextPart("hello"),)),), stream=stream)
    exchange = Exchange(
        exchange="ex1",
        session="npc",
        listener="reverse",
        head=RequestHead("POST", "127.0.0.1", 8000, "/v1/x"),
        client_host="127.0.0.1",
        credential=None,
        dialect=dialect,
        request=request,
        port=port,
        arrived_at=1_700_000_000.5,
        service="https://real.example",
    )
    return exchange, port


async def waiting(dialect: Dialect, *, stream: bool, beat: Beat = AT_ONCE) -> tuple[Exchange, FakePort]:
    """An exchange whose head is out."""
    exchange, port = exchange_of(dialect, stream=stream)
    exchange.keep_alive(beat)
    await port.streamed.wait()
    assert exchange.ending is None and port.told == ["stream"]
    return exchange, port


async def rest(port: FakePort) -> bytes:
    assert port.chunks is not None
    return b"".join([chunk async for chunk in port.chunks])


async def first_beats(port: FakePort, count: int = 3) -> bytes:
    """The first signs of life."""
    assert port.chunks is not None
    return b"".join([await anext(port.chunks) for _ in range(count)])


async def chunks_of(*chunks: bytes, cut: bool = False) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        yield chunk
    if cut:
        raise UpstreamError("The service's reply was cut off.")


def service_reply(*chunks: bytes, status: int = 200, cut: bool = False) -> ServiceReply:
    return ServiceReply(status, {}, chunks_of(*chunks, cut=cut))


async def test_signs_of_life_then_a_streamed_reply(dialect: Dialect) -> None:
    exchange, port = await waiting(dialect, stream=True)
    said = await first_beats(port)
    assert exchange.answer((TextPart(TEXT),)) and exchange.ending == "replied"
    decoder = dialect.decoder()
    reply = collect([*decoder.feed(said + await rest(port)), *decoder.close()])
    assert reply.choices[0].parts == (TextPart(TEXT),)
    assert port.headers["content-type"] == dialect.content_type(exchange.request)
    assert port.headers["x-request-id"] == "ex1" and port.headers["x-motive-session"] == "npc"


async def test_white_space_then_a_whole_reply(dialect: Dialect) -> None:
    exchange, port = await waiting(dialect, stream=False)
    said = await first_beats(port)
    assert said == b"   "
    assert exchange.answer((TextPart(TEXT),))
    body = said + await rest(port)
    assert dialect.parse_reply(body).choices[0].parts == (TextPart(TEXT),)
    assert json.loads(body)
    assert port.headers["content-type"] == "application/json"


async def test_an_error_comes_within_the_stream(dialect: Dialect) -> None:
    exchange, port = await waiting(dialect, stream=True)
    said = await first_beats(port)
    assert exchange.fail(HoldTimeoutError("Nobody answered in time.")) and exchange.ending == "failed"
    decoder = dialect.decoder()
    last = [*decoder.feed(said + await rest(port)), *decoder.close()][-1]
    assert isinstance(last, Failed) and "Nobody answered in time." in str(last.error)
    assert port.told == ["stream"]


async def test_an_error_is_the_body_of_a_whole_reply(dialect: Dialect) -> None:
    exchange, port = await waiting(dialect, stream=False, beat=NEVER_AGAIN)
    error = HoldTimeoutError("Nobody answered in time.")
    assert exchange.fail(error)
    assert await rest(port) == dialect.render_error(error, "ex1")


async def test_the_real_service_answers_after_all(dialect: Dialect) -> None:
    for stream in (True, False):
        exchange, port = await waiting(dialect, stream=stream, beat=NEVER_AGAIN)
        port.service_reply = service_reply(b"its ", b"words")
        assert exchange.pass_on() and exchange.ending == "passed"
        assert await rest(port) == b"its words"
        assert (port.told, port.service) == (["stream", "ask"], "https://real.example")


async def test_signs_of_life_go_on_until_the_service_answers() -> None:
    for dialect in DIALECTS:
        exchange, port = exchange_of(dialect, stream=True)
        asked: asyncio.Future[ServiceReply] = asyncio.get_running_loop().create_future()

        async def ask(
            service: str | None, body: bytes | None = None, asked: asyncio.Future[ServiceReply] = asked
        ) -> ServiceReply:
            return await asked

        port.ask = ask  # type: ignore[method-assign]
        exchange.keep_alive(AT_ONCE)
        await port.streamed.wait()
        exchange.pass_on()
        beats = await first_beats(port)
        asked.set_result(service_reply(b"[its words]"))
        told = beats + await rest(port)
        assert told.endswith(b"[its words]") and len(beats) > 0
        assert dialect.encoder(exchange.request).heartbeat() in told


async def test_an_error_of_the_service_is_told_in_the_stream(dialect: Dialect) -> None:
    exchange, port = await waiting(dialect, stream=True, beat=NEVER_AGAIN)
    body = b'{"error": {"message": "Too much of it.", "type": "x"}}'
    port.service_reply = service_reply(body[:9], body[9:], status=429)
    exchange.pass_on()
    decoder = dialect.decoder()
    last = [*decoder.feed(await rest(port)), *decoder.close()][-1]
    assert isinstance(last, Failed) and "Too much of it." in str(last.error)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"error": {"message": ""}}', b"[" * 5000])
async def test_an_error_of_the_service_without_a_message(body: bytes) -> None:
    exchange, port = await waiting(DIALECTS[-1], stream=True, beat=NEVER_AGAIN)
    port.service_reply = service_reply(body, status=503, cut=True)
    exchange.pass_on()
    assert b"The service answered with status 503." in await rest(port)


async def test_an_error_of_the_service_is_the_body_of_a_whole_reply() -> None:
    exchange, port = await waiting(DIALECTS[-1], stream=False, beat=NEVER_AGAIN)
    port.service_reply = service_reply(b'{"error": 1}', status=500)
    exchange.pass_on()
    assert await rest(port) == b'{"error": 1}'


async def test_a_service_that_does_not_answer(dialect: Dialect) -> None:
    exchange, port = await waiting(dialect, stream=True, beat=NEVER_AGAIN)
    port.service_reply = UpstreamError("The service did not answer.")
    exchange.pass_on()
    decoder = dialect.decoder()
    last = [*decoder.feed(await rest(port)), *decoder.close()][-1]
    assert isinstance(last, Failed) and "The service did not answer." in str(last.error)


async def test_a_service_that_is_cut_off_cuts_the_stream() -> None:
    exchange, port = await waiting(DIALECTS[-1], stream=True, beat=NEVER_AGAIN)
    port.service_reply = service_reply(b"half a", cut=True)
    exchange.pass_on()
    assert port.chunks is not None and await anext(port.chunks) == b"half a"
    with pytest.raises(UpstreamError):
        await anext(port.chunks)


async def test_a_client_that_leaves_ends_the_question_to_the_service() -> None:
    exchange, port = exchange_of(DIALECTS[-1], stream=True)
    ended = asyncio.Event()

    async def ask(service: str | None, body: bytes | None = None) -> ServiceReply:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    port.ask = ask  # type: ignore[method-assign]
    exchange.keep_alive(AT_ONCE)
    await port.streamed.wait()
    exchange.pass_on()
    await first_beats(port)
    assert isinstance(port.chunks, AsyncGenerator)
    await port.chunks.aclose()
    await ended.wait()


async def test_a_call_that_ends_early_shows_no_sign_of_life(dialect: Dialect) -> None:
    for end in ("answer", "fail", "pass_on"):
        exchange, port = exchange_of(dialect, stream=True)
        exchange.keep_alive(Beat(0.0, 1.0))
        arguments = {"answer": ((TextPart("x"),),), "fail": (RateLimitedError("x"),), "pass_on": ()}[end]
        getattr(exchange, end)(*arguments)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert port.told == ["pass" if end == "pass_on" else "respond"]


async def test_a_port_that_cannot_stream_is_left_alone(dialect: Dialect) -> None:
    exchange, port = exchange_of(dialect, stream=True, can_stream=False)
    exchange.keep_alive(Beat(0.0, 1.0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert port.told == [] and exchange.speech is None


async def test_a_paced_reply_after_signs_of_life_can_be_cut(dialect: Dialect) -> None:
    exchange, port = exchange_of(dialect, stream=True)
    exchange.pace_tokens_per_s = 0.001
    exchange.keep_alive(AT_ONCE)
    await port.streamed.wait()
    said = await first_beats(port)
    assert exchange.answer((TextPart(TEXT),))
    reading = asyncio.ensure_future(rest(port))
    await asyncio.sleep(0)
    assert exchange.cut(HoldTimeoutError("Enough.")) and not exchange.cut(HoldTimeoutError("Too late."))
    decoder = dialect.decoder()
    last = [*decoder.feed(said + await reading), *decoder.close()][-1]
    assert isinstance(last, Failed) and "Enough." in str(last.error)
    assert exchange.cut_by is not None


async def test_an_exchange_ends_once(dialect: Dialect) -> None:
    exchange, port = await waiting(dialect, stream=True, beat=NEVER_AGAIN)
    assert exchange.answer((TextPart("a"),))
    assert not exchange.answer((TextPart("b"),))
    assert not exchange.fail(HoldTimeoutError("x"))
    assert not exchange.pass_on()
    assert port.told == ["stream"]


async def test_a_request_that_names_its_conversation_is_passed_on_whole() -> None:
    exchange, port = await waiting(DIALECTS[-1], stream=True, beat=NEVER_AGAIN)
    exchange.continues = True
    exchange.request = replace(exchange.request, raw=b"")
    port.service_reply = service_reply(b"x")
    exchange.pass_on()
    await rest(port)
    assert port.passed == exchange.dialect.render_request(exchange.request)


async def test_a_relayed_reply_is_let_go_of_by_a_reader_that_may_not_wait(dialect: Dialect) -> None:
    """The server ends the task of a client that is gone, and every wait of it that follows."""
    silent, closed = asyncio.Event(), asyncio.Event()

    async def said() -> Events:
        try:
            yield Started("", "m"), PartStarted(0, 0, TextPart("Hi"))
            silent.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as long as it takes to close a connection
            closed.set()

    exchange, port = exchange_of(dialect, stream=True)
    assert exchange.relay(said())
    async with asyncio.timeout(5), anyio.create_task_group() as server:
        server.start_soon(rest, port)
        await silent.wait()
        server.cancel_scope.cancel()
    async with asyncio.timeout(5):
        await closed.wait()
