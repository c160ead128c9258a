"""Content parts of the Responses API: texts, pictures and files in its messages and in the results of tools.

Owns the two ways between them and the parts of the IR. Knows no item but the mark ``message``, which is described in
``openai_responses_items``. ``SDK`` in these files is ``openai`` for Python, version 3.52.

``extra`` of a part mirrors the wire: members that the IR has no field for, and ``type`` where it does not follow from
the part and the place that it stands in. A part that we don't know is an ``OpaquePart`` of ``{"content": {...}}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from motive_core.dialects.degrade import as_text
from motive_core.dialects.fields import TYPE_NAMES, Malformed, member, rest, typed
from motive_core.dialects.openai_chat_parts import FILE_ID, from_data_url, parse_audio
from motive_core.dialects.openai_chat_parts import render_blob as render_audio
from motive_core.ir import NO_EXTRA, BlobPart, Extra, Json, OpaquePart, Part, RefusalPart, TextPart

NAME: Final = "openai-responses"

SAID: Final = "output_text"
"""The type of a text that a model said."""
ASKED: Final = "input_text"
"""The type of any other text."""
_TEXT_TYPES: Final = (ASKED, SAID, "text")


def parse_content(content: Json, where: str, text_type: str = ASKED) -> tuple[Part, ...]:
    """The parts of a content: a string, a list of parts, or null for none. ``text_type`` is the type of text that
    belongs there: pictures and files are known only beside ``ASKED``, refusals beside ``SAID``. Raises
    ``Malformed``."""
    if isinstance(content, str):
        return (TextPart(content),)
    if content is None:
        return ()
    if not isinstance(content, list):
        got = TYPE_NAMES.get(type(content), "another type")
        why = f"Invalid type for '{where}': expected one of a string or array of objects, but got {got} instead."
        raise Malformed(where, why, code="invalid_type")
    return tuple([parse_part(part, f"{where}[{n}]", text_type) for n, part in enumerate(content)])


def parse_part(raw: Json, where: str, text_type: str) -> Part:
    """One part of a content. Raises ``Malformed``."""
    raw = typed(raw, dict, where)
    kind = member(raw, "type", str, where)
    found: BlobPart | None = None
    if kind in _TEXT_TYPES:
        extra = rest(raw, "type", "text")
        if kind != text_type:
            extra["type"] = kind
        return TextPart(member(raw, "text", str, where), extra=extra or NO_EXTRA)
    if text_type == SAID:
        if kind == "refusal":
            return RefusalPart(member(raw, "refusal", str, where), extra=rest(raw, "type", "refusal") or NO_EXTRA)
    elif kind == "input_image":
        found = _parse_image(raw)
    elif kind == "input_file":
        found = _parse_file(raw)
    elif kind == "input_audio":
        found = parse_audio(raw, where)
    if found is None:
        return OpaquePart(NAME, {"content": raw})
    if kind != _blob_type(found):
        return replace(found, extra={**found.extra, "type": kind})
    return found


def _parse_image(raw: dict[str, Json]) -> BlobPart | None:
    """A picture as a blob; None if a blob cannot hold it."""
    url, file_id = raw.get("image_url"), raw.get("file_id")
    extra = rest(raw, "type", "image_url", "file_id") or NO_EXTRA
    if isinstance(file_id, str) and url is None:
        return BlobPart("", url=FILE_ID + file_id, extra=extra)
    if not isinstance(url, str) or file_id is not None or url.startswith(FILE_ID):
        return None
    return from_data_url(url, None, extra) or BlobPart("", url=url, extra=extra)


def _parse_file(raw: dict[str, Json]) -> BlobPart | None:
    """A file as a blob; None if a blob cannot hold it. ``file_data`` is a data URL, or base64 alone. A URL does not
    tell its type; without one it would be taken for a picture."""
    told = [key for key in ("file_data", "file_url", "file_id") if raw.get(key) is not None]
    name = raw.get("filename")
    if len(told) != 1 or not isinstance(value := raw[told[0]], str) or not isinstance(name, str | None):
        return None
    extra = rest(raw, "type", "file_data", "file_url", "file_id", "filename") or NO_EXTRA
    match told:
        case ["file_id"]:
            return BlobPart("", url=FILE_ID + value, name=name, extra=extra)
        case ["file_url"]:
            pdf = value.partition("?")[0].lower().endswith(".pdf")
            media_type = "application/pdf" if pdf else "application/octet-stream"
            return None if value.startswith(FILE_ID) else BlobPart(media_type, url=value, name=name, extra=extra)
        case _ if ":" in value:
            return from_data_url(value, name, extra)
        case _:
            return BlobPart("", data=value, name=name, extra=extra)


def _blob_type(part: BlobPart) -> str:
    """The type of the content part that a blob is, unless it tells another one."""
    if part.media_type.startswith("image/") or (part.url is not None and not part.media_type):
        return "input_file" if (part.url or "").startswith(FILE_ID) else "input_image"
    return "input_audio" if part.data is not None and part.media_type.startswith("audio/") else "input_file"


def render_content(parts: Sequence[Part], *, own: bool, text_type: str = ASKED) -> str | list[Json]:
    """A content: a string for one text, else a list of parts. ``own``: the parts are this dialect's."""
    match parts:
        case (TextPart(text, extra=extra),) if not (own and rest(extra, "message")):
            return text
        case _:
            return [render_part(part, own=own, text_type=text_type) for part in parts]


def render_part(part: Part, *, own: bool, text_type: str) -> dict[str, Json]:
    """One part of a content. What has no place there becomes text."""
    match part:
        case TextPart(text):
            return {"type": text_type, "text": text, **_members(part.extra, own=own)}
        case RefusalPart(text) if text_type == SAID:
            return {"type": "refusal", "refusal": text, **_members(part.extra, own=own)}
        case BlobPart() if text_type == ASKED and (found := render_blob(part, own=own)) is not None:
            return found
        case OpaquePart("openai-responses", {"content": dict(raw)}) if own:
            return raw
        case _:
            return {"type": text_type, "text": as_text(part)}


def _members(extra: Extra, *, own: bool) -> dict[str, Json]:
    return rest(extra, "message") if own else {}


def render_blob(part: BlobPart, *, own: bool) -> dict[str, Json] | None:
    """The content part that a blob is; None if there is none. ``own``: it becomes what it came as."""
    return _own_blob(part) if own else _foreign_blob(part)


def _own_blob(part: BlobPart) -> dict[str, Json]:
    kind, url, data = part.extra.get("type") or _blob_type(part), part.url or "", part.data
    if kind == "input_audio":
        return render_audio(part, own=True) or {}
    if data is not None and not part.media_type and ":" not in data and kind == "input_file":
        source = {"file_data": data}
    elif data is not None:
        data_url = f"data:{part.media_type};base64,{data}"
        source = {"image_url" if kind == "input_image" else "file_data": data_url}
    elif url.startswith(FILE_ID):
        source = {"file_id": url.removeprefix(FILE_ID)}
    else:
        source = {"image_url" if kind == "input_image" else "file_url": url}
    named = {} if part.name is None else {"filename": part.name}
    return {"type": kind, **named, **source, **part.extra}


_FILES: Final = ("application", "text")
"""What the API takes for files: documents, but neither sounds nor films (SDK: ``response_input_content_param.py``)."""


def _foreign_blob(part: BlobPart) -> dict[str, Json] | None:
    """The API takes pictures and files by URL as well, and no file of data without a name."""
    kind, url = _blob_type(part), part.url or f"data:{part.media_type};base64,{part.data}"
    if kind == "input_image":
        return {"type": kind, "image_url": url, "detail": "auto"}
    media_type = part.media_type.lower()
    if url.startswith(FILE_ID) or media_type.partition("/")[0] not in _FILES:
        return None
    if part.url is not None:
        return {"type": kind, "file_url": url}
    name = part.name or ("file.pdf" if media_type == "application/pdf" else "file")
    return {"type": kind, "filename": name, "file_data": url}
