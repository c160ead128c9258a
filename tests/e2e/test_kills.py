"""The proxy is killed and started again, at every step of a conversation and at random moments; nobody loses a word.

Both sides are OpenAI's SDK, which tries again by itself and marks that it does. What it cannot do by itself is to begin
a stream anew that broke in the middle: then its user says the same again, as people and programs do. What each side
heard is compared with what the other one said: in order, nothing twice, nothing lost.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest

from tests.e2e.clients import Link
from tests.e2e.nursery import Nursery
from tests.e2e.proxy import Proxy

KILLS: Final = 50
"""A test; there are four of them."""
SESSIONS: Final = 4
RETRY_S: Final = 0.02
EPHEMERAL: Final = 32768
"""From here on, the system may take a port for an outgoing connection; one to a port where nobody listens could then be
one to itself."""


class _Impatient(openai.AsyncOpenAI):
    """Waits less before it tries again: half a second each time would be minutes."""

    def _calculate_retry_timeout(self, *_: Any, **__: Any) -> float:
        return RETRY_S


@dataclass
class Side:
    """One side of a conversation, as a chat client has it. ``heard`` are the replies, in order; ``on_reply`` is told of
    each."""

    link: Link
    session: str
    name: str
    streamed: bool
    remembers: bool = True
    on_reply: Callable[[], None] = lambda: None
    heard: list[str] = field(default_factory=list)
    history: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = _Impatient(
            base_url=self.link.base_url("openai"),
            http_client=openai.DefaultAsyncHttpxClient(**self.link.http_options()),
            api_key=f"sk-{self.name}",
            max_retries=1000,
            timeout=30.0,
        )

    async def say(self, text: str) -> str:
        """Say something, as often as it takes. Gives the reply."""
        said = {"role": "user", "content": text}
        reply = await self.ask([*self.history, said])
        if self.remembers:
            self.history += [said, {"role": "assistant", "content": reply}]
        self.heard.append(reply)
        self.on_reply()
        return reply

    def start(self, text: str) -> asyncio.Task[str]:
        return asyncio.create_task(self.say(text))

    async def ask(self, messages: list[Any]) -> str:
        call: Any = {"model": self.session, "messages": messages}
        while True:
            if not self.streamed:
                whole = await self.client.chat.completions.create(**call)
                return whole.choices[0].message.content or ""
            pieces, finished = [], False
            with suppress(openai.APIConnectionError, httpx.TransportError):
                async for chunk in await self.client.chat.completions.create(stream=True, **call):
                    for choice in chunk.choices:
                        pieces.append(choice.delta.content or "")
                        finished = finished or choice.finish_reason is not None
                if finished:
                    return "".join(pieces)

    async def close(self) -> None:
        await self.client.close()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as started:
        yield started


@pytest.fixture
def mortal(tmp_path: Path, confdir: Path, nursery: Nursery) -> Iterator[Proxy]:
    """A proxy whose ports stay the same, however often it is started."""
    forward, meeting = _steady_ports(2)
    modes = (f"regular@127.0.0.1:{forward}", f"reverse:http://127.0.0.1:9@127.1:{meeting}")
    routes = [
        {"match": {"listener": "reverse", "model": "paced-*"}, "answer": "pair", "pace_tokens_per_s": 1000},
        {"match": {"listener": "reverse"}, "answer": "pair"},
    ]
    with Proxy(tmp_path / "mortal", confdir, config={"routes": routes}, modes=modes, nursery=nursery) as proxy:
        yield proxy


def _steady_ports(count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_000, EPHEMERAL)  # another one for each process that runs tests
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found


async def again(proxy: Proxy, *, gracefully: bool = False) -> None:
    """End the process, and start it."""
    await asyncio.to_thread(proxy.terminate if gracefully else proxy.kill)
    await asyncio.to_thread(proxy.start)


@asynccontextmanager
async def conversation(
    proxy: Proxy, session: str, *, app_streams: bool, person_streams: bool
) -> AsyncIterator[tuple[Side, Side]]:
    link = Link(proxy)
    app = Side(link, session, "app", app_streams)
    person = Side(link, session, "person", person_streams)
    try:
        yield app, person
    finally:
        await app.close()
        await person.close()
    await proxy.close_session(session)


async def end(proxy: Proxy, session: str, listening: asyncio.Task[str]) -> None:
    await proxy.until_listening(session)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


both = pytest.mark.parametrize("person_streams", [False, True], ids=["person-whole", "person-streams"])
either = pytest.mark.parametrize("app_streams", [False, True], ids=["app-whole", "app-streams"])


@both
@either
@pytest.mark.parametrize("pace", ["at once", "paced"])
async def test_at_every_step(  # noqa: PLR0915  # it is one conversation
    mortal: Proxy, session: str, pace: str, *, app_streams: bool, person_streams: bool
) -> None:
    if pace == "paced":
        session = f"paced-{session}"
    async with conversation(mortal, session, app_streams=app_streams, person_streams=person_streams) as (app, person):
        # While the person listens, and nobody has asked anything.
        shown = person.start("/join")
        await mortal.until_listening(session)
        await again(mortal)
        asked = app.start("q0")
        assert await shown == "q0"
        # While the person writes, and begins again before the proxy is there.
        await asyncio.to_thread(mortal.kill)
        shown = person.start("a0")
        await asyncio.to_thread(mortal.start)
        assert await asked == "a0"
        # After a whole turn; the app is the first one to come back.
        await again(mortal)
        asked = app.start("q1")
        assert await shown == "q1"
        # While the person writes, and is done only when all is well again.
        await again(mortal)
        await mortal.until_prompts(session)
        shown = person.start("a1")
        assert await asked == "a1"
        # Before the app says anything, and nobody is there.
        await mortal.until_listening(session)
        await asyncio.to_thread(mortal.kill)
        asked = app.start("q2")
        await asyncio.to_thread(mortal.start)
        assert await shown == "q2"
        shown = person.start("a2")
        assert await asked == "a2"
        # While the app waits for a person who has not come back yet.
        await mortal.until_listening(session)
        shown.cancel()
        asked = app.start("q3")
        await mortal.until_prompts(session)
        await again(mortal)
        await mortal.until_prompts(session)
        shown = person.start("/join")
        assert await shown == "q3"
        # An answer that was given while the app was away: the person listens for the next prompt.
        asked.cancel()
        await mortal.until(session, lambda told: not any(one["calls"] for one in told["prompts"]))
        shown = person.start("a3")
        await mortal.until_listening(session)
        await again(mortal)
        assert await app.say("q3") == "a3"
        # As soon as each of them has begun to speak.
        for number in range(4, 8):
            asked = app.start(f"q{number}")
            await asyncio.sleep(0)
            await again(mortal)
            assert await shown == f"q{number}"
            shown = person.start(f"a{number}")
            await asyncio.sleep(0)
            await again(mortal)
            assert await asked == f"a{number}"
        told = await mortal.until_listening(session)
        assert told["turns"] == 8
        assert (told["unsolicited"], told["undelivered"]) == (0, 0)
        await end(mortal, session, shown)
    assert app.heard == [f"a{number}" for number in range(8)]
    assert person.heard == [f"q{number}" for number in range(8)]


@both
@either
async def test_told_to_exit_and_started_again(
    mortal: Proxy, session: str, *, app_streams: bool, person_streams: bool
) -> None:
    """Each call gets its error, which says when to try again; the SDK does, and finds all as it was."""
    async with conversation(mortal, session, app_streams=app_streams, person_streams=person_streams) as (app, person):
        shown = person.start("/join")
        await mortal.until_listening(session)
        await again(mortal, gracefully=True)
        asked = app.start("q0")
        assert await shown == "q0"
        await again(mortal, gracefully=True)
        await mortal.until_prompts(session)
        shown = person.start("a0")
        assert await asked == "a0"
        asked = app.start("q1")
        assert await shown == "q1"
        asked.cancel()
        await mortal.until(session, lambda told: not any(one["calls"] for one in told["prompts"]))
        shown = person.start("a1")
        await mortal.until_listening(session)
        await again(mortal, gracefully=True)
        assert await app.say("q1") == "a1"
        asked = app.start("q2")
        assert await shown == "q2"
        shown = person.start("a2")
        assert await asked == "a2"
        told = await mortal.until_listening(session)
        assert told["turns"] == 3
        assert (told["unsolicited"], told["undelivered"]) == (0, 0)
        await end(mortal, session, shown)
    assert app.heard == ["a0", "a1", "a2"]
    assert person.heard == ["q0", "q1", "q2"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.timeout(120)
async def test_at_random_moments(mortal: Proxy, session: str, seed: int) -> None:
    """Four sessions talk as fast as they can, streamed and not at either end. A moment is a number of replies that are
    heard since the start, and a little more."""
    chance = random.Random(seed)
    replies = asyncio.Semaphore(0)
    done = asyncio.Event()

    async def talk(number: int) -> None:
        link, name = Link(mortal), f"{'paced-' if number >= 2 and seed % 2 else ''}{session}-{number}"
        app_streams, person_streams = bool(number & 1), bool(number & 2)
        app = Side(link, name, "app", app_streams, remembers=seed < 2, on_reply=replies.release)
        # Whoever has no history, and says its last words again unmarked since its stream broke, cannot be told from one
        # that answers with the same words twice.
        remembers = seed < 2 or person_streams
        person = Side(link, name, "person", person_streams, remembers=remembers, on_reply=replies.release)
        asks: list[str] = []
        answers: list[str] = []

        async def plays() -> None:
            reply = await person.say("/join")
            while True:
                answers.append(f"{name} answers {len(answers)} to {reply}")
                reply = await person.say(answers[-1])

        playing = asyncio.create_task(plays())
        while not done.is_set():
            asks.append(f"{name} asks {len(asks)}")
            asking = app.start(asks[-1])
            await asyncio.wait([asking, playing], return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                playing.result()
            await asking
        told = await mortal.until_listening(name)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        await app.close()
        await person.close()
        await mortal.close_session(name)
        assert len(asks) > 1
        assert person.heard == asks
        assert app.heard == answers
        assert told["turns"] == len(answers)
        assert (told["unsolicited"], told["undelivered"]) == (0, 0)

    talks = [asyncio.create_task(talk(number)) for number in range(SESSIONS)]
    for _ in range(KILLS):
        for _ in range(chance.choice([0, 0, 1, 2, 5, 9])):
            await replies.acquire()
        await asyncio.sleep(chance.choice([0.0, chance.uniform(0, 0.003), chance.uniform(0, 0.03)]))
        if any(one.done() for one in talks):
            break
        await again(mortal)
    done.set()
    await asyncio.gather(*talks)
    assert mortal.log.count("certificate    ") == KILLS + 1
