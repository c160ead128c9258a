"""Values against schemas that strangers wrote: what fits, and that no schema holds up the proxy or breaks a check."""

from __future__ import annotations

import json
import math
import time
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from motive_core.fit import format_misfit, misfit
from motive_core.ir import Json, ResponseFormat
from motive_core.linear import states
from motive_core.schemas import SECONDS, fault
from tests.core.strategies import json_values

EXPONENTIAL: Final = "^(a+)+$"
SLOW: Final = "a" * 40 + "!"
WIDE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {f"p{i}": {"type": "object", "properties": {"x": {"type": "string"}}} for i in range(8000)},
}


def chain(keyword: str, length: int) -> dict[str, Any]:
    """Definitions of which each asks twice for the next one."""
    twice = {f"d{i}": {keyword: [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**twice, f"d{length}": {"type": ["string", "object"]}}}


def seconds(value: Json, schema: Json) -> tuple[str | None, float]:
    began = time.thread_time()
    return misfit(value, schema), time.thread_time() - began


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ("x", chain("allOf", 30)),
        (1, chain("anyOf", 30)),
        (1, chain("oneOf", 30)),
        ("x", {"$schema": "http://json-schema.org/draft-04/schema#", **chain("allOf", 30)}),
        ({"a": 1}, {**chain("allOf", 30), "unevaluatedProperties": False}),
        ({"a": "x" * 1_000_000}, {"properties": {"a": {"anyOf": [{"type": "integer"}] * 5000}}}),
        ("é" * 50_000, {"anyOf": [{"pattern": rf"\w{{{200 - i}}}[^\w]"} for i in range(100)]}),
        ("01" * 20_000, {"pattern": "1[01]{3000}(?:[01]0[^01]|[01]1[^01])"}),
        ({"a": "x"}, {"$schema": "http://json-schema.org/draft-03/schema#", "extends": [{"$ref": "#"}] * 2}),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_a_check_that_takes_too_long_is_given_up(value: Json, schema: Json) -> None:
    why, took = seconds(value, schema)
    assert why is None
    assert took < SECONDS * 4


@pytest.mark.parametrize(
    ("value", "schema", "why"),
    [
        (SLOW, {"pattern": EXPONENTIAL}, "does not match"),
        (SLOW, {"allOf": [{"$schema": Draft202012Validator.META_SCHEMA["$id"], "pattern": EXPONENTIAL}]}, "not match"),
        ({SLOW: 1}, {"patternProperties": {EXPONENTIAL: {}}, "additionalProperties": False}, "does not match any"),
        ({SLOW: 1}, {"patternProperties": {EXPONENTIAL: {}}, "unevaluatedProperties": False}, "unexpected"),
        ({SLOW: 1}, {"propertyNames": {"pattern": EXPONENTIAL}}, "does not match"),
        ([{"a": i % 3999} for i in range(4000)], {"uniqueItems": True}, "has non-unique elements"),
        ([*[i * (2**61 - 1) for i in range(20_000)], 0], {"uniqueItems": True}, "has non-unique elements"),
        ([0] * 20_001, {"prefixItems": [True] * 20_000, "unevaluatedItems": False}, "Unevaluated items are not"),
        ({"p0": {"x": 1}}, WIDE, "p0/x: 1 is not of type 'string'"),
    ],
)
def test_what_took_long_is_checked_all_the_same(value: Json, schema: Json, why: str) -> None:
    told, took = seconds(value, schema)
    assert told is not None
    assert why in told
    assert took < SECONDS


def test_a_schema_is_looked_at_once() -> None:
    schema = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1500)}}
    misfit({}, schema)
    assert seconds({"p1": 1}, json.loads(json.dumps(schema)))[1] < 0.05
    schema["required"] = ["a"]
    assert misfit({}, schema) == "the object: 'a' is a required property"


STRANGE: Final[list[Any]] = [
    {"$schema": 3},
    {"$schema": []},
    {"$schema": {}},
    {"$schema": "no such"},
    {"properties": {"a": {"$schema": []}}},
    {"properties": {"a": {"multipleOf": 0}}},
    {"properties": {"a": {"multipleOf": math.inf}}},
    {"properties": {"a": {"multipleOf": math.nan}}},
    {"properties": {"a": {"multipleOf": 1e-320}}},
    {"properties": {"a": {"multipleOf": True}}},
    {"properties": {"a": {"minimum": "x"}}},
    {"properties": {"a": {"pattern": "("}}},
    {"properties": {"a": {"pattern": "a{1000}{1000}"}}},
    {"patternProperties": {"(": {}}},
    {"patternProperties": {"(?=a)": {}}, "additionalProperties": False},
    {"properties": []},
    {"required": True},
    {"required": "ab"},
    {"type": "no such type"},
    {"$id": 3},
    {"$id": "http://[::1"},
    {"$ref": 3},
    {"$ref": "http://[::1/"},
    {"$ref": "#/items/0"},
    {"$ref": "#/%zz"},
    {"$ref": "#"},
    {"$defs": {"x": {"$id": 3}}, "$ref": "#/$defs/x"},
    {"$dynamicRef": "#x"},
    {"$anchor": "%"},
    {"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveRef": "#"},
    {"$schema": "http://json-schema.org/draft-03/schema#", "type": "no such type"},
    {"$schema": "http://json-schema.org/draft-03/schema#", "extends": {"$ref": "#"}},
    {"enum": {"a": 1}},
    {3: 4},
    {"a": b""},
    {"allOf": [{"items": [{}]}], "minItems": math.nan},
]


@pytest.mark.parametrize("schema", STRANGE, ids=repr)
@pytest.mark.parametrize(
    "value",
    [{"a": "x"}, {"a": 1}, {"a": 1e308}, {"a": 10**400}, {"a": math.nan}, [[1]]],
    ids=lambda one: repr(one)[:12],
)
def test_a_strange_schema_checks_nothing(schema: Json, value: Json) -> None:
    why = misfit(value, schema)
    assert why is None or "is not a multiple of" in why


KEYWORDS: Final = [*sorted(Draft202012Validator.VALIDATORS), "$schema", "$id", "$anchor", "$defs", "then", "else"]
TYPES: Final = st.sampled_from(["string", "object", "array", "integer", "number", "boolean", "null"])
PATTERNS: Final = st.sampled_from(["a", "^a*$", "^[a-c]+$", r"\d", "(a+)+$", "b|c"])
REFERENCES: Final = st.sampled_from(["#", "#/$defs/a", "#/properties/a", "#x", "http://127.0.0.1:9/"])
ANYTHING: Final = json_values | st.just(math.inf) | st.just(math.nan) | REFERENCES | PATTERNS | TYPES
hostile_schemas = st.recursive(
    st.dictionaries(st.sampled_from(KEYWORDS), ANYTHING, max_size=4),
    lambda inner: st.dictionaries(
        st.sampled_from(KEYWORDS),
        inner | st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3) | ANYTHING,
        max_size=4,
    ),
    max_leaves=8,
)


@given(schema=hostile_schemas, value=json_values)
@settings(deadline=None)
def test_no_schema_raises(schema: dict[str, Any], value: Json) -> None:
    misfit(value, schema)


NUMBERS: Final = st.integers(-3, 3) | st.sampled_from([0.5, 1.0, 2.0, -1.5])
values = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text("abc1", max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def members(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several, named = st.lists(inner, min_size=1, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES,
            "enum": st.lists(values, max_size=3),
            "multipleOf": st.sampled_from([1, 2, 0.5, 1.5]),
            "pattern": PATTERNS,
            "uniqueItems": st.booleans(),
            "items": inner,
            "prefixItems": several,
            "contains": inner,
            "properties": named,
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "additionalProperties": inner,
            "unevaluatedProperties": inner,
            "unevaluatedItems": inner,
            "propertyNames": inner,
            "dependentSchemas": named,
            "allOf": several,
            "anyOf": several,
            "oneOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
        },
    )


@given(schema=members(st.recursive(st.booleans(), members, max_leaves=6)), value=values)
@settings(deadline=None)
@example(schema={"uniqueItems": True}, value=[1, True, 1.5, {"a": 1, "b": 2}, {"b": 2.0, "a": 1.0}])
@example(schema={"uniqueItems": True}, value=[1, True, [0], [False], "1", None, "None"])
def test_what_fits_is_what_the_library_says(schema: dict[str, Any], value: Json) -> None:
    assert (fault(value, schema) is None) is Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"properties": {"a": {"pattern": "^(?!b).*c"}, "b": {"type": "string"}}}, "b: 1 is not of type 'string'"),
        ({"not": {"properties": {"a": {"pattern": "^(?!b)"}}}}, None),
        ({"oneOf": [{"required": ["a"]}, {"properties": {"a": {"pattern": "(?=z)"}}}]}, None),
        ({"if": {"properties": {"a": {"pattern": "(?=z)"}}}, "then": {"required": ["z"]}}, None),
        ({"if": {"properties": {"a": {"pattern": "z"}}}, "else": {"required": ["z"]}}, "'z' is a required property"),
    ],
)
def test_a_pattern_that_is_not_linear_is_left_out(schema: Json, why: str | None) -> None:
    told = misfit({"a": "x", "b": 1}, schema)
    assert told is None if why is None else told is not None and why in told


@pytest.mark.parametrize(
    ("pattern", "size"),
    [("abc", 3), ("(ab){3}", 10), ("a{2,5}?b*", 8), ("[a-z(]+|c", 5), (r"\(\w", 22), ("(?i:a(?P<x>b){10}){10}", 231)],
)
def test_how_large_a_regex_is(pattern: str, size: int) -> None:
    assert states(pattern) == size


@pytest.mark.parametrize("pattern", ["a)", "[a[b]]", "[a&&b]", "(?x)a", "(?x:a)", "a{ 5000 }", "a{5, 6}"])
def test_regexes_whose_size_is_not_told(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        states(pattern)


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}'])
def test_numbers_that_no_parser_of_json_takes(text: str) -> None:
    for wanted in (ResponseFormat("json_object"), ResponseFormat("json_schema", schema={})):
        assert (format_misfit(text, wanted) or "").startswith("the app asked for JSON, and this is none")
