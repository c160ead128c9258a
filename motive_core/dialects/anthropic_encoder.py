"""The streamed reply of the Messages API, out: reply events to server-sent events.

Owns the order of the wire's events. Takes blocks from ``anthropic_blocks`` and the words of a reply from
``anthropic_reply``; what degrades is said there. Knows no request.

One content block is open at a time. What is said of a part whose turn has not come waits, so parts that interleave
come one after the other, in the order in which they began. ``message_delta`` comes last, since it carries the final
usage. The block of a text begins with its first characters, so that there are no empty ones. The arguments of a tool
call go out as they come in: a stream cannot take them back if they turn out not to be an object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from motive_core.dialects.anthropic_blocks import NAME, render_block
from motive_core.dialects.anthropic_reply import error_object, in_reply, stop_reason, usage_counts, usage_whole
from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.exact import exact
from motive_core.dialects.fields import dumps, json_object
from motive_core.dialects.in_turn import InTurnEncoder
from motive_core.errors import MotiveError
from motive_core.framing import sse_comment, sse_event
from motive_core.ir import (
    NO_EXTRA,
    Extra,
    Json,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from motive_core.stream import (
    Started,
)

_PING: Final = sse_event(b'{"type":"ping"}', "ping")
_COMMENT: Final = sse_comment("keep-alive")
_MESSAGE_STOP: Final = sse_event(b'{"type":"message_stop"}', "message_stop")
_DELTA_TAIL: Final = b"}}\n\n"
_BESIDE_DELTA: Final = ("context_management", "input_transformations")
"""Members of a ``message_delta`` that stand beside its ``delta`` (SDK:
``types/beta/beta_raw_message_delta_event.py``)."""


def _event(kind: str, members: dict[str, Json]) -> bytes:
    return sse_event(dumps({"type": kind, **members}), kind)


class _Block:
    """A content block as it is said, of a kind that comes at once: redacted thinking, and what only this dialect knows.

    ``began`` tells whether its start is out. ``head`` is what stands before the JSON string of a delta, None while a
    delta is more than that.
    """

    head: bytes | None = None
    began = False

    def __init__(self, index: int, value: Part, *, own: bool) -> None:
        self._index = index
        self._own = own
        self._value = value

    def open(self) -> bytes:
        """The start of the block, if it can be said yet, and what was known of the part at its start."""
        value = self._value
        if isinstance(value, OpaquePart) and _calls_tool(value.raw):
            # A server's own tool call is streamed like any other; clients await the input of no other block.
            piece = exact(value.raw["input"])
            start = self._start(OpaquePart(NAME, {**value.raw, "input": {}}))
            return start + self._delta({"type": "input_json_delta", "partial_json": piece})
        return self._start(value)

    def say(self, text: str) -> bytes:
        """More text; never empty."""
        return self.head + dumps(text) + _DELTA_TAIL if self.head is not None else b""

    def close(self, signature: str, late: Extra) -> bytes:
        """The end of the block. ``late`` is the ``extra`` that came with the end of the part."""
        return _event("content_block_stop", {"index": self._index}) if self.began else b""

    def _start(self, start: Part) -> bytes:
        self.began = True
        block = render_block(start, own=self._own) or b"{}"
        head = {"type": "content_block_start", "index": self._index}
        return sse_event(json_object(head, {"content_block": block}), "content_block_start")

    def _delta(self, delta: dict[str, Json]) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})

    def _head_of(self, kind: str, field: str) -> bytes:
        return (
            f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{self._index},'
            f'"delta":{{"type":"{kind}","{field}":'
        ).encode()


def _calls_tool(raw: dict[str, Json]) -> bool:
    return str(raw.get("type")).endswith("tool_use") and isinstance(raw.get("input"), dict)


class _TextBlock(_Block):
    """Text, a refusal, or what became text. ``piece`` puts a blank line before the first piece where one belongs."""

    def __init__(self, index: int, value: Part, piece: Callable[[str], str], *, own: bool) -> None:
        super().__init__(index, value, own=own)
        self._extra = value.extra if own and isinstance(value, TextPart) else NO_EXTRA
        self._piece = piece

    def open(self) -> bytes:
        text = as_text(self._value)
        return self.say(text) if text else b""

    def say(self, text: str) -> bytes:
        return super().say(text) if self.began else self._start_text() + super().say(self._piece(text))

    def close(self, signature: str, late: Extra) -> bytes:
        extra = {**self._extra, **late} if self._own else {}
        said = self._start_text() if not self.began and any(extra.values()) else b""
        if isinstance(citations := extra.get("citations"), list):
            said += b"".join([self._delta({"type": "citations_delta", "citation": one}) for one in citations])
        return said + super().close(signature, late)

    def _start_text(self) -> bytes:
        self.head = self._head_of("text_delta", "text")
        # Citations come as deltas, after an empty list.
        emptied: Extra = {"citations": []} if self._extra.get("citations") else {}
        return self._start(TextPart("", extra={**self._extra, **emptied}))


class _ThinkingBlock(_Block):
    def __init__(self, index: int, value: ReasoningPart, *, own: bool) -> None:
        super().__init__(index, value, own=own)
        self._text, self._signature, self._extra = value.text, value.signature, value.extra

    def open(self) -> bytes:
        self.head = self._head_of("thinking_delta", "thinking")
        start = self._start(ReasoningPart("", extra=self._extra))
        return start + self.say(self._text) if self._text else start

    def close(self, signature: str, late: Extra) -> bytes:
        # One delta: the SDK takes the last one for the whole signature (lib/streaming/_messages.py).
        signature = signature or self._signature or ""
        said = self._delta({"type": "signature_delta", "signature": signature}) if signature else b""
        return said + super().close(signature, late)


class _ToolBlock(_Block):
    """A tool call. Free-form input is the only member of its object: ``{"input":"...`` piece by piece."""

    def __init__(self, index: int, value: ToolCallPart, *, own: bool) -> None:
        super().__init__(index, value, own=own)
        self._call = value
        self._head = self._head_of("input_json_delta", "partial_json")
        self.head = None if value.custom else self._head

    def open(self) -> bytes:
        call = self._call
        start = self._start(ToolCallPart(call.call_id, call.name, "", extra=call.extra))
        # The live service begins with an empty piece, and has no other in a call without arguments.
        start += self._framed('{"input":"' if call.custom else "")
        return start + self.say(call.arguments) if call.arguments else start

    def say(self, text: str) -> bytes:
        return self._framed(dumps(text)[1:-1].decode() if self._call.custom else text)

    def close(self, signature: str, late: Extra) -> bytes:
        return (self._framed('"}') if self._call.custom else b"") + super().close(signature, late)

    def _framed(self, piece: str) -> bytes:
        return self._head + dumps(piece) + _DELTA_TAIL


class MessagesEncoder(InTurnEncoder):
    """Reply events to the events of one message."""

    def __init__(self, model: str) -> None:
        super().__init__(NAME, model)
        self._refused = False
        self._block = _Block(0, self.value, own=False)
        self._signature: list[str] = []
        self._head = b""
        self._blocks = 0
        self._joiner = TextJoiner()
        self._texts = 0

    def heartbeat(self) -> bytes:
        """A ping; a comment before ``message_start``, which has to be the first event (SDK:
        ``lib/streaming/_messages.py``, ``accumulate_event``)."""
        if self.done:
            return b""
        return _PING if self.started else _COMMENT

    def begin(self, event: Started) -> bytes:
        message = {
            "model": event.model,
            "id": event.reply_id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_whole(event.usage, own=self.own),
            **(event.extra if self.own else NO_EXTRA),
        }
        return _event("message_start", {"message": message})

    def open(self) -> bytes:
        value, index = self.value, self._blocks
        block: _Block
        if isinstance(value, TextPart | RefusalPart) or not in_reply(value):
            block = _TextBlock(index, value, self._piece, own=self.own)
            self._refused = self._refused or isinstance(value, RefusalPart)
        elif isinstance(value, ReasoningPart) and value.redacted is None:
            block = _ThinkingBlock(index, value, own=self.own)
        elif isinstance(value, ToolCallPart):
            block = _ToolBlock(index, value, own=self.own)
        else:
            block = _Block(index, value, own=self.own)
        self._block = block
        self._signature.clear()
        said = block.open()
        self._set_fast_way()
        return said

    def _piece(self, text: str) -> str:
        """The first piece of a block of text."""
        self._texts += 1
        return self._joiner.piece(self._texts, text, plain=isinstance(self.value, TextPart))

    def _set_fast_way(self) -> None:
        self._head = self._block.head or b""
        self.framed = self._block.head is not None

    def say(self, text: str) -> bytes:
        said = self._block.say(text)
        self._set_fast_way()
        return said

    def framed_text(self, text: str) -> bytes:
        return self._head + dumps(text) + _DELTA_TAIL

    def sign(self, signature: str) -> None:
        self._signature.append(signature)

    def close(self, late: Extra) -> bytes:
        said = self._block.close("".join(self._signature), late)
        if self._block.began:
            self._blocks += 1
        return said

    def finish(self) -> bytes:
        extra = dict(self.ended.extra) if self.own else {}
        reason = stop_reason(self.ended.finish_reason, self.ended.stop_sequence, extra, refused=self._refused)
        extra.pop("stop_reason", None)
        beside: dict[str, Json] = {key: extra.pop(key) for key in _BESIDE_DELTA if key in extra}
        event: dict[str, Json] = {
            "delta": {"stop_reason": reason, "stop_sequence": self.ended.stop_sequence, **extra},
            "usage": usage_counts(self.usage, own=self.own),
            **beside,
        }
        return _event("message_delta", event) + _MESSAGE_STOP

    def fail(self, error: MotiveError) -> bytes:
        return _event("error", {"error": error_object(error)})
