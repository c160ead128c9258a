"""Items of the Responses API: what its input, its output and its stream have in common.

Owns the two ways between what a model says and the parts of the IR, and the results of tools. Content parts have a file
of their own, ``openai_responses_contents``. Knows no request, no reply and no event.

What a model says is a row of items: messages, reasoning, tool calls, calls of tools that the service runs. To the IR
they are the parts of one assistant message, in their order. ``extra`` of a part has the members of its item that the IR
has no field for, and these marks, which are never on the wire:

* ``message`` on a part of a message's content: the part begins a message, and these are the members of its item
  (``id``, ``phase``). Without it, a part goes on in the message before it, or begins one that has no such members. A
  message without content is an empty text, which has that ``content`` among these members;
* ``summary`` of reasoning, if it is an empty list: the text is what the model thought in its own words (``content``),
  no summary of it. Otherwise it is the summary as it came, where that does not follow from the text;
* ``type`` on the result of a tool, if it is no function.

``encrypted_content`` is the signature of reasoning. An item that we don't know is an ``OpaquePart`` as it came, unlike
the part of a content: that one is beside its ``message``, if it begins one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from motive_core.dialects.degrade import as_text, parts_as_text
from motive_core.dialects.fields import member, optional, rest, typed
from motive_core.dialects.openai_responses_contents import (
    SAID,
    parse_content,
    render_blob,
    render_content,
    render_part,
)
from motive_core.ir import (
    NO_EXTRA,
    BlobPart,
    Extra,
    Json,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

type CallType = Literal["function_call", "custom_tool_call"]

CALL_TEXTS: Final[Mapping[str, str]] = {"function_call": "arguments", "custom_tool_call": "input"}
"""The types of tool calls, and the member that has the arguments."""
RESULTS: Final = ("function_call_output", "custom_tool_call_output")

_ID_PREFIXES: Final[Mapping[str, str]] = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "custom_tool_call": "ctc_",
}
_ITEM_ID: Final = re.compile(r"(?:msg|rs|fc|ctc)_(\w+)([0-9a-f]{2})", re.ASCII)
_SETTLED: Final = ("completed", "incomplete")
"""Statuses of an item of a reply that follow from that of the reply."""


def item_id(kind: str, reply_id: str, index: int) -> str:
    """The id of an item of a reply, if it has none of its own."""
    return f"{_ID_PREFIXES[kind]}{reply_id.removeprefix('resp_')}{index:02x}"


def place_of(item: str) -> tuple[str, int] | None:
    """The reply, and the place in it, that such an id follows from; None for any other id."""
    found = _ITEM_ID.fullmatch(item)
    return None if found is None else (f"resp_{found[1]}", int(found[2], 16))


def item_type(raw: Mapping[str, Json], where: str) -> str:
    """The type of an item, which messages and references need not tell (SDK: ``easy_input_message_param.py``,
    ``response_input_item_param.py``). Raises ``Malformed``."""
    kind = optional(raw, "type", str, where)
    if kind is not None:
        return kind
    if "role" in raw:
        return "message"
    return "item_reference" if "id" in raw else member(raw, "type", str, where)


# In.


def reply_members(raw: Mapping[str, Json], kind: str, reply_id: str, index: int, *known: str) -> dict[str, Json]:
    """The members of an item of a reply that the IR has no field for, without those that say nothing: an id that
    follows from the reply's, a status that does, and null."""
    found = {key: value for key, value in rest(raw, "type", *known).items() if value is not None}
    if found.get("id") == item_id(kind, reply_id, index):
        del found["id"]
    if found.get("status") in _SETTLED:
        del found["status"]
    return found


def parse_message(raw: Mapping[str, Json], members: Extra, where: str, *, after_message: bool) -> list[Part]:
    """The parts of a message of the model. ``members`` are those of its item that are to be kept, ``after_message``
    tells that the item before it is a message too. Raises ``Malformed``."""
    content = raw.get("content")
    parts = list(parse_content(content, f"{where}.content", SAID))
    if not parts:
        return [TextPart("", extra={"message": {**members, "content": content}})]
    if members or after_message:
        parts[0] = marked(parts[0], members)
    return parts


def marked(part: Part, members: Extra) -> Part:
    """A part that begins a message with these members."""
    match part:
        case TextPart(text, extra=extra):
            return TextPart(text, extra={**extra, "message": members})
        case RefusalPart(text, extra=extra):
            return RefusalPart(text, extra={**extra, "message": members})
        case OpaquePart(dialect, raw):
            return OpaquePart(dialect, {**raw, "message": members})
        case _:
            return part


def parse_call(raw: Mapping[str, Json], members: Extra, where: str) -> ToolCallPart:
    """A tool call. Raises ``Malformed``."""
    kind = raw["type"]
    return ToolCallPart(
        member(raw, "call_id", str, where),
        member(raw, "name", str, where),
        optional(raw, CALL_TEXTS[kind], str, where) or "",
        custom=kind == "custom_tool_call",
        extra=members or NO_EXTRA,
    )


def parse_reasoning(raw: Mapping[str, Json], members: Extra, where: str) -> ReasoningPart:
    """Reasoning: its summary, or what the model thought in its own words where there is none. Raises ``Malformed``."""
    summary, content = _texts(raw, "summary", where), _texts(raw, "content", where)
    text = reasoning_text(summary or content)
    extra = dict(members)
    if content and not summary:
        extra["summary"] = []
        if raw["content"] != content_of(text):
            extra["content"] = raw["content"]
    else:
        if summary and raw["summary"] != summary_of(text):
            extra["summary"] = raw["summary"]
        if content:
            extra["content"] = raw["content"]
    return ReasoningPart(text, optional(raw, "encrypted_content", str, where), extra=extra or NO_EXTRA)


def _texts(raw: Mapping[str, Json], key: str, where: str) -> list[str]:
    """The texts of a summary or of a content; one that has no text is empty."""
    found = optional(raw, key, list, where) or ()
    where = f"{where}.{key}"
    return [
        optional(typed(one, dict, f"{where}[{n}]"), "text", str, f"{where}[{n}]") or "" for n, one in enumerate(found)
    ]


def reasoning_text(texts: Sequence[str]) -> str:
    """The texts of one item of reasoning as one: a blank line between them, no empty ones."""
    return "\n\n".join([text for text in texts if text])


def parse_result(raw: Mapping[str, Json], where: str) -> ToolResultPart:
    """The result of a tool. Raises ``Malformed``."""
    extra = rest(raw, "type", "call_id", "output", "name")
    if raw["type"] != RESULTS[0]:
        extra["type"] = raw["type"]
    return ToolResultPart(
        optional(raw, "call_id", str, where) or "",
        parse_content(raw.get("output"), f"{where}.output"),
        optional(raw, "name", str, where),
        extra=extra or NO_EXTRA,
    )


# Out.


def is_item(part: Part, *, own: bool) -> bool:
    """Whether a part of what a model says is an item by itself; else it is within a message."""
    match part:
        case ReasoningPart() | ToolCallPart():
            return True
        case OpaquePart("openai-responses", dict(raw)):
            return own and ("type" in raw or "id" in raw)
        case _:
            return False


def begins_message(part: Part, *, own: bool) -> Extra | None:
    """The members of the message that a part begins; None if it may go on in the one before it."""
    if not own:
        return None
    match part:
        case TextPart(extra={"message": dict(members)}) | RefusalPart(extra={"message": dict(members)}):
            return members
        case OpaquePart(_, {"content": dict(), "message": dict(members)}):
            return members
        case _:
            return None


def grouped(parts: Sequence[Part], *, own: bool) -> Iterator[list[Part]]:
    """The parts that each item is made of."""
    message: list[Part] = []
    for part in parts:
        alone = is_item(part, own=own)
        if message and (alone or begins_message(part, own=own) is not None):
            yield message
            message = []
        if alone:
            yield [part]
        else:
            message.append(part)
    if message:
        yield message


def merged(parts: Sequence[Part]) -> list[Part]:
    """The content of a message that another dialect said: one text, or one refusal, for parts of the same kind that
    follow each other."""
    runs: list[list[Part]] = []
    for part in parts:
        if not runs or isinstance(runs[-1][0], RefusalPart) is not isinstance(part, RefusalPart):
            runs.append([])
        runs[-1].append(part)
    return [(RefusalPart if isinstance(run[0], RefusalPart) else TextPart)(parts_as_text(run)) for run in runs]


def render_call(part: ToolCallPart, *, own: bool) -> dict[str, Json]:
    """A tool call."""
    kind = call_type(part)
    call = {"type": kind, "call_id": part.call_id, "name": part.name, CALL_TEXTS[kind]: part.arguments}
    return {**call, **part.extra} if own else {**call, CALL_TEXTS[kind]: part.arguments or no_arguments(part)}


def no_arguments(part: ToolCallPart) -> str:
    """What the API says for no arguments at all."""
    return "" if part.custom else "{}"


def call_type(part: ToolCallPart) -> CallType:
    """The type of the item that a tool call is."""
    return "custom_tool_call" if part.custom else "function_call"


def render_reasoning(part: ReasoningPart, *, own: bool) -> dict[str, Json]:
    """Reasoning. The text stands for the encrypted form of another vendor, if that is all."""
    text = as_text(part)
    item: dict[str, Json] = {"type": "reasoning", "summary": summary_of(text)}
    if not own:
        return item
    if is_content(part) and text:
        item["content"] = content_of(text)
    if part.signature is not None:
        item["encrypted_content"] = part.signature
    return {**item, **part.extra}


def is_content(part: ReasoningPart) -> bool:
    """Whether the text of reasoning of this dialect is what the model thought in its own words, no summary."""
    return bool(part.extra.get("summary") == [])


def summary_of(text: str) -> list[Json]:
    """The summary that a text is."""
    return [{"type": "summary_text", "text": text}] if text else []


def content_of(text: str) -> list[Json]:
    """What a model thought in its own words, as the content of its reasoning."""
    return [{"type": "reasoning_text", "text": text}] if text else []


def render_result(part: ToolResultPart, *, own: bool, custom: bool) -> dict[str, Json]:
    """The result of a tool. ``custom``: the call had free-form input."""
    if own:
        item: dict[str, Json] = {"type": RESULTS[0], "call_id": part.call_id, "name": part.name}
        told = {key: value for key, value in item.items() if value not in (None, "")}
        return {**told, "output": render_content(part.content, own=True), **part.extra}
    kept = any(isinstance(one, BlobPart) and render_blob(one, own=False) is not None for one in part.content)
    output = render_content(part.content, own=False) if kept else parts_as_text(part.content)
    return {"type": RESULTS[custom], "call_id": part.call_id, "output": output}


def render_said(parts: Sequence[Part], *, own: bool) -> Iterator[dict[str, Json]]:
    """The items that an assistant's message is, in a request. Reasoning that the API could not look up or decrypt is
    left out: it would refuse it."""
    for group in grouped(parts, own=own):
        match group[0]:
            case ToolCallPart() as part:
                yield render_call(part, own=own)
            case ReasoningPart() as part:
                if own and (part.extra or part.signature):
                    yield render_reasoning(part, own=True)
            case OpaquePart(_, raw) if is_item(group[0], own=own):
                yield raw
            case first:
                members = begins_message(first, own=own)
                content = render_content(group if own else merged(group), own=own, text_type=SAID)
                if isinstance(content, str) and members:
                    content = [render_part(one, own=own, text_type=SAID) for one in group]
                yield {"type": "message", "role": "assistant", "content": content, **(members or {})}
