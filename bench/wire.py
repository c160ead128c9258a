"""HTTP/1.1 keep-alive on asyncio protocols, as cheap as it gets: what the load generator and the stand-in are made of.

Owns the framing by Content-Length. It is no general client or server: what it does not know, it refuses aloud.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast


class FramingError(Exception):
    """A message came that cannot be delimited here: without a Content-Length, say."""


class Messages(asyncio.Protocol):
    """One connection: calls ``on_message`` with the first line and the body of each message that came whole."""

    def __init__(self, on_message: Callable[[Messages, bytes, bytes], None]) -> None:
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.lost = asyncio.get_running_loop().create_future()
        """Done when the connection is closed."""
        self.on_message = on_message
        self.sent_at = 0.0
        self._buffer = b""
        self._whole = 0
        self._head_end = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        if not self.lost.done():
            self.lost.set_result(exc)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        buffer = self._buffer + data if self._buffer else data
        while buffer:
            if not self._whole:
                end = buffer.find(b"\r\n\r\n")
                if end < 0:
                    break
                self._head_end = end + 4
                self._whole = self._head_end + _content_length(buffer[:end])
            if len(buffer) < self._whole:
                break
            line = buffer[: buffer.find(b"\r\n")]
            body = buffer[self._head_end : self._whole]
            buffer = buffer[self._whole :]
            self._whole = 0
            self.on_message(self, line, body)
        self._buffer = buffer


def _content_length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    if at >= 0:
        end = lower.find(b"\r\n", at + 2)
        return int(lower[at + 17 : end if end >= 0 else None])
    raise FramingError(f"a message without a Content-Length: {head!r}")


def status_of(line: bytes) -> int:
    """The status of a reply, by its first line."""
    return int(line[9:12])
