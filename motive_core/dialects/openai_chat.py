"""OpenAI's Chat Completions API: ``POST .../chat/completions``, as the many hosts that are compatible with it speak it.

Owns the dialect itself and its lists of models; requests, messages, parts, replies, errors, the two halves of the
stream and what is peculiar to single hosts have files of their own beside this one. The path names the model where it
is one of Azure's deployments (``openai_azure``).

How a reply is said depends on the host that its client believes to talk to (``openai_chat_hosts``): which member tells
reasoning, whether tool calls come whole, where a stream tells its usage, the envelope of an error.

A request that came in this dialect is rendered with everything that it had, unknown fields included; only white space,
the order of members and equivalent forms (a list of one text part for a string, ``reasoning`` for
``reasoning_content``) may differ. The legacy ``functions``, ``function_call`` and role ``function`` are tools, a tool
choice, calls and results like any other, marked in ``extra``; a call's name stands for the id that it does not have.

A request from another dialect is rendered so that the live API takes it:

* tool results become ``tool`` messages, right after the calls that they belong to; what else their message says follows
  as a message of its role;
* that a tool failed is told by its words alone: there is no field for it;
* the texts of a message become one string, unless there are blobs beside them;
* any part that has no place where it stands becomes text (``degrade``): blobs outside of user messages, files by URL,
  another vendor's file ids, parts that only the other dialect knows;
* of reasoning the text is kept, as ``reasoning_content``, but neither its signature nor its encrypted form: they prove
  something to another vendor only;
* tools of another vendor's own are left out: the app could not run them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from motive_core.dialects.base import NO_HEAD, Decoder, Dialect, Encoder, ModelInfo, RequestHead, SideCall, WireReply
from motive_core.dialects.fields import Malformed, dumps
from motive_core.dialects.openai_azure import (
    deployment_listed,
    deployment_of,
    deployment_target,
    deployment_url,
    render_deployment,
)
from motive_core.dialects.openai_chat_decoder import ChatDecoder
from motive_core.dialects.openai_chat_encoder import ChatEncoder
from motive_core.dialects.openai_chat_hosts import (
    AZURE,
    MISTRAL,
    OPENAI,
    Flavour,
    flavour_for,
    flavour_of,
    flavour_of_service,
    service_headers,
)
from motive_core.dialects.openai_chat_parts import NAME, bad_request
from motive_core.dialects.openai_chat_reply import parse_reply, render_reply
from motive_core.dialects.openai_chat_request import parse_request, render_request
from motive_core.dialects.openai_errors import render_error
from motive_core.errors import MotiveError, NotFoundError
from motive_core.ir import ChatRequest, Json, Reply

_MODELS: Final = re.compile(r"(?:\A|/)models(?:/(?P<model>.+))?/?\Z")


class OpenAIChat(Dialect):
    """Chat Completions, and the envelope of last resort: most clients understand its errors and its list of models."""

    name = NAME
    default_service = "https://api.openai.com"
    base_path = "/v1"
    base_has_path = True
    reply_prefix = "chatcmpl-"
    endpoints = (
        "POST /v1/chat/completions",
        "POST /openai/deployments/{deployment}/chat/completions",
        "GET /v1/models",
        "GET /openai/deployments",
    )

    def __init__(self, flavour: Flavour = OPENAI) -> None:
        self._flavour = flavour

    def for_client(self, head: RequestHead) -> Dialect:
        return OpenAIChat(flavour_of(head))

    def matches(self, head: RequestHead) -> bool:
        return head.method == "POST" and head.path.rstrip("/").endswith("/chat/completions")

    def speaks(self, head: RequestHead) -> bool:
        return True

    def parse_request(self, body: bytes, head: RequestHead = NO_HEAD) -> ChatRequest:
        try:
            return parse_request(body, deployment_of(head, "chat/completions"), flavour_of(head))
        except Malformed as error:
            raise bad_request(error) from None

    def render_request(self, request: ChatRequest) -> bytes:
        return dumps(render_request(request, flavour_for(request)))

    def target(self, request: ChatRequest) -> str:
        if request.dialect == NAME and request.variant == AZURE.name:
            return deployment_target(request.model, "chat/completions")
        return "/v1/chat/completions"

    def asked_of(self, base_url: str, request: ChatRequest) -> ChatRequest:
        """See ``Dialect``. A service that tells the usage without being asked may refuse to be asked."""
        flavour = flavour_of_service(base_url)
        usage = request.include_usage and flavour.usage != "last"
        return replace(request, variant=flavour.name, include_usage=usage)

    def url(self, base_url: str, request: ChatRequest) -> str:
        """See ``Dialect``."""
        found = None
        if flavour_of_service(base_url) is AZURE:
            found = deployment_url(base_url, request.model, "chat/completions")
        return found or super().url(base_url, request)

    def call_headers(self, key: str | None, base_url: str = "") -> dict[str, str]:
        """See ``Dialect``."""
        return service_headers(key, base_url)

    def parse_reply(self, body: bytes) -> Reply:
        return parse_reply(body)

    def render_reply(self, request: ChatRequest, reply: Reply) -> bytes:
        return render_reply(request, reply, flavour_for(request))

    def decoder(self) -> Decoder:
        return ChatDecoder()

    def encoder(self, request: ChatRequest) -> Encoder:
        return ChatEncoder(request, flavour_for(request))

    def render_error(self, error: MotiveError, request_id: str) -> bytes:
        return render_error(error, self._flavour.envelope)

    def render_models(self, models: Sequence[ModelInfo]) -> bytes:
        return dumps({"object": "list", "data": [self._model(model) for model in models]})

    def serves(self, head: RequestHead) -> bool:
        return head.method == "GET" and (_MODELS.search(head.path) or deployment_listed(head)) is not None

    def serve(self, call: SideCall) -> WireReply:
        wanted = deployment_listed(call.head)
        render = self._model if wanted is None else render_deployment
        if wanted is None and (found := _MODELS.search(call.head.path)) is not None:
            wanted = unquote(found["model"] or "")
        if not wanted:
            return WireReply(200, dumps({"object": "list", "data": [render(model) for model in call.models]}))
        for model in call.models:
            if model.model == wanted:
                return WireReply(200, dumps(render(model)))
        raise NotFoundError(f"The model '{wanted}' does not exist", code="model_not_found", param="model")

    def _model(self, model: ModelInfo) -> dict[str, Json]:
        told = {"id": model.model, "object": "model", "created": model.created, "owned_by": model.owned_by}
        if self._flavour is MISTRAL:
            # Without these its SDK gives an ``UnknownModelListData`` (``models/modellist.py``).
            capabilities = {"completion_chat": True, "function_calling": True, "completion_fim": True, "vision": True}
            return {**told, "type": "base", "name": model.model, "capabilities": capabilities}
        if self._flavour is AZURE:
            return {
                **told,
                "created_at": model.created,
                "status": "succeeded",
                "lifecycle_status": "generally-available",
            }
        return told
