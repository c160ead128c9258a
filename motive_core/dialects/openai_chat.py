"""OpenAI's Chat Completions API: ``POST .../chat/completions``, as the many hosts that are compatible with it speak it.

Owns requests, errors, model lists and the dialect itself; parts, replies and the two halves of the stream have files of
their own beside this one.

A request that came in this dialect is rendered with everything that it had, unknown fields included; only white space,
the order of members and equivalent forms (a list of one text part for a string, ``reasoning`` for
``reasoning_content``) may differ. The legacy ``functions``, ``function_call`` and role ``function`` are tools, a tool
choice, calls and results like any other, marked in ``extra``; a call's name stands for the id that it does not have.

A request from another dialect is rendered so that the live API takes it:

* tool results become ``tool`` messages, right after the calls that they belong to; what else their message says follows
  as a message of its role;
* that a tool failed is told by its words alone: there is no field for it;
* the texts of a message become one string, unless there are blobs beside them;
* any part that has no place where it stands becomes text (``degrade``): blobs outside of user messages, files by URL,
  another vendor's file ids, parts that only the other dialect knows;
* of reasoning the text is kept, as ``reasoning_content``, but neither its signature nor its encrypted form: they prove
  something to another vendor only;
* tools of another vendor's own are left out: the app could not run them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal, assert_never
from urllib.parse import unquote

from motive_core.dialects.base import NO_HEAD, Decoder, Dialect, Encoder, ModelInfo, RequestHead, SideCall, WireReply
from motive_core.dialects.degrade import as_text, parts_as_text
from motive_core.dialects.fields import Malformed, dumps, loads, member, optional, rest, typed
from motive_core.dialects.openai_chat_decoder import ChatDecoder
from motive_core.dialects.openai_chat_encoder import ChatEncoder
from motive_core.dialects.openai_chat_parts import (
    NAME,
    bad_request,
    nested,
    parse_content,
    parse_said,
    render_blob,
    render_call,
    render_function_call,
    unknown_call,
    unnest,
)
from motive_core.dialects.openai_chat_reply import MESSAGE_FIELDS, error_object, is_legacy, parse_reply, render_reply
from motive_core.errors import MotiveError, NotFoundError
from motive_core.ir import (
    NO_EXTRA,
    BlobPart,
    ChatRequest,
    Json,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
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
    "stream",
    "stream_options",
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "parallel_tool_calls",
    "response_format",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "stop",
    "seed",
    "n",
)
_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_MODES: Final[dict[str, Literal["auto", "none", "required"]]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
}


class OpenAIChat(Dialect):
    """Chat Completions, and the envelope of last resort: most clients understand its errors and its list of models."""

    name = NAME
    default_service = "https://api.openai.com"
    reply_prefix = "chatcmpl-"
    endpoints = ("POST /v1/chat/completions", "GET /v1/models")

    def matches(self, head: RequestHead) -> bool:
        return head.method == "POST" and head.path.rstrip("/").endswith("/chat/completions")

    def speaks(self, head: RequestHead) -> bool:
        return True

    def parse_request(self, body: bytes, head: RequestHead = NO_HEAD) -> ChatRequest:
        try:
            return _parse_request(body)
        except Malformed as error:
            raise bad_request(error) from None

    def render_request(self, request: ChatRequest) -> bytes:
        return dumps(_render_request(request))

    def target(self, request: ChatRequest) -> str:
        return "/v1/chat/completions"

    def parse_reply(self, body: bytes) -> Reply:
        return parse_reply(body)

    def render_reply(self, request: ChatRequest, reply: Reply) -> bytes:
        return render_reply(request, reply)

    def decoder(self) -> Decoder:
        return ChatDecoder()

    def encoder(self, request: ChatRequest) -> Encoder:
        return ChatEncoder(request)

    def render_error(self, error: MotiveError, request_id: str) -> bytes:
        return dumps({"error": error_object(error)})

    def render_models(self, models: Sequence[ModelInfo]) -> bytes:
        return dumps({"object": "list", "data": [_model(model) for model in models]})

    def serves(self, head: RequestHead) -> bool:
        return head.method == "GET" and _MODELS.search(head.path) is not None

    def serve(self, call: SideCall) -> WireReply:
        found = _MODELS.search(call.head.path)
        wanted = unquote(found["model"] or "") if found is not None else ""
        if not wanted:
            return WireReply(200, self.render_models(call.models))
        for model in call.models:
            if model.model == wanted:
                return WireReply(200, dumps(_model(model)))
        raise NotFoundError(f"The model '{wanted}' does not exist", code="model_not_found", param="model")


_MODELS: Final = re.compile(r"(?:\A|/)models(?:/(?P<model>.+))?/?\Z")


def _model(model: ModelInfo) -> dict[str, Json]:
    return {"id": model.model, "object": "model", "created": model.created, "owned_by": model.owned_by}


_CHOICES_LIMIT: Final = 128
"""OpenAI's own bound on ``n``; each choice is a copy of the reply, so there has to be one."""


def _parse_request(body: bytes) -> ChatRequest:
    raw = typed(loads(body), dict, "")
    model = member(raw, "model", str, "")
    if not model:
        raise Malformed("model", "Invalid 'model': it must not be empty.", code="invalid_value")
    messages = member(raw, "messages", list, "")
    if not messages:
        why = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        )
        raise Malformed("messages", why, code="empty_array")
    n = optional(raw, "n", int, "")
    if n is not None and n < 1:
        raise Malformed(
            "n", f"Invalid 'n': expected an integer >= 1, but got {n} instead.", code="integer_below_min_value"
        )
    if n is not None and n > _CHOICES_LIMIT:
        why = f"Invalid 'n': expected an integer <= {_CHOICES_LIMIT}, but got {n} instead."
        raise Malformed("n", why, code="integer_above_max_value")
    extra = rest(raw, *_KNOWN)
    options = optional(raw, "stream_options", dict, "") or {}
    if more := rest(options, "include_usage"):
        extra["stream_options"] = more
    tools, choice = _parse_tools(raw, extra)
    return ChatRequest(
        dialect=NAME,
        model=model,
        messages=tuple([_parse_message(message, f"messages[{n}]") for n, message in enumerate(messages)]),
        stream=optional(raw, "stream", bool, "") or False,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=optional(raw, "parallel_tool_calls", bool, ""),
        response_format=_parse_format(raw, extra),
        sampling=_parse_sampling(raw, extra),
        n=n or 1,
        include_usage=optional(options, "include_usage", bool, "stream_options") or False,
        extra=extra or NO_EXTRA,
        raw=body,
    )


def _parse_sampling(raw: dict[str, Json], extra: dict[str, Json]) -> Sampling:
    """``max_tokens`` stays in ``extra`` too: it is the name that older models and many hosts know."""
    limit = optional(raw, "max_completion_tokens", int, "")
    if (older := optional(raw, "max_tokens", int, "")) is not None:
        extra["max_tokens"] = older
        limit = older if limit is None else limit
    stop = raw.get("stop")
    if not isinstance(stop, str):
        stop = [typed(one, str, f"stop[{n}]") for n, one in enumerate(optional(raw, "stop", list, "") or [])]
    return Sampling(
        max_tokens=limit,
        temperature=optional(raw, "temperature", float, ""),
        top_p=optional(raw, "top_p", float, ""),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=optional(raw, "seed", int, ""),
    )


def _parse_format(raw: dict[str, Json], extra: dict[str, Json]) -> ResponseFormat | None:
    """The format of the reply; one of a type that we don't know (a grammar, a regex) stays in ``extra``."""
    wanted = optional(raw, "response_format", dict, "")
    if wanted is None:
        return None
    match member(wanted, "type", str, "response_format"):
        case "text" | "json_object" as kind:
            return ResponseFormat(kind, extra=rest(wanted, "type") or NO_EXTRA)
        case "json_schema":
            where = "response_format.json_schema"
            inner = member(wanted, "json_schema", dict, "response_format")
            return ResponseFormat(
                "json_schema",
                optional(inner, "name", str, where),
                inner.get("schema"),
                optional(inner, "strict", bool, where),
                extra=nested(wanted, ("type",), "json_schema", "name", "schema", "strict"),
            )
        case _:
            extra["response_format"] = wanted
            return None


def _parse_tools(raw: dict[str, Json], extra: dict[str, Json]) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    tools = optional(raw, "tools", list, "")
    functions = optional(raw, "functions", list, "")
    if functions and not tools:
        if "tool_choice" in raw:
            extra["tool_choice"] = raw["tool_choice"]
        found = [_parse_function(one, f"functions[{n}]") for n, one in enumerate(functions)]
        return tuple(found), _parse_function_choice(raw.get("function_call"))
    # Beside tools, or without functions, the legacy pair means nothing.
    extra |= {key: raw[key] for key in ("functions", "function_call") if key in raw}
    found = [_parse_tool(one, f"tools[{n}]") for n, one in enumerate(tools or [])]
    return tuple(found), _parse_choice(raw.get("tool_choice"))


def _parse_tool(raw: Json, where: str) -> Tool:
    raw = typed(raw, dict, where)
    kind = optional(raw, "type", str, where)
    if kind not in {None, "function"}:
        inner = raw.get(kind or "")
        names = (raw.get("name"), inner.get("name") if isinstance(inner, dict) else None, kind)
        return Tool(next(name for name in names if isinstance(name, str)), raw=raw)
    function = member(raw, "function", dict, where)
    return Tool(
        member(function, "name", str, f"{where}.function"),
        optional(function, "description", str, f"{where}.function"),
        function.get("parameters"),
        extra=nested(raw, ("type",), "function", "name", "description", "parameters"),
    )


def _parse_function(raw: Json, where: str) -> Tool:
    raw = typed(raw, dict, where)
    return Tool(
        member(raw, "name", str, where),
        optional(raw, "description", str, where),
        raw.get("parameters"),
        extra={"functions": rest(raw, "name", "description", "parameters")},
    )


def _parse_choice(raw: Json) -> ToolChoice | None:
    match raw:
        case None:
            return None
        case str():
            return ToolChoice(_MODES[raw]) if raw in _MODES else ToolChoice("auto", raw=raw)
        case {"type": "function", "function": {"name": str(name), **inner}, **outer} if not (inner or outer):
            return ToolChoice("tool", name)
        case {"type": "function", "function": {"name": str(name)}} | {"type": "custom", "custom": {"name": str(name)}}:
            return ToolChoice("tool", name, raw=raw)
        case {"type": "allowed_tools", "allowed_tools": {"mode": "required"}}:
            return ToolChoice("required", raw=raw)
        case dict():
            return ToolChoice("auto", raw=raw)
        case _:
            why = "Invalid type for 'tool_choice': expected a string or an object."
            raise Malformed("tool_choice", why, code="invalid_type")


def _parse_function_choice(raw: Json) -> ToolChoice | None:
    match raw:
        case None:
            return None
        case str() if raw in _MODES:
            return ToolChoice(_MODES[raw])
        case {"name": str(name), **others} if not others:
            return ToolChoice("tool", name)
        case str() | dict():
            return ToolChoice("auto", raw=raw)
        case _:
            why = "Invalid type for 'function_call': expected a string or an object."
            raise Malformed("function_call", why, code="invalid_type")


def _parse_message(raw: Json, where: str) -> Message:
    raw = typed(raw, dict, where)
    told = member(raw, "role", str, where)
    role = _ROLES.get(told)
    if role is None:
        supported = ", ".join(f"'{name}'" for name in _ROLES)
        why = f"Invalid value: '{told}'. Supported values are: {supported}."
        raise Malformed(f"{where}.role", why, code="invalid_value")
    name = optional(raw, "name", str, where)
    content = parse_content(raw.get("content"), f"{where}.content", refusals=role == "assistant")
    if role == "tool":
        if told == "function":
            name = member(raw, "name", str, where)
            call_id, extra = name, {"role": told, **rest(raw, "role", "name", "content")}
        else:
            call_id = member(raw, "tool_call_id", str, where)
            extra = rest(raw, "role", "tool_call_id", "name", "content")
        return Message("tool", (ToolResultPart(call_id, content, name, extra=extra or NO_EXTRA),))
    if role != "assistant":
        return Message(role, content, name, extra=rest(raw, "role", "name", "content") or NO_EXTRA)
    parts, more = parse_said(raw, content, where)
    return Message(role, parts, name, extra={**more, **rest(raw, "name", *MESSAGE_FIELDS)} or NO_EXTRA)


def _render_request(request: ChatRequest) -> dict[str, Json]:
    own = request.dialect == NAME
    extra = dict(request.extra) if own else {}
    messages = [one for message in request.messages for one in _render_message(message, own=own)]
    body: dict[str, Json] = {"model": request.model, "messages": messages}
    if request.stream:
        body["stream"] = True
    options = {**({"include_usage": True} if request.include_usage else {}), **extra.pop("stream_options", {})}
    if options and (own or request.stream):
        body["stream_options"] = options
    body |= _render_tools(request, own=own)
    if request.parallel_tool_calls is not None and (own or "tools" in body):
        body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.response_format is not None:
        body["response_format"] = _render_format(request.response_format, own=own)
    sampling = request.sampling
    if sampling.max_tokens is not None and sampling.max_tokens != extra.get("max_tokens"):
        body["max_completion_tokens"] = sampling.max_tokens
    for key, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p), ("seed", sampling.seed)):
        if value is not None:
            body[key] = value
    if sampling.stop:
        body["stop"] = sampling.stop[0] if len(sampling.stop) == 1 else list(sampling.stop)
    if request.n != 1:
        body["n"] = request.n
    return body | extra


def _render_format(wanted: ResponseFormat, *, own: bool) -> dict[str, Json]:
    extra = wanted.extra if own else NO_EXTRA
    if wanted.kind != "json_schema":
        return {"type": wanted.kind, **extra}
    # The API requires a name; other dialects have none.
    members = {"name": wanted.name or (None if own else "reply"), "schema": wanted.schema, "strict": wanted.strict}
    inner = {key: value for key, value in members.items() if value is not None}
    return {"type": "json_schema", **unnest(extra, "json_schema", inner)}


def _render_tools(request: ChatRequest, *, own: bool) -> dict[str, Json]:
    legacy = own and is_legacy(request)
    tools = [_render_tool(tool, own=own, legacy=legacy) for tool in request.tools if own or tool.raw is None]
    body: dict[str, Json] = {}
    if tools:
        body["functions" if legacy else "tools"] = tools
    choice = request.tool_choice
    if choice is None or not (own or tools):
        return body
    if own and choice.raw is not None:
        wanted = choice.raw
    elif choice.mode != "tool":
        wanted = choice.mode
    elif legacy:
        wanted = {"name": choice.name}
    else:
        wanted = {"type": "function", "function": {"name": choice.name}}
    body["function_call" if legacy else "tool_choice"] = wanted
    return body


def _render_tool(tool: Tool, *, own: bool, legacy: bool) -> Json:
    if tool.raw is not None:
        return tool.raw
    members = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    inner = {key: value for key, value in members.items() if value is not None}
    if legacy:
        return {**inner, **tool.extra.get("functions", {})}
    return {"type": "function", **unnest(tool.extra if own else NO_EXTRA, "function", inner)}


def _render_message(message: Message, *, own: bool) -> Iterable[dict[str, Json]]:
    """The messages that a message is: one, and before it one for each tool result in it."""
    results = [part for part in message.parts if isinstance(part, ToolResultPart)]
    yield from [_render_result(part, own=own) for part in results]
    parts: tuple[Part, ...] = tuple([part for part in message.parts if not isinstance(part, ToolResultPart)])
    if not parts and (results or not own):
        return
    # What stands beside the results of a ``tool`` message is what the user says.
    role = "user" if message.role == "tool" else message.role
    rendered: dict[str, Json] = {"role": role, "content": None}
    if message.name is not None:
        rendered["name"] = message.name
    if role == "assistant":
        parts = _take_members(parts, rendered, own=own)
    rendered["content"] = _render_content(parts, own=own, blobs=own or role == "user", refusals=role == "assistant")
    if not own and rendered["content"] is None and "tool_calls" not in rendered:
        rendered["content"] = ""  # the API takes null beside tool calls only
    yield {**rendered, **message.extra} if own else rendered


def _take_members(parts: tuple[Part, ...], rendered: dict[str, Json], *, own: bool) -> tuple[Part, ...]:
    """Put what an assistant's message has members for into those; gives the parts of its content."""
    content: list[Part] = []
    reasoning: list[str] = []
    calls: list[Json] = []
    refusals = [part for part in parts if isinstance(part, RefusalPart)]
    for part in parts:
        match part:
            case ReasoningPart(text):
                reasoning.append(text)
            case ToolCallPart() if own and "function_call" in part.extra and "function_call" not in rendered:
                rendered["function_call"] = render_function_call(part, own=own)
            case ToolCallPart():
                calls.append(render_call(part, own=own))
            case OpaquePart() if own and (call := unknown_call(part)) is not None:
                calls.append(call)
            case RefusalPart(text) if len(refusals) == 1 and text and not (own and part.extra):
                rendered["refusal"] = text
            case _:
                content.append(part)
    if text := "\n\n".join([text for text in reasoning if text]):
        rendered["reasoning_content"] = text
    if calls:
        rendered["tool_calls"] = calls
    return tuple(content)


def _render_result(part: ToolResultPart, *, own: bool) -> dict[str, Json]:
    content = _render_content(part.content, own=own, blobs=own, refusals=False)
    if not own:
        return {"role": "tool", "tool_call_id": part.call_id, "content": content or ""}
    named = {} if part.name is None else {"name": part.name}
    if part.extra.get("role") == "function":
        return {**named, "content": content, **part.extra}
    return {"role": "tool", "tool_call_id": part.call_id, **named, "content": content, **part.extra}


def _render_content(parts: tuple[Part, ...], *, own: bool, blobs: bool, refusals: bool) -> str | list[Json] | None:
    """A ``content``: null for none, a string for texts, else a list of parts. ``blobs`` and ``refusals``: such parts
    may stand in it."""
    match parts:
        case ():
            return None
        case (TextPart(text, extra=extra),) if not (own and extra):
            return text
        case _:
            items = [_render_part(part, own=own, blobs=blobs, refusals=refusals) for part in parts]
            if not own and all(item["type"] == "text" for item in items):
                return parts_as_text(parts)
            return items


def _render_part(part: Part, *, own: bool, blobs: bool, refusals: bool) -> dict[str, Json]:
    match part:
        case TextPart(text):
            return {"type": "text", "text": text, **(part.extra if own else {})}
        case BlobPart() if blobs and (blob := render_blob(part, own=own)) is not None:
            return blob
        case RefusalPart(text) if refusals:
            return {"type": "refusal", "refusal": text, **(part.extra if own else {})}
        case OpaquePart(dialect, dict(raw)) if own and dialect == NAME:
            return raw
        case BlobPart() | RefusalPart() | OpaquePart() | ReasoningPart() | ToolCallPart() | ToolResultPart():
            return {"type": "text", "text": as_text(part)}
        case _:
            assert_never(part)
