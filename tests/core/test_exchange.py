"""An exchange ends exactly once, in its caller's dialect: whole, streamed, paced, with an error, or passed on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from motive_core.dialects import DIALECTS, Dialect, RequestHead
from motive_core.dialects.degrade import as_text
from motive_core.errors import HoldTimeoutError
from motive_core.estimate import estimate_usage
from motive_core.exchange import Exchange, session_header, tokens
from motive_core.ir import BlobPart, ChatRequest, Choice, Message, TextPart, ToolCallPart, ToolResultPart
from motive_core.stream import Failed, collect
from tests.core.dialects.carries import carries
from tests.core.ports import FakePort

TEXT = "Grüße,\n\n\tdef f():\n\t\treturn '🐉'  \n"


def exchange_of(
    dialect: Dialect, *, stream: bool = False, n: int = 1, pace: float | None = None, port: FakePort | None = None
) -> tuple[Exchange, FakePort]:
    port = port or FakePort()
    request = ChatRequest(dialect.name, "npc", (Message("user", (TextPart("hello"),)),), stream=stream, n=n)
    head = RequestHead("POST", "127.0.0.1", 8000, "/v1/x", headers={})
    exchange = Exchange(
        exchange="ex1",
        session="npc",
        listener="reverse",
        head=head,
        client_host="127.0.0.1",
        credential=None,
        dialect=dialect,
        request=request,
        port=port,
        arrived_at=1_700_000_000.5,
        service="https://real.example",
        pace_tokens_per_s=pace,
        extra_headers={"access-control-allow-origin": "*"},
    )
    return exchange, port


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    assert isinstance(request.param, Dialect)
    return request.param


def test_a_whole_reply(dialect: Dialect) -> None:
    exchange, port = exchange_of(dialect)
    assert exchange.answer((TextPart(TEXT),))
    reply = dialect.parse_reply(port.body)
    assert (port.status, exchange.ending) == (200, "replied")
    assert reply.model in ("npc", "")  # some wires have none, nor an id
    assert reply.choices[0].parts == (TextPart(TEXT),)
    if reply.reply_id:
        assert "ex1" in reply.reply_id
    assert reply.usage is not None and reply.usage.output_tokens == -(-len(TEXT) // 4)
    assert port.headers["content-type"] == "application/json"
    assert port.headers["x-request-id"] == "ex1" and port.headers["x-motive-session"] == "npc"
    assert port.headers["access-control-allow-origin"] == "*"
    assert port.headers["x-motive-usage"] == "estimated"


def test_a_streamed_reply_is_one_write(dialect: Dialect) -> None:
    exchange, port = exchange_of(dialect, stream=True)
    call = ToolCallPart("call_1", "f", '{"a": 1}')
    assert exchange.answer((TextPart(TEXT), call), "tool_calls")
    decoder = dialect.decoder()
    reply = collect([*decoder.feed(port.body), *decoder.close()])
    assert port.told == ["respond"] and port.headers["content-type"] == dialect.content_type(exchange.request)
    if not carries(dialect.name).calls:
        assert reply.choices[0].parts == (TextPart(f"{TEXT}\n\n{as_text(call)}"),)
        return
    text, called = reply.choices[0].parts
    assert text == TextPart(TEXT) and isinstance(called, ToolCallPart)
    assert (called.name, json.loads(called.arguments)) == ("f", {"a": 1})
    assert reply.choices[0].finish_reason == "tool_calls"


async def test_a_paced_reply_comes_in_pieces(dialect: Dialect) -> None:
    exchange, port = exchange_of(dialect, stream=True, pace=50)
    text = "One, two, three."
    assert exchange.answer((TextPart(text),))
    assert port.told == ["stream"] and exchange.ending == "replied"
    assert port.chunks is not None
    chunks = [chunk async for chunk in port.chunks]
    decoder = dialect.decoder()
    reply = collect([*(event for chunk in chunks for event in decoder.feed(chunk)), *decoder.close()])
    assert reply.choices[0].parts == (TextPart(text),)
    assert len(chunks) > 1


async def test_a_paced_reply_can_be_cut(dialect: Dialect) -> None:
    exchange, port = exchange_of(dialect, stream=True, pace=0.001)
    assert not exchange.cut(HoldTimeoutError("Too early."))
    assert exchange.answer((TextPart(TEXT),))
    assert port.chunks is not None
    # The first words are awaited by now; before them some wires say nothing.
    reading = asyncio.ensure_future(_joined(port.chunks))
    await asyncio.sleep(0)
    assert exchange.cut(HoldTimeoutError("Enough."))
    assert not exchange.cut(HoldTimeoutError("Too late."))
    decoder = dialect.decoder()
    last = [*decoder.feed(await reading), *decoder.close()][-1]
    assert isinstance(last, Failed)
    assert "Enough." in str(last.error)


async def _joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def test_a_port_that_cannot_stream_gets_a_paced_reply_at_once(dialect: Dialect) -> None:
    exchange, port = exchange_of(dialect, stream=True, pace=1.0, port=FakePort(can_stream=False))
    assert exchange.answer((TextPart(TEXT),))
    assert port.told == ["respond"]


def test_an_error(dialect: Dialect) -> None:
    exchange, port = exchange_of(dialect, stream=True)
    assert exchange.fail(HoldTimeoutError("Nobody answered in time."))
    error = HoldTimeoutError("")
    assert (port.status, exchange.ending) == (dialect.error_status(error), "failed")
    assert port.headers["x-should-retry"] == "false" and port.headers["x-motive-session"] == "npc"
    assert "Nobody answered in time." in json.dumps(json.loads(port.body))


def test_passing_on_names_the_service(dialect: Dialect) -> None:
    exchange, port = exchange_of(dialect)
    assert exchange.pass_on()
    assert (port.told, port.service, exchange.ending) == (["pass"], "https://real.example", "passed")


def test_an_exchange_ends_once(dialect: Dialect) -> None:
    exchange, port = exchange_of(dialect)
    assert exchange.notice("first")
    later = [
        exchange.answer((TextPart("again"),)),
        exchange.notice("again"),
        exchange.fail(HoldTimeoutError("again")),
        exchange.pass_on(),
    ]
    assert later == [False] * 4
    assert port.told == ["respond"] and exchange.ending == "noticed"


def test_n_choices_are_the_same_answer() -> None:
    openai = next(dialect for dialect in DIALECTS if dialect.name == "openai-chat")
    exchange, port = exchange_of(openai, n=3)
    assert exchange.answer((TextPart("yes"),))
    assert [choice.parts for choice in openai.parse_reply(port.body).choices] == [(TextPart("yes"),)] * 3


@pytest.mark.parametrize("text", [TEXT, "", " ", "a", "\n\n", "one two  three\n", "x" * 100, "日本語のテキスト"])
def test_tokens_join_to_the_text(text: str) -> None:
    assert "".join(tokens(text)) == text


def test_usage_counts_text_and_not_pictures() -> None:
    parts = (
        TextPart("12345"),
        BlobPart("image/png", data="A" * 400),
        ToolResultPart("c", (TextPart("123"), BlobPart("image/png", data="A" * 400))),
    )
    usage = estimate_usage(ChatRequest("d", "m", (Message("user", parts),)), (Choice((TextPart("1"),)),))
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (2, 1, True)


def test_a_session_id_is_a_header_of_plain_characters() -> None:
    assert session_header("npc/1 größe\n") == {"x-motive-session": "npc/1 gr%C3%B6%C3%9Fe%0A"}
    assert session_header("") == {}
