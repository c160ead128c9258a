"""Bodies as they are sent: content encodings, undone within a bound, and the number of JSON values in them.

Owns the decompression, and what is refused by its size. A request's body that would unpack to more than the limit is
refused before it does, and one of too many values before anybody makes objects of them. A reply is undone as it comes.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from typing import Any, Final

import brotli
import zstandard

from motive_core.errors import BadRequestError, PayloadTooLargeError, UpstreamError

MOST_VALUES: Final = 100_000
"""JSON values of one body. The longest conversations have a few ten thousand; a million of them keep the event loop,
and with it every other client, waiting for many seconds."""

_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""JSON strings; the end of the text ends one, too, so that every quote begins a match and none is looked at twice."""


def decode_body(body: bytes, encodings: str, limit_bytes: int) -> bytes:
    """Undo a ``Content-Encoding`` (RFC 9110, section 8.4: a list in the order in which they were applied).

    Raises ``BadRequestError`` for an encoding that we don't know and for a body that is not in it,
    ``PayloadTooLargeError`` for one that unpacks to more than ``limit_bytes``.
    """
    for name in _applied_last_first(encodings):
        try:
            body = _decode(body, name, limit_bytes)
        except (zlib.error, brotli.error, zstandard.ZstdError) as error:
            raise BadRequestError(f"The body is not valid {name}: {error}", param="content-encoding") from None
    return body


class Unpacker:
    """Undoes the ``Content-Encoding`` of a service's reply, piece by piece: some are encoded although nobody asked for
    it. Raises ``UpstreamError`` for an encoding that we don't know."""

    def __init__(self, encodings: str) -> None:
        self._steps = [_unpacking(name) for name in _applied_last_first(encodings)]

    def unpack(self, data: bytes) -> bytes:
        """What this piece adds. Raises ``UpstreamError`` if it is not in its encoding."""
        try:
            for step in self._steps:
                data = step(data)
        except (zlib.error, brotli.error, zstandard.ZstdError) as error:
            raise UpstreamError(f"The service's reply is not in its own encoding: {error}") from None
        return data


def check_values(body: bytes) -> None:
    """Count the JSON values of a body, whether or not it is JSON. Raises ``PayloadTooLargeError``."""
    if _values(body) <= MOST_VALUES:
        return
    # A value is one text at most, and so is its name: no need to look at more of them.
    rest, texts = _STRINGS.subn(b"", body, count=2 * MOST_VALUES + 1)
    if texts > 2 * MOST_VALUES or _values(rest) > MOST_VALUES:
        raise PayloadTooLargeError(f"The body has more than {MOST_VALUES} JSON values.")


def _values(text: bytes) -> int:
    """How many values there can be at most, strings counted as if they were no strings: in each container the first
    value follows its bracket, all others a comma."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _applied_last_first(encodings: str) -> list[str]:
    """The names of a ``Content-Encoding``, in the order in which they are undone."""
    names = [name.strip().lower() for name in encodings.split(",")]
    return [name for name in reversed(names) if name not in ("", "identity")]


def _decode(body: bytes, name: str, limit_bytes: int) -> bytes:
    match name:
        case "gzip" | "x-gzip":
            return _inflate(body, _GZIP_OR_ZLIB, limit_bytes)
        case "deflate":
            try:
                return _inflate(body, _GZIP_OR_ZLIB, limit_bytes)
            except zlib.error:
                return _inflate(body, -zlib.MAX_WBITS, limit_bytes)  # without a zlib header, as some clients send it
        case "br":
            return _unbrotli(body, limit_bytes)
        case "zstd":
            return _unzstd(body, limit_bytes)
        case _:
            raise BadRequestError(f"The content encoding {name!r} is not supported.", param="content-encoding")


def _unpacking(name: str) -> Callable[[bytes], bytes]:
    unpack: Any
    match name:
        case "gzip" | "x-gzip" | "deflate":
            unpack = zlib.decompressobj(_GZIP_OR_ZLIB).decompress
        case "br":
            unpack = brotli.Decompressor().process
        case "zstd":
            unpack = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True).decompress
        case _:
            raise UpstreamError(f"The service's reply has the content encoding {name!r}, which is not known here.")
    return unpack  # type: ignore[no-any-return]


def _inflate(body: bytes, window_bits: int, limit_bytes: int) -> bytes:
    inflater = zlib.decompressobj(window_bits)
    data = _bounded(inflater.decompress(body, limit_bytes + 1), limit_bytes)
    if not inflater.eof:
        raise zlib.error("it ends too early")
    return data


def _unbrotli(body: bytes, limit_bytes: int) -> bytes:
    decompressor = brotli.Decompressor()
    data = _bounded(decompressor.process(body, output_buffer_limit=limit_bytes + 1), limit_bytes)
    if not decompressor.is_finished():
        raise brotli.error("it ends too early")
    return data


def _unzstd(body: bytes, limit_bytes: int) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body), read_across_frames=True) as reader:
        data = _bounded(reader.read(limit_bytes + 1), limit_bytes)
    # The reader, which bounds what it gives, does not say whether the last frame was whole; this does.
    rest = body
    while rest:
        frame = zstandard.ZstdDecompressor().decompressobj()
        frame.decompress(rest)
        if not frame.eof:
            raise zstandard.ZstdError("it ends too early")
        rest = frame.unused_data
    return data


def _bounded(data: bytes, limit_bytes: int) -> bytes:
    if len(data) > limit_bytes:
        raise PayloadTooLargeError(f"The body unpacks to more than {limit_bytes} bytes.")
    return data
