"""Parts of a content in the Gemini API: what its requests, whole replies and streams have in common.

Owns the two ways between them and the parts of the IR, the names that are written in two ways, and the words for what
is wrong with a request. Knows no message, no request and no event. ``SDK`` in these files is ``google-genai`` for
Python, version 3.6.

The wire is JSON as protocol buffers have it: members may be in camel or in snake case, a list of one may stand without
its brackets, bytes are in base64 of either alphabet, and numbers may be texts. What is rendered is in camel case; what
we have no name for stays as it came.

``extra`` of a part mirrors the wire: members that the IR has no field for, those of the inner object under its name
(``{"inlineData": {...}}``). Two marks are written the same way, so that a part is rendered as it came: an ``id`` that
is None on a call or a result without one, and a ``response`` on a result whose object was not ``{"output": "<text>"}``
or ``{"error": "<text>"}``: the name of the member that held the text, or None where the text is the whole object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from motive_core.dialects.exact import exact, loads_exact, tool_input
from motive_core.dialects.fields import Malformed, dumps, json_object, member, optional, rest, typed
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
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

NAME: Final = "gemini"

FILE_ID: Final = "file-id:"

_FIELDS: Final = (
    "allowedFunctionNames",
    "candidateCount",
    "displayName",
    "fileData",
    "fileUri",
    "functionCall",
    "functionCallingConfig",
    "functionDeclarations",
    "functionResponse",
    "generateContentRequest",
    "generationConfig",
    "inlineData",
    "maxOutputTokens",
    "mimeType",
    "parametersJsonSchema",
    "partialArgs",
    "responseJsonSchema",
    "responseMimeType",
    "responseSchema",
    "stopSequences",
    "systemInstruction",
    "thoughtSignature",
    "toolConfig",
    "topP",
    "willContinue",
)


def _snake(name: str) -> str:
    return "".join([f"_{letter.lower()}" if letter.isupper() else letter for letter in name])


_CAMEL: Final = {_snake(name): name for name in _FIELDS if _snake(name) != name}

_EXACT: Final = (b'"functionCall"', b'"function_call"', b'"functionResponse"', b'"function_response"')

_TEXT_KEYS: Final = frozenset({"output", "error", "result"})
"""What most clients call the only member of a result's object; the API knows the first two."""

_OWN_HOSTS: Final = ("gs://", "https://generativelanguage.googleapis.com/")
"""Where files are that only this vendor can open."""


def bad_request(error: Malformed) -> BadRequestError:
    """What is wrong with a request, in the words of the API where it has some."""
    match error.fault:
        case "json":
            why = f"Invalid JSON payload received. {error.why.removeprefix('it is not valid JSON: ')}"
        case "missing":
            why = f"* GenerateContentRequest.{error.where}: {error.where.rpartition('.')[2]} is not specified"
        case "type" if error.where:
            why = f"Invalid value at '{error.where}': {error.why}."
        case _:
            why = error.why
    return BadRequestError(why, param=error.where or None)


def loads(data: bytes) -> Json:
    """A JSON document, exact where it has function calls or their results. Raises ``Malformed``."""
    return loads_exact(data) if any(mark in data for mark in _EXACT) else plain_loads(data)


def camel(value: Mapping[str, Json]) -> dict[str, Json]:
    """An object with the names that we know in camel case, and without members that are null."""
    return {_CAMEL.get(key, key): item for key, item in value.items() if item is not None}


def camel_object(value: Json, where: str) -> dict[str, Json]:
    """A JSON value as such an object. Raises ``Malformed``."""
    return camel(typed(value, dict, where))


def inner(value: Mapping[str, Json], key: str, where: str) -> dict[str, Json]:
    """A member that is such an object; empty if it is missing."""
    return camel(optional(value, key, dict, where) or {})


def items(value: Json) -> list[Json]:
    """A list that may be missing, or one item without its brackets."""
    return value if isinstance(value, list) else [] if value is None else [value]


def parse_parts(value: Json, where: str) -> tuple[Part, ...]:
    """The parts of a content. Raises ``Malformed``."""
    return tuple([parse_part(part, f"{where}[{number}]") for number, part in enumerate(items(value))])


def parse_part(raw: Json, where: str) -> Part:
    """A part: an ``OpaquePart`` if the IR cannot hold it. Raises ``Malformed``."""
    match raw:
        case {"text": str(text)} if len(raw) == 1:  # nearly all of them
            return TextPart(text)
        case _:
            part = camel_object(raw, where)
    if "text" in part:
        return _parse_text(part, where)
    if "functionCall" in part:
        return _parse_call(part, where) or OpaquePart(NAME, raw)
    if "functionResponse" in part:
        return _parse_result(part, where)
    if "inlineData" in part or "fileData" in part:
        return _parse_blob(part) or OpaquePart(NAME, raw)
    if part.keys() <= {"thoughtSignature", "thought"} and "thoughtSignature" in part:
        return _parse_text({"text": "", **part}, where)
    return OpaquePart(NAME, raw)


def _parse_text(part: dict[str, Json], where: str) -> TextPart | ReasoningPart:
    text = member(part, "text", str, where)
    if optional(part, "thought", bool, where):
        signature = optional(part, "thoughtSignature", str, where)
        return ReasoningPart(text, signature, extra=rest(part, "text", "thought", "thoughtSignature") or NO_EXTRA)
    return TextPart(text, extra=rest(part, "text", "thought") or NO_EXTRA)


def _parse_call(part: dict[str, Json], where: str) -> ToolCallPart | None:
    """A call; None for a piece of one (SDK: ``types.py``, ``PartialArg``), which only a client asks for that can read
    it. A call without an id is named by its function."""
    call = inner(part, "functionCall", where)
    if "partialArgs" in call or "willContinue" in call or not call:
        return None
    where = f"{where}.functionCall"
    name = member(call, "name", str, where)
    call_id = optional(call, "id", str, where)
    extra = rest(part, "functionCall")
    more = rest(call, "id", "name", "args") | ({} if call_id else {"id": None})
    if more:
        extra["functionCall"] = more
    return ToolCallPart(
        call_id or name, name, exact(optional(call, "args", dict, where) or {}), extra=extra or NO_EXTRA
    )


def _parse_result(part: dict[str, Json], where: str) -> ToolResultPart:
    result = inner(part, "functionResponse", where)
    where = f"{where}.functionResponse"
    name = optional(result, "name", str, where)
    call_id = optional(result, "id", str, where)
    if not (name or call_id):
        raise Malformed(f"{where}.name", "Name cannot be empty", "missing")
    extra = rest(part, "functionResponse")
    content, is_error, mark = _parse_response(optional(result, "response", dict, where))
    more = rest(result, "id", "name", "response", "parts") | mark | ({} if call_id else {"id": None})
    if more:
        extra["functionResponse"] = more
    blobs = [_parse_beside(one, f"{where}.parts[{number}]") for number, one in enumerate(items(result.get("parts")))]
    return ToolResultPart(call_id or name or "", (*content, *blobs), name, is_error, extra=extra or NO_EXTRA)


def _parse_beside(raw: Json, where: str) -> Part:
    """What stands beside the object of a result: pictures and the like."""
    part = parse_part(raw, where)
    return part if isinstance(part, BlobPart) else OpaquePart(NAME, raw)


def _parse_response(response: dict[str, Json] | None) -> tuple[tuple[Part, ...], bool, dict[str, Json]]:
    """The text of a result, whether it failed, and the mark of its form."""
    if response is None:
        return (), False, {}
    key, value = next(iter(response.items()), ("", None))
    if len(response) != 1 or key not in _TEXT_KEYS or not isinstance(value, str):
        return (TextPart(exact(response)),), False, {"response": None}
    return (TextPart(value),), key == "error", {"response": key} if key == "result" else {}


def _parse_blob(part: dict[str, Json]) -> BlobPart | None:
    """A blob; None if the IR cannot hold it."""
    key = "inlineData" if "inlineData" in part else "fileData"
    raw = part[key]
    if not isinstance(raw, dict):
        return None
    blob = camel(raw)
    extra = rest(part, key)
    if more := rest(blob, "mimeType", "data", "fileUri", "displayName"):
        extra[key] = more
    media_type, name = blob.get("mimeType", ""), blob.get("displayName")
    data, url = blob.get("data"), blob.get("fileUri")
    if not isinstance(media_type, str) or not (name is None or isinstance(name, str)):
        return None
    if key == "inlineData" and isinstance(data, str) and url is None:
        return BlobPart(media_type, data=plain_base64(data), name=name, extra=extra or NO_EXTRA)
    if key == "fileData" and isinstance(url, str) and data is None:
        foreign = not url.startswith((*_OWN_HOSTS, FILE_ID))
        return BlobPart(media_type, url=url if foreign else FILE_ID + url, name=name, extra=extra or NO_EXTRA)
    return None


def plain_base64(data: str) -> str:
    """Base64 of the usual alphabet, with its padding."""
    if "-" in data or "_" in data:
        data = data.replace("-", "+").replace("_", "/")
    return data + "=" * (-len(data) % 4) if data.isascii() else data


def text_part(text: str, extra: Extra = NO_EXTRA) -> bytes:
    """A part of text."""
    return dumps({"text": text, **extra})


def thought_part(text: str, signature: str | None, extra: Extra = NO_EXTRA) -> bytes:
    """A part of reasoning."""
    signed = {} if signature is None else {"thoughtSignature": signature}
    return dumps({"text": text, "thought": True, **signed, **extra})


def call_part(part: ToolCallPart, *, own: bool, signature: str | None = None, one_line: bool = False) -> bytes:
    """A function call. ``own``: its ``extra`` is this dialect's. ``signature`` is one that it does not have itself.
    ``one_line``: without the line ends that may stand in its arguments."""
    extra = dict(part.extra) if own else {}
    head, more = _named(part.call_id, part.name, extra.pop("functionCall", NO_EXTRA))
    args = {"args": tool_input(part.arguments, custom=part.custom, one_line=one_line)}
    if signature is not None:
        extra["thoughtSignature"] = signature
    return json_object({}, {"functionCall": json_object(head, args, more)}, extra)


def result_part(part: ToolResultPart, text: str, beside: list[bytes], name: str, *, own: bool) -> bytes:
    """A function response with this text in it."""
    extra = dict(part.extra) if own else {}
    told = dict(extra.pop("functionResponse", NO_EXTRA))
    key = told.pop("response", "error" if part.is_error else "output")
    head, more = _named(part.call_id, name, told)
    if own and part.name is None:
        del head["name"]
    raw: dict[str, bytes] = {}
    if key is None:
        raw["response"] = tool_input(text)
    elif not own or any(isinstance(one, TextPart) for one in part.content):
        raw["response"] = dumps({key: text})
    if beside:
        raw["parts"] = b"[" + b",".join(beside) + b"]"
    return json_object({}, {"functionResponse": json_object(head, raw, more)}, extra)


def _named(call_id: str, name: str, more: Extra) -> tuple[dict[str, Json], dict[str, Json]]:
    """The members that name a call, and what else there is in its object."""
    named = {"name": name} if "id" in more else {"id": call_id, "name": name}
    return named, rest(more, "id")


def blob_part(part: BlobPart, *, own: bool) -> bytes | None:
    """The part that a blob is; None if it has no place. Which types the API takes is the caller's business."""
    extra = dict(part.extra) if own else {}
    named = {} if part.name is None else {"displayName": part.name}
    typed_as = {"mimeType": part.media_type} if part.media_type else {}
    if part.data is not None:
        key, blob = "inlineData", {**typed_as, "data": part.data, **named}
    elif part.url is not None and (own or not part.url.startswith(FILE_ID)):
        key, blob = "fileData", {**typed_as, "fileUri": part.url.removeprefix(FILE_ID), **named}
    else:
        return None
    more = extra.pop(key, NO_EXTRA)
    return dumps({key: {**blob, **more}, **extra})
