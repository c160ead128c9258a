"""Ollama's chat API: ``POST .../api/chat``, and the calls beside it.

Owns the messages and tools of a request; what it has beside them, replies and streams have files of their own beside
this one.

A request that came in this dialect is rendered with everything that it had, unknown fields included; only white space,
the order of members and equivalent forms may differ (``:latest``, ``stop`` as a text, empty texts and members that are
null). A tool's result is told the id of the call that it belongs to: if it has none, that is the first call of its name
that has no result yet, or the first one at all. Where a call has no id either, its name stands for it.

A request from another dialect is rendered so that the live API takes it:

* tool results become ``tool`` messages, right after the calls that they belong to; what else their message says follows
  as a message of its role. That a tool failed is told by its words alone;
* the texts of a message become one string; its pictures stand apart from it, so where they stood between texts is lost;
* the reasoning of an assistant is its ``thinking``, but neither its signature nor its encrypted form;
* ``developer`` messages are the system's; names of authors are left out, as are the tool choice, whether calls may be
  parallel, ``n``, and tools of another vendor's own;
* the schema of a reply is its ``format``, without its name;
* any part that has no place where it stands becomes text (``degrade``): files that are no pictures, pictures by URL,
  refusals, reasoning of others, parts that only the other dialect knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from motive_core.dialects.base import NO_HEAD, RequestHead, SideCall, WireReply
from motive_core.dialects.degrade import parts_as_text
from motive_core.dialects.fields import Malformed, dumps, json_object, member, optional, rest, typed, without_null
from motive_core.dialects.ollama_dialect import OllamaDialect
from motive_core.dialects.ollama_parts import (
    CHAT,
    bad_request,
    loads_calls,
    parse_call,
    parse_images,
    render_call,
    render_image,
)
from motive_core.dialects.ollama_reply import CHAT_SHAPE
from motive_core.dialects.ollama_settings import render_name, render_settings, request_of
from motive_core.dialects.ollama_side import serve, serves
from motive_core.dialects.results import OpenCalls
from motive_core.ir import (
    NO_EXTRA,
    BlobPart,
    ChatRequest,
    Json,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)

_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_FIELDS: Final = frozenset({"role", "content", "images"})
_MESSAGE_FIELDS: Final[Mapping[Role, frozenset[str]]] = {
    "assistant": _FIELDS | {"thinking", "tool_calls"},
    "tool": _FIELDS | {"tool_name", "tool_call_id"},
}
"""Members of a message that are taken, by its role."""
_NO_PARAMETERS: Final = {"type": "object", "properties": {}}


class OllamaChat(OllamaDialect):
    """The chat API, as servers since 0.3 speak it, the newest of August 2026 included."""

    name = CHAT
    shape = CHAT_SHAPE
    path = "/api/chat"
    endpoints = ("POST /api/chat", "GET /api/tags", "POST /api/show")

    def parse_request(self, body: bytes, head: RequestHead = NO_HEAD) -> ChatRequest:
        try:
            raw = typed(loads_calls(body), dict, "")
            tools = optional(raw, "tools", list, "") or ()
            return request_of(
                CHAT,
                raw,
                body,
                _parse_messages(optional(raw, "messages", list, "") or []),
                [_parse_tool(tool, f"tools[{number}]") for number, tool in enumerate(tools)],
                "messages",
                "tools",
            )
        except Malformed as error:
            raise bad_request(error) from None

    def render_request(self, request: ChatRequest) -> bytes:
        own = request.dialect == CHAT
        members, extra = render_settings(request, own=own)
        messages = _render_messages(request.messages, own=own)
        raw = {"messages": b"[" + b",".join(messages) + b"]"}
        if tools := [_render_tool(tool, own=own) for tool in request.tools if own or tool.raw is None]:
            raw["tools"] = dumps(tools)
        return json_object({"model": render_name(request)}, raw | members, extra)

    def serves(self, head: RequestHead) -> bool:
        return serves(head)

    def serve(self, call: SideCall) -> WireReply:
        return serve(call)


def _parse_messages(raw: list[Json]) -> list[Message]:
    calls = OpenCalls()  # of the latest assistant message
    return [_parse_message(message, f"messages[{number}]", calls) for number, message in enumerate(raw)]


def _parse_message(raw: Json, where: str, calls: OpenCalls) -> Message:
    raw = typed(raw, dict, where)
    told = member(raw, "role", str, where).lower()
    # Templates of some models know more roles (Granite's "control"): all of them say something about the conversation.
    role: Role = _ROLES.get(told, "system")
    text = optional(raw, "content", str, where)
    parts: tuple[Part, ...] = (TextPart(text),) if text else ()
    if raw.get("images") is not None:
        parts += parse_images(raw, where)
    match role:
        case "assistant":
            if thinking := optional(raw, "thinking", str, where):
                parts = (ReasoningPart(thinking), *parts)
            said = optional(raw, "tool_calls", list, where) or ()
            made = [parse_call(call, f"{where}.tool_calls[{number}]") for number, call in enumerate(said)]
            parts += tuple(made)
            calls.clear()
            for call in made:
                calls.add(call.call_id, call.name)
        case "tool":
            name = optional(raw, "tool_name", str, where) or None
            call_id = optional(raw, "tool_call_id", str, where)
            if call_id:
                calls.take(call_id)
            else:
                call_id = (calls.take_first() if name is None else calls.take_named(name)) or name or ""
            parts = (ToolResultPart(call_id, parts, name),)
        case _:
            pass
    known = _MESSAGE_FIELDS.get(role, _FIELDS)
    extra = {key: value for key, value in raw.items() if key not in known and value is not None}
    if told not in _ROLES:
        extra["role"] = told
    return Message(role, parts, extra=extra or NO_EXTRA)


def _parse_tool(raw: Json, where: str) -> Tool:
    raw = typed(raw, dict, where)
    function = optional(raw, "function", dict, where)
    if function is None:
        name = next((name for name in (raw.get("name"), raw.get("type")) if isinstance(name, str)), "tool")
        return Tool(name, raw=raw)
    inside = f"{where}.function"
    extra = without_null(rest(raw, "function"))
    if extra.get("type") == "function":
        del extra["type"]
    if inner := without_null(rest(function, "name", "description", "parameters")):
        extra["function"] = inner
    return Tool(
        member(function, "name", str, inside),
        optional(function, "description", str, inside),
        function.get("parameters"),
        extra=extra or NO_EXTRA,
    )


def _render_tool(tool: Tool, *, own: bool) -> Json:
    if tool.raw is not None:
        return tool.raw
    extra = dict(tool.extra) if own else {}
    parameters = tool.schema if own or tool.schema is not None else _NO_PARAMETERS
    function = without_null({"name": tool.name, "description": tool.description, "parameters": parameters})
    return {"type": "function", "function": {**function, **(extra.pop("function", None) or {})}, **extra}


def _render_messages(messages: Iterable[Message], *, own: bool) -> list[bytes]:
    rendered: list[bytes] = []
    names: dict[str, str] = {}
    for message in messages:
        names |= {part.call_id: part.name for part in message.parts if isinstance(part, ToolCallPart)}
        results = [part for part in message.parts if isinstance(part, ToolResultPart)]
        extra = message.extra if own else NO_EXTRA
        for result in results:
            name = result.name if own else result.name or names.get(result.call_id)
            told = without_null({"tool_name": name, "tool_call_id": None if result.call_id == name else result.call_id})
            told = {key: value for key, value in told.items() if value}
            rendered.append(_render_message("tool", result.content, {**told, **extra}, own=own))
        parts = tuple([part for part in message.parts if not isinstance(part, ToolResultPart)])
        if parts or not results:
            # What stands beside the results of a ``tool`` message is what the user says.
            role = "user" if message.role == "tool" else message.role
            role = "system" if role == "developer" and not own else role
            rendered.append(_render_message(role, parts, extra, own=own))
    return rendered


def _render_message(role: str, parts: tuple[Part, ...], extra: Mapping[str, Json], *, own: bool) -> bytes:
    thoughts: list[str] = []
    texts: list[Part] = []
    images: list[str] = []
    calls: list[bytes] = []
    for part in parts:
        match part:
            case ReasoningPart(text) if role == "assistant":
                thoughts.append(text)
            case ToolCallPart() if role == "assistant":
                calls.append(render_call(part, own=own))
            case BlobPart() if (image := render_image(part, own=own)) is not None:
                images.append(image)
            case _:
                texts.append(part)
    message: dict[str, Json] = {"role": role, "content": parts_as_text(texts)}
    if thinking := "\n\n".join([text for text in thoughts if text]):
        message["thinking"] = thinking
    if images:
        message["images"] = images
    if "role" in extra:
        message["role"] = extra["role"]
    raw = {"tool_calls": b"[" + b",".join(calls) + b"]"} if calls else {}
    return json_object(message, raw, rest(extra, "role"))
