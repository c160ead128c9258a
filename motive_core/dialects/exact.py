"""The arguments of a tool call where the wire has a JSON object for them, kept exact.

Exactness: to the IR, arguments are text. On the way in, an object becomes compact JSON that keeps the order of its keys
and its numbers as they were written (``1.0``, ``1e5``, integers of any size); escapes in strings become the characters
that they stand for, and of two equal keys the last one counts. On the way out, arguments that are a JSON object go into
the body byte for byte, and none at all are ``{}``; anything else (free-form input, text that was cut) becomes
``{"input": "<the text>"}``. Knows no dialect.
"""

from __future__ import annotations

import json

from pydantic_core import from_json

from motive_core.dialects.fields import Malformed, dumps, loads
from motive_core.ir import Json


class Number(float):
    """A number that remembers how it was written; everywhere else it is the float that it equals."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Number:
        number = super().__new__(cls, text)
        number.text = text
        return number


def loads_exact(data: bytes) -> Json:
    """As ``loads``, with numbers that remember how they were written: twice the time, so for bodies that have tool
    calls in them. Raises ``Malformed``."""
    loads(data)  # it refuses what json would let pass: NaN, half of a surrogate pair, deep nesting
    try:
        return json.loads(data, parse_float=Number)
    except ValueError as error:
        raise Malformed("", f"it is not valid JSON: {error}", "json") from None


def exact(value: Json) -> str:
    """Compact JSON text with numbers as they were written."""
    match value:
        case dict():
            return "{" + ",".join([f"{dumps(key).decode()}:{exact(item)}" for key, item in value.items()]) + "}"
        case list():
            return "[" + ",".join([exact(item) for item in value]) + "]"
        case Number():
            return value.text
        case _:
            return dumps(value).decode()


def tool_input(arguments: str, *, custom: bool = False, one_line: bool = False) -> bytes:
    """The arguments of a tool call as a JSON object; the module docstring says how. ``one_line``: without the line ends
    that may stand between its members, where these would end a frame."""
    if not custom:
        if not arguments.strip():
            return b"{}"
        try:
            data = arguments.encode()
            if isinstance(from_json(data, allow_inf_nan=False), dict):
                split = one_line and (b"\n" in data or b"\r" in data)
                return exact(loads_exact(data)).encode() if split else data
        except ValueError:
            pass
    return dumps({"input": arguments})
