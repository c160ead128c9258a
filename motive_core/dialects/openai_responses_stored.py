"""Calls about a response that was kept, and the other calls beside the Responses API's chat.

Owns their paths, and what they answer: a response whole or streamed once more, its deletion, the items that it had for
input, a count of tokens. Nothing here runs in the background, so there is nothing to cancel; compaction is refused.

The input of a response is the whole conversation before it, as the API tells it, without its instructions. Items that
came without an id have one that follows from the response's and from their place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote

from motive_core.dialects.base import KeptReply, RequestHead, SideCall, WireReply
from motive_core.dialects.fields import Malformed, dumps
from motive_core.dialects.openai_chat_parts import bad_request
from motive_core.dialects.openai_responses_contents import ASKED, SAID
from motive_core.dialects.openai_responses_encoder import ResponsesEncoder
from motive_core.dialects.openai_responses_kept import continued
from motive_core.dialects.openai_responses_reply import render_reply
from motive_core.dialects.openai_responses_request import is_instructions, parse_request, render_items
from motive_core.errors import BadRequestError, NotFoundError
from motive_core.estimate import input_tokens
from motive_core.ir import Json
from motive_core.stream import replay

_PATH: Final = re.compile(r"(?:\A|/)responses/(?P<named>[^/]+)(?:/(?P<what>[^/]+))?/?\Z")
_COUNT: Final = "input_tokens"
_COMPACT: Final = "compact"
_MAX_ITEMS: Final = 100
_DEFAULT_ITEMS: Final = 20


@dataclass(frozen=True, slots=True)
class _Call:
    """What is asked: of the reply ``reply_id``, if that is set."""

    what: str
    reply_id: str | None = None


def _call_of(head: RequestHead) -> _Call | None:
    found = _PATH.search(head.path)
    # A model's name may have slashes: ``GET /v1/models/responses/x``.
    if found is None or "/models/" in f"/{head.path}":
        return None
    match head.method, found["named"], found["what"]:
        case "POST", ("input_tokens" | "compact") as what, None:
            return _Call(what)
        case ("GET" | "DELETE") as what, named, None:
            return _Call(what, unquote(named))
        case ("GET", named, "input_items" as what) | ("POST", named, "cancel" as what):
            return _Call(what, unquote(named))
        case _:
            return None


def serves(head: RequestHead) -> bool:
    """Whether this is one of the calls."""
    return _call_of(head) is not None


def names_reply(head: RequestHead) -> str | None:
    """The id of the response that a call is about."""
    call = _call_of(head)
    return None if call is None else call.reply_id


def serve(call: SideCall, stream_type: str) -> WireReply:
    """Answer a call. Raises ``MotiveError``."""
    asked = _call_of(call.head)
    if asked is None:
        raise NotFoundError(f"{call.head.method} {call.head.path} is not served here.")
    if asked.reply_id is None:
        if asked.what == _COMPACT:
            raise BadRequestError(
                "Conversations are not compacted here. Send them whole.", code="unsupported_operation"
            )
        return _count(call)
    kept = call.kept(asked.reply_id)
    if kept is None:
        raise NotFoundError(f"Response with id '{asked.reply_id}' not found.")
    match asked.what:
        case "DELETE":
            call.forget(asked.reply_id)
            return WireReply(200, dumps({"id": asked.reply_id, "object": "response", "deleted": True}))
        case "cancel":
            raise BadRequestError("Cannot cancel a synchronous response.")
        case "input_items":
            return _items(kept, parse_qs(call.head.query))
        case _:
            return _retrieved(kept, parse_qs(call.head.query), stream_type)


def _count(call: SideCall) -> WireReply:
    try:
        request = parse_request(call.body, counted=True)
    except Malformed as error:
        raise bad_request(error) from None
    if request.previous is not None and (kept := call.kept(request.previous)) is not None:
        request = continued(request, kept)
    return WireReply(200, dumps({"object": "response.input_tokens", "input_tokens": input_tokens(request)}))


def _retrieved(kept: KeptReply, query: Mapping[str, list[str]], stream_type: str) -> WireReply:
    if query.get("stream", [""])[-1].lower() not in {"true", "1"}:
        return WireReply(200, render_reply(kept.request, kept.reply))
    skipped = _number(query, "starting_after", -1) + 1
    # Events are numbered from 0, and JSON has no blank lines.
    events = ResponsesEncoder(kept.request).encode_all(replay(kept.reply)).split(b"\n\n")[:-1]
    return WireReply(200, b"".join([event + b"\n\n" for event in events[max(0, skipped) :]]), stream_type)


def _items(kept: KeptReply, query: Mapping[str, list[str]]) -> WireReply:
    conversation = [message for message in kept.request.messages if not is_instructions(message)]
    tail = kept.reply.reply_id.removeprefix("resp_")
    items = [_listed(item, f"{tail}i{number:02x}") for number, item in enumerate(render_items(conversation, own=True))]
    order = query.get("order", ["desc"])[-1]
    if order not in {"asc", "desc"}:
        why = f"Invalid value: '{order}'. Supported values are: 'asc' and 'desc'."
        raise BadRequestError(why, code="invalid_value", param="order")
    if order == "desc":
        items.reverse()
    limit = _number(query, "limit", _DEFAULT_ITEMS)
    if not 1 <= limit <= _MAX_ITEMS:
        why = f"Invalid 'limit': expected a value from 1 to {_MAX_ITEMS}, but got {limit} instead."
        raise BadRequestError(why, code="invalid_value", param="limit")
    if "after" in query:
        after = query["after"][-1]
        place = next((number for number, item in enumerate(items) if item["id"] == after), None)
        if place is None:
            raise NotFoundError(f"Item with id '{after}' not found.", param="after")
        items = items[place + 1 :]
    page = items[:limit]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return WireReply(200, dumps({"object": "list", "data": page, "has_more": len(items) > limit, **ends}))


_PREFIXES: Final[Mapping[str, str]] = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
}
"""What the ids of items begin with."""


def _listed(item: dict[str, Json], tail: str) -> dict[str, Json]:
    """An item with all that a list tells of it (SDK: ``response_item.py``)."""
    kind = item.get("type") or "item_reference"
    own_id = f"{_PREFIXES.get(kind, 'item_')}{tail}"
    whole: dict[str, Json] = {"id": own_id, "type": kind, "status": "completed", **item}
    if kind == "message":
        text_type = SAID if item["role"] == "assistant" else ASKED
        content = item["content"]
        parts = [{"type": text_type, "text": content}] if isinstance(content, str) else content
        whole["content"] = [{**_PART_MEMBERS.get(part["type"], {}), **part} for part in parts]
    elif kind == "reasoning":
        del whole["status"]
    return whole


_PART_MEMBERS: Final[Mapping[str, Mapping[str, Json]]] = {
    SAID: {"annotations": [], "logprobs": []},
    "input_image": {"detail": "auto"},
}
"""Members that a part of a content has in any case."""


def _number(query: Mapping[str, list[str]], key: str, default: int) -> int:
    told = query.get(key)
    if told is None:
        return default
    try:
        return int(told[-1])
    except ValueError:
        why = f"Invalid type for '{key}': expected an integer, but got '{told[-1]}' instead."
        raise BadRequestError(why, code="invalid_type", param=key) from None
