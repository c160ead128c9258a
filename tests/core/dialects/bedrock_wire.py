"""Event streams of Bedrock for the tests, read by botocore's own parser."""

from __future__ import annotations

import json
import struct
from typing import Any
from zlib import crc32

from botocore.eventstream import EventStreamBuffer

from motive_core.framing import event_frame


def events_of(data: bytes) -> list[tuple[str, Any]]:
    """Names and payloads of all frames; an exception's name is its type."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [
        (message.headers.get(":event-type") or message.headers[":exception-type"], json.loads(message.payload))
        for message in buffer
    ]


def stream_of(*events: tuple[str, Any]) -> bytes:
    """Frames of events, with the padding that the live service puts in."""
    return b"".join(
        [event_frame(name, json.dumps({**told, "p": "abcdefgh"}, ensure_ascii=False).encode()) for name, told in events]
    )


def error_frame(code: str, message: str) -> bytes:
    """A frame of kind ``error``, which the encoder has no need of."""
    told = ((":message-type", "error"), (":error-code", code), (":error-message", message))
    headers = b"".join(
        [
            bytes((len(name),)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
            for name, value in told
        ]
    )
    prelude = struct.pack("!II", 16 + len(headers), len(headers))
    checked = prelude + struct.pack("!I", crc32(prelude)) + headers
    return checked + struct.pack("!I", crc32(checked))
