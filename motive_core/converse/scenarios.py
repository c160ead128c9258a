"""Conversations without any model, each of which tries one thing of the proxy.

Owns what each of them sets up. Their sides are mocks that say other words each time, so that whatever is lost, doubled
or altered on the way is seen.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from motive_core.converse.link import Link
from motive_core.converse.listening import OnText
from motive_core.converse.report import Reported
from motive_core.converse.sides import MOCK, Side
from motive_core.converse.talk import Party, converse
from motive_core.converse.voices import Spoken, Voice
from motive_core.dialects import DIALECTS
from motive_core.upstream import Http

_RETRIES: Final = 5
_RETRY_AFTER_S: Final = 0.5
_SLOW_S: Final = 1.6
_TIMEOUT_S: Final = 60.0
_AT_ONCE: Final = 10
_CONTEXT_MESSAGES: Final = 8

PROMPT: Final = "Say something, and I answer."


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a scenario is played: the meeting point's base URL, a key for it, and how much. ``done`` is called with
    each conversation that has ended."""

    meeting_point: str
    http: Http
    turns: int
    pairs: int
    key: str | None = None
    done: Callable[[Reported], None] = lambda reported: None


class _Slow:
    """A voice that takes longer than its client waits."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice

    async def answer(self, heard: str, on_text: OnText | None = None) -> Spoken:
        await asyncio.sleep(_SLOW_S)
        return await self._voice.answer(heard, on_text)


async def _talk(
    stage: Stage,
    title: str,
    *,
    a: str = "openai-chat",
    b: str = "openai-chat",
    stream: bool = False,
    slow: bool = False,
    seed: int = 0,
) -> Reported:
    session = f"converse-{secrets.token_hex(4)}"

    def voice(dialect: str, number: int) -> Voice:
        side = Side(MOCK, dialect, dialect, None)
        most = _CONTEXT_MESSAGES
        return Voice(side, stage.http, system_prompt=None, max_context_messages=most, seed=2 * seed + number)

    asker = Link(
        stage.meeting_point,
        a,
        session,
        "asker",
        stage.http,
        stream=stream,
        key=stage.key,
        timeout_s=_TIMEOUT_S,
        retries=_RETRIES if slow else 0,
        retry_after_s=_RETRY_AFTER_S if slow else None,
    )
    answerer = Link(
        stage.meeting_point, b, session, "answerer", stage.http, stream=stream, key=stage.key, timeout_s=_TIMEOUT_S
    )
    answering = voice(b, 1)
    parties = Party(voice(a, 0), asker), Party(_Slow(answering) if slow else answering, answerer)
    talk = await converse(session, *parties, prompt=PROMPT, turns=stage.turns)
    reported = Reported(title, f"{MOCK}:{a}", f"{MOCK}:{b}", talk)
    stage.done(reported)
    return reported


async def basic_handshake(stage: Stage) -> list[Reported]:
    """Two clients meet and take turns."""
    return [await _talk(stage, "basic-handshake")]


async def streaming(stage: Stage) -> list[Reported]:
    """The same, both streamed."""
    return [await _talk(stage, "streaming", stream=True)]


async def retry(stage: Stage) -> list[Reported]:
    """An app that gives up and tries again while the other side still types: each prompt is shown once, each answer
    comes once."""
    return [await _talk(stage, f"retry, {how}", stream=how == "streamed", slow=True) for how in ("whole", "streamed")]


async def concurrent(stage: Stage) -> list[Reported]:
    """Many pairs at once."""
    return await asyncio.gather(*(_talk(stage, f"pair {number}", seed=number) for number in range(stage.pairs)))


async def cross_dialect(stage: Stage) -> list[Reported]:
    """Every dialect with every other."""
    names = [dialect.name for dialect in DIALECTS]
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int, a: str, b: str) -> Reported:
        async with gate:
            return await _talk(stage, f"{a} and {b}", a=a, b=b, stream=number % 2 == 1, seed=number)

    pairs = enumerate(itertools.product(names, names))
    return await asyncio.gather(*(one(number, a, b) for number, (a, b) in pairs))


SCENARIOS: Final[Mapping[str, Callable[[Stage], Awaitable[list[Reported]]]]] = {
    "basic-handshake": basic_handshake,
    "streaming": streaming,
    "retry": retry,
    "concurrent": concurrent,
    "cross-dialect": cross_dialect,
}
"""By name."""


def conversations_of(names: Sequence[str], pairs: int) -> int:
    """How many conversations these scenarios have."""
    counts = {"retry": 2, "concurrent": pairs, "cross-dialect": len(DIALECTS) ** 2}
    return sum(counts.get(name, 1) for name in names)
