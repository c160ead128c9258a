"""A request of Cohere's Chat API, both ways; ``cohere_chat`` says what degrades.

Owns the body and its messages. Takes content items and tool calls from ``cohere_parts``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from motive_core.dialects.cohere_parts import (
    NAME,
    PLAN,
    call_arguments,
    is_plan,
    parse_calls,
    parse_content,
    plan_text,
    render_call,
    render_content,
    render_item,
    unknown_call,
)
from motive_core.dialects.degrade import parts_as_text
from motive_core.dialects.fields import Malformed, dumps, loads, member, optional, rest, typed
from motive_core.ir import (
    NO_EXTRA,
    ChatRequest,
    Json,
    Message,
    OpaquePart,
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

_KNOWN: Final = (
    "model",
    "messages",
    "documents",
    "stream",
    "tools",
    "tool_choice",
    "response_format",
    "max_tokens",
    "temperature",
    "p",
    "stop_sequences",
    "seed",
)
_ROLES: Final[Mapping[str, Role]] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_CHOICES: Final[Mapping[str, Literal["none", "required"]]] = {"REQUIRED": "required", "NONE": "none"}

_STOP_LIMIT: Final = 5
_TOP_P_RANGE: Final = (0.01, 0.99)
"""What the API takes (SDK: ``v2/client.py``, ``chat``)."""


def parse_request(body: bytes) -> ChatRequest:
    """Raises ``Malformed``."""
    raw = typed(loads(body), dict, "")
    model = member(raw, "model", str, "")
    if not model:
        raise Malformed("model", "it must not be empty")
    turns = member(raw, "messages", list, "")
    if not turns:
        raise Malformed("messages", "there must be at least one message")
    messages = [_parse_message(turn, f"messages[{number}]") for number, turn in enumerate(turns)]
    if documents := optional(raw, "documents", list, ""):
        messages.insert(0, Message("system", (OpaquePart(NAME, {"documents": documents}),)))
    tools = optional(raw, "tools", list, "") or []
    stop = optional(raw, "stop_sequences", list, "") or []
    stream = optional(raw, "stream", bool, "") or False
    extra = rest(raw, *_KNOWN)
    return ChatRequest(
        dialect=NAME,
        model=model,
        messages=tuple(messages),
        stream=stream,
        tools=tuple([_parse_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)]),
        tool_choice=_parse_choice(optional(raw, "tool_choice", str, "")),
        response_format=_parse_format(raw, extra),
        sampling=Sampling(
            max_tokens=optional(raw, "max_tokens", int, ""),
            temperature=optional(raw, "temperature", float, ""),
            top_p=optional(raw, "p", float, ""),
            stop=tuple([typed(one, str, f"stop_sequences[{number}]") for number, one in enumerate(stop)]),
            seed=optional(raw, "seed", int, ""),
        ),
        include_usage=stream,
        extra=extra or NO_EXTRA,
        raw=body,
    )


def _parse_message(raw: Json, where: str) -> Message:
    raw = typed(raw, dict, where)
    told = member(raw, "role", str, where)
    role = _ROLES.get(told)
    if role is None:
        raise Malformed(f"{where}.role", f"it must be one of {', '.join(_ROLES)}, not {told!r}")
    if role != "assistant" and raw.get("content") is None:
        raise Malformed(f"{where}.content", "it is required", "missing")
    content = parse_content(raw.get("content"), f"{where}.content")
    if role == "tool":
        extra = rest(raw, "role", "tool_call_id", "content")
        call_id = member(raw, "tool_call_id", str, where)
        return Message("tool", (ToolResultPart(call_id, content, extra=extra or NO_EXTRA),))
    if role != "assistant":
        return Message(role, content, extra=rest(raw, "role", "content") or NO_EXTRA)
    plan = optional(raw, "tool_plan", str, where)
    plans = [TextPart(plan, extra=PLAN)] if plan else []
    extra = rest(raw, "role", "content", "tool_plan", "tool_calls")
    return Message(role, (*content, *plans, *parse_calls(raw, where)), extra=extra or NO_EXTRA)


def _parse_tool(raw: Json, where: str) -> Tool:
    raw = typed(raw, dict, where)
    kind = optional(raw, "type", str, where)
    if kind not in (None, "function"):
        return Tool(kind or "", raw=raw)
    function = member(raw, "function", dict, where)
    extra = rest(raw, "type", "function")
    if others := rest(function, "name", "description", "parameters"):
        extra["function"] = others
    return Tool(
        member(function, "name", str, f"{where}.function"),
        optional(function, "description", str, f"{where}.function"),
        function.get("parameters"),
        extra=extra or NO_EXTRA,
    )


def _parse_choice(told: str | None) -> ToolChoice | None:
    if told is None:
        return None
    mode = _CHOICES.get(told)
    return ToolChoice("auto", raw=told) if mode is None else ToolChoice(mode)


def _parse_format(raw: dict[str, Json], extra: dict[str, Json]) -> ResponseFormat | None:
    """The format of the reply; one of a type that we don't know stays in ``extra``."""
    wanted = optional(raw, "response_format", dict, "")
    if wanted is None:
        return None
    match member(wanted, "type", str, "response_format"):
        case "json_object" if wanted.get("json_schema") is not None:
            others = rest(wanted, "type", "json_schema")
            return ResponseFormat("json_schema", schema=wanted["json_schema"], extra=others or NO_EXTRA)
        case "text" | "json_object" as kind:
            return ResponseFormat(kind, extra=rest(wanted, "type") or NO_EXTRA)
        case _:
            extra["response_format"] = wanted
            return None


def render_request(request: ChatRequest) -> bytes:
    """The body that asks for this."""
    own = request.dialect == NAME
    messages = [one for message in request.messages for one in _render_message(message, own=own)]
    tools = [_render_tool(tool, own=own) for tool in request.tools if own or tool.raw is None]
    members: dict[str, Json] = {
        "model": request.model,
        "messages": messages,
        "documents": _documents(request.messages) if own else None,
        "stream": request.stream or None,
        "tools": tools or None,
        "tool_choice": _render_choice(request.tool_choice, own=own) if own or tools else None,
        # The API takes no format beside tools (SDK: types/response_format_v2.py).
        "response_format": _render_format(request.response_format, own=own) if own or not tools else None,
        **_render_sampling(request.sampling, own=own),
    }
    members = {key: value for key, value in members.items() if value is not None}
    return dumps(members | dict(request.extra) if own else members)


def _documents(messages: Iterable[Message]) -> list[Json] | None:
    return next((found for message in messages if (found := _documents_of(message)) is not None), None)


def _documents_of(message: Message) -> list[Json] | None:
    """The documents of a request, if this is the message that stands for them."""
    match message.parts:
        case (OpaquePart("cohere-chat", {"documents": list(documents), **others}),) if not others:
            return documents
        case _:
            return None


def _render_sampling(sampling: Sampling, *, own: bool) -> dict[str, Json]:
    top_p, stop, seed = sampling.top_p, list(sampling.stop), sampling.seed
    if not own:
        low, high = _TOP_P_RANGE
        top_p = None if top_p is None else min(max(top_p, low), high)
        stop = [one for one in stop if one][:_STOP_LIMIT]
        seed = None if seed is not None and seed < 0 else seed
    return {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "p": top_p,
        "stop_sequences": stop or None,
        "seed": seed,
    }


def _render_choice(choice: ToolChoice | None, *, own: bool) -> Json:
    if choice is None:
        return None
    if own and choice.raw is not None:
        return choice.raw
    return {"none": "NONE", "required": "REQUIRED", "tool": "REQUIRED"}.get(choice.mode)


def _render_format(wanted: ResponseFormat | None, *, own: bool) -> Json:
    if wanted is None:
        return None
    extra = wanted.extra if own else NO_EXTRA
    if wanted.kind == "json_schema":
        schema = {} if wanted.schema is None else {"json_schema": wanted.schema}
        return {"type": "json_object", **schema, **extra}
    return {"type": wanted.kind, **extra}


def _render_tool(tool: Tool, *, own: bool) -> Json:
    if tool.raw is not None:
        return tool.raw
    extra = dict(tool.extra) if own else {}
    function: dict[str, Json] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if own:
        if tool.schema is not None:
            function["parameters"] = tool.schema
    else:
        schema = tool.schema if isinstance(tool.schema, dict) else {"properties": {}}
        function["parameters"] = {"type": "object", **schema}
    return {"type": "function", "function": {**function, **extra.pop("function", {})}, **extra}


def _render_message(message: Message, *, own: bool) -> Iterable[dict[str, Json]]:
    """The messages that a message is: one, and before it one for each tool result in it."""
    if own and _documents_of(message) is not None:
        return
    results = [part for part in message.parts if isinstance(part, ToolResultPart)]
    for part in results:
        content = render_content(part.content, own=own, images=own)
        result: dict[str, Json] = {"role": "tool", "tool_call_id": part.call_id, "content": content}
        yield {**result, **part.extra} if own else result
    parts: tuple[Part, ...] = tuple([part for part in message.parts if not isinstance(part, ToolResultPart)])
    if not own:
        # The API refuses messages that say nothing.
        parts = tuple([part for part in parts if not _is_empty(part)])
    if not parts and (results or not own):
        return
    extra = message.extra if own else NO_EXTRA
    if message.role == "assistant":
        yield {"role": "assistant", **_said(parts, own=own), **extra}
        return
    # What stands beside the results of a ``tool`` message is what the user says.
    role = "system" if message.role in ("system", "developer") else "user"
    yield {"role": role, "content": render_content(parts, own=own, images=own or role == "user"), **extra}


def _is_empty(part: Part) -> bool:
    if isinstance(part, TextPart | RefusalPart):
        return not part.text.strip()
    return isinstance(part, ReasoningPart) and not part.text


def _said(parts: tuple[Part, ...], *, own: bool) -> dict[str, Json]:
    """What an assistant's message says. A text of another dialect beside tool calls is its ``tool_plan``."""
    calls: list[Json] = []
    plans: list[Part] = []
    content: list[Part] = []
    called = any(isinstance(part, ToolCallPart) for part in parts)
    for part in parts:
        if isinstance(part, ToolCallPart):
            calls.append(render_call(part, call_arguments(part, own=own), own=own))
        elif own and (call := unknown_call(part)) is not None:
            calls.append(call)
        elif is_plan(part) if own else called and not isinstance(part, ReasoningPart):
            plans.append(part)
        else:
            content.append(part)
    said: dict[str, Json] = {}
    if content:
        said["content"] = render_content(tuple(content), own=True, images=True) if own else _foreign_content(content)
    if plans:
        said["tool_plan"] = plan_text(plans)
    if calls:
        said["tool_calls"] = calls
    return said


def _foreign_content(parts: list[Part]) -> Json:
    """Reasoning, each by itself, then all that is said."""
    reasoning = [part for part in parts if isinstance(part, ReasoningPart)]
    text = parts_as_text([part for part in parts if not isinstance(part, ReasoningPart)])
    if not reasoning:
        return text
    items: list[Json] = [render_item(part, own=False) for part in reasoning]
    return [*items, {"type": "text", "text": text}] if text else items
