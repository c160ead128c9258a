"""A call as the console's page shows it: plain JSON, the same for every dialect.

Owns that form. All of it is words of others: the page puts it into text, never into markup. Knows the IR only.

A part is ``{"kind": "text" | "refusal" | "reasoning" | "file" | "call" | "result" | "other", ...}``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, assert_never

from pydantic_core import to_json

from motive_core.console.calls import CallRecord
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from motive_core.readable import signature
from motive_core.relay import border_of

_SHOWN_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Images that a browser shows without running anything in them."""
_SHOWN_BYTES: Final = 8 * 1024 * 1024
_SYSTEM: Final = ("system", "developer")
_RAW_BYTES: Final = 2 * 1024 * 1024


def request_as_json(request: ChatRequest) -> dict[str, Any]:
    """A call. ``new`` marks the messages that came since the model's last one."""
    border = border_of(request.messages)
    names = {part.call_id: part.name for m in request.messages for part in m.parts if isinstance(part, ToolCallPart)}
    sampling = request.sampling
    settings: dict[str, Any] = {
        name: value
        for name in ("max_tokens", "temperature", "top_p", "seed")
        if (value := getattr(sampling, name)) is not None
    }
    if sampling.stop:
        settings["stop"] = list(sampling.stop)
    if request.n > 1:
        settings["n"] = request.n
    if request.tool_choice is not None:
        settings["tool_choice"] = request.tool_choice.name or request.tool_choice.mode
    return {
        "model": request.model,
        "dialect": request.dialect,
        "stream": request.stream,
        "system": [_message(one, names, new=False) for one in request.messages if one.role in _SYSTEM],
        "messages": [
            _message(one, names, new=number >= border)
            for number, one in enumerate(request.messages)
            if one.role not in _SYSTEM
        ],
        "tools": tools_as_json(request.tools),
        "settings": settings,
        "format": format_as_json(request.response_format),
    }


def _message(message: Message, names: dict[str, str], *, new: bool) -> dict[str, Any]:
    return {"role": message.role, "name": message.name, "parts": parts_as_json(message.parts, names), "new": new}


def tools_as_json(tools: Iterable[Tool]) -> list[dict[str, Any]]:
    """Tools, each with a signature for people and the schema for a form."""
    return [
        {"name": tool.name, "description": tool.description or "", "signature": signature(tool), "schema": tool.schema}
        for tool in tools
    ]


def format_as_json(form: ResponseFormat | None) -> dict[str, Any] | None:
    """The shape that a reply must have; None for words."""
    if form is None or form.kind == "text":
        return None
    return {"kind": form.kind, "name": form.name, "schema": form.schema}


def reply_as_json(reply: Reply) -> list[dict[str, Any]]:
    """The parts of what was answered. Where several choices were wanted, they are alike."""
    return parts_as_json(reply.choices[0].parts) if reply.choices else []


def parts_as_json(parts: Iterable[Part], names: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Parts. ``names`` are those of tools, by the ids of their calls."""
    return [_part(part, names or {}) for part in parts]


def _part(part: Part, names: dict[str, str]) -> dict[str, Any]:
    match part:
        case TextPart(text):
            return {"kind": "text", "text": text}
        case RefusalPart(text):
            return {"kind": "refusal", "text": text}
        case ReasoningPart(text, _, redacted):
            return {"kind": "reasoning", "text": text, "redacted": bool(redacted and not text)}
        case BlobPart():
            return _blob(part)
        case ToolCallPart(call_id, name, arguments):
            return {"kind": "call", "id": call_id, "name": name, "arguments": arguments}
        case ToolResultPart(call_id, content, name, is_error):
            name = name or names.get(call_id, "")
            return {
                "kind": "result",
                "id": call_id,
                "name": name,
                "error": is_error,
                "parts": parts_as_json(content, names),
            }
        case OpaquePart(dialect, raw):
            return {"kind": "other", "dialect": dialect, "json": _pretty(raw)}
        case _:
            assert_never(part)


def _blob(part: BlobPart) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": "file", "type": part.media_type, "name": part.name or "", "url": part.url or ""}
    if part.data is not None:
        told["size_bytes"] = len(part.data) * 3 // 4
        if part.media_type in _SHOWN_TYPES and told["size_bytes"] <= _SHOWN_BYTES:
            told["image"] = f"data:{part.media_type};base64,{part.data}"
    return told


def raw_of(request: ChatRequest) -> dict[str, Any]:
    """The body as it came, as text."""
    raw = request.raw[:_RAW_BYTES]
    return {"text": raw.decode("utf-8", "replace"), "cut": len(request.raw) > len(raw), "size_bytes": len(request.raw)}


def _pretty(value: Any) -> str:
    return to_json(value, indent=2, serialize_unknown=True).decode("utf-8", "replace")


def took_s(record: CallRecord) -> float | None:
    """How long the app waited for the whole reply, in seconds."""
    return round(record.ended_at - record.at, 3) if record.ended_at is not None else None


def row_of(record: CallRecord, state: str) -> dict[str, Any]:
    """A call as a row of a list. ``state`` is how it is now."""
    return {
        "call": record.call,
        "number": record.number,
        "session": record.session,
        "app": record.app,
        "client": record.client,
        "listener": record.listener,
        "dialect": record.dialect,
        "model": record.model,
        "stream": record.stream,
        "title": record.title,
        "at": round(record.at, 3),
        "state": state,
        "source": record.source,
        "role": record.role,
        "prompt": record.prompt,
        "can_pass": record.can_pass,
        "answered_by": record.answered_by,
        "ended_at": round(record.ended_at, 3) if record.ended_at is not None else None,
        "status": record.status,
        "took_s": took_s(record),
        "error": record.error,
        "by": record.by,
    }
