"""The turns of a session, for reading and for keeping: what its calls said, and what they were answered.

Owns the two forms in which they leave, Markdown and JSON. Knows the log of calls only: what it does not keep any more
is said to be missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from motive_core.console.calls import CallRecord
from motive_core.console.shown import parts_as_json, reply_as_json
from motive_core.dialects.degrade import parts_as_text
from motive_core.ir import Part
from motive_core.relay import border_of


def turns_of(records: Iterable[CallRecord]) -> list[dict[str, Any]]:
    """The turns of these calls, in their order. Calls of the model's side are none; those that share a prompt are
    one turn."""
    found: list[dict[str, Any]] = []
    prompts: set[str] = set()
    for record in records:
        if record.role == "answerer" or (record.prompt and record.prompt in prompts):
            continue
        prompts.add(record.prompt)
        found.append(
            {
                "call": record.call,
                "at": _time(record.at),
                "app": record.app,
                "model": record.model,
                "dialect": record.dialect,
                "said": parts_as_json(said_of(record)) if record.request is not None else None,
                "state": record.state,
                "answered_by": who_answered(record),
                "took_s": _took_s(record),
                "answer": reply_as_json(record.said) if record.said is not None else None,
                "error": record.error or None,
            }
        )
    return found


def _took_s(record: CallRecord) -> float | None:
    """How long the app waited for us; what its real service took is not known here."""
    if record.ended_at is None or record.state == "passed":
        return None
    return round(record.ended_at - record.at, 3)


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
    for turn, record in _with_records(records):
        who = f", {turn['answered_by']}" if turn["answered_by"] else ""
        took = f", {turn['took_s']:.1f} s" if turn["took_s"] is not None else ""
        said = (
            parts_as_text(said_of(record)) if record.request is not None else f"{record.title} (the rest is not kept)"
        )
        blocks += [f"## {turn['at']} {_plain(record.app)}", _quoted(said)]
        if record.said is not None and record.said.choices:
            answer = parts_as_text(record.said.choices[0].parts)
        elif record.state == "passed":
            answer = "(The real service answered.)"
        else:
            answer = f"({record.state}{f': {record.error}' if record.error else ''})"
        blocks += [f"**{record.state}{_plain(who)}{took}**", _quoted(answer)]
    return "\n\n".join(blocks) + "\n"


def _with_records(records: list[CallRecord]) -> Iterable[tuple[dict[str, Any], CallRecord]]:
    by_call = {record.call: record for record in records}
    return [(turn, by_call[turn["call"]]) for turn in turns_of(records)]


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
    return "\n".join(f"> {line}" for line in text.split("\n"))


def _plain(text: str) -> str:
    return " ".join(text.split())
