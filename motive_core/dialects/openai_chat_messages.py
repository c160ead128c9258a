"""The messages of a Chat Completions request, both ways.

Owns roles and what stands in a message; content parts and tool calls are in ``openai_chat_parts``. Knows no settings.

A role that we don't know is a user's, and kept in ``extra``, so that no client is refused for it. A tool's message that
does not say to which call it belongs (Mistral allows it) belongs to the call of its name, or of an empty id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

from motive_core.dialects.degrade import as_text, parts_as_text
from motive_core.dialects.fields import member, optional, rest, typed
from motive_core.dialects.openai_chat_parts import (
    NAME,
    THINKING,
    parse_content,
    parse_said,
    render_blob,
    render_call,
    render_function_call,
    render_thinking,
    unknown_call,
)
from motive_core.dialects.openai_chat_reply import MESSAGE_FIELDS
from motive_core.ir import (
    NO_EXTRA,
    BlobPart,
    Json,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def parse_message(raw: Json, where: str) -> Message:
    """A message. Raises ``Malformed``."""
    raw = typed(raw, dict, where)
    told = member(raw, "role", str, where)
    role = _ROLES.get(told, "user")
    name = optional(raw, "name", str, where)
    content = parse_content(raw.get("content"), f"{where}.content", by_assistant=role == "assistant")
    if role == "tool":
        if told == "function":
            name = member(raw, "name", str, where)
            call_id, extra = name, {"role": told, **rest(raw, "role", "name", "content")}
        else:
            call_id = optional(raw, "tool_call_id", str, where) or name or ""
            extra = rest(raw, "role", "tool_call_id", "name", "content")
        return Message("tool", (ToolResultPart(call_id, content, name, extra=extra or NO_EXTRA),))
    if role != "assistant":
        known = ("role", "name", "content") if told in _ROLES else ("name", "content")
        return Message(role, content, name, extra=rest(raw, *known) or NO_EXTRA)
    parts, more = parse_said(raw, content, where)
    return Message(role, parts, name, extra={**more, **rest(raw, "name", *MESSAGE_FIELDS)} or NO_EXTRA)


def render_message(message: Message, *, own: bool, reasoning: str) -> Iterable[dict[str, Json]]:
    """The messages that a message is: one, and before it one for each tool result in it. ``own``: its ``extra`` is this
    dialect's. ``reasoning``: the member that reasoning goes into."""
    results = [part for part in message.parts if isinstance(part, ToolResultPart)]
    yield from [_render_result(part, own=own) for part in results]
    parts: tuple[Part, ...] = tuple([part for part in message.parts if not isinstance(part, ToolResultPart)])
    if not parts and (results or not own):
        return
    # What stands beside the results of a ``tool`` message is what the user says.
    role = "user" if message.role == "tool" else message.role
    rendered: dict[str, Json] = {"role": role, "content": None}
    if message.name is not None:
        rendered["name"] = message.name
    if role == "assistant":
        parts = _take_members(parts, rendered, own=own, reasoning=reasoning)
    rendered["content"] = _render_content(parts, own=own, blobs=own or role == "user", refusals=role == "assistant")
    if not own and rendered["content"] is None and "tool_calls" not in rendered:
        rendered["content"] = ""  # the API takes null beside tool calls only
    yield {**rendered, **message.extra} if own else rendered


def _take_members(parts: tuple[Part, ...], rendered: dict[str, Json], *, own: bool, reasoning: str) -> tuple[Part, ...]:
    """Put what an assistant's message has members for into those; gives the parts of its content."""
    content: list[Part] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    refusals = [part for part in parts if isinstance(part, RefusalPart)]
    for part in parts:
        match part:
            case ReasoningPart(text) if not (own and THINKING in part.extra):
                thoughts.append(text)
            case ToolCallPart() if own and "function_call" in part.extra and "function_call" not in rendered:
                rendered["function_call"] = render_function_call(part, own=own)
            case ToolCallPart():
                calls.append(render_call(part, own=own))
            case OpaquePart() if own and (call := unknown_call(part)) is not None:
                calls.append(call)
            case RefusalPart(text) if len(refusals) == 1 and text and not (own and part.extra):
                rendered["refusal"] = text
            case _:
                content.append(part)
    if text := "\n\n".join([text for text in thoughts if text]):
        rendered[reasoning] = text
    if calls:
        rendered["tool_calls"] = calls
    return tuple(content)


def _render_result(part: ToolResultPart, *, own: bool) -> dict[str, Json]:
    content = _render_content(part.content, own=own, blobs=own, refusals=False)
    if not own:
        return {"role": "tool", "tool_call_id": part.call_id, "content": content or ""}
    named = {} if part.name is None else {"name": part.name}
    if part.extra.get("role") == "function":
        return {**named, "content": content, **part.extra}
    return {"role": "tool", "tool_call_id": part.call_id, **named, "content": content, **part.extra}


def _render_content(parts: tuple[Part, ...], *, own: bool, blobs: bool, refusals: bool) -> str | list[Json] | None:
    """A ``content``: null for none, a string for texts, else a list of parts. ``blobs`` and ``refusals``: such parts
    may stand in it."""
    match parts:
        case ():
            return None
        case (TextPart(text, extra=extra),) if not (own and extra):
            return text
        case _:
            items = [_render_part(part, own=own, blobs=blobs, refusals=refusals) for part in parts]
            if not own and all(item["type"] == "text" for item in items):
                return parts_as_text(parts)
            return items


def _render_part(part: Part, *, own: bool, blobs: bool, refusals: bool) -> dict[str, Json]:
    match part:
        case TextPart(text):
            return {"type": "text", "text": text, **(part.extra if own else {})}
        case BlobPart() if blobs and (blob := render_blob(part, own=own)) is not None:
            return blob
        case RefusalPart(text) if refusals:
            return {"type": "refusal", "refusal": text, **(part.extra if own else {})}
        case ReasoningPart() if own and THINKING in part.extra:
            return render_thinking(part.text, part.extra)
        case OpaquePart(dialect, dict(raw)) if own and dialect == NAME:
            return raw
        case BlobPart() | RefusalPart() | OpaquePart() | ReasoningPart() | ToolCallPart() | ToolResultPart():
            return {"type": "text", "text": as_text(part)}
        case _:
            assert_never(part)
