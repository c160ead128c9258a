"""The streamed reply of Cohere's Chat API, out: reply events to server-sent events.

Owns the order of the wire's events. Takes parts from ``cohere_parts`` and the words of a reply from ``cohere_reply``;
what degrades is said there. Knows no request.

One content item or tool call is open at a time. What is said of a part whose turn has not come waits, so parts that
interleave come one after the other, in the order in which they began. A content item begins with its first characters,
so that there are no empty ones, and ends when something else begins: texts of another dialect that follow each other
share one. Citations and log probabilities come before the end of the last item, and usage with ``message-end``.

A failure is a ``message-end`` with the finish reason ``ERROR`` and the message as its ``error``: the API has no other
way to tell one, and the SDK skips an event that it does not know. It raises no exception; an app has to look at the
finish reason.

No piece of text is so long that the SDK would refuse its line (``core/http_sse/_api.py``, ``MAX_LINE_SIZE``: 1 MiB).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from motive_core.dialects.cohere_parts import NAME, is_blank, is_plan, render_call, render_item, unknown_call
from motive_core.dialects.cohere_reply import CHOICE_FIELDS, error_message, finish_reason, render_usage
from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.fields import dumps, rest
from motive_core.dialects.in_turn import InTurnEncoder
from motive_core.errors import MotiveError
from motive_core.framing import sse_comment, sse_event
from motive_core.ir import NO_EXTRA, Extra, Json, OpaquePart, ReasoningPart, TextPart, ToolCallPart
from motive_core.stream import (
    Started,
)

PIECE_LIMIT: Final = 128 * 1024
"""Characters of one delta: a line of these has at most 0.8 million characters, all of them escaped (``\\u0000``)."""

_COMMENT: Final = sse_comment("keep-alive")
_DONE: Final = sse_event(b"[DONE]")
_CONTENT_TAIL: Final = b"}}}}\n\n"
_PLAN_TAIL: Final = b"}}}\n\n"
_CALL_TAIL: Final = b"}}}}}\n\n"


def _event(kind: str, members: dict[str, Json]) -> bytes:
    return sse_event(dumps({"type": kind, **members}), kind)


def _message_event(kind: str, index: int, message: dict[str, Json]) -> bytes:
    return _event(kind, {"index": index, "delta": {"message": message}})


def _head(kind: str, index: int | None, before: str) -> bytes:
    """What stands before the JSON string of a delta."""
    indexed = "" if index is None else f'"index":{index},'
    return f'event: {kind}\ndata: {{"type":"{kind}",{indexed}"delta":{{"message":{{{before}:'.encode()


def _pieces(head: bytes, text: str, tail: bytes) -> bytes:
    if len(text) <= PIECE_LIMIT:
        return head + dumps(text) + tail
    pieces = [text[at : at + PIECE_LIMIT] for at in range(0, len(text), PIECE_LIMIT)]
    return b"".join([head + dumps(piece) + tail for piece in pieces])


class ChatEncoder(InTurnEncoder):
    """Reply events to the bytes of one streamed reply."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self._head = b""
        self._tail = b""
        self._said = False
        # The content item that is open, and how many there were.
        self._item: str | None = None
        self._items = 0
        self._calls = 0
        self._joiner = TextJoiner()
        self._texts = 0
        self._empty = True

    def heartbeat(self) -> bytes:
        return b"" if self.done else _COMMENT

    def begin(self, event: Started) -> bytes:
        message: dict[str, Json] = {
            "role": "assistant",
            "content": [],
            "tool_plan": "",
            "tool_calls": [],
            "citations": [],
        }
        extra = event.extra if self.own else NO_EXTRA
        members = {"id": event.reply_id, "type": "message-start", "delta": {"message": message}, **extra}
        return sse_event(dumps(members), "message-start")

    # One part

    def open(self) -> bytes:
        value, self._said = self.value, False
        if isinstance(value, ToolCallPart):
            return self._open_call(value)
        if self.own and isinstance(value, OpaquePart):
            return self._whole_call(raw) if (raw := unknown_call(value)) is not None else self._whole_item(value)
        text = as_text(value)
        return self.say(text) if text else b""

    def say(self, text: str) -> bytes:
        if isinstance(self.value, ToolCallPart):
            if self.value.custom:  # the rest of a string in JSON
                return _pieces(self._head, dumps(text)[1:-1].decode(), self._tail)
            self.framed = True
            return _pieces(self._head, text, self._tail)
        start = b"" if self._said else self._begin_text()
        if not (self._said or self.own or isinstance(self.value, ReasoningPart)):
            text = self._joiner.piece(self._texts, text, plain=isinstance(self.value, TextPart))
            self._texts += 1
        self._said = True
        self.framed = True
        return start + _pieces(self._head, text, self._tail)

    def _begin_text(self) -> bytes:
        """What comes before the first characters of a part: the start of its content item, where it has one."""
        self._empty = False
        value = self.value
        if self.own and is_plan(value):
            self._head, self._tail = _head("tool-plan-delta", None, '"tool_plan"'), _PLAN_TAIL
            return self._end_item()
        kind = "thinking" if isinstance(value, ReasoningPart) else "text"
        said = b""
        if self.own or kind == "thinking" or self._item != kind:
            blank = ReasoningPart("") if isinstance(value, ReasoningPart) else TextPart("")
            start = replace(value, text="") if self.own and isinstance(value, TextPart | ReasoningPart) else blank
            said = self._end_item() + self._start_item(render_item(start, own=self.own), kind)
        self._head, self._tail = _head("content-delta", self._items - 1, f'"content":{{"{kind}"'), _CONTENT_TAIL
        return said

    def framed_text(self, text: str) -> bytes:
        return _pieces(self._head, text, self._tail)

    def close(self, late: Extra) -> bytes:
        value, said = self.value, b""
        if isinstance(value, ToolCallPart):
            if value.custom:
                said = self._head + dumps('"}') + self._tail
            elif not self.framed and not self.own:
                said = self._head + dumps("{}") + self._tail
            said += _event("tool-call-end", {"index": self._calls - 1})
        elif not self._said and self.own and not is_blank(value, own=True) and not isinstance(value, OpaquePart):
            said = self._begin_text()
        return said

    # Content items

    def _start_item(self, item: dict[str, Json], kind: str) -> bytes:
        self._item, self._items, self._empty = kind, self._items + 1, False
        return _message_event("content-start", self._items - 1, {"content": item})

    def _end_item(self) -> bytes:
        if self._item is None:
            return b""
        self._item = None
        return _event("content-end", {"index": self._items - 1})

    def _whole_item(self, value: OpaquePart) -> bytes:
        return self._end_item() + self._start_item(render_item(value, own=True), "")

    # Tool calls

    def _open_call(self, call: ToolCallPart) -> bytes:
        said = self._start_call(render_call(call, "", own=self.own))
        self._head = _head("tool-call-delta", self._calls - 1, '"tool_calls":{"function":{"arguments"')
        self._tail = _CALL_TAIL
        if call.custom:
            said += self._head + dumps('{"input":"') + self._tail
        return said + self.say(call.arguments) if call.arguments else said

    def _start_call(self, raw: dict[str, Json]) -> bytes:
        self._calls, self._empty = self._calls + 1, False
        return self._end_item() + _message_event("tool-call-start", self._calls - 1, {"tool_calls": raw})

    def _whole_call(self, raw: dict[str, Json]) -> bytes:
        return self._start_call(raw) + _event("tool-call-end", {"index": self._calls - 1})

    # The end

    def finish(self) -> bytes:
        said = []
        if self._empty:
            said.append(self._start_item({"type": "text", "text": ""}, "text"))
        extra = self.ended.extra if self.own else NO_EXTRA
        last = max(0, self._items - 1)
        for one in _listed(extra.get("logprobs")):
            delta = {"index": last, "delta": {"message": {"content": {"text": ""}}}, "logprobs": one}
            said.append(_event("content-delta", delta))
        for number, one in enumerate(_listed(extra.get("citations"))):
            said.append(_message_event("citation-start", number, {"citations": one}))
            said.append(_event("citation-end", {"index": number}))
        said.append(self._end_item())
        delta = {
            **rest(extra, "logprobs", *CHOICE_FIELDS),
            "finish_reason": finish_reason(self.ended.finish_reason, self.ended.stop_sequence, extra),
        }
        if message := extra.get("message"):
            delta["message"] = message
        if self.usage is not None:
            delta["usage"] = render_usage(self.usage, own=self.own)
        return b"".join([*said, _event("message-end", {"delta": delta}), _DONE])

    def fail(self, error: MotiveError) -> bytes:
        delta = {"error": error_message(error), "finish_reason": "ERROR"}
        return _event("message-end", {"delta": delta}) + _DONE


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
