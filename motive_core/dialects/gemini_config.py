"""What a request of the Gemini API says beside its contents: tools, the tool config and the generation config.

Owns the two ways between these and the IR; schemas are in ``gemini_schema``. Knows no content and no path.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from motive_core.dialects.fields import Malformed, member, optional, rest, typed, without_null
from motive_core.dialects.gemini_parts import camel_object, inner, items
from motive_core.dialects.gemini_schema import json_schema
from motive_core.ir import NO_EXTRA, ChatRequest, Json, ResponseFormat, Sampling, Tool, ToolChoice

CONFIG_FIELDS: Final = (
    "maxOutputTokens",
    "temperature",
    "topP",
    "stopSequences",
    "seed",
    "candidateCount",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
)
"""Members of a generation config that the IR has fields for."""
_PARAMETERS: Final = ("parametersJsonSchema", "parameters")
_RESPONSE: Final = ("responseJsonSchema", "responseSchema")
_MODES: Final[Mapping[str, Literal["auto", "none", "required"]]] = {
    "AUTO": "auto",
    "ANY": "required",
    "NONE": "none",
    "VALIDATED": "auto",
}
_CHOICES_LIMIT: Final = 8
"""The API's own bound on ``candidateCount``; each choice is a copy of the reply, so there has to be one."""
_STOPS_LIMIT: Final = 5

_JSON: Final = "application/json"


def parse_tools(raw: Json) -> Iterable[Tool]:
    """The tools: one for each declaration, and one of Google's own for each other member."""
    for number, one in enumerate(items(raw)):
        where = f"tools[{number}]"
        tool = camel_object(one, where)
        for place, declaration in enumerate(items(tool.get("functionDeclarations"))):
            yield _parse_declaration(declaration, f"{where}.functionDeclarations[{place}]")
        for name, config in rest(tool, "functionDeclarations").items():
            yield Tool(name, raw={name: config})


def _parse_declaration(raw: Json, where: str) -> Tool:
    declaration = camel_object(raw, where)
    extra = rest(declaration, "name", "description", *_PARAMETERS)
    schema, kept = _parse_schema(declaration, _PARAMETERS)
    return Tool(
        member(declaration, "name", str, where),
        optional(declaration, "description", str, where),
        schema,
        extra=extra | kept or NO_EXTRA,
    )


def _parse_schema(value: Mapping[str, Json], keys: tuple[str, str]) -> tuple[Json, dict[str, Json]]:
    """A schema, as JSON Schema; and the members that tell it, but for JSON Schema that stands alone. ``keys``
    are the names of the two kinds of schema, JSON Schema first."""
    kept = {key: value[key] for key in keys if key in value}
    if not kept:
        return None, {}
    key = next(iter(kept))
    schema = json_schema(kept[key])
    if key == keys[0] and len(kept) == 1 and schema == kept[key]:
        return schema, {}
    return schema, kept


def parse_choice(tool_config: Mapping[str, Json]) -> ToolChoice | None:
    """The tool choice of a tool config; None if it has none."""
    if tool_config.get("functionCallingConfig") is None:
        return None
    raw = tool_config["functionCallingConfig"]
    config = inner(tool_config, "functionCallingConfig", "toolConfig")
    told = (optional(config, "mode", str, "toolConfig.functionCallingConfig") or "").upper()
    mode = _MODES.get(told, "auto")
    match items(config.get("allowedFunctionNames")):
        case [] if told in _MODES and told != "VALIDATED" and not rest(config, "mode", "allowedFunctionNames"):
            return ToolChoice(mode)
        case [str(name)] if mode == "required" and not rest(config, "mode", "allowedFunctionNames"):
            return ToolChoice("tool", name)
        case [str(name)] if mode == "required":
            return ToolChoice("tool", name, raw=raw)
        case _:
            return ToolChoice(mode, raw=raw)


def parse_sampling(config: Mapping[str, Json]) -> Sampling:
    """The sampling of a generation config."""
    where = "generationConfig"
    stop = items(config.get("stopSequences"))
    return Sampling(
        max_tokens=_integer(config, "maxOutputTokens", where),
        temperature=_number(config, "temperature", where),
        top_p=_number(config, "topP", where),
        stop=tuple([typed(one, str, f"{where}.stopSequences[{number}]") for number, one in enumerate(stop)]),
        seed=_integer(config, "seed", where),
    )


def parse_count(config: Mapping[str, Json]) -> int:
    """How many candidates are wanted."""
    count = _integer(config, "candidateCount", "generationConfig") or 1
    if not 1 <= count <= _CHOICES_LIMIT:
        why = f"Invalid value for candidateCount: {count}. It must be from 1 to {_CHOICES_LIMIT}."
        raise Malformed("generationConfig.candidateCount", why)
    return count


def _number(config: Mapping[str, Json], key: str, where: str) -> float | None:
    """A number, or the text of one."""
    value = config.get(key)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    return None if value is None else typed(value, float, f"{where}.{key}")


def _integer(config: Mapping[str, Json], key: str, where: str) -> int | None:
    """An integer, the text of one, or a number that is one."""
    value = config.get(key)
    if isinstance(value, str | float):
        number = _number(config, key, where)
        value = int(number) if number is not None and number == int(number) else value
    return None if value is None else typed(value, int, f"{where}.{key}")


def parse_format(config: Mapping[str, Json]) -> tuple[ResponseFormat | None, dict[str, Json]]:
    """The format of the reply, and the members of the config that it does not stand for."""
    told = optional(config, "responseMimeType", str, "generationConfig")
    untold = {} if told else {"responseMimeType": None}
    if told in (None, "", _JSON):
        schema, kept = _parse_schema(config, _RESPONSE)
        if schema is not None:
            return ResponseFormat("json_schema", schema=schema, extra=untold | kept or NO_EXTRA), {}
        return (ResponseFormat("json_object") if told else None), {}
    schemas = {key: config[key] for key in _RESPONSE if key in config}
    if told == "text/plain" and not schemas:
        return ResponseFormat("text"), {}
    # ``text/x.enum`` wants one of some words, which are no JSON.
    return None, {"responseMimeType": told, **schemas}


def render_tools(tools: tuple[Tool, ...], *, own: bool) -> list[Json]:
    """The tools; declarations that follow each other are one."""
    found: list[Json] = []
    declarations: list[Json] | None = None
    for tool in tools:
        if tool.raw is not None:
            if own:
                found.append(tool.raw)
                declarations = None
            continue
        if declarations is None:
            declarations = []
            found.append({"functionDeclarations": declarations})
        extra = tool.extra if own else NO_EXTRA
        schema = None if extra.keys() & set(_PARAMETERS) else tool.schema
        members = {"name": tool.name, "description": tool.description, "parametersJsonSchema": schema}
        declarations.append({**without_null(members), **extra})
    return found


def render_tool_config(request: ChatRequest, *, own: bool) -> dict[str, Json]:
    """The tool config that says the tool choice; empty if there is none that the API would take."""
    choice = request.tool_choice
    if choice is None:
        return {}
    names = {tool.name for tool in request.tools if tool.raw is None}
    if not own and (not names or (choice.mode == "tool" and choice.name not in names)):
        return {}
    if own and choice.raw is not None:
        return {"functionCallingConfig": choice.raw}
    match choice.mode:
        case "tool":
            wanted: dict[str, Json] = {"mode": "ANY", "allowedFunctionNames": [choice.name]}
        case "required":
            wanted = {"mode": "ANY"}
        case mode:
            wanted = {"mode": mode.upper()}
    return {"functionCallingConfig": wanted}


def render_config(request: ChatRequest, *, own: bool) -> dict[str, Json]:
    """The generation config."""
    sampling = request.sampling
    seed, stop, n = sampling.seed, sampling.stop, request.n
    if not own:
        # The API takes 32 bits, five sequences and eight candidates.
        seed = seed if seed is not None and -(2**31) <= seed < 2**31 else None
        stop = tuple([one for one in stop if one])[:_STOPS_LIMIT]
        n = min(n, _CHOICES_LIMIT)
    members: dict[str, Json] = {
        "maxOutputTokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "topP": sampling.top_p,
        "stopSequences": list(stop) or None,
        "seed": seed,
        "candidateCount": n if n != 1 else None,
    }
    return without_null(members) | _format(request.response_format, own=own)


def _format(wanted: ResponseFormat | None, *, own: bool) -> dict[str, Json]:
    if wanted is None:
        return {}
    extra = dict(wanted.extra) if own else {}
    if wanted.kind != "json_schema":
        return {"responseMimeType": _JSON if wanted.kind == "json_object" else "text/plain"}
    told = {} if "responseMimeType" in extra else {"responseMimeType": _JSON}
    found: dict[str, Json] = {key: extra[key] for key in _RESPONSE if key in extra}
    return told | (found or without_null({"responseJsonSchema": wanted.schema}))
