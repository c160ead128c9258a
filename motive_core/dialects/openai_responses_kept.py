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
    itself lose their ids, and reasoning all that it had, so that it is left out."""
    messages = [_resolved(one, kept) if one.role == "assistant" else one for one in request.messages]
    if all(new is old for new, old in zip(messages, request.messages, strict=True)):
        return request
    return replace(request, messages=tuple(messages))


def _resolved(message: Message, kept: Find) -> Message:
    parts = [new for part in message.parts for new in _said(part, kept)]
    same = len(parts) == len(message.parts) and all(new is old for new, old in zip(parts, message.parts, strict=True))
    return message if same else replace(message, parts=tuple(parts))


def _said(part: Part, kept: Find) -> Iterator[Part]:
    """The parts that a part stands for."""
    match part:
        case OpaquePart("openai-responses", {"id": str(item)} as raw) if raw.get("type") in ("item_reference", None):
            first, *others = _item(item, kept) or [part]
            yield marked(first, {}) if first is not part else part
            yield from others
        case ReasoningPart(text, extra={"id": str(item)}) if _item(item, kept):
            yield ReasoningPart(text)
        case ToolCallPart(extra={"id": str(item)}) if _item(item, kept):
            yield replace(part, extra=rest(part.extra, "id"))
        case (
            TextPart(extra={"message": {"id": str(item)} as members})
            | RefusalPart(extra={"message": {"id": str(item)} as members})
        ) if _item(item, kept):
            yield marked(part, rest(members, "id"))
        case _:
            yield part


def _item(item: str, kept: Find) -> list[Part]:
    """The parts of an item of ours; none if it is not ours."""
    if (place := place_of(item)) is None:
        return []
    reply_id, index = place
    if (found := kept(reply_id)) is None or not found.reply.choices:
        return []
    groups = list(grouped(found.reply.choices[0].parts, own=found.reply.dialect == NAME))
    return groups[index] if index < len(groups) else []
