"""A reply of the Messages API: the whole ``message`` object, and what a stream tells in the same words.

Owns usage, stop reasons, error types and the whole reply. Knows no request and no event.

What a reply cannot carry:

* choices after the first one, and ``created``;
* a refusal apart from text: it is a text block, and the stop reason ``stop`` becomes ``refusal``;
* the finish reasons ``content_filter``, which becomes ``refusal``, and ``error``, which becomes ``end_turn``;
* blobs, tool results, blocks that only requests have, and parts that another dialect did not know: they become text
  (``degrade``);
* empty text blocks: the API refuses a conversation that has one, so a client could not send the reply back. They are
  not read either, so that a reply has the same parts whole and streamed.

The other way, ``model_context_window_exceeded`` is read as ``length``, an unknown stop reason as ``stop``; either is
kept in the ``extra`` of the choice. Reasoning without a signature has the signature ``""`` on the wire. A server that
counts nothing sends zeros, so all zeros are read as no usage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from motive_core.dialects.anthropic_blocks import NAME, loads, parse_content, render_blocks, rest
from motive_core.dialects.fields import Malformed, dumps, json_object, less, member, optional, typed
from motive_core.errors import FramingError, MotiveError, OverloadedError, StatusError
from motive_core.ir import (
    NO_EXTRA,
    Choice,
    Extra,
    FinishReason,
    Json,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)

MESSAGE_FIELDS: Final = ("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage")
"""Members of a message that the IR has a place for."""

END_FIELDS: Final = ("container", "context_management", "input_transformations", "stop_details")
"""Members of a message that a stream may tell in its ``message_delta``: they belong to the choice, all others that we
don't know to the reply (SDK: ``types/raw_message_delta_event.py`` and its beta twin)."""

_REQUEST_ONLY: Final = frozenset({"document", "image", "search_result", "tool_reference", "tool_result"})
"""Block types that no reply has (SDK: ``types/content_block.py`` beside ``types/content_block_param.py``)."""

_FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
}
_STOP_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
    "content_filter": "refusal",
    "pause": "pause_turn",
    "error": "end_turn",
}

_ERROR_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""SDK: ``types/shared/error_type.py``. The SDK chooses its exception by status; 408 has no type of its own."""
_ERROR_STATUS: Final[Mapping[str, int]] = {
    **{name: status for status, name in _ERROR_TYPES.items()},
    "invalid_request_error": 400,
    "api_error": 500,
}

_NO_CACHE_CREATION: Final = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}


def in_reply(part: Part) -> bool:
    """Whether a reply may have this part as a block of its own kind."""
    if isinstance(part, OpaquePart):
        return isinstance(part.raw, dict) and part.dialect == NAME and part.raw.get("type") not in _REQUEST_ONLY
    return isinstance(part, TextPart | RefusalPart | ReasoningPart | ToolCallPart)


def is_blank(part: Part, *, own: bool) -> bool:
    """Whether a part is an empty text, which is neither read nor written."""
    return isinstance(part, TextPart | RefusalPart) and not part.text and not (own and any(part.extra.values()))


def parse_usage(raw: Json) -> Usage | None:
    """Usage; ``cached_tokens`` is what was read from the cache, and ``input_tokens`` includes it, unlike the wire's."""
    if not isinstance(raw, dict):
        return None
    counts = {key: value for key, value in raw.items() if isinstance(value, int) and not isinstance(value, bool)}
    cached = counts.get("cache_read_input_tokens", 0)
    created = counts.get("cache_creation_input_tokens", 0)
    details = raw.get("output_tokens_details")
    thinking = details.get("thinking_tokens") if isinstance(details, dict) else None
    thinking = thinking if isinstance(thinking, int) else 0
    defaults: dict[str, Json] = {
        "cache_creation_input_tokens": 0,
        "cache_creation": _NO_CACHE_CREATION,
        "service_tier": "standard",
        "output_tokens_details": {"thinking_tokens": thinking},
    }
    unknown = rest(raw, "input_tokens", "output_tokens", "cache_read_input_tokens")
    extra = {key: value for key, value in unknown.items() if value is not None and value != defaults.get(key)}
    usage = Usage(
        input_tokens=counts.get("input_tokens", 0) + cached + created,
        output_tokens=counts.get("output_tokens", 0),
        cached_tokens=cached,
        reasoning_tokens=thinking,
        extra=extra or NO_EXTRA,
    )
    return None if usage == Usage() else usage


def usage_counts(usage: Usage | None, *, own: bool) -> dict[str, Json]:
    """Usage as it stands at the end of a stream: the counts, and what we don't know."""
    usage = usage or Usage()
    extra = dict(usage.extra) if own else {}
    created = extra.pop("cache_creation_input_tokens", 0)
    created = created if isinstance(created, int) else 0
    counts: dict[str, Json] = {
        "input_tokens": less(usage.input_tokens, usage.cached_tokens, created),
        "cache_creation_input_tokens": created,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return counts | extra


def usage_whole(usage: Usage | None, *, own: bool) -> dict[str, Json]:
    """Usage as a whole message has it."""
    return {"cache_creation": _NO_CACHE_CREATION, "service_tier": "standard", **usage_counts(usage, own=own)}


def parse_stop(raw: Mapping[str, Json], where: str) -> tuple[FinishReason, str | None, dict[str, Json]]:
    """Finish reason, stop sequence, and the stop reason itself if it does not follow from them."""
    reason = optional(raw, "stop_reason", str, where)
    sequence = optional(raw, "stop_sequence", str, where)
    finish: FinishReason = _FINISH_REASONS.get(reason or "", "stop")
    if reason is None or reason == stop_reason(finish, sequence, NO_EXTRA):
        return finish, sequence, {}
    return finish, sequence, {"stop_reason": reason}


def stop_reason(finish: FinishReason, sequence: str | None, extra: Extra, *, refused: bool = False) -> str:
    """The stop reason. ``extra`` is the choice's if it is this vendor's; ``refused``: the reply has a refusal in it."""
    if isinstance(reason := extra.get("stop_reason"), str):
        return reason
    if finish == "stop":
        return "refusal" if refused else "stop_sequence" if sequence is not None else "end_turn"
    return _STOP_REASONS[finish]


def error_object(error: MotiveError) -> dict[str, Json]:
    """The ``error`` object of an error reply or event. It has no field for ``param``: the live API names the field in
    the message."""
    kind = _ERROR_TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    named = error.param is None or error.param in error.message
    return {"type": kind, "message": error.message if named else f"{error.param}: {error.message}"}


def parse_error(raw: Json) -> MotiveError:
    """The error that an error event tells; the type decides the status."""
    found = raw.get("error") if isinstance(raw, dict) else None
    told = found if isinstance(found, dict) else {}
    kind, message = told.get("type"), told.get("message")
    message = message if isinstance(message, str) else "the service ended the stream with an error"
    if kind == "overloaded_error":
        return OverloadedError(message)
    kind = kind if isinstance(kind, str) else "api_error"
    return StatusError(_ERROR_STATUS.get(kind, 500), message, code=kind)


def parse_reply(body: bytes) -> Reply:
    """A whole message. Raises ``FramingError``."""
    try:
        raw = typed(loads(body), dict, "")
        content = member(raw, "content", list, "")
        finish, sequence, kept = parse_stop(raw, "")
        unknown = {key: value for key, value in rest(raw, *MESSAGE_FIELDS).items() if value is not None}
        end = {key: unknown.pop(key) for key in END_FIELDS if key in unknown}
        parts = tuple([part for part in parse_content(content, "content") if not is_blank(part, own=True)])
        return Reply(
            reply_id=optional(raw, "id", str, "") or "",
            model=optional(raw, "model", str, "") or "",
            choices=(Choice(parts, finish, sequence, extra=kept | end or NO_EXTRA),),
            usage=parse_usage(raw.get("usage")),
            extra=unknown or NO_EXTRA,
            dialect=NAME,
        )
    except Malformed as error:
        raise FramingError(f"not a reply of the Messages API: {error}") from None


def render_reply(reply: Reply) -> bytes:
    """A whole message."""
    choice = reply.choices[0] if reply.choices else Choice(())
    own = reply.dialect == NAME
    extra = {**reply.extra, **choice.extra} if own else {}
    reason = stop_reason(choice.finish_reason, choice.stop_sequence, extra, refused=refuses(choice.parts))
    extra.pop("stop_reason", None)
    blocks = render_blocks([part for part in choice.parts if not is_blank(part, own=own)], own=own, carries=in_reply)
    return json_object(
        {"model": reply.model, "id": reply.reply_id, "type": "message", "role": "assistant"},
        {
            "content": b"[" + b",".join(blocks) + b"]",
            "stop_reason": dumps(reason),
            "stop_sequence": dumps(choice.stop_sequence),
            "usage": dumps(usage_whole(reply.usage, own=own)),
        },
        extra,
    )


def refuses(parts: Iterable[Part]) -> bool:
    """Whether there is a refusal among these parts."""
    return any(isinstance(part, RefusalPart) for part in parts)
