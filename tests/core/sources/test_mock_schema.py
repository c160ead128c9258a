"""A value that a JSON Schema allows: seen by a validator of somebody else's."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from motive_core.sources.mock_pattern import text_of_pattern
from motive_core.sources.mock_schema import NoInstanceError, instance_of

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 18},
        "boss": {"$ref": "#/$defs/p"},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE = {"type": "object", "properties": {"left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["left"]}
LINKED = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}, "v": {"const": 3}},
            "required": ["v"],
        }
    },
}

SCHEMAS: list[Any] = [
    True,
    {},
    {"type": "string"},
    {"type": "string", "minLength": 20},
    {"type": "string", "maxLength": 2},
    {"type": "string", "maxLength": 0},
    *({"type": "string", "format": name} for name in ("date", "date-time", "email", "ipv4", "ipv6", "uuid")),
    *({"type": "string", "format": name} for name in ("uri", "hostname", "duration", "something else")),
    *({"type": "string", "pattern": text} for text in (r"^[a-z]+$", r"^\d{3}-\d{4}$", "^(foo|ba+r)$", r"^[^a]{2,}$")),
    *({"type": "string", "pattern": text} for text in ("^(?:[A-F0-9]{2}:){5}[A-F0-9]{2}$", r"^\$?\d+(\.\d{2})?$", ".")),
    {"type": "integer"},
    *({"type": kind, "minimum": 5} for kind in ("integer", "number")),
    *({"type": kind, "exclusiveMinimum": 5, "maximum": 9} for kind in ("integer", "number")),
    *({"type": kind, "maximum": -3} for kind in ("integer", "number")),
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.1},
    {"type": "integer", "minimum": 7, "multipleOf": 5},
    {"type": "integer", "exclusiveMaximum": 0, "multipleOf": 4},
    {"type": "number", "multipleOf": 0.5, "minimum": 0.75},
    {"type": "boolean"},
    {"type": "null"},
    {"type": ["null", "string"]},
    {"enum": ["a", 1, None]},
    {"type": "integer", "enum": ["a", 1]},
    {"const": {"a": [1]}},
    {"minimum": 3},
    {"items": {"type": "string"}, "minItems": 2},
    {"type": "array", "items": {"type": "integer"}},
    {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False, "minItems": 2},
    {"type": "array", "contains": {"const": 4}},
    {"properties": {"a": {"type": "integer"}}, "required": ["a", "b"]},
    {"type": "object", "minProperties": 2, "properties": {"a": {"type": "integer"}}},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1},
    {"$defs": {"p": {"type": "object"}}, **PERSON},
    {"$defs": {"p": {"type": "object"}}, **PERSON, "required": ["name", "age", "boss"]},
    TREE,
    LINKED,
    {"anyOf": [{"type": "string", "enum": [1]}, {"type": "integer"}]},
    {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    {"type": "string", "anyOf": [{"type": "integer"}, {"minLength": 9}]},
    {"allOf": [{"type": "integer", "minimum": 2}, {"minimum": 5}, {"maximum": 6}]},
    {"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"minimum": 4}}, "required": ["a"]}]},
    {"allOf": [{"anyOf": [{"type": "string"}, {"type": "integer"}]}, {"anyOf": [{"type": "boolean"}, {"minimum": 1}]}]},
    {"allOf": [{"type": "number"}, {"type": "integer"}]},
    {"$defs": {"a": {"type": "integer"}, "b": {"minimum": 4}}, "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]},
    {"$defs": {"a/b~c": {"const": 1}}, "$ref": "#/$defs/a~1b~0c"},
    {"$defs": {"a b": {"const": 1}}, "$ref": "#/$defs/a%20b"},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_a_value_is_allowed(schema: Any) -> None:
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(instance_of(schema))


def test_it_is_small_and_told_by_names() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {}}, "required": ["city"]}
    assert instance_of(schema) == {"city": "city"}
    assert instance_of({"type": "array", "items": {"type": "string"}}) == []


DOUBLING = {f"d{n}": {"type": "array", "minItems": 9, "items": {"$ref": f"#/$defs/d{n + 1}"}} for n in range(20)}
PRODUCTS = [{"anyOf": [{"minimum": n}] * 60} for n in range(12)]


@pytest.mark.parametrize(
    "schema",
    [
        False,
        None,
        7,
        [],
        {"type": "fish"},
        {"type": []},
        {"enum": []},
        {"type": "string", "enum": [1]},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "minItems": 10**9},
        {"type": "object", "minProperties": 10**9},
        {"type": "array", "minItems": float("inf")},
        {"type": "string", "pattern": "^(a{9000}){9000}$"},
        {"type": "string", "pattern": "("},
        {"type": "string", "pattern": r"(?=b)a"},
        {"type": "string", "pattern": "^a$", "minLength": 3},
        {"$ref": "#"},
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.com/schema"},
        {"$ref": 7},
        {"allOf": [{"$ref": "#"}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"type": "object", "required": ["a"], "additionalProperties": False},
        {"allOf": [True, False]},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"anyOf": [{"type": "fish"}, False, 7]},
        {"$defs": {**DOUBLING, "d20": {"type": "integer"}}, "$ref": "#/$defs/d0"},
    ],
    ids=lambda schema: str(schema)[:80],
)
def test_there_is_none(schema: Any) -> None:
    with pytest.raises(NoInstanceError):
        instance_of(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": PRODUCTS},
        {"anyOf": [{"$ref": "#"}] * 1000},
        {"type": "object", "properties": {"a": {"anyOf": [{"$ref": "#"}] * 50}}, "required": ["a"]},
        {"allOf": [{"allOf": [{"type": "integer"}] * 200}] * 200},
    ],
    ids=["products", "itself", "a tree of itself", "all of all"],
)
def test_what_grows_without_end_is_given_up(schema: Any) -> None:
    began = time.perf_counter()
    with contextlib.suppress(NoInstanceError):
        instance_of(schema)
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "^$",
        "abc",
        "[a-c]x?y*",
        r"\w+@\w+\.\w{2,}",
        "[^abc]",
        r"[^\w\s]",
        "(a|bc)(?P<n>d)",
        "(?i)A{3}?",
        r"\d\D\s\S\w\W",
    ],
)
def test_a_text_that_a_pattern_takes(pattern: str) -> None:
    assert text_of_pattern(pattern) is not None


@pytest.mark.parametrize("pattern", ["(", "a{1000000}", r"(a)\1", "(?!a)a", "x" * 3000, "(" * 500 + ")" * 500])
def test_a_pattern_of_which_none_is_known(pattern: str) -> None:
    assert text_of_pattern(pattern) is None
