"""The calls of Cohere's API beside the chat: its list of models, the check of a key, and what is refused.

Owns which of them there are, and their replies. The paths of the list are those of other vendors as well, so only a
client that says to be Cohere's gets it. There is no tokenizer here: tokens that nobody could turn back into text would
be a lie, so ``/v1/tokenize`` is refused, as are the chat of the API's version 1 and what is no chat at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, unquote

from motive_core.dialects.base import ModelInfo, RequestHead, SideCall, WireReply
from motive_core.dialects.fields import dumps
from motive_core.errors import BadRequestError, NotFoundError
from motive_core.ir import Json

_MODELS: Final = re.compile(r"/v1/models(?:/(?P<model>.+))?/?\Z")
_REFUSED: Final = re.compile(r"/(?P<call>v1/chat|v1/tokenize|v1/detokenize)/?\Z")
_CHECK: Final = re.compile(r"/v1/check-api-key/?\Z")

_WHY: Final[Mapping[str, str]] = {
    "v1/chat": "version 1 of the Chat API is not spoken here: use POST /v2/chat (cohere.ClientV2)",
    "v1/tokenize": "there is no tokenizer here",
    "v1/detokenize": "there is no tokenizer here",
}
_CONTEXT_TOKENS: Final = 128_000
_SIZES: Final = range(1, 1001)
"""SDK: ``models/client.py``, ``list``."""


def speaks(head: RequestHead) -> bool:
    """Whether this is a client of Cohere's (SDK: ``core/client_wrapper.py``)."""
    names = (head.headers.get("user-agent", ""), head.headers.get("x-fern-sdk-name", ""))
    return any(name.lower().startswith("cohere") for name in names) or "x-client-name" in head.headers


def serves(head: RequestHead) -> bool:
    """Whether this is such a call."""
    if head.method == "GET":
        return speaks(head) and _MODELS.search(head.path) is not None
    return head.method == "POST" and (_REFUSED.search(head.path) or _CHECK.search(head.path)) is not None


def serve(call: SideCall) -> WireReply:
    """Answer such a call. Raises ``MotiveError``."""
    if (refused := _REFUSED.search(call.head.path)) is not None:
        raise NotFoundError(_WHY[refused["call"]])
    if _CHECK.search(call.head.path) is not None:
        return WireReply(200, dumps({"valid": True}))
    found = _MODELS.search(call.head.path)
    wanted = unquote(found["model"] or "") if found is not None else ""
    if not wanted:
        return WireReply(200, _listed(call.models, dict(parse_qsl(call.head.query))))
    for model in call.models:
        if model.model == wanted:
            return WireReply(200, dumps(_model(model)))
    raise NotFoundError(f"model '{wanted}' not found")


def render_models(models: Sequence[ModelInfo], next_page: str | None = None) -> bytes:
    """A list of models. ``next_page`` is the token of the next page, if there is one."""
    more: dict[str, Json] = {} if next_page is None else {"next_page_token": next_page}
    return dumps({"models": [_model(model) for model in models], **more})


def _listed(models: Sequence[ModelInfo], query: Mapping[str, str]) -> bytes:
    """One page of the list: all of it, if the client names no size. A token is the place where a page begins."""
    if query.get("endpoint", "chat") != "chat":
        models = ()
    start = _whole(query, "page_token", range(len(models) + 1)) or 0
    end = start + (_whole(query, "page_size", _SIZES) or len(models))
    return render_models(models[start:end], str(end) if end < len(models) else None)


def _whole(query: Mapping[str, str], name: str, allowed: range) -> int | None:
    told = query.get(name)
    if told is None:
        return None
    # The SDK's type of a size is a float.
    number = int(told.removesuffix(".0")) if re.fullmatch(r"[0-9]{1,9}(\.0)?", told) else -1
    if number not in allowed:
        raise BadRequestError(f"invalid request: {name} is not valid", param=name)
    return number


def _model(model: ModelInfo) -> dict[str, Json]:
    return {
        "name": model.model,
        "is_deprecated": False,
        "endpoints": ["chat"],
        "finetuned": False,
        "context_length": _CONTEXT_TOKENS,
        "tokenizer_url": None,
        "default_endpoints": [],
        "features": ["json_mode", "json_schema", "reasoning", "safety_modes", "strict_tools", "tools", "vision"],
    }
