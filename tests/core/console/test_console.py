"""The console without sockets: what is seen of calls, and a person who plays the model, on a whole gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from motive_core.backends import MemoryBackend
from motive_core.backends.base import Stored
from motive_core.console import Console
from motive_core.console.console import Wanted, Written
from motive_core.console.presence import AWAY_AFTER_S
from motive_core.errors import ConflictError, NotFoundError, UnprocessableError
from motive_core.gateway import Gateway
from tests.core.ports import FakePort
from tests.core.test_gateway import Client, Clock, config, heard

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "go",
            "description": "Goes.",
            "parameters": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
        },
    }
]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
async def gateway(clock: Clock, backend: MemoryBackend) -> AsyncIterator[Gateway]:
    made = Gateway(config(), clock=clock, backend=backend)
    yield made
    made.shut_down()


@pytest.fixture
def console(gateway: Gateway) -> Console:
    return gateway.console


class Slow(MemoryBackend):
    """A store that lets others go first."""

    async def load(self, session: str) -> Stored:
        await asyncio.sleep(0)
        return await super().load(session)


class VerySlow(MemoryBackend):
    """A store that a step of a clock's time goes by in."""

    async def load(self, session: str) -> Stored:
        await asyncio.sleep(0.01)
        return await super().load(session)


async def settle() -> None:
    """Let what was put off happen."""
    for _ in range(5):
        await asyncio.sleep(0)


async def prompts(console: Console, session: str = "npc") -> list[dict[str, Any]]:
    await settle()
    return list((await console.inbox.session(session))["prompts"])


async def only(console: Console, session: str = "npc") -> str:
    [prompt] = await prompts(console, session)
    return str(prompt["prompt"])


def app_of(gateway: Gateway) -> Client:
    return Client(gateway, "game/1.0 (linux)", listener="forward")


async def deliver(gateway: Gateway, app: Client, at: int = -1) -> None:
    exchange = app.exchanges[at]
    assert exchange is not None
    await gateway.delivered(exchange)


class TestWhatIsSeen:
    async def test_calls_that_pass_too(self, gateway: Gateway, console: Console) -> None:
        app = app_of(gateway)
        port = await app.say("one")
        assert port.told == ["pass"]
        told = await console.inbox.sessions()
        [row] = told["sessions"]
        assert (row["session"], row["app"], row["latest_state"]) == ("npc", "game/1.0 (linux)", "passed")
        assert (row["calls"], row["taken"], row["answerer"], told["waiting"]) == (1, False, "", 0)
        shown = await console.inbox.call(row["latest"])
        assert shown["request"]["messages"][0]["parts"] == [{"kind": "text", "text": "one"}]
        assert shown["request"]["settings"] == {"max_tokens": 99}
        assert json.loads(console.inbox.raw(row["latest"])["text"])["model"] == "npc"

    async def test_calls_of_a_route_that_passes(self, clock: Clock) -> None:
        gateway = Gateway(config(routes=[{"match": {"listener": "forward"}, "answer": "pass"}]), clock=clock)
        await app_of(gateway).say("one", model="gpt@asker")
        [row] = gateway.console.inbox.calls()["calls"]
        assert (row["session"], row["state"], row["source"]) == ("gpt", "passed", "none")

    async def test_who_waits_stands_first_and_the_other_client_is_told_apart(
        self, gateway: Gateway, console: Console, clock: Clock
    ) -> None:
        game, person = Client(gateway, "game"), Client(gateway, "person")
        await game.say("hello", model="older")
        clock.now += 5
        await person.say("ping", model="npc")
        await game.say("what now?", model="npc")
        rows = (await console.inbox.sessions())["sessions"]
        assert [(row["session"], row["waiting_count"], row["answerer"]) for row in rows] == [
            ("older", 1, ""),
            ("npc", 1, "other"),
        ]
        assert rows[1]["title"] == "what now?"
        assert rows[1]["calls"] == 1
        states = {row["title"]: (row["state"], row["role"]) for row in console.inbox.calls()["calls"]}
        assert states["ping"] == ("answered", "answerer")
        assert states["what now?"] == ("held", "asker")
        await console.take("npc")
        assert (await console.inbox.session("npc"))["answerer"] == "console"

    async def test_lists_come_in_pages_and_are_searched(self, gateway: Gateway, console: Console) -> None:
        app = app_of(gateway)
        for number in range(120):
            await app.say(f"word{number} <b>", model=f"m{number}")
        first = await console.inbox.sessions()
        assert [len(first["sessions"]), first["next"], first["total"]] == [50, 50, 120]
        assert first["sessions"][0]["session"] == "m119"
        last = await console.inbox.sessions(after=100)
        assert [len(last["sessions"]), last["next"]] == [20, None]
        found = await console.inbox.sessions(words="WORD77 game")
        assert [row["session"] for row in found["sessions"]] == ["m77"]
        calls = console.inbox.calls()
        older = console.inbox.calls(before=calls["next"])
        assert calls["calls"][-1]["number"] == older["calls"][0]["number"] + 1
        assert console.inbox.calls(words="word5 m5")["calls"][-1]["session"] == "m5"

    async def test_what_is_kept_is_bounded(self, gateway: Gateway, console: Console) -> None:
        log, app = console.log, app_of(gateway)
        log._most, log._most_requests = 10, 3
        for number in range(30):
            await app.say(f"word{number}", model=f"m{number % 4}")
        assert len(log) == 10
        assert sum(len(list(log.of(f"m{number}"))) for number in range(4)) == 10
        calls = console.inbox.calls()["calls"]
        assert [(await console.inbox.call(row["call"]))["request"] is not None for row in calls[:4]] == [
            *[True] * 3,
            False,
        ]
        assert calls[5]["title"] == "word24"
        with pytest.raises(NotFoundError):
            console.inbox.raw(calls[5]["call"])
        assert log._kept_bytes == sum(one.size_bytes for one in log._with_request)

    async def test_an_image_is_shown_and_a_link_is_not_followed(self, gateway: Gateway, console: Console) -> None:
        def image(url: str) -> dict[str, Any]:
            return {"type": "image_url", "image_url": {"url": url}}

        images = [image("data:image/png;base64,aGk="), image("data:image/svg+xml;base64,aGk="), image("http://x/y.png")]
        await app_of(gateway).say("", messages=[{"role": "user", "content": images}])
        parts = (await console.inbox.call(console.inbox.calls()["calls"][0]["call"]))["request"]["messages"][0]["parts"]
        assert [part.get("image") for part in parts] == ["data:image/png;base64,aGk=", None, None]
        assert parts[2]["url"] == "http://x/y.png"


class TestAPersonPlays:
    async def test_takes_over_answers_and_hands_back(self, gateway: Gateway, console: Console) -> None:
        app = app_of(gateway)
        await app.say("one")
        await console.take("npc")
        held = await app.say("two")
        assert held.told == []
        await console.answer("npc", await only(console), Written("I am no machine."), "Ann")
        assert heard(held) == "I am no machine."
        await deliver(gateway, app)
        await settle()
        state = await gateway.pair.state("npc")
        assert state.taken_by == "console"
        assert state.answerer is None
        await console.hand_back("npc")
        assert (await app.say("three")).told == ["pass"]
        form, told = console.transcript("npc", "json")
        assert form == "json"
        assert [turn["answered_by"] for turn in told["turns"]] == ["the real service", "Ann", "the real service"]
        markdown = console.transcript("npc", "markdown")[1]
        assert "> I am no machine." in markdown

    async def test_takes_a_seat_when_it_answers(self, gateway: Gateway, console: Console) -> None:
        game = Client(gateway, "game")
        held = await game.say("who is there?")
        await console.answer("npc", await only(console), Written("I am."), "Ann")
        assert heard(held) == "I am."
        assert (await console.inbox.session("npc"))["taken"]

    async def test_answers_in_any_order_and_every_one_arrives_where_it_belongs(
        self, gateway: Gateway, console: Console
    ) -> None:
        game = Client(gateway, "game")
        held = [await game.say(f"q{number}", tools=TOOLS) for number in range(4)]
        waiting = await prompts(console)
        for number in (2, 0, 3, 1):
            await console.answer("npc", waiting[number]["prompt"], Written(f"a{number}"), "Ann")
            assert heard(held[number]) == f"a{number}"
            await deliver(gateway, game, number)
        assert await prompts(console) == []

    async def test_the_second_answer_is_told_who_was_faster(
        self, gateway: Gateway, console: Console, clock: Clock
    ) -> None:
        held = await Client(gateway, "game").say("q")
        prompt = await only(console)
        results = await asyncio.gather(
            *(console.answer("npc", prompt, Written(f"by {who}"), who) for who in ("Ann", "Bob")),
            return_exceptions=True,
        )
        assert results[0] is None
        assert isinstance(results[1], ConflictError)
        assert results[1].message == "Ann answered this call 0 s ago."
        assert heard(held) == "by Ann"
        with pytest.raises(ConflictError):
            await console.answer("npc", "p1.0000", Written("x"), "Bob")

    async def test_who_was_faster_is_known_where_the_store_takes_its_time(self, clock: Clock) -> None:
        gateway = Gateway(config(), clock=clock, backend=Slow())
        held = await Client(gateway, "game").say("q")
        prompt = await only(gateway.console)
        results = await asyncio.gather(
            *(gateway.console.answer("npc", prompt, Written(f"by {who}"), who) for who in ("Ann", "Bob")),
            return_exceptions=True,
        )
        assert heard(held) == "by Ann"
        assert [getattr(result, "message", None) for result in results] == [None, "Ann answered this call 0 s ago."]
        gateway.shut_down()

    async def test_a_new_session_of_the_same_name_gets_no_answer_of_the_old_one(
        self, gateway: Gateway, console: Console
    ) -> None:
        game = Client(gateway, "game")
        await game.say("old words")
        prompt = await only(console)
        await gateway.close_session("npc")
        held = await game.say("new words")
        with pytest.raises(ConflictError):
            await console.answer("npc", prompt, Written("to the old"), "Ann")
        assert held.told == []

    async def test_tool_calls(self, gateway: Gateway, console: Console) -> None:
        held = await Client(gateway, "game").say("where?", tools=TOOLS)
        [shown] = await prompts(console)
        assert shown["request"]["tools"][0]["signature"] == "go(to: string)  Goes."
        prompt = shown["prompt"]
        bad = [("go", "{}"), ("go", "[]"), ("go", "{"), ("fly", "{}"), ("go", '{"to": 1}')]
        for name, arguments in bad:
            with pytest.raises(UnprocessableError):
                await console.answer("npc", prompt, Written("", [Wanted(name, arguments)]), "Ann")
        with pytest.raises(UnprocessableError):
            await console.answer("npc", prompt, Written("", [Wanted("go", '{"to": "x"}')] * 65), "Ann")
        assert held.told == []
        await console.answer("npc", prompt, Written('/call go {"to": "a"}', [Wanted("go", '{"to":"b"}')]), "Ann")
        message = json.loads(held.body)["choices"][0]["message"]
        assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"to": "a"}', '{"to":"b"}']
        assert len({call["id"] for call in message["tool_calls"]}) == 2

    async def test_structured_output_is_checked(self, gateway: Gateway, console: Console) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        held = await Client(gateway, "game").say("n?", response_format=form)
        prompt = await only(console)
        for text in ("one", '{"n": "one"}', " "):
            with pytest.raises(UnprocessableError):
                await console.answer("npc", prompt, Written(text), "Ann")
        await console.answer("npc", prompt, Written('{"n": 1}'), "Ann")
        assert heard(held) == '{"n": 1}'

    async def test_fails_and_refuses(self, gateway: Gateway, console: Console) -> None:
        game = Client(gateway, "game")
        held = await game.say("q1")
        await console.fail("npc", await only(console), 529, "Too much.", "Ann")
        assert held.status == 529
        held = await game.say("q2")
        await console.answer("npc", await only(console), Written("I will not.", refusal=True), "Ann")
        assert json.loads(held.body)["choices"][0]["message"]["refusal"] == "I will not."

    async def test_passes_one_call_on_and_goes_on_to_listen(self, gateway: Gateway, console: Console) -> None:
        app = app_of(gateway)
        await app.say("zero")
        await console.take("npc")
        held = await app.say("one")
        await console.pass_on("npc", await only(console))
        assert held.told == ["pass"]
        await settle()
        held = await app.say("two")
        assert held.told == []
        await console.answer("npc", await only(console), Written("/pass"), "Ann")
        assert held.told == ["pass"]
        held = await Client(gateway, "game").say("x", model="other")
        with pytest.raises(ConflictError) as raised:
            await console.pass_on("other", await only(console, "other"))
        assert raised.value.code == "no_service"
        assert held.told == []

    async def test_commands_of_the_composer(self, gateway: Gateway, console: Console) -> None:
        held = await Client(gateway, "game").say("q1", tools=TOOLS)
        prompt = await only(console)
        with pytest.raises(UnprocessableError, match="go"):
            await console.answer("npc", prompt, Written("/help"), "Ann")
        await console.answer("npc", prompt, Written("/think hm\nyes"), "Ann")
        assert heard(held) == "yes"
        await console.answer("npc", "p9.x", Written("/leave"), "Ann")
        assert not (await console.inbox.session("npc"))["taken"]

    async def test_a_session_that_was_never_heard_of_is_not_taken(self, console: Console) -> None:
        with pytest.raises(NotFoundError):
            await console.take("nobody")

    async def test_a_route_that_asks_nobody_is_told(self, clock: Clock) -> None:
        routes = [{"match": {"listener": "forward"}, "answer": "pass"}]
        gateway = Gateway(config(routes=routes), clock=clock)
        await app_of(gateway).say("one")
        with pytest.raises(ConflictError, match="answer: pass"):
            await gateway.console.take("npc")
        assert not await gateway.pair.count()

    async def test_large_answers_count_for_what_is_kept(
        self, gateway: Gateway, console: Console, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("motive_core.console.calls._KEPT_BYTES", 3000)
        game = Client(gateway, "game")
        for number in range(3):
            await game.say(f"q{number}")
            await console.answer("npc", await only(console), Written("a" * 2000), "Ann")
            await deliver(gateway, game)
        kept = [one["answer"] is not None for one in console.transcript("npc", "json")[1]["turns"]]
        assert kept == [False, False, True]

    @pytest.mark.parametrize("away", ["before", "after"])
    async def test_an_answer_that_a_later_call_hears_is_the_persons(
        self, gateway: Gateway, console: Console, away: str
    ) -> None:
        game = Client(gateway, "game")
        await game.say("one")
        exchange = game.exchanges[-1]
        assert exchange is not None
        if away == "before":
            await gateway.gone(exchange)
        await console.answer("npc", await only(console), Written("hi"), "Ann")
        if away == "after":
            await gateway.failed(exchange)
        held = await game.say("one")
        assert heard(held) == "hi"
        again = game.exchanges[-1]
        assert again is not None
        assert (again.source, again.answered_by) == ("operator", "Ann")
        await deliver(gateway, game)
        assert console.transcript("npc", "json")[1]["turns"][-1]["answered_by"] == "Ann"


class TestPresence:
    async def test_stays_while_one_prompt_is_thought_about_for_hours(self, clock: Clock) -> None:
        gateway = Gateway(config(timing={"turn_timeout_s": 20_000}), clock=clock)
        app = app_of(gateway)
        await app.say("zero")
        gateway.console.presence.page_opened()
        await gateway.console.take("npc")
        held = await app.say("one")
        for _ in range(20):
            await settle()
            clock.now += 900
            await gateway.sweep()
            await gateway.pair.tick("npc")
        assert held.told == []
        await gateway.console.answer("npc", await only(gateway.console), Written("at last"), "Ann")
        assert heard(held) == "at last"
        gateway.shut_down()

    async def test_is_given_up_when_no_page_is_open_and_taken_again_with_the_next(
        self, gateway: Gateway, console: Console, clock: Clock
    ) -> None:
        app = app_of(gateway)
        await app.say("zero")
        console.presence.page_opened()
        await console.take("npc")
        console.presence.page_closed()
        clock.now += AWAY_AFTER_S - 1
        await gateway.sweep()
        held = await app.say("one")
        assert held.told == []
        clock.now += 2
        await gateway.sweep()
        assert held.told == ["pass"]
        assert (await app.say("two")).told == ["pass"]
        console.presence.page_opened()
        await settle()
        assert (await app.say("three")).told == []
        await console.hand_back("npc")
        console.presence.page_closed()
        console.presence.page_opened()
        await settle()
        assert not (await console.inbox.session("npc"))["taken"]

    async def test_what_was_taken_by_a_command_is_not_given_up(
        self, gateway: Gateway, console: Console, clock: Clock
    ) -> None:
        await app_of(gateway).say("zero")
        await gateway.operator.take_over("npc")
        console.presence.page_opened()
        await console.take("npc")
        console.presence.page_closed()
        clock.now += AWAY_AFTER_S
        await gateway.sweep()
        assert (await console.inbox.session("npc"))["taken"]
        await console.hand_back("npc")
        assert not (await console.inbox.session("npc"))["taken"]

    async def test_what_a_command_takes_while_all_is_given_up_stays(self, clock: Clock) -> None:
        gateway = Gateway(config(), clock=clock, backend=VerySlow())
        console, names = gateway.console, ["a", "b", "c"]
        console.presence.page_opened()
        for name in names:
            await app_of(gateway).say("zero", model=name)
            await console.take(name)
        console.presence.page_closed()
        clock.now += AWAY_AFTER_S
        giving_up = asyncio.create_task(console.presence.refresh())
        await asyncio.gather(*(gateway.operator.take_over(name) for name in names))
        await giving_up
        assert [(await gateway.pair.state(name)).taken_by for name in names] == ["commands"] * 3
        gateway.shut_down()

    async def test_a_page_that_opens_while_all_is_given_up_has_all(self, clock: Clock) -> None:
        gateway = Gateway(config(), clock=clock, backend=VerySlow())
        console, names = gateway.console, ["a", "b", "c"]
        console.presence.page_opened()
        for name in names:
            await app_of(gateway).say("zero", model=name)
            await console.take(name)
        console.presence.page_closed()
        clock.now += AWAY_AFTER_S
        giving_up = asyncio.create_task(console.presence.refresh())
        await asyncio.sleep(0)
        console.presence.page_opened()
        await giving_up
        await asyncio.gather(*(retake for retake in asyncio.all_tasks() if retake is not asyncio.current_task()))
        assert [(await gateway.pair.state(name)).taken_by for name in names] == ["console"] * 3
        gateway.shut_down()

    async def test_ends_with_its_session(self, gateway: Gateway, console: Console, clock: Clock) -> None:
        await Client(gateway, "game").say("one")
        console.presence.page_opened()
        await console.take("npc")
        await gateway.close_session("npc")
        console.presence.page_closed()
        clock.now += AWAY_AFTER_S
        await gateway.sweep()
        console.presence.page_opened()
        await settle()
        assert await gateway.pair.count() == 0

    async def test_outlives_the_process(self, clock: Clock, backend: MemoryBackend) -> None:
        first = Gateway(config(), clock=clock, backend=backend)
        app = app_of(first)
        await app.say("zero")
        await first.console.take("npc")
        await app.say("one")
        prompt = await only(first.console)
        first.shut_down()
        clock.now += 30
        second = Gateway(config(), clock=clock, backend=backend)
        await second.restore()
        try:
            again = await prompts(second.console)
            assert [one["prompt"] for one in again] == [prompt]
            assert again[0]["words"] == [{"kind": "text", "text": "one"}]
            await second.console.answer("npc", prompt, Written("still here"), "Ann")
            held: FakePort = await app_of(second).say("one")
            assert heard(held) == "still here"
            clock.now += AWAY_AFTER_S
            await second.sweep()
            assert (await app_of(second).say("two")).told == ["pass"]
        finally:
            second.shut_down()


async def test_somebody_who_writes_is_seen_for_a_while(gateway: Gateway, console: Console, clock: Clock) -> None:
    console.writing("npc", "p1.x", "  Ann \n B ")
    assert console.writers("npc") == {"p1.x": "Ann B"}
    clock.now += 16
    assert console.writers("npc") == {}
