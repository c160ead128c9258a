"""Calls beside the chat that AWS SDKs make of Bedrock: lists of models and of inference profiles, and counts of tokens.

Owns these and nothing of the chat but how its requests are read. The lists are those of Bedrock's control plane,
another host there but at the same address here. What there is to talk to is a foundation model and, under the same id,
an inference profile.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote

from motive_core.dialects.aws import model_call
from motive_core.dialects.base import ModelInfo, RequestHead, SideCall, WireReply
from motive_core.dialects.bedrock_blocks import union
from motive_core.dialects.fields import Malformed, dumps, loads, typed
from motive_core.errors import BadRequestError, NotFoundError
from motive_core.estimate import input_tokens, text_tokens
from motive_core.ir import ChatRequest, Json

_LISTS: Final = re.compile(r"/(?P<list>foundation-models|inference-profiles)(?:/(?P<id>.+))?/?\Z")
_NOT_WORDS: Final = frozenset(
    {"type", "role", "id", "tool_use_id", "signature", "data", "bytes", "media_type", "format", "url", "model"}
    | {"anthropic_version", "anthropic_beta", "schemaVersion", "cache_control", "source"}
)
"""Members of a native body that a model does not read, or not as text."""


def serves(head: RequestHead) -> bool:
    """Whether this is such a call."""
    if head.method == "GET":
        return _LISTS.search(head.path) is not None
    return head.method == "POST" and model_call(head.path)[1] == "count-tokens"


def serve(call: SideCall, parse: Callable[[bytes], ChatRequest]) -> WireReply:
    """Answer such a call. ``parse`` reads the body of a chat. Raises ``MotiveError``."""
    if call.head.method == "POST":
        return WireReply(200, dumps({"inputTokens": _count(call.body, parse)}))
    found = _LISTS.search(call.head.path)
    profiles = found is not None and found["list"] == "inference-profiles"
    wanted = unquote(found["id"] or "") if found is not None else ""
    if not wanted:
        if not profiles:
            return WireReply(200, render_models(call.models))
        told = [_profile(model) for model in call.models]
        return WireReply(200, dumps({"inferenceProfileSummaries": told}))
    for model in call.models:
        if wanted in (model.model, _arn("inference-profile" if profiles else "foundation-model", model)):
            return WireReply(200, dumps(_profile(model) if profiles else {"modelDetails": _model(model)}))
    what = "inference profile" if profiles else "model"
    raise NotFoundError(f"The provided {what} identifier is invalid: {wanted}", param="modelIdentifier")


def render_models(models: Sequence[ModelInfo]) -> bytes:
    """The body of ``ListFoundationModels``."""
    return dumps({"modelSummaries": [_model(model) for model in models]})


def _model(model: ModelInfo) -> dict[str, Json]:
    return {
        "modelArn": _arn("foundation-model", model),
        "modelId": model.model,
        "modelName": model.model,
        "providerName": model.owned_by,
        "inputModalities": ["TEXT", "IMAGE"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": True,
        "customizationsSupported": [],
        "inferenceTypesSupported": ["ON_DEMAND"],
        "modelLifecycle": {"status": "ACTIVE"},
    }


def _profile(model: ModelInfo) -> dict[str, Json]:
    created = datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "inferenceProfileName": model.model,
        "inferenceProfileId": model.model,
        "inferenceProfileArn": _arn("inference-profile", model),
        "models": [{"modelArn": _arn("foundation-model", model)}],
        "createdAt": created,
        "updatedAt": created,
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    }


def _arn(kind: str, model: ModelInfo) -> str:
    """A name of the whole world's. Foundation models belong to no account."""
    account = "" if kind == "foundation-model" else "000000000000"
    return f"arn:aws:bedrock:us-east-1:{account}:{kind}/{model.model}"


def _count(body: bytes, parse: Callable[[bytes], ChatRequest]) -> int:
    """An estimate for ``CountTokens``: of a conversation of this dialect, or of a native body of whatever kind."""
    try:
        raw = typed(loads(body), dict, "")
        if "input" not in raw:
            raise Malformed("input", "it is required", "missing")
        kind, value = union(raw["input"], "input")
        value = typed(value, dict, f"input.{kind}")
        if kind == "converse":
            return input_tokens(parse(dumps(value)))
        if kind == "invokeModel":
            return text_tokens("".join(_words(loads(_native(value.get("body"))))))
        raise Malformed("input", "it must be either converse or invokeModel")
    except Malformed as error:
        raise error.as_bad_request() from None


def _native(body: Json) -> bytes:
    text = typed(body, str, "input.invokeModel.body")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise BadRequestError("it must be base64", param="input.invokeModel.body") from None


def _words(value: Json) -> list[str]:
    """The texts in a native body."""
    match value:
        case str():
            return [value]
        case list():
            return [text for item in value for text in _words(item)]
        case dict():
            return [text for key, item in value.items() if key not in _NOT_WORDS for text in _words(item)]
        case _:
            return []
