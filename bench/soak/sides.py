"""The two clients of a session: the asker and the answerer, both rude at random.

Owns what each of them says, when it is rude, and what it writes into the transcript. Knows neither the proxy's process
nor the phases of a run, but for ``Weather``: whether rudeness is wanted now, and whether it is time to come to an end.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal, NamedTuple

from bench.soak.connection import RUDE, Caller, HungError, LostError, Manner, ProtocolError, request_bytes
from bench.soak.transcript import Asked, Shown, Transcript
from bench.soak.wires import SpokenError, Turn, Wire, WireError
from motive_core.pairing import NOTICES

PACED: Final = "paced-"
"""Sessions with this name get streamed replies word by word, so what is said there is short."""

_REMEMBERED_TURNS: Final = 6
_RETRIES_FOR_SURE: Final = 3
"""So often a client tries again before it may think of something else."""

_CLIENT_LEFT: Final = 499
_MAY_END_A_CALL: Final = (408, 503, 504)
"""Nobody answered in time (504; Bedrock says 408), or the proxy is about to end."""

_NOTICES: Final = tuple(prefix for text in NOTICES.values() if (prefix := text.partition("{")[0]))

type Role = Literal["asker", "answerer"]


@dataclass(slots=True)
class Weather:
    """What all clients are told. ``rudeness`` is the share of calls that go wrong; ``ending``: say no new prompts."""

    rudeness: float
    think_s: float
    ending: bool = False
    address: tuple[str, int] = ("", 0)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        """One more of these."""
        self.counts[what] = self.counts.get(what, 0) + 1


class Heard(NamedTuple):
    """How a call ended: with words, with an error (``status``), or lost (neither)."""

    words: str | None = None
    status: int = 0
    message: str = ""

    @property
    def lost(self) -> bool:
        """Whether nobody knows what became of the call."""
        return self.words is None and not self.status


@dataclass(slots=True)
class Client:
    """One client: who it is, how it speaks and what it remembers. ``role`` is what it says of itself, if anything."""

    wire: Wire
    model: str
    key: str
    agent: str
    asks: bool
    role: Role | None
    by_suffix: bool
    streams: float
    weather: Weather
    transcript: Transcript
    random: Random
    calm: bool = True
    turns: list[Turn] = field(default_factory=list)

    def caller(self) -> Caller:
        """A connection for its calls."""
        return Caller(self.weather.address, self.random)

    def remember(self, said: str, heard: str) -> None:
        """A turn becomes part of its history."""
        self.turns = [*self.turns, Turn(said, heard)][-_REMEMBERED_TURNS:]

    def manner(self) -> Manner:
        """How the next call goes."""
        if self.calm or self.random.random() >= self.weather.rudeness:
            return "plain"
        return self.random.choice(RUDE)

    async def think(self, share: float = 1.0) -> None:
        """Take a while, as people and programs do."""
        await asyncio.sleep(min(5.0, self.random.expovariate(1.0)) * self.weather.think_s * share)

    async def say(self, caller: Caller, turns: list[Turn], words: str, attempt: int) -> Heard:
        """Make one call. What no client should ever get is an oddity in the transcript."""
        streamed = self.random.random() < self.streams
        model, headers = self.model, self.wire.headers(self.key, self.agent, attempt)
        if self.role is not None and self.by_suffix:
            model = f"{model}@{self.role}"
        elif self.role is not None:
            headers["x-motive-role"] = self.role
        body = json.dumps(
            self.wire.body(model, turns, words, streamed=streamed), ensure_ascii=self.random.random() < 0.5
        ).encode()
        host = "{}:{}".format(*self.weather.address)
        request = request_bytes(self.wire.target(model, streamed=streamed), host, headers, body)
        manner = self.manner()
        self.weather.count("calls")
        if manner != "plain":
            self.weather.count(manner)
        began = time.time()
        heard = await self._heard(caller, request, manner, streamed=streamed)
        ended = f"{heard.words!r:.60}" if heard.words is not None else f"{heard.status or 'lost'} {heard.message}"
        side = f"{'asker' if self.asks else 'answerer'} {self.wire.name}{' streamed' if streamed else ''}"
        self.transcript.log.append(
            f"{began:.3f} to {time.time():.3f} {side} {manner}, attempt {attempt}: {words!r:.60} -> {ended}"
        )
        return heard

    async def _heard(self, caller: Caller, request: bytes, manner: Manner, *, streamed: bool) -> Heard:
        try:
            reply = await caller.call(request, manner)
        except LostError:
            self.weather.count("lost calls")
            return Heard()
        except (HungError, ProtocolError) as error:
            self._odd(f"{type(error).__name__}: {error}")
            return Heard()
        try:
            if reply.status == 200:
                return Heard(self.wire.read(reply.headers, reply.body, streamed=streamed))
            return Heard(None, reply.status, self._error(reply.status, reply.headers, reply.body))
        except SpokenError as error:
            self.weather.count("errors in a reply under way")
            if "in time" not in str(error):
                self._odd(f"{self.wire.name}: {error} in a reply under way")
            return Heard(None, reply.status, str(error))
        except WireError as error:
            self._odd(f"{self.wire.name} {'streamed' if streamed else 'whole'}: {error}")
            return Heard()

    def _error(self, status: int, headers: Mapping[str, str], body: bytes) -> str:
        self.weather.count(f"status {status}")
        if status == _CLIENT_LEFT:
            return ""  # what a client gets that said it would send nothing more, and is taken for gone
        message = self.wire.message(body)
        if status not in _MAY_END_A_CALL or headers.get("content-type") != "application/json":
            self._odd(f"{self.wire.name}: {status} {message}")
        return message

    def _odd(self, what: str) -> None:
        self.transcript.oddities.append(f"{self.role or 'client'} {self.agent}: {what}")

    def words(self, what: str, number: int) -> str:
        """Words that are said only once."""
        random = self.random
        secret = f"{random.getrandbits(64):016x}"
        size = random.choice((0, 0, 0, 3, 30) if self.model.startswith(PACED) else (0, 0, 0, 3, 30, 300))
        filler = "".join(f"{random.choice(_FILLERS)}{random.getrandbits(32):08x}" for _ in range(size))
        return f"{what} {number} {secret}{filler}."


_FILLERS: Final = (" ", " ", "\n", "\n\n", " ü", " 世界 ", " 👩‍👩‍👧 ", ' "', " \\", " data: ", "\t", " \u2028 ")


class Asker:
    """The app: ``lanes`` conversations at once, each of which says one prompt after another."""

    def __init__(self, client: Client, lanes: int) -> None:
        self.client = client
        self.lanes = lanes
        self._prompts = 0

    async def run(self) -> None:
        """Ask until it is time to come to an end, and the last prompt was answered."""
        async with asyncio.TaskGroup() as group:
            for lane in range(self.lanes):
                group.create_task(self._lane(lane))

    async def _lane(self, lane: int) -> None:
        client, turns = self.client, list[Turn]()
        caller = client.caller()
        try:
            while not client.weather.ending:
                self._prompts += 1
                asked = Asked(lane, client.words("Prompt", self._prompts))
                client.transcript.asked.append(asked)
                await self._ask(caller, turns, asked)
                if asked.heard:
                    turns = [*turns, Turn(asked.words, asked.heard[-1])][-_REMEMBERED_TURNS:]
                    client.calm = False
                    client.weather.count("turns")
                await client.think()
        finally:
            caller.close()

    async def _ask(self, caller: Caller, turns: list[Turn], asked: Asked) -> None:
        """Say a prompt until it is answered, or given up."""
        client, attempt, other = self.client, 0, self.client.caller()
        try:
            while True:
                hedges = attempt and client.wire.marks == "stainless" and client.random.random() < 0.1
                callers = (caller, other) if hedges else (caller,)
                heards = await asyncio.gather(*[client.say(one, turns, asked.words, attempt) for one in callers])
                asked.heard += [heard.words for heard in heards if heard.words is not None]
                if asked.heard:
                    return
                attempt += 1
                if client.weather.ending or client.calm or attempt < _RETRIES_FOR_SURE or client.random.random() < 0.7:
                    if client.wire.marks == "none":
                        asked.said_again += 1
                    await client.think(0.3)
                    continue
                asked.gave_up = True
                client.weather.count("prompts given up")
                return
        finally:
            other.close()


class Answerer:
    """The person: says what it has to say, and hears the next prompt."""

    def __init__(self, client: Client, *, alone: bool) -> None:
        self.client = client
        self._alone = alone
        """Whether there is one prompt at a time, so that another prompt proves that the last answer was taken."""
        self._answers = 0
        self._seen: set[str] = set()
        self._again: set[str] = set()
        """Of the prompts that were shown, those that may be shown once more: it lost a call since then, or joined."""

    async def run(self) -> None:
        """Answer until somebody ends the task."""
        client = self.client
        caller = client.caller()
        try:
            words, shown = self._join(), None
            while True:
                words, shown = await self._next(caller, words, shown)
        finally:
            caller.close()

    def _join(self) -> str:
        self._again |= self._seen
        return self.client.random.choice(("/join", "ping"))

    async def _next(self, caller: Caller, words: str, shown: Shown | None) -> tuple[str, Shown | None]:
        """Say something until it is known what became of it. ``shown`` is the prompt that it answers, if it is an
        answer. Gives what to say next, and to what prompt."""
        client, attempt, lost = self.client, 0, False
        while True:
            heard = await client.say(caller, client.turns, words, attempt)
            if heard.words is not None and not heard.words.startswith(_NOTICES):
                return await self._hear(words, shown, heard.words, lost=lost)
            if heard.words is not None:
                client.weather.count(f"notice: {heard.words[:12]}")
                if shown is not None and not heard.words.startswith((NOTICES["late"], _NOTICES_REFUSED)):
                    client.remember(words, heard.words)
                return self._join(), None
            lost = True
            self._again |= self._seen
            attempt += 1
            await client.think(0.3)
            choice = client.random.random()
            if shown is None and choice < 0.8:
                continue
            if choice < 0.6 and (client.wire.marks != "none" or client.wire.quotes):
                continue
            if choice < 0.8 and shown is not None and client.wire.quotes:
                client.weather.count("other words")
                attempt, words = 0, self._answer(shown)
                continue
            if choice > 0.9:
                await self._leave(caller)
            return self._join(), None

    async def _leave(self, caller: Caller) -> None:
        client = self.client
        client.weather.count("left")
        await client.say(caller, client.turns, "/leave", 0)
        await client.think()

    async def _hear(self, words: str, shown: Shown | None, prompt: str, *, lost: bool) -> tuple[str, Shown]:
        """The next prompt is here: what it proves, and the answer to it."""
        client = self.client
        if shown is not None and prompt != shown.words and (self._alone or (not lost and client.wire.quotes)):
            shown.taken = True
        if shown is not None:
            client.calm = False
        now = Shown(prompt, expected_again=prompt in self._again or not client.wire.quotes)
        self._seen.add(prompt)
        self._again.discard(prompt)
        client.transcript.shown.append(now)
        client.remember(words, prompt)
        await client.think()
        return self._answer(now), now

    def _answer(self, shown: Shown) -> str:
        self._answers += 1
        words = self.client.words("Answer", self._answers)
        shown.answers.append(words)
        return words


_NOTICES_REFUSED: Final = NOTICES["refused"].partition("{")[0]
