"""OpenAI's legacy Completions API: ``POST .../completions``, as the many hosts that are compatible with it speak it,
and Mistral's FIM, ``POST .../fim/completions``, whose replies are those of a chat.

Owns requests and the dialect itself; a conversation as a prompt, replies and streams have files of their own beside
this one. There are no messages here: a request is a prompt, and its conversation one message of the user.

* Several prompts are a user's message each, and asked together: each of them has ``n`` choices, which all say what the
  one reply says.
* A prompt of tokens is refused: there is no tokenizer here, so nobody could read it.
* A prompt that is missing or null is the mark between documents, ``<|endoftext|>``, as it is to the API.
* ``suffix``, what comes after the completion, is a part beside the prompt, so that whoever answers sees it: as JSON.
* ``echo`` is done as the request wants it; ``logprobs`` and ``best_of`` say nothing to whoever answers, and are kept in
  ``extra``, with all that we don't know.

A request that came in this dialect is rendered with everything that it had. One of another dialect becomes a transcript
(``openai_completions_prompt``). It leaves out its tools and the format of its reply, for which the API has no place,
and has a limit of 1024 tokens if it has none: the API's own is 16.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from motive_core.dialects.base import NO_HEAD, Decoder, Dialect, Encoder, ModelInfo, RequestHead
from motive_core.dialects.fields import TYPE_NAMES, Malformed, dumps, loads, optional, rest, typed
from motive_core.dialects.openai_azure import deployment_of, deployment_target, deployment_url
from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.dialects.openai_chat_hosts import (
    AZURE,
    MISTRAL,
    OPENAI,
    Flavour,
    flavour_of,
    flavour_of_service,
    service_headers,
)
from motive_core.dialects.openai_chat_parts import bad_request
from motive_core.dialects.openai_chat_request import (
    parse_count,
    parse_model,
    parse_sampling,
    parse_stream_options,
    render_sampling,
    render_stream_options,
)
from motive_core.dialects.openai_completions_prompt import transcript
from motive_core.dialects.openai_completions_reply import FIM, NAME, SUFFIX, parse_reply, prompts_of, render_reply
from motive_core.dialects.openai_completions_stream import CompletionsDecoder, CompletionsEncoder
from motive_core.dialects.openai_errors import render_error
from motive_core.errors import MotiveError
from motive_core.ir import NO_EXTRA, ChatRequest, Json, Message, OpaquePart, Reply, TextPart

_CALL: Final = re.compile(r"(?:\A|/)(?P<before>[^/]*)/completions/?\Z")
_CHATS: Final = ("chat", "agents")
"""Before ``/completions``: calls of other kinds, the latter Mistral's."""

_PATH: Final = "/v1/completions"

_KNOWN: Final = ("model", "prompt", SUFFIX, "stream", "stream_options", "max_tokens", "temperature", "top_p", "stop")
_NO_PROMPT: Final = "<|endoftext|>"
_MAX_TOKENS: Final = 1024


class OpenAICompletions(Dialect):
    """Completions."""

    name = NAME
    default_service = "https://api.openai.com"
    base_path = "/v1"
    base_has_path = True
    reply_prefix = "cmpl-"
    endpoints = (
        "POST /v1/completions",
        "POST /openai/deployments/{deployment}/completions",
        "POST /v1/fim/completions",
    )

    def __init__(self, flavour: Flavour = OPENAI) -> None:
        self._flavour = flavour

    def for_client(self, head: RequestHead) -> Dialect:
        return OpenAICompletions(MISTRAL if _is_fim(head) else flavour_of(head))

    def matches(self, head: RequestHead) -> bool:
        found = _CALL.search(head.path) if head.method == "POST" else None
        return found is not None and found["before"] not in _CHATS

    def speaks(self, head: RequestHead) -> bool:
        """Its errors and lists of models are those of Chat Completions: nothing depends on it."""
        return False

    def parse_request(self, body: bytes, head: RequestHead = NO_HEAD) -> ChatRequest:
        try:
            return _parse_request(body, head)
        except Malformed as error:
            raise bad_request(error) from None

    def render_request(self, request: ChatRequest) -> bytes:
        return dumps(_render_request(request))

    def target(self, request: ChatRequest) -> str:
        own = request.dialect == NAME
        if own and request.variant == FIM:
            return "/v1/fim/completions"
        return deployment_target(request.model, "completions") if own and request.variant == AZURE.name else _PATH

    def asked_of(self, base_url: str, request: ChatRequest) -> ChatRequest:
        """See ``Dialect``. A service that tells the usage without being asked may refuse to be asked."""
        flavour = flavour_of_service(base_url)
        # Filling in the middle is a call of its own with Mistral only.
        variant = FIM if flavour is MISTRAL and request.variant == FIM else flavour.name
        usage = request.include_usage and flavour.usage != "last"
        return replace(request, variant=variant, include_usage=usage)

    def url(self, base_url: str, request: ChatRequest) -> str:
        """See ``Dialect``."""
        found = None
        if flavour_of_service(base_url) is AZURE:
            found = deployment_url(base_url, request.model, "completions")
        return found or super().url(base_url, request)

    def call_headers(self, key: str | None, base_url: str = "") -> dict[str, str]:
        """See ``Dialect``."""
        return service_headers(key, base_url)

    def parse_reply(self, body: bytes) -> Reply:
        return parse_reply(body)

    def render_reply(self, request: ChatRequest, reply: Reply) -> bytes:
        return render_reply(request, reply)

    def decoder(self) -> Decoder:
        return CompletionsDecoder()

    def encoder(self, request: ChatRequest) -> Encoder:
        return CompletionsEncoder(request)

    def render_error(self, error: MotiveError, request_id: str) -> bytes:
        return render_error(error, self._flavour.envelope)

    def render_models(self, models: Sequence[ModelInfo]) -> bytes:
        return OpenAIChat(self._flavour).render_models(models)


def _is_fim(head: RequestHead) -> bool:
    found = _CALL.search(head.path)
    return found is not None and found["before"] == FIM


def _parse_request(body: bytes, head: RequestHead) -> ChatRequest:
    raw = typed(loads(body), dict, "")
    extra = rest(raw, *_KNOWN, "n", "seed")
    model = parse_model(raw, deployment_of(head, "completions"), extra)
    messages = [Message("user", (TextPart(prompt),)) for prompt in _parse_prompt(raw.get("prompt"))]
    if (suffix := optional(raw, SUFFIX, str, "")) is not None:
        first = messages[-1].parts
        messages[-1] = Message("user", (*first, OpaquePart(NAME, {SUFFIX: suffix})))
    # The name that chats have for the limit is none here: it stays in ``extra``.
    sampling = parse_sampling(rest(raw, "max_completion_tokens"), dict(extra))
    return ChatRequest(
        dialect=NAME,
        model=model,
        messages=tuple(messages),
        stream=optional(raw, "stream", bool, "") or False,
        sampling=sampling,
        n=parse_count(raw, len(messages)),
        include_usage=parse_stream_options(raw, extra),
        extra=extra or NO_EXTRA,
        variant=FIM if _is_fim(head) else flavour_of(head).name,
        raw=body,
    )


def _parse_prompt(raw: Json) -> list[str]:
    match raw:
        case None:
            return [_NO_PROMPT]
        case str():
            return [raw]
        case []:
            why = "Invalid 'prompt': empty array. Expected an array with minimum length 1."
            raise Malformed("prompt", why, code="empty_array")
        case [int() | list(), *_]:
            why = "Invalid 'prompt': an array of tokens cannot be read here, there is no tokenizer. Send it as text."
            raise Malformed("prompt", why, code="invalid_type")
        case list():
            return [typed(one, str, f"prompt[{number}]") for number, one in enumerate(raw)]
        case _:
            got = TYPE_NAMES.get(type(raw), "another type")
            why = f"Invalid type for 'prompt': expected one of a string or array of strings, but got {got} instead."
            raise Malformed("prompt", why, code="invalid_type")


def _render_request(request: ChatRequest) -> dict[str, Json]:
    prompts = prompts_of(request)
    own = request.dialect == NAME
    extra = dict(request.extra) if own else {}
    body: dict[str, Json] = {"model": request.model}
    if prompts:
        body["prompt"] = prompts[0] if len(prompts) == 1 else prompts
        last = request.messages[-1].parts[-1]
        if isinstance(last, OpaquePart):
            body |= last.raw
    else:
        body["prompt"] = transcript(request.messages)
    if request.stream:
        body["stream"] = True
    body |= render_stream_options(request, extra, own=own)
    body |= render_sampling(request.sampling, extra, "max_tokens")
    if not own:
        body.setdefault("max_tokens", _MAX_TOKENS)
    if (n := request.n // len(prompts or (1,))) != 1:
        body["n"] = n
    return body | extra
