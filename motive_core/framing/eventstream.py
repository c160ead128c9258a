"""AWS event streams (``application/vnd.amazon.eventstream``): frames with headers, a payload and two checksums.

Owns the encoder and a shell around botocore's own decoder, which is the wire's definition to every AWS SDK for Python.
botocore is optional, and needed for decoding only: the extra ``bedrock``. Source: "Event stream encoding" in the Smithy
specification (``smithy.io/2.0/aws/amazon-eventstream.html``), and ``botocore/eventstream.py``, version 1.44.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zlib import crc32

from motive_core.errors import FramingError

if TYPE_CHECKING:
    from botocore.eventstream import EventStreamBuffer

FRAME_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Default bound on one frame."""

_PRELUDE: Final = struct.Struct("!III")
"""Length of the frame, length of its headers, checksum of the two."""
_CHECKED_BYTES: Final = 8
_LEAST_BYTES: Final = _PRELUDE.size + 4
"""What stands around headers and payload: the prelude, and a checksum of all that is before it."""
_STRING: Final = 7
"""The type of a header's value that is a text; the services use no other here."""


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

    botocore's parser gets whole frames only: it would copy all that it has for each piece, and wait for as much as a
    wrong length announces. ``feed`` and ``close`` raise ``FramingError`` for what is no event stream, for a frame over
    ``limit_bytes``, and if botocore is missing. Frames that are complete before the fault are given first: the error is
    then raised by the next call. A decoder that has raised is finished, and raises the same error again."""

    def __init__(self, limit_bytes: int = FRAME_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._parser: EventStreamBuffer | None = None
        self._error: FramingError | None = None
        self._pending = bytearray()
        self._wanted = _PRELUDE.size
        """How many bytes there must be until there is something to do."""

    def feed(self, data: bytes) -> list[Frame]:
        """Take more bytes; gives the frames that they complete."""
        if self._error is not None:
            raise self._error
        self._pending += data
        frames: list[Frame] = []
        if len(self._pending) < self._wanted:
            return frames
        try:
            self._take(frames)
        except FramingError as error:
            self._error = error
            self._pending.clear()
            if not frames:
                raise
        return frames

    def close(self) -> list[Frame]:
        """End of input. Raises ``FramingError`` if it comes within a frame."""
        if self._error is None and self._pending:
            self._error = FramingError("the event stream ended within a frame")
        if self._error is not None:
            raise self._error
        return []

    def _take(self, frames: list[Frame]) -> None:
        place, there = 0, len(self._pending)
        while True:
            self._wanted = self._length(place) if there - place >= _PRELUDE.size else _PRELUDE.size
            if there - place < self._wanted:
                break
            end = place + self._wanted
            frames.append(self._parsed(bytes(self._pending[place:end])))
            place = end
        del self._pending[:place]

    def _length(self, place: int) -> int:
        """The length of the frame that begins there."""
        length, headers, checksum = _PRELUDE.unpack_from(self._pending, place)
        if crc32(self._pending[place : place + _CHECKED_BYTES]) != checksum:
            raise FramingError("not an event stream: the checksum of a frame's beginning is wrong")
        if length < _LEAST_BYTES + headers:
            raise FramingError(f"not an event stream: a frame of {length} bytes has {headers} bytes of headers")
        if length > self._limit:
            raise FramingError(f"a frame of the stream is over {self._limit} bytes")
        return int(length)

    def _parsed(self, data: bytes) -> Frame:
        if self._parser is None:
            self._parser = _new_parser()
        self._parser.add_data(data)
        try:
            message = self._parser.next()
            return _frame(message.headers, message.payload)
        # What the parser meets in hostile bytes: wrong checksums and too many headers (its own errors), headers that
        # end too early, types that there are none of, texts that are not UTF-8.
        except (_parser_error(), struct.error, KeyError, ValueError, TypeError) as error:
            raise FramingError(f"not an event stream: {error}") from None


def _new_parser() -> EventStreamBuffer:
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
    return _encoded(_headers(":event-type", name, "event"), payload)


def exception_frame(name: str, payload: bytes) -> bytes:
    """The frame of an exception with a JSON payload; it ends the stream."""
    return _encoded(_headers(":exception-type", name, "exception"), payload)


def _encoded(headers: bytes, payload: bytes) -> bytes:
    lengths = struct.pack("!II", _LEAST_BYTES + len(headers) + len(payload), len(headers))
    checked = b"".join((lengths, struct.pack("!I", crc32(lengths)), headers, payload))
    return checked + struct.pack("!I", crc32(checked))


@lru_cache(maxsize=64)
def _headers(field: str, name: str, kind: str) -> bytes:
    told = ((field, name), (":content-type", "application/json"), (":message-type", kind))
    return b"".join([_header(field.encode(), value.encode()) for field, value in told])


def _header(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + struct.pack("!BH", _STRING, len(value)) + value
