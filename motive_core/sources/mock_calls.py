"""What the ``mock`` source sees of a call, and whether a condition takes it.

Owns what "the last message" is, and where chance comes from. Knows nothing of replies.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from motive_core.ir import ChatRequest, Message, Part, TextPart, ToolCallPart, ToolResultPart
from motive_core.settings.patterns import Matcher, glob_regex, visible
from motive_core.sources.mock_settings import MockWhen

_UNKNOWN: Final = "?"
"""The name of a tool that was called before the conversation that is here."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One call. ``number`` counts the calls of its source from 1. ``message`` is the last thing that was said to the
    model, by a person or a tool; ``results`` are the names of the tools whose results it brings. The texts are whole:
    regexes see what ``visible`` leaves of them."""

    request: ChatRequest
    number: int
    seed: int
    message: str
    system: str
    results: tuple[str, ...]

    @property
    def brings_results(self) -> bool:
        """Whether tools were called and this is what they gave back."""
        return bool(self.results)

    def chance(self, purpose: str) -> random.Random:
        """Chance for one purpose within this call: the same in each run of one seed."""
        return random.Random(f"{self.seed}/{self.number}/{purpose}")

    def values(self, choice: int) -> dict[str, str]:
        """What templates say for their placeholders, in the choice of this number, from 0."""
        return {
            "message": self.message,
            "system": self.system,
            "model": self.request.model,
            "tool": self.request.tools[0].name if self.request.tools else "",
            "n": str(self.number),
            "choice": str(choice + 1),
        }


def facts_of(request: ChatRequest, number: int, seed: int) -> Facts:
    """A call as it is seen here."""
    system = "\n\n".join(one.text for one in request.messages if one.role in ("system", "developer"))
    last = _last_of(request.messages)
    results = [part for part in last.parts if isinstance(part, ToolResultPart)] if last is not None else []
    # Parallel results are messages of their own in some dialects.
    position = len(request.messages) - 1
    while position > 0 and request.messages[position].role != "assistant":
        if request.messages[position].role == "tool" and request.messages[position] is not last:
            results[:0] = [part for part in request.messages[position].parts if isinstance(part, ToolResultPart)]
        position -= 1
    message = last.text if last is not None else ""
    if not message:
        message = "\n".join(_text_of(part.content) for part in results)
    return Facts(request, number, seed, message, system, tuple(_names_of(results, request.messages)))


def _last_of(messages: tuple[Message, ...]) -> Message | None:
    """What the model is to answer: a prefill of its own reply is not, nor is a system message behind it."""
    said = [one for one in messages if one.role in ("user", "tool")]
    return said[-1] if said else (messages[-1] if messages else None)


def _text_of(content: tuple[Part, ...]) -> str:
    return "".join(part.text for part in content if isinstance(part, TextPart))


def _names_of(results: Sequence[ToolResultPart], messages: tuple[Message, ...]) -> Iterator[str]:
    """The tools that gave these. Most wires tell the ids of their calls only."""
    if not results:
        return
    parts = (part for message in messages for part in message.parts)
    called = {part.call_id: part.name for part in parts if isinstance(part, ToolCallPart)}
    for result in results:
        yield result.name or called.get(result.call_id) or _UNKNOWN


class Condition:
    """A ``MockWhen``, compiled."""

    def __init__(self, when: MockWhen) -> None:
        self._message = Matcher(when.message) if when.message is not None else None
        self._system = Matcher(when.system) if when.system is not None else None
        self._model = glob_regex(when.model) if when.model is not None else None
        self._tool = glob_regex(when.tool) if when.tool is not None else None
        self._result = glob_regex(when.result) if when.result is not None else None
        self._stream = when.stream

    @property
    def asks_for_results(self) -> bool:
        """Whether it takes only calls that bring results of tools."""
        return self._result is not None

    def match(self, facts: Facts) -> Mapping[str, str] | None:
        """The named groups of its regexes, None if it does not take this call."""
        request = facts.request
        if self._stream is not None and self._stream != request.stream:
            return None
        if self._model is not None and self._model.fullmatch(request.model) is None:
            return None
        if self._tool is not None and not any(self._tool.fullmatch(tool.name) for tool in request.tools):
            return None
        if self._result is not None and not any(map(self._result.fullmatch, facts.results)):
            return None
        groups: dict[str, str] = {}
        for matcher, text in ((self._message, facts.message), (self._system, facts.system)):
            if matcher is None:
                continue
            found = matcher.search(visible(text))
            if found is None:
                return None
            groups |= found
        return groups
