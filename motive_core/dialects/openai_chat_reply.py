"""A reply of Chat Completions: the whole ``chat.completion`` object, and what a stream tells in the same words.

Owns usage, finish reasons, errors and the whole reply. Knows no event.

What a reply cannot carry:

* several texts, refusals or reasonings: each kind is one string (``degrade`` says what stands between them);
* blobs, tool results, and parts that another dialect did not know: they become text in ``content`` (``degrade``).
  Content parts of this dialect's own that are no text (Mistral's references, say) make it a list, as they came in;
* empty texts, which are not read either, so that a reply has the same parts whole and streamed;
* the signature of reasoning, and its encrypted form but for a mark that it was there;
* the stop sequence that was hit, and the finish reasons ``refusal``, which becomes ``content_filter``, ``error``, which
  becomes ``length`` since what was said is not all, and ``pause``, which becomes ``stop``;
* more than one tool call where the request offers the legacy ``functions``: the first one is the ``function_call``, the
  others are text.

The other way, an unknown finish reason is read as ``stop`` and kept in ``extra``. ``extra`` of a choice has the unknown
members of the choice, and those of its message under ``message``; members that are null, or that every reply has, such
as an empty list of annotations, are not kept. What the last chunks of a stream tell of the reply itself (Perplexity's
citations, Cerebras' times) is under ``chat.completion`` there, and stands beside the choices again.

Reasoning goes where the flavour has it; that of Mistral is a chunk of the content wherever it came as one. Refusals are
text where the flavour has no member for them. xAI does not count reasoning among the tokens of the completion; the IR,
like OpenAI, does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.fields import Malformed, count, dumps, loads, member, optional, rest, typed
from motive_core.dialects.openai_chat_hosts import Flavour
from motive_core.dialects.openai_chat_parts import (
    NAME,
    THINKING,
    parse_content,
    parse_said,
    render_call,
    render_function_call,
    render_thinking,
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
    OpaquePart,
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
OF_REPLY: Final = "chat.completion"
"""In the ``extra`` of a choice: what the end of its stream told of the reply."""
OF_CHOICE: Final = ("message", "finish_reason", OF_REPLY)
"""Members of a choice's ``extra`` that have a place of their own."""
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

_SILENT: Final = (TextPart(""), ReasoningPart("", extra={THINKING: {}}))

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
    prompt, completion, total = [count(raw, f"{key}_tokens") for key in ("prompt", "completion", "total")]
    cached = _take_detail(extra, "prompt_tokens_details", "cached_tokens")
    reasoning = _take_detail(extra, "completion_tokens_details", "reasoning_tokens")
    if reasoning and total == prompt + completion + reasoning:
        completion += reasoning  # xAI
    elif "total_tokens" in raw and raw["total_tokens"] != prompt + completion:
        extra["total_tokens"] = raw["total_tokens"]
    return Usage(prompt, completion, cached_tokens=cached, reasoning_tokens=reasoning, extra=kept(extra) or NO_EXTRA)


def _take_detail(extra: dict[str, Json], group: str, key: str) -> int:
    """Take one count out of a group of details."""
    details = extra.pop(group, None)
    if not isinstance(details, dict):
        return 0
    if others := {name: value for name, value in details.items() if name != key and value not in (0, None)}:
        extra[group] = others
    return count(details, key)


def render_usage(usage: Usage, *, own: bool) -> dict[str, Json]:
    """Usage with all of its details. ``own``: its ``extra`` is this dialect's."""
    extra = dict(usage.extra) if own else {}
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
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
    if isinstance(message, dict):
        message = dumps(message).decode()  # Mistral's list of faults
    message = message if isinstance(message, str) else "the service ended the stream with an error"
    status = _ERROR_STATUS.get(kind) if isinstance(kind, str) else None
    if isinstance(code, int) and 400 <= code <= 599:
        status = code
    if status is None:
        return UpstreamError(message, code=code if isinstance(code, str) else None)
    param = told.get("param")
    name = code if isinstance(code, str) else kind if isinstance(kind, str) else None
    return StatusError(status, message, code=name, param=param if isinstance(param, str) else None)


def envelope(reply_id: str, kind: str, created: int, model: str, more: Extra) -> dict[str, Json]:
    """The members that a reply and each chunk begin with; ``more`` are the flavour's, and the reply's own."""
    return {"id": reply_id, "object": kind, "created": created, "model": model, **more}


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
            created=count(raw, "created"),
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
    content = parse_content(message.get("content"), f"{where}.message.content", by_assistant=True)
    content = tuple([part for part in content if part not in _SILENT])
    parts, more = parse_said(message, content, f"{where}.message")
    called = any(isinstance(part, ToolCallPart) for part in parts)
    finish, extra = parse_finish(optional(raw, "finish_reason", str, where), called=called)
    extra |= kept(rest(raw, *CHOICE_FIELDS))
    if said := kept({**more, **rest(message, *MESSAGE_FIELDS)}):
        extra["message"] = said
    index = optional(raw, "index", int, where)
    return position if index is None else index, Choice(parts, finish, extra=extra or NO_EXTRA)


def render_reply(request: ChatRequest, reply: Reply, flavour: Flavour) -> bytes:
    """A whole completion."""
    own, legacy = reply.dialect == NAME, is_legacy(request)
    extra = reply.extra if own else NO_EXTRA
    body = envelope(reply.reply_id, "chat.completion", reply.created, reply.model, {**flavour.head, **extra})
    choices: list[Json] = []
    body["choices"] = choices
    for number, choice in enumerate(reply.choices):
        extra = choice.extra if own else NO_EXTRA
        choices.append(
            {
                "index": number,
                "message": {**_message(choice.parts, flavour, own=own, legacy=legacy), **extra.get("message", {})},
                "logprobs": None,
                "finish_reason": finish_reason(choice.finish_reason, extra, legacy=legacy),
                **rest(extra, *OF_CHOICE),
            }
        )
        body |= reply_members(extra)
    if reply.usage is not None:
        body["usage"] = render_usage(reply.usage, own=own)
    if flavour.usage == "x_groq":
        body.setdefault("x_groq", {"id": groq_id(reply.reply_id)})
    return dumps(body)


def reply_members(extra: Extra) -> dict[str, Json]:
    """What the ``extra`` of a choice has of the reply."""
    found = extra.get(OF_REPLY)
    return found if isinstance(found, dict) else {}


def groq_id(reply_id: str) -> str:
    """The id that Groq's support asks for."""
    return f"req_{reply_id.rpartition('-')[2]}"


def in_content(part: ReasoningPart, flavour: Flavour, *, own: bool) -> bool:
    """Whether reasoning is told by a chunk of the content."""
    return flavour.reasoning == "thinking" or (own and THINKING in part.extra)


def content_part(part: Part) -> dict[str, Json] | None:
    """The content part, as it came, that ``parse_content`` made an ``OpaquePart`` of; None for any other part."""
    match part:
        case OpaquePart("openai-chat", dict(raw)) if isinstance(raw.get("type"), str):
            return raw
        case _:
            return None


def _message(parts: tuple[Part, ...], flavour: Flavour, *, own: bool, legacy: bool) -> dict[str, Json]:
    content, refusal, reasoning = _Content(), _Joined(), _Joined()
    calls: list[Json] = []
    function_call: Json = None
    for index, part in enumerate(parts):
        match part:
            case ReasoningPart() if in_content(part, flavour, own=own):
                content.think(index, part, own=own)
            case ReasoningPart():
                reasoning.add(index, part)
            case RefusalPart() if flavour.refusal:
                refusal.add(index, part)
            case ToolCallPart() if legacy and function_call is None:
                function_call = render_function_call(part, own=own)
            case ToolCallPart() if not legacy:
                calls.append(render_call(part, own=own))
            case _ if own and (raw := unknown_call(part)) is not None:
                calls.append(raw)
            case _ if own and (raw := content_part(part)) is not None:
                content.put(index, raw)
            case _:
                content.add(index, part)
    called = bool(calls) or function_call is not None
    message: dict[str, Json] = {
        "role": "assistant",
        # Null is for what is said in other words; a client may well take the length of a content.
        "content": content.value() or (None if called or refusal.text else ""),
        "refusal": refusal.text or None,
        "annotations": [],
    }
    if reasoning.text:
        message["reasoning" if flavour.reasoning == "reasoning" else "reasoning_content"] = reasoning.text
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


class _Content:
    """The content of a message: one string, or a list if there is more than text in it."""

    def __init__(self) -> None:
        self._items: list[dict[str, Json]] = []
        self._texts = TextJoiner()
        self._thoughts = TextJoiner()

    def add(self, index: int, part: Part) -> None:
        text = self._texts.piece(index, as_text(part), plain=isinstance(part, TextPart))
        if text and self._items and self._items[-1]["type"] == "text":
            self._items[-1]["text"] += text
        elif text:
            self._items.append({"type": "text", "text": text})

    def think(self, index: int, part: ReasoningPart, *, own: bool) -> None:
        if own and THINKING in part.extra:
            self.put(index, render_thinking(part.text, part.extra))
        elif text := self._thoughts.piece(index, as_text(part), plain=False):
            self._items.append(render_thinking(text))

    def put(self, index: int, raw: dict[str, Json]) -> None:
        """An item as it came."""
        self._texts.piece(index, raw["type"], plain=True)  # what follows it needs no blank line
        self._items.append(raw)

    def value(self) -> str | list[dict[str, Json]]:
        if all(item["type"] == "text" for item in self._items):
            return "".join([item["text"] for item in self._items])
        return self._items
