"""A Chat Completions request but for its messages, both ways: its settings, tools and format.

Owns what ``openai_chat`` says of requests. Knows no event and no reply.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from motive_core.dialects.fields import Malformed, loads, member, optional, rest, typed, without_null
from motive_core.dialects.openai_chat_hosts import Flavour
from motive_core.dialects.openai_chat_messages import parse_message, render_message
from motive_core.dialects.openai_chat_parts import NAME, nested, unnest
from motive_core.dialects.openai_chat_reply import is_legacy
from motive_core.ir import (
    NO_EXTRA,
    ChatRequest,
    Extra,
    Json,
    ResponseFormat,
    Sampling,
    Tool,
    ToolChoice,
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
_MODES: Final[dict[str, Literal["auto", "none", "required"]]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
}

_CHOICES_LIMIT: Final = 128
"""OpenAI's own bound on ``n``; each choice is a copy of the reply, so there has to be one."""


def parse_model(raw: dict[str, Json], deployment: str | None, extra: dict[str, Json]) -> str:
    """The model of a request: the deployment that its path names, if any. What the body says otherwise is kept in
    ``extra``. Raises ``Malformed``."""
    if deployment is not None:
        if raw.get("model") not in (None, deployment):
            extra["model"] = raw["model"]
        return deployment
    model = member(raw, "model", str, "")
    if not model:
        raise Malformed("model", "Invalid 'model': it must not be empty.", code="invalid_value")
    return model


def parse_count(raw: dict[str, Json], times: int = 1) -> int:
    """How many choices are wanted: ``n``, for each of so many prompts. Raises ``Malformed``."""
    n = optional(raw, "n", int, "")
    if n is not None and n < 1:
        raise Malformed(
            "n", f"Invalid 'n': expected an integer >= 1, but got {n} instead.", code="integer_below_min_value"
        )
    found = (n or 1) * times
    if found > _CHOICES_LIMIT:
        why = f"Invalid 'n': expected an integer <= {_CHOICES_LIMIT}, but got {found} instead."
        raise Malformed("n", why, code="integer_above_max_value")
    return found


def parse_stream_options(raw: dict[str, Json], extra: dict[str, Json]) -> bool:
    """Whether usage is wanted of a stream; other options are kept in ``extra``. Raises ``Malformed``."""
    options = optional(raw, "stream_options", dict, "") or {}
    if more := rest(options, "include_usage"):
        extra["stream_options"] = more
    return optional(options, "include_usage", bool, "stream_options") or False


def render_stream_options(request: ChatRequest, extra: dict[str, Json], *, own: bool) -> dict[str, Json]:
    """The options of a stream, as a member of the body if there are any; takes its own out of ``extra``."""
    options = {**({"include_usage": True} if request.include_usage else {}), **extra.pop("stream_options", {})}
    return {"stream_options": options} if options and (own or request.stream) else {}


def parse_request(body: bytes, deployment: str | None, flavour: Flavour) -> ChatRequest:
    """A request in this flavour, to a deployment if its path names one. Raises ``Malformed``."""
    raw = typed(loads(body), dict, "")
    extra = rest(raw, *_KNOWN)
    model = parse_model(raw, deployment, extra)
    messages = member(raw, "messages", list, "")
    if not messages:
        why = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        )
        raise Malformed("messages", why, code="empty_array")
    tools, choice = _parse_tools(raw, extra)
    return ChatRequest(
        dialect=NAME,
        model=model,
        messages=tuple([parse_message(message, f"messages[{n}]") for n, message in enumerate(messages)]),
        stream=optional(raw, "stream", bool, "") or False,
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=optional(raw, "parallel_tool_calls", bool, ""),
        response_format=_parse_format(raw, extra),
        sampling=parse_sampling(raw, extra),
        n=parse_count(raw),
        include_usage=parse_stream_options(raw, extra),
        extra=extra or NO_EXTRA,
        variant=flavour.name,
        raw=body,
    )


def parse_sampling(raw: dict[str, Json], extra: dict[str, Json]) -> Sampling:
    """``max_tokens`` stays in ``extra`` too: it is the name that older models and many hosts know; so does Mistral's
    ``random_seed``. Raises ``Malformed``."""
    limit = optional(raw, "max_completion_tokens", int, "")
    if (older := optional(raw, "max_tokens", int, "")) is not None:
        extra["max_tokens"] = older
        limit = older if limit is None else limit
    seed = optional(raw, "seed", int, "")
    if seed is None and isinstance(other := extra.get("random_seed"), int) and not isinstance(other, bool):
        seed = other
    stop = raw.get("stop")
    if not isinstance(stop, str):
        stop = [typed(one, str, f"stop[{n}]") for n, one in enumerate(optional(raw, "stop", list, "") or [])]
    return Sampling(
        max_tokens=limit,
        temperature=optional(raw, "temperature", float, ""),
        top_p=optional(raw, "top_p", float, ""),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=seed,
    )


def _parse_format(raw: dict[str, Json], extra: dict[str, Json]) -> ResponseFormat | None:
    """The format of the reply; one of a type that we don't know (a grammar, a regex) stays in ``extra``."""
    wanted = optional(raw, "response_format", dict, "")
    if wanted is None:
        return None
    match wanted.get("type"):
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
            if raw in _MODES:
                return ToolChoice(_MODES[raw])
            return ToolChoice("required" if raw == "any" else "auto", raw=raw)  # Mistral's word
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


def render_request(request: ChatRequest, flavour: Flavour) -> dict[str, Json]:
    """The body that asks for this, of a host of this flavour."""
    own = request.dialect == NAME
    extra = dict(request.extra) if own else {}
    # Reasoning in a content is rendered by its part, so that of others goes where most hosts have it.
    reasoning = "reasoning" if flavour.reasoning == "reasoning" else "reasoning_content"
    spoken = request.messages
    if not own and flavour.limit == "max_tokens":  # who has not the newer name of that, has no developers either
        spoken = tuple([replace(one, role="system") if one.role == "developer" else one for one in spoken])
    messages = [one for said in spoken for one in render_message(said, own=own, reasoning=reasoning)]
    body: dict[str, Json] = {"model": request.model, "messages": messages}
    if request.stream:
        body["stream"] = True
    body |= render_stream_options(request, extra, own=own)
    body |= _render_tools(request, own=own)
    if request.parallel_tool_calls is not None and (own or "tools" in body):
        body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.response_format is not None:
        body["response_format"] = _render_format(request.response_format, own=own)
    # What came in this dialect goes on by the name that it came by.
    body |= render_sampling(request.sampling, extra, "max_completion_tokens" if own else flavour.limit)
    if request.n != 1:
        body["n"] = request.n
    return body | extra


def render_sampling(sampling: Sampling, extra: Extra, limit: str) -> dict[str, Json]:
    """The members that tell the knobs; ``limit`` is the name of the bound on tokens. Those that ``extra`` tells under
    another name are left to it."""
    told: dict[str, Json] = {
        limit: None if sampling.max_tokens == extra.get("max_tokens") else sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": None if sampling.seed == extra.get("random_seed") else sampling.seed,
        "stop": (sampling.stop[0] if len(sampling.stop) == 1 else list(sampling.stop)) if sampling.stop else None,
    }
    return without_null(told)


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
