"""Calls that a source answers: how each ends, whole, as it is said, late, wrong, or with nobody left to hear it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, ClassVar, Literal

import pytest

from motive_core.config import Config
from motive_core.dialects import DIALECTS, RequestHead
from motive_core.errors import RateLimitedError, UpstreamError
from motive_core.exchange import Answered, Events, ServiceReply, Severed, SeveredError, Spoken
from motive_core.gateway import Gateway
from motive_core.incoming import Incoming
from motive_core.ir import Choice, Reply, TextPart
from motive_core.sources import Call, Source, SourceSettings, World
from motive_core.stream import ChoiceEnded, Failed, Finished, PartDelta, PartStarted, Started, collect, replay
from tests.core.ports import FakePort
from tests.core.test_gateway import Client, code, heard

OPENAI = next(dialect for dialect in DIALECTS if dialect.name == "openai-chat")
BEGINNING: tuple[Spoken, ...] = (Started("", "other-model"), PartStarted(0, 0, TextPart("")))


def delta(text: str) -> list[Spoken]:
    return [PartDelta(0, 0, text)]


END: tuple[Spoken, ...] = (ChoiceEnded(0, "stop"), Finished())


class Scripted(SourceSettings):
    """A source of the test's own."""

    scripts: ClassVar[dict[str, Callable[[Call], Awaitable[Answered]]]] = {}
    closed: ClassVar[list[str]] = []

    kind: Literal["mock"] = "mock"
    script: str

    def make(self, world: World) -> Source:
        return _Source(self)


class _Source:
    def __init__(self, settings: Scripted) -> None:
        self._settings = settings

    async def answer(self, call: Call) -> Answered:
        return await self._settings.scripts[self._settings.script](call)

    async def close(self) -> None:
        self._settings.closed.append(self._settings.script)


def reply(text: str) -> Reply:
    return Reply("", "", (Choice((TextPart(text),)),))


async def said(*batches: Sequence[Spoken], after: Callable[[], Awaitable[object]] | None = None) -> Events:
    for batch in batches:
        yield batch
        if after is not None:
            await after()


def routes(**settings: Any) -> dict[str, Any]:
    return {"routes": [{"match": {"listener": "reverse"}, "answer": "mock", **settings}]}


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway(Config.model_validate(routes() | {"sources": {"mock": {"kind": "mock"}}}))
    Scripted.scripts.clear()
    Scripted.closed.clear()
    yield made
    made.shut_down()
    await made.close()
    assert not made.held


def answered_by(gateway: Gateway, script: Callable[[Call], Awaitable[Answered]], name: str = "mock") -> None:
    Scripted.scripts[name] = script
    gateway.answering.configure({name: Scripted(script=name)})


async def ended(port: FakePort) -> FakePort:
    async with asyncio.timeout(5):
        while not port.told:  # noqa: ASYNC110  # a port tells nobody
            await asyncio.sleep(0)
    return port


async def streamed(port: FakePort) -> Reply:
    assert port.chunks is not None
    decoder = OPENAI.decoder()
    events = [event async for chunk in port.chunks for event in decoder.feed(chunk)]
    return collect([*events, *decoder.close()])


async def test_a_whole_reply_is_the_calls_own(gateway: Gateway) -> None:
    async def script(call: Call) -> Answered:
        call.headers |= {"x-told": "so", "content-length": "7"}
        return reply("I am one.")

    answered_by(gateway, script)
    app = Client(gateway, "app")
    port = await app.say("Who are you?", model="gpt-9")
    assert heard(port) == "I am one."
    body = json.loads(port.body)
    assert body["model"] == "gpt-9" and app.exchanges[0] is not None
    assert body["id"] == f"chatcmpl-{app.exchanges[0].exchange}"
    assert body["usage"]["completion_tokens"] == 3  # 9 characters, 4 a token
    assert port.headers["x-told"] == "so" and "content-length" not in port.headers
    assert port.headers["x-motive-session"] == "gpt-9"
    await gateway.delivered(app.exchanges[0])


async def test_a_reply_of_the_callers_dialect_keeps_its_id(gateway: Gateway) -> None:
    async def script(_: Call) -> Answered:
        return Reply("chatcmpl-of-theirs", "gpt-9-0101", (Choice((TextPart("x"),)),), dialect="openai-chat")

    answered_by(gateway, script)
    app = Client(gateway, "app")
    assert json.loads((await app.say("?")).body)["id"] == "chatcmpl-of-theirs"
    other = Client(gateway, "other", "anthropic-messages")
    port = await other.say("?")
    assert other.exchanges[0] is not None
    assert json.loads(port.body)["id"] == f"msg_{other.exchanges[0].exchange}"
    for client in (app, other):
        assert client.exchanges[0] is not None
        await gateway.delivered(client.exchanges[0])


async def test_words_reach_the_client_before_the_next_ones_are_said(gateway: Gateway) -> None:
    taken = asyncio.Queue[None]()

    async def script(_: Call) -> Answered:
        return said(BEGINNING, delta("one "), delta("two"), END, after=taken.get)

    answered_by(gateway, script)
    app = Client(gateway, "app")
    port = await ended(await app.say("?", stream=True))
    assert port.told == ["stream"] and port.chunks is not None
    decoder, heard_so_far = OPENAI.decoder(), ""
    async for chunk in port.chunks:
        heard_so_far += "".join(event.text for event in decoder.feed(chunk) if isinstance(event, PartDelta))
        assert heard_so_far in ("", "one ", "one two")
        taken.put_nowait(None)
    assert heard_so_far == "one two"
    assert app.exchanges[0] is not None and app.exchanges[0].ending == "replied"
    await gateway.delivered(app.exchanges[0])


async def test_a_stream_is_the_calls_own_and_tells_usage(gateway: Gateway) -> None:
    async def script(_: Call) -> Answered:
        return said(BEGINNING, delta("one two"), END)

    answered_by(gateway, script)
    app = Client(gateway, "app")
    port = await ended(await app.say("?", stream=True, stream_options={"include_usage": True}))
    got = await streamed(port)
    assert app.exchanges[0] is not None
    assert (got.model, got.reply_id) == ("npc", f"chatcmpl-{app.exchanges[0].exchange}")
    assert got.usage is not None and got.usage.output_tokens == 2
    await gateway.delivered(app.exchanges[0])


async def test_events_become_a_whole_reply_for_a_call_that_does_not_stream(gateway: Gateway) -> None:
    async def script(_: Call) -> Answered:
        return said(BEGINNING, delta("one "), delta("two"), END)

    answered_by(gateway, script)
    app = Client(gateway, "app")
    assert heard(await ended(await app.say("?"))) == "one two"
    assert app.exchanges[0] is not None
    await gateway.delivered(app.exchanges[0])


async def test_a_stream_for_a_client_of_http_1_0_is_one_write(gateway: Gateway) -> None:
    async def script(_: Call) -> Answered:
        return said(BEGINNING, delta("one two"), END)

    answered_by(gateway, script)
    app, port = Client(gateway, "app"), FakePort(can_stream=False)
    head = RequestHead("POST", "127.0.0.1", 80, "/v1/chat/completions", headers={"user-agent": "app"})
    body = {"model": "npc", "stream": True, "messages": [{"role": "user", "content": "?"}]}
    incoming = Incoming("reverse", head, "127.0.0.1", json.dumps(body).encode())
    exchange = await app.gateway.accept(incoming, OPENAI, port)
    await ended(port)
    decoder = OPENAI.decoder()
    assert collect([*decoder.feed(port.body), *decoder.close()]).choices[0].parts == (TextPart("one two"),)
    assert exchange is not None
    await gateway.delivered(exchange)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_first_words_has_its_status(gateway: Gateway, stream: bool) -> None:
    async def script(_: Call) -> Answered:
        raise RateLimitedError("Slow down.", retry_after_s=7)

    answered_by(gateway, script)
    app = Client(gateway, "app")
    port = await ended(await app.say("?", stream=stream))
    assert code(port) == (429, "rate_limited") and port.headers["retry-after"] == "7"
    assert app.exchanges[0] is not None
    await gateway.delivered(app.exchanges[0])


async def test_an_error_after_them_is_told_in_the_stream(gateway: Gateway) -> None:
    async def events() -> Events:
        yield BEGINNING
        yield delta("one ")
        raise UpstreamError("It was cut.")

    async def script(_: Call) -> Answered:
        return events()

    answered_by(gateway, script)
    app = Client(gateway, "app")
    port = await ended(await app.say("?", stream=True))
    with pytest.raises(Exception, match=r"It was cut\."):
        await streamed(port)
    exchange = app.exchanges[0]
    assert exchange is not None and isinstance(exchange.cut_by, UpstreamError)
    await gateway.delivered(exchange)


@pytest.mark.parametrize("last", [[], [[Failed(UpstreamError("It was cut."))]]])
async def test_a_stream_without_an_end_is_an_error(gateway: Gateway, last: list[Sequence[Spoken]]) -> None:
    async def script(_: Call) -> Answered:
        return said(BEGINNING, delta("one "), *last)

    answered_by(gateway, script)
    app = Client(gateway, "app")
    with pytest.raises(Exception, match=r"cut|before it was complete"):
        await streamed(await ended(await app.say("?", stream=True)))
    assert app.exchanges[0] is not None and app.exchanges[0].cut_by is not None
    await gateway.delivered(app.exchanges[0])


@pytest.mark.parametrize("stream", [False, True])
async def test_words_without_an_end_are_no_whole_reply(gateway: Gateway, stream: bool) -> None:
    async def script(_: Call) -> Answered:
        return said(BEGINNING, delta("one "))

    answered_by(gateway, script)
    app = Client(gateway, "app")
    port = await ended(await app.say("?", stream=stream))
    if stream:
        with pytest.raises(Exception, match="before it was complete"):
            await streamed(port)
    else:
        assert code(port) == (502, "upstream_failed")
    assert app.exchanges[0] is not None
    await gateway.delivered(app.exchanges[0])


async def test_a_draft_is_asked_for_the_client_that_calls(gateway: Gateway) -> None:
    asked: list[str] = []

    async def script(call: Call) -> Answered:
        asked.append(call.client)
        return reply("x")

    answered_by(gateway, script)
    app = Client(gateway, "app", headers={"authorization": "Bearer sk-1"})
    await app.say("?")
    exchange = app.exchanges[0]
    assert exchange is not None
    exchange.stand_ins["pass"] = "mock"
    await gateway.answering.draft(exchange)
    assert len(asked) == 2 and asked[0] == asked[1] != ""
    await gateway.delivered(exchange)


async def test_a_severed_stream_ends_without_a_word(gateway: Gateway) -> None:
    async def script(_: Call) -> Answered:
        return said(BEGINNING, [*delta("one "), Severed(), *delta("two")])

    answered_by(gateway, script)
    app = Client(gateway, "app")
    port = await ended(await app.say("?", stream=True))
    assert port.chunks is not None
    got = b""
    with pytest.raises(SeveredError):
        async for chunk in port.chunks:
            got += chunk
    assert b"one " in got and b"two" not in got and b"[DONE]" not in got
    assert app.exchanges[0] is not None
    await gateway.failed(app.exchanges[0])


async def test_a_defect_of_a_source_is_a_500_and_in_the_log(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    async def script(_: Call) -> Answered:
        raise ZeroDivisionError

    answered_by(gateway, script)
    app = Client(gateway, "app")
    assert code(await app.say("?")) == (500, "internal_error")
    assert "source failed" in caplog.text and "ZeroDivisionError" in caplog.text
    assert app.exchanges[0] is not None
    await gateway.delivered(app.exchanges[0])


async def for_ever(_: Call) -> Answered:
    await asyncio.Event().wait()
    return reply("never")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, (504, "hold_timeout")),
        ({"on_timeout": "fallback", "fallback": "Nobody is here."}, "Nobody is here."),
        ({"on_timeout": "spare"}, "Spare."),
        ({"on_timeout": "pass", "service": "https://real.example"}, "pass"),
    ],
)
async def test_a_late_source(settings: dict[str, Any], told: object) -> None:
    sources = {"mock": {"kind": "mock"}, "spare": {"kind": "mock", "text": "Spare."}}
    gateway = Gateway(Config.model_validate(routes(hold_timeout_s=0.01, **settings) | {"sources": sources}))
    Scripted.scripts["mock"] = for_ever
    gateway.answering.configure({**gateway.config.sources, "mock": Scripted(script="mock")})
    app = Client(gateway, "app")
    port = await ended(await app.say("?"))
    if told == "pass":
        assert port.told == ["pass"] and port.service == "https://real.example"
    else:
        assert (heard(port) if isinstance(told, str) else code(port)) == told
    assert app.exchanges[0] is not None
    await gateway.delivered(app.exchanges[0])
    assert not gateway.held
    await gateway.close()


@pytest.mark.parametrize("how", ["gone", "released", "shut_down"])
async def test_a_source_stops_when_nobody_waits_any_more(gateway: Gateway, how: str) -> None:
    stopped = asyncio.Event()

    async def script(call: Call) -> Answered:
        try:
            return await for_ever(call)
        finally:
            stopped.set()

    answered_by(gateway, script)
    app = Client(gateway, "app")
    await app.say("?")
    exchange = app.exchanges[0]
    assert exchange is not None and len(gateway.held) == 1
    if how == "shut_down":
        gateway.shut_down()
        assert exchange.ending == "failed"
        await gateway.delivered(exchange)
    else:
        exchange.end("gone" if how == "gone" else "passed")
        await (gateway.gone if how == "gone" else gateway.released)(exchange)
    async with asyncio.timeout(1):
        await stopped.wait()
    assert not gateway.held


async def test_events_are_closed_when_the_client_leaves_in_the_middle(gateway: Gateway) -> None:
    closed = asyncio.Event()

    async def events() -> Events:
        try:
            yield BEGINNING
            yield delta("one ")
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def script(_: Call) -> Answered:
        return events()

    answered_by(gateway, script)
    app = Client(gateway, "app")
    port = await ended(await app.say("?", stream=True))
    assert port.chunks is not None
    await anext(port.chunks)
    exchange = app.exchanges[0]
    assert exchange is not None
    await gateway.failed(exchange)
    await port.chunks.aclose()  # type: ignore[attr-defined]  # a generator it is
    async with asyncio.timeout(1):
        await closed.wait()


async def test_events_that_nobody_fetches_are_closed(gateway: Gateway) -> None:
    closed = asyncio.Event()

    async def events() -> Events:
        try:
            yield BEGINNING
        finally:
            closed.set()

    async def script(_: Call) -> Answered:
        made = events()
        first = await anext(made)

        async def rest() -> Events:
            try:
                yield first
                async for batch in made:
                    yield batch
            finally:
                await made.aclose()

        return rest()

    answered_by(gateway, script)
    app = Client(gateway, "app")
    await ended(await app.say("?", stream=True))
    assert app.exchanges[0] is not None
    await gateway.failed(app.exchanges[0])
    async with asyncio.timeout(1):
        await closed.wait()


async def test_a_source_of_the_same_settings_stays_and_one_that_is_gone_is_closed(gateway: Gateway) -> None:
    async def script(_: Call) -> Answered:
        return reply("x")

    Scripted.scripts |= {"a": script, "b": for_ever}
    gateway.answering.configure({"a": Scripted(script="a"), "mock": Scripted(script="b")})
    app = Client(gateway, "app")
    await app.say("?")
    gateway.answering.configure({"a": Scripted(script="a"), "mock": Scripted(script="a")})
    await asyncio.sleep(0)
    assert Scripted.closed == []  # it still answers a call
    exchange = app.exchanges[0]
    assert exchange is not None
    exchange.end("gone")
    await gateway.gone(exchange)
    await asyncio.sleep(0)
    assert Scripted.closed == ["b"]


async def test_a_source_may_ask_the_real_service_with_the_calls_own_body() -> None:
    settings = {"routes": [{"match": {}, "answer": "mock"}], "sources": {"mock": {"kind": "mock"}}}
    gateway = Gateway(Config.model_validate(settings))
    asked: list[Reply] = []

    async def script(call: Call) -> Answered:
        assert call.own is not None
        got = await call.own.ask(call.request)
        assert isinstance(got, Reply)
        asked.append(got)
        return got

    answered_by(gateway, script)
    app = Client(gateway, "app", listener="forward")
    body = b'{"model":"gpt-9", "messages":[{"role":"user","content":"?"}]}'
    theirs = Reply("chatcmpl-1", "gpt-9", (Choice((TextPart("Theirs."),)),), dialect="openai-chat")
    request = OPENAI.parse_request(body)

    async def chunks() -> Any:
        yield OPENAI.render_reply(request, theirs)

    head = RequestHead("POST", "api.openai.com", 443, "/v1/chat/completions", headers={})
    port = FakePort(service_reply=ServiceReply(200, {}, chunks()))
    exchange = await gateway.accept(Incoming("forward", head, "127.0.0.1", body), OPENAI, port)
    assert port.told == ["ask", "respond"] and port.passed is None and heard(port) == "Theirs."
    assert asked[0].reply_id == json.loads(port.body)["id"] == "chatcmpl-1"
    assert exchange is not None and app is not None
    await gateway.delivered(exchange)


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({}, (503, "too_many_held")),
        ({"on_full": "fallback", "fallback": "Too many."}, "Too many."),
        ({"on_full": "spare"}, "Spare."),
        ({"on_full": "pass", "service": "https://real.example"}, "pass"),
    ],
)
async def test_a_call_over_the_limit_ends_by_its_routes_policy(policy: dict[str, Any], told: object) -> None:
    sources = {"mock": {"kind": "mock"}, "spare": {"kind": "mock", "text": "Spare."}}
    gateway = Gateway(Config.model_validate(routes(**policy) | {"sources": sources, "limits": {"max_held": 1}}))
    Scripted.scripts["mock"] = for_ever
    gateway.answering.configure({**gateway.config.sources, "mock": Scripted(script="mock")})
    app = Client(gateway, "app")
    await app.say("?")
    port = await ended(await app.say("!"))
    if told == "pass":
        assert port.told == ["pass"] and port.service == "https://real.example"
    else:
        assert (heard(port) if isinstance(told, str) else code(port)) == told
    gateway.shut_down()
    await gateway.close()


async def test_a_late_source_without_a_service_to_pass_to_is_an_error() -> None:
    """Another dialect has one, so the configuration is right."""
    settings = routes(hold_timeout_s=0.01, on_timeout="pass") | {"services": {"cohere-chat": "https://real.example"}}
    gateway = Gateway(Config.model_validate(settings | {"sources": {"mock": {"kind": "mock"}}}))
    answered_by(gateway, for_ever)
    app = Client(gateway, "app")
    assert code(await ended(await app.say("?"))) == (504, "hold_timeout")
    assert app.exchanges[0] is not None
    await gateway.delivered(app.exchanges[0])
    await gateway.close()


async def test_calls_of_sources_count_as_held() -> None:
    settings = routes() | {"sources": {"mock": {"kind": "mock"}}, "limits": {"max_held": 1}}
    gateway = Gateway(Config.model_validate(settings))
    answered_by(gateway, for_ever)
    app = Client(gateway, "app")
    await app.say("?")
    assert code(await app.say("!")) == (503, "too_many_held")
    gateway.shut_down()
    await gateway.close()


def test_replay_is_what_a_source_may_give() -> None:
    """A whole reply as events is one of the forms of an answer."""
    assert collect(replay(reply("x"))) == reply("x")
