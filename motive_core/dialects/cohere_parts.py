"""Content items and tool calls of Cohere's Chat API: what its requests, replies and streams have in common.

Owns the two ways between them and the parts of the IR, and the words for what is wrong with a request. Knows no
message, no request and no event. ``SDK`` in these files is ``cohere`` for Python, version 7.3.

``extra`` of a part mirrors the wire: members that the IR has no field for, those of the inner object under its name
(``{"image_url": {"detail": "high"}}``). Two marks are written the same way: ``{"tool_plan": True}`` on the text that a
message had as its ``tool_plan``, and ``{"document": {...}}`` on the text of a document, whose other members those are.
An ``OpaquePart`` of ``{"tool_calls": {...}}`` is a tool call of a type that we don't know.

Models of this vendor write ``null`` for the arguments of a tool that has none; that is read as ``{}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, assert_never

from motive_core.dialects.degrade import as_text, parts_as_text
from motive_core.dialects.exact import tool_input
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
    ToolResultPart,
)

NAME: Final = "cohere-chat"
PLAN: Final[Extra] = {"tool_plan": True}
"""The mark of a text that is the ``tool_plan`` of its message."""


def bad_request(error: Malformed) -> BadRequestError:
    """What is wrong with a request, in the manner of the API."""
    where = error.where
    match error.fault:
        case "json":
            why = f"invalid json: {error.why.removeprefix('it is not valid JSON: ')}"
        case "missing":
            why = f"invalid request: {where} is required"
        case "type" if error.expected is not None and error.got is not None:
            expected, got = TYPE_NAMES[error.expected], TYPE_NAMES.get(error.got, "another type")
            why = f"invalid type: {where or 'the body'} is {got}, but should be {expected}"
        case _:
            why = f"invalid request: {where}: {error.why}"
    return BadRequestError(why, param=where or None)


def is_plan(part: Part) -> bool:
    """Whether this is the ``tool_plan`` of a message."""
    return isinstance(part, TextPart) and bool(part.extra.get("tool_plan"))


def is_blank(part: Part, *, own: bool) -> bool:
    """Whether a part of a reply says nothing: it is neither read nor written, so that a reply has the same parts whole
    and streamed. ``own``: its ``extra`` is this dialect's."""
    if not isinstance(part, TextPart | RefusalPart | ReasoningPart):
        return False
    return not as_text(part) and not (own and any(part.extra.values()))


def parse_content(content: Json, where: str, *, said: bool = False) -> tuple[Part, ...]:
    """The parts of a ``content``: a string, a list of items, or null for none. ``said``: it is a reply's. Raises
    ``Malformed``."""
    if isinstance(content, str):
        return (TextPart(content),)
    if content is None:
        return ()
    if not isinstance(content, list):
        raise Malformed(where, f"it must be a string or an array, not {TYPE_NAMES.get(type(content), 'another type')}")
    parse = parse_said if said else _parse_item
    return tuple([parse(item, f"{where}[{number}]") for number, item in enumerate(content)])


def parse_said(raw: Json, where: str) -> Part:
    """The part that a content item of a reply is: an ``OpaquePart`` if replies have none of its type. Raises
    ``Malformed``."""
    raw = typed(raw, dict, where)
    match member(raw, "type", str, where):
        case "text":
            return TextPart(member(raw, "text", str, where), extra=rest(raw, "type", "text") or NO_EXTRA)
        case "thinking":
            return ReasoningPart(member(raw, "thinking", str, where), extra=rest(raw, "type", "thinking") or NO_EXTRA)
        case _:
            return OpaquePart(NAME, raw)


def _parse_item(raw: Json, where: str) -> Part:
    """The part that a content item of a request is."""
    raw = typed(raw, dict, where)
    match member(raw, "type", str, where):
        case "image_url":
            return _parse_image(raw, where)
        case "document":
            return _parse_document(raw)
        case _:
            return parse_said(raw, where)


def _parse_image(raw: dict[str, Json], where: str) -> BlobPart:
    image = raw.get("image_url")
    if isinstance(image, str):
        image = {"url": image}
    image = typed(image, dict, f"{where}.image_url")
    url = member(image, "url", str, f"{where}.image_url")
    extra = _nested(raw, "image_url", image, "url")
    head, comma, data = url.partition(",")
    if comma and head[:5].lower() == "data:" and head[-7:].lower() == ";base64":
        return BlobPart(head[5:-7], data=data, extra=extra)
    return BlobPart("", url=url, extra=extra)


def _parse_document(raw: dict[str, Json]) -> Part:
    """A document whose data is text is that text; one with several fields is opaque."""
    match raw.get("document"):
        case {"data": str(text), **others}:
            return TextPart(text, extra={**rest(raw, "type"), "document": others})
        case _:
            return OpaquePart(NAME, raw)


def _nested(raw: dict[str, Json], key: str, inner: dict[str, Json], *known: str) -> Extra:
    found = rest(raw, "type", key)
    if others := rest(inner, *known):
        found[key] = others
    return found or NO_EXTRA


def _unnest(extra: Extra, key: str, inner: dict[str, Json]) -> dict[str, Json]:
    """The opposite of ``_nested``."""
    more = extra.get(key)
    return {**extra, key: {**inner, **more} if isinstance(more, Mapping) else inner}


def render_item(part: Part, *, own: bool, images: bool = True) -> dict[str, Json]:
    """The content item that a part is; text where there is none for it. ``own``: its ``extra`` is this dialect's.
    ``images``: they may stand here."""
    match part:
        case TextPart(text) if own and isinstance(document := part.extra.get("document"), Mapping):
            return {"type": "document", **part.extra, "document": {**document, "data": text}}
        case TextPart(text):
            return {"type": "text", "text": text, **(rest(part.extra, "tool_plan") if own else NO_EXTRA)}
        case ReasoningPart():
            return {"type": "thinking", "thinking": as_text(part), **(part.extra if own else NO_EXTRA)}
        case BlobPart() if images and (url := _image_url(part, own=own)) is not None:
            return {"type": "image_url", **_unnest(part.extra if own else NO_EXTRA, "image_url", {"url": url})}
        case OpaquePart(dialect, dict(raw)) if own and dialect == NAME and "type" in raw:
            return raw
        case BlobPart() | OpaquePart() | RefusalPart() | ToolCallPart() | ToolResultPart():
            return {"type": "text", "text": as_text(part)}
        case _:
            assert_never(part)


def _image_url(part: BlobPart, *, own: bool) -> str | None:
    """The URL of an image; None for what is none. A blob by URL without a media type is one: that is the only kind that
    other dialects have by URL."""
    image = own or part.media_type.lower().startswith("image/")
    if part.data is not None:
        return f"data:{part.media_type};base64,{part.data}" if image else None
    url = part.url or ""
    if not own and url.startswith("file-id:"):
        return None
    return url if image or not part.media_type else None


def render_content(parts: tuple[Part, ...], *, own: bool, images: bool) -> str | list[Json]:
    """A ``content``: a string for texts, else a list of items."""
    match parts:
        case (TextPart(text, extra=extra),) if not (own and extra):
            return text
        case _:
            items: list[Json] = [render_item(part, own=own, images=images) for part in parts]
            if not own and all(item["type"] == "text" for item in items):
                return parts_as_text(parts)
            return items


def parse_calls(raw: Mapping[str, Json], where: str) -> list[Part]:
    """The tool calls of a message. Raises ``Malformed``."""
    calls = optional(raw, "tool_calls", list, where) or []
    return [_parse_call(call, f"{where}.tool_calls[{number}]") for number, call in enumerate(calls)]


def _parse_call(raw: Json, where: str) -> Part:
    raw = typed(raw, dict, where)
    start, arguments = parse_call_start(raw, where)
    if isinstance(start, ToolCallPart):
        return ToolCallPart(start.call_id, start.name, "{}" if arguments == "null" else arguments, extra=start.extra)
    return start


def parse_call_start(raw: dict[str, Json], where: str) -> tuple[ToolCallPart | OpaquePart, str]:
    """A tool call without its arguments, and these as they stand there. Raises ``Malformed``."""
    if optional(raw, "type", str, where) not in (None, "function"):
        return OpaquePart(NAME, {"tool_calls": raw}), ""
    function = optional(raw, "function", dict, where) or {}
    call = ToolCallPart(
        optional(raw, "id", str, where) or "",
        optional(function, "name", str, f"{where}.function") or "",
        "",
        extra=_call_extra(raw, function),
    )
    return call, optional(function, "arguments", str, f"{where}.function") or ""


def _call_extra(raw: dict[str, Json], function: dict[str, Json]) -> Extra:
    found = rest(raw, "id", "type", "index", "function")
    if others := rest(function, "name", "arguments"):
        found["function"] = others
    return found or NO_EXTRA


def render_call(part: ToolCallPart, arguments: str, *, own: bool) -> dict[str, Json]:
    """A tool call with these arguments."""
    function = {"name": part.name, "arguments": arguments}
    return {"id": part.call_id, "type": "function", **_unnest(part.extra if own else NO_EXTRA, "function", function)}


def call_arguments(part: ToolCallPart, *, own: bool) -> str:
    """The arguments of a tool call in a request: clients and the API take them for a JSON object."""
    return part.arguments if own and not part.custom else tool_input(part.arguments, custom=part.custom).decode()


def unknown_call(part: Part) -> dict[str, Json] | None:
    """The tool call, as it came, that we knew no type of; None for any other part."""
    match part:
        case OpaquePart("cohere-chat", {"tool_calls": dict(raw), **others}) if not others:
            return raw
        case _:
            return None


def plan_text(parts: Iterable[Part]) -> str:
    """What several parts say together in a ``tool_plan``."""
    return parts_as_text(parts)
