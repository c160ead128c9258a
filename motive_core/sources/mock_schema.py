"""A small value that a JSON Schema allows, made from the schema: what a mock says where JSON is demanded.

Owns the choice. Understands what apps put into schemas of tools and replies (JSON Schema 2020-12: types, members,
items, bounds, ``enum``, ``const``, ``pattern``, common formats, ``$ref`` within the schema, ``anyOf``, ``oneOf``,
``allOf``); not ``not``, ``if`` and what depends on other members. Fetches nothing. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice, product
from typing import Any, Final, TypeGuard
from urllib.parse import unquote

from pydantic import JsonValue

from motive_core.sources.mock_pattern import text_of_pattern

_DEPTH: Final = 32
_MOST_ITEMS: Final = 1000
_MOST_CHARACTERS: Final = 10_000
_MOST_STEPS: Final = 20_000
"""Over these, a schema is not served: it may be built to grow without end."""

_FORMATS: Final[Mapping[str, str]] = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "mock@example.com",
    "idn-email": "mock@example.com",
    "hostname": "example.com",
    "idn-hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com",
    "url": "https://example.com",
    "uri-reference": "/",
    "iri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "json-pointer": "",
    "regex": "a",
    "byte": "",
}


class NoInstanceError(Exception):
    """There is no value that a schema allows, or none is found."""


def instance_of(schema: object) -> JsonValue:
    """A value that a JSON Schema allows. Raises ``NoInstanceError``."""
    try:
        return _Maker(schema).make(schema, "text", 0)
    except RecursionError:
        raise NoInstanceError("it is too deep") from None


class _Maker:
    def __init__(self, root: object) -> None:
        self._root = root
        self._steps = 0

    def make(self, schema: object, name: str, depth: int) -> JsonValue:
        """A value for a member of this name."""
        self._steps += 1
        if depth > _DEPTH or self._steps > _MOST_STEPS:
            raise NoInstanceError("it is too deep, or too large")
        if schema is True:
            return name
        if not isinstance(schema, Mapping):
            raise NoInstanceError("it allows nothing, or is no schema")
        schema = self._merged(schema, depth)
        for choice in ("anyOf", "oneOf"):
            if isinstance(options := schema.get(choice), Sequence) and options:
                return self._any(schema, choice, options, name, depth)
        if "const" in schema:
            return _json(schema["const"])
        if isinstance(options := schema.get("enum"), list):
            return self._of_enum(options, schema)
        return self._of_type(schema, _type_of(schema), name, depth)

    def _merged(self, schema: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
        """A schema with those that it refers to, and all of ``allOf``, in one."""
        merged = dict(schema)
        while "$ref" in merged or "allOf" in merged:
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise NoInstanceError("it refers to itself")
            more: list[object] = []
            if (reference := merged.pop("$ref", None)) is not None:
                more.append(self._referred(reference))
            if isinstance(parts := merged.pop("allOf", None), list):
                more += parts
            for one in more:
                if one is False:
                    raise NoInstanceError("it allows nothing")
                if isinstance(one, Mapping):
                    merged = _both(merged, one)
        return merged

    def _referred(self, reference: object) -> object:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise NoInstanceError("it refers to another document")
        found: object = self._root
        for written in filter(None, unquote(reference[1:]).split("/")):
            step = written.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and step in found:
                found = found[step]
            elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            else:
                raise NoInstanceError("it refers to nothing")
        return found

    def _any(self, schema: Mapping[str, Any], choice: str, options: Sequence[Any], name: str, depth: int) -> JsonValue:
        """A value of the first option for which there is one."""
        rest = {key: value for key, value in schema.items() if key != choice}
        for option in options:
            if option is True:
                return self.make(rest, name, depth + 1)
            if not isinstance(option, Mapping):
                continue
            try:
                return self.make(_both(rest, option), name, depth + 1)
            except NoInstanceError:
                continue
        raise NoInstanceError(f"no option of {choice} has a value")

    def _of_enum(self, options: list[Any], schema: Mapping[str, Any]) -> JsonValue:
        allowed = [one for one in options if _fits_type(one, schema.get("type"))]
        if not allowed:
            raise NoInstanceError("no value of an enum is of its type")
        return _json(allowed[0])

    def _of_type(self, schema: Mapping[str, Any], kind: object, name: str, depth: int) -> JsonValue:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "string":
                return _string(schema, name)
            case "integer" | "number":
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return True
            case "null":
                return None
            case _:
                raise NoInstanceError("its type is none of JSON")

    def _object(self, schema: Mapping[str, Any], depth: int) -> JsonValue:
        members = schema.get("properties")
        members = members if isinstance(members, Mapping) else {}
        required = schema.get("required")
        names = [one for one in required if isinstance(one, str)] if isinstance(required, list) else []
        others = schema.get("additionalProperties", True)
        least = _count(schema.get("minProperties"))
        names += [one for one in members if one not in names][: max(0, least - len(set(names)))]
        if len(names) < least:
            names += [f"member{number}" for number in range(1, least - len(names) + 1)]
        return {one: self.make(members.get(one, others), one, depth + 1) for one in names}

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> JsonValue:
        first = schema.get("prefixItems")
        first = first if isinstance(first, list) else []
        items = schema.get("items", True)
        if isinstance(items, list):  # as before 2020-12
            first, items = items, schema.get("additionalItems", True)
        least = _count(schema.get("minItems"))
        made = [self.make(first[index] if index < len(first) else items, name, depth + 1) for index in range(least)]
        if "contains" in schema and _count(schema.get("minContains", 1)) and not made:
            made.append(self.make(schema["contains"], name, depth + 1))
        if schema.get("uniqueItems") is True and len(made) > 1:
            made = _distinct(made, items)
        return made


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that allows what both allow, as far as it can be said in one."""
    both = dict(one)
    for key, value in other.items():
        mine = both.get(key)
        match key:
            case "properties" if isinstance(mine, Mapping) and isinstance(value, Mapping):
                shared = {name: {"allOf": [mine[name], value[name]]} for name in value if name in mine}
                both[key] = {**mine, **value, **shared}
            case "required" if isinstance(mine, list) and isinstance(value, list):
                both[key] = [*mine, *(name for name in value if name not in mine)]
            case "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties" if _is_number(mine):
                both[key] = max(mine, value) if _is_number(value) else mine
            case "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties" if _is_number(mine):
                both[key] = min(mine, value) if _is_number(value) else mine
            case "type" if mine is not None:
                kinds = [kind for kind in _kinds(mine) if kind in _kinds(value) or _is_whole(kind, value)]
                kinds += [kind for kind in _kinds(value) if kind == "integer" and "number" in _kinds(mine)]
                both[key] = kinds
            case "enum" if isinstance(mine, list) and isinstance(value, list):
                both[key] = [option for option in mine if option in value]
            case "allOf" if isinstance(mine, list) and isinstance(value, list):
                both[key] = [*mine, *value]
            case "anyOf" | "oneOf" if isinstance(mine, list) and isinstance(value, list):
                pairs = islice(product(mine, value), _MOST_ITEMS)
                both[key] = [{"allOf": list(pair)} for pair in pairs]
            case "$ref" if mine is not None:
                both["allOf"] = [*both.get("allOf", ()), {key: value}]
            case _:
                both[key] = value
    return both


def _kinds(kind: object) -> list[Any]:
    return kind if isinstance(kind, list) else [kind]


def _is_whole(kind: object, other: object) -> bool:
    return kind == "integer" and "number" in _kinds(other)


def _type_of(schema: Mapping[str, Any]) -> object:
    """The type to make: one that is said, null last; else that which the other words are about."""
    if (kind := schema.get("type")) is not None:
        kinds = _kinds(kind)
        return next((one for one in kinds if one != "null"), kinds[0] if kinds else "")
    for kind, words in _ABOUT.items():
        if not words.isdisjoint(schema):
            return kind
    return "string"


_ABOUT: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset({"properties", "required", "additionalProperties", "minProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "contains"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
}


def _fits_type(value: object, kind: object) -> bool:
    return kind is None or any(_is_of(value, one) for one in _kinds(kind))


def _is_of(value: object, kind: object) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "integer":
            return _is_number(value) and value == math.floor(value)
        case "number":
            return _is_number(value)
        case "object":
            return isinstance(value, Mapping)
        case "array":
            return isinstance(value, list)
        case _:
            return False


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: object) -> int:
    """A bound of a length, 0 if it is none. Raises ``NoInstanceError`` for one that is too large."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return 0
    if value > _MOST_ITEMS:
        raise NoInstanceError("it wants too much")
    return max(0, math.ceil(value))


def _string(schema: Mapping[str, Any], name: str) -> str:
    if isinstance(pattern := schema.get("pattern"), str):
        text = text_of_pattern(pattern)
        if text is None:
            raise NoInstanceError("no text of a pattern is found")
    elif isinstance(known := schema.get("format"), str) and known in _FORMATS:
        return _FORMATS[known]
    else:
        text = name
    least, most = schema.get("minLength"), schema.get("maxLength")
    if _is_number(least) and len(text) < least:
        if least > _MOST_CHARACTERS:
            raise NoInstanceError("it wants too much")
        if "pattern" in schema:
            raise NoInstanceError("a text of a pattern is too short")
        text = (text or "a").ljust(math.ceil(least), "a")
    if _is_number(most) and len(text) > most:
        if "pattern" in schema:
            raise NoInstanceError("a text of a pattern is too long")
        text = text[: max(0, math.floor(most))]
    return text


def _number(schema: Mapping[str, Any], *, whole: bool) -> JsonValue:
    """Nought, or the number next to it that is allowed."""
    step = schema.get("multipleOf")
    step = step if _is_number(step) and step > 0 else (1 if whole else None)
    if whole and isinstance(step, float):
        step = math.ceil(step)
    low, above = _bound(schema, "minimum", "exclusiveMinimum", max)
    high, below = _bound(schema, "maximum", "exclusiveMaximum", min)
    value: float = 0
    if low is not None and (low > 0 or (low == 0 and above)):
        value = low if step is None else math.ceil(low / step) * step
        if above and value <= low:
            value = value + step if step is not None else _between(low, high)
    elif high is not None and (high < 0 or (high == 0 and below)):
        value = high if step is None else math.floor(high / step) * step
        if below and value >= high:
            value = value - step if step is not None else _between(low, high)
    if (high is not None and (value > high or (below and value == high))) or (low is not None and value < low):
        raise NoInstanceError("no number is between its bounds")
    return int(value) if whole or value == math.floor(value) else value


def _bound(schema: Mapping[str, Any], word: str, strict: str, tighter: Any) -> tuple[float | None, bool]:
    """A bound, and whether it is itself left out."""
    bound, outside = schema.get(word), schema.get(strict)
    bound = bound if _is_number(bound) else None
    if outside is True:  # as in draft 4
        return bound, bound is not None
    if not _is_number(outside):
        return bound, False
    if bound is None or tighter(bound, outside) == outside:
        return outside, True
    return bound, False


def _between(low: float | None, high: float | None) -> float:
    if low is not None and high is not None:
        return (low + high) / 2
    return low + 1 if low is not None else (high or 0) - 1


def _distinct(made: list[JsonValue], items: object) -> list[JsonValue]:
    """Items of which no two are the same: by number, or by an enum."""
    options = items.get("enum") if isinstance(items, Mapping) else None
    if isinstance(options, list) and len(options) >= len(made):
        return [_json(one) for one in options[: len(made)]]
    if all(isinstance(one, str) for one in made):
        return [f"{one}{number}" if number else one for number, one in enumerate(made)]
    if all(isinstance(one, int) and not isinstance(one, bool) for one in made):
        return [one + number for number, one in enumerate(made) if isinstance(one, int)]
    raise NoInstanceError("no distinct items are found")


def _json(value: Any) -> JsonValue:
    """A value that stands in the schema."""
    return value  # type: ignore[no-any-return]  # it came out of JSON
