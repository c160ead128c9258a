"""A reply of the Responses API: the whole ``response`` object, and what a stream tells in the same words.

Owns usage, statuses, errors within a stream and the whole reply. Knows no event.

A response repeats the settings of its request; they are said anew from the request that it answers, so those that came
with a reply are not kept. Nor are members that are null or that every reply has: empty lists of annotations, ids that
follow from the reply's (``item_id``), statuses of items that follow from that of the reply.

What a reply cannot carry:

* choices after the first one;
* several texts, or several refusals, that follow each other: they are one (``degrade`` says what stands between them);
* blobs, tool results, and parts that another dialect did not know: they become text (``degrade``);
* the signature of reasoning, and its encrypted form but for a mark that it was there, of another vendor;
* the stop sequence that was hit, and finish reasons but ``length`` and ``content_filter``: ``refusal`` becomes
  ``content_filter``, ``error`` becomes ``length`` since what was said is not all, ``pause`` becomes ``stop``. Whether a
  reply calls tools follows from its items.

The other way, a response that is incomplete for another reason is read as ``length``, one that is neither complete nor
incomplete (it runs in the background, or was cancelled) as finished with what it has; either is kept in the ``extra``
of the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from motive_core.dialects.fields import Malformed, count, dumps, loads, member, optional, rest, typed
from motive_core.dialects.openai_chat_reply import error_object, parse_error
from motive_core.dialects.openai_responses_contents import NAME, SAID, render_part
from motive_core.dialects.openai_responses_items import (
    CALL_TEXTS,
    begins_message,
    call_type,
    grouped,
    is_item,
    item_id,
    item_type,
    merged,
    parse_call,
    parse_message,
    parse_reasoning,
    render_call,
    render_reasoning,
    reply_members,
)
from motive_core.dialects.openai_responses_request import (
    PREVIOUS,
    is_instructions,
    render_choice,
    render_text,
    render_tool,
)
from motive_core.errors import FramingError, MotiveError
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
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)

_FIELDS: Final = (
    "id",
    "object",
    "created_at",
    "status",
    "error",
    "incomplete_details",
    "model",
    "output",
    "output_text",
    "usage",
)
"""Members of a response that the IR has fields for, and ``output_text``, which some services add."""

_ECHOED: Final[Mapping[str, Json]] = {
    "background": False,
    "max_tool_calls": None,
    "prompt": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "safety_identifier": None,
    "top_logprobs": 0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}
"""Settings that the IR has no field for, as a response tells them where the request does not."""
_SETTINGS: Final = (
    *_ECHOED,
    "conversation",
    "instructions",
    "max_output_tokens",
    "parallel_tool_calls",
    PREVIOUS,
    "reasoning",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
)

_REASONS: Final[Mapping[str, FinishReason]] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_WIRE_REASONS: Final[Mapping[FinishReason, str]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "error": "max_output_tokens",
}

_ERROR_TYPES: Final[Mapping[str, str]] = {
    "invalid_prompt": "invalid_request_error",
    "rate_limit_exceeded": "rate_limit_error",
    "server_error": "server_error",
}
"""The type of an error that tells but a code."""


def parse_usage(raw: Json) -> Usage | None:
    """Usage; None if it is null, missing or no object. Details that are zero are as good as missing."""
    if not isinstance(raw, dict):
        return None
    extra = {key: value for key, value in rest(raw, *_COUNTS).items() if value is not None}
    asked, said = count(raw, "input_tokens"), count(raw, "output_tokens")
    if "total_tokens" in raw and raw["total_tokens"] != asked + said:
        extra["total_tokens"] = raw["total_tokens"]
    return Usage(
        asked,
        said,
        cached_tokens=_take_detail(extra, "input_tokens_details", "cached_tokens"),
        reasoning_tokens=_take_detail(extra, "output_tokens_details", "reasoning_tokens"),
        extra=extra or NO_EXTRA,
    )


_COUNTS: Final = ("input_tokens", "output_tokens", "total_tokens")


def _take_detail(extra: dict[str, Json], group: str, key: str) -> int:
    """Take one count out of a group of details."""
    details = extra.pop(group, None)
    if not isinstance(details, dict):
        return 0
    if others := {name: value for name, value in rest(details, key).items() if value not in (0, None)}:
        extra[group] = others
    return count(details, key)


def render_usage(usage: Usage, *, own: bool) -> dict[str, Json]:
    """Usage with all of its details. ``own``: its ``extra`` is this dialect's."""
    extra = usage.extra if own else NO_EXTRA
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": 0,
            **extra.get("input_tokens_details", {}),
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            **extra.get("output_tokens_details", {}),
        },
        "total_tokens": extra.get("total_tokens", usage.total_tokens),
        **rest(extra, "input_tokens_details", "output_tokens_details", "total_tokens"),
    }


def parse_finish(raw: Mapping[str, Json], *, called: bool) -> tuple[FinishReason, dict[str, Json]]:
    """Why a response ended, and what tells so if it does not follow. ``called``: there are tool calls in it."""
    status, details = raw.get("status"), raw.get("incomplete_details")
    if status == "incomplete":
        reason = details.get("reason") if isinstance(details, dict) else None
        finish = _REASONS.get(reason) if isinstance(reason, str) else None
        known = finish is not None and details == {"reason": reason}
        return finish or "length", {} if known else {"incomplete_details": details}
    extra = {} if status in ("completed", None) else {"status": status}
    if details is not None:
        extra["incomplete_details"] = details
    return ("tool_calls" if called else "stop"), extra


def status_of(finish: FinishReason, extra: Extra) -> dict[str, Json]:
    """Status and details of a response that ended so. ``extra`` is the choice's if it is this dialect's."""
    reason = _WIRE_REASONS.get(finish)
    details = None if reason is None else {"reason": reason}
    told = {"status": "completed" if reason is None else "incomplete", "incomplete_details": details}
    return told | {key: extra[key] for key in told if key in extra}


def item_status(finish: FinishReason, *, last: bool) -> str:
    """The status of an item of a response that ended so."""
    return "incomplete" if last and finish in _WIRE_REASONS else "completed"


def reply_extra(raw: Mapping[str, Json]) -> dict[str, Json]:
    """The members of a response that are its own, and that the IR has no field for."""
    found = {key: value for key, value in rest(raw, *_FIELDS, *_SETTINGS).items() if value is not None}
    if found.get("service_tier") == "default":
        del found["service_tier"]
    if found.get("completed_at") == raw.get("created_at"):
        found.pop("completed_at", None)
    return found


def settings_of(request: ChatRequest) -> dict[str, Json]:
    """The settings of a request, as its response repeats them."""
    own = request.dialect == NAME
    extra = request.extra if own else NO_EXTRA
    told = {key: extra.get(key) for key in _ECHOED}
    instructed = own and request.messages and is_instructions(request.messages[0])
    choice, sampling = request.tool_choice, request.sampling
    text = render_text(request)
    reasoning, conversation = extra.get("reasoning"), extra.get("conversation")
    return {
        **{key: default if told[key] is None else told[key] for key, default in _ECHOED.items()},
        "conversation": {"id": conversation} if isinstance(conversation, str) else conversation,
        "instructions": request.messages[0].text if instructed else None,
        "max_output_tokens": sampling.max_tokens,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        PREVIOUS: extra.get(PREVIOUS) or request.previous,
        "reasoning": {"effort": None, "summary": None, **(reasoning if isinstance(reasoning, dict) else {})},
        "store": request.store,
        "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
        "text": {"format": {"type": "text"}, "verbosity": "medium", **text},
        "tool_choice": "auto" if choice is None else render_choice(choice, own=own),
        "tools": [render_tool(tool, own=own) for tool in request.tools if own or tool.raw is None],
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
    }


def response_object(
    request: ChatRequest,
    reply_id: str,
    model: str,
    created: int,
    extra: Extra,
) -> dict[str, Json]:
    """A response that has just begun. ``extra`` is the reply's if it is this dialect's."""
    return {
        "id": reply_id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
        "service_tier": "default",
        **settings_of(request),
        **extra,
    }


def completed_at(response: Mapping[str, Json]) -> Json:
    """When a response was complete. Where nobody knows, it took no time."""
    told = response["completed_at"]
    return response["created_at"] if told is None else told


def failure(error: MotiveError) -> dict[str, Json]:
    """The error of a response that failed: it has another, small set of codes (SDK: ``response_error.py``). Codex takes
    ``invalid_prompt`` for final, and tries again after all others that it does not know."""
    code = "server_error" if error.retryable else "invalid_prompt"
    return {"code": "rate_limit_exceeded" if error.status == 429 else code, "message": error.message}


def error_event(error: MotiveError) -> dict[str, Json]:
    """The members of an ``error`` event. The documented ones lie flat in it; the live API has them in an object, by
    which the SDKs know to raise."""
    told = error_object(error)
    return {"code": told["code"], "message": told["message"], "param": told["param"], "error": told}


def parse_failure(raw: Json) -> MotiveError:
    """The error that an event tells, flat or as an object, or that a failed response does."""
    told = raw if isinstance(raw, dict) else {"message": raw}
    code, kind = told.get("code"), told.get("type")
    if isinstance(code, str) and kind in (None, "error"):
        told = {**told, "type": _ERROR_TYPES.get(code)}
    return parse_error(told)


def parse_reply(body: bytes) -> Reply:
    """A whole response. Raises ``FramingError``, also for one that failed."""
    try:
        raw = typed(loads(body), dict, "")
        reply_id = optional(raw, "id", str, "") or ""
        parts = parse_output(member(raw, "output", list, ""), reply_id)
        if raw.get("status") == "failed":
            raise FramingError(f"the response failed: {parse_failure(raw.get('error'))}")
        finish, extra = parse_finish(raw, called=any(isinstance(part, ToolCallPart) for part in parts))
        return Reply(
            reply_id=reply_id,
            model=optional(raw, "model", str, "") or "",
            choices=(Choice(tuple(parts), finish, extra=extra or NO_EXTRA),),
            usage=parse_usage(raw.get("usage")),
            created=created_at(raw),
            extra=reply_extra(raw) or NO_EXTRA,
            dialect=NAME,
        )
    except Malformed as error:
        raise FramingError(f"not a reply of the Responses API: {error}") from None


def created_at(raw: Mapping[str, Json]) -> int:
    """When a response began: whole seconds of a number that some services give with a fraction."""
    return int(optional(raw, "created_at", float, "") or 0)


def parse_output(items: Sequence[Json], reply_id: str) -> list[Part]:
    """The parts of an output. Raises ``Malformed``."""
    parts: list[Part] = []
    after_message = False
    for index, one in enumerate(items):
        where = f"output[{index}]"
        raw = typed(one, dict, where)
        parts += parse_item(raw, reply_id, index, where, after_message=after_message)
        after_message = item_type(raw, where) == "message"
    return parts


def parse_item(raw: dict[str, Json], reply_id: str, index: int, where: str, *, after_message: bool) -> list[Part]:
    """The parts of one item of an output. Raises ``Malformed``."""
    kind = item_type(raw, where)
    if kind == "message":
        members = reply_members(raw, kind, reply_id, index, "role", "content")
        parts = parse_message(raw, members, where, after_message=after_message)
        return [replace(part, extra=said_members(part.extra)) if isinstance(part, TextPart) else part for part in parts]
    if kind in CALL_TEXTS:
        return [parse_call(raw, reply_members(raw, kind, reply_id, index, "call_id", "name", CALL_TEXTS[kind]), where)]
    if kind == "reasoning":
        members = reply_members(raw, kind, reply_id, index, "summary", "content", "encrypted_content")
        return [parse_reasoning(raw, members, where)]
    return [OpaquePart(NAME, raw)]


def said_members(extra: Extra) -> Extra:
    """The members of a text of a reply, without those that say nothing."""
    return {key: value for key, value in extra.items() if value not in ([], None)} or NO_EXTRA


def render_reply(request: ChatRequest, reply: Reply) -> bytes:
    """A whole response."""
    own = reply.dialect == NAME
    extra = reply.extra if own else NO_EXTRA
    choice = reply.choices[0] if reply.choices else Choice(())
    body = response_object(request, reply.reply_id, reply.model, reply.created, extra)
    body |= status_of(choice.finish_reason, choice.extra if own else NO_EXTRA)
    body |= choice.extra.get("response", {}) if own else {}
    body["completed_at"] = completed_at(body)
    groups = list(grouped(choice.parts, own=own))
    for index, group in enumerate(groups):
        cut = index == len(groups) - 1 and not is_item(group[0], own=own)
        status = item_status(choice.finish_reason, last=cut)
        body["output"].append(render_item(group, reply.reply_id, index, status, own=own))
    if reply.usage is not None:
        body["usage"] = render_usage(reply.usage, own=own)
    return dumps(body)


def render_item(group: Sequence[Part], reply_id: str, index: int, status: str, *, own: bool) -> dict[str, Json]:
    """The item that parts are."""
    match group[0]:
        case ToolCallPart() as part:
            return {"id": item_id(call_type(part), reply_id, index), "status": status, **render_call(part, own=own)}
        case ReasoningPart() as part:
            return {"id": item_id("reasoning", reply_id, index), **render_reasoning(part, own=own)}
        case OpaquePart(_, dict(raw)) if is_item(group[0], own=own):
            return raw
        case first:
            return {
                "id": item_id("message", reply_id, index),
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": [render_said(part, own=own) for part in (group if own else merged(group))],
                **(begins_message(first, own=own) or {}),
            }


def render_said(part: Part, *, own: bool) -> dict[str, Json]:
    """A part of the content of a message, with what every text has."""
    said = render_part(part, own=own, text_type=SAID)
    return {"type": SAID, "annotations": [], "logprobs": [], **said} if said["type"] == SAID else said
