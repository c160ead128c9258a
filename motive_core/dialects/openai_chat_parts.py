"""Content parts and tool calls of Chat Completions: what its requests, replies and streams have in common.

Owns the two ways between them and the parts of the IR, and the words for what is wrong with a request. Knows no
message, no request and no event. ``SDK`` in these files is ``openai`` for Python, version 3.52.

``extra`` of a part mirrors the wire: members that the IR has no field for, those of the inner object under its name
(``{"image_url": {"detail": "high"}}``). Two marks are written the same way: ``{"function_call": {...}}`` on a call that
came as the legacy ``function_call`` of its message, and an ``OpaquePart`` of ``{"tool_calls": {...}}`` for a tool call
of a type that we don't know. A third is ``{"thinking": {...}}``, on reasoning that stands in the content of an
assistant (Mistral), with what its chunk has beside its text; a signature in it is for that host alone.

Arguments that are an object (which Mistral's API takes) become its text, compact.

A blob by URL without a media type is an image: ``image_url`` does not tell its type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from motive_core.dialects.exact import exact
from motive_core.dialects.fields import TYPE_NAMES, Malformed, member, optional, rest, typed
from motive_core.errors import BadRequestError
from motive_core.ir import (
    NO_EXTRA,
    BlobPart,
    Extra,
    Json,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)

NAME: Final = "openai-chat"
THINKING: Final = "thinking"
"""The type of a chunk of reasoning in a content, and the mark of reasoning that came so."""

FILE_ID: Final = "file-id:"
_AUDIO_TYPES: Final[Mapping[str, str]] = {"mp3": "audio/mpeg"}
"""Formats of ``input_audio`` that are not the second half of their media type."""
_AUDIO_FORMATS: Final = {media_type: name for name, media_type in _AUDIO_TYPES.items()}

_EXPECTED: Final[Mapping[type, str]] = {**TYPE_NAMES, float: "a decimal number"}


def bad_request(error: Malformed) -> BadRequestError:
    """What is wrong with a request, in the words of the API."""
    where = error.where
    match error.fault:
        case "json":
            why, code = (
                f"We could not parse the JSON: {error.why.removeprefix('it is not valid JSON: ')}",
                "invalid_json",
            )
        case "missing":
            why, code = f"Missing required parameter: '{where}'.", "missing_required_parameter"
        case "type" if error.expected is not None and error.got is not None:
            subject = f"Invalid type for '{where}'" if where else "Invalid body"
            got = TYPE_NAMES.get(error.got, "another type")
            why, code = f"{subject}: expected {_EXPECTED[error.expected]}, but got {got} instead.", "invalid_type"
        case _:
            why, code = error.why, error.code
    return BadRequestError(why, code=error.code or code, param=where or None)


def nested(outer: Mapping[str, Json], known: tuple[str, ...], key: str, *inner_known: str) -> Extra:
    """The members that the IR has no field for, those of the inner object ``outer[key]`` under its name."""
    found = rest(outer, *known, key)
    if inner := rest(outer[key], *inner_known):
        found[key] = inner
    return found or NO_EXTRA


def unnest(extra: Extra, key: str, inner: dict[str, Json]) -> dict[str, Json]:
    """The opposite of ``nested``: what goes beside the known members, ``inner`` with what belongs into it included."""
    more = extra.get(key)
    return {**extra, key: {**inner, **more} if isinstance(more, Mapping) else inner}


def parse_content(content: Json, where: str, *, by_assistant: bool = False) -> tuple[Part, ...]:
    """The parts of a ``content``: a string, a list of parts, or null for none. ``by_assistant``: it may have refusals
    and reasoning in it. Raises ``Malformed``."""
    if isinstance(content, str):
        return (TextPart(content),)
    if content is None:
        return ()
    if not isinstance(content, list):
        got = TYPE_NAMES.get(type(content), "another type")
        why = f"Invalid type for '{where}': expected one of a string or array of objects, but got {got} instead."
        raise Malformed(where, why, code="invalid_type")
    return tuple([_parse_part(part, f"{where}[{n}]", by_assistant=by_assistant) for n, part in enumerate(content)])


def _parse_part(raw: Json, where: str, *, by_assistant: bool) -> Part:
    raw = typed(raw, dict, where)
    match member(raw, "type", str, where):
        case "text":
            return TextPart(member(raw, "text", str, where), extra=rest(raw, "type", "text") or NO_EXTRA)
        case "refusal" if by_assistant:
            return RefusalPart(member(raw, "refusal", str, where), extra=rest(raw, "type", "refusal") or NO_EXTRA)
        case "image_url":
            if isinstance(raw.get("image_url"), str):
                raw = {**raw, "image_url": {"url": raw["image_url"]}}
            url = member(member(raw, "image_url", dict, where), "url", str, f"{where}.image_url")
            extra = nested(raw, ("type",), "image_url", "url")
            return from_data_url(url, None, extra) or BlobPart("", url=url, extra=extra)
        case "input_audio" if not isinstance(raw.get("input_audio"), str):  # Mistral's is base64 or a URL, as text
            return parse_audio(raw, where)
        case "file":
            return _parse_file(raw) or OpaquePart(NAME, raw)
        case "thinking" if by_assistant:
            return _parse_thinking(raw) or OpaquePart(NAME, raw)
        case _:
            return OpaquePart(NAME, raw)


def _parse_thinking(raw: dict[str, Json]) -> ReasoningPart | None:
    """A chunk of reasoning; None if there is more than text in it."""
    texts = []
    chunks = raw.get(THINKING)
    for chunk in chunks if isinstance(chunks, list) else (None,):
        match chunk:
            case {"type": "text", "text": str(text), **others} if not others:
                texts.append(text)
            case _:
                return None
    return ReasoningPart("".join(texts), extra={THINKING: rest(raw, "type", THINKING)})


def render_thinking(text: str, extra: Extra = NO_EXTRA) -> dict[str, Json]:
    """A chunk of reasoning; ``extra`` is that of its part."""
    more = extra.get(THINKING)
    chunks = [{"type": "text", "text": text}] if text else []
    return {"type": THINKING, THINKING: chunks, **(more if isinstance(more, Mapping) else {})}


def parse_audio(raw: dict[str, Json], where: str) -> BlobPart:
    """A part of type ``input_audio``. Raises ``Malformed``."""
    sound = member(raw, "input_audio", dict, where)
    data = member(sound, "data", str, f"{where}.input_audio")
    form = member(sound, "format", str, f"{where}.input_audio")
    extra = nested(raw, ("type",), "input_audio", "data", "format")
    return BlobPart(_AUDIO_TYPES.get(form, f"audio/{form}"), data=data, extra=extra)


def _parse_file(raw: dict[str, Json]) -> BlobPart | None:
    """A file as a blob; None if a blob cannot hold it. ``file_data`` is a data URL, or base64 alone; some hosts take an
    ``https:`` URL there."""
    file = raw.get("file")
    if not isinstance(file, dict):
        return None
    file_id, data, name = file.get("file_id"), file.get("file_data"), file.get("filename")
    if not (name is None or isinstance(name, str)):
        return None
    extra = nested(raw, ("type",), "file", "file_id", "file_data", "filename")
    if isinstance(file_id, str) and data is None:
        return BlobPart("", url=FILE_ID + file_id, name=name, extra=extra)
    if not isinstance(data, str) or file_id is not None:
        return None
    if ":" in data:
        return from_data_url(data, name, extra)
    return BlobPart("", data=data, name=name, extra=extra)


def from_data_url(url: str, name: str | None, extra: Extra) -> BlobPart | None:
    """A ``data:`` URL in base64 (RFC 2397) as a blob; None for any other URL."""
    head, comma, data = url.partition(",")
    if not comma or head[:5].lower() != "data:" or head[-7:].lower() != ";base64":
        return None
    return BlobPart(head[5:-7], data=data, name=name, extra=extra)


def render_blob(part: BlobPart, *, own: bool) -> dict[str, Json] | None:
    """The content part that a blob is; None if there is none. ``own``: its ``extra`` and its file ids are this
    dialect's, and it becomes what it came as.

    The API takes sounds as ``wav`` and ``mp3`` only (SDK: ``chat_completion_content_part_input_audio_param.py``), no
    files by URL, and names of files only.
    """
    extra = part.extra if own else NO_EXTRA
    image = part.media_type.lower().startswith("image/")
    file = own and ("file" in extra or part.name is not None)
    if part.data is None:
        url = part.url or ""
        if url.startswith(FILE_ID):
            return _file(part, {"file_id": url.removeprefix(FILE_ID)}, extra) if own else None
        if image or not part.media_type:
            return {"type": "image_url", **unnest(extra, "image_url", {"url": url})}
        return None
    data_url = f"data:{part.media_type};base64,{part.data}"
    if "image_url" in extra or (image and not file and "input_audio" not in extra):
        return {"type": "image_url", **unnest(extra, "image_url", {"url": data_url})}
    if not file and (form := _audio_format(part.media_type, own=own)) is not None:
        return {"type": "input_audio", **unnest(extra, "input_audio", {"data": part.data, "format": form})}
    bare = not part.media_type and ":" not in part.data
    return _file(part, {"file_data": part.data if bare else data_url}, extra)


def _audio_format(media_type: str, *, own: bool) -> str | None:
    """The format of ``input_audio``, None if there is none for this type: one of this dialect must give it back."""
    kind, _, form = media_type.partition("/")
    form = _AUDIO_FORMATS.get(media_type, form)
    if own:
        return form if _AUDIO_TYPES.get(form, f"audio/{form}") == media_type else None
    return form if kind == "audio" and form in {"wav", "mp3"} else None


def _file(part: BlobPart, file: dict[str, Json], extra: Extra) -> dict[str, Json]:
    named = file if part.name is None else {**file, "filename": part.name}
    return {"type": "file", **unnest(extra, "file", named)}


def parse_call(raw: Json, where: str) -> ToolCallPart | OpaquePart:
    """A tool call of a message. Raises ``Malformed``."""
    raw = typed(raw, dict, where)
    match optional(raw, "type", str, where):
        case "function" | None:
            kind, text = "function", "arguments"
        case "custom":
            kind, text = "custom", "input"
        case _:
            return OpaquePart(NAME, {"tool_calls": raw})
    body = member(raw, kind, dict, where)
    arguments = body.get(text)
    if kind == "custom" or not isinstance(arguments, dict):
        arguments = optional(body, text, str, f"{where}.{kind}") or ""
    return ToolCallPart(
        optional(raw, "id", str, where) or "",
        member(body, "name", str, f"{where}.{kind}"),
        arguments if isinstance(arguments, str) else exact(arguments),
        custom=kind == "custom",
        extra=nested(raw, ("id", "type", "index", "function_call"), kind, "name", text),
    )


def parse_function_call(raw: Json, where: str) -> ToolCallPart:
    """The legacy ``function_call`` of a message, which has no id: its name stands for that. Raises ``Malformed``."""
    raw = typed(raw, dict, where)
    name = member(raw, "name", str, where)
    extra = {"function_call": rest(raw, "name", "arguments")}
    return ToolCallPart(name, name, optional(raw, "arguments", str, where) or "", extra=extra)


def render_call(part: ToolCallPart, *, own: bool) -> dict[str, Json]:
    """A tool call. ``own``: its ``extra`` is this dialect's."""
    extra = rest(part.extra, "function_call") if own else NO_EXTRA
    kind, text = ("custom", "input") if part.custom else ("function", "arguments")
    return {"id": part.call_id, "type": kind, **unnest(extra, kind, {"name": part.name, text: part.arguments})}


def render_function_call(part: ToolCallPart, *, own: bool) -> dict[str, Json]:
    """A call as the legacy ``function_call``."""
    more = part.extra.get("function_call") if own else None
    return {"name": part.name, "arguments": part.arguments, **(more if isinstance(more, Mapping) else {})}


def unknown_call(part: Part) -> dict[str, Json] | None:
    """The tool call, as it came, that ``parse_call`` made an ``OpaquePart`` of; None for any other part."""
    match part:
        case OpaquePart("openai-chat", {"tool_calls": dict(raw), **others}) if not others:
            return raw
        case _:
            return None


def split_reasoning(raw: Mapping[str, Json]) -> tuple[str, dict[str, Json]]:
    """The reasoning of a message or a delta, and the member that tells it otherwise, if any.

    The API has none; hosts that are compatible with it say ``reasoning_content`` (DeepSeek, xAI) or ``reasoning``
    (OpenRouter, Groq), some of them both.
    """
    told = {key: raw[key] for key in ("reasoning_content", "reasoning") if raw.get(key) not in (None, "")}
    text = next((value for value in told.values() if isinstance(value, str)), "")
    return text, {key: value for key, value in told.items() if value != text}


def parse_said(
    raw: Mapping[str, Json], content: tuple[Part, ...], where: str
) -> tuple[tuple[Part, ...], dict[str, Json]]:
    """What an assistant's message says, in one order: reasoning, ``content``, refusals, tool calls; and the member that
    tells its reasoning otherwise, if any. Raises ``Malformed``."""
    reasoning, others = split_reasoning(raw)
    parts: list[Part] = [ReasoningPart(reasoning)] if reasoning else []
    parts += [part for part in content if not isinstance(part, RefusalPart)]
    parts += [part for part in content if isinstance(part, RefusalPart)]
    if refusal := optional(raw, "refusal", str, where):
        parts.append(RefusalPart(refusal))
    calls = optional(raw, "tool_calls", list, where) or []
    parts += [parse_call(call, f"{where}.tool_calls[{n}]") for n, call in enumerate(calls)]
    if (call := raw.get("function_call")) is not None:
        parts.append(parse_function_call(call, f"{where}.function_call"))
    return tuple(parts), others
