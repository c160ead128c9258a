"""The schemas of the Gemini API, which are a subset of OpenAPI's, as JSON Schema.

Owns that one way: back there is none, since a schema that came so is kept beside what was made of it, and others are
sent as ``parametersJsonSchema`` and ``responseJsonSchema``, which the API takes as they are. Some clients use words of
the one kind in the other, so both go this way; JSON Schema stays as it is on it.

Types are told in upper case, by most clients; ``nullable`` is a type more; counts may be texts, as JSON writes 64-bit
integers of protocol buffers; the values of an ``enum`` always are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from motive_core.ir import Json

_COUNTS: Final = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_SNAKE: Final[Mapping[str, str]] = {
    "any_of": "anyOf",
    "additional_properties": "additionalProperties",
    "max_items": "maxItems",
    "max_length": "maxLength",
    "max_properties": "maxProperties",
    "min_items": "minItems",
    "min_length": "minLength",
    "min_properties": "minProperties",
    "property_ordering": "propertyOrdering",
    "defs": "$defs",
    "ref": "$ref",
}
_LEFT_OUT: Final = frozenset({"nullable", "propertyOrdering", "example"})
"""What JSON Schema has no word for."""
_NUMBERS: Final[Mapping[str, type[int] | type[float]]] = {"integer": int, "number": float}


def json_schema(schema: Json) -> Json:
    """A schema of the Gemini API as JSON Schema; what is no object is given back."""
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Json] = {}
    for key, value in schema.items():
        name = _camel(key)
        if value is not None and name not in _LEFT_OUT:
            found[name] = _keyword(name, value)
    kind = found.get("type")
    if kind == "type_unspecified":
        del found["type"]
    if isinstance(kind, str) and kind in _NUMBERS and isinstance(found.get("enum"), list):
        found["enum"] = [_number(value, _NUMBERS[kind]) for value in found["enum"]]
    if schema.get("nullable") is True:
        _allow_null(found)
    return found


def _camel(name: str) -> str:
    return _SNAKE.get(name, name)


def _keyword(name: str, value: Json) -> Json:
    match name, value:
        case "type", str():
            return value.lower()
        case "type", list():
            return [one.lower() if isinstance(one, str) else one for one in value]
        case (("properties" | "$defs"), dict()):
            return {key: json_schema(one) for key, one in value.items()}
        case (("items" | "additionalProperties" | "not"), dict()):
            return json_schema(value)
        case (("anyOf" | "oneOf" | "allOf" | "prefixItems"), list()):
            return [json_schema(one) for one in value]
        case _, str() if name in _COUNTS:
            return _number(value, int)
        case _:
            return value


def _number(value: Json, kind: type[int] | type[float]) -> Json:
    try:
        return kind(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _allow_null(schema: dict[str, Json]) -> None:
    match schema.get("type"):
        case str(kind) if kind != "null":
            schema["type"] = [kind, "null"]
        case list(kinds) if "null" not in kinds:
            schema["type"] = [*kinds, "null"]
        case _:
            pass
    if isinstance(values := schema.get("enum"), list) and None not in values:
        schema["enum"] = [*values, None]
    if isinstance(choices := schema.get("anyOf"), list):
        schema["anyOf"] = [*choices, {"type": "null"}]
