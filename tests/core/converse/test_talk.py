"""A conversation of two sides, and that whatever goes wrong on the way is seen."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from motive_core.converse.link import Heard
from motive_core.converse.listening import OnText
from motive_core.converse.talk import JOIN, LEAVE, Party, Said, Watcher, as_answer, converse
from motive_core.converse.voices import Spoken, recent
from motive_core.errors import MotiveError, UpstreamError
from motive_core.ir import Message, TextPart


@dataclass
class Room:
    """Stands in for the proxy: hands words from the one to the other, with ``fault`` at one of the messages."""

    fault: str = ""
    at: int = 2
    prompts: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    answers: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    heard_by_b: list[str] = field(default_factory=list)
    count: int = 0

    def passed(self, text: str) -> str:
        self.count += 1
        if self.count != self.at:
            return text
        return {"altered": text.replace("\n", " "), "empty": ""}.get(self.fault, text)


@dataclass
class Asker:
    room: Room

    async def say(self, text: str) -> Heard:
        if self.room.fault == "error" and self.room.count >= self.room.at:
            raise UpstreamError("It is down.")
        self.room.prompts.put_nowait(self.room.passed(text))
        return Heard(await self.room.answers.get(), time.perf_counter(), None)


@dataclass
class Answerer:
    room: Room

    async def say(self, text: str) -> Heard:
        self.room.heard_by_b.append(text)
        if text == LEAVE:
            return Heard("You have left.", time.perf_counter(), None)
        if text != JOIN:
            self.room.answers.put_nowait(self.room.passed(text.removeprefix("/say ")))
        return Heard(await self.room.prompts.get(), time.perf_counter(), None)


@dataclass
class Mind:
    """A voice that says what it is told to, one after the other."""

    words: list[str]
    heard: list[str] = field(default_factory=list)

    async def answer(self, heard: str, on_text: OnText | None = None) -> Spoken:
        self.heard.append(heard)
        if not self.words:
            raise UpstreamError("I have nothing to say.")
        return Spoken(self.words.pop(0), 0.0, None, 1, 1, estimated=True)


def minds() -> tuple[Mind, Mind]:
    return Mind(["a1\n", "a2", "a3"]), Mind(["b1\n\tx", "/pass b2", "b3"])


async def test_every_word_arrives() -> None:
    room, (a, b), told = Room(), minds(), list[Said]()
    watcher = Watcher(said=told.append)
    talk = await converse(
        "s", Party(a, Asker(room)), Party(b, Answerer(room)), prompt="Begin.", turns=3, watcher=watcher
    )
    assert talk.is_whole and talk.problem is None
    assert [said.text for said in talk.messages] == ["a1\n", "b1\n\tx", "a2", "/pass b2", "a3", "b3"]
    assert a.heard == ["Begin.", "b1\n\tx", "/pass b2"] and b.heard == ["a1\n", "a2", "a3"]
    assert room.heard_by_b == [JOIN, "b1\n\tx", "/say /pass b2", "b3", LEAVE]
    assert [said.number for said in told] == [1, 2, 3, 4, 5, 6]
    assert all(said.transit_s is not None and said.transit_s >= 0 for said in told)


@pytest.mark.parametrize("fault", ["altered", "empty"])
async def test_an_altered_word_is_seen(fault: str) -> None:
    room, (a, b) = Room(fault), minds()
    talk = await converse("s", Party(a, Asker(room)), Party(b, Answerer(room)), prompt="Begin.", turns=3)
    assert not talk.is_whole
    assert [said.number for said in talk.messages if not said.is_right] == [2]


async def test_an_error_ends_it_and_is_told() -> None:
    room, (a, b) = Room("error"), minds()
    async with asyncio.timeout(5):
        talk = await converse("s", Party(a, Asker(room)), Party(b, Answerer(room)), prompt="Begin.", turns=3)
    assert (talk.is_whole, talk.problem, len(talk.messages)) == (False, "It is down.", 3)


async def test_a_model_that_fails_ends_it() -> None:
    room, (a, b) = Room(), minds()
    b.words = []
    async with asyncio.timeout(5):
        talk = await converse("s", Party(a, Asker(room)), Party(b, Answerer(room)), prompt="Begin.", turns=3)
    assert talk.problem == "I have nothing to say." and not talk.is_whole


async def test_a_defect_is_not_hidden() -> None:
    class Broken:
        async def answer(self, heard: str, on_text: OnText | None = None) -> Spoken:
            raise ZeroDivisionError

    room, (_, b) = Room(), minds()
    with pytest.raises(ExceptionGroup) as raised:
        await converse("s", Party(Broken(), Asker(room)), Party(b, Answerer(room)), prompt="Begin.", turns=1)
    assert raised.group_contains(ZeroDivisionError) and not raised.group_contains(MotiveError)


@pytest.mark.parametrize(
    ("text", "sent"),
    [("Hello", "Hello"), ("/pass", "/say /pass"), ("ping", "/say ping"), (" Ping\n", "/say  Ping\n"), ("a /b", "a /b")],
)
def test_no_answer_is_a_command(text: str, sent: str) -> None:
    assert as_answer(text) == sent


def test_what_a_model_is_told_begins_with_the_user() -> None:
    said = [Message("user" if n % 2 == 0 else "assistant", (TextPart(str(n)),)) for n in range(7)]
    assert [message.text for message in recent(said, 4)] == ["4", "5", "6"]
    assert [message.text for message in recent(said, 3)] == ["4", "5", "6"]
    assert [message.text for message in recent(said, 1)] == ["6"]
    assert [message.text for message in recent(said, 99)] == [str(n) for n in range(7)]
