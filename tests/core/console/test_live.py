"""An answer that an app hears while a person writes it, on a whole gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from motive_core.backends import MemoryBackend
from motive_core.console import Console
from motive_core.console.console import Written
from motive_core.errors import ConflictError, MotiveError
from motive_core.gateway import Gateway
from motive_core.pairing import live as live_answers
from tests.core.ports import FakePort
from tests.core.reviewing import settled
from tests.core.test_gateway import Client, Clock, config, heard


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway(config(), clock=Clock())
    yield made
    made.shut_down()


@pytest.fixture
def console(gateway: Gateway) -> Console:
    return gateway.console


async def prompt_of(console: Console, session: str = "npc") -> str:
    [one] = (await console.inbox.session(session))["prompts"]
    return str(one["prompt"])


class Stream:
    """What a client gets, as it comes."""

    def __init__(self, port: FakePort) -> None:
        assert port.told == ["stream"]
        assert port.chunks is not None
        self._chunks = port.chunks
        self.data = b""

    async def until(self, words: str) -> None:
        """Read until these words are there."""
        async with asyncio.timeout(5):
            while words.encode() not in self.data:
                self.data += await anext(self._chunks)

    async def text(self) -> str:
        """All of it."""
        async with asyncio.timeout(5):
            async for chunk in self._chunks:
                self.data += chunk
        events = [json.loads(line[6:]) for line in self.data.decode().splitlines() if line.startswith("data: {")]
        return "".join(choice["delta"].get("content") or "" for one in events for choice in one.get("choices", ()))


async def deliver(gateway: Gateway, app: Client, at: int = -1) -> None:
    exchange = app.exchanges[at]
    assert exchange is not None
    await gateway.delivered(exchange)


async def test_the_first_words_are_there_before_the_last_are_written(gateway: Gateway, console: Console) -> None:
    game = Client(gateway, "game")
    stream_port = await game.say("Who are you?", stream=True)
    prompt = await prompt_of(console)
    assert await console.type("npc", prompt, 0, "I am", "Ann", is_all=False) == "I am"
    stream = Stream(stream_port)
    await stream.until("I am")
    assert (await console.inbox.session("npc"))["prompts"] == []
    assert await console.type("npc", prompt, 4, " a", "Ann", is_all=False) == "I am a"
    # The same once more, and words that were said already in another form: nothing is doubled.
    assert await console.type("npc", prompt, 4, " a", "Ann", is_all=False) == "I am a"
    assert await console.type("npc", prompt, 0, "I am a t", "Ann", is_all=False) == "I am a t"
    with pytest.raises(ConflictError) as raised:
        await console.type("npc", prompt, 0, "I am no troll.", "Ann", is_all=True)
    assert raised.value.code == "said"
    assert await console.type("npc", prompt, 0, "I am a troll.", "Ann", is_all=True) == "I am a troll."
    assert await stream.text() == "I am a troll."
    await deliver(gateway, game)
    [turn] = console.transcript("npc", "json")[1]["turns"]
    assert (turn["answered_by"], turn["answer"]) == ("Ann", [{"kind": "text", "text": "I am a troll."}])


async def test_others_are_told_that_somebody_answers(gateway: Gateway, console: Console) -> None:
    await Client(gateway, "game").say("q", stream=True)
    prompt = await prompt_of(console)
    await console.type("npc", prompt, 0, "I", "Ann", is_all=False)
    with pytest.raises(ConflictError, match="Ann"):
        await console.type("npc", prompt, 0, "I, Bob", "Bob", is_all=False)
    with pytest.raises(ConflictError, match="Ann"):
        await console.answer("npc", prompt, Written("I, Bob"), "Bob")
    with pytest.raises(ConflictError) as raised:
        await console.type("npc", prompt, 9, "far", "Ann", is_all=False)
    assert raised.value.code == "gap"


async def test_a_call_that_does_not_stream_hears_the_whole(gateway: Gateway, console: Console) -> None:
    held = await Client(gateway, "game").say("q")
    prompt = await prompt_of(console)
    await console.type("npc", prompt, 0, "one ", "Ann", is_all=False)
    assert held.told == []
    await console.type("npc", prompt, 4, "two", "Ann", is_all=True)
    await settled()
    assert heard(held) == "one two"


async def test_the_hold_time_is_over_and_the_words_go_on(gateway: Gateway, console: Console) -> None:
    clock: Any = gateway.clock
    held = await Client(gateway, "game").say("q")
    prompt = await prompt_of(console)
    await console.type("npc", prompt, 0, "one", "Ann", is_all=False)
    clock.now += 10_000
    await gateway.pair.tick("npc")
    assert held.told == []
    await console.type("npc", prompt, 3, "!", "Ann", is_all=True)
    await settled()
    assert heard(held) == "one!"


async def test_a_retry_hears_it_from_the_beginning_and_once(gateway: Gateway, console: Console) -> None:
    game = Client(gateway, "game")
    await game.say("q", stream=True)
    prompt = await prompt_of(console)
    await console.type("npc", prompt, 0, "one ", "Ann", is_all=False)
    lost = game.exchanges[0]
    assert lost is not None
    await gateway.failed(lost)
    again = Stream(await game.say("q", stream=True))
    await again.until("one")
    await console.type("npc", prompt, 4, "two", "Ann", is_all=True)
    assert await again.text() == "one two"
    await deliver(gateway, game)
    assert (await console.inbox.session("npc"))["prompts"] == []
    late = await game.send(
        json.dumps({"model": "npc", "max_tokens": 99, "messages": [{"role": "user", "content": "q"}]}).encode(),
        x_stainless_retry_count="1",
    )
    assert late.told in ([], ["respond"])


async def test_who_goes_away_ends_it(gateway: Gateway, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_answers, "SILENCE_S", 0.02)
    port = await Client(gateway, "game").say("q", stream=True)
    await console.type("npc", await prompt_of(console), 0, "I was", "Ann", is_all=False)
    assert await Stream(port).text() == "I was"


async def test_json_is_not_said_live(gateway: Gateway, console: Console) -> None:
    form = {"type": "json_object"}
    held = await Client(gateway, "game").say("q", stream=True, response_format=form)
    with pytest.raises(ConflictError, match="JSON"):
        await console.type("npc", await prompt_of(console), 0, "{", "Ann", is_all=False)
    assert held.told == []
    await console.answer("npc", await prompt_of(console), Written("{}"), "Ann")
    assert held.told == ["respond"]


async def test_a_restart_in_the_middle_lets_the_prompt_wait_again() -> None:
    backend, clock = MemoryBackend(), Clock()
    first = Gateway(config(), clock=clock, backend=backend)
    game = Client(first, "game")
    await game.say("q", stream=True)
    prompt = await prompt_of(first.console)
    await first.console.type("npc", prompt, 0, "half", "Ann", is_all=False)
    second = Gateway(config(), clock=clock, backend=backend)  # the first one was killed
    await second.restore()
    assert await prompt_of(second.console) == prompt
    await second.console.answer("npc", prompt, Written("whole"), "Ann")
    assert heard(await Client(second, "game").say("q")) == "whole"
    second.shut_down()
    first.shut_down()


async def test_nothing_is_left_at_the_end(gateway: Gateway, console: Console) -> None:
    port = await Client(gateway, "game").say("q", stream=True)
    await console.type("npc", await prompt_of(console), 0, "one", "Ann", is_all=False)
    stream = Stream(port)
    await stream.until("one")
    gateway.shut_down()
    assert await stream.text() == "one"
    assert b'"shutting_down"' in stream.data


@pytest.mark.parametrize(
    ("at", "text", "is_all", "code"),
    [
        (5, "words", False, "gap"),
        (0, "", True, "empty"),
        (0, " \n", True, "empty"),
        (0, "x" * (live_answers.MOST_CHARACTERS + 1), False, "payload_too_large"),
    ],
    ids=["a gap", "nothing", "nothing but space", "too much"],
)
async def test_what_is_refused_takes_nothing(gateway: Gateway, at: int, text: str, is_all: bool, code: str) -> None:
    console = gateway.console
    held = await Client(gateway, "game").say("q", stream=True)
    prompt = await prompt_of(console)
    with pytest.raises(MotiveError) as raised:
        await console.type("npc", prompt, at, text, "Ann", is_all=is_all)
    assert raised.value.code == code
    assert held.told == []
    told = await console.inbox.session("npc")
    assert not told["taken"] and [one["prompt"] for one in told["prompts"]] == [prompt]
    await console.answer("npc", prompt, Written("whole"), "Bob")
    assert held.told == ["respond"]


async def test_nothing_said_yet_takes_nothing(gateway: Gateway, console: Console) -> None:
    await Client(gateway, "game").say("q", stream=True)
    prompt = await prompt_of(console)
    assert await console.type("npc", prompt, 0, "", "Ann", is_all=False) == ""
    assert await prompt_of(console) == prompt


async def test_json_that_is_not_said_live_takes_no_session(gateway: Gateway, console: Console) -> None:
    await Client(gateway, "game").say("q", stream=True, response_format={"type": "json_object"})
    with pytest.raises(ConflictError, match="JSON"):
        await console.type("npc", await prompt_of(console), 0, "{", "Ann", is_all=False)
    assert not (await console.inbox.session("npc"))["taken"]


async def test_words_after_the_end_are_refused(
    gateway: Gateway, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_answers, "SILENCE_S", 0.02)
    port = await Client(gateway, "game").say("q", stream=True)
    prompt = await prompt_of(console)
    await console.type("npc", prompt, 0, "I was", "Ann", is_all=False)
    assert await Stream(port).text() == "I was"
    for is_all in (False, True):
        with pytest.raises(ConflictError) as raised:
            await console.type("npc", prompt, 5, " late", "Ann", is_all=is_all)
        assert raised.value.code == "over"
    assert await console.type("npc", prompt, 0, "I was", "Ann", is_all=True) == "I was"  # the same once more is no harm


async def test_an_answer_that_the_proxy_broke_off_is_none() -> None:
    """As after a kill: half of an answer is not to stand for the whole."""
    backend, clock = MemoryBackend(), Clock()
    first = Gateway(config(), clock=clock, backend=backend)
    port = await Client(first, "game").say("q", stream=True)
    prompt = await prompt_of(first.console)
    await first.console.type("npc", prompt, 0, "half", "Ann", is_all=False)
    stream = Stream(port)
    await stream.until("half")
    first.shut_down()
    assert await stream.text() == "half"
    await settled()
    second = Gateway(config(), clock=clock, backend=backend)
    await second.restore()
    assert await prompt_of(second.console) == prompt
    await second.console.answer("npc", prompt, Written("whole"), "Ann")
    assert heard(await Client(second, "game").say("q")) == "whole"
    second.shut_down()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_session_that_is_ended_ends_what_is_said_in_it(
    gateway: Gateway, console: Console, streamed: bool
) -> None:
    port = await Client(gateway, "game").say("q", stream=streamed)
    prompt = await prompt_of(console)
    await console.type("npc", prompt, 0, "half", "Ann", is_all=False)
    stream = Stream(port) if streamed else None
    if stream is not None:
        await stream.until("half")
    assert await gateway.pair.close("npc")
    await settled()
    if stream is not None:
        assert await stream.text() == "half" and b'"session_closed"' in stream.data
    else:
        assert json.loads(port.body)["error"]["code"] == "session_closed"
    with pytest.raises(ConflictError):
        await console.type("npc", prompt, 4, " more", "Ann", is_all=False)

    # The same again is another prompt, though its number is the same: nothing of the old one counts for it.
    clock: Any = gateway.clock
    clock.now += 0.01
    again = await Client(gateway, "game").say("q", stream=True)
    [anew] = (await console.inbox.session("npc"))["prompts"]
    assert anew["prompt"] != prompt
    assert await console.type("npc", anew["prompt"], 0, "other words", "Ann", is_all=True) == "other words"
    assert await Stream(again).text() == "other words"


async def test_a_transcript_has_the_turns_of_a_session_that_began_anew(gateway: Gateway, console: Console) -> None:
    clock: Any = gateway.clock
    for number in range(2):
        await Client(gateway, "game").say("q")
        await console.answer("npc", await prompt_of(console), Written(f"a{number}"), "Ann")
        await gateway.pair.close("npc")
        clock.now += 10
    turns = console.transcript("npc", "json")[1]["turns"]
    assert [turn["said"][0]["text"] for turn in turns] == ["q", "q"]


async def test_an_app_that_lost_patience_made_one_turn(gateway: Gateway, console: Console) -> None:
    clock: Any = gateway.clock
    game = Client(gateway, "game")
    await game.say("q")
    [lost] = game.exchanges
    assert lost is not None
    lost.end("gone")
    await gateway.gone(lost)
    clock.now += 2
    await game.say("q")
    await console.answer("npc", await prompt_of(console), Written("a"), "Ann")
    await deliver(gateway, game)
    [turn] = console.transcript("npc", "json")[1]["turns"]
    assert (turn["state"], turn["answered_by"], turn["answer"]) == ("answered", "Ann", [{"kind": "text", "text": "a"}])
    assert turn["took_s"] == 2.0
    assert b'"content": "a"' in console.transcript("npc", "jsonl")[1]


async def test_the_answer_of_a_long_time_goes_on_though_its_prompt_is_forgotten(
    gateway: Gateway, console: Console
) -> None:
    clock: Any = gateway.clock
    port = await Client(gateway, "game").say("q", stream=True)
    prompt = await prompt_of(console)
    await console.type("npc", prompt, 0, "one ", "Ann", is_all=False)
    stream = Stream(port)
    await stream.until("one")
    clock.now += 100_000
    await gateway.pair.tick("npc")
    assert await console.type("npc", prompt, 4, "two", "Ann", is_all=True) == "one two"
    assert await stream.text() == "one two"
