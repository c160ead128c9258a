"""JSON off a wire, read with types: what the parsers of all dialects have in common.

Owns ``Malformed``, which says where a value is not what the format says and in which way; each vendor words that for
its clients. Knows no dialect."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Final, Literal

from pydantic_core import PydanticSerializationError, from_json, to_json

from motive_core.errors import BadRequestError
from motive_core.ir import NO_EXTRA, Extra, Json

type Fault = Literal["json", "missing", "type", "value"]

TYPE_NAMES: Final[Mapping[type, str]] = {
    bool: "a boolean",
    dict: "an object",
    float: "a number",
    int: "an integer",
    list: "an array",
    str: "a string",
    type(None): "null",
}


class Malformed(ValueError):
    """A JSON value is not what the format says.

    ``where`` is its path (``messages[0].content``), empty for the whole body. ``why`` says it in neutral words. A
    vendor that words it otherwise has ``fault``, and ``expected`` and ``got`` where the type is wrong. ``code`` is set
    where the vendor has a name of its own for this fault. It never leaves the dialects: a request raises
    ``BadRequestError`` instead, a reply ``FramingError``."""

    def __init__(
        self,
        where: str,
        why: str,
        fault: Fault = "value",
        *,
        expected: type | None = None,
        got: type | None = None,
        code: str = "",
    ) -> None:
        super().__init__(f"{where}: {why}" if where else why)
        self.where = where
        self.why = why
        self.fault: Fault = fault
        self.expected = expected
        self.got = got
        self.code = code

    def as_bad_request(self) -> BadRequestError:
        """The error of a request, in neutral words."""
        return BadRequestError(str(self), param=self.where or None)


def loads(data: bytes | str) -> Json:
    """A JSON document. Raises ``Malformed`` for what is not strict JSON in UTF-8: ``NaN``, half of a surrogate pair,
    nesting deeper than 200. Of two equal keys the last one counts."""
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise Malformed("", f"it is not valid JSON: {error}", "json") from None


def dumps(value: Json) -> bytes:
    """Compact JSON in UTF-8. A number beyond the range of a double is null; half of a surrogate pair, which has no
    UTF-8, is a question mark."""
    try:
        return to_json(value, inf_nan_mode="null")
    except PydanticSerializationError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def typed[T](value: Json, kind: type[T], where: str) -> T:
    """The value, if it is of this type. An integer is a number too; a boolean is neither, nor is ``1e999``."""
    if type(value) is kind and kind is not float:  # nearly all of them
        return value
    fits = isinstance(value, (int, float) if kind is float else kind)
    if isinstance(value, bool):
        fits = kind is bool
    elif isinstance(value, float):
        fits = fits and math.isfinite(value)
    if fits:
        return value  # type: ignore[no-any-return]
    why = f"it must be {TYPE_NAMES[kind]}, not {TYPE_NAMES.get(type(value), 'another type')}"
    raise Malformed(where, why, "type", expected=kind, got=type(value))


def member[T](value: Mapping[str, Json], key: str, kind: type[T], where: str) -> T:
    """A member that must be there."""
    path = f"{where}.{key}" if where else key
    if key not in value:
        raise Malformed(path, "it is required", "missing", expected=kind)
    return typed(value[key], kind, path)


def optional[T](value: Mapping[str, Json], key: str, kind: type[T], where: str) -> T | None:
    """A member; None if it is missing or null."""
    found = value.get(key)
    return None if found is None else typed(found, kind, f"{where}.{key}" if where else key)


def rest(value: Mapping[str, Json], *known: str) -> dict[str, Json]:
    """The members that the IR has no field for."""
    return {key: item for key, item in value.items() if key not in known}


def count(value: Mapping[str, Json], key: str) -> int:
    """A count; 0 if it is missing or none."""
    found = value.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def less(count: int, *parts: int) -> int:
    """What is left of a count without some parts of it; -1, which is a count that nobody told, stays."""
    return count if count < 0 else max(0, count - sum(parts))


def without_null(value: Mapping[str, Json]) -> dict[str, Json]:
    """The members that are not null."""
    return {key: item for key, item in value.items() if item is not None}


def json_object(head: Mapping[str, Json], raw: Mapping[str, bytes], extra: Extra = NO_EXTRA) -> bytes:
    """A JSON object of ``head``, of members that are JSON already, and of ``extra``."""
    members = [dumps(head)[1:-1]] if head else []
    members += [b'"%b":%b' % (key.encode(), value) for key, value in raw.items()]
    if extra:
        members.append(dumps(dict(extra))[1:-1])
    return b"{" + b",".join(members) + b"}"
