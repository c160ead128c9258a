"""The turns of a session, for reading and for keeping: what its calls said, and what they were answered.

Owns the two forms in which they leave, Markdown and JSON. Knows the log of calls only: what it does not keep any more
is said to be missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from motive_core.console.calls import CallRecord
from motive_core.console.diff import Piece, diff
from motive_core.console.shown import parts_as_json, reply_as_json
from motive_core.dialects.degrade import parts_as_text
from motive_core.ir import BlobPart, Message, Part, RefusalPart, Reply, TextPart, ToolCallPart, ToolResultPart
from motive_core.relay import border_of

_DRAFTED: Final = {
    "draft": "**The real service had drafted:**",
    "shadow": "**The real service would have said:**",
    "review": "**The real service had said:**",
}


def turns_of(records: Iterable[CallRecord]) -> list[dict[str, Any]]:
    """The turns of these calls, in their order. Calls of the model's side are none; those that share a prompt are
    one turn."""
    return [_turn(turn) for turn in _turns(records)]


@dataclass(frozen=True, slots=True)
class _Turn:
    """A prompt: the call that tells what became of it, and when it was said first."""

    record: CallRecord
    began_at: float

    @property
    def took_s(self) -> float | None:
        """How long the app waited, over all that it tried."""
        ended_at = self.record.ended_at
        return round(ended_at - self.began_at, 3) if ended_at is not None else None


def _turns(records: Iterable[CallRecord]) -> list[_Turn]:
    """An app that lost patience says the same once more: what was answered counts, or else the last of them."""
    found: dict[str, _Turn] = {}
    for record in records:
        if record.role == "answerer":
            continue
        key = record.prompt or f"-{record.call}"
        known = found.get(key)
        if known is None:
            found[key] = _Turn(record, record.at)
        elif known.record.state != "answered" or known.record.said is None:
            found[key] = _Turn(record, known.began_at)
    return list(found.values())


def _turn(turn: _Turn) -> dict[str, Any]:
    record = turn.record
    return {
        "call": record.call,
        "at": _time(turn.began_at),
        "app": record.app,
        "model": record.model,
        "dialect": record.dialect,
        "said": parts_as_json(said_of(record)) if record.request is not None else None,
        "state": record.state,
        "answered_by": who_answered(record),
        "took_s": turn.took_s,
        "answer": reply_as_json(record.said) if record.said is not None else None,
        "error": record.error or record.problem or None,
        **drafted_of(record),
    }


def drafted_of(record: CallRecord) -> dict[str, Any]:
    """What the real service would have said, and how that differs from what was; why it is not whole, if it is not."""
    drafted = record.drafted
    if not _shows_draft(record):
        return {}
    told: dict[str, Any] = {"kind": record.draft_kind, "parts": reply_as_json(drafted) if drafted is not None else []}
    if record.draft_why:
        told["why"] = record.draft_why
    if (pieces := compared(record)) is not None:
        told["diff"] = pieces
    return {"drafted": told}


def _shows_draft(record: CallRecord) -> bool:
    """A shadow is to sway nobody who still writes the answer."""
    if record.drafted is None:
        return bool(record.draft_why)
    return record.draft_kind != "shadow" or record.state != "held"


def compared(record: CallRecord) -> list[Piece] | None:
    """How what was sent differs from what the real service would have said; None where either is not known."""
    if record.diff is None and record.drafted is not None and record.said is not None:
        record.diff = diff(_words(record.drafted), _words(record.said))
    return record.diff


def _words(reply: Reply) -> str:
    return parts_as_text(reply.choices[0].parts) if reply.choices else ""


def said_of(record: CallRecord) -> tuple[Part, ...]:
    """What is new in a call: the parts of its messages since the model's last one."""
    request = record.request
    if request is None:
        return ()
    latest = request.messages[border_of(request.messages) :]
    return tuple(part for message in latest if message.role not in ("system", "developer") for part in message.parts)


def who_answered(record: CallRecord) -> str:
    """Who answered a call, in a word."""
    if record.by:
        return record.by
    if record.state == "passed":
        return "the real service"
    if record.state == "answered":
        return "the other client" if record.source == "pair" else record.source
    return ""


def as_markdown(session: str, records: list[CallRecord]) -> str:
    """A transcript to read."""
    blocks = [f"# {_plain(session)}"]
    for one in _turns(records):
        record, turn = one.record, _turn(one)
        who = f", {turn['answered_by']}" if turn["answered_by"] else ""
        took = f", {turn['took_s']:.1f} s" if turn["took_s"] is not None else ""
        said = (
            parts_as_text(said_of(record)) if record.request is not None else f"{record.title} (the rest is not kept)"
        )
        blocks += [f"## {turn['at']} {_plain(record.app)}", _quoted(said)]
        if record.said is not None and record.said.choices:
            answer = parts_as_text(record.said.choices[0].parts)
        elif record.state == "passed":
            answer = f"({record.problem or 'The real service answered.'})"
        else:
            answer = f"({record.state}{f': {record.error}' if record.error else ''})"
        blocks += [f"**{record.state}{_plain(who)}{took}**", _quoted(answer)]
        if _shows_draft(record):
            blocks.append(_DRAFTED[record.draft_kind])
            if record.drafted is not None:
                blocks.append(_quoted(_words(record.drafted)))
            if record.draft_why:
                blocks.append(_quoted(f"({record.draft_why})"))
    return "\n\n".join(blocks) + "\n"


def as_fine_tuning(records: Iterable[CallRecord]) -> bytes:
    """The answered turns as examples for fine-tuning: JSON Lines in the form of OpenAI's chat fine-tuning. Each is the
    whole conversation that the app sent, and the answer as the last message; what is not kept whole is left out.

    Source: https://platform.openai.com/docs/guides/supervised-fine-tuning"""
    lines = []
    for record in (turn.record for turn in _turns(records)):
        request, said = record.request, record.said
        if request is None or said is None or record.state != "answered":
            continue
        answer = Message("assistant", said.choices[0].parts if said.choices else ())
        example: dict[str, Any] = {"messages": [one for m in (*request.messages, answer) for one in _example(m)]}
        if request.tools:
            example["tools"] = [
                {
                    "type": "function",
                    "function": {"name": t.name, "description": t.description or "", "parameters": t.schema or {}},
                }
                for t in request.tools
            ]
        lines.append(as_json(example))
    return b"".join(line + b"\n" for line in lines)


def _example(message: Message) -> list[dict[str, Any]]:
    """A message as OpenAI's Chat Completions have it. Results of tools are messages of their own there."""
    found: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": part.call_id, "content": parts_as_text(part.content)}
        for part in message.parts
        if isinstance(part, ToolResultPart)
    ]
    calls = [
        {"id": part.call_id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
        for part in message.parts
        if isinstance(part, ToolCallPart)
    ]
    words = [part for part in message.parts if isinstance(part, TextPart | RefusalPart)]
    blobs = [part for part in message.parts if isinstance(part, BlobPart) and part.media_type.startswith("image/")]
    if not words and not calls and not blobs:
        return found
    text = "\n".join(part.text for part in words)
    content: Any = text if words or not calls else None
    if blobs:
        content = [{"type": "text", "text": text}] if words else []
        content += [{"type": "image_url", "image_url": {"url": _url_of(part)}} for part in blobs]
    role = "system" if message.role == "developer" else message.role
    return [*found, {"role": role, "content": content, **({"tool_calls": calls} if calls else {})}]


def _url_of(part: BlobPart) -> str:
    return part.url or f"data:{part.media_type};base64,{part.data or ''}"


def as_json(value: Any) -> bytes:
    """JSON that every reader accepts, whatever is in it: lone surrogates are escaped, and what is no number in JSON is
    text."""
    try:
        return json.dumps(value, allow_nan=False).encode()
    except ValueError:
        return json.dumps(json.loads(json.dumps(value), parse_constant=str)).encode()


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _quoted(text: str) -> str:
    """Words of others: whatever they are, no heading and no markup of the page around them."""
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])


def _plain(text: str) -> str:
    return " ".join(text.split())
