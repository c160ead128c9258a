"""What the requests of ``/api/chat`` and ``/api/generate`` have in common beside what is said.

Owns ``stream``, ``format``, ``options``, ``keep_alive``, and the difference between asking and loading. Knows no
message.

A stream is what a client gets that does not say. Options that the IR has no name for stay in ``extra``, and so does a
negative ``num_predict``, which sets no limit.

A request that asks nothing (no messages, an empty prompt) only loads its model, or unloads it if ``keep_alive`` is 0.
It has no messages in the IR either, and is answered in one piece even where it asks for a stream, as by the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from motive_core.dialects.fields import dumps, optional, typed, without_null
from motive_core.dialects.ollama_parts import parse_name, told_name
from motive_core.ir import NO_EXTRA, ChatRequest, Json, Message, ResponseFormat, Sampling, Tool

SETTINGS: Final = ("model", "stream", "format", "options")
"""Members that are taken here."""


def request_of(
    dialect: str, raw: dict[str, Json], body: bytes, messages: Sequence[Message], tools: Sequence[Tool], *known: str
) -> ChatRequest:
    """The request that says ``messages``. ``known`` are the members that the caller has taken. Raises ``Malformed``."""
    model, variant = parse_name(raw)
    extra = without_null({key: value for key, value in raw.items() if key not in SETTINGS and key not in known})
    stream = optional(raw, "stream", bool, "")
    streams = bool(messages) and stream is not False
    return ChatRequest(
        dialect=dialect,
        model=model,
        messages=tuple(messages),
        stream=streams,
        tools=tuple(tools),
        response_format=_parse_format(raw.get("format"), extra),
        sampling=_parse_options(raw, extra),
        include_usage=streams,
        extra=extra or NO_EXTRA,
        variant=variant,
        raw=body,
    )


def _parse_format(wanted: Json, extra: dict[str, Json]) -> ResponseFormat | None:
    match wanted:
        case None | "":
            return None
        case "json":
            return ResponseFormat("json_object")
        case dict():
            return ResponseFormat("json_schema", schema=wanted)
        case _:
            extra["format"] = wanted
            return None


def _parse_options(raw: Mapping[str, Json], extra: dict[str, Json]) -> Sampling:
    options = without_null(optional(raw, "options", dict, "") or {})
    limit = _whole(options, "num_predict")
    stop = options.pop("stop", None)
    if not isinstance(stop, str):
        stop = () if stop is None else typed(stop, list, "options.stop")
        stop = [typed(one, str, f"options.stop[{number}]") for number, one in enumerate(stop)]
    sampling = Sampling(
        max_tokens=limit if limit is not None and limit >= 0 else None,
        temperature=optional(options, "temperature", float, "options"),
        top_p=optional(options, "top_p", float, "options"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=_whole(options, "seed"),
    )
    for key in ("num_predict", "temperature", "top_p", "seed"):
        value = options.pop(key, None)
        if key == "num_predict" and limit is not None and limit < 0:
            options[key] = value
    if options:
        extra["options"] = options
    return sampling


def _whole(options: Mapping[str, Json], key: str) -> int | None:
    """An integer; the server takes one that is written with a fraction, too."""
    value = options.get(key)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return optional(options, key, int, "options")


def render_settings(request: ChatRequest, *, own: bool) -> tuple[dict[str, bytes], dict[str, Json]]:
    """The members that are taken here but the model, as JSON, and what else is in ``extra``."""
    extra = dict(request.extra) if own else {}
    members = {"stream": b"true" if request.stream else b"false"}
    match request.response_format:
        case ResponseFormat(kind="json_schema", schema=dict(schema)):
            members["format"] = dumps(schema)
        case ResponseFormat(kind="json_schema" | "json_object"):
            members["format"] = b'"json"'
        case _:
            pass
    sampling = request.sampling
    told = {
        "num_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
    }
    if options := {**without_null(told), **(extra.pop("options", None) or {})}:
        members["options"] = dumps(options)
    return members, extra


def render_name(request: ChatRequest) -> str:
    """The model as the client wrote it."""
    return told_name(request, request.model)


def loads_only(request: ChatRequest) -> bool:
    """Whether a request asks nothing, but loads or unloads its model."""
    return not request.messages


def load_reason(request: ChatRequest) -> str:
    """The ``done_reason`` of the reply to such a request."""
    kept = request.extra.get("keep_alive")
    if isinstance(kept, str):  # a duration of Go's: "0", "0s", "1h0m"
        unloads = "0" in kept and not any(digit in kept for digit in "123456789")
    else:
        unloads = isinstance(kept, int | float) and not isinstance(kept, bool) and kept == 0
    return "unload" if unloads else "load"
