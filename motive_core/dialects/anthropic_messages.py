"""Anthropic's Messages API: ``POST .../v1/messages``, and the same by Vertex AI.

Owns errors and the dialect itself; requests, blocks, replies, the two halves of the stream, the paths of Vertex AI and
the calls beside the chat have files of their own beside this one.

A request that came in this dialect is rendered as it was, unknown fields included; only white space, the order of
members and equivalent forms (a string for one text block) may differ. A request from another dialect is rendered so
that the live API takes it:

* system and developer messages, wherever they stand, are the ``system`` prompt; if there is nothing else, they are what
  the user says;
* messages of one role that follow each other become one; ``tool`` messages are ``tool_result`` blocks of a user message
  and come first in it, right after the ``tool_use`` that they belong to;
* empty and blank texts are left out, and so are messages that have nothing else;
* ids of tool calls keep only the characters that the API allows (``[a-zA-Z0-9_-]``); others become ``_``;
* ``max_tokens`` is 4096 if the request does not say; the schema of a tool is an object's;
* reasoning is left out, since its signature proves nothing to this vendor, as are names of authors, tools of another
  vendor's own, ``n``, ``seed``, JSON mode without a schema, and ``temperature`` and ``top_p``, which the API refuses
  since its version 2026-10-21;
* any other part that the API does not take becomes text (``degrade``): sounds, files of unusual types, another vendor's
  file ids, blobs in assistant messages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from motive_core.dialects import anthropic_side
from motive_core.dialects.anthropic_blocks import NAME, bad_request
from motive_core.dialects.anthropic_decoder import MessagesDecoder
from motive_core.dialects.anthropic_encoder import MessagesEncoder
from motive_core.dialects.anthropic_reply import error_object, parse_reply, render_reply
from motive_core.dialects.anthropic_request import parse_request, render_request
from motive_core.dialects.anthropic_vertex import call_of, models_at, target_of, vertex_url
from motive_core.dialects.base import NO_HEAD, Decoder, Dialect, Encoder, ModelInfo, RequestHead, SideCall, WireReply
from motive_core.dialects.fields import Malformed, dumps
from motive_core.errors import Allowance, MotiveError
from motive_core.ir import ChatRequest, Reply

_VERSION: Final = "2023-06-01"


class AnthropicMessages(Dialect):
    """The Messages API, of version 2023-06-01 as of 2026-10-21: bodies are the same but for what is allowed in them."""

    name = NAME
    default_service = "https://api.anthropic.com"
    base_path = "/v1"
    reply_prefix = "msg_"
    # Its SDK leaves out events of no known name (``_streaming.py``, ``Stream.__stream__``).
    malformed_frame = b'event: content_block_delta\ndata: {"malformed\n\n'
    endpoints = (
        "POST /v1/messages",
        "POST /v1/messages/count_tokens",
        "POST .../publishers/anthropic/models/{model}:rawPredict",
    )

    def matches(self, head: RequestHead) -> bool:
        if head.method != "POST":
            return False
        return head.path.rstrip("/").endswith("/v1/messages") or call_of(head) is not None

    def speaks(self, head: RequestHead) -> bool:
        return anthropic_side.speaks(head)

    def parse_request(self, body: bytes, head: RequestHead = NO_HEAD) -> ChatRequest:
        try:
            return parse_request(body, call_of(head))
        except Malformed as error:
            raise bad_request(error) from None

    def render_request(self, request: ChatRequest) -> bytes:
        return render_request(request)

    def target(self, request: ChatRequest) -> str:
        if request.dialect == NAME and request.variant:
            return target_of(request.variant, request.model, stream=request.stream)
        return "/v1/messages"

    def asked_of(self, base_url: str, request: ChatRequest) -> ChatRequest:
        """See ``Dialect``."""
        return replace(request, variant=models_at(base_url))

    def url(self, base_url: str, request: ChatRequest) -> str:
        """See ``Dialect``."""
        return vertex_url(base_url, request.model, stream=request.stream) or super().url(base_url, request)

    def call_headers(self, key: str | None, base_url: str = "") -> dict[str, str]:
        """See ``Dialect``. On Vertex AI, a key is an access token of Google's."""
        if models_at(base_url):
            return {"authorization": f"Bearer {key}"} if key else {}
        return {"anthropic-version": _VERSION, **({"x-api-key": key} if key else {})}

    def parse_reply(self, body: bytes) -> Reply:
        return parse_reply(body)

    def render_reply(self, request: ChatRequest, reply: Reply) -> bytes:
        return render_reply(reply)

    def decoder(self) -> Decoder:
        return MessagesDecoder()

    def encoder(self, request: ChatRequest) -> Encoder:
        return MessagesEncoder(request.model)

    def render_error(self, error: MotiveError, request_id: str) -> bytes:
        return dumps({"type": "error", "error": error_object(error), "request_id": request_id})

    def reply_headers(self, request_id: str) -> dict[str, str]:
        """``request-id`` is the one that the SDK reads (``_exceptions.py``, ``APIStatusError``)."""
        return {**super().reply_headers(request_id), "request-id": request_id}

    def allowance_headers(self, allowance: Allowance) -> dict[str, str]:
        """The API's own, with the reset as RFC 3339 ("Rate limits", response headers)."""
        resets_at = datetime.fromtimestamp(math.ceil(allowance.resets_at), UTC)
        return {
            "anthropic-ratelimit-requests-limit": str(allowance.limit),
            "anthropic-ratelimit-requests-remaining": str(allowance.remaining),
            "anthropic-ratelimit-requests-reset": resets_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def render_models(self, models: Sequence[ModelInfo]) -> bytes:
        return anthropic_side.render_models(models)

    def serves(self, head: RequestHead) -> bool:
        return anthropic_side.serves(head)

    def serve(self, call: SideCall) -> WireReply:
        return anthropic_side.serve(call)
