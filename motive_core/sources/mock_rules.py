"""What the ``mock`` source says to a call.

Owns the choice of a rule, and how its settings become a reply: words, reasoning, calls of tools. A tool's result is
answered in words, unless a rule asks for that very result: an app would go on for ever otherwise.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pydantic import JsonValue

from motive_core.estimate import estimate_usage, text_tokens
from motive_core.ir import ChatRequest, Choice, Part, ReasoningPart, Reply, TextPart, Tool, ToolCallPart
from motive_core.settings.patterns import fill
from motive_core.sources.mock_calls import Condition, Facts
from motive_core.sources.mock_schema import NoInstanceError, instance_of
from motive_core.sources.mock_settings import MockRule, MockToolCall, MockWords
from motive_core.stream import text_of

logger = logging.getLogger(__name__)

_MOST_CHOICES: Final = 128
"""As many as OpenAI allows."""
_MOST_CHARACTERS: Final = 64 * 1024 * 1024
"""Of all choices but the first: what one call may ask for times what it may send."""
_CALL_ID_BITS: Final = 96
_SCALAR: Final = re.compile(r"true|false|-?(?:0|[1-9]\d{0,300})(?:\.\d{1,300})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
NO_REPLY: Final = Reply("", "", ())


class Rules:
    """The rules of one source, and where each is in its list of texts. ``words`` is what is said to calls that none
    takes."""

    def __init__(self, words: MockWords, rules: Sequence[MockRule]) -> None:
        self._rules = [(Condition(rule.when), rule) for rule in rules]
        self._words = words
        self._turns: dict[int, int] = {}

    def reply(self, facts: Facts) -> tuple[int | None, Reply]:
        """The rule that takes this call, by its place from 1, and the reply. To be asked once a call."""
        for place, (condition, rule) in enumerate(self._rules, 1):
            if (groups := condition.match(facts)) is not None:
                return place, self._say(facts, rule, place, groups, calls_again=condition.asks_for_results)
        return None, self._say(facts, self._words, 0, {}, calls_again=False)

    def _say(
        self, facts: Facts, words: MockWords, place: int, groups: Mapping[str, str], *, calls_again: bool
    ) -> Reply:
        request = facts.request
        may_call = calls_again or not facts.brings_results
        choices: list[Choice] = []
        said = 0
        for number in range(min(max(1, request.n), _MOST_CHOICES)):
            values = {**facts.values(number), **groups}
            parts: list[Part] = []
            if words.reasoning is not None:
                parts.append(ReasoningPart(fill(words.reasoning, values)))
            calls = _calls(facts, words, values, number) if may_call else []
            parts += calls or [TextPart(self._text(facts, words, place, values))]
            said += sum(len(text_of(part)) for part in parts)
            if choices and said > _MOST_CHARACTERS:
                break
            choices.append(Choice(tuple(parts), words.finish_reason or ("tool_calls" if calls else "stop")))
        usage = estimate_usage(request, choices)
        thoughts = [one.text for choice in choices for one in choice.parts if isinstance(one, ReasoningPart)]
        return Reply("", "", tuple(choices), replace(usage, reasoning_tokens=text_tokens("".join(thoughts))))

    def _text(self, facts: Facts, words: MockWords, place: int, values: Mapping[str, str]) -> str:
        if words.text is not None:
            return words.text
        if words.texts:
            turn = self._turns.get(place, 0)
            self._turns[place] = turn + 1
            return words.texts[turn % len(words.texts)]
        if words.template is not None:
            return fill(words.template, values)
        return _fitting(facts.request, facts.message)


def _fitting(request: ChatRequest, text: str) -> str:
    """A text that nobody has set, as the JSON that the app demands, if it does."""
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return text
    if wanted.kind == "json_object":
        return _json({"message": text})
    return _json(_instance(wanted.schema))


def _calls(facts: Facts, words: MockWords, values: Mapping[str, str], choice: int) -> list[Part]:
    """The tools that are called in the place of words."""
    request = facts.request
    asked: Sequence[MockToolCall] = words.tool_calls
    is_said = words.text is not None or words.texts or words.template is not None
    if not asked and (words.call is not None or (not is_said and _demands_call(request))):
        tool = _tool(request)
        asked = (MockToolCall(name=tool.name),) if tool is not None else ()
    chance = facts.chance(f"calls {choice}")
    return [
        ToolCallPart(f"call_{chance.getrandbits(_CALL_ID_BITS):024x}", one.name, _arguments(request, one, values))
        for one in asked
    ]


def _demands_call(request: ChatRequest) -> bool:
    return request.tool_choice is not None and request.tool_choice.mode in ("required", "tool")


def _tool(request: ChatRequest) -> Tool | None:
    """The tool to call where nobody says which: the one that the app demands, else its first."""
    choice = request.tool_choice
    if choice is not None and choice.mode == "none":
        return None
    # A vendor's own tools have no schema, and the vendor calls them itself.
    own = [tool for tool in request.tools if tool.raw is None]
    if choice is not None and choice.name is not None:
        own = [tool for tool in own if tool.name == choice.name]
    return own[0] if own else None


def _arguments(request: ChatRequest, call: MockToolCall, values: Mapping[str, str]) -> str:
    if isinstance(call.arguments, str):
        return fill(call.arguments, values)
    schema = next((tool.schema for tool in request.tools if tool.name == call.name), None)
    if call.arguments is not None:
        return _json(_filled(dict(call.arguments), values, schema))
    instance = _instance(schema) if schema is not None else {}
    return _json(instance if isinstance(instance, dict) else {})


def _filled(value: JsonValue, values: Mapping[str, str], schema: object) -> JsonValue:
    """A value of the configuration, in which every scalar is a text, as the one of JSON that the schema asks for."""
    known = schema if isinstance(schema, Mapping) else {}
    if isinstance(value, str):
        return _as_meant(value, fill(value, values), known)
    if isinstance(value, dict):
        members = known.get("properties")
        members = members if isinstance(members, Mapping) else {}
        return {name: _filled(one, values, members.get(name)) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, values, known.get("items")) for one in value]
    return value


def _as_meant(written: str, text: str, schema: Mapping[str, object]) -> JsonValue:
    """A text as the number or the truth value that the schema wants; where it is silent, if it was written as one."""
    options = schema.get("anyOf", schema.get("oneOf"))
    schemas = [schema, *(options if isinstance(options, list) else ())]
    told = [one["type"] for one in schemas if isinstance(one, Mapping) and "type" in one]
    kinds = [kind for one in told for kind in (one if isinstance(one, list) else [one])]
    if "string" in kinds or _SCALAR.fullmatch(text if kinds else written) is None:
        return text
    value: JsonValue = json.loads(text)
    # What is too large for a number would be written as one that no JSON has.
    return text if isinstance(value, float) and not math.isfinite(value) else value


def _instance(schema: object) -> JsonValue:
    try:
        return instance_of(schema)
    except NoInstanceError as error:
        logger.info("no instance of a schema found reason=%s", error)
        return {}


def _json(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)
