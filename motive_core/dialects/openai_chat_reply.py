"""A reply of Chat Completions: the whole ``chat.completion`` object, and what a stream tells in the same words.

Owns usage, finish reasons, errors and the whole reply. Knows no event.

What a reply cannot carry:

* several texts, refusals or reasonings: each kind is one string (``degrade`` says what stands between them);
* blobs, tool results, and parts that another dialect did not know: they become text in ``content`` (``degrade``);
* empty texts, which are not read either, so that a reply has the same parts whole and streamed;
* the signature of reasoning, and its encrypted form but for a mark that it was there;
* the stop sequence that was hit, and the finish reasons ``refusal``, which becomes ``content_filter``, ``error``, which
  becomes ``length`` since what was said is not all, and ``pause``, which becomes ``stop``;
* more than one tool call where the request offers the legacy ``functions``: the first one is the ``function_call``, the
  others are text.

The other way, an unknown finish reason is read as ``stop`` and kept in ``extra``. ``extra`` of a choice has the unknown
members of the choice, and those of its message under ``message``; members that are null, or that every reply has, such
as an empty list of annotations, are not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.fields import Malformed, dumps, loads, member, optional, rest, typed
from motive_core.dialects.openai_chat_parts import (
    NAME,
    parse_content,
    parse_said,
    render_call,
    render_function_call,
    unknown_call,
)
from motive_core.errors import FramingError, MotiveError, StatusError, UpstreamError
from motive_core.ir import (
    NO_EXTRA,
    ChatRequest,
    Choice,
    Extra,
    FinishReason,
    Json,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)

REPLY_FIELDS: Final = ("id", "object", "created", "model", "choices", "usage", "obfuscation")
"""Members of a reply or a chunk that the IR has fields for; ``obfuscation`` is padding against eavesdroppers."""
CHOICE_FIELDS: Final = ("index", "message", "delta", "finish_reason")
MESSAGE_FIELDS: Final = (
    "role",
    "content",
    "refusal",
    "reasoning_content",
    "reasoning",
    "tool_calls",
    "function_call",
)

_DEFAULTS: Final[Mapping[str, Json]] = {"service_tier": "default", "annotations": []}

_FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "model_length": "length",
    "error": "error",
}
"""``model_length`` and ``error`` are Mistral's (and the latter OpenRouter's)."""

_WIRE_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "error": "length",
    "pause": "stop",
}

_ERROR_STATUS: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "timeout": 408,
    "requests": 429,
    "tokens": 429,
    "rate_limit_error": 429,
    "insufficient_quota": 429,
    "server_error": 500,
}


def kept(found: Mapping[str, Json]) -> dict[str, Json]:
    """Unknown members without those that say nothing."""
    return {key: value for key, value in found.items() if value is not None and _DEFAULTS.get(key) != value}


def is_legacy(request: ChatRequest) -> bool:
    """Whether a request offers ``functions``, so that its client waits for a ``function_call``."""
    return any("functions" in tool.extra for tool in request.tools)


def parse_usage(raw: Json) -> Usage | None:
    """Usage; None if it is null, missing or no object. Details that are zero are as good as missing."""
    if not isinstance(raw, dict):
        return None
    extra = rest(raw, "prompt_tokens", "completion_tokens", "total_tokens")
    prompt, completion = _count(raw, "prompt_tokens"), _count(raw, "completion_tokens")
    if "total_tokens" in raw and raw["total_tokens"] != prompt + completion:
        extra["total_tokens"] = raw["total_tokens"]
    return Usage(
        prompt,
        completion,
        cached_tokens=_take_detail(extra, "prompt_tokens_details", "cached_tokens"),
        reasoning_tokens=_take_detail(extra, "completion_tokens_details", "reasoning_tokens"),
        extra=kept(extra) or NO_EXTRA,
    )


def _count(raw: Mapping[str, Json], key: str) -> int:
    value = raw.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _take_detail(extra: dict[str, Json], group: str, key: str) -> int:
    """Take one count out of a group of details."""
    details = extra.pop(group, None)
    if not isinstance(details, dict):
        return 0
    if others := {name: value for name, value in details.items() if name != key and value not in (0, None)}:
        extra[group] = others
    return _count(details, key)


def render_usage(usage: Usage, *, own: bool) -> dict[str, Json]:
    """Usage with all of its details. ``own``: its ``extra`` is this dialect's."""
    extra = dict(usage.extra) if own else {}
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "audio_tokens": 0,
            **extra.pop("prompt_tokens_details", {}),
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
            **extra.pop("completion_tokens_details", {}),
        },
        **extra,
    }


def parse_finish(told: str | None, *, called: bool) -> tuple[FinishReason, dict[str, Json]]:
    """Finish reason, and the wire's own if it does not follow from it. ``called``, that there are tool calls, decides
    where none is told."""
    if told is None:
        return ("tool_calls" if called else "stop"), {}
    finish: FinishReason = _FINISH_REASONS.get(told, "stop")
    follows = _WIRE_REASONS[finish] == told or told == "function_call"
    return finish, {} if follows else {"finish_reason": told}


def finish_reason(finish: FinishReason, extra: Extra, *, legacy: bool) -> str:
    """The finish reason on the wire. ``extra`` is the choice's if it is this dialect's."""
    if isinstance(told := extra.get("finish_reason"), str):
        return told
    return "function_call" if legacy and finish == "tool_calls" else _WIRE_REASONS[finish]


def error_object(error: MotiveError) -> dict[str, Json]:
    """The ``error`` object of an error reply or event."""
    match error.status:
        case 408:
            kind = "timeout"
        case 429:
            kind = "requests"
        case status:
            kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"message": error.message, "type": kind, "param": error.param, "code": error.code}


def parse_error(raw: Json) -> MotiveError:
    """The error that an ``error`` member tells: an object, or text (xAI). A number as its code is its status
    (OpenRouter); else its type decides."""
    told = raw if isinstance(raw, dict) else {"message": raw}
    message, kind, code = told.get("message"), told.get("type"), told.get("code")
    message = message if isinstance(message, str) else "the service ended the stream with an error"
    status = _ERROR_STATUS.get(kind) if isinstance(kind, str) else None
    if isinstance(code, int) and 400 <= code <= 599:
        status = code
    if status is None:
        return UpstreamError(message, code=code if isinstance(code, str) else None)
    param = told.get("param")
    name = code if isinstance(code, str) else kind if isinstance(kind, str) else None
    return StatusError(status, message, code=name, param=param if isinstance(param, str) else None)


def envelope(reply_id: str, kind: str, created: int, model: str, extra: Extra) -> dict[str, Json]:
    """The members that a reply and each chunk begin with. ``extra`` is the reply's if it is this dialect's."""
    return {
        "id": reply_id,
        "object": kind,
        "created": created,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": None,
        **extra,
    }


def parse_reply(body: bytes) -> Reply:
    """A whole completion. Raises ``FramingError``."""
    try:
        raw = typed(loads(body), dict, "")
        choices = [_parse_choice(one, n) for n, one in enumerate(member(raw, "choices", list, ""))]
        choices.sort(key=lambda numbered: numbered[0])
        return Reply(
            reply_id=optional(raw, "id", str, "") or "",
            model=optional(raw, "model", str, "") or "",
            choices=tuple([choice for _, choice in choices]),
            usage=parse_usage(raw.get("usage")),
            created=_count(raw, "created"),
            extra=kept(rest(raw, *REPLY_FIELDS)) or NO_EXTRA,
            dialect=NAME,
        )
    except Malformed as error:
        raise FramingError(f"not a reply of Chat Completions: {error}") from None


def _parse_choice(raw: Json, position: int) -> tuple[int, Choice]:
    """A choice and its index."""
    where = f"choices[{position}]"
    raw = typed(raw, dict, where)
    message = member(raw, "message", dict, where)
    content = parse_content(message.get("content"), f"{where}.message.content", refusals=True)
    content = tuple([part for part in content if part != TextPart("")])
    parts, more = parse_said(message, content, f"{where}.message")
    called = any(isinstance(part, ToolCallPart) for part in parts)
    finish, extra = parse_finish(optional(raw, "finish_reason", str, where), called=called)
    extra |= kept(rest(raw, *CHOICE_FIELDS))
    if said := kept({**more, **rest(message, *MESSAGE_FIELDS)}):
        extra["message"] = said
    index = optional(raw, "index", int, where)
    return position if index is None else index, Choice(parts, finish, extra=extra or NO_EXTRA)


def render_reply(request: ChatRequest, reply: Reply) -> bytes:
    """A whole completion."""
    own, legacy = reply.dialect == NAME, is_legacy(request)
    head = envelope(reply.reply_id, "chat.completion", reply.created, reply.model, reply.extra if own else NO_EXTRA)
    choices = []
    for number, choice in enumerate(reply.choices):
        extra = choice.extra if own else NO_EXTRA
        choices.append(
            {
                "index": number,
                "message": {**_message(choice.parts, own=own, legacy=legacy), **extra.get("message", {})},
                "logprobs": None,
                "finish_reason": finish_reason(choice.finish_reason, extra, legacy=legacy),
                **rest(extra, "message", "finish_reason"),
            }
        )
    body = {**head, "choices": choices}
    if reply.usage is not None:
        body["usage"] = render_usage(reply.usage, own=own)
    return dumps(body)


def _message(parts: tuple[Part, ...], *, own: bool, legacy: bool) -> dict[str, Json]:
    content, refusal, reasoning = _Joined(), _Joined(), _Joined()
    calls: list[Json] = []
    function_call: Json = None
    for index, part in enumerate(parts):
        match part:
            case ReasoningPart():
                reasoning.add(index, part)
            case RefusalPart():
                refusal.add(index, part)
            case ToolCallPart() if legacy and function_call is None:
                function_call = render_function_call(part, own=own)
            case ToolCallPart() if not legacy:
                calls.append(render_call(part, own=own))
            case _ if own and (call := unknown_call(part)) is not None:
                calls.append(call)
            case _:
                content.add(index, part)
    called = bool(calls) or function_call is not None
    message: dict[str, Json] = {
        "role": "assistant",
        # Null is for what is said in other words; a client may well take the length of a content.
        "content": content.text or (None if called or refusal.text else ""),
        "refusal": refusal.text or None,
        "annotations": [],
    }
    if reasoning.text:
        message["reasoning_content"] = reasoning.text
    if calls:
        message["tool_calls"] = calls
    if function_call is not None:
        message["function_call"] = function_call
    return message


class _Joined:
    """One string of a message, which several parts may share."""

    def __init__(self) -> None:
        self.text = ""
        self._joiner = TextJoiner()

    def add(self, index: int, part: Part) -> None:
        self.text += self._joiner.piece(index, as_text(part), plain=isinstance(part, TextPart))
