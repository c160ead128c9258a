"""Server-sent events, decoded incrementally and encoded.

Owns the framing only: an event's data is text here, and what it means is a dialect's business. Knows no JSON, no
dialect and no I/O. Conforms to the WHATWG HTML standard, section 9.2 (server-sent events), with two differences: bytes
that are not UTF-8 are an error, not replacement characters, and input that ends within an event gives that event,
since some hosts close the connection right after the last line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from motive_core.errors import FramingError

EVENT_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Default bound on one event: room for an image in a data URL, yet no way to fill the memory."""

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event. ``event`` is None where the stream does not name it. ``id`` is the last event id that was set, by this
    event or an earlier one; None if there was none so far."""

    event: str | None
    data: str
    id: str | None


class SseDecoder:
    """Bytes in, events out; any split of the bytes gives the same events.

    ``feed`` and ``close`` raise ``FramingError`` for bytes that are not UTF-8 and for an event over
    ``event_limit_bytes``. Events that are complete before the fault are given first: the error is then raised by the
    next call. A decoder that has raised is finished, and raises the same error again.
    """

    def __init__(self, event_limit_bytes: int = EVENT_LIMIT_BYTES) -> None:
        self._limit = event_limit_bytes
        self._error: FramingError | None = None
        # The first bytes of the stream while they may still be the start of a byte order mark, then None.
        self._head: bytes | None = b""
        self._skip_lf = False
        # The current line so far. Kept in pieces, so that a long line in many chunks is not copied again and again.
        self._pending: list[bytes] = []
        self._pending_size = 0
        # The current event so far: bytes of its complete lines, line ends included, and its fields.
        self._size = 0
        self._data: list[str] = []
        self._event: str | None = None
        self._id: str | None = None

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take more bytes; gives the events that they complete."""
        return self._guarded(data, closing=False)

    def close(self) -> list[SseEvent]:
        """End of input; gives an unterminated last event, if it has data."""
        return self._guarded(b"", closing=True)

    def _guarded(self, data: bytes, *, closing: bool) -> list[SseEvent]:
        if self._error is not None:
            raise self._error
        events: list[SseEvent] = []
        try:
            if closing:
                self._take_end(events)
            else:
                self._take(data, events)
        except FramingError as error:
            self._error = error
            if not events or closing:
                raise
        return events

    def _take(self, data: bytes, events: list[SseEvent]) -> None:
        if self._head is not None:
            data = self._head + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._head = data
                return
            self._head = None
            data = data.removeprefix(_BOM)
        if self._skip_lf and data:
            self._skip_lf = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            # A CR ends its line at once, so that no event waits for the next chunk; a LF that follows is skipped then.
            self._skip_lf = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" in data:
            if self._pending:
                data = b"".join([*self._pending, data])
                self._pending.clear()
                self._pending_size = 0
            data = self._take_lines(data, events)
        if data:
            self._pending.append(data)
            self._pending_size += len(data)
            self._check(self._size + self._pending_size)

    def _take_lines(self, data: bytes, events: list[SseEvent]) -> bytes:
        """Take all complete lines of ``data``, which starts at the start of a line; gives the incomplete last one."""
        if self._size:
            # Within an event: the LF that ended its last line may be the first half of the blank line that ends it.
            block, found, rest = (b"\n" + data).partition(b"\n\n")
            if found:
                if block:
                    self._take_block(block[1:], events)
                else:
                    self._dispatch(events)
                data = rest
        if not self._size:
            *blocks, data = data.split(b"\n\n")
            for block in blocks:
                if block.startswith(b"data: ") and b"\n" not in block:
                    self._check(len(block))
                    events.append(SseEvent(None, _text(block[6:]), self._id))
                else:
                    self._take_block(block, events)
        lines, found, data = data.rpartition(b"\n")
        if found:
            for line in lines.split(b"\n"):
                self._take_line(line, events)
        return data

    def _take_block(self, block: bytes, events: list[SseEvent]) -> None:
        """Take the lines up to a blank line, which they do not include."""
        if not self._size and block.startswith(b"event: "):
            name, found, data = block.partition(b"\ndata: ")
            if found and b"\n" not in name and b"\n" not in data:
                self._check(len(block))
                events.append(SseEvent(_text(name[7:]) or None, _text(data), self._id))
                return
        for line in block.split(b"\n"):
            self._take_line(line, events)
        self._dispatch(events)

    def _take_line(self, line: bytes, events: list[SseEvent]) -> None:
        if not line:
            self._dispatch(events)
            return
        self._size += len(line) + 1
        self._check(self._size - 1)
        name, _, value = _text(line).partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value or None
            case "id" if "\0" not in value:
                self._id = value
            case _:
                pass  # a comment (an empty name), ``retry``, or a field that the standard tells to ignore

    def _dispatch(self, events: list[SseEvent]) -> None:
        if self._data:
            events.append(SseEvent(self._event, "\n".join(self._data), self._id))
            self._data.clear()
        self._event = None
        self._size = 0

    def _take_end(self, events: list[SseEvent]) -> None:
        line = (self._head or b"") + b"".join(self._pending)
        self._head = None
        self._pending.clear()
        if line:
            self._take_line(line, events)
        self._dispatch(events)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise FramingError(f"an event of the stream is over {self._limit} bytes")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FramingError(f"the event stream is not UTF-8: {error.reason}") from None


def sse_event(data: bytes, event: str | None = None) -> bytes:
    """One event. ``data`` is UTF-8; each of its lines becomes a ``data:`` line, so a CR in it arrives as a LF.

    Raises ``ValueError`` if ``event`` has a line end in it.
    """
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE_END.split(data))
    if event is None:
        return b"data: %b\n\n" % data
    name = event.encode()
    if b"\n" in name or b"\r" in name:
        raise ValueError("an event name is one line")
    return b"event: %b\ndata: %b\n\n" % (name, data)


def sse_comment(text: str) -> bytes:
    """A comment, which a client ignores, and the blank line after it, without which some clients choke."""
    return b"".join([b": %b\n" % line for line in _LINE_END.split(text.encode())]) + b"\n"
