"""A reply of the Gemini API: the whole ``GenerateContentResponse``, and what a stream tells in the same words.

Owns usage, finish reasons, errors and the rendering of a whole reply; how one is read is in ``gemini_decoder``, since a
whole reply is a stream of one chunk. Knows no event.

What a reply cannot carry:

* borders between texts, or between reasonings: those that follow each other become one part, until a part tells
  something beside its text, such as a signature (``degrade`` says what stands between them);
* a refusal apart from text, and blobs by URL or of other types than pictures, sounds and films: they become text
  (``degrade``), as do tool results and parts that another dialect did not know;
* empty texts, which are not read either; a reply that says nothing has one, since clients look for it;
* the signature of reasoning from another vendor, and its encrypted form but for a mark that it was there;
* that a reply ends with a tool call, but by the call; the stop sequence that was hit; ``created``; the finish reasons
  ``refusal``, which becomes ``SAFETY``, and ``pause``, which becomes ``STOP``.

The other way, many finish reasons are read as ``content_filter`` or ``error``, and unknown ones as ``stop``; the wire's
own is kept in the ``extra`` of the choice, unless it follows. A prompt that was blocked has no candidates: it is read
as a choice without parts that ended with ``content_filter``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.fields import count, dumps, json_object, less, rest
from motive_core.dialects.gemini_parts import NAME, blob_part, call_part, text_part, thought_part
from motive_core.errors import MotiveError, StatusError, UpstreamError, whole_seconds
from motive_core.ir import (
    NO_EXTRA,
    BlobPart,
    Choice,
    Extra,
    FinishReason,
    Json,
    OpaquePart,
    Part,
    ReasoningPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)

_FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "LANGUAGE",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
            "IMAGE_RECITATION",
            "ESCALATION",
            "PUP_LIMITED_DISABLED",
            "MODEL_ARMOR",
        ),
        "content_filter",
    ),
    **dict.fromkeys(
        (
            "OTHER",
            "MALFORMED_FUNCTION_CALL",
            "UNEXPECTED_TOOL_CALL",
            "TOO_MANY_TOOL_CALLS",
            "MISSING_THOUGHT_SIGNATURE",
            "MALFORMED_RESPONSE",
            "IMAGE_OTHER",
            "NO_IMAGE",
        ),
        "error",
    ),
    "CONTINUATION": "pause",
}
"""SDK: ``types.py``, ``FinishReason``."""
_WIRE_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "error": "OTHER",
    "pause": "STOP",
}

_STATUS_NAMES: Final[Mapping[int, str]] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    426: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
"""``google/rpc/code.proto``, and the nearest for what HTTP has beyond it."""
_STATUS_CODES: Final[Mapping[str, int]] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

_USAGE_FIELDS: Final = (
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
    "totalTokenCount",
)
_MEDIA: Final = ("image/", "audio/", "video/")


def parse_usage(raw: Json) -> Usage | None:
    """Usage. The wire's count of candidates has no thoughts in it, unlike ``output_tokens``."""
    if not isinstance(raw, dict):
        return None
    prompt, thoughts = count(raw, "promptTokenCount"), count(raw, "thoughtsTokenCount")
    usage = Usage(
        prompt,
        count(raw, "candidatesTokenCount") + thoughts,
        cached_tokens=count(raw, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        extra=rest(raw, *_USAGE_FIELDS),
    )
    total = raw.get("totalTokenCount")
    extra = {"totalTokenCount": total} if total is not None and total != _total(usage) else {}
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        extra={**usage.extra, **extra} or NO_EXTRA,
    )


def _total(usage: Usage) -> int:
    total = usage.total_tokens
    return total if total < 0 else total + count(usage.extra, "toolUsePromptTokenCount")


def render_usage(usage: Usage, *, own: bool) -> dict[str, Json]:
    """Usage; counts that are zero are left out where the API does so."""
    found: dict[str, Json] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": less(usage.output_tokens, usage.reasoning_tokens),
        "totalTokenCount": _total(usage) if own else usage.total_tokens,
    }
    if usage.cached_tokens:
        found["cachedContentTokenCount"] = usage.cached_tokens
    if usage.reasoning_tokens:
        found["thoughtsTokenCount"] = usage.reasoning_tokens
    return {**found, **usage.extra} if own else found


def parse_finish(told: str | None, *, called: bool) -> tuple[FinishReason, dict[str, Json]]:
    """Finish reason, and the wire's own if it does not follow from it. ``called``: there are tool calls."""
    if told is None or told == "STOP":
        return ("tool_calls" if called else "stop"), {}
    finish = _FINISH_REASONS.get(told, "stop")
    return finish, {} if _WIRE_REASONS[finish] == told else {"finishReason": told}


def finish_reason(finish: FinishReason, extra: Extra) -> str:
    """The finish reason on the wire. ``extra`` is the choice's if it is this dialect's."""
    told = extra.get("finishReason")
    return told if isinstance(told, str) else _WIRE_REASONS[finish]


def error_object(error: MotiveError) -> dict[str, Json]:
    """The ``error`` object of an error reply or a chunk: a ``google.rpc.Status``."""
    status = error.status
    details: list[Json] = [
        {"@type": _detail("ErrorInfo"), "reason": error.code.upper(), "domain": "motive", "metadata": {}}
    ]
    if error.param is not None:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": _detail("BadRequest"), "fieldViolations": [violation]})
    if error.retryable:
        details.append({"@type": _detail("RetryInfo"), "retryDelay": f"{whole_seconds(error.retry_after_s)}s"})
    name = _STATUS_NAMES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    return {"code": status, "message": error.message, "status": name, "details": details}


def _detail(name: str) -> str:
    return f"type.googleapis.com/google.rpc.{name}"


def parse_error(raw: Json) -> MotiveError:
    """The error that an ``error`` member tells. Its code is the status; else its name decides."""
    told = raw if isinstance(raw, dict) else {"message": raw}
    message, code, name = told.get("message"), told.get("code"), told.get("status")
    message = message if isinstance(message, str) else "the service ended the stream with an error"
    name = name if isinstance(name, str) else None
    status = code if isinstance(code, int) and 400 <= code <= 599 else _STATUS_CODES.get(name or "")
    return UpstreamError(message, code=name) if status is None else StatusError(status, message, code=name)


class Texts:
    """Puts the separators between texts, and between reasonings; ``degrade`` says which. The pieces of one part must
    come together. Empty texts do not count."""

    def __init__(self, *, own: bool) -> None:
        self._own = own
        self._joiner = {True: TextJoiner(), False: TextJoiner()}
        self._numbers = {True: 0, False: 0}
        self._last: dict[bool, int | None] = {True: None, False: None}

    def piece(self, index: int, part: Part, text: str) -> str:
        """The next piece of part ``index``, with what must stand before it."""
        if not text:
            return ""
        thought = isinstance(part, ReasoningPart)
        if self._last[thought] != index:
            self._last[thought] = index
            self._numbers[thought] += 1
        # Reasonings of this vendor are fragments of one, as texts are.
        plain = isinstance(part, TextPart) or (thought and self._own)
        return self._joiner[thought].piece(self._numbers[thought], text, plain=plain)


def is_text(part: Part, *, own: bool) -> bool:
    """Whether a part is said as text or as reasoning: all but calls, pictures and the like, and our own unknown."""
    match part:
        case ToolCallPart():
            return False
        case BlobPart(media_type, data):
            return not own and (data is None or not media_type.lower().startswith(_MEDIA))
        case OpaquePart(dialect, raw):
            return dialect != NAME or not isinstance(raw, dict)
        case _:
            return True


def whole_part(part: Part, *, own: bool, one_line: bool = False) -> bytes:
    """A part that ``is_text`` is false for. ``one_line``: without line ends."""
    match part:
        case ToolCallPart():
            return call_part(part, own=own, one_line=one_line)
        case BlobPart():
            return blob_part(part, own=own) or text_part(as_text(part))
        case OpaquePart(_, raw):
            return dumps(raw)
        case _:
            return text_part(as_text(part))


def told_beside(part: Part, *, own: bool) -> dict[str, Json]:
    """What a part of text or reasoning tells beside its text; such a part is complete."""
    if not own or isinstance(part, OpaquePart):
        return {}
    signature = part.signature if isinstance(part, ReasoningPart) else None
    return {**part.extra, **({} if signature is None else {"thoughtSignature": signature})}


def render_parts(parts: Iterable[Part], *, own: bool) -> list[bytes]:
    """The parts of a whole reply."""
    said: list[bytes] = []
    texts = Texts(own=own)
    run = ""
    run_is_thought = False

    def end_run(beside: Extra = NO_EXTRA) -> None:
        nonlocal run
        if run or beside:
            said.append(thought_part(run, None, beside) if run_is_thought else text_part(run, beside))
        run = ""

    for index, part in enumerate(parts):
        if not is_text(part, own=own):
            end_run()
            said.append(whole_part(part, own=own))
            continue
        thought = isinstance(part, ReasoningPart)
        text, beside = texts.piece(index, part, as_text(part)), told_beside(part, own=own)
        if not (text or beside):
            continue
        if thought != run_is_thought:
            end_run()
            run_is_thought = thought
        run += text
        if beside:
            end_run(beside)
    end_run()
    return said or [text_part("")]


def is_blocked(extra: Extra) -> bool:
    """Whether a reply tells that its prompt was blocked. ``extra`` is the reply's if it is this dialect's."""
    feedback = extra.get("promptFeedback")
    return isinstance(feedback, Mapping) and feedback.get("blockReason") is not None


def split_choice(extra: Extra) -> tuple[dict[str, Json], dict[str, Json]]:
    """The unknown members of a candidate, and those of its content."""
    content = extra.get("content")
    return rest(extra, "finishReason", "content"), dict(content) if isinstance(content, Mapping) else {}


def render_reply(reply: Reply) -> bytes:
    """A whole reply."""
    own = reply.dialect == NAME
    extra = reply.extra if own else NO_EXTRA
    raw: dict[str, bytes] = {}
    if not (is_blocked(extra) and not any(choice.parts for choice in reply.choices)):
        candidates = [_candidate(number, choice, own=own) for number, choice in enumerate(reply.choices)]
        raw["candidates"] = b"[" + b",".join(candidates) + b"]"
    if reply.usage is not None:
        raw["usageMetadata"] = dumps(render_usage(reply.usage, own=own))
    raw["modelVersion"] = dumps(reply.model)
    raw["responseId"] = dumps(reply.reply_id)
    return json_object({}, raw, extra)


def _candidate(number: int, choice: Choice, *, own: bool) -> bytes:
    extra = choice.extra if own else NO_EXTRA
    more, content = split_choice(extra)
    parts = b"[" + b",".join(render_parts(choice.parts, own=own)) + b"]"
    said = {"content": json_object({}, {"parts": parts, "role": b'"model"'}, content)}
    said["finishReason"] = dumps(finish_reason(choice.finish_reason, extra))
    said["index"] = b"%d" % number
    return json_object({}, said, more)
