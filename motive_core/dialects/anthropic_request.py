"""A request of the Messages API, both ways; ``anthropic_messages`` says what degrades.

Owns the body and its messages. Takes blocks from ``anthropic_blocks`` and the path of a request by Vertex AI from
``anthropic_vertex``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, Literal

from motive_core.dialects.anthropic_blocks import NAME, loads, parse_content, render_content, rest
from motive_core.dialects.anthropic_vertex import VERSION, Place, is_place
from motive_core.dialects.fields import Malformed, json_object, member, optional, typed
from motive_core.ir import (
    NO_EXTRA,
    BlobPart,
    ChatRequest,
    Json,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

DEFAULT_MAX_TOKENS: Final = 4096
"""For requests of other dialects, which may leave it to the model; here it is required."""

_ROLES: Final[Mapping[str, Role]] = {"user": "user", "assistant": "assistant", "system": "system"}
_CHOICES: Final[Mapping[str, Literal["auto", "none", "required", "tool"]]] = {
    "auto": "auto",
    "any": "required",
    "none": "none",
    "tool": "tool",
}
_CHOICE_TYPES: Final = {mode: name for name, mode in _CHOICES.items()}

_KNOWN: Final = (
    "model",
    "max_tokens",
    "messages",
    "system",
    "stream",
    "tools",
    "tool_choice",
    "stop_sequences",
    "temperature",
    "top_p",
    "output_config",
)

_NO_PARALLEL: Final = {"type": "auto", "disable_parallel_tool_use": True}
_UNNAMED: Final = b'{"model":"",'
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})

type _Turn = tuple[Literal["user", "assistant"], list[Part]]


def parse_request(body: bytes, place: Place | None = None) -> ChatRequest:
    """``place`` is what the path tells, by Vertex AI. Raises ``Malformed``."""
    raw = typed(loads(body), dict, "")
    model = member(raw, "model", str, "") if place is None else place.model
    if not model:
        raise Malformed("model", "String should have at least 1 character")
    turns = member(raw, "messages", list, "")
    if not turns:
        raise Malformed("messages", "at least one message is required")
    messages = [_parse_message(turn, f"messages.{number}") for number, turn in enumerate(turns)]
    if (system := raw.get("system")) is not None:
        messages.insert(0, Message("system", parse_content(system, "system")))
    stream = optional(raw, "stream", bool, "") or (place is not None and place.stream)
    choice, parallel = _parse_choice(optional(raw, "tool_choice", dict, ""))
    stop = optional(raw, "stop_sequences", list, "") or []
    extra = dict(rest(raw, *_KNOWN))
    return ChatRequest(
        dialect=NAME,
        model=model,
        messages=tuple(messages),
        stream=stream,
        tools=tuple([_parse_tool(tool, f"tools.{n}") for n, tool in enumerate(optional(raw, "tools", list, "") or [])]),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=_parse_format(raw, extra),
        sampling=Sampling(
            max_tokens=optional(raw, "max_tokens", int, ""),
            temperature=optional(raw, "temperature", float, ""),
            top_p=optional(raw, "top_p", float, ""),
            stop=tuple([typed(one, str, f"stop_sequences.{number}") for number, one in enumerate(stop)]),
        ),
        include_usage=stream,
        extra=extra or NO_EXTRA,
        variant="" if place is None else place.models,
        raw=body,
    )


def _parse_message(raw: Json, where: str) -> Message:
    raw = typed(raw, dict, where)
    role = _ROLES.get(member(raw, "role", str, where))
    if role is None:
        raise Malformed(f"{where}.role", "Input should be 'user', 'assistant' or 'system'")
    if "content" not in raw:
        raise Malformed(f"{where}.content", "Field required")
    return Message(role, parse_content(raw["content"], f"{where}.content"), extra=rest(raw, "role", "content"))


def _parse_tool(raw: Json, where: str) -> Tool:
    """A client's tool; one of Anthropic's own, which have a versioned type, stays ``raw``."""
    raw = typed(raw, dict, where)
    kind = optional(raw, "type", str, where)
    if kind not in {None, "custom"}:
        return Tool(optional(raw, "name", str, where) or kind or "", raw=raw)
    return Tool(
        member(raw, "name", str, where),
        optional(raw, "description", str, where),
        optional(raw, "input_schema", dict, where),
        extra=rest(raw, "name", "description", "input_schema"),
    )


def _parse_choice(raw: dict[str, Json] | None) -> tuple[ToolChoice | None, bool | None]:
    if raw is None:
        return None, None
    mode = _CHOICES.get(member(raw, "type", str, "tool_choice"))
    disabled = optional(raw, "disable_parallel_tool_use", bool, "tool_choice")
    parallel = None if disabled is None else not disabled
    if mode is None or rest(raw, "type", "name", "disable_parallel_tool_use"):
        return ToolChoice(mode if mode in {"auto", "none", "required"} else "auto", raw=raw), parallel
    return ToolChoice(mode, member(raw, "name", str, "tool_choice") if mode == "tool" else None), parallel


def _parse_format(raw: dict[str, Json], extra: dict[str, Json]) -> ResponseFormat | None:
    """The format of the reply; what else the output config says goes into ``extra``, and so does a format that we
    don't know. The beta's ``output_format`` is one too, and stays where it is."""
    config = optional(raw, "output_config", dict, "") or {}
    if (wanted := _schema_format(config.get("format"))) is not None:
        if others := rest(config, "format"):
            extra["output_config"] = others
        return wanted
    if "output_config" in raw:
        extra["output_config"] = raw["output_config"]
    return _schema_format(raw.get("output_format"))


def _schema_format(raw: Json) -> ResponseFormat | None:
    if isinstance(raw, dict) and raw.get("type") == "json_schema" and "schema" in raw:
        return ResponseFormat("json_schema", schema=raw["schema"], extra=rest(raw, "type", "schema"))
    return None


def render_request(request: ChatRequest) -> bytes:
    """The body that asks for this."""
    if request.dialect == NAME:
        return _render_own(request)
    if not is_place(request.variant):
        return _render_foreign(request)
    # To Vertex AI, where the path names the model.
    body = _render_foreign(replace(request, model="", variant=""))
    return b'{"anthropic_version":"%b",' % VERSION.encode() + body.removeprefix(_UNNAMED)


def _render_own(request: ChatRequest) -> bytes:
    messages = list(request.messages)
    raw: dict[str, bytes] = {}
    if len(messages) > 1 and messages[0].role in _SYSTEM_ROLES and not messages[0].extra:
        raw["system"] = render_content(messages.pop(0).parts, own=True, carries=_in_own)
    raw["messages"] = _array([_own_message(message) for message in messages])
    extra = dict(request.extra)
    if "output_format" not in extra and (wanted := _output_format(request.response_format, own=True)):
        extra["output_config"] = {**(extra.get("output_config") or {}), **wanted}
    head = _head(request, request.sampling, [_own_tool(tool) for tool in request.tools])
    if request.variant:
        del head["model"]
        extra.setdefault("anthropic_version", VERSION)
    return json_object(_with_choice(head, request, own=True), raw, extra)


def _own_message(message: Message) -> bytes:
    role = "system" if message.role in _SYSTEM_ROLES else "user" if message.role == "tool" else message.role
    content = render_content(message.parts, own=True, carries=_in_own)
    return json_object({"role": role}, {"content": content}, message.extra)


def _own_tool(tool: Tool) -> Json:
    if tool.raw is not None:
        return tool.raw
    members = {"name": tool.name, "description": tool.description, "input_schema": tool.schema}
    return {key: value for key, value in members.items() if value is not None} | dict(tool.extra)


def _render_foreign(request: ChatRequest) -> bytes:
    system, turns = _turns(request.messages)
    raw: dict[str, bytes] = {}
    if system:
        raw["system"] = render_content(tuple(system), own=False, carries=_in_system)
    raw["messages"] = _array(
        [
            json_object({"role": role}, {"content": render_content(tuple(parts), own=False, carries=_IN_TURN[role])})
            for role, parts in turns
        ]
    )
    sampling = Sampling(
        max_tokens=request.sampling.max_tokens or DEFAULT_MAX_TOKENS,
        stop=tuple([one for one in request.sampling.stop if one.strip()]),
    )
    head = _head(request, sampling, [_foreign_tool(tool) for tool in request.tools if tool.raw is None])
    wanted = _output_format(request.response_format, own=False)
    return json_object(_with_choice(head, request, own=False), raw, {"output_config": wanted} if wanted else NO_EXTRA)


def _foreign_tool(tool: Tool) -> Json:
    schema = tool.schema if isinstance(tool.schema, dict) else {"properties": {}}
    description = {} if tool.description is None else {"description": tool.description}
    return {"name": tool.name, **description, "input_schema": {"type": "object", **schema}}


def _turns(messages: Iterable[Message]) -> tuple[list[Part], list[_Turn]]:
    """The system prompt and the turns of a conversation from another dialect; the module docstring says how."""
    system: list[Part] = []
    turns: list[_Turn] = []
    for message in messages:
        parts = [_safe_id(part) for part in message.parts if _says_something(part)]
        if message.role in _SYSTEM_ROLES:
            system += parts
        elif parts:
            role: Literal["user", "assistant"] = "assistant" if message.role == "assistant" else "user"
            if turns and turns[-1][0] == role:
                turns[-1][1].extend(parts)
            else:
                turns.append((role, parts))
    for role, parts in turns:
        if role == "user":
            parts.sort(key=lambda part: not isinstance(part, ToolResultPart))
    return ([], [("user", system)]) if system and not turns else (system, turns)


def _says_something(part: Part) -> bool:
    if isinstance(part, TextPart | RefusalPart):
        return bool(part.text.strip())
    return not isinstance(part, ReasoningPart)


def _safe_id(part: Part) -> Part:
    if isinstance(part, ToolCallPart | ToolResultPart):
        return replace(part, call_id=re.sub(r"[^a-zA-Z0-9_-]", "_", part.call_id))
    return part


def _in_own(part: Part) -> bool:
    return True


def _in_system(part: Part) -> bool:
    return isinstance(part, TextPart)


def _in_user_turn(part: Part) -> bool:
    return isinstance(part, TextPart | RefusalPart | BlobPart | ToolResultPart)


def _in_assistant_turn(part: Part) -> bool:
    return isinstance(part, TextPart | RefusalPart | ToolCallPart)


_IN_TURN: Final = {"user": _in_user_turn, "assistant": _in_assistant_turn}


def _head(request: ChatRequest, sampling: Sampling, tools: list[Json]) -> dict[str, Json]:
    """The members of a request's body that stand before the conversation."""
    members: dict[str, Json] = {
        "model": request.model,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop_sequences": list(sampling.stop) or None,
        "stream": request.stream or None,
        "tools": tools or None,
    }
    return {key: value for key, value in members.items() if value is not None}


def _with_choice(head: dict[str, Json], request: ChatRequest, *, own: bool) -> dict[str, Json]:
    """The members with the tool choice, which the API takes only with tools."""
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    if not own:
        names = {tool["name"] for tool in head.get("tools", ())}
        if not names or (choice is not None and choice.mode == "tool" and choice.name not in names):
            return head
    if choice is None:
        return head if parallel is not False else {**head, "tool_choice": _NO_PARALLEL}
    if own and choice.raw is not None:
        return {**head, "tool_choice": choice.raw}
    found: dict[str, Json] = {"type": _CHOICE_TYPES[choice.mode]}
    if choice.mode == "tool":
        found["name"] = choice.name
    if parallel is not None and choice.mode != "none":
        found["disable_parallel_tool_use"] = not parallel
    return {**head, "tool_choice": found}


def _output_format(wanted: ResponseFormat | None, *, own: bool) -> dict[str, Json]:
    if wanted is None or wanted.kind != "json_schema":
        return {}
    return {"format": {"type": "json_schema", "schema": wanted.schema, **(wanted.extra if own else NO_EXTRA)}}


def _array(items: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"
