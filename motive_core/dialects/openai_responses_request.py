"""A request of the Responses API: its input, its tools and its settings.

Owns the body of ``POST .../responses``, both ways. Items have a file of their own. Knows no reply.

``instructions`` is a system message before all others, marked so in its ``extra``: it is not part of the conversation
that a reply is kept with. A request that was put together from a kept reply remembers the id of that in
``extra["previous_response_id"]``, for its own reply to tell; it is never on the wire again.

What degrades in a request of another dialect is said in ``openai_responses``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from motive_core.dialects.degrade import parts_as_text
from motive_core.dialects.fields import Malformed, loads, member, optional, rest, typed
from motive_core.dialects.openai_responses_contents import NAME, parse_content, render_blob, render_content
from motive_core.dialects.openai_responses_items import (
    CALL_TEXTS,
    RESULTS,
    item_type,
    parse_call,
    parse_message,
    parse_reasoning,
    parse_result,
    render_result,
    render_said,
)
from motive_core.ir import (
    NO_EXTRA,
    BlobPart,
    ChatRequest,
    Json,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    ResponseFormat,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

PREVIOUS: Final = "previous_response_id"

_KNOWN: Final = (
    "model",
    "input",
    "instructions",
    "stream",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "max_output_tokens",
    "temperature",
    "top_p",
    "store",
    PREVIOUS,
)
_ROLES: Final[Mapping[str, Role]] = {
    "assistant": "assistant",
    "system": "system",
    "developer": "developer",
    "user": "user",
}
_MODES: Final[Mapping[str, Literal["auto", "none", "required"]]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
}
_INSTRUCTIONS: Final = {"instructions": True}
_MIN_TOKENS: Final = 16
"""The least ``max_output_tokens`` that the API takes."""

_DEVELOPER_ITEMS: Final = frozenset({"additional_tools", "configuration_update"})
_USER_ITEMS: Final = frozenset({"mcp_approval_response", "compaction_trigger"})
"""Items that an app adds for itself; the results of tools that it ran are such items, too. All others that we don't
know, references to earlier items among them, are taken for what a model said."""


def is_instructions(message: Message) -> bool:
    """Whether a message of a request of this dialect is its ``instructions``."""
    return message.extra.get("instructions") is True and message.role == "system"


def parse_request(body: bytes, *, counted: bool = False) -> ChatRequest:
    """A request. ``counted``: only its tokens are to be counted, so that it need not have a model or an input. Raises
    ``Malformed``."""
    raw = typed(loads(body), dict, "")
    model = optional(raw, "model", str, "") or "" if counted else member(raw, "model", str, "")
    if not model and not counted:
        raise Malformed("model", "Invalid 'model': it must not be empty.", code="invalid_value")
    extra = rest(raw, *_KNOWN)
    if raw.get("store") is True:
        extra["store"] = True
    stream = optional(raw, "stream", bool, "") or False
    return ChatRequest(
        dialect=NAME,
        model=model,
        messages=(*_parse_instructions(raw, extra), *_parse_input(raw, counted=counted)),
        stream=stream,
        tools=tuple([_parse_tool(one, f"tools[{n}]") for n, one in enumerate(optional(raw, "tools", list, "") or ())]),
        tool_choice=_parse_choice(raw.get("tool_choice")),
        parallel_tool_calls=optional(raw, "parallel_tool_calls", bool, ""),
        response_format=_parse_format(raw, extra),
        sampling=Sampling(
            max_tokens=optional(raw, "max_output_tokens", int, ""),
            temperature=optional(raw, "temperature", float, ""),
            top_p=optional(raw, "top_p", float, ""),
        ),
        include_usage=stream,
        previous=optional(raw, PREVIOUS, str, "") or None,
        store=optional(raw, "store", bool, "") is not False,
        extra=extra or NO_EXTRA,
        raw=body,
    )


def _parse_instructions(raw: Mapping[str, Json], extra: dict[str, Json]) -> Iterable[Message]:
    text = optional(raw, "instructions", str, "")
    if text:
        yield Message("system", (TextPart(text),), extra=_INSTRUCTIONS)
    elif text is not None:
        extra["instructions"] = text


def _parse_input(raw: Mapping[str, Json], *, counted: bool) -> list[Message]:
    told = raw.get("input")
    if isinstance(told, str):
        return [Message("user", (TextPart(told),))]
    # The rest may be a template (``prompt``), or what the service has kept.
    alone = not (counted or raw.get("prompt") or raw.get(PREVIOUS) or raw.get("conversation"))
    if told is None and not alone:
        return []
    items = member(raw, "input", list, "")
    if not items and alone:
        why = "Invalid 'input': empty array. Expected an array with minimum length 1, but got an empty array instead."
        raise Malformed("input", why, code="empty_array")
    return parse_items(items)


def parse_items(items: list[Json]) -> list[Message]:
    """Items of an input as messages: what a model said in a row is one. Raises ``Malformed``."""
    messages: list[Message] = []
    said: list[Part] = []
    after_message = False
    for number, one in enumerate(items):
        where = f"input[{number}]"
        raw = typed(one, dict, where)
        kind = item_type(raw, where)
        message = _parse_asked(raw, kind, where)
        if message is not None:
            if said:
                messages.append(Message("assistant", tuple(said)))
                said = []
            messages.append(message)
            after_message = False
        else:
            said += _parse_said(raw, kind, where, after_message=after_message)
            after_message = kind == "message"
    if said:
        messages.append(Message("assistant", tuple(said)))
    return messages


def _parse_asked(raw: dict[str, Json], kind: str, where: str) -> Message | None:
    """An item that the app added as a message; None for what a model said."""
    if kind == "message":
        told = member(raw, "role", str, where)
        role = _ROLES.get(told)
        if role is None:
            *some, last = [f"'{name}'" for name in _ROLES]
            why = f"Invalid value: '{told}'. Supported values are: {', '.join(some)}, and {last}."
            raise Malformed(f"{where}.role", why, code="invalid_value")
        if role == "assistant":
            return None
        extra = rest(raw, "type", "role", "content")
        return Message(role, parse_content(raw.get("content"), f"{where}.content"), extra=extra or NO_EXTRA)
    if kind in RESULTS:
        return Message("tool", (parse_result(raw, where),))
    if kind in _DEVELOPER_ITEMS:
        return Message("developer", (OpaquePart(NAME, raw),))
    if kind in _USER_ITEMS or kind.endswith("_output"):
        return Message("user", (OpaquePart(NAME, raw),))
    return None


def _parse_said(raw: dict[str, Json], kind: str, where: str, *, after_message: bool) -> list[Part]:
    if kind == "message":
        members = rest(raw, "type", "role", "content")
        return parse_message(raw, members, where, after_message=after_message)
    if kind in CALL_TEXTS:
        return [parse_call(raw, rest(raw, "type", "call_id", "name", CALL_TEXTS[kind]), where)]
    if kind == "reasoning":
        members = rest(raw, "type", "summary", "content", "encrypted_content")
        if not raw.get("content") and "content" in raw:
            members["content"] = raw["content"]
        part = parse_reasoning(raw, members, where)
        if part.extra or part.signature:
            return [part]
        # So that it is told from reasoning that was made here.
        return [ReasoningPart(part.text, extra={"summary": raw.get("summary")})]
    return [OpaquePart(NAME, raw)]


def _parse_tool(raw: Json, where: str) -> Tool:
    raw = typed(raw, dict, where)
    kind = optional(raw, "type", str, where) or "function"
    if kind != "function":
        names = (raw.get("name"), raw.get("server_label"), kind)
        return Tool(next(name for name in names if isinstance(name, str)), raw=raw)
    known = ("type", "name", "description", *(["parameters"] if raw.get("parameters") is not None else []))
    return Tool(
        member(raw, "name", str, where),
        optional(raw, "description", str, where),
        raw.get("parameters"),
        extra=rest(raw, *known) or NO_EXTRA,
    )


def _parse_choice(raw: Json) -> ToolChoice | None:
    match raw:
        case None:
            return None
        case str():
            return ToolChoice(_MODES[raw]) if raw in _MODES else ToolChoice("auto", raw=raw)
        case {"type": "function", "name": str(name), **others} if not others:
            return ToolChoice("tool", name)
        case {"type": "function" | "custom", "name": str(name)}:
            return ToolChoice("tool", name, raw=raw)
        case {"type": "allowed_tools", "mode": "required"}:
            return ToolChoice("required", raw=raw)
        case dict():
            return ToolChoice("auto", raw=raw)
        case _:
            why = "Invalid type for 'tool_choice': expected a string or an object."
            raise Malformed("tool_choice", why, code="invalid_type")


def _parse_format(raw: Mapping[str, Json], extra: dict[str, Json]) -> ResponseFormat | None:
    """The format of the reply; one of a type that we don't know stays in ``extra``, as do other members of ``text``."""
    text = optional(raw, "text", dict, "")
    if text is None:
        return None
    if more := rest(text, "format"):
        extra["text"] = more
    wanted = optional(text, "format", dict, "text")
    if wanted is None:
        return None
    where = "text.format"
    match member(wanted, "type", str, where):
        case "text" | "json_object" as kind:
            return ResponseFormat(kind, extra=rest(wanted, "type") or NO_EXTRA)
        case "json_schema":
            return ResponseFormat(
                "json_schema",
                optional(wanted, "name", str, where),
                wanted.get("schema"),
                optional(wanted, "strict", bool, where),
                extra=rest(wanted, "type", "name", "schema", "strict") or NO_EXTRA,
            )
        case _:
            extra["text"] = text
            return None


# Out.


def render_request(request: ChatRequest) -> dict[str, Json]:
    """The body that asks for this."""
    own = request.dialect == NAME
    extra = rest(request.extra, PREVIOUS, "text") if own else {}
    body: dict[str, Json] = {"model": request.model}
    messages = request.messages
    if own and messages and is_instructions(messages[0]):
        body["instructions"] = messages[0].text
        messages = messages[1:]
    if messages or not own:
        body["input"] = render_items(messages, own=own)
    if request.stream:
        body["stream"] = True
    if request.previous is not None:
        body[PREVIOUS] = request.previous
    if not request.store:
        body["store"] = False
    tools = [render_tool(tool, own=own) for tool in request.tools if own or tool.raw is None]
    if tools:
        body["tools"] = tools
    if request.tool_choice is not None and (own or tools):
        body["tool_choice"] = render_choice(request.tool_choice, own=own)
    if request.parallel_tool_calls is not None and (own or tools):
        body["parallel_tool_calls"] = request.parallel_tool_calls
    if text := render_text(request):
        body["text"] = text
    sampling = request.sampling
    limit = sampling.max_tokens
    if limit is not None and not own:
        limit = max(limit, _MIN_TOKENS)
    settings = {"max_output_tokens": limit, "temperature": sampling.temperature, "top_p": sampling.top_p}
    return {**body, **{key: value for key, value in settings.items() if value is not None}, **extra}


def render_text(request: ChatRequest) -> dict[str, Json]:
    """The ``text`` of a request: the format of its reply, and more."""
    own, wanted = request.dialect == NAME, request.response_format
    text: dict[str, Json] = {}
    if wanted is not None:
        extra = wanted.extra if own else NO_EXTRA
        told: dict[str, Json] = {"type": wanted.kind}
        if wanted.kind == "json_schema":
            # The API requires a name; other dialects have none.
            name = wanted.name or (None if own else "reply")
            members = {"name": name, "schema": wanted.schema, "strict": wanted.strict}
            told |= {key: value for key, value in members.items() if value is not None}
        text["format"] = {**told, **extra}
    more = request.extra.get("text") if own else None
    return {**text, **more} if isinstance(more, dict) else text


def render_tool(tool: Tool, *, own: bool) -> Json:
    """A tool."""
    if tool.raw is not None:
        return tool.raw
    told: dict[str, Json] = {"type": "function", "name": tool.name}
    if tool.description is not None:
        told["description"] = tool.description
    if own:
        return {**told, **({} if tool.schema is None else {"parameters": tool.schema}), **tool.extra}
    # Left to itself the API is strict, which the schemas of other dialects need not allow.
    return {**told, "parameters": tool.schema or {"type": "object", "properties": {}}, "strict": False}


def render_choice(choice: ToolChoice, *, own: bool) -> Json:
    """A tool choice."""
    if own and choice.raw is not None:
        return choice.raw
    return {"type": "function", "name": choice.name} if choice.mode == "tool" else choice.mode


def render_items(messages: Iterable[Message], *, own: bool) -> list[dict[str, Json]]:
    """The items that messages are."""
    items: list[dict[str, Json]] = []
    custom: set[str] = set()
    for message in messages:
        custom.update(part.call_id for part in message.parts if isinstance(part, ToolCallPart) and part.custom)
        if message.role == "assistant":
            items += render_said(message.parts, own=own)
        else:
            items += _render_asked(message, custom, own=own)
    return items


def _render_asked(message: Message, custom: set[str], *, own: bool) -> Iterable[dict[str, Json]]:
    """The items of a message of anybody else: the results of tools, items as they came, and what is said beside
    them."""
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolResultPart):
            yield render_result(part, own=own, custom=part.call_id in custom)
        elif own and isinstance(part, OpaquePart) and isinstance(part.raw, dict) and "type" in part.raw:
            yield part.raw
        else:
            parts.append(part)
    if not parts and (message.parts or not own):
        return
    # What stands beside the results of a ``tool`` message is what the user says.
    role = "user" if message.role == "tool" else message.role
    item: dict[str, Json] = {"type": "message", "role": role, "content": _render_content(parts, role, own=own)}
    yield {**item, **message.extra} if own else item


def _render_content(parts: list[Part], role: str, *, own: bool) -> str | list[Json]:
    if own or (role == "user" and any(isinstance(one, BlobPart) and render_blob(one, own=False) for one in parts)):
        return render_content(parts, own=own)
    return parts_as_text(parts)
