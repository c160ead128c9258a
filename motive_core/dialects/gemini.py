"""Google's Gemini API: ``POST .../models/{model}:generateContent`` and ``:streamGenerateContent``, on the Developer API
and on Vertex AI.

Owns the dialect itself, counts of tokens and lists of models; requests, paths, parts, replies and the two halves of the
stream have files of their own beside this one.

A request that came in this dialect is rendered with everything that it had, unknown fields included; only white space,
the order of members and equivalent forms (camel case, lists of one, declarations of several tools in one) may differ.
The names of ``executableCode`` and other parts that only this dialect has stay as they came.

A request from another dialect is rendered so that the live API takes it:

* system and developer messages, wherever they stand, are the ``systemInstruction``; if there is nothing else, they are
  what the user says;
* messages of one role that follow each other become one content; results come first in it; empty texts are left out;
* tool calls have a mark in the place of the signature that models from version 3 on want to see;
* a result is ``{"output": "<text>"}``, or ``{"error": "<text>"}`` if the tool failed; pictures of it stand beside it,
  since not all models take them in it;
* what has no place where it stands becomes text (``degrade``): blobs of types that the API does not take, files by URL
  that is no ``https:`` or does not tell its type, other vendors' file ids, parts that only the other dialect knows;
* of reasoning the text is kept, but neither its signature nor its encrypted form;
* left out are tools of another vendor's own, ``parallel_tool_calls``, names of authors and of files, a seed of more
  than 32 bits, stop sequences after the fifth, candidates after the eighth, and the name and strictness of a schema.

An error is an object, or an array of it for a client that waits for a stream in an array (``for_client``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from motive_core.dialects.base import (
    JSON_TYPE,
    NO_HEAD,
    Decoder,
    Dialect,
    Encoder,
    ModelInfo,
    RequestHead,
    SideCall,
    WireReply,
)
from motive_core.dialects.fields import Malformed, dumps
from motive_core.dialects.gemini_decoder import GeminiDecoder, parse_reply
from motive_core.dialects.gemini_encoder import GeminiEncoder
from motive_core.dialects.gemini_parts import NAME, bad_request, camel_object, loads
from motive_core.dialects.gemini_paths import (
    ARRAY,
    DEFAULT_COLLECTION,
    GENERATE,
    STREAM,
    call_of,
    is_google,
    listed_of,
    target_of,
    url_at,
    variant_of,
)
from motive_core.dialects.gemini_reply import error_object, render_reply
from motive_core.dialects.gemini_request import PATH, parse_request, render_request
from motive_core.errors import MotiveError, NotFoundError
from motive_core.estimate import input_tokens
from motive_core.ir import ChatRequest, Json, Reply

_COUNT: Final = "countTokens"
_METHODS: Final = (GENERATE, STREAM, _COUNT)
_PUBLISHER: Final = "publishers/google/models"
_INPUT_LIMIT: Final = 1_048_576
_OUTPUT_LIMIT: Final = 65_536


class Gemini(Dialect):
    """The Gemini API, versions ``v1`` and ``v1beta``, and Vertex AI's ``generateContent``."""

    name = NAME
    stream_type = "text/event-stream"
    default_service = "https://generativelanguage.googleapis.com"
    endpoints = (
        "POST /v1beta/models/{model}:generateContent",
        "POST /v1beta/models/{model}:streamGenerateContent",
        "POST /v1beta/models/{model}:countTokens",
        "GET /v1beta/models",
    )

    def __init__(self, *, errors_in_array: bool = False) -> None:
        self._errors_in_array = errors_in_array

    def for_client(self, head: RequestHead) -> Dialect:
        place = call_of(head)
        waits_for_array = place is not None and place.method == STREAM and variant_of(head) == ARRAY
        return Gemini(errors_in_array=True) if waits_for_array else self

    def matches(self, head: RequestHead) -> bool:
        place = call_of(head) if head.method == "POST" else None
        return place is not None and place.method in (GENERATE, STREAM)

    def speaks(self, head: RequestHead) -> bool:
        return is_google(head)

    def parse_request(self, body: bytes, head: RequestHead = NO_HEAD) -> ChatRequest:
        try:
            return parse_request(body, head)
        except Malformed as error:
            raise bad_request(error) from None

    def render_request(self, request: ChatRequest) -> bytes:
        return render_request(request)

    def target(self, request: ChatRequest) -> str:
        collection, variant = DEFAULT_COLLECTION, ""
        if request.dialect == NAME:
            collection, variant = request.extra.get(PATH, collection), request.variant
        return target_of(collection, request.model, stream=request.stream, variant=variant)

    def asked_of(self, base_url: str, request: ChatRequest) -> ChatRequest:
        """See ``Dialect``. The collection of the app's own path is that of its own project."""
        extra = {name: value for name, value in request.extra.items() if name != PATH}
        return replace(request, variant="", extra=extra if request.extra else request.extra)

    def url(self, base_url: str, request: ChatRequest) -> str:
        """See ``Dialect``."""
        return url_at(base_url, request.model, stream=request.stream)

    def call_headers(self, key: str | None, base_url: str = "") -> dict[str, str]:
        """See ``Dialect``."""
        return {"x-goog-api-key": key} if key else {}

    def parse_reply(self, body: bytes) -> Reply:
        return parse_reply(body)

    def render_reply(self, request: ChatRequest, reply: Reply) -> bytes:
        return render_reply(reply)

    def decoder(self) -> Decoder:
        return GeminiDecoder()

    def encoder(self, request: ChatRequest) -> Encoder:
        return GeminiEncoder(request)

    def content_type(self, request: ChatRequest) -> str:
        return JSON_TYPE if request.variant == ARRAY else super().content_type(request)

    def render_error(self, error: MotiveError, request_id: str) -> bytes:
        told = {"error": error_object(error)}
        return dumps([told] if self._errors_in_array else told)

    def render_models(self, models: Sequence[ModelInfo]) -> bytes:
        return dumps({"models": [_model(model) for model in models]})

    def serves(self, head: RequestHead) -> bool:
        if head.method == "POST":
            place = call_of(head)
            return place is not None and place.method not in (GENERATE, STREAM)
        called = call_of(head)
        if head.method != "GET" or (called is not None and called.method in _METHODS):
            return False
        place = listed_of(head)
        return place is not None and place.collection.endswith("models") and self.speaks(head)

    def serve(self, call: SideCall) -> WireReply:
        if call.head.method == "POST":
            return self._serve_method(call)
        place = listed_of(call.head)
        if place is None:
            raise NotFoundError(f"{call.head.method} {call.head.path} is not served here.")
        publisher = place.collection.endswith(_PUBLISHER)
        describe = _publisher_model if publisher else _model
        if not place.model:
            found = [describe(model) for model in call.models]
            return WireReply(200, dumps({"publisherModels" if publisher else "models": found}))
        for model in call.models:
            if model.model == place.model:
                return WireReply(200, dumps(describe(model)))
        raise NotFoundError(f"models/{place.model} is not found, or is not supported here.")

    def _serve_method(self, call: SideCall) -> WireReply:
        place = call_of(call.head)
        if place is None or place.method != _COUNT:
            method = "This method" if place is None else f"Method {place.method}"
            raise NotFoundError(f"{method} is not served here. What is: {', '.join(_METHODS)}.")
        return WireReply(200, dumps(_count(call)))


def _count(call: SideCall) -> dict[str, Json]:
    """The tokens of a request, which is the body or stands in it."""
    try:
        body = camel_object(loads(call.body), "")
        wrapped = body.get("generateContentRequest")
        request = parse_request(call.body if wrapped is None else dumps(wrapped), call.head)
    except Malformed as error:
        raise bad_request(error) from None
    tokens = input_tokens(request)
    return {"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]}


def _model(model: ModelInfo) -> dict[str, Json]:
    return {
        "name": f"models/{model.model}",
        "version": "001",
        "displayName": model.model,
        "inputTokenLimit": _INPUT_LIMIT,
        "outputTokenLimit": _OUTPUT_LIMIT,
        "supportedGenerationMethods": list(_METHODS),
    }


def _publisher_model(model: ModelInfo) -> dict[str, Json]:
    return {"name": f"{_PUBLISHER}/{model.model}", "versionId": "001"}
