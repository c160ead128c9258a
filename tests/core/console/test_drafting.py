"""Drafts that come piece by piece: what is known of them, what is kept, what they keep, and what bounds them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from motive_core.console import Console, suggestions
from motive_core.console import console as console_module
from motive_core.console.console import Wanted, Written
from motive_core.errors import ConflictError, RateLimitedError, UnprocessableError, UpstreamError
from motive_core.exchange import ServiceReply
from motive_core.gateway import Gateway
from tests.core.console.test_suggestions import prompt_of, words
from tests.core.reviewing import App, Service, body, settled
from tests.core.test_gateway import Client, Clock, config, heard
from tests.e2e.standin import anthropic_events, openai_chunks

KEY = "sk-ant-0123456789abcdef"


@dataclass
class Speaking(Service):
    """A service that says what it is given, piece by piece; None ends it, an exception cuts it."""

    pieces: asyncio.Queue[bytes | Exception | None] = field(default_factory=asyncio.Queue)
    closed: int = 0

    async def reply(self) -> ServiceReply:
        self.asked += 1
        return ServiceReply(self.status, {}, self._chunks())

    async def _chunks(self) -> AsyncGenerator[bytes]:
        try:
            while (piece := await self.pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed += 1

    def say(self, *pieces: bytes | Exception | None) -> None:
        for piece in pieces:
            self.pieces.put_nowait(piece)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway(config(), clock=Clock())
    yield made
    made.shut_down()


@pytest.fixture
def console(gateway: Gateway) -> Console:
    return gateway.console


@pytest.fixture
def service() -> Speaking:
    return Speaking()


async def app_of(gateway: Gateway, service: Service, dialect: str = "openai-chat", **fields: Any) -> App:
    """An app whose session is taken over."""
    app = App(gateway, "app", dialect=dialect, service=service, fields=fields, headers={"x-api-key": KEY})
    assert (await app.say("zero")).told == ["pass"]
    await gateway.console.take("npc")
    return app


@pytest.fixture
async def app(gateway: Gateway, service: Speaking) -> App:
    return await app_of(gateway, service, stream=True)


async def told(app: App) -> Any:
    """The turn of the last call, as the transcript has it, after that was delivered."""
    exchange = app.exchanges[-1]
    assert exchange is not None
    await app.gateway.delivered(exchange)
    await app.gateway.console.read("npc")
    return app.gateway.console.transcript("npc", "json")[1]["turns"][-1]


CHUNKS = openai_chunks("Hello there", "npc")


class TestWhatIsKnown:
    async def test_as_it_comes_and_not_told_too_often(self, console: Console, app: App, service: Speaking) -> None:
        await app.say("q")
        prompt = await prompt_of(console)
        await console.draft("npc", prompt)
        before = console.feed.number
        service.say(*CHUNKS[:6])
        await settled()
        draft = console.draft_as_json("npc", prompt)
        assert draft is not None
        assert (draft["text"], draft["done"], draft["error"]) == ("Hello", False, "")
        assert console.feed.number == before + 1
        async with asyncio.timeout(5):
            await console.feed.changed(before + 1, 5)
        service.say(*CHUNKS[6:], None)
        await settled()
        assert words(console, prompt) == ([{"kind": "text", "text": "Hello there"}], True, "")

    async def test_what_was_stopped_is_kept(self, console: Console, app: App, service: Speaking) -> None:
        held = await app.say("q")
        prompt = await prompt_of(console)
        await console.draft("npc", prompt)
        service.say(*CHUNKS[:6])
        await settled()
        console.stop_draft("npc", prompt)
        await settled()
        assert service.closed == 1
        assert words(console, prompt) == ([{"kind": "text", "text": "Hello"}], True, "")
        await console.answer("npc", prompt, Written("Hello!"), "Ann")
        assert held.told == ["respond"]
        drafted = (await told(app))["drafted"]
        assert drafted == {
            "kind": "draft",
            "parts": [{"kind": "text", "text": "Hello"}],
            "why": "It was stopped.",
            "diff": [("same", "Hello"), ("new", "!")],
        }
        call = console.inbox.calls()["calls"][0]["call"]
        assert (await console.inbox.call(call))["drafted"] == drafted
        assert "> (It was stopped.)" in console.transcript("npc", "markdown")[1]

    async def test_what_was_cut_is_kept_and_no_worse_one_takes_its_place(
        self, console: Console, app: App, service: Speaking
    ) -> None:
        await app.say("q")
        prompt = await prompt_of(console)
        await console.draft("npc", prompt)
        service.say(*CHUNKS, None)
        await settled()
        service.pieces = asyncio.Queue()
        await console.draft("npc", prompt)
        service.say(*CHUNKS[:3], UpstreamError("It was cut."))
        await settled()
        assert words(console, prompt) == ([{"kind": "text", "text": "He"}], True, "It was cut.")
        await console.answer("npc", prompt, Written("Hello there!"), "Ann")
        assert (await told(app))["drafted"]["parts"] == [{"kind": "text", "text": "Hello there"}]

    async def test_the_latest_of_two_is_kept(self, console: Console, app: App, service: Speaking) -> None:
        await app.say("q")
        prompt = await prompt_of(console)
        for text in ("one", "two"):
            await console.draft("npc", prompt)
            service.say(*openai_chunks(text, "npc"), None)
            await settled()
            service.pieces = asyncio.Queue()
        await console.answer("npc", prompt, Written("three"), "Ann")
        assert (await told(app))["drafted"]["parts"] == [{"kind": "text", "text": "two"}]

    async def test_words_of_an_earlier_one_are_still_its_own(
        self, console: Console, app: App, service: Speaking
    ) -> None:
        held = await app.say("q", stream=False)
        prompt = await prompt_of(console)
        service.said = body("Hello there")
        service.say(json.dumps(service.said).encode(), None)
        await console.draft("npc", prompt)
        await settled()
        service.say(UpstreamError("It is down."))
        await console.draft("npc", prompt)
        await settled()
        assert words(console, prompt) == ([], True, "It is down.")
        await console.answer("npc", prompt, Written("Hello there!", from_draft=True), "Ann")
        assert json.loads(held.body)["id"] == "chatcmpl-real"

    async def test_no_key_is_in_an_error(self, gateway: Gateway, console: Console) -> None:
        service = Service(said={"error": {"message": f"Incorrect API key provided: {KEY}."}}, status=401)
        service.open.set()
        app = await app_of(gateway, service)
        await app.say("q")
        prompt = await prompt_of(console)
        await console.draft("npc", prompt)
        await settled()
        draft = console.draft_as_json("npc", prompt)
        assert draft is not None
        assert (draft["error"], draft["status"]) == ("Incorrect API key provided: \u2026.", 401)
        await console.answer("npc", prompt, Written("x"), "Ann")
        assert KEY not in json.dumps((await told(app))["drafted"])


class TestWhatItCosts:
    @pytest.mark.parametrize("how", ["answered", "passed", "gone"])
    async def test_a_draft_that_nobody_waits_for_is_left(
        self, gateway: Gateway, console: Console, app: App, service: Speaking, how: str
    ) -> None:
        await app.say("q")
        prompt = await prompt_of(console)
        await console.draft("npc", prompt)
        service.say(CHUNKS[0])
        await settled()
        if how == "answered":
            await console.answer("npc", prompt, Written("x"), "Ann")
        elif how == "passed":
            await console.pass_on("npc", prompt)
        else:
            await gateway.close_session("npc")
        await settled()
        assert service.closed == 1

    async def test_a_shadow_goes_on_behind_the_answer_but_not_behind_the_real_one(
        self, console: Console, app: App, service: Speaking
    ) -> None:
        await console.shadow("npc", on=True)
        await app.say("q")
        prompt = await prompt_of(console)
        await console.draft("npc", prompt)
        await console.answer("npc", prompt, Written("x"), "Ann")
        await told(app)
        assert service.closed == 0
        service.say(*CHUNKS, None)
        await settled()
        assert (await told(app))["drafted"]["parts"] == [{"kind": "text", "text": "Hello there"}]
        service.pieces = asyncio.Queue()
        await app.say("r")
        await console.pass_on("npc", await prompt_of(console))
        assert service.closed == 1
        await settled()
        assert service.asked == service.closed == 2

    async def test_a_shadow_goes_on_when_its_session_has_forgotten_the_prompt(
        self, gateway: Gateway, console: Console, app: App, service: Speaking
    ) -> None:
        await console.shadow("npc", on=True)
        await app.say("q")
        await console.answer("npc", await prompt_of(console), Written("x"), "Ann")
        await told(app)
        await gateway.close_session("npc")
        assert (await gateway.pair.state("npc")).prompts == ()
        service.say(*CHUNKS, None)
        await settled()
        assert (await told(app))["drafted"]["parts"] == [{"kind": "text", "text": "Hello there"}]

    async def test_so_many_sessions_are_shadowed(self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
        console = gateway.console
        monkeypatch.setattr(console_module, "_SHADOWED", 2)
        for name in ("a", "b", "c"):
            await gateway.operator.take_over(name)
            await console.shadow(name, on=True)
        assert [console.is_shadowed(name) for name in ("a", "b", "c")] == [False, True, True]

    async def test_what_is_too_long_is_cut(
        self, console: Console, app: App, service: Speaking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(suggestions, "_MOST_BYTES", 100_000)
        await app.say("q")
        prompt = await prompt_of(console)
        await console.draft("npc", prompt)
        service.say(CHUNKS[0], *openai_chunks("x" * 2000, "npc")[1:])
        for _ in range(300):
            await settled()
        assert service.closed == 1
        assert words(console, prompt)[1:] == (True, "What the service says is too long.")

    async def test_all_that_is_kept_is_bounded(
        self, console: Console, app: App, service: Speaking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(suggestions, "_KEPT", 3)
        prompts = []
        for number in range(5):
            await app.say(f"q{number}")
            prompts.append((await console.inbox.session("npc"))["prompts"][-1]["prompt"])
            await console.draft("npc", prompts[-1])
            service.say(*CHUNKS, None)
            await settled()
            service.pieces = asyncio.Queue()
        assert [console.draft_as_json("npc", one) is None for one in prompts] == [True, True, False, False, False]
        monkeypatch.setattr(suggestions, "_KEPT_BYTES", 1)
        await console.draft("npc", prompts[0])
        service.say(*CHUNKS, None)
        await settled()
        assert all(console.draft_as_json("npc", one) is None for one in prompts)

    async def test_shadows_leave_room_for_drafts_and_say_what_they_left_out(self, console: Console, app: App) -> None:
        await console.shadow("npc", on=True)
        for number in range(7):
            await app.say(f"q{number}")
        prompts = [one["prompt"] for one in (await console.inbox.session("npc"))["prompts"]]
        assert [console.suggestions.get(("npc", one)) is not None for one in prompts] == [True] * 6 + [False]
        await console.draft("npc", prompts[6])
        await app.say("q7")
        await app.say("q8")
        with pytest.raises(RateLimitedError):
            for prompt in (await console.inbox.session("npc"))["prompts"]:
                await console.draft("npc", prompt["prompt"])
        last = console.transcript("npc", "json")[1]["turns"][-1]
        assert last["drafted"]["kind"] == "shadow"
        assert "not asked" in last["drafted"]["why"]

    async def test_a_shadow_may_be_switched_on_before_any_call_came(self, gateway: Gateway, console: Console) -> None:
        """As after a restart: the session is known, its calls are not."""
        service = Service()
        await gateway.operator.take_over("npc")
        await console.shadow("npc", on=True)
        app = App(gateway, "app", service=service)
        await app.say("q")
        assert service.asked == 1


SIGNED: dict[str, Any] = {
    "id": "msg_real",
    "type": "message",
    "role": "assistant",
    "model": "npc-2024",
    "content": [
        {"type": "thinking", "thinking": "A troll!", "signature": "c2lnbmVk"},
        {"type": "text", "text": "I look around."},
        {"type": "tool_use", "id": "toolu_real", "name": "look", "input": {"where": "north"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 9},
}
LOOK = {"name": "look", "input_schema": {"type": "object", "properties": {"where": {"type": "string"}}}}


class TestWhatItKeeps:
    """What was left as it was is the service's own, for the app's next call may have to show it."""

    @pytest.fixture
    async def asked(self, gateway: Gateway) -> tuple[App, Any, str]:
        service = Service(said=SIGNED)
        service.open.set()
        app = await app_of(gateway, service, "anthropic-messages", tools=[LOOK])
        held = await app.say("q")
        prompt = await prompt_of(gateway.console)
        await gateway.console.draft("npc", prompt)
        await settled()
        return app, held, prompt

    async def test_ids_and_signatures(self, console: Console, asked: tuple[App, Any, str]) -> None:
        _, held, prompt = asked
        calls = [Wanted("look", '{"where": "south"}')]
        written = Written("I look around.", calls, from_draft=True)
        assert await console.check("npc", prompt, written) == ""
        await console.answer("npc", prompt, written, "Ann")
        content = json.loads(held.body)["content"]
        assert content == [*SIGNED["content"][:2], {**SIGNED["content"][2], "input": {"where": "south"}}]

    async def test_all_of_it_if_it_is_sent_as_it_is(self, console: Console, asked: tuple[App, Any, str]) -> None:
        _, held, prompt = asked
        await console.answer("npc", prompt, Written("/send"), "Ann")
        said = json.loads(held.body)
        assert {name: said[name] for name in ("id", "content", "stop_reason")} == {
            name: SIGNED[name] for name in ("id", "content", "stop_reason")
        }

    async def test_nothing_if_the_answer_is_another(self, console: Console, asked: tuple[App, Any, str]) -> None:
        _, held, prompt = asked
        await console.answer("npc", prompt, Written("I look around."), "Ann")
        said = json.loads(held.body)
        assert said["id"] != "msg_real"
        assert [one["type"] for one in said["content"]] == ["text"]

    async def test_another_end_and_a_call_that_does_not_fit(
        self, console: Console, asked: tuple[App, Any, str]
    ) -> None:
        _, held, prompt = asked
        wrong = Written("x", [Wanted("look", '{"where": 7}')], from_draft=True)
        with pytest.raises(UnprocessableError):
            await console.answer("npc", prompt, wrong, "Ann")
        await console.answer("npc", prompt, Written("I look", finish="length", from_draft=True), "Ann")
        said = json.loads(held.body)
        assert (said["stop_reason"], [one["type"] for one in said["content"]]) == ("max_tokens", ["thinking", "text"])

    async def test_what_does_not_fit_but_is_the_services(self, gateway: Gateway, console: Console) -> None:
        misfit = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"where": 7}'}}
        service = Service(said=body("No JSON.", tool_calls=[misfit]))
        service.open.set()
        function = {"name": "look", "parameters": LOOK["input_schema"]}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
        app = await app_of(gateway, service, tools=[{"type": "function", "function": function}], response_format=form)
        held = await app.say("q")
        prompt = await prompt_of(console)
        await console.draft("npc", prompt)
        await settled()
        calls = [Wanted("look", '{"where":7}')]
        assert await console.check("npc", prompt, Written("No JSON.", calls)) != ""
        await console.answer("npc", prompt, Written("No JSON.", calls, from_draft=True), "Ann")
        message = json.loads(held.body)["choices"][0]["message"]
        assert (message["content"], message["tool_calls"]) == ("No JSON.", [misfit])

    async def test_there_is_nothing_to_send_without_a_draft(self, gateway: Gateway, console: Console) -> None:
        await Client(gateway, "game").say("q", model="other")
        with pytest.raises(UnprocessableError, match="no draft"):
            await console.answer("other", await prompt_of(console, "other"), Written("/send"), "Ann")


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        ("openai-responses", {"background": True}),
        ("openai-responses", {"conversation": "conv_1"}),
        ("openai-responses", {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://x.example"}]}),
        ("anthropic-messages", {"mcp_servers": [{"type": "url", "url": "https://x.example", "name": "x"}]}),
    ],
)
async def test_what_does_more_than_ask_is_not_asked_twice(
    gateway: Gateway, console: Console, dialect: str, fields: dict[str, Any]
) -> None:
    service = Service()
    app = App(gateway, "app", dialect=dialect, service=service)
    question: dict[str, Any] = {"input": "q"} if dialect == "openai-responses" else {}
    await app.say("q", **question)
    await console.take("npc")
    await console.shadow("npc", on=True)
    await app.say("q", **question, **fields)
    prompt = await prompt_of(console)
    with pytest.raises(ConflictError) as raised:
        await console.draft("npc", prompt)
    assert raised.value.code == "once_only"
    assert service.asked == 0
    [turn] = console.transcript("npc", "json")[1]["turns"][1:]
    assert turn["drafted"]["why"].startswith("It was not asked: It")


async def test_what_a_service_keeps_to_look_at_may_be_asked(gateway: Gateway, console: Console) -> None:
    service = Service()
    app = App(gateway, "app", dialect="openai-responses", service=service)
    await app.say("q", input="q", store=True, background=False)
    await console.take("npc")
    await app.say("q", input="q", store=True, background=False)
    await console.draft("npc", await prompt_of(console))
    assert service.asked == 1


async def test_a_review_is_edited_like_a_draft() -> None:
    routes = [{"match": {"listener": "forward"}, "answer": "review"}, {"answer": "pair"}]
    gateway = Gateway(config(routes=routes), clock=Clock())
    service = Service(said=body("It is a troll."))
    service.open.set()
    app = await app_of(gateway, service)
    held = await app.say("one")
    await settled()
    [shown] = (await gateway.console.inbox.session("npc"))["prompts"]
    assert shown["draft_text"] == "It is a troll."
    await gateway.console.answer("npc", shown["prompt"], Written("It is an elf."), "Ann")
    assert heard(held) == "It is an elf."
    assert json.loads(held.body)["id"] == "chatcmpl-real"
    gateway.shut_down()


async def test_anthropics_stream_too(gateway: Gateway, console: Console, service: Speaking) -> None:
    app = await app_of(gateway, service, "anthropic-messages", stream=True)
    await app.say("q")
    prompt = await prompt_of(console)
    await console.draft("npc", prompt)
    service.say(*anthropic_events("Hello there", "npc"), None)
    await settled()
    assert words(console, prompt) == ([{"kind": "text", "text": "Hello there"}], True, "")
