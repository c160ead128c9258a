"""OpenAI's Responses API: ``POST .../responses``, as OpenAI, Azure, Groq and others serve it.

Owns the dialect itself: its paths, errors and lists of models. Requests, items, replies, the two halves of the stream
and the calls about kept replies have files of their own beside this one. WebSocket, by which the API is spoken as well,
is not spoken here: the gateway refuses it so that clients go on by HTTP.

A request that came in this dialect is rendered with everything that it had, unknown fields and unknown items included;
only white space, the order of members and equivalent forms (a string for one message or one text) may differ. One that
was continued from a reply that we kept has the whole conversation in the place of its id.

A request from another dialect is rendered so that the live API takes it:

* tool results become items, right after the calls that they belong to; what else their message says follows as a
  message of its role;
* that a tool failed is told by its words alone: there is no field for it;
* the texts of a message become one string, unless there are pictures or files beside them;
* any part that has no place where it stands becomes text (``degrade``): blobs outside of user messages and results,
  sounds and films, another vendor's file ids, parts that only the other dialect knows;
* a reply is not to be kept (``store``), tools are not strict, and ``max_output_tokens`` is 16 at least;
* reasoning is left out, since the API takes back only what it can look up or decrypt, as are names of authors, tools of
  another vendor's own, ``n``, ``seed`` and stop sequences.

Reasoning of our own is left out of a continued request for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from motive_core.dialects.base import (
    NO_HEAD,
    Decoder,
    Dialect,
    Encoder,
    KeptReply,
    ModelInfo,
    RequestHead,
    SideCall,
    WireReply,
)
from motive_core.dialects.fields import Malformed, dumps
from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.dialects.openai_chat_hosts import AZURE, flavour_of_service, service_headers
from motive_core.dialects.openai_chat_parts import bad_request
from motive_core.dialects.openai_chat_reply import error_object
from motive_core.dialects.openai_responses_contents import NAME
from motive_core.dialects.openai_responses_decoder import ResponsesDecoder
from motive_core.dialects.openai_responses_encoder import ResponsesEncoder
from motive_core.dialects.openai_responses_kept import continued, resolved
from motive_core.dialects.openai_responses_reply import parse_reply, render_reply
from motive_core.dialects.openai_responses_request import parse_request, render_request
from motive_core.dialects.openai_responses_stored import names_reply, serve, serves
from motive_core.errors import MotiveError
from motive_core.ir import ChatRequest, Reply

_CHAT = OpenAIChat()


class OpenAIResponses(Dialect):
    """The Responses API."""

    name = NAME
    default_service = "https://api.openai.com"
    base_path = "/v1"
    base_has_path = True
    reply_prefix = "resp_"
    endpoints = (
        "POST /v1/responses",
        "GET /v1/responses/{id}",
        "DELETE /v1/responses/{id}",
        "GET /v1/responses/{id}/input_items",
        "POST /v1/responses/input_tokens",
    )

    def matches(self, head: RequestHead) -> bool:
        return head.method == "POST" and head.path.rstrip("/").endswith("/responses")

    def speaks(self, head: RequestHead) -> bool:
        """Its errors are those of Chat Completions: nothing depends on it."""
        return "/responses" in head.path

    def parse_request(self, body: bytes, head: RequestHead = NO_HEAD) -> ChatRequest:
        try:
            return parse_request(body)
        except Malformed as error:
            raise bad_request(error) from None

    def render_request(self, request: ChatRequest) -> bytes:
        return dumps(render_request(request))

    def target(self, request: ChatRequest) -> str:
        return "/v1/responses"

    def url(self, base_url: str, request: ChatRequest) -> str:
        """See ``Dialect``. Azure has it in its newer API, where the model is a deployment."""
        base_url = base_url.rstrip("/")
        if flavour_of_service(base_url) is AZURE and not base_url.endswith("/v1"):
            base_url = f"{base_url.removesuffix('/openai')}/openai/v1"
        return super().url(base_url, request)

    def call_headers(self, key: str | None, base_url: str = "") -> dict[str, str]:
        """See ``Dialect``."""
        return service_headers(key, base_url)

    def parse_reply(self, body: bytes) -> Reply:
        return parse_reply(body)

    def render_reply(self, request: ChatRequest, reply: Reply) -> bytes:
        return render_reply(request, reply)

    def decoder(self) -> Decoder:
        return ResponsesDecoder()

    def encoder(self, request: ChatRequest) -> Encoder:
        return ResponsesEncoder(request)

    def render_error(self, error: MotiveError, request_id: str) -> bytes:
        return dumps({"error": error_object(error)})

    def render_models(self, models: Sequence[ModelInfo]) -> bytes:
        return _CHAT.render_models(models)

    def serves(self, head: RequestHead) -> bool:
        return serves(head)

    def serve(self, call: SideCall) -> WireReply:
        return serve(call, self.stream_type)

    def names_reply(self, head: RequestHead) -> str | None:
        return names_reply(head)

    def continued(self, request: ChatRequest, kept: KeptReply) -> ChatRequest:
        return continued(request, kept)

    def resolved(self, request: ChatRequest, kept: Callable[[str], KeptReply | None]) -> ChatRequest:
        return resolved(request, kept)
