"""The calls of the Messages API beside the chat: its list of models, and the count of tokens.

Owns which of them there are, and their replies. The paths of the list are those of other vendors as well, so only a
client that says to be Anthropic's gets it. Tokens are counted by our own estimate (``motive_core.estimate``): of the
messages, the system prompt and the tools, but not of pictures and the like.

A list has no end that a client must ask for: without a ``limit`` it is told whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, unquote

from motive_core.dialects import anthropic_vertex
from motive_core.dialects.anthropic_blocks import bad_request
from motive_core.dialects.anthropic_request import parse_request
from motive_core.dialects.base import ModelInfo, RequestHead, SideCall, WireReply
from motive_core.dialects.fields import Malformed, dumps
from motive_core.errors import BadRequestError, NotFoundError
from motive_core.estimate import input_tokens, text_tokens
from motive_core.ir import Json, Tool

_MODELS: Final = re.compile(r"/v1/models(?:/(?P<model>.+))?/?\Z")
_COUNT: Final = re.compile(r"/v1/messages/count_tokens/?\Z")
_LIMITS: Final = range(1, 1001)


def speaks(head: RequestHead) -> bool:
    """Whether this is a client of Anthropic's."""
    return "anthropic-version" in head.headers


def serves(head: RequestHead) -> bool:
    """Whether this is such a call."""
    if head.method == "GET":
        return speaks(head) and _MODELS.search(head.path) is not None
    return _is_count(head)


def _is_count(head: RequestHead) -> bool:
    return head.method == "POST" and (_COUNT.search(head.path) is not None or anthropic_vertex.is_count(head))


def serve(call: SideCall) -> WireReply:
    """Answer such a call. Raises ``MotiveError``."""
    if _is_count(call.head):
        return WireReply(200, _counted(call.body))
    found = _MODELS.search(call.head.path)
    wanted = unquote(found["model"] or "") if found is not None else ""
    if not wanted:
        return WireReply(200, _listed(call.models, dict(parse_qsl(call.head.query))))
    for model in call.models:
        if model.model == wanted:
            return WireReply(200, dumps(_model(model)))
    raise NotFoundError(f"model: {wanted}")


def _counted(body: bytes) -> bytes:
    try:
        request = parse_request(body)
    except Malformed as error:
        raise bad_request(error) from None
    tokens = input_tokens(request) + sum(map(_tool_tokens, request.tools))
    count: dict[str, Json] = {"input_tokens": tokens}
    if request.extra.get("context_management") is not None:
        # Nothing is ever cleared here (SDK: types/beta/beta_message_tokens_count.py).
        count["context_management"] = {"original_input_tokens": tokens}
    return dumps(count)


def _tool_tokens(tool: Tool) -> int:
    said = [tool.name, tool.description, tool.schema] if tool.raw is None else tool.raw
    return text_tokens(dumps(said).decode())


def render_models(models: Sequence[ModelInfo], *, has_more: bool = False) -> bytes:
    """A list of models. ``has_more``: there are more in the direction in which the client reads it."""
    data = [_model(model) for model in models]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return dumps({"data": data, "has_more": has_more, **ends})


def _listed(models: Sequence[ModelInfo], query: Mapping[str, str]) -> bytes:
    """One page of the list: after a model, or up to another one."""
    limit = _limit(query.get("limit"))
    if "before_id" in query:
        if "after_id" in query:
            raise BadRequestError("only one of after_id and before_id may be set", param="before_id")
        end = _place(models, query, "before_id")
        start = 0 if limit is None else max(0, end - limit)
        return render_models(models[start:end], has_more=start > 0)
    start = _place(models, query, "after_id") + 1 if "after_id" in query else 0
    end = len(models) if limit is None else start + limit
    return render_models(models[start:end], has_more=end < len(models))


def _limit(told: str | None) -> int | None:
    if told is None:
        return None
    number = int(told) if re.fullmatch(r"[0-9]{1,9}", told) else -1
    if number not in _LIMITS:
        raise BadRequestError(f"Input should be an integer from {_LIMITS[0]} to {_LIMITS[-1]}", param="limit")
    return number


def _place(models: Sequence[ModelInfo], query: Mapping[str, str], name: str) -> int:
    for place, model in enumerate(models):
        if model.model == query[name]:
            return place
    raise BadRequestError(f"There is no model {query[name]!r}", param=name)


def _model(model: ModelInfo) -> dict[str, Json]:
    return {
        "type": "model",
        "id": model.model,
        "display_name": model.model,
        "created_at": datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
    }
