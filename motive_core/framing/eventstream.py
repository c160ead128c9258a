"""AWS event streams (``application/vnd.amazon.eventstream``): frames with headers, a payload and two checksums.

Owns the encoder, the borders and checksums of frames, and a shell around botocore's own parser of headers.
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
    from botocore.eventstream import EventStreamHeaderParser

FRAME_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Default bound on one frame."""

_PRELUDE: Final = struct.Struct("!III")
"""Length of the frame, length of its headers, checksum of the two."""
_CHECKED_BYTES: Final = 8
_LEAST_BYTES: Final = _PRELUDE.size + 4
"""What stands around headers and payload: the prelude, and a checksum of all that is before it."""
_CHECKSUM: Final = struct.Struct("!I")
_HEADERS_LIMIT_BYTES: Final = 128 * 1024
"""botocore's own bound."""
_KNOWN: Final = 64
_KNOWN_BYTES: Final = 1024
"""How many headers are remembered, and how long they may be."""
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

    Lengths and checksums are checked here, since botocore's own buffer copies all that it has for each frame, and waits
    for as much as a wrong length announces. Headers are botocore's to read; the frames of a stream repeat a few of them
    to the byte, so those are remembered. ``feed`` and ``close`` raise ``FramingError`` for what is no event stream, for
    a frame over ``limit_bytes``, and if botocore is missing. Frames that are complete before the fault are given first:
    the error is then raised by the next call. A decoder that has raised is finished, and raises the same error
    again."""

    def __init__(self, limit_bytes: int = FRAME_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._parser: EventStreamHeaderParser | None = None
        self._known: dict[bytes, tuple[str, str, str]] = {}
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
        (checksum,) = _CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)
        if crc32(memoryview(data)[: -_CHECKSUM.size]) != checksum:
            raise FramingError("not an event stream: the checksum of a frame is wrong")
        end = _PRELUDE.size + _PRELUDE.unpack_from(data)[1]
        payload = data[end : -_CHECKSUM.size]
        headers = data[_PRELUDE.size : end]
        known = self._known.get(headers)
        if known is None:
            known = self._read_headers(headers)
            if len(headers) <= _KNOWN_BYTES and len(self._known) < _KNOWN:
                self._known[headers] = known
        return Frame(known[0], known[1], payload, known[2])

    def _read_headers(self, data: bytes) -> tuple[str, str, str]:
        if len(data) > _HEADERS_LIMIT_BYTES:
            raise FramingError(f"not an event stream: a frame has over {_HEADERS_LIMIT_BYTES} bytes of headers")
        if self._parser is None:
            self._parser = _new_parser()
        try:
            return _told(self._parser.parse(data))
        # What the parser meets in hostile bytes: a name that comes twice (an error of its own), headers that end too
        # early, types that there are none of, texts that are not UTF-8.
        except (_parser_error(), struct.error, KeyError, ValueError, TypeError) as error:
            raise FramingError(f"not an event stream: {error}") from None


def _new_parser() -> EventStreamHeaderParser:
    try:
        from botocore.eventstream import EventStreamHeaderParser
    except ImportError:
        raise FramingError("AWS event streams need botocore: install the extra 'bedrock'") from None
    return EventStreamHeaderParser()


def _parser_error() -> type[Exception]:
    from botocore.eventstream import ParserError

    error: type[Exception] = ParserError
    return error


def _told(headers: Mapping[str, object]) -> tuple[str, str, str]:
    """Kind, name and message of a frame."""
    kind = str(headers.get(":message-type", "event"))
    name = headers.get({"exception": ":exception-type", "error": ":error-code"}.get(kind, ":event-type"), "")
    return kind, str(name), str(headers.get(":error-message", ""))


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
