"""What is in the requests and in the replies of Ollama's API alike: names of models, times, images, tool calls.

Owns the two ways between these and the IR, and the words for what is wrong with a request. Knows no message, no request
and no event. ``SDK`` in these files is ``ollama`` for Python, version 0.6.3; ``server`` is Ollama's own, as of August
2026 (``api/types.go``, ``server/routes.go``).

A name without a tag means ``:latest``, and clients may write that out: here it is left out, so both lead to the same
session, and a client is told the name as it asked for it.

An image is base64 without its media type, which its first bytes tell; where they do not, it is ``image/*``. A tool call
that has no id is called by its name: servers before 2025-11 had no ids, and the SDK for Python still drops them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from motive_core.dialects.exact import exact, loads_exact, tool_input
from motive_core.dialects.fields import Malformed, json_object, loads, member, optional, rest, typed
from motive_core.errors import BadRequestError
from motive_core.ir import NO_EXTRA, BlobPart, ChatRequest, Extra, Json, ToolCallPart

CHAT: Final = "ollama-chat"
GENERATE: Final = "ollama-generate"

LATEST: Final = ":latest"
"""The tag that a name without one has. As the ``variant`` of a request: its client writes it out."""

_MICROSECONDS: Final = ".000000"
"""Some clients parse times with a fraction only, and the server's nearly always have one."""

_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
_RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_MAGIC_CHARACTERS: Final = 16
"""So much base64 holds the first twelve bytes."""

_UNKNOWN_IMAGE: Final = "image/*"
_IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/jpg", "image/gif", "image/webp", "image/bmp"})
"""What the server's decoders read."""


def bad_request(error: Malformed) -> BadRequestError:
    """What is wrong with a request, in words like the server's."""
    why = f"{error.where} is required" if error.fault == "missing" else str(error)
    return BadRequestError(why, param=error.where or None)


def loads_calls(data: bytes) -> Json:
    """A JSON document, exact where it has tool calls. Raises ``Malformed``."""
    return loads_exact(data) if b'"tool_calls"' in data else loads(data)


def parse_name(raw: Mapping[str, Json]) -> tuple[str, str]:
    """The model without ``:latest``, and the ``variant``: that tag if the client wrote it out. Raises ``Malformed``."""
    name = optional(raw, "model", str, "")
    if not name:
        raise Malformed("model", "it is required", "missing")
    short = name.removesuffix(LATEST)
    return (short, LATEST) if short and short != name else (name, "")


def told_name(request: ChatRequest, model: str) -> str:
    """The name of a model as the client of ``request`` calls it."""
    own = request.dialect in (CHAT, GENERATE) and request.variant == LATEST and model == request.model
    return model + LATEST if own else model


def render_time(seconds: int) -> str:
    """Unix seconds as RFC 3339, in UTC; what a calendar cannot hold is its beginning in 1970."""
    try:
        time = datetime.fromtimestamp(max(seconds, 0), UTC)
    except (OverflowError, ValueError, OSError):
        time = datetime.fromtimestamp(0, UTC)
    return f"{time:%Y-%m-%dT%H:%M:%S}{_MICROSECONDS}Z"


def parse_time(value: Json) -> int:
    """RFC 3339 as Unix seconds; 0 if it is none."""
    if not isinstance(value, str):
        return 0
    try:
        time = datetime.fromisoformat(value)
        return max(0, int((time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()))
    except (OverflowError, ValueError, OSError):
        return 0


def media_type(data: str) -> str:
    """What the first bytes of base64 data tell that it is; ``image/*`` if they do not."""
    try:
        head = base64.b64decode(data[:_MAGIC_CHARACTERS])
    except (binascii.Error, ValueError):
        return _UNKNOWN_IMAGE
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12], _UNKNOWN_IMAGE)
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), _UNKNOWN_IMAGE)


def parse_image(raw: Json, where: str) -> BlobPart:
    """An image. Some clients send a data URL; its head is kept in ``extra``. Raises ``Malformed``."""
    text = typed(raw, str, where)
    head, comma, data = text.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        return BlobPart(head[len("data:") : -len(";base64")], data=data, extra={"images": head + comma})
    return BlobPart(media_type(text), data=text)


def parse_images(raw: Mapping[str, Json], where: str) -> tuple[BlobPart, ...]:
    """The images of a message. Raises ``Malformed``."""
    path = f"{where}.images" if where else "images"
    images = optional(raw, "images", list, where) or ()
    return tuple([parse_image(image, f"{path}[{number}]") for number, image in enumerate(images)])


def render_image(part: BlobPart, *, own: bool) -> str | None:
    """A blob as an image; None if it is none that the server takes. ``own``: it came as one."""
    if part.data is None:
        return None
    if own:
        head = part.extra.get("images")
        return head + part.data if isinstance(head, str) else part.data
    return part.data if part.media_type.lower() in _IMAGE_TYPES else None


def parse_call(raw: Json, where: str, position: int | None = None) -> ToolCallPart:
    """A tool call. ``position`` is its place among the calls of a reply, which its index repeats. Raises
    ``Malformed``."""
    raw = typed(raw, dict, where)
    function = member(raw, "function", dict, where)
    inside = f"{where}.function"
    name = member(function, "name", str, inside)
    extra = {key: value for key, value in raw.items() if key not in ("id", "function") and value is not None}
    inner = {key: value for key, value in function.items() if key not in ("name", "arguments") and value is not None}
    if position is not None and inner.get("index") == position:
        del inner["index"]
    if inner:
        extra["function"] = inner
    return ToolCallPart(
        optional(raw, "id", str, where) or name,
        name,
        exact(optional(function, "arguments", dict, inside) or {}),
        extra=extra or NO_EXTRA,
    )


def render_call(part: ToolCallPart, *, own: bool, position: int | None = None) -> bytes:
    """A tool call; one of a reply has its ``position``, and is on one line: Ollama's Go package reads even whole
    replies line by line. ``own``: its ``extra`` is this vendor's."""
    extra: Extra = part.extra if own else NO_EXTRA
    more = extra.get("function")
    inner = more if isinstance(more, Mapping) else NO_EXTRA
    head: dict[str, Json] = {} if position is None or "index" in inner else {"index": position}
    arguments = tool_input(part.arguments, custom=part.custom, one_line=position is not None)
    function = json_object({**head, "name": part.name}, {"arguments": arguments}, inner)
    named = part.call_id in ("", part.name)
    return json_object({} if named else {"id": part.call_id}, {"function": function}, rest(extra, "function"))
