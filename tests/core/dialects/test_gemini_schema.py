"""Schemas of the Gemini API as JSON Schema, which ``jsonschema`` then understands."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from motive_core.dialects.gemini_schema import json_schema


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": "TYPE_UNSPECIFIED", "description": "any"}, {"description": "any"}),
        ({"type": ["STRING", "null"]}, {"type": ["string", "null"]}),
        ({"type": "INTEGER", "nullable": True}, {"type": ["integer", "null"]}),
        ({"type": "INTEGER", "nullable": False}, {"type": "integer"}),
        ({"type": ["STRING"], "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "STRING", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"type": "INTEGER", "enum": ["1", "2", "x"]}, {"type": "integer", "enum": [1, 2, "x"]}),
        ({"type": "NUMBER", "enum": ["1.5"]}, {"type": "number", "enum": [1.5]}),
        ({"any_of": [{"type": "STRING"}], "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (
            {"type": "ARRAY", "items": {"type": "BOOLEAN"}, "minItems": "1", "max_items": 2},
            {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        ),
        (
            {
                "type": "OBJECT",
                "properties": {"nullable": {"type": "STRING"}, "any_of": {"type": "OBJECT"}, "type": {"type": "NULL"}},
                "required": ["nullable"],
                "propertyOrdering": ["type"],
                "property_ordering": ["type"],
                "additional_properties": {"type": "NUMBER"},
                "example": {"type": "STRING"},
            },
            {
                "type": "object",
                "properties": {"nullable": {"type": "string"}, "any_of": {"type": "object"}, "type": {"type": "null"}},
                "required": ["nullable"],
                "additionalProperties": {"type": "number"},
            },
        ),
        (
            {"defs": {"N": {"type": "OBJECT", "properties": {"next": {"ref": "#/$defs/N"}}}}, "ref": "#/$defs/N"},
            {"$defs": {"N": {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}}, "$ref": "#/$defs/N"},
        ),
        ({"type": None, "minItems": "x", "maxLength": None}, {"minItems": "x"}),
        (True, True),
        ("x", "x"),
    ],
)
def test_as_json_schema(schema: Any, expected: Any) -> None:
    assert json_schema(schema) == expected
    assert json_schema(expected) == expected


def test_json_schema_stays_as_it_is() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"a": {"type": ["string", "null"], "default": {"type": "STRING"}, "const": "TYPE"}},
        "additionalProperties": False,
        "oneOf": [{"required": ["a"]}, {"not": {"required": ["a"]}}],
        "prefixItems": [{"type": "number"}],
    }
    assert json_schema(schema) == schema


def test_arguments_are_checked_by_it() -> None:
    schema = json_schema(
        {
            "type": "OBJECT",
            "properties": {"city": {"type": "STRING"}, "days": {"type": "INTEGER", "nullable": True}},
            "required": ["city"],
        }
    )
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"city": "Köln", "days": None})
    assert validator.is_valid({"city": "Köln", "days": 2})
    assert not validator.is_valid({"city": 1})
    assert not validator.is_valid({"days": 1})
