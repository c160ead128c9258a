"""Replies of the Gemini dialect for its SDK to read, and how that SDK is made: for the tests of both directions."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from google.genai import types

from motive_core.dialects.gemini import Gemini
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    FinishReason,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)
from motive_core.stream import ChoiceEnded, replay, replay_part

DIALECT = Gemini()
WIRE = Path(__file__).parents[1] / "wire" / "gemini"
REQUEST = ChatRequest("gemini", "room", (Message("user", (TextPart("hi"),)),), stream=True)
ARRAY = ChatRequest("gemini", "room", (Message("user", (TextPart("hi"),)),), stream=True, variant="array")
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

CODE = 'Grüße — 你好 👩‍👩‍👧\n```python\ndef f():\n\treturn "\\t"\u2028\u0085\n```\r\n\x7f</script>\n\ndata: {"a":\n\n'
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


def options(url: str, **more: Any) -> types.HttpOptions:
    no_proxy = {"trust_env": False, "verify": NO_TLS}
    return types.HttpOptions(
        base_url=url, timeout=30_000, client_args=no_proxy, async_client_args={**no_proxy, "ssl": NO_TLS}, **more
    )


def reply_of(*parts: Part, finish_reason: FinishReason = "stop") -> Reply:
    return Reply("r1", "room", (Choice(parts, finish_reason),), Usage(11, 7, cached_tokens=4, reasoning_tokens=2))


def streamed(reply: Reply, *, heartbeats: bool = False, request: ChatRequest = REQUEST) -> list[bytes]:
    """A reply as a stream, each part in pieces of three characters."""
    encoder = DIALECT.encoder(request)
    choice = reply.choices[0]
    start, *_, usage, end = replay(reply)
    events = [start]
    for index, part in enumerate(choice.parts):
        text = part.arguments if isinstance(part, ToolCallPart) else getattr(part, "text", "")
        pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
        events += replay_part(0, index, part, pieces)
    events += [ChoiceEnded(0, choice.finish_reason, choice.stop_sequence), usage, end]
    chunks = []
    for event in events:
        chunks += [encoder.heartbeat() if heartbeats else b"", encoder.encode(event)]
    return [*chunks, encoder.heartbeat()]


TOOL = ToolCallPart(
    "call_1", "get_weather", '{"location": "München",\n "days": 3, "scale": 1.0, "big": 123456789012345678901}'
)
REPLIES = {
    "text": reply_of(TextPart("Hello!")),
    "code": reply_of(TextPart(CODE)),
    "tool": reply_of(TextPart("Let me look.\n\t"), TOOL, finish_reason="tool_calls"),
    "parallel": reply_of(
        TOOL,
        ToolCallPart("call_2", "now", ""),
        ToolCallPart("call_3", "echo", '{"text":"\\u00e9 \\" \\n \u2028"}'),
        finish_reason="tool_calls",
    ),
    "custom": reply_of(ToolCallPart("call_4", "sql", "SELECT 1;\n\t--", custom=True), finish_reason="tool_calls"),
    "reasoning": reply_of(ReasoningPart("27 × 453\n= 12231"), TextPart("12231")),
    "picture": reply_of(TextPart("Here:"), BlobPart("image/png", data=PIXEL), TextPart("Nice.")),
    "length": reply_of(TextPart("and so"), finish_reason="length"),
    "filtered": reply_of(TextPart("Well,"), finish_reason="content_filter"),
    "refusal": reply_of(RefusalPart("No."), finish_reason="refusal"),
    "error": reply_of(TextPart("Hm"), finish_reason="error"),
    "empty": reply_of(),
}
