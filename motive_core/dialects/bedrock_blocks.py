"""Content blocks of the Converse API: what its requests, whole replies and streams have in common.

Owns the two ways between a block and a part of the IR. Knows no message, no request and no event. ``Model`` in these
files is the service's own, as botocore 1.44 has it (``data/bedrock-runtime/2023-09-30/service-2.json``).

A block is an object with one member, which tells what it is. Blocks that are text to a reader are text parts: guarded
content (its own member is kept in ``extra``), generated text with citations, and JSON that a tool gave. A cache point
says nothing; it is kept in the ``extra`` of the part that it follows, so that nobody is shown it. What a service runs
by itself (``type`` in a tool call or result) and all blocks that we don't know are opaque.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final, assert_never

from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.exact import exact, loads_exact, tool_input
from motive_core.dialects.fields import Malformed, dumps, json_object, member, optional, rest, typed
from motive_core.dialects.fields import loads as plain_loads
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

NAME: Final = "bedrock-converse"
CACHE_POINT: Final = "cachePoint"

_FORMATS: Final = {
    "image": {"png": "image/png", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"},
    "document": {
        "pdf": "application/pdf",
        "csv": "text/csv",
        "doc": "application/msword",
        "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xls": "application/vnd.ms-excel",
        "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "html": "text/html",
        "txt": "text/plain",
        "md": "text/markdown",
    },
    "video": {
        "mp4": "video/mp4",
        "mov": "video/quicktime",
        "mkv": "video/x-matroska",
        "webm": "video/webm",
        "flv": "video/x-flv",
        "mpeg": "video/mpeg",
        "mpg": "video/mpeg",
        "wmv": "video/x-ms-wmv",
        "three_gp": "video/3gpp",
    },
    "audio": {
        "mp3": "audio/mpeg",
        "wav": "audio/wav",
        "ogg": "audio/ogg",
        "opus": "audio/opus",
        "flac": "audio/flac",
        "aac": "audio/aac",
        "x-aac": "audio/aac",
        "mp4": "audio/mp4",
        "m4a": "audio/mp4",
        "webm": "audio/webm",
        "mka": "audio/x-matroska",
        "mkv": "audio/x-matroska",
        "mpeg": "audio/mpeg",
        "mpga": "audio/mpeg",
        "pcm": "audio/pcm",
    },
}
"""Model: ``ImageFormat``, ``DocumentFormat``, ``VideoFormat``, ``AudioFormat``. Of several formats of one media type
the first one is written."""
_ALIASES: Final = {
    "image/jpg": "image/jpeg",
    "audio/mp3": "audio/mpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/x-m4a": "audio/mp4",
}
_KINDS: Final = {
    media_type: (kind, form) for kind, formats in _FORMATS.items() for form, media_type in reversed(formats.items())
}


def loads(data: bytes) -> Json:
    """A JSON document, exact where it has tool calls or their results. Raises ``Malformed``."""
    return loads_exact(data) if b'"toolUse"' in data or b'"toolResult"' in data else plain_loads(data)


def union(value: Json, where: str) -> tuple[str, Json]:
    """Name and value of the one member of an object; members that are null do not count. The name is empty if there are
    several. Raises ``Malformed``."""
    members = [(key, item) for key, item in typed(value, dict, where).items() if item is not None]
    if not members:
        raise Malformed(where, "it must have a member that tells what it is", "missing")
    return members[0] if len(members) == 1 else ("", None)


def parse_content(content: Json, where: str) -> tuple[Part, ...]:
    """The parts of a ``content``. Raises ``Malformed``."""
    parts: list[Part] = []
    for number, block in enumerate(typed(content, list, where)):
        part = parse_block(block, f"{where}[{number}]")
        if isinstance(part, OpaquePart) and parts and (kept := _with_cache_point(parts[-1], part.raw)) is not None:
            parts[-1] = kept
        else:
            parts.append(part)
    return tuple(parts)


def _with_cache_point(part: Part, block: Json) -> Part | None:
    """A part with the cache point that follows it; None if that block is none, or if the part cannot keep it."""
    if block.keys() != {CACHE_POINT} or isinstance(part, OpaquePart) or CACHE_POINT in part.extra:
        return None
    return replace(part, extra={**part.extra, **block})


def parse_block(block: Json, where: str) -> Part:
    """The part that a block is: an ``OpaquePart`` if it is unknown or the IR cannot hold it. Raises ``Malformed``."""
    kind, value = union(block, where)
    where = f"{where}.{kind}"
    match kind:
        case "text":
            return TextPart(typed(value, str, where))
        case "image" | "document" | "video" | "audio":
            return _parse_blob(kind, typed(value, dict, where)) or OpaquePart(NAME, block)
        case "toolUse":
            value = typed(value, dict, where)
            given = {} if value.get("input") is None else value["input"]
            if value.get("type") is not None or not isinstance(given, dict):
                return OpaquePart(NAME, block)
            return ToolCallPart(
                member(value, "toolUseId", str, where),
                member(value, "name", str, where),
                exact(given),
                extra=rest(value, "toolUseId", "name", "input", "type") or NO_EXTRA,
            )
        case "toolResult":
            value = typed(value, dict, where)
            if value.get("type") is not None:
                return OpaquePart(NAME, block)
            status = optional(value, "status", str, where)
            return ToolResultPart(
                member(value, "toolUseId", str, where),
                _parse_result(optional(value, "content", list, where) or [], f"{where}.content"),
                is_error=status == "error",
                extra=rest(value, "toolUseId", "content", "type", *(["status"] if status in (None, "error") else []))
                or NO_EXTRA,
            )
        case "reasoningContent":
            return _parse_reasoning(typed(value, dict, where), where) or OpaquePart(NAME, block)
        case "guardContent" | "citationsContent":
            return _parse_marked_text(kind, value) or OpaquePart(NAME, block)
        case _:
            return OpaquePart(NAME, block)


def _parse_result(content: list[Json], where: str) -> tuple[Part, ...]:
    """The content of a tool result. JSON in it is text to others."""
    parts: list[Part] = []
    for number, block in enumerate(content):
        place = f"{where}[{number}]"
        told = typed(block, dict, place)
        # Null is JSON too, where it is nothing in other blocks.
        given = told.keys() == {"json"}
        parts.append(TextPart(exact(told["json"]), extra=told) if given else parse_block(told, place))
    return tuple(parts)


def _parse_reasoning(value: dict[str, Json], where: str) -> ReasoningPart | None:
    match value:
        case {"reasoningText": dict(told)}:
            return ReasoningPart(
                optional(told, "text", str, f"{where}.reasoningText") or "",
                optional(told, "signature", str, f"{where}.reasoningText") or None,
                extra=rest(told, "text", "signature") or NO_EXTRA,
            )
        case {"redactedContent": str(data)}:
            return ReasoningPart("", redacted=data)
        case _:
            return None


def _parse_marked_text(kind: str, value: Json) -> TextPart | None:
    """Text with something around it that only this dialect knows; None where that is more than text."""
    match kind, value:
        case "guardContent", {"text": {"text": str(text)}}:
            return TextPart(text, extra={"guardContent": value})
        case "citationsContent", {"content": [{"text": str(text)}]} if not rest(value, "content", "citations"):
            citations = value.get("citations")
            return TextPart(text, extra={"citations": citations} if citations else NO_EXTRA)
        case _:
            return None


def _parse_blob(kind: str, value: dict[str, Json]) -> BlobPart | None:
    """A picture, a document, a film or a sound; None if it holds no data that the IR could.

    Where the part alone would not give the same block back, ``extra`` is that block."""
    media_type = _FORMATS[kind].get(value["format"], "") if isinstance(value.get("format"), str) else ""
    name = value.get("name") if isinstance(value.get("name"), str) else None
    match value.get("source"):
        case {"bytes": str(data)}:
            part = BlobPart(media_type or "application/octet-stream", data=data, name=name)
        case {"text": str(text)}:
            part = BlobPart(media_type or "text/plain", data=_base64(text), name=name)
        case {"content": list(pieces)} if all(
            isinstance(one, dict) and isinstance(one.get("text"), str) for one in pieces
        ):
            text = "\n\n".join([one["text"] for one in pieces])
            part = BlobPart(media_type or "text/plain", data=_base64(text), name=name)
        case {"s3Location": {"uri": str(uri)}}:
            part = BlobPart(media_type, url=f"file-id:{uri}", name=name)
        case _:
            return None
    block = {kind: value}
    return part if blob_block(part, own=True) == block else replace(part, extra=block)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode()


def _is_base64(data: str) -> bool:
    try:
        return bool(base64.b64decode(data, validate=True))
    except ValueError:
        return False


def blob_kind(part: BlobPart) -> tuple[str, str] | None:
    """Kind and format of the block that a blob can be; None if it can be none."""
    media_type = part.media_type.partition(";")[0].strip().lower()
    found = _KINDS.get(_ALIASES.get(media_type, media_type))
    if found is None and (media_type.startswith("text/") or media_type == "application/json"):
        return "document", "txt"
    return found


def blob_block(part: BlobPart, *, own: bool) -> dict[str, Json] | None:
    """The block that a blob is; None if there is none. Documents have a name, which ``part`` should tell."""
    kept = {key: value for key, value in part.extra.items() if key != CACHE_POINT}
    if own and kept:
        return kept
    if (found := blob_kind(part)) is None:
        return None
    kind, form = found
    source: dict[str, Json]
    if part.data:
        source = {"bytes": part.data}
    elif own and part.url is not None and part.url.startswith("file-id:s3:"):
        source = {"s3Location": {"uri": part.url.removeprefix("file-id:")}}
    else:
        return None
    name = {"name": part.name or "document"} if kind == "document" else {}
    return {kind: {"format": form, **name, "source": source}}


def text_block(text: str) -> bytes:
    """A text block."""
    return b'{"text":%b}' % dumps(text)


def render_block(part: Part, *, own: bool) -> bytes | None:
    """The block that a part is; None if there is none. ``own``: its ``extra`` and its files are this service's."""
    extra = NO_EXTRA if isinstance(part, OpaquePart) or not own else part.extra
    if CACHE_POINT in extra:
        extra = {key: value for key, value in extra.items() if key != CACHE_POINT}
    match part:
        case TextPart(text):
            return _marked_text(text, extra) if extra else text_block(text)
        case RefusalPart(text):
            return text_block(text)
        case BlobPart():
            block = blob_block(part, own=own)
            return None if block is None else dumps(block)
        case ReasoningPart(redacted=str(data)):
            # It is binary here, while other dialects have any text.
            return dumps({"reasoningContent": {"redactedContent": data if own or _is_base64(data) else _base64(data)}})
        case ReasoningPart(text, signature):
            signed = {} if signature is None else {"signature": signature}
            return dumps({"reasoningContent": {"reasoningText": {"text": text, **signed, **extra}}})
        case ToolCallPart(call_id, name, arguments, custom):
            head = {"toolUseId": call_id, "name": name}
            return b'{"toolUse":%b}' % json_object(head, {"input": tool_input(arguments, custom=custom)}, extra)
        case ToolResultPart(call_id, content):
            if part.is_error:
                extra = {"status": "error", **extra}
            if not own:
                # The API refuses empty and blank texts.
                content = tuple([one for one in content if as_text(one).strip()])
            raw = {"content": array(render_blocks(content, own=own, carries=_in_tool_result))}
            return b'{"toolResult":%b}' % json_object({"toolUseId": call_id}, raw, extra)
        case OpaquePart(dialect, raw):
            return dumps(raw) if dialect == NAME and isinstance(raw, dict) and raw else None
        case _:
            assert_never(part)


def _marked_text(text: str, extra: Extra) -> bytes:
    if "guardContent" in extra:
        return dumps({"guardContent": extra["guardContent"]})
    if "citations" in extra:
        return dumps({"citationsContent": {"content": [{"text": text}], "citations": extra["citations"]}})
    if "json" in extra:
        return b'{"json":%b}' % text.encode()
    return text_block(text)


def _in_tool_result(part: Part) -> bool:
    if isinstance(part, BlobPart):
        found = blob_kind(part)
        return found is None or found[0] != "audio" or bool(part.extra)
    return isinstance(part, TextPart | OpaquePart)


def render_blocks(parts: Iterable[Part], *, own: bool, carries: Callable[[Part], bool]) -> Iterator[bytes]:
    """The blocks of some parts. A part that ``carries`` refuses, or for which there is no block, becomes a text block
    (see ``degrade``), with a blank line between it and the texts beside it."""
    joiner = TextJoiner()
    texts = 0
    for part in parts:
        block = render_block(part, own=own) if carries(part) else None
        marked = own and isinstance(part, TextPart) and bool(part.extra)
        if block is None or (isinstance(part, TextPart | RefusalPart) and not marked):
            text = joiner.piece(texts, as_text(part), plain=isinstance(part, TextPart))
            texts += bool(text)
            block = text_block(text)
        yield block
        if own and not isinstance(part, OpaquePart) and CACHE_POINT in part.extra:
            yield dumps({CACHE_POINT: part.extra[CACHE_POINT]})


def array(items: Iterable[bytes]) -> bytes:
    """A JSON array."""
    return b"[" + b",".join(items) + b"]"
