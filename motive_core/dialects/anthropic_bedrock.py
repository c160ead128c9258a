"""Anthropic's messages by Amazon Bedrock: ``POST .../model/{model}/invoke`` and ``invoke-with-response-stream``.

Owns what InvokeModel puts around a message, and the dialect itself. The bodies are those of the Messages API, which
``anthropic_messages`` reads and writes: what degrades and what is left out is said there. Different are the model and
whether to stream, which the path tells; ``anthropic_version``, which a body must have, since it tells that the body is
one of Anthropic's at all (Titan, Llama and Nova have others at the same path, which are refused); and the words of AWS
around a reply. Blocks that only Anthropic knows are the same in both, and so stay what they are between the two; other
fields that only one of them knows don't.

The live service also counts tokens in headers of a whole reply (``x-amzn-bedrock-input-token-count``); those are left
out, the usage in the body says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from motive_core.dialects.anthropic_bedrock_stream import NAME, InvokeDecoder, InvokeEncoder
from motive_core.dialects.anthropic_messages import AnthropicMessages
from motive_core.dialects.aws import AwsDialect, model_call, model_path
from motive_core.dialects.base import NO_HEAD, Decoder, Encoder, ModelInfo, RequestHead
from motive_core.dialects.fields import dumps
from motive_core.errors import BadRequestError
from motive_core.ir import ChatRequest, Reply

VERSION: Final = "bedrock-2023-05-31"

_MESSAGES: Final = AnthropicMessages()
_STREAMED: Final = "invoke-with-response-stream"
_UNNAMED: Final = b'{"model":"",'
"""How the body of the Messages API begins whose model has no name."""


class AnthropicBedrock(AwsDialect):
    """InvokeModel and InvokeModelWithResponseStream, of ``bedrock-runtime``, with the bodies of Anthropic's models."""

    name = NAME
    reply_prefix = "msg_bdrk_"
    endpoints = ("POST /model/{model}/invoke", "POST /model/{model}/invoke-with-response-stream")

    def matches(self, head: RequestHead) -> bool:
        return head.method == "POST" and model_call(head.path)[1] in ("invoke", _STREAMED)

    def parse_request(self, body: bytes, head: RequestHead = NO_HEAD) -> ChatRequest:
        model, action = model_call(head.path)
        try:
            request = _MESSAGES.parse_request(_with_path(body, action == _STREAMED))
        except BadRequestError as error:
            if error.param is None or b'"anthropic_version"' in body:
                raise
            raise _not_anthropic() from None
        if not isinstance(request.extra.get("anthropic_version"), str):
            raise _not_anthropic()
        return replace(request, dialect=NAME, model=model, raw=body)

    def render_request(self, request: ChatRequest) -> bytes:
        own = request.dialect == NAME
        request = replace(request, dialect=_MESSAGES.name if own else "", model="", stream=False, variant="")
        body = _MESSAGES.render_request(request).removeprefix(_UNNAMED)
        return b"{" + body if own else b'{"anthropic_version":"%b",' % VERSION.encode() + body

    def target(self, request: ChatRequest) -> str:
        return model_path(request.model, _STREAMED if request.stream else "invoke")

    def parse_reply(self, body: bytes) -> Reply:
        return replace(_MESSAGES.parse_reply(body), dialect=NAME)

    def render_reply(self, request: ChatRequest, reply: Reply) -> bytes:
        return _MESSAGES.render_reply(request, replace(reply, dialect=_MESSAGES.name if reply.dialect == NAME else ""))

    def decoder(self) -> Decoder:
        return InvokeDecoder()

    def encoder(self, request: ChatRequest) -> Encoder:
        return InvokeEncoder(request.model)

    def reply_headers(self, request_id: str) -> dict[str, str]:
        """A stream tells in a header what is in its chunks (botocore: ``InvokeModelWithResponseStreamResponse``)."""
        return {**super().reply_headers(request_id), "x-amzn-bedrock-content-type": "application/json"}

    def render_models(self, models: Sequence[ModelInfo]) -> bytes:
        return _MESSAGES.render_models(models)


def _with_path(body: bytes, stream: bool) -> bytes:
    """The body of the Messages API: with the members that only that has, added at the end, where they count even if the
    body has them too. What is no object stays as it is."""
    members = body.rstrip(b" \t\r\n")
    if not members.endswith(b"}"):
        return body
    members = members[:-1].rstrip(b" \t\r\n")
    return members + (b"" if members.endswith(b"{") else b",") + dumps({"model": "-", "stream": stream})[1:]


def _not_anthropic() -> BadRequestError:
    return BadRequestError(
        "Field required: of the bodies of InvokeModel, only those of Anthropic's models are spoken here, which have it",
        param="anthropic_version",
    )
