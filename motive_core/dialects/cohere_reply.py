"""A reply of Cohere's Chat API: the whole response, and what a stream tells in the same words.

Owns usage, finish reasons, errors and the whole reply. Knows no request and no event.

What a reply cannot carry:

* the model, ``created``, and choices after the first one;
* a refusal apart from text; blobs, tool results, and parts that another dialect did not know: they become text
  (``degrade``);
* from another dialect, several texts that follow each other: they are one content item, since many clients read the
  first one only;
* empty texts, which are not read either, so that a reply has the same parts whole and streamed;
* the signature of reasoning, and its encrypted form but for a mark that it was there;
* which stop sequence was hit, and the finish reasons ``refusal`` and ``pause``, which become ``COMPLETE``, and
  ``content_filter``, which becomes ``ERROR`` since what was said is not all;
* free-form input of a tool call: it is the only member of an object (``{"input": "..."}``).

``tool_plan``, what a model says before it calls tools, is a text with a mark: to any other dialect it is the text
beside the calls. A text from another dialect is a content item even beside calls, since a stream must say it before it
can know that calls follow.

The other way, ``TIMEOUT`` is read as ``error``, an unknown finish reason as ``stop``, and either is kept in the
``extra`` of the choice, as are citations, log probabilities, and unknown members of the message under ``message``. Of
the two counts of tokens, those of ``tokens`` are read, which count what the model saw; ``billed_units`` are kept where
they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from motive_core.dialects.cohere_parts import (
    NAME,
    PLAN,
    is_blank,
    is_plan,
    parse_calls,
    parse_content,
    plan_text,
    render_call,
    render_item,
    unknown_call,
)
from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.exact import tool_input
from motive_core.dialects.fields import Malformed, dumps, loads, member, optional, rest, typed
from motive_core.errors import FramingError, MotiveError
from motive_core.ir import (
    NO_EXTRA,
    Choice,
    Extra,
    FinishReason,
    Json,
    Part,
    ReasoningPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)

MESSAGE_FIELDS: Final = ("role", "content", "tool_plan", "tool_calls", "citations")
"""Members of a message that have a place of their own."""
CHOICE_FIELDS: Final = ("finish_reason", "citations", "message")
"""Members of the ``extra`` of a choice that a whole reply tells elsewhere than at its top."""

_FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR": "error",
    "TIMEOUT": "error",
    "ERROR_LIMIT": "length",
    "ERROR_TOXIC": "content_filter",
}
"""The last two are those of the API's version 1."""
_WIRE_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tool_calls": "TOOL_CALL",
    "error": "ERROR",
    "content_filter": "ERROR",
    "refusal": "COMPLETE",
    "pause": "COMPLETE",
}


def kept(found: Mapping[str, Json]) -> dict[str, Json]:
    """Unknown members without those that say nothing."""
    return {key: value for key, value in found.items() if value is not None}


def parse_usage(raw: Json) -> Usage | None:
    """Usage; None if it is missing or counts nothing."""
    if not isinstance(raw, dict):
        return None
    tokens, billed = raw.get("tokens"), raw.get("billed_units")
    tokens = tokens if isinstance(tokens, dict) else {}
    counted = tokens or (billed if isinstance(billed, dict) else {})
    usage = Usage(
        _count(counted, "input_tokens"), _count(counted, "output_tokens"), cached_tokens=_count(raw, "cached_tokens")
    )
    extra = kept(rest(raw, "tokens", "cached_tokens"))
    if extra.get("billed_units") in (_counts(usage), {}):
        del extra["billed_units"]
    if others := kept(rest(tokens, "input_tokens", "output_tokens")):
        extra["tokens"] = others
    usage = Usage(usage.input_tokens, usage.output_tokens, usage.cached_tokens, extra=extra or NO_EXTRA)
    return None if usage == Usage() else usage


def _count(raw: Mapping[str, Json], key: str) -> int:
    """A count, which the vendor's own description says to be a float (SDK: ``types/usage_tokens.py``)."""
    value = raw.get(key)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _counts(usage: Usage) -> dict[str, Json]:
    return {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}


def render_usage(usage: Usage, *, own: bool) -> dict[str, Json]:
    """Usage. ``own``: its ``extra`` is this dialect's."""
    extra = dict(usage.extra) if own else {}
    more = extra.pop("tokens", {})
    return {
        "billed_units": extra.pop("billed_units", _counts(usage)),
        "tokens": {**_counts(usage), **more},
        "cached_tokens": usage.cached_tokens,
        **extra,
    }


def parse_finish(told: str | None, *, called: bool) -> tuple[FinishReason, dict[str, Json]]:
    """Finish reason, and the wire's own if it does not follow from it. ``called``, that there are tool calls, decides
    where none is told."""
    if told is None:
        return ("tool_calls" if called else "stop"), {}
    finish: FinishReason = _FINISH_REASONS.get(told, "stop")
    return finish, {} if _WIRE_REASONS[finish] == told else {"finish_reason": told}


def finish_reason(finish: FinishReason, stop_sequence: str | None, extra: Extra) -> str:
    """The finish reason on the wire. ``extra`` is the choice's if it is this dialect's."""
    if isinstance(told := extra.get("finish_reason"), str):
        return told
    return "STOP_SEQUENCE" if finish == "stop" and stop_sequence is not None else _WIRE_REASONS[finish]


def error_message(error: MotiveError) -> str:
    """The message of an error, never empty. The envelope has no field for ``param``, so that is named in it."""
    message = error.message or error.code
    return message if error.param is None or error.param in message else f"{error.param}: {message}"


def parse_reply(body: bytes) -> Reply:
    """A whole response. Raises ``FramingError``."""
    try:
        raw = typed(loads(body), dict, "")
        message = member(raw, "message", dict, "")
        content = parse_content(message.get("content"), "message.content", said=True)
        parts = [part for part in content if not is_blank(part, own=True)]
        if plan := optional(message, "tool_plan", str, "message"):
            parts.append(TextPart(plan, extra=PLAN))
        calls = parse_calls(message, "message")
        finish, extra = parse_finish(optional(raw, "finish_reason", str, ""), called=bool(calls))
        if logprobs := optional(raw, "logprobs", list, ""):
            extra["logprobs"] = logprobs
        if citations := optional(message, "citations", list, "message"):
            extra["citations"] = citations
        if unknown := kept(rest(message, *MESSAGE_FIELDS)):
            extra["message"] = unknown
        return Reply(
            reply_id=optional(raw, "id", str, "") or "",
            model="",
            choices=(Choice((*parts, *calls), finish, extra=extra or NO_EXTRA),),
            usage=parse_usage(raw.get("usage")),
            extra=kept(rest(raw, "id", "message", "finish_reason", "usage", "logprobs")) or NO_EXTRA,
            dialect=NAME,
        )
    except Malformed as error:
        raise FramingError(f"not a reply of Cohere's Chat API: {error}") from None


def render_reply(reply: Reply) -> bytes:
    """A whole response."""
    choice = reply.choices[0] if reply.choices else Choice(())
    own = reply.dialect == NAME
    extra = choice.extra if own else NO_EXTRA
    body: dict[str, Json] = {
        "id": reply.reply_id,
        "message": {**_message(choice.parts, extra, own=own), **extra.get("message", {})},
        "finish_reason": finish_reason(choice.finish_reason, choice.stop_sequence, extra),
    }
    if reply.usage is not None:
        body["usage"] = render_usage(reply.usage, own=own)
    return dumps({**body, **rest(extra, *CHOICE_FIELDS), **(reply.extra if own else NO_EXTRA)})


def _message(parts: tuple[Part, ...], extra: Extra, *, own: bool) -> dict[str, Json]:
    content = _Content(own=own)
    plans: list[Part] = []
    calls: list[Json] = []
    for part in parts:
        if own and is_plan(part):
            plans.append(part)
        elif isinstance(part, ToolCallPart):
            calls.append(render_call(part, reply_arguments(part, own=own), own=own))
        elif own and (call := unknown_call(part)) is not None:
            calls.append(call)
        else:
            content.add(part)
            continue
        content.interrupt()
    message: dict[str, Json] = {"role": "assistant"}
    if plans:
        message["tool_plan"] = plan_text(plans)
    if content.items or not (calls or plans):
        message["content"] = content.items or [{"type": "text", "text": ""}]
    if calls:
        message["tool_calls"] = calls
    if citations := extra.get("citations"):
        message["citations"] = citations
    return message


class _Content:
    """The content items of a message. Texts of another dialect that follow each other share one."""

    def __init__(self, *, own: bool) -> None:
        self.items: list[Json] = []
        self._own = own
        self._in_text = False
        self._joiner = TextJoiner()
        self._texts = 0

    def add(self, part: Part) -> None:
        if self._own or isinstance(part, ReasoningPart):
            if not is_blank(part, own=self._own):
                self.items.append(render_item(part, own=self._own, images=False))
                self._in_text = False
            return
        piece = self._joiner.piece(self._texts, as_text(part), plain=isinstance(part, TextPart))
        if not piece:
            return
        self._texts += 1
        if self._in_text:
            self.items[-1]["text"] += piece
        else:
            self.items.append({"type": "text", "text": piece})
        self._in_text = True

    def interrupt(self) -> None:
        """Something that is no content was said."""
        self._in_text = False


def reply_arguments(part: ToolCallPart, *, own: bool) -> str:
    """The arguments of a tool call in a reply: as they came, but for what no client could decode. What a stream cannot
    take back, text that turns out to be no object, stays."""
    if part.custom:
        return tool_input(part.arguments, custom=True).decode()
    return part.arguments if own else part.arguments or "{}"
