"""How a byte stream is cut into events: server-sent events, JSON values one after the other, AWS event-stream frames.

Owns the framing only, one kind a file: what an event means is a dialect's business. Knows no dialect and no I/O.
"""

from __future__ import annotations

from motive_core.framing.eventstream import EventStreamDecoder, Frame, event_frame, exception_frame
from motive_core.framing.json_values import JsonArrayDecoder, JsonLinesDecoder
from motive_core.framing.sse import EVENT_LIMIT_BYTES, SseDecoder, SseEvent, sse_comment, sse_event

__all__ = [
    "EVENT_LIMIT_BYTES",
    "EventStreamDecoder",
    "Frame",
    "JsonArrayDecoder",
    "JsonLinesDecoder",
    "SseDecoder",
    "SseEvent",
    "event_frame",
    "exception_frame",
    "sse_comment",
    "sse_event",
]
