"""How the ``mock`` source says a reply: word by word, at its pace, with a fault in it.

Owns the pieces of a reply, when each is due, and where a fault comes among them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from motive_core.dialects import dialect_named
from motive_core.exchange import Events, Garbage, Severed, Spoken
from motive_core.ir import ChatRequest, Part, ReasoningPart, Reply, ToolCallPart, Usage
from motive_core.sources.mock_calls import Facts
from motive_core.sources.mock_faults import LONGEST_STALL_S, error_of_fault
from motive_core.sources.mock_settings import MockFault, MockPace
from motive_core.stream import ChoiceEnded, Failed, Finished, PartDelta, Started, UsageReported, replay_part, text_of

_WORD: Final = re.compile(r"\s*\S{1,24}|\s+\Z")
"""White space and a word, or part of one that is long: there are languages without spaces."""
_PIECE: Final = re.compile(r".{1,4}", re.DOTALL)
_CHARACTERS_A_TOKEN: Final = 4


_MOST_PIECES: Final = 5_000
_LONG_CHARACTERS: Final = 50_000
"""From here on a text comes in equal pieces, few enough that its events take no more room than it is worth."""


def pieces(text: str) -> list[str]:
    """A text in words. They join to it again."""
    return _equal(text) if len(text) > _LONG_CHARACTERS else _WORD.findall(text)


def _equal(text: str) -> list[str]:
    size = -(-len(text) // _MOST_PIECES)
    return [text[start : start + size] for start in range(0, len(text), size)]


def _pieces_of(part: Part) -> list[str]:
    """What a part is said in. Arguments come in two pieces at least, so that they can be cut."""
    text = text_of(part)
    if not isinstance(part, ToolCallPart):
        return pieces(text)
    if len(text) > _LONG_CHARACTERS:
        return _equal(text)
    if 1 < len(text) <= _CHARACTERS_A_TOKEN:
        return [text[:1], text[1:]]
    return _PIECE.findall(text)


@dataclass(frozen=True, slots=True)
class Stall:
    """Silence; without an end if ``duration_s`` is None."""

    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """What is said next, ``wait_s`` after what was said before it."""

    wait_s: float
    said: Spoken | Stall


@dataclass(frozen=True, slots=True)
class Script:
    """A reply as it is to be said, ``first_s`` after it was asked for."""

    first_s: float
    steps: tuple[Step, ...]

    @property
    def is_at_once(self) -> bool:
        """Whether it is a plain reply: nothing waits, and nothing goes wrong."""
        return not any(step.wait_s or isinstance(step.said, Failed | Garbage | Severed | Stall) for step in self.steps)


class Waits:
    """How long things take."""

    def __init__(self, pace: MockPace, facts: Facts) -> None:
        self._pace = pace
        self._chance = facts.chance("pace")

    def _about(self, seconds: float) -> float:
        off = self._pace.jitter
        return seconds * self._chance.uniform(1 - off, 1 + off) if off and seconds else seconds

    def first(self) -> float:
        """Until the first words."""
        return self._about(self._pace.first_token_ms / 1000)

    def before(self, piece: str) -> float:
        """Until this, from what was said before it."""
        rate = self._pace.tokens_per_s
        return self._about(len(piece) / _CHARACTERS_A_TOKEN / rate) if rate is not None else 0.0


def scripted(reply: Reply, waits: Waits, fault: MockFault | None, request: ChatRequest) -> Script:
    """A reply as it is to be said to this request, with a fault in it."""
    first_s = waits.first()
    steps: list[Step] = []
    deltas: list[tuple[int, str, tuple[int, int]]] = []
    for step, kind in _steps(reply, waits):
        if isinstance(step.said, PartDelta):
            deltas.append((len(steps), kind, (step.said.choice, step.said.part)))
        steps.append(step)
    if fault is not None and (place := _place_of(fault, deltas)) is not None:
        steps.insert(place, Step(0.0, _made(fault, request)))
        if isinstance(steps[place].said, Failed | Severed):
            del steps[place + 1 :]
    return Script(first_s, tuple(steps))


def _steps(reply: Reply, waits: Waits) -> Iterator[tuple[Step, str]]:
    """What is said, and the kind of part that it belongs to."""
    usage = reply.usage
    yield Step(0.0, Started("", "", usage=Usage(usage.input_tokens, estimated=True) if usage is not None else None)), ""
    begun = False
    for number, choice in enumerate(reply.choices):
        for index, part in enumerate(choice.parts):
            kind = _kind_of(part)
            for event in replay_part(number, index, part, _pieces_of(part)):
                wait_s = 0.0
                if isinstance(event, PartDelta):
                    wait_s = waits.before(event.text) if begun else 0.0
                    begun = True
                yield Step(wait_s, event), kind
        yield Step(0.0, ChoiceEnded(number, choice.finish_reason)), ""
    if usage is not None:
        yield Step(0.0, UsageReported(usage)), ""
    yield Step(0.0, Finished()), ""


def _kind_of(part: Part) -> Literal["text", "reasoning", "tool_call"]:
    match part:
        case ReasoningPart():
            return "reasoning"
        case ToolCallPart():
            return "tool_call"
        case _:
            return "text"


def _place_of(fault: MockFault, deltas: list[tuple[int, str, tuple[int, int]]]) -> int | None:
    """Where a fault comes among the steps; None if there is no such place."""
    if fault.within is not None:
        first = next((part for _, kind, part in deltas if kind == fault.within), None)
        deltas = [one for one in deltas if one[2] == first]
        if not deltas:
            return None
    places = [place for place, _, _ in deltas]
    if not places:
        return 1  # nothing is said: behind the start
    after = fault.after_events if fault.after_events is not None else max(1, len(places) // 2)
    return places[min(after, len(places)) - 1] + 1 if after else places[0]


def _made(fault: MockFault, request: ChatRequest) -> Spoken | Stall:
    match fault.kind:
        case "cut" | "reset":
            return Severed(reset=fault.kind == "reset")
        case "stall":
            return Stall(fault.duration_s)
        case "status":
            return Failed(error_of_fault(fault))
        case _:
            return Garbage(fault.data.encode("utf-8", "replace") if fault.data is not None else _malformed(request))


def _malformed(request: ChatRequest) -> bytes:
    return dialect_named(request.dialect).malformed(request)


async def spoken(script: Script, hush: Callable[[], None]) -> Events:
    """A script, carried out from its first words on. ``hush`` is called where it falls silent."""
    loop = asyncio.get_running_loop()
    due, said = loop.time(), list[Spoken]()
    # By the clock: what is late by now does not make the rest late.
    for step in script.steps:
        due += step.wait_s
        if step.wait_s and (left_s := due - loop.time()) > 0:
            if said:
                yield said
                said = []
            await asyncio.sleep(left_s)
        if isinstance(step.said, Stall):
            if said:
                yield said
                said = []
            hush()
            await asyncio.sleep(step.said.duration_s or LONGEST_STALL_S)
            if step.said.duration_s is None:
                yield [Severed()]
                return
            due = loop.time()
        else:
            said.append(step.said)
    if said:
        yield said
