"""A reply of the Converse API: the whole object, and what a stream tells in the same words.

Owns usage, stop reasons and the whole reply. Knows no request and no event.

The wire tells neither the reply's id nor its model nor when it was made. What a reply cannot carry beside those:

* choices after the first one;
* a refusal apart from text: it is a text block, and the stop reason ``stop`` becomes ``content_filtered``;
* the finish reasons ``refusal``, which becomes ``content_filtered``, ``error``, which becomes
  ``malformed_model_output``, and ``pause``, which becomes ``end_turn``; which stop sequence was hit;
* tokens of reasoning, apart from the others;
* pictures of another dialect (this one's stay what they are), tool results, blocks that only requests have, and parts
  that another dialect did not know: they become text (``degrade``);
* empty text blocks: the API refuses a conversation that has one, so a client could not send the reply back. They are
  not read either, so that a reply has the same parts whole and streamed.

The other way, ``model_context_window_exceeded`` is read as ``length``, ``guardrail_intervened`` as ``content_filter``,
what was malformed as ``error`` and an unknown stop reason as ``stop``; it is kept in the ``extra`` of the choice where
it does not follow from that. So are all members that we don't know, since a stream tells them at its end: ``trace``,
``metrics`` (0 ms where nobody measured), ``additionalModelResponseFields``. ``inputTokens`` does not count what went
through the cache, ``totalTokens`` does. A server that counts nothing sends zeros, so all zeros are read as no usage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from motive_core.dialects.bedrock_blocks import NAME, array, loads, parse_content, render_blocks
from motive_core.dialects.fields import Malformed, count, dumps, json_object, less, member, optional, rest, typed
from motive_core.errors import FramingError
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
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

NO_METRICS: Final[Extra] = {"latencyMs": 0}

_REQUEST_ONLY: Final = frozenset(
    {"document", "video", "audio", "searchResult", "cachePoint", "guardContent", "toolAddition", "toolRemoval"}
)

_FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
_STOP_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
    "refusal": "content_filtered",
    "error": "malformed_model_output",
    "pause": "end_turn",
}


def in_reply(part: Part, *, own: bool) -> bool:
    """Whether a reply may have this part as a block of its own kind. ``own``: the reply is this dialect's."""
    if isinstance(part, OpaquePart):
        return part.dialect == NAME and isinstance(part.raw, dict) and not (_REQUEST_ONLY & part.raw.keys())
    if isinstance(part, BlobPart | ToolResultPart):
        return own
    return isinstance(part, TextPart | RefusalPart | ReasoningPart | ToolCallPart)


def is_blank(part: Part, *, own: bool) -> bool:
    """Whether a part is an empty text, which is neither read nor written."""
    return isinstance(part, TextPart | RefusalPart) and not part.text and not (own and any(part.extra.values()))


def parse_usage(raw: Json) -> Usage | None:
    """Usage; ``cached_tokens`` is what was read from the cache, and ``input_tokens`` includes it."""
    if not isinstance(raw, dict):
        return None
    cached, written = count(raw, "cacheReadInputTokens"), count(raw, "cacheWriteInputTokens")
    given, said = count(raw, "inputTokens") + cached + written, count(raw, "outputTokens")
    extra = {
        key: value
        for key, value in rest(raw, "inputTokens", "outputTokens", "cacheReadInputTokens").items()
        if value and (key, value) != ("totalTokens", given + said)
    }
    usage = Usage(given, said, cached, extra=extra or NO_EXTRA)
    return None if usage == Usage() else usage


def usage_object(usage: Usage | None, *, own: bool) -> dict[str, Json]:
    """Usage on the wire."""
    usage = usage or Usage()
    extra = dict(usage.extra) if own else {}
    written = count(extra, "cacheWriteInputTokens")
    return {
        "inputTokens": less(usage.input_tokens, usage.cached_tokens, written),
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": usage.cached_tokens,
        "cacheWriteInputTokens": written,
        **extra,
    }


def parse_end(raw: Mapping[str, Json]) -> tuple[FinishReason, str | None, Extra]:
    """Finish reason, stop sequence and ``extra`` of a choice, from the members that stand beside its message."""
    reason = optional(raw, "stopReason", str, "")
    extra = {key: value for key, value in rest(raw, "stopReason", "output", "usage").items() if value is not None}
    if extra.get("metrics") == NO_METRICS:
        del extra["metrics"]
    fields = extra.get("additionalModelResponseFields")
    sequence = fields.get("stop_sequence") if isinstance(fields, dict) else None
    sequence = sequence if reason == "stop_sequence" and isinstance(sequence, str) else None
    finish = _FINISH_REASONS.get(reason or "", "stop")
    if reason is not None and reason != stop_reason(finish, sequence, NO_EXTRA):
        extra["stopReason"] = reason
    return finish, sequence, extra or NO_EXTRA


def stop_reason(finish: FinishReason, sequence: str | None, extra: Extra, *, refused: bool = False) -> str:
    """The stop reason. ``extra`` is the choice's if it is this dialect's; ``refused``: the reply has a refusal in
    it."""
    if isinstance(reason := extra.get("stopReason"), str):
        return reason
    if finish == "stop" and (refused or sequence is not None):
        return "content_filtered" if refused else "stop_sequence"
    return _STOP_REASONS[finish]


def parse_reply(body: bytes) -> Reply:
    """A whole reply. Raises ``FramingError``."""
    try:
        raw = typed(loads(body), dict, "")
        message = member(member(raw, "output", dict, ""), "message", dict, "output")
        parts = parse_content(member(message, "content", list, "output.message"), "output.message.content")
        finish, sequence, extra = parse_end(raw)
        said = tuple([part for part in parts if not is_blank(part, own=True)])
        choices = (Choice(said, finish, sequence, extra=extra),)
        return Reply("", "", choices, parse_usage(raw.get("usage")), dialect=NAME)
    except Malformed as error:
        raise FramingError(f"not a reply of the Converse API: {error}") from None


def render_reply(reply: Reply) -> bytes:
    """A whole reply."""
    choice = reply.choices[0] if reply.choices else Choice(())
    own = reply.dialect == NAME
    extra = {"metrics": NO_METRICS, **(choice.extra if own else NO_EXTRA)}
    reason = stop_reason(choice.finish_reason, choice.stop_sequence, extra, refused=refuses(choice.parts))
    extra.pop("stopReason", None)
    said = [part for part in choice.parts if not is_blank(part, own=own)]
    blocks = array(render_blocks(said, own=own, carries=lambda part: in_reply(part, own=own)))
    raw = {
        "metrics": dumps(extra.pop("metrics")),
        "output": b'{"message":{"content":%b,"role":"assistant"}}' % blocks,
        "stopReason": dumps(reason),
        "usage": dumps(usage_object(reply.usage, own=own)),
    }
    return json_object({}, raw, extra)


def refuses(parts: Iterable[Part]) -> bool:
    """Whether there is a refusal among these parts."""
    return any(isinstance(part, RefusalPart) for part in parts)
