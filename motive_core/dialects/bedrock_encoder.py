"""The streamed reply of the Converse API, out: reply events to event-stream frames.

Owns the order of the wire's events. Takes blocks from ``bedrock_blocks`` and the words of a reply from
``bedrock_reply``; what degrades is said there. Knows no request.

One content block is open at a time. What is said of a part whose turn has not come waits, so parts that interleave
come one after the other, in the order in which they began. ``messageStop`` and ``metadata`` come last. The block of a
text begins with its first characters, so that there are no empty ones. The arguments of a tool call go out as they come
in: a stream cannot take them back if they turn out not to be an object; a call without any has ``{}``, which every
client can read. A heartbeat is a frame of a kind that clients leave out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from motive_core.dialects.aws import SIGN_OF_LIFE, STREAM_EXCEPTIONS, error_frame
from motive_core.dialects.bedrock_blocks import NAME, render_block
from motive_core.dialects.bedrock_reply import NO_METRICS, in_reply, stop_reason, usage_object
from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.exact import exact, loads_exact
from motive_core.dialects.fields import dumps
from motive_core.dialects.in_turn import InTurnEncoder
from motive_core.errors import MotiveError
from motive_core.framing import event_frame
from motive_core.ir import (
    NO_EXTRA,
    Extra,
    Json,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from motive_core.stream import (
    Started,
)

_EXCEPTIONS: Final = STREAM_EXCEPTIONS - {"modelTimeoutException"}
"""Model: ``ConverseStreamOutput``."""
_START: Final = event_frame("messageStart", b'{"role":"assistant"}')
_DELTA: Final = "contentBlockDelta"


class _Block:
    """A content block as it is said, of a kind that comes at once: what only this dialect knows.

    ``began`` tells whether anything of it is out. ``head`` and ``tail`` are what stands around the JSON string of a
    delta; there is no ``head`` while a delta is more than that.
    """

    head: bytes | None = None
    tail = b"}}"
    began = False

    def __init__(self, index: int, value: Part, *, own: bool) -> None:
        self._index = index
        self._own = own
        self._value = value

    def open(self) -> bytes:
        """What is known of the part at its start."""
        block = loads_exact(render_block(self._value, own=self._own) or b"{}")
        if len(block) != 1:
            return self._start(block)
        match block:
            case {"toolUse": {"input": given, **start}}:
                return self._start({"toolUse": start}) + self._delta({"toolUse": {"input": exact(given)}})
            case {"toolResult": {"content": list(content), **start}}:
                return self._start({"toolResult": start}) + self._delta({"toolResult": content})
            case {"image": {"source": source, "format": form, **more}} if not more:
                return self._start({"image": {"format": form}}) + self._delta({"image": {"source": source}})
            case {"reasoningContent": {"redactedContent": str()}}:
                return self._delta(block)
            case _:
                return self._start(block)

    def say(self, text: str) -> bytes:
        """More text; never empty."""
        return event_frame(_DELTA, self.head + dumps(text) + self.tail) if self.head is not None else b""

    def close(self, signature: str, late: Extra) -> bytes:
        """The end of the block. ``late`` is the ``extra`` that came with the end of the part."""
        return event_frame("contentBlockStop", dumps({"contentBlockIndex": self._index})) if self.began else b""

    def _start(self, start: Json) -> bytes:
        self.began = True
        return event_frame("contentBlockStart", dumps({"contentBlockIndex": self._index, "start": start}))

    def _delta(self, delta: Json) -> bytes:
        self.began = True
        return event_frame(_DELTA, dumps({"contentBlockIndex": self._index, "delta": delta}))

    def _head_of(self, *names: str) -> bytes:
        nested = "".join([f'{{"{name}":' for name in names])
        return f'{{"contentBlockIndex":{self._index},"delta":{nested}'.encode()


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
        if not self.began:
            self.began = True
            self.head = self._head_of("text")
            text = self._piece(text)
        return super().say(text)

    def close(self, signature: str, late: Extra) -> bytes:
        citations = {**self._extra, **late}.get("citations") if self._own else None
        said = b"".join([self._delta({"citation": one}) for one in citations]) if isinstance(citations, list) else b""
        return said + super().close(signature, late)


class _ReasoningBlock(_Block):
    tail = b"}}}"

    def __init__(self, index: int, value: ReasoningPart, *, own: bool) -> None:
        super().__init__(index, value, own=own)
        self._text, self._signature = value.text, value.signature
        self.head = self._head_of("reasoningContent", "text")

    def open(self) -> bytes:
        return self.say(self._text) if self._text else b""

    def say(self, text: str) -> bytes:
        self.began = True
        return super().say(text)

    def close(self, signature: str, late: Extra) -> bytes:
        signature = signature or self._signature or ""
        said = self._delta({"reasoningContent": {"signature": signature}}) if signature else b""
        if not self.began:
            said += self._delta({"reasoningContent": {"text": ""}})
        return said + super().close(signature, late)


class _ToolBlock(_Block):
    """A tool call. Free-form input is the only member of its object: ``{"input":"...`` piece by piece."""

    tail = b"}}}"

    def __init__(self, index: int, value: ToolCallPart, *, own: bool) -> None:
        super().__init__(index, value, own=own)
        self._call = value
        self._head = self._head_of("toolUse", "input")
        self._said = False

    def open(self) -> bytes:
        call = self._call
        extra = call.extra if self._own else NO_EXTRA
        start = self._start({"toolUse": {"toolUseId": call.call_id, "name": call.name, **extra}})
        if call.custom:
            start += self._framed('{"input":"')
        return start + (self.say(call.arguments) if call.arguments else b"")

    def say(self, text: str) -> bytes:
        self._said = True
        self.head = None if self._call.custom else self._head
        return self._framed(dumps(text)[1:-1].decode() if self._call.custom else text)

    def close(self, signature: str, late: Extra) -> bytes:
        end = '"}' if self._call.custom else "" if self._said else "{}"
        return (self._framed(end) if end else b"") + super().close(signature, late)

    def _framed(self, piece: str) -> bytes:
        return event_frame(_DELTA, self._head + dumps(piece) + self.tail)


class ConverseEncoder(InTurnEncoder):
    """Reply events to the frames of one reply."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self._refused = False
        self._block = _Block(0, self.value, own=False)
        self._signature: list[str] = []
        self._head = self._tail = b""
        self._blocks = 0
        self._joiner = TextJoiner()
        self._texts = 0

    def heartbeat(self) -> bytes:
        return b"" if self.done else SIGN_OF_LIFE

    def begin(self, event: Started) -> bytes:
        return _START

    def open(self) -> bytes:
        value, index = self.value, self._blocks
        block: _Block
        if isinstance(value, TextPart | RefusalPart) or not in_reply(value, own=self.own):
            block = _TextBlock(index, value, self._piece, own=self.own)
            self._refused = self._refused or isinstance(value, RefusalPart)
        elif isinstance(value, ReasoningPart) and value.redacted is None:
            block = _ReasoningBlock(index, value, own=self.own)
        elif isinstance(value, ToolCallPart):
            block = _ToolBlock(index, value, own=self.own)
        elif render_block(value, own=self.own) is None:
            block = _TextBlock(index, value, self._piece, own=self.own)
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
        head = self._block.head if self._block.began else None
        self.framed = head is not None
        self._head, self._tail = head or b"", self._block.tail

    def say(self, text: str) -> bytes:
        said = self._block.say(text)
        self._set_fast_way()
        return said

    def framed_text(self, text: str) -> bytes:
        return event_frame(_DELTA, self._head + dumps(text) + self._tail)

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
        extra.pop("stopReason", None)
        stop: dict[str, Json] = {"stopReason": reason}
        if (fields := extra.pop("additionalModelResponseFields", None)) is not None:
            stop["additionalModelResponseFields"] = fields
        metadata = {"metrics": NO_METRICS, **extra, "usage": usage_object(self.usage, own=self.own)}
        return event_frame("messageStop", dumps(stop)) + event_frame("metadata", dumps(metadata))

    def fail(self, error: MotiveError) -> bytes:
        return error_frame(error, _EXCEPTIONS)
