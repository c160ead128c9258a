"""Whether a value fits a JSON Schema that somebody else wrote, who may mean ill.

Owns what a check may cost, and that it raises nothing but ``UnusableError``. A schema is checked once and kept for the
next call that brings it. Nothing is ever fetched. Keywords that could take more time than their place in the schema
tells are our own: regexes are linear, and so is the search for what is there twice.

The result depends on a clock in one case: where a check would hold everything else up.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypedDict

import attrs
from jsonschema import validators
from jsonschema.exceptions import ValidationError
from pydantic import Field, TypeAdapter
from referencing import Registry
from referencing.jsonschema import lookup_recursive_ref

from motive_core.ir import Json
from motive_core.linear import LinearRegex, encodable, states

SECONDS: Final = 0.25
"""How much of a processor's time one check may take, and then a single step more."""

STEPS: Final = 100_000
"""How many keywords one check may look at."""

SCHEMA_CHARACTERS: Final = 1_000_000
"""The size of the largest schema that is looked at, as JSON."""

_KEPT_CHARACTERS: Final = 64_000
"""The size of the largest one that is kept."""

_EXACT_INTEGERS: Final = 2**53
"""Below this, floats hold each integer."""

_PATTERN_STATES: Final = 5_000
_PATTERN_WORK: Final = 10_000_000
"""States times characters: some 150 ms."""

type _Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]


class UnusableError(Exception):
    """A schema that is none, or that takes too long. The message says which, for the log."""


class _Run:
    """One check: what is left of its budget, and the regexes that it met."""

    __slots__ = ("_deadline", "_left", "_regexes", "skipped")

    def __init__(self) -> None:
        self._left = STEPS
        self._deadline = time.thread_time() + SECONDS
        self._regexes: dict[str, tuple[LinearRegex, int] | None] = {}
        self.skipped = False
        """Whether a pattern was taken to match since it could not be looked at."""

    def step(self) -> None:
        """One step of the check. Raises ``UnusableError`` when there were too many."""
        self._left -= 1
        if self._left < 0 or (self._left % 16 == 0 and time.thread_time() > self._deadline):
            raise UnusableError("it takes too long")

    def matches(self, pattern: str, text: str) -> bool | None:
        """Whether a regex matches; None if that cannot be told in linear time."""
        if time.thread_time() > self._deadline:
            raise UnusableError("it takes too long")
        if pattern not in self._regexes:
            self._regexes[pattern] = _regex(pattern)
        found = self._regexes[pattern]
        if found is None or found[1] * len(text) > _PATTERN_WORK:
            return None
        return found[0].matches(encodable(text))


_RUN: Final[ContextVar[_Run]] = ContextVar("run")


def _regex(pattern: str) -> tuple[LinearRegex, int] | None:
    try:
        size = states(pattern)
        return (LinearRegex(pattern), size) if size <= _PATTERN_STATES else None
    except ValueError:
        return None


def fault(value: Json, schema: dict[str, Any]) -> ValidationError | None:
    """The first thing about a value that does not fit. Raises ``UnusableError``."""
    run = _Run()
    token = _RUN.set(run)
    try:
        written = json.dumps(schema)
        if len(written) > SCHEMA_CHARACTERS:
            raise UnusableError("it is too large")
        check = (_checker if len(written) <= _KEPT_CHARACTERS else _checker.__wrapped__)(written)
        if check is None:
            raise UnusableError("it is not valid")
        errors: Iterator[ValidationError] = check.iter_errors(value)
        for error in errors:
            # Where a pattern was skipped, what says that something must not match says nothing.
            if not run.skipped or _TURNS.isdisjoint(error.absolute_schema_path):
                return error
    except UnusableError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a library makes of what a stranger wrote
        raise UnusableError(type(error).__name__) from None
    finally:
        _RUN.reset(token)
    return None


@lru_cache(maxsize=32)
def _checker(written: str) -> Any:
    """A validator, None for a schema that is none. Made from text, so that nobody changes what is kept."""
    schema = json.loads(written)
    stock = validators.validator_for(schema, default=validators.Draft202012Validator)
    kind = _GUARDED[stock]
    if stock in _OLD:
        is_valid = kind(stock.META_SCHEMA, registry=Registry()).is_valid(schema)
    else:
        is_valid = _SHAPE.validator.isinstance_python(schema, strict=True)
    # A registry of its own keeps a ``$ref`` to somewhere else from being fetched.
    return kind(schema, registry=Registry()) if is_valid else None


# What a schema is made of, from draft 6 on: the same as the metaschemas say, a hundred times as fast. What only
# describes is left out: nobody's answer is less checked because a title is no text.

type _Schema = "bool | _Members"
type _Schemas = Annotated[list[_Schema], Field(min_length=1)]
type _Named = dict[str, _Schema]
type _Number = int | float
type _Count = Annotated[_Number, Field(ge=0)]
type _Type = Literal["array", "boolean", "integer", "null", "number", "object", "string"]

_Members = TypedDict(
    "_Members",
    {
        "$id": str,
        "$ref": str,
        "$anchor": str,
        "$dynamicRef": str,
        "$dynamicAnchor": str,
        "$recursiveRef": str,
        "$defs": _Named,
        "definitions": _Named,
        "type": _Type | Annotated[list[_Type], Field(min_length=1)],
        "enum": list[Any],
        "multipleOf": Annotated[_Number, Field(gt=0)],
        "minimum": _Number,
        "maximum": _Number,
        "exclusiveMinimum": _Number,
        "exclusiveMaximum": _Number,
        "minLength": _Count,
        "maxLength": _Count,
        "pattern": str,
        "items": _Schema | list[_Schema],
        "prefixItems": _Schemas,
        "additionalItems": _Schema,
        "unevaluatedItems": _Schema,
        "contains": _Schema,
        "minContains": _Count,
        "maxContains": _Count,
        "minItems": _Count,
        "maxItems": _Count,
        "uniqueItems": bool,
        "properties": _Named,
        "patternProperties": _Named,
        "additionalProperties": _Schema,
        "unevaluatedProperties": _Schema,
        "propertyNames": _Schema,
        "required": list[str],
        "minProperties": _Count,
        "maxProperties": _Count,
        "dependencies": dict[str, _Schema | list[str]],
        "dependentRequired": dict[str, list[str]],
        "dependentSchemas": _Named,
        "allOf": _Schemas,
        "anyOf": _Schemas,
        "oneOf": _Schemas,
        "not": _Schema,
        "if": _Schema,
        "then": _Schema,
        "else": _Schema,
    },
    total=False,
)
_SHAPE: Final[TypeAdapter[Any]] = TypeAdapter(_Members)


# Keywords of our own. Their words are those of the library.


def _pattern(_: Any, pattern: str, instance: Json, __: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, str):
        return
    found = _RUN.get().matches(pattern, instance)
    if found is None:
        _RUN.get().skipped = True
    elif not found:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _name_matches(pattern: str, name: str) -> bool:
    """Raises ``UnusableError``: what a name may hold cannot be told without an answer."""
    found = _RUN.get().matches(pattern, name)
    if found is None:
        raise UnusableError("a pattern of names is not linear")
    return found


def _pattern_properties(validator: Any, patterns: Any, instance: Json, _: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, schema in patterns.items():
        for name, value in instance.items():
            if _name_matches(pattern, name):
                yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Json, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict) or allowed is True:
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extras = [
        name for name in instance if name not in known and not any(_name_matches(pattern, name) for pattern in patterns)
    ]
    if isinstance(allowed, dict):
        for name in extras:
            yield from validator.descend(instance[name], allowed, path=name)
    elif extras and patterns:
        verb = "does" if len(extras) == 1 else "do"
        named = ", ".join(map(repr, sorted(patterns)))
        yield ValidationError(f"{_named(sorted(extras))} {verb} not match any of the regexes: {named}")
    elif extras:
        yield ValidationError(f"Additional properties are not allowed ({_unexpected(sorted(extras))})")


def _unique_items(_: Any, wanted: Any, instance: Json, __: Any) -> Iterator[ValidationError]:
    if wanted and isinstance(instance, list) and len({_canonical(item) for item in instance}) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _canonical(value: Json) -> str:
    """The same text for what JSON Schema takes to be equal: ``1`` and ``1.0``, objects in any order. It is a text since
    numbers can be chosen so that all of them have one hash."""
    _RUN.get().step()
    match value:
        case None | bool():
            return repr(value)
        case int():
            return hex(value)
        case float():
            return hex(int(value)) if value.is_integer() else value.hex()
        case list():
            return f"[{','.join(map(_canonical, value))}]"
        case dict():
            return "{" + ",".join(f"{name!r}:{_canonical(value[name])}" for name in sorted(value)) + "}"
        case _:
            return repr(value)


def _multiple_of(_: Any, factor: Any, instance: Json, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, bool) or not isinstance(instance, int | float):
        return
    if isinstance(factor, int):
        failed = instance % factor != 0
    elif abs(instance) < _EXACT_INTEGERS and math.isfinite(quotient := instance / factor):
        failed = not quotient.is_integer()
    else:
        failed = (Fraction(instance) / Fraction(factor)).denominator != 1
    if failed:
        yield ValidationError(f"{instance!r} is not a multiple of {factor}")


def _unevaluated_items(validator: Any, allowed: Any, instance: Json, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, list):
        return
    known = _evaluated(validator, instance, schema)
    # Items that fit what is allowed are among those that are known.
    if extras := [item for at, item in enumerate(instance) if at not in known]:
        yield ValidationError(f"Unevaluated items are not allowed ({_unexpected(extras)})")


def _unevaluated_properties(validator: Any, allowed: Any, instance: Json, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known = _evaluated(validator, instance, schema)
    extras = [name for name in instance if name not in known]
    if extras and allowed is False:
        yield ValidationError(f"Unevaluated properties are not allowed ({_unexpected(sorted(extras))})")
    elif extras:
        verb = "was" if len(extras) == 1 else "were"
        yield ValidationError(
            "Unevaluated properties are not valid under the given schema "
            f"({_named(extras)} {verb} unevaluated and invalid)"
        )


def _evaluated(validator: Any, instance: Any, schema: Any) -> set[Any]:
    """The names or the indices of an instance that a schema says something about."""
    _RUN.get().step()
    if not isinstance(schema, dict):
        return set()
    found = _evaluated_members(validator, instance, schema)
    # The library has no other way to a reference than its resolver.
    resolver = validator._resolver
    targets = [resolver.lookup(schema[name]) for name in ("$ref", "$dynamicRef") if name in schema]
    if "$recursiveRef" in schema:
        targets.append(lookup_recursive_ref(resolver))
    for target in targets:
        there = validator.evolve(schema=target.contents, _resolver=target.resolver)
        found |= _evaluated(there, instance, target.contents)
    inner = [
        one for name in ("allOf", "oneOf", "anyOf") for one in schema.get(name, ()) if _fits(validator, instance, one)
    ]
    if isinstance(instance, dict):
        inner += [one for name, one in schema.get("dependentSchemas", {}).items() if name in instance]
    if "if" in schema:
        holds = _fits(validator, instance, schema["if"])
        inner += [schema["if"], schema.get("then")] if holds else [schema.get("else")]
    for one in inner:
        found |= _evaluated(validator, instance, one)
    return found


def _evaluated_members(validator: Any, instance: Any, schema: Any) -> set[Any]:
    """The same by what stands in the schema itself."""
    found: set[Any] = set()
    if isinstance(instance, list):
        items = schema.get("items")
        if items is not None and (not isinstance(items, list) or "additionalItems" in schema):
            return set(range(len(instance)))
        found.update(range(max(len(items or ()), len(schema.get("prefixItems", ())))))
        for name in ("contains", "unevaluatedItems"):
            if name in schema:
                found.update(at for at, item in enumerate(instance) if _fits(validator, item, schema[name]))
        return found
    found.update(schema.get("properties", {}).keys() & instance.keys())
    for name in ("additionalProperties", "unevaluatedProperties"):
        if name in schema:
            found.update(key for key, value in instance.items() if _fits(validator, value, schema[name]))
    for pattern in schema.get("patternProperties", ()):
        found.update(key for key in instance if _name_matches(pattern, key))
    return found


def _fits(validator: Any, instance: Json, schema: Any) -> bool:
    _RUN.get().step()
    return next(validator.descend(instance, schema), None) is None


def _named(values: Iterable[Json]) -> str:
    return ", ".join(map(repr, values))


def _unexpected(extras: list[Any]) -> str:
    return f"{_named(extras)} {'was' if len(extras) == 1 else 'were'} unexpected"


_OURS: Final[dict[str, _Keyword]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
    "multipleOf": _multiple_of,
    "divisibleBy": _multiple_of,
    "unevaluatedItems": _unevaluated_items,
    "unevaluatedProperties": _unevaluated_properties,
}
_TURNS: Final = frozenset(
    {"not", "disallow", "oneOf", "if", "then", "else", "contains", "unevaluatedItems", "unevaluatedProperties"}
)
"""Keywords by which a value may fit less because a part of it fits more."""


def _counted(keyword: _Keyword) -> _Keyword:
    def run(validator: Any, value: Any, instance: Any, schema: Any) -> Iterable[ValidationError] | None:
        _RUN.get().step()
        return keyword(validator, value, instance, schema)

    return run


def _guarded(stock: Any) -> Any:
    """A kind of validator with our keywords, that takes no step without counting it."""
    keywords = {name: _counted(_OURS.get(name, keyword)) for name, keyword in stock.VALIDATORS.items()}
    extend: Any = validators.extend
    kind = extend(stock, keywords)
    evolve = kind.evolve

    def guarded(self: Any, **changes: Any) -> Any:
        _RUN.get().step()
        made = evolve(self, **changes)
        # A ``$schema`` further in would choose a kind that is not guarded.
        return made if type(made) is kind else attrs.evolve(self, **changes)

    kind.evolve = guarded
    return kind


_OLD: Final[frozenset[Any]] = frozenset({validators.Draft3Validator, validators.Draft4Validator})
_GUARDED: Final[dict[Any, Any]] = {
    stock: _guarded(stock)
    for stock in (
        *_OLD,
        validators.Draft6Validator,
        validators.Draft7Validator,
        validators.Draft201909Validator,
        validators.Draft202012Validator,
    )
}
