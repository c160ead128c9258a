"""Cohere's Chat API, version 2: ``POST .../v2/chat``.

Owns errors and the dialect itself; requests, parts, replies, the two halves of the stream and the calls beside the chat
have files of their own beside this one.

A request that came in this dialect is rendered with everything that it had, unknown fields included; only white space,
the order of members and equivalent forms (a list of one text for a string, a plan after the content) may differ. Its
``documents`` are a system message of their own before all others, so that another dialect is told them, as JSON.

A request from another dialect is rendered so that the live API takes it:

* tool results become ``tool`` messages, right before what else their message says; that a tool failed is told by its
  words alone: there is no field for it;
* what an assistant says beside tool calls is the ``tool_plan``; its reasoning is kept, as ``thinking``, but neither its
  signature nor its encrypted form: they prove something to another vendor only;
* the texts of a message become one string, unless there are images beside them; messages that say nothing are left out;
* any part that has no place where it stands becomes text (``degrade``): images outside of user messages, other files,
  another vendor's file ids, parts that only the other dialect knows, refusals;
* arguments of a tool call that are no JSON object, free-form input above all, are the only member of one (``input``);
* a tool choice that names a tool becomes ``REQUIRED``; the shape of the reply is left out beside tools, since the API
  takes only one of the two; ``top_p`` is kept within 0.01 and 0.99, and of stop sequences the first five;
* names of authors, negative seeds, ``n``, whether calls may be parallel, and tools of another vendor's own are left
  out.

An error after the headers cannot raise an exception in the SDK; ``cohere_encoder`` says how it is told. The SDK tries
408, 409, 429 and 5xx again, twice, whatever the headers say.
"""

from __future__ import annotations

from collections.abc import Sequence

from motive_core.dialects import cohere_side
from motive_core.dialects.base import NO_HEAD, Decoder, Dialect, Encoder, ModelInfo, RequestHead, SideCall, WireReply
from motive_core.dialects.cohere_decoder import ChatDecoder
from motive_core.dialects.cohere_encoder import ChatEncoder
from motive_core.dialects.cohere_parts import NAME, bad_request
from motive_core.dialects.cohere_reply import error_message, parse_reply, render_reply
from motive_core.dialects.cohere_request import parse_request, render_request
from motive_core.dialects.fields import Malformed, dumps
from motive_core.errors import MotiveError
from motive_core.ir import ChatRequest, Reply


class CohereChat(Dialect):
    """Version 2 of the Chat API. Ids of replies have no prefix: the vendor's are UUIDs."""

    name = NAME
    default_service = "https://api.cohere.com"
    base_path = "/v2"
    endpoints = ("POST /v2/chat",)

    def matches(self, head: RequestHead) -> bool:
        return head.method == "POST" and head.path.rstrip("/").endswith("/v2/chat")

    def speaks(self, head: RequestHead) -> bool:
        return cohere_side.speaks(head)

    def parse_request(self, body: bytes, head: RequestHead = NO_HEAD) -> ChatRequest:
        try:
            return parse_request(body)
        except Malformed as error:
            raise bad_request(error) from None

    def render_request(self, request: ChatRequest) -> bytes:
        return render_request(request)

    def target(self, request: ChatRequest) -> str:
        return "/v2/chat"

    def parse_reply(self, body: bytes) -> Reply:
        return parse_reply(body)

    def render_reply(self, request: ChatRequest, reply: Reply) -> bytes:
        return render_reply(reply)

    def decoder(self) -> Decoder:
        return ChatDecoder()

    def encoder(self, request: ChatRequest) -> Encoder:
        return ChatEncoder()

    def render_error(self, error: MotiveError, request_id: str) -> bytes:
        return dumps({"id": request_id, "message": error_message(error)})

    def reply_headers(self, request_id: str) -> dict[str, str]:
        """``x-debug-trace-id`` is the one that the live API sends."""
        return {**super().reply_headers(request_id), "x-debug-trace-id": request_id}

    def render_models(self, models: Sequence[ModelInfo]) -> bytes:
        return cohere_side.render_models(models)

    def serves(self, head: RequestHead) -> bool:
        return cohere_side.serves(head)

    def serve(self, call: SideCall) -> WireReply:
        return cohere_side.serve(call)
