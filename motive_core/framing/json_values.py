"""JSON values that come one after the other: a line each (NDJSON), or as the members of one array.

Owns the borders between values only: what is between them is checked, what is in them is not. Any split of the bytes
gives the same values. A decoder that has raised is finished, and raises the same error again.
"""

from __future__ import annotations

import abc
import re
from typing import Final

from motive_core.errors import FramingError

VALUE_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""Default bound on one value."""

_BLANK: Final = b" \t\r\n"
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+")
_STRING_OR_BRACKET: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)
_STRING_END: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+("|\\?\Z)', re.DOTALL)


class _ValuesDecoder(abc.ABC):
    """Keeps the fault: values that are complete before it are given first, the next call raises it then."""

    def __init__(self, limit_bytes: int = VALUE_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._error: FramingError | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Take more bytes; gives the values that they complete. Raises ``FramingError``."""
        return self._guarded(data, closing=False)

    def close(self) -> list[bytes]:
        """End of input; gives a last value that nothing but the end completes. Raises ``FramingError``."""
        return self._guarded(b"", closing=True)

    def _guarded(self, data: bytes, *, closing: bool) -> list[bytes]:
        if self._error is not None:
            raise self._error
        values: list[bytes] = []
        try:
            if closing:
                self._take_end(values)
            else:
                self._take(data, values)
        except FramingError as error:
            self._error = error
            if not values or closing:
                raise
        return values

    @abc.abstractmethod
    def _take(self, data: bytes, values: list[bytes]) -> None: ...

    @abc.abstractmethod
    def _take_end(self, values: list[bytes]) -> None: ...

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise FramingError(f"a value of the stream is over {self._limit} bytes")


class JsonLinesDecoder(_ValuesDecoder):
    """One value a line; blank lines are skipped."""

    def __init__(self, limit_bytes: int = VALUE_LIMIT_BYTES) -> None:
        super().__init__(limit_bytes)
        # It grows in place, so that a long line in many chunks is not copied again and again.
        self._pending = bytearray()

    def _take(self, data: bytes, values: list[bytes]) -> None:
        *lines, rest = data.split(b"\n")
        if lines and self._pending:
            lines[0] = bytes(self._pending + lines[0])
            self._pending.clear()
        for line in lines:
            if line := line.strip(_BLANK):
                self._check(len(line))
                values.append(line)
        if rest:
            self._pending += rest
            self._check(len(self._pending))

    def _take_end(self, values: list[bytes]) -> None:
        if line := bytes(self._pending).strip(_BLANK):
            values.append(line)
        self._pending.clear()


class JsonArrayDecoder(_ValuesDecoder):
    """The objects of one array. An object that stands alone is taken as an array of one: so services tell errors.

    ``complete`` tells whether the array has ended.
    """

    def __init__(self, limit_bytes: int = VALUE_LIMIT_BYTES) -> None:
        super().__init__(limit_bytes)
        self.complete = False
        self._in_array = False
        # What may come next between two objects.
        self._after_object = False
        self._after_comma = False
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._value = bytearray()

    def _take(self, data: bytes, values: list[bytes]) -> None:
        place = 0
        while place < len(data):
            if self._depth == 0:
                place = self._between(data, place)
                continue
            end = self._through(data, place)
            self._value += data[place:end]
            self._check(len(self._value))
            place = end
            if self._depth == 0:
                values.append(bytes(self._value))
                self._value.clear()
                self._after_object = True
                self.complete = not self._in_array

    def _between(self, data: bytes, place: int) -> int:
        """Past white space and one byte between objects, up to the first one of an object."""
        found = _BLANKS.match(data, place)
        assert found is not None  # it matches anything
        place = found.end()
        if place == len(data):
            return place
        if self.complete:
            raise FramingError("something follows the end of the array")
        match data[place : place + 1]:
            case b"[" if not self._in_array:
                self._in_array = True
            case b"]" if self._in_array and not self._after_comma:
                self.complete = True
            case b"," if self._after_object:
                self._after_object, self._after_comma = False, True
            case b"{" if not self._after_object:
                self._depth = 1
                self._value += b"{"
                self._after_comma = False
            case _:
                raise FramingError("the stream is no array of objects")
        return place + 1

    def _through(self, data: bytes, place: int) -> int:
        """The end of the current object, or of ``data``."""
        while place < len(data):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                    place += 1
                    continue
                found = _STRING_END.match(data, place)
                assert found is not None  # it matches anything, up to the end
                place = found.end()
                self._in_string = found[1] != b'"'
                self._escaped = found[1] == b"\\"
                continue
            found = _STRING_OR_BRACKET.search(data, place)
            if found is None:
                return len(data)
            place = found.end()
            match found[0]:
                case b"{" | b"[":
                    self._depth += 1
                case b"}" | b"]":
                    self._depth -= 1
                    if self._depth == 0:
                        return place
                case b'"':
                    self._in_string = True
                case _:
                    pass
        return place

    def _take_end(self, values: list[bytes]) -> None:
        if not self.complete and (self._in_array or self._depth):
            raise FramingError("the stream ended before its array did")
