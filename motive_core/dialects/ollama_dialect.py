"""What both dialects of Ollama's API are: replies, errors, and how its clients are known.

Knows no request; each endpoint has a file of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Final

from motive_core.dialects.base import Decoder, Dialect, Encoder, ModelInfo, RequestHead
from motive_core.dialects.fields import dumps
from motive_core.dialects.ollama_reply import Shape, error_object, parse_reply, render_reply
from motive_core.dialects.ollama_side import render_models
from motive_core.dialects.ollama_stream import LinesDecoder, LinesEncoder
from motive_core.errors import MotiveError
from motive_core.ir import ChatRequest, Reply

_CLIENTS: Final = ("ollama-python/", "ollama-js/", "ollama/")
"""The beginnings of the ``User-Agent`` of the SDKs; the last one is that of Ollama's own command and its Go package."""
_OWN_PATH: Final = re.compile(r"/api/(?!v\d)")
"""Below ``/api/v1`` it is somebody else (OpenRouter)."""


class OllamaDialect(Dialect):
    """One endpoint of Ollama's API, but for its requests."""

    stream_type = "application/x-ndjson"
    malformed_frame = b'{"malformed\n'
    default_service = "http://localhost:11434"
    base_path = "/api"

    shape: ClassVar[Shape]
    """How it says its replies."""
    path: ClassVar[str]
    """Where it is."""

    def matches(self, head: RequestHead) -> bool:
        return head.method == "POST" and head.path.rstrip("/").endswith(self.path)

    def speaks(self, head: RequestHead) -> bool:
        if head.headers.get("user-agent", "").startswith(_CLIENTS):
            return True
        return _OWN_PATH.match(head.path) is not None

    def target(self, request: ChatRequest) -> str:
        return self.path

    def parse_reply(self, body: bytes) -> Reply:
        return parse_reply(self.shape, body)

    def render_reply(self, request: ChatRequest, reply: Reply) -> bytes:
        return render_reply(self.shape, request, reply)

    def decoder(self) -> Decoder:
        return LinesDecoder(self.shape)

    def encoder(self, request: ChatRequest) -> Encoder:
        return LinesEncoder(self.shape, request)

    def render_error(self, error: MotiveError, request_id: str) -> bytes:
        return dumps(error_object(error))

    def render_models(self, models: Sequence[ModelInfo]) -> bytes:
        return render_models(models)
