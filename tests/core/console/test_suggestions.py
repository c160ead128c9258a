"""What the real service would say, beside what a person says: drafts and shadows, on a whole gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from motive_core.console import Console
from motive_core.console.console import Wanted, Written
from motive_core.errors import ConflictError, RateLimitedError, UnprocessableError, UpstreamError
from motive_core.gateway import Gateway
from tests.core.reviewing import App, Service, body, settled
from tests.core.test_gateway import Client, Clock, config, heard

TOOLS = [{"type": "function", "function": {"name": "go", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway(config(), clock=Clock())
    yield made
    made.shut_down()


@pytest.fixture
def console(gateway: Gateway) -> Console:
    return gateway.console


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def app(gateway: Gateway, service: Service) -> App:
    """Its session is taken over."""
    made = App(gateway, "app", service=service)
    assert (await made.say("zero")).told == ["pass"]
    await gateway.console.take("npc")
    return made


async def prompt_of(console: Console, session: str = "npc") -> str:
    [one] = (await console.inbox.session(session))["prompts"]
    return str(one["prompt"])


def words(console: Console, prompt: str) -> Any:
    told = console.draft_as_json("npc", prompt)
    assert told is not None
    return told["parts"], told["done"], told["error"]


async def deliver(gateway: Gateway, app: App) -> None:
    exchange = app.exchanges[-1]
    assert exchange is not None
    await gateway.delivered(exchange)


class TestADraft:
    async def test_is_asked_for_told_edited_and_kept_beside_what_was_sent(
        self, gateway: Gateway, console: Console, app: App, service: Service
    ) -> None:
        held = await app.say("who is there?")
        prompt = await prompt_of(console)
        assert console.draft_as_json("npc", prompt) is None
        await console.draft("npc", prompt)
        await console.draft("npc", prompt)
        service.open.set()
        await settled()
        assert service.asked == 1
        assert words(console, prompt) == ([{"kind": "text", "text": "It is a troll."}], True, "")
        assert held.told == []
        await console.answer("npc", prompt, Written("It is a small troll."), "Ann")
        assert heard(held) == "It is a small troll."
        await deliver(gateway, app)
        turn = console.transcript("npc", "json")[1]["turns"][-1]
        assert turn["drafted"] == {
            "kind": "draft",
            "parts": [{"kind": "text", "text": "It is a troll."}],
            "diff": [("same", "It is a "), ("new", "small "), ("same", "troll.")],
        }
        markdown = console.transcript("npc", "markdown")[1]
        assert "**The real service had drafted:**\n\n> It is a troll." in markdown

    async def test_that_fails_says_why(self, console: Console, app: App, service: Service) -> None:
        held = await app.say("q")
        prompt = await prompt_of(console)
        service.error = UpstreamError("It is down.")
        service.open.set()
        await console.draft("npc", prompt)
        await settled()
        assert words(console, prompt) == ([], True, "It is down.")
        service.error = None
        await console.draft("npc", prompt)
        await settled()
        assert words(console, prompt)[2] == ""
        assert held.told == []

    async def test_may_be_stopped(self, console: Console, app: App, service: Service) -> None:
        await app.say("q")
        prompt = await prompt_of(console)
        await console.draft("npc", prompt)
        console.stop_draft("npc", prompt)
        await settled()
        assert (service.left, words(console, prompt)[1]) == (1, True)

    async def test_is_not_made_without_a_service_or_an_app(self, gateway: Gateway, console: Console) -> None:
        await Client(gateway, "game").say("q", model="other")
        with pytest.raises(ConflictError) as raised:
            await console.draft("other", await prompt_of(console, "other"))
        assert raised.value.code == "no_service"
        with pytest.raises(ConflictError):
            await console.draft("other", "p9.x")

    async def test_too_many_at_once_are_refused(self, console: Console, app: App) -> None:
        for number in range(9):
            await app.say(f"q{number}")
        prompts = [one["prompt"] for one in (await console.inbox.session("npc"))["prompts"]]
        for prompt in prompts[:8]:
            await console.draft("npc", prompt)
        with pytest.raises(RateLimitedError):
            await console.draft("npc", prompts[8])

    async def test_of_a_shadowed_call_is_the_shadow(self, console: Console, app: App, service: Service) -> None:
        await console.shadow("npc", on=True)
        await app.say("q")
        prompt = await prompt_of(console)
        assert console.draft_as_json("npc", prompt) is None
        await console.draft("npc", prompt)
        service.open.set()
        await settled()
        assert service.asked == 1
        assert words(console, prompt)[1]


class TestAShadow:
    async def test_is_kept_though_it_comes_after_the_answer(
        self, gateway: Gateway, console: Console, app: App, service: Service
    ) -> None:
        await console.shadow("npc", on=True)
        held = await app.say("q")
        assert service.asked == 1
        await console.answer("npc", await prompt_of(console), Written("Nobody."), "Ann")
        assert heard(held) == "Nobody."
        await deliver(gateway, app)
        assert "drafted" not in console.transcript("npc", "json")[1]["turns"][-1]
        service.open.set()
        await settled()
        turn = console.transcript("npc", "json")[1]["turns"][-1]
        assert turn["drafted"]["kind"] == "shadow"
        assert turn["drafted"]["diff"] == [("gone", "It is a troll"), ("new", "Nobody"), ("same", ".")]

    async def test_ends_when_it_is_switched_off(self, console: Console, app: App, service: Service) -> None:
        await console.shadow("npc", on=True)
        assert console.is_shadowed("npc")
        await console.shadow("npc", on=False)
        await app.say("q")
        assert service.asked == 0

    async def test_nothing_of_it_is_left_at_the_end(self, gateway: Gateway, app: App, service: Service) -> None:
        await gateway.console.shadow("npc", on=True)
        await app.say("q")
        assert service.asked == 1
        gateway.shut_down()
        await settled()
        assert service.left == 1

    async def test_is_not_shown_while_somebody_writes(
        self, gateway: Gateway, console: Console, app: App, service: Service
    ) -> None:
        service.open.set()
        await console.shadow("npc", on=True)
        await app.say("q")
        await settled()
        call = console.inbox.calls()["calls"][0]["call"]
        assert "drafted" not in await console.inbox.call(call)
        assert "drafted" not in console.transcript("npc", "json")[1]["turns"][-1]
        assert "would have said" not in console.transcript("npc", "markdown")[1]
        await console.answer("npc", await prompt_of(console), Written("Nobody."), "Ann")
        await deliver(gateway, app)
        assert "would have said" in console.transcript("npc", "markdown")[1]
        assert "drafted" in await console.inbox.call(call)


class TestWhatIsWritten:
    async def test_reasoning_and_the_reason_of_the_end(self, gateway: Gateway, console: Console) -> None:
        game = Client(gateway, "game", dialect="anthropic-messages")
        held = await game.say("q")
        written = Written("Half a", reasoning="Let me see.", finish="length")
        await console.answer("npc", await prompt_of(console), written, "Ann")
        told = json.loads(held.body)
        assert [(one["type"], one.get("thinking", one.get("text"))) for one in told["content"]] == [
            ("thinking", "Let me see."),
            ("text", "Half a"),
        ]
        assert told["stop_reason"] == "max_tokens"

    async def test_a_reply_that_is_cut(self, gateway: Gateway, console: Console) -> None:
        game = Client(gateway, "game")
        held = await game.say("q", stream=True)
        await console.cut("npc", await prompt_of(console), "half of this is lost", "Ann")
        assert held.told == ["stream"]
        await settled()
        assert (await console.inbox.session("npc"))["prompts"] == []
        held = await game.say("q", stream=True)
        await console.cut("npc", await prompt_of(console), "", "Ann")
        assert held.told == ["sever"]

    async def test_is_checked_before_it_is_sent(self, gateway: Gateway, console: Console) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        held = await Client(gateway, "game").say("n?", response_format=form, tools=TOOLS)
        prompt = await prompt_of(console)

        async def why(text: str, *calls: Wanted) -> str:
            return await console.check("npc", prompt, Written(text, calls))

        assert "JSON" in await why("one")
        assert "'n' is a required property" in await why("{}")
        assert await why('{"n": 1}') == ""
        assert await why("/help") == ""
        assert await why("", Wanted("go", "{}")) == ""
        assert "no tool 'fly'" in await why("", Wanted("fly", "{}"))
        assert held.told == []
        with pytest.raises(UnprocessableError):
            await console.answer("npc", prompt, Written("one"), "Ann")

    async def test_examples_for_fine_tuning(self, gateway: Gateway, console: Console, app: App) -> None:
        history = [
            {"role": "system", "content": "Be a troll."},
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "go", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "went"},
        ]
        held = await app.say("", messages=history, tools=TOOLS)
        await console.answer("npc", await prompt_of(console), Written("Grr."), "Ann")
        await deliver(gateway, app)
        assert heard(held) == "Grr."
        form, told = console.transcript("npc", "jsonl")
        assert form == "jsonl"
        [line] = told.splitlines()
        assert json.loads(line) == {
            "messages": [*history, {"role": "assistant", "content": "Grr."}],
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "go", "description": "", "parameters": {"type": "object", "properties": {}}},
                }
            ],
        }


async def test_review_is_shown_with_its_draft_and_kept() -> None:
    routes = [{"match": {"listener": "forward"}, "answer": "review"}, {"answer": "pair"}]
    gateway = Gateway(config(routes=routes), clock=Clock())
    service = Service()
    service.open.set()
    app = App(gateway, "app", service=service)
    await app.say("zero")
    await gateway.console.take("npc")
    held = await app.say("one")
    await asyncio.sleep(0)
    await settled()
    [shown] = (await gateway.console.inbox.session("npc"))["prompts"]
    assert shown["draft"] == [{"kind": "text", "text": "It is a troll."}]
    await gateway.console.pass_on("npc", shown["prompt"])
    assert json.loads(held.body)["choices"][0]["message"]["content"] == body()["choices"][0]["message"]["content"]
    held = await app.say("two")
    await settled()
    [shown] = (await gateway.console.inbox.session("npc"))["prompts"]
    await gateway.console.answer("npc", shown["prompt"], Written("It is an elf."), "Ann")
    assert heard(held) == "It is an elf."
    await deliver(gateway, app)
    turn = gateway.console.transcript("npc", "json")[1]["turns"][-1]
    assert turn["drafted"]["kind"] == "review"
    gateway.shut_down()
