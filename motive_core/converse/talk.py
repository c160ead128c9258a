"""One conversation: two sides, a number of turns, and whether each word arrived as it was said.

Owns the order in which they speak, and what is known of each message afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from motive_core.converse.link import Heard
from motive_core.converse.listening import OnText
from motive_core.converse.voices import Spoken
from motive_core.errors import MotiveError

type Speaker = Literal["a", "b"]

JOIN = "/join"
LEAVE = "/leave"
SAY = "/say"


class Speaks(Protocol):
    """A side's model."""

    async def answer(self, heard: str, on_text: OnText | None = None) -> Spoken:
        """What it says to this. Raises ``MotiveError``."""
        ...


class Says(Protocol):
    """A side's connection with the proxy."""

    async def say(self, text: str) -> Heard:
        """Say this, and give what comes back. Raises ``MotiveError``."""
        ...


@dataclass(slots=True)
class Said:
    """One message. ``number`` counts from 1. ``received`` is what the other side heard, None if it never did;
    ``transit_s`` is how long it took from the one to the other, the model's time aside."""

    number: int
    speaker: Speaker
    text: str
    spoken: Spoken
    received: str | None = None
    transit_s: float | None = None
    sent_at: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether it arrived as it was said."""
        return self.received == self.text


@dataclass(slots=True)
class Conversation:
    """What became of one. ``problem`` is what ended it before its time."""

    session: str
    turns: int
    messages: list[Said] = field(default_factory=list)
    problem: str | None = None
    took_s: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether every turn was spoken, and arrived as it was said."""
        return (
            self.problem is None
            and len(self.messages) == 2 * self.turns
            and all(message.is_right for message in self.messages)
        )


@dataclass(frozen=True, slots=True)
class Watcher:
    """Is told what happens, as it does."""

    thinking: Callable[[Speaker, str], None] = lambda speaker, text: None
    said: Callable[[Said], None] = lambda said: None


@dataclass(frozen=True, slots=True)
class Party:
    """One of the two: its model, and its connection with the proxy."""

    voice: Speaks
    link: Says


async def converse(
    session: str, a: Party, b: Party, *, prompt: str, turns: int, watcher: Watcher | None = None
) -> Conversation:
    """Let the two talk: ``a`` is given the prompt, and what it says goes to ``b`` through the proxy, and so on. Never
    raises for what goes wrong on the way: the conversation tells it."""
    talk = Conversation(session, turns)
    began = time.perf_counter()
    sides = _Sides(talk, a, b, watcher or Watcher())
    try:
        await sides.run(prompt)
    except* MotiveError as group:
        talk.problem = "; ".join(dict.fromkeys(_leaf_messages(group)))
    finally:
        talk.took_s = time.perf_counter() - began
    return talk


def _leaf_messages(group: BaseExceptionGroup[MotiveError]) -> list[str]:
    found = []
    for error in group.exceptions:
        found += _leaf_messages(error) if isinstance(error, BaseExceptionGroup) else [error.message]
    return found


def as_answer(text: str) -> str:
    """Words as the answerer has to send them, so that none of them is taken for a command or a join word."""
    return f"{SAY} {text}" if text.startswith("/") or text.strip().lower() == "ping" else text


class _Sides:
    """Both of them at work."""

    def __init__(self, talk: Conversation, a: Party, b: Party, watcher: Watcher) -> None:
        self._talk = talk
        self._a, self._b = a, b
        self._watcher = watcher
        self._over = asyncio.Event()

    async def run(self, prompt: str) -> None:
        """Until all turns are over."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask(prompt))
            group.create_task(self._answer())

    async def _ask(self, prompt: str) -> None:
        heard = prompt
        for _ in range(self._talk.turns):
            said = await self._speak("a", self._a.voice, heard)
            got = await self._a.link.say(said.text)
            heard = self._receive("b", got)
        self._over.set()

    async def _answer(self) -> None:
        words = JOIN
        for _ in range(self._talk.turns):
            got = await self._b.link.say(words)
            heard = self._receive("a", got)
            words = as_answer((await self._speak("b", self._b.voice, heard)).text)
        # Its last answer, too, is a call that listens afterwards: that one is given up when the answer has arrived.
        last = asyncio.ensure_future(self._b.link.say(words))
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait((last, over), return_when=asyncio.FIRST_COMPLETED)
            if last.done() and not over.done():
                last.result()  # an error, most likely
        finally:
            last.cancel()
            over.cancel()
            await asyncio.wait((last,))
        await self._b.link.say(LEAVE)

    async def _speak(self, speaker: Speaker, voice: Speaks, heard: str) -> Said:
        self._watcher.thinking(speaker, "")
        spoken = await voice.answer(heard, lambda text: self._watcher.thinking(speaker, text))
        said = Said(len(self._talk.messages) + 1, speaker, spoken.text, spoken, sent_at=time.perf_counter())
        self._talk.messages.append(said)
        return said

    def _receive(self, speaker: Speaker, heard: Heard) -> str:
        """What the other side said has come. Gives it."""
        said = next((one for one in reversed(self._talk.messages) if one.speaker == speaker), None)
        if said is not None and said.received is None:
            said.received = heard.text
            said.transit_s = heard.at - said.sent_at
            self._watcher.said(said)
        return heard.text
