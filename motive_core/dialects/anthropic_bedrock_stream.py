"""The streamed reply of InvokeModel with Anthropic's bodies, both ways: the events of the Messages API, each in base64
in an event-stream frame of AWS.

Owns the wrapping. What an event says is the business of ``anthropic_decoder`` and ``anthropic_encoder``. The last event
has what Bedrock measured beside it (``amazon-bedrock-invocationMetrics``), which is kept in the ``extra`` of the choice
if it measured any time. A stream that goes wrong ends with an exception of AWS. A heartbeat is a frame of a kind that
clients leave out: the live service sends no pings.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Final

from motive_core.dialects.anthropic_decoder import MessagesDecoder
from motive_core.dialects.anthropic_encoder import MessagesEncoder
from motive_core.dialects.aws import SIGN_OF_LIFE, STREAM_EXCEPTIONS, error_frame, stream_error
from motive_core.dialects.base import Encoder
from motive_core.dialects.decoding import FrameDecoder
from motive_core.dialects.fields import count, dumps, less, loads, typed
from motive_core.errors import FramingError
from motive_core.framing import EventStreamDecoder, Frame, SseEvent, event_frame
from motive_core.ir import Json, Usage
from motive_core.stream import ChoiceEnded, Failed, Finished, ReplyEvent, Started, UsageReported

NAME: Final = "bedrock-invoke"

_METRICS: Final = "amazon-bedrock-invocationMetrics"
_NO_TIMES: Final = {"invocationLatency": 0, "firstByteLatency": 0}
_STOP: Final = b'{"type":"message_stop"'


class _Chunks:
    """Event-stream frames as the server-sent events that are in them. ``failure`` is the frame that ended the
    stream."""

    def __init__(self) -> None:
        self._frames = EventStreamDecoder()
        self.failure: Frame | None = None

    def feed(self, data: bytes) -> list[SseEvent]:
        return self._events(self._frames.feed(data))

    def close(self) -> list[SseEvent]:
        return self._events(self._frames.close())

    def _events(self, frames: list[Frame]) -> list[SseEvent]:
        events: list[SseEvent] = []
        for frame in frames:
            if frame.kind != "event":
                self.failure = self.failure or frame
                events.append(SseEvent("error", "", None))
            elif frame.name == "chunk":
                events.append(SseEvent(None, _chunk(frame.payload), None))
        return events


def _chunk(payload: bytes) -> str:
    """What is in a ``chunk``; its padding (``p``) is ignored."""
    told = typed(loads(payload), dict, "chunk")
    try:
        return base64.b64decode(typed(told.get("bytes"), str, "chunk.bytes"), validate=True).decode()
    except ValueError as error:  # a text that is no base64, or bytes that are not UTF-8
        raise FramingError(f"a chunk is not JSON in base64: {error}") from None


class InvokeDecoder(MessagesDecoder):
    """The bytes of one streamed reply to reply events."""

    what = "a stream of InvokeModel"

    def __init__(self) -> None:
        super().__init__()
        self._chunks = _Chunks()
        FrameDecoder.__init__(self, self._chunks)

    def take(self, frame: SseEvent, events: list[ReplyEvent]) -> None:
        if self._chunks.failure is not None and frame.event == "error":
            self.done = True
            events.append(Failed(stream_error(self._chunks.failure)))
            return
        if _METRICS in frame.data:
            self._measure(typed(loads(frame.data), dict, "chunk").get(_METRICS))
        super().take(frame, events)

    def _measure(self, metrics: Json) -> None:
        if isinstance(metrics, dict) and any(metrics.get(name) for name in _NO_TIMES):
            self._end[_METRICS] = metrics

    def _begin(self, message: dict[str, Json], events: list[ReplyEvent]) -> None:
        super()._begin(message, events)
        if isinstance(started := events[-1], Started):
            events[-1] = replace(started, dialect=NAME)


class InvokeEncoder(Encoder):
    """Reply events to the frames of one message."""

    def __init__(self, model: str) -> None:
        self._events = MessagesEncoder(model)
        self._own = False
        self._done = False
        self._usage = Usage()
        self._metrics: Json = None

    def encode(self, event: ReplyEvent) -> bytes:
        match event:
            case Started(usage=usage):
                self._own = event.dialect == NAME
                self._usage = usage or self._usage
                event = replace(event, dialect="anthropic-messages" if self._own else "")
            case UsageReported(usage):
                self._usage = usage
            case ChoiceEnded(choice=0) if self._own and _METRICS in event.extra:
                self._metrics = event.extra[_METRICS]
                event = replace(event, extra={key: value for key, value in event.extra.items() if key != _METRICS})
            case Failed(error):
                said = b"" if self._done else error_frame(error, STREAM_EXCEPTIONS)
                self._events.encode(event)
                self._done = True
                return said
            case Finished():
                said = self._framed(self._events.encode(event))
                self._done = True
                return said
            case _:
                pass
        return self._framed(self._events.encode(event))

    def heartbeat(self) -> bytes:
        return b"" if self._done else SIGN_OF_LIFE

    def _framed(self, said: bytes) -> bytes:
        """Server-sent events as frames: the name of an event stands in its data, too."""
        if not said:
            return b""
        return b"".join([_frame(self._told(event.partition(b"\ndata: ")[2])) for event in said.split(b"\n\n") if event])

    def _told(self, data: bytes) -> bytes:
        if not data.startswith(_STOP):
            return data
        written = count(self._usage.extra, "cache_creation_input_tokens") if self._own else 0
        metrics = self._metrics or {
            "inputTokenCount": less(self._usage.input_tokens, self._usage.cached_tokens, written),
            "outputTokenCount": self._usage.output_tokens,
            **_NO_TIMES,
        }
        return dumps({"type": "message_stop", _METRICS: metrics})


def _frame(data: bytes) -> bytes:
    return event_frame("chunk", b'{"bytes":"%b"}' % base64.b64encode(data))
