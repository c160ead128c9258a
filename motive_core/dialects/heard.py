"""A service's reply as it came, whole or streamed, put together into the message that it carries.

Owns how a stream is told from a whole reply. What cannot be read to its end gives what there was of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from motive_core.dialects.base import Dialect
from motive_core.errors import FramingError
from motive_core.ir import Reply
from motive_core.stream import Collector, Failed, PartDelta

_STREAMS: Final = ("event-stream", "eventstream", "ndjson")


@dataclass(frozen=True, slots=True)
class PutTogether:
    """What a stream carries: why it is not whole (empty if it is), and in how many pieces it came."""

    reply: Reply
    problem: str
    pieces: int


def is_stream_type(content_type: str) -> bool:
    """Whether a reply of this ``Content-Type`` is a stream of some dialect. Gemini's array and what a server forgot to
    name are not told from whole replies by it."""
    kind = content_type.lower()
    return any(word in kind for word in _STREAMS)


def put_together(dialect: Dialect, data: bytes) -> PutTogether:
    """The message that a stream carries. Never raises for what is in it."""
    decoder, collector, pieces, problem = dialect.decoder(), Collector(), 0, ""
    try:
        for event in [*decoder.feed(data), *decoder.close()]:
            collector.add(event)
            pieces += isinstance(event, PartDelta)
            if isinstance(event, Failed):
                problem = event.error.message
    except FramingError as error:
        problem = f"cannot be read to its end: {error}"
    return PutTogether(collector.reply(), problem, pieces)
