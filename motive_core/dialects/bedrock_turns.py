"""The conversation of another dialect, as the Converse API wants it.

Owns its rules about messages, which it checks itself ("ValidationException"):

* a conversation has turns of user and assistant, and begins with the user's: if it does not, ``OPENING`` stands first;
* a tool result stands in the turn right after its call, before all else, and every call has one. A call that was not
  answered so, unless it is the last word, and a result without its call become text;
* texts are not blank: blank ones are left out, and so are messages that have nothing else;
* ids and names of tools keep only the characters that the API allows (``[a-zA-Z0-9_-]``, 64 at most); others become
  ``_``, and an id that is too long ends with a digest. No two calls have the same id: a later one gets a number;
* pictures, documents, films and sounds are the user's alone. A document has a name, of few characters and unlike all
  others, and a text beside it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final, Literal

from motive_core.dialects.bedrock_blocks import array, blob_kind, render_blocks
from motive_core.ir import (
    BlobPart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

OPENING: Final = "(the conversation so far)"
NOTHING: Final = "(an empty message)"

_LONGEST: Final = 64
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})


@dataclass(slots=True)
class Turn:
    """What one side says. ``as_text`` are those of its calls and results, by place, that must be text."""

    role: Literal["user", "assistant"]
    parts: list[Part]
    as_text: set[int] = field(default_factory=set)

    def blocks(self) -> bytes:
        """Its ``content``."""
        places = iter(range(len(self.parts)))
        return array(render_blocks(self.parts, own=False, carries=lambda part: self._carries(next(places), part)))

    def _carries(self, place: int, part: Part) -> bool:
        if place in self.as_text:
            return False
        if self.role == "user":
            return isinstance(part, TextPart | RefusalPart | BlobPart | ToolResultPart)
        return isinstance(part, TextPart | RefusalPart | ToolCallPart)

    def calls(self) -> Iterator[str]:
        """The names of its tool calls that are calls."""
        for place, part in enumerate(self.parts):
            if isinstance(part, ToolCallPart) and self._carries(place, part):
                yield part.name


def turns_of(messages: Iterable[Message]) -> tuple[list[Part], list[Turn]]:
    """The system prompt and the turns of a conversation."""
    system: list[Part] = []
    turns: list[Turn] = []
    for message in messages:
        parts = [_safe(part) for part in message.parts if _says_something(part)]
        if message.role in _SYSTEM_ROLES:
            system += parts
        elif parts:
            role: Literal["user", "assistant"] = "assistant" if message.role == "assistant" else "user"
            if turns and turns[-1].role == role:
                turns[-1].parts += parts
            else:
                turns.append(Turn(role, parts))
    if system and not turns:
        system, turns = [], [Turn("user", system)]
    if not turns or turns[0].role == "assistant":
        turns.insert(0, Turn("user", [TextPart(OPENING if turns else NOTHING)]))
    _settle_calls(turns)
    _name_documents(turns)
    return system, turns


def _settle_calls(turns: list[Turn]) -> None:
    """Put results first, give every call an id of its own, and find the calls and results that have no counterpart
    where it must be."""
    taken: set[str] = set()
    called: dict[tuple[str, int], str] = {}
    for number, turn in enumerate(turns):
        if turn.role == "assistant":
            called = _settle_turn(turn, turns[number + 1].parts if number + 1 < len(turns) else None, taken)
            continue
        results: Counter[str] = Counter()
        first: list[Part] = []
        others: list[Part] = []
        for part in turn.parts:
            if isinstance(part, ToolResultPart):
                results[part.call_id] += 1
                call_id = called.get((part.call_id, results[part.call_id]))
                if call_id is not None:
                    first.append(replace(part, call_id=call_id))
                    continue
            others.append(part)
        turn.parts[:] = first + others
        turn.as_text = {n for n, part in enumerate(turn.parts) if n >= len(first) and isinstance(part, ToolResultPart)}


def _settle_turn(turn: Turn, answer: list[Part] | None, taken: set[str]) -> dict[tuple[str, int], str]:
    """The ids that the results in ``answer``, the turn after this one, must have: by the id that they have and which of
    the results with that id they are. ``answer`` is None if this turn is the last."""
    results = Counter(part.call_id for part in answer or () if isinstance(part, ToolResultPart))
    calls: Counter[str] = Counter()
    called: dict[tuple[str, int], str] = {}
    for place, part in enumerate(turn.parts):
        if not isinstance(part, ToolCallPart):
            continue
        calls[part.call_id] += 1
        count = calls[part.call_id]
        if answer is not None and count > results[part.call_id]:
            turn.as_text.add(place)
            continue
        call_id, number = part.call_id, 1
        while call_id in taken:
            number += 1
            call_id = _short(f"{part.call_id}_{number}")
        taken.add(call_id)
        called[part.call_id, count] = call_id
        turn.parts[place] = replace(part, call_id=call_id)
    return called


def _name_documents(turns: list[Turn]) -> None:
    taken: set[str] = set()
    for turn in turns:
        named = [
            _named(part, taken) if isinstance(part, BlobPart) and _is_document(part) else part for part in turn.parts
        ]
        if named != turn.parts and turn.role == "user" and not any(isinstance(part, TextPart) for part in named):
            named.append(TextPart("(a document)"))
        turn.parts[:] = named


def _is_document(part: BlobPart) -> bool:
    found = blob_kind(part)
    return found is not None and found[0] == "document" and bool(part.data)


def _named(part: BlobPart, taken: set[str]) -> BlobPart:
    wanted = " ".join(re.sub(r"[^a-zA-Z0-9()\[\]\s-]", " ", part.name or "").split())[:180].strip() or "document"
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted} {number}"
    taken.add(name)
    return replace(part, name=name)


def _says_something(part: Part) -> bool:
    if isinstance(part, TextPart | RefusalPart):
        return bool(part.text.strip())
    return not isinstance(part, ReasoningPart)


def _safe(part: Part) -> Part:
    if isinstance(part, ToolCallPart):
        return replace(part, call_id=_safe_id(part.call_id), name=safe_name(part.name))
    if isinstance(part, ToolResultPart):
        return replace(part, call_id=_safe_id(part.call_id))
    return part


def _safe_id(call_id: str) -> str:
    return _short(_safe_characters(call_id) or "_")


def _short(call_id: str) -> str:
    if len(call_id) <= _LONGEST:
        return call_id
    return f"{call_id[:47]}_{blake2b(call_id.encode(), digest_size=8).hexdigest()}"


def safe_name(name: str) -> str:
    """The name of a tool, as the API takes it."""
    return (_safe_characters(name) or "_")[:_LONGEST]


def _safe_characters(text: str) -> str:
    """A text with ``_`` in the place of what ids and names may not have."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", text)
