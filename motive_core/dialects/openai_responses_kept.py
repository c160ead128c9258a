"""What a request of the Responses API quotes of replies that were kept here, by their ids: put in its place.

Owns the ways of quoting: ``previous_response_id`` names the conversation before; an ``item_reference`` names one item
of it, as the AI SDK does for all that a model said; a whole item has its id beside what it says. The real service knows
none of these ids. It refuses a reference that it cannot look up, and reasoning that it did not make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from motive_core.dialects.base import KeptReply
from motive_core.dialects.fields import rest
from motive_core.dialects.openai_responses_contents import NAME
from motive_core.dialects.openai_responses_items import grouped, marked, place_of
from motive_core.dialects.openai_responses_request import PREVIOUS, is_instructions
from motive_core.errors import BadRequestError
from motive_core.ir import ChatRequest, Message, OpaquePart, Part, ReasoningPart, RefusalPart, TextPart, ToolCallPart

type Find = Callable[[str], KeptReply | None]


def continued(request: ChatRequest, kept: KeptReply) -> ChatRequest:
    """A request with the conversation before it in the place of the id that names it. As the API does it: instructions
    are those of each request, all else is carried over."""
    earlier = [message for message in kept.request.messages if not is_instructions(message)]
    said = Message("assistant", kept.reply.choices[0].parts if kept.reply.choices else ())
    own = 1 if request.messages and is_instructions(request.messages[0]) else 0
    return replace(
        request,
        messages=(*request.messages[:own], *earlier, said, *request.messages[own:]),
        previous=kept.request.previous,
        extra={**request.extra, PREVIOUS: request.previous},
    )


def resolved(request: ChatRequest, kept: Find) -> ChatRequest:
    """A request that says itself what it quoted of kept replies; the same one if it did not. Items of ours that it says
    itself lose their ids, and reasoning all that it had, so that it is left out.

    Raises ``BadRequestError`` for an item that is referred to twice, as the API does: a small request would be as large
    as its sender likes."""
    quoted = _Quoted(kept)
    messages = [_resolved(one, quoted) if one.role == "assistant" else one for one in request.messages]
    if all(new is old for new, old in zip(messages, request.messages, strict=True)):
        return request
    return replace(request, messages=tuple(messages))


class _Quoted:
    """The items of kept replies, each reply looked up once."""

    def __init__(self, kept: Find) -> None:
        self._kept = kept
        self._items: dict[str, list[list[Part]]] = {}
        self._referred: set[tuple[str, int] | None] = set()

    def item(self, item: str) -> list[Part]:
        """The parts of an item of ours; none if it is not ours."""
        if (place := place_of(item)) is None:
            return []
        reply_id, index = place
        if (items := self._items.get(reply_id)) is None:
            found = self._kept(reply_id)
            parts = found.reply.choices[0].parts if found is not None and found.reply.choices else ()
            own = found is not None and found.reply.dialect == NAME
            items = self._items[reply_id] = list(grouped(parts, own=own))
        return items[index] if index < len(items) else []

    def referred(self, item: str) -> list[Part]:
        """The same, for a reference. Raises ``BadRequestError`` for the second one to an item of ours."""
        parts, place = self.item(item), place_of(item)
        if parts and place in self._referred:
            why = f"Duplicate item found with id {item}. Remove duplicate items from your input and try again."
            raise BadRequestError(why, param="input")
        self._referred.add(place)
        return parts


def _resolved(message: Message, quoted: _Quoted) -> Message:
    parts = [new for part in message.parts for new in _said(part, quoted)]
    same = len(parts) == len(message.parts) and all(new is old for new, old in zip(parts, message.parts, strict=True))
    return message if same else replace(message, parts=tuple(parts))


def _said(part: Part, quoted: _Quoted) -> Iterator[Part]:
    """The parts that a part stands for."""
    match part:
        case OpaquePart("openai-responses", {"id": str(item)} as raw) if raw.get("type") in ("item_reference", None):
            first, *others = quoted.referred(item) or [part]
            yield marked(first, {}) if first is not part else part
            yield from others
        case ReasoningPart(text, extra={"id": str(item)}) if quoted.item(item):
            yield ReasoningPart(text)
        case ToolCallPart(extra={"id": str(item)}) if quoted.item(item):
            yield replace(part, extra=rest(part.extra, "id"))
        case (
            TextPart(extra={"message": {"id": str(item)} as members})
            | RefusalPart(extra={"message": {"id": str(item)} as members})
        ) if quoted.item(item):
            yield marked(part, rest(members, "id"))
        case _:
            yield part
