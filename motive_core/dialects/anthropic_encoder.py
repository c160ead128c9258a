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
from typing import Final, assert_never

from motive_core.dialects.anthropic_blocks import NAME, render_block
from motive_core.dialects.anthropic_reply import error_object, in_reply, stop_reason, usage_counts, usage_whole
from motive_core.dialects.base import Encoder
from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.exact import exact
from motive_core.dialects.fields import dumps, json_object
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
    Usage,
)
from motive_core.stream import (
    ChoiceEnded,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    ReplyEvent,
    SignatureDelta,
    Started,
    UsageReported,
)

type _PartEvent = PartStarted | PartDelta | SignatureDelta | PartEnded

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


class MessagesEncoder(Encoder):
    """Reply events to the events of one message. Choices after the first are left out. ``model`` is named if the
    stream ends before it began."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._started = False
        self._done = False
        self._own = False
        self._usage: Usage | None = None
        self._end = ChoiceEnded(0, "stop")
        self._refused = False
        # Parts that wait for their turn: what was said of them.
        self._waiting: dict[int, list[_PartEvent]] = {}
        # The part whose turn it is, its block and signature. ``_framed`` is that part while a delta of it is only
        # framing around text: the fast way through ``encode``.
        self._part: int | None = None
        self._value: Part = TextPart("")
        self._block = _Block(0, self._value, own=False)
        self._signature: list[str] = []
        self._framed = -1
        self._head = b""
        self._blocks = 0
        self._joiner = TextJoiner()
        self._texts = 0

    def encode(self, event: ReplyEvent) -> bytes:
        if type(event) is PartDelta and event.part == self._framed and event.choice == 0:
            return self._head + dumps(event.text) + _DELTA_TAIL if event.text else b""
        if self._done:
            return b""
        match event:
            case Started():
                return self._begin(event)
            case PartStarted() | PartDelta() | SignatureDelta() | PartEnded():
                return self._take(event) + self._next() if event.choice == 0 else b""
            case ChoiceEnded():
                if event.choice:
                    return b""
                self._end = event
                return self._end_parts()
            case UsageReported(usage):
                self._usage = usage
                return b""
            case Finished():
                return self._finish()
            case Failed(error):
                self._done, self._framed = True, -1
                return _event("error", {"error": error_object(error)})
            case _:
                assert_never(event)

    def heartbeat(self) -> bytes:
        """A ping; a comment before ``message_start``, which has to be the first event (SDK:
        ``lib/streaming/_messages.py``, ``accumulate_event``)."""
        if self._done:
            return b""
        return _PING if self._started else _COMMENT

    def _begin(self, event: Started) -> bytes:
        if self._started:
            return b""
        self._started = True
        self._own = event.dialect == NAME
        self._usage = event.usage
        message = {
            "model": event.model,
            "id": event.reply_id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_whole(event.usage, own=self._own),
            **(event.extra if self._own else NO_EXTRA),
        }
        return _event("message_start", {"message": message})

    def _take(self, event: _PartEvent) -> bytes:
        if self._part is None and isinstance(event, PartStarted):
            return self._open(event)
        if event.part != self._part:
            if isinstance(event, PartStarted) or event.part in self._waiting:
                self._waiting.setdefault(event.part, []).append(event)
            return b""
        match event:
            case PartDelta(text=text):
                said = self._block.say(text) if text else b""
                self._set_fast_way()
                return said
            case SignatureDelta(signature=signature):
                self._signature.append(signature)
                return b""
            case PartEnded(extra=late):
                return self._close(late)
            case PartStarted():
                return b""
            case _:
                assert_never(event)

    def _open(self, event: PartStarted) -> bytes:
        value, index = event.value, self._blocks
        block: _Block
        if isinstance(value, TextPart | RefusalPart) or not in_reply(value):
            block = _TextBlock(index, value, self._piece, own=self._own)
            self._refused = self._refused or isinstance(value, RefusalPart)
        elif isinstance(value, ReasoningPart) and value.redacted is None:
            block = _ThinkingBlock(index, value, own=self._own)
        elif isinstance(value, ToolCallPart):
            block = _ToolBlock(index, value, own=self._own)
        else:
            block = _Block(index, value, own=self._own)
        self._part, self._block, self._value = event.part, block, value
        self._signature.clear()
        said = block.open()
        self._set_fast_way()
        return said

    def _piece(self, text: str) -> str:
        """The first piece of a block of text."""
        self._texts += 1
        return self._joiner.piece(self._texts, text, plain=isinstance(self._value, TextPart))

    def _set_fast_way(self) -> None:
        head = self._block.head
        self._framed = self._part if head is not None and self._part is not None else -1
        self._head = head or b""

    def _close(self, late: Extra) -> bytes:
        said = self._block.close("".join(self._signature), late)
        if self._block.began:
            self._blocks += 1
        self._part, self._framed = None, -1
        return said

    def _next(self) -> bytes:
        """Say what waits, up to a part that is still open."""
        said = []
        while self._part is None and self._waiting:
            said += [self._take(event) for event in self._waiting.pop(next(iter(self._waiting)))]
        return b"".join(said)

    def _end_parts(self) -> bytes:
        """End all parts: the open one and those that wait."""
        said = []
        while self._part is not None:
            said += [self._close(NO_EXTRA), self._next()]
        return b"".join(said)

    def _finish(self) -> bytes:
        said = [self._begin(Started("", self._model)), self._end_parts()]
        self._done = True
        extra = dict(self._end.extra) if self._own else {}
        reason = stop_reason(self._end.finish_reason, self._end.stop_sequence, extra, refused=self._refused)
        extra.pop("stop_reason", None)
        beside: dict[str, Json] = {key: extra.pop(key) for key in _BESIDE_DELTA if key in extra}
        event: dict[str, Json] = {
            "delta": {"stop_reason": reason, "stop_sequence": self._end.stop_sequence, **extra},
            "usage": usage_counts(self._usage, own=self._own),
            **beside,
        }
        return b"".join([*said, _event("message_delta", event), _MESSAGE_STOP])
