"""Content blocks of the Messages API: what its requests, whole replies and streams have in common.

Owns the two ways between a block and a part of the IR, and the words for what is wrong with a request. Knows no
message, no request and no event. ``SDK`` in these files is ``anthropic`` for Python, version 2.11."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, assert_never

from motive_core.dialects import fields
from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.exact import exact, loads_exact, tool_input
from motive_core.dialects.fields import Malformed, dumps, json_object, member, optional, typed
from motive_core.dialects.fields import loads as plain_loads
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

NAME: Final = "anthropic-messages"

_TYPE_NAMES: Final[Mapping[type, str]] = {
    bool: "boolean",
    dict: "dictionary",
    float: "number",
    int: "integer",
    list: "list",
    str: "string",
}

_IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
"""What the API takes as an image (SDK: ``types/base64_image_source_param.py``)."""


def bad_request(error: Malformed) -> BadRequestError:
    """What is wrong with a request, in the words of the API."""
    match error.fault:
        case "json":
            why = f"The body is not valid JSON: {error.why.removeprefix('it is not valid JSON: ')}"
        case "missing":
            why = "Field required"
        case "type" if error.expected is not None:
            why = f"Input should be a valid {_TYPE_NAMES[error.expected]}"
        case _:
            why = error.why
    return BadRequestError(why, param=error.where or None)


def loads(data: bytes) -> Json:
    """A JSON document, exact where it has tool calls. Raises ``Malformed``."""
    return loads_exact(data) if b'"tool_use"' in data else plain_loads(data)


def rest(value: Mapping[str, Json], *known: str) -> Extra:
    """The members that the IR has no field for."""
    return fields.rest(value, *known) or NO_EXTRA


def parse_content(content: Json, where: str) -> tuple[Part, ...]:
    """The parts of a ``content``: a string or a list of blocks. Raises ``Malformed``."""
    if isinstance(content, str):
        return (TextPart(content),)
    if not isinstance(content, list):
        raise Malformed(where, "Input should be a valid string or list")
    return tuple([parse_block(block, f"{where}.{number}") for number, block in enumerate(content)])


def parse_block(block: Json, where: str) -> Part:
    """The part that a block is: an ``OpaquePart`` if its type is unknown or the IR cannot hold it. Raises
    ``Malformed``."""
    match block:
        case {"type": "text", "text": str(text)} if len(block) == 2:  # nearly all of them
            return TextPart(text)
        case _:
            block = typed(block, dict, where)
    match member(block, "type", str, where):
        case "text":
            return TextPart(member(block, "text", str, where), extra=rest(block, "type", "text"))
        case "thinking":
            return ReasoningPart(
                member(block, "thinking", str, where),
                # A stream begins a block with "" and may never say more.
                optional(block, "signature", str, where) or None,
                extra=rest(block, "type", "thinking", "signature"),
            )
        case "redacted_thinking":
            return ReasoningPart("", redacted=member(block, "data", str, where), extra=rest(block, "type", "data"))
        case "tool_use":
            return ToolCallPart(
                member(block, "id", str, where),
                member(block, "name", str, where),
                exact(member(block, "input", dict, where)),
                extra=rest(block, "type", "id", "name", "input"),
            )
        case "tool_result":
            content = block.get("content")
            return ToolResultPart(
                member(block, "tool_use_id", str, where),
                () if content is None else parse_content(content, f"{where}.content"),
                is_error=optional(block, "is_error", bool, where) or False,
                extra=rest(block, "type", "tool_use_id", "content", "is_error"),
            )
        case "image" | "document":
            return _parse_blob(block) or OpaquePart(NAME, block)
        case _:
            return OpaquePart(NAME, block)


def _parse_blob(block: dict[str, Json]) -> BlobPart | None:
    """An image or a document as a blob; None if that blob would not give the same block back."""
    image = block["type"] == "image"
    name = None if image else block.get("title")
    if not (name is None or isinstance(name, str)):
        return None
    match block.get("source"):
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            part = BlobPart(media_type, data=data, name=name)
        case {"type": "text", "data": str(text)}:
            part = BlobPart("text/plain", data=base64.b64encode(text.encode()).decode(), name=name)
        case {"type": "url", "url": str(url)}:
            part = BlobPart("" if image else "application/pdf", url=url, name=name)
        case {"type": "file", "file_id": str(file_id)}:
            part = BlobPart("image/*" if image else "", url=f"file-id:{file_id}", name=name)
        case _:
            return None
    again = _blob_block(part, own=True)
    if again is None or (again["type"], again["source"]) != (block["type"], block["source"]):
        return None
    known = ("type", "source") if image else ("type", "source", "title")
    return BlobPart(part.media_type, part.data, part.url, name, extra=rest(block, *known))


def _blob_block(part: BlobPart, *, own: bool) -> dict[str, Json] | None:
    """An image or document block; None if the API has none for this blob.

    A URL without a media type is an image's: that is the only blob that other dialects have by URL. A file id without
    one is a document's, and ``image/*`` marks an image by file id. Documents by URL are PDFs (SDK:
    ``types/url_pdf_source_param.py``).
    """
    media_type = part.media_type.partition(";")[0].strip().lower()
    image = media_type.startswith("image/")
    source: dict[str, Json]
    if part.url is None:
        if not image and media_type.startswith("text/"):
            try:
                text = base64.b64decode(part.data or "", validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return None
            source = {"type": "text", "media_type": "text/plain", "data": text}
        elif own or media_type in _IMAGE_TYPES or media_type == "application/pdf":
            source = {"type": "base64", "media_type": part.media_type, "data": part.data or ""}
        else:
            return None
    elif part.url.startswith("file-id:"):
        if not own:
            return None
        source = {"type": "file", "file_id": part.url.removeprefix("file-id:")}
    else:
        image = image or not media_type
        if not image and media_type != "application/pdf":
            return None
        source = {"type": "url", "url": part.url}
    if image:
        return {"type": "image", "source": source}
    title = {} if part.name is None else {"title": part.name}
    return {"type": "document", "source": source, **title}


def text_block(text: str, extra: Extra = NO_EXTRA) -> bytes:
    """A text block."""
    return dumps({"type": "text", "text": text, **extra})


def render_block(part: Part, *, own: bool) -> bytes | None:
    """The block that a part is; None if there is none. ``own``: its ``extra`` and its file ids are this vendor's."""
    extra = NO_EXTRA if isinstance(part, OpaquePart) or not own else part.extra
    match part:
        case TextPart(text) | RefusalPart(text):
            return text_block(text, extra)
        case BlobPart():
            block = _blob_block(part, own=own)
            return None if block is None else dumps({**block, **extra})
        case ReasoningPart(redacted=str(data)):
            return dumps({"type": "redacted_thinking", "data": data, **extra})
        case ReasoningPart(text, signature):
            return dumps({"type": "thinking", "thinking": text, "signature": signature or "", **extra})
        case ToolCallPart(call_id, name, arguments, custom):
            head = {"type": "tool_use", "id": call_id, "name": name}
            return json_object(head, {"input": tool_input(arguments, custom=custom)}, extra)
        case ToolResultPart(call_id, content):
            result: dict[str, Json] = {"type": "tool_result", "tool_use_id": call_id}
            if part.is_error:
                result["is_error"] = True
            if not own:
                # The API refuses empty and blank text blocks.
                content = tuple([one for one in content if as_text(one).strip()])
            raw = {"content": render_content(content, own=own, carries=_in_tool_result)} if content else {}
            return json_object(result, raw, extra)
        case OpaquePart(dialect, raw):
            return dumps(raw) if dialect == NAME and isinstance(raw, dict) else None
        case _:
            assert_never(part)


def _in_tool_result(part: Part) -> bool:
    return isinstance(part, TextPart | BlobPart | OpaquePart)


def render_content(parts: tuple[Part, ...], *, own: bool, carries: Callable[[Part], bool]) -> bytes:
    """A ``content``: a string for one plain text, else a list of blocks."""
    match parts:
        case (TextPart(text, extra=extra),) if not (own and extra):
            return dumps(text)
        case _:
            return b"[" + b",".join(render_blocks(parts, own=own, carries=carries)) + b"]"


def render_blocks(parts: Iterable[Part], *, own: bool, carries: Callable[[Part], bool]) -> Iterator[bytes]:
    """The blocks of some parts. A part that ``carries`` refuses, or for which there is no block, becomes a text block
    (see ``degrade``), with a blank line between it and the texts beside it."""
    joiner = TextJoiner()
    texts = 0
    for part in parts:
        block = render_block(part, own=own) if carries(part) else None
        if block is None or isinstance(part, TextPart | RefusalPart):
            extra = part.extra if own and isinstance(part, TextPart) else NO_EXTRA
            text = joiner.piece(texts, as_text(part), plain=isinstance(part, TextPart))
            texts += bool(text)
            block = text_block(text, extra)
        yield block
