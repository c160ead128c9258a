"""AWS event streams (``application/vnd.amazon.eventstream``): frames with headers, a payload and two checksums.

Owns the encoder and a shell around botocore's own decoder, which is the wire's definition to every AWS SDK for Python.
botocore is optional, and needed for decoding only: the extra ``bedrock``. Source: "Event stream encoding" in the Smithy
specification (``smithy.io/2.0/aws/amazon-eventstream.html``), and ``botocore/eventstream.py``, version 1.44.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from zlib import crc32

from motive_core.errors import FramingError

if TYPE_CHECKING:
    from botocore.eventstream import EventStreamBuffer

_STRING: Final = 7
"""The type of a header's value that is a text; the services use no other here."""

_FEED_BYTES: Final = 8192
"""botocore's buffer copies all of itself for each frame that it gives, so it gets little at a time."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. ``kind`` is ``event``, ``exception`` or ``error``; ``name`` the type of the event or the exception;
    ``message`` what an ``error`` says beside its code."""

    kind: str
    name: str
    payload: bytes
    message: str = ""


class EventStreamDecoder:
    """Bytes in, frames out; any split of the bytes gives the same frames.

    ``feed`` and ``close`` raise ``FramingError`` for what is no event stream, and if botocore is missing. Frames that
    are complete before the fault are given first: the error is then raised by the next call."""

    def __init__(self) -> None:
        self._buffer = _buffer()
        self._error: FramingError | None = None
        self._size = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take more bytes; gives the frames that they complete."""
        if self._error is not None:
            raise self._error
        frames: list[Frame] = []
        try:
            for place in range(0, len(data), _FEED_BYTES):
                piece = data[place : place + _FEED_BYTES]
                self._size += len(piece)
                self._buffer.add_data(piece)
                for message in self._buffer:
                    self._size -= message.prelude.total_length
                    frames.append(_frame(message.headers, message.payload))
        # What the parser meets in hostile bytes: wrong checksums and lengths (its own errors), headers that end too
        # early, types that there are none of, texts that are not UTF-8.
        except (_parser_error(), struct.error, KeyError, ValueError, TypeError) as error:
            self._error = FramingError(f"not an event stream: {error}")
            if not frames:
                raise self._error from None
        return frames

    def close(self) -> list[Frame]:
        """End of input. Raises ``FramingError`` if it comes within a frame."""
        if self._error is not None:
            raise self._error
        if self._size:
            self._error = FramingError("the event stream ended within a frame")
            raise self._error
        return []


def _buffer() -> EventStreamBuffer:
    try:
        from botocore.eventstream import EventStreamBuffer
    except ImportError:
        raise FramingError("AWS event streams need botocore: install the extra 'bedrock'") from None
    return EventStreamBuffer()


def _parser_error() -> type[Exception]:
    from botocore.eventstream import ParserError

    error: type[Exception] = ParserError
    return error


def _frame(headers: Mapping[str, object], payload: bytes) -> Frame:
    kind = str(headers.get(":message-type", "event"))
    name = headers.get({"exception": ":exception-type", "error": ":error-code"}.get(kind, ":event-type"), "")
    return Frame(kind, str(name), payload, str(headers.get(":error-message", "")))


def event_frame(name: str, payload: bytes) -> bytes:
    """The frame of an event with a JSON payload."""
    return _encoded(((":event-type", name), (":content-type", "application/json"), (":message-type", "event")), payload)


def exception_frame(name: str, payload: bytes) -> bytes:
    """The frame of an exception with a JSON payload; it ends the stream."""
    return _encoded(
        ((":exception-type", name), (":content-type", "application/json"), (":message-type", "exception")), payload
    )


def _encoded(headers: tuple[tuple[str, str], ...], payload: bytes) -> bytes:
    fields = b"".join([_header(name.encode(), value.encode()) for name, value in headers])
    prelude = struct.pack("!II", 16 + len(fields) + len(payload), len(fields))
    checked = prelude + struct.pack("!I", crc32(prelude)) + fields + payload
    return checked + struct.pack("!I", crc32(checked))


def _header(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + struct.pack("!BH", _STRING, len(value)) + value
