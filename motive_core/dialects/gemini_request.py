"""The two ways between a request of the Gemini API and the IR.

Owns the body and its contents; what stands beside them is in ``gemini_config``, parts are in ``gemini_parts``, paths in
``gemini_paths``; what degrades is said in ``gemini``. Knows no reply.

A result without an id is that of the first call of its name in the turn before it that has none yet. Calls without ids
that have one name get a number behind it, from the second one on, so that no two have one id. ``extra`` of the request
has one member that no body can have: ``:path``, the collection of the path if it is another one than for most clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeGuard

from motive_core.dialects.base import RequestHead
from motive_core.dialects.degrade import as_text, parts_as_text
from motive_core.dialects.fields import Malformed, dumps, json_object, member, optional, rest
from motive_core.dialects.gemini_config import (
    CONFIG_FIELDS,
    parse_choice,
    parse_count,
    parse_format,
    parse_sampling,
    parse_tools,
    render_config,
    render_tool_config,
    render_tools,
)
from motive_core.dialects.gemini_parts import (
    NAME,
    blob_part,
    call_part,
    camel_object,
    inner,
    items,
    loads,
    parse_parts,
    result_part,
    text_part,
    thought_part,
)
from motive_core.dialects.gemini_paths import DEFAULT_COLLECTION, STREAM, call_of, variant_of
from motive_core.dialects.results import OpenCalls
from motive_core.ir import (
    NO_EXTRA,
    BlobPart,
    ChatRequest,
    Extra,
    Json,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

PATH: Final = ":path"

_KNOWN: Final = ("contents", "systemInstruction", "tools", "toolConfig", "generationConfig")
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})

_UNSIGNED: Final = "skip_thought_signature_validator"
"""What stands for the signature of a call that no Gemini made: models from version 3 on refuse one without
(https://ai.google.dev/gemini-api/docs/thought-signatures)."""
_NEED_NO_SIGNATURE: Final = ("gemini-1", "gemini-2", "gemma")

_IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
_IMAGE_SUFFIXES: Final = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp", "heic": "heic", "heif": "heif"}


def parse_request(body: bytes, head: RequestHead) -> ChatRequest:
    """A request. Raises ``Malformed``."""
    raw = camel_object(loads(body), "")
    place = call_of(head)
    extra = rest(raw, *_KNOWN)
    if place is None:
        model = member(raw, "model", str, "").rpartition("models/")[2]
        del extra["model"]
    else:
        model = place.model
        if place.collection != DEFAULT_COLLECTION:
            extra[PATH] = place.collection
    if not model:
        raise Malformed("model", "* GenerateContentRequest.model: unexpected model name format")
    stream = place is not None and place.method == STREAM
    config = inner(raw, "generationConfig", "")
    response_format, kept = parse_format(config)
    if others := rest(config, *CONFIG_FIELDS) | kept:
        extra["generationConfig"] = others
    tool_config = inner(raw, "toolConfig", "")
    if others := rest(tool_config, "functionCallingConfig"):
        extra["toolConfig"] = others
    return ChatRequest(
        dialect=NAME,
        model=model,
        messages=_parse_messages(raw),
        stream=stream,
        tools=tuple(parse_tools(raw.get("tools"))),
        tool_choice=parse_choice(tool_config),
        response_format=response_format,
        sampling=parse_sampling(config),
        n=parse_count(config),
        include_usage=stream,
        extra=extra or NO_EXTRA,
        variant=variant_of(head) if stream else "",
        raw=body,
    )


def _parse_messages(raw: Mapping[str, Json]) -> tuple[Message, ...]:
    contents = items(raw.get("contents"))
    if not contents:
        raise Malformed("contents", "", "missing")
    messages = [_parse_content(content, f"contents[{number}]") for number, content in enumerate(contents)]
    messages = _with_ids(messages)
    if (system := raw.get("systemInstruction")) is not None:
        if isinstance(system, str):
            system = {"parts": [{"text": system}]}
        system = camel_object(system, "systemInstruction")
        parts = parse_parts(system.get("parts"), "systemInstruction.parts")
        messages.insert(0, Message("system", parts, extra=rest(system, "parts") or NO_EXTRA))
    return tuple(messages)


def _parse_content(raw: Json, where: str) -> Message:
    match raw:
        case {"role": "user" | "model" as told, "parts": list(found)} if len(raw) == 2:  # nearly all of them
            return Message("user" if told == "user" else "assistant", parse_parts(found, f"{where}.parts"))
        case _:
            content = camel_object(raw, where)
    role = optional(content, "role", str, where) or "user"
    parts = parse_parts(content.get("parts"), f"{where}.parts")
    extra = rest(content, "role", "parts")
    match role:
        case "user":
            return Message("user", parts, extra=extra or NO_EXTRA)
        case "model":
            return Message("assistant", parts, extra=extra or NO_EXTRA)
        case "function":
            if parts and all(isinstance(part, ToolResultPart) for part in parts):
                return Message("tool", parts, extra=extra or NO_EXTRA)
            return Message("user", parts, extra={"role": role, **extra})
        case _:
            raise Malformed(f"{where}.role", "Please use a valid role: user, model.")


def _with_ids(messages: list[Message]) -> list[Message]:
    """Messages in which calls and results without ids have those that tell them apart; see the module."""
    if not any("id" in _inner_extra(part) for message in messages for part in message.parts):
        return messages
    names = _Names(
        part.call_id
        for message in messages
        for part in message.parts
        if isinstance(part, ToolCallPart) and "id" not in _inner_extra(part)
    )
    numbered: list[Message] = []
    open_calls = OpenCalls()
    last = ""
    for message in messages:
        if message.role == "assistant" and last != "assistant":
            open_calls.clear()
        last = message.role
        parts = tuple([_with_id(part, names, open_calls) for part in message.parts])
        numbered.append(replace(message, parts=parts))
    return numbered


class _Names:
    """Ids for calls that have none: the name, with a number from the second one on. ``taken`` are those of others."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._numbers: dict[str, int] = {}

    def new(self, name: str) -> str:
        """An id that nobody has."""
        number = self._numbers.get(name, 0)
        while True:
            number += 1
            call_id = name if number == 1 else f"{name}-{number}"
            if call_id not in self._taken:
                break
        self._numbers[name] = number
        self._taken.add(call_id)
        return call_id


def _with_id(part: Part, names: _Names, open_calls: OpenCalls) -> Part:
    match part:
        case ToolCallPart():
            call = replace(part, call_id=names.new(part.name)) if "id" in _inner_extra(part) else part
            open_calls.add(call.call_id, call.name)
            return call
        case ToolResultPart():
            named = "id" not in _inner_extra(part)
            call_id = open_calls.take(part.call_id) if named else open_calls.take_named(part.name)
            return part if named or call_id is None else replace(part, call_id=call_id)
        case _:
            return part


def _inner_extra(part: Part) -> Extra:
    key = "functionCall" if isinstance(part, ToolCallPart) else "functionResponse"
    found = part.extra.get(key) if isinstance(part, ToolCallPart | ToolResultPart) else None
    return found if isinstance(found, Mapping) else NO_EXTRA


def render_request(request: ChatRequest) -> bytes:
    """The body of a request."""
    own = request.dialect == NAME
    extra = dict(request.extra) if own else {}
    extra.pop(PATH, None)
    raw = dict(_own_messages(request.messages) if own else _foreign_messages(request))
    if tools := render_tools(request.tools, own=own):
        raw["tools"] = dumps(tools)
    tool_config = {**render_tool_config(request, own=own), **extra.pop("toolConfig", {})}
    if tool_config:
        raw["toolConfig"] = dumps(tool_config)
    config = render_config(request, own=own) | extra.pop("generationConfig", {})
    if config:
        raw["generationConfig"] = dumps(config)
    return json_object({}, raw, extra)


def _own_messages(messages: tuple[Message, ...]) -> dict[str, bytes]:
    raw: dict[str, bytes] = {}
    contents = []
    for number, message in enumerate(messages):
        parts = _array([_own_part(part) for part in message.parts])
        if message.role in _SYSTEM_ROLES and not number:
            raw["systemInstruction"] = json_object({}, {"parts": parts}, message.extra)
            continue
        role = {"assistant": "model", "tool": "function"}.get(message.role, "user")
        role = message.extra.get("role", role)
        contents.append(json_object({"role": role}, {"parts": parts}, rest(message.extra, "role")))
    return {"contents": _array(contents), **raw}


def _own_part(part: Part) -> bytes:
    match part:
        case TextPart(text, extra=extra):
            return text_part(text, extra)
        case ReasoningPart(text, signature, extra=extra):
            return thought_part(text, signature, extra)
        case ToolCallPart():
            return call_part(part, own=True)
        case ToolResultPart():
            beside = [_own_part(one) for one in part.content if not isinstance(one, TextPart)]
            text = parts_as_text([one for one in part.content if isinstance(one, TextPart)])
            return result_part(part, text, beside, part.name or "", own=True)
        case BlobPart():
            return blob_part(part, own=True) or text_part(as_text(part))
        case OpaquePart(dialect, raw) if dialect == NAME:
            return dumps(raw)
        case _:
            return text_part(as_text(part))


def _foreign_messages(request: ChatRequest) -> dict[str, bytes]:
    system: list[list[Part]] = []
    turns: list[tuple[str, list[list[Part]]]] = []
    for message in request.messages:
        parts = [part for part in message.parts if _says_something(part)]
        role = "model" if message.role == "assistant" else "user"
        if not parts:
            continue
        if message.role in _SYSTEM_ROLES:
            system.append(parts)
        elif turns and turns[-1][0] == role:
            turns[-1][1].append(parts)
        else:
            turns.append((role, [parts]))
    if not turns:
        turns, system = [("user", system or [[TextPart("")]])], []
    names = {part.call_id: part.name for message in request.messages for part in message.parts if _is_call(part)}
    signed = not request.model.startswith(_NEED_NO_SIGNATURE)
    contents = [
        json_object({"role": role}, {"parts": _array(_foreign_parts(role, said, names, signed=signed))})
        for role, said in turns
    ]
    raw = {"contents": _array(contents)}
    if system:
        texts = [text_part(parts_as_text(parts)) for parts in system]
        raw["systemInstruction"] = json_object({}, {"parts": _array(texts)})
    return raw


def _is_call(part: Part) -> TypeGuard[ToolCallPart]:
    return isinstance(part, ToolCallPart)


def _says_something(part: Part) -> bool:
    return not isinstance(part, TextPart | RefusalPart | ReasoningPart) or bool(part.text)


def _foreign_parts(role: str, said: list[list[Part]], names: Mapping[str, str], *, signed: bool) -> list[bytes]:
    """The parts of a content, which may be that of several messages. Results come first, as the API wants them."""
    results: list[bytes] = []
    others: list[bytes] = []
    texts: list[Part] = []

    def say(part: bytes | None) -> None:
        """Say the texts that wait, and then a part."""
        if texts:
            others.append(text_part(parts_as_text(texts)))
            texts.clear()
        if part is not None:
            others.append(part)

    for parts in said:
        for part in parts:
            match part:
                case ToolResultPart() if role == "user":
                    text, beside = _foreign_result(part.content)
                    name = part.name or names.get(part.call_id) or part.call_id or "tool"
                    results.append(result_part(part, text, [], name, own=False))
                    for one in beside:
                        say(one)
                case ToolCallPart() if role == "model":
                    say(call_part(part, own=False, signature=_UNSIGNED if signed else None))
                    signed = False
                case ReasoningPart(text) if role == "model":
                    say(thought_part(text, None))
                case BlobPart() if (blob := _foreign_blob(part)) is not None:
                    say(blob)
                case _:
                    texts.append(part)
        say(None)
    return results + others


def _foreign_result(content: tuple[Part, ...]) -> tuple[str, list[bytes]]:
    """The text of a result, and the blobs of it: not all models take those within it."""
    texts: list[Part] = []
    beside: list[bytes] = []
    for part in content:
        blob = _foreign_blob(part) if isinstance(part, BlobPart) else None
        if blob is None:
            texts.append(part)
        else:
            beside.append(blob)
    return parts_as_text(texts), beside


def _foreign_blob(part: BlobPart) -> bytes | None:
    """A blob of another dialect, if it is of a type that the API takes."""
    media_type = part.media_type.partition(";")[0].strip().lower()
    if part.url is not None:
        if not part.url.startswith("https://"):
            return None
        suffix = part.url.partition("?")[0].partition("#")[0].rpartition(".")[2].lower()
        if not media_type and suffix in _IMAGE_SUFFIXES:
            media_type = f"image/{_IMAGE_SUFFIXES[suffix]}"
    kind = media_type.partition("/")[0]
    taken = kind in ("audio", "video", "text") or media_type in _IMAGE_TYPES or media_type == "application/pdf"
    # Only Vertex AI takes a name.
    return blob_part(replace(part, media_type=media_type, name=None), own=False) if taken else None


def _array(parts: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(parts) + b"]"
