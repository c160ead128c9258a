"""A session's state as JSON and back, for stores that outlive a process.

Owns the form: a dataclass is an object with its class's name under ``is`` and its fields, those left out that have
their default; a tuple is an array. It follows the types of the fields, so a new field or kind of part needs nothing
here, and a state from before a field was added loads. Knows no store. The words of both sides are in it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeAliasType, cast, get_args, get_origin, get_type_hints

from pydantic_core import to_json

from motive_core.ir import ChatRequest, Json, Message, Reply
from motive_core.session import Answer, Prompt, Seat, Session, Unsolicited

type Storable = Session | Seat | Prompt | Answer | Unsolicited | ChatRequest | Message | Reply

_TAG: Final = "is"
_AS_IT_IS: Final[tuple[Any, ...]] = (Json, str, int, float, bool, tuple[str, ...])
"""Types of fields whose values ``json.dumps`` takes."""


def dump_session(session: Session) -> dict[str, Json]:
    """The state as values that ``json.dumps`` takes. Shares what a part holds as JSON (``raw``, ``extra``) with it."""
    return dump(session)


def load_session(data: Json) -> Session:
    """The state that ``dump_session`` gave this for. Raises ``ValueError``, which names the place, for all else."""
    return load(Session, data, "session")


def dump(value: Storable, names: tuple[str, ...] | None = None) -> dict[str, Json]:
    """A value as ``dump_session`` has it; only these fields of it, if ``names`` are given."""
    return _dump_object(value, names)


def load[T: Storable](kind: type[T], data: Json, where: str) -> T:
    """The value that ``dump`` gave this for. Raises ``ValueError``, which names the place, for all else."""
    try:
        loader: _Loader = _loader(cast(Any, kind))
        return cast(T, loader(data, where))
    except RecursionError:
        raise ValueError(f"{where}: nested too deeply") from None


def json_bytes(data: Json) -> bytes:
    """Any JSON as bytes. Lone surrogates, NaN and the infinities survive. Raises ``ValueError`` if it is nested too
    deeply."""
    try:
        return to_json(data, inf_nan_mode="constants")
    except ValueError:
        pass  # a lone surrogate, most of all, which costs ten times the time
    try:
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def json_value(data: bytes) -> Json:
    """The value of ``json_bytes``. Raises ``ValueError``."""
    return json.loads(data.decode("utf-8", "surrogatepass"))


def _dump(value: Any) -> Json:
    if value is None:
        return None
    if isinstance(value, tuple):
        return [_dump(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    if not dataclasses.is_dataclass(value):
        return value
    return _dump_object(value, None)


def _dump_object(value: Any, names: tuple[str, ...] | None) -> dict[str, Json]:
    data: dict[str, Json] = {_TAG: value.__class__.__name__}
    for name, default, is_json in _dumped(value.__class__, names):
        item = getattr(value, name)
        if item is not default and (default is dataclasses.MISSING or item != default):
            data[name] = item if is_json else _dump(item)
    return data


type _Loader = Callable[[Json, str], Any]
"""Makes a value of JSON. The string says where in the state it stands, for errors."""


@cache
def _fields(cls: Any) -> tuple[tuple[str, Any, Any, bool], ...]:
    """Name, default and type of each field, and whether ``json.dumps`` takes its value as it is."""
    types = get_type_hints(cls)
    return tuple(
        (field.name, field.default, types[field.name], types[field.name] in _AS_IT_IS)
        for field in dataclasses.fields(cls)
    )


@cache
def _dumped(cls: Any, names: tuple[str, ...] | None) -> tuple[tuple[str, Any, bool], ...]:
    """Name and default of the fields that are wanted, and whether each is JSON as it is."""
    fields = _fields(cls)
    return tuple((name, default, is_json) for name, default, _, is_json in fields if names is None or name in names)


@cache
def _loader(kind: Any) -> _Loader:
    """What loads a value of this type, of those that a state is made of."""
    if isinstance(kind, TypeAliasType):
        return _loader(kind.__value__)
    if dataclasses.is_dataclass(kind):
        return _object_loader((kind,))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType and NoneType in arguments:
        return _optional_loader(*(argument for argument in arguments if argument is not NoneType))
    if origin is UnionType:
        return _object_loader(arguments)
    if origin is tuple:
        return _tuple_loader(arguments[0])
    if origin is Literal:
        return _value_loader(lambda data: isinstance(data, str) and data in arguments)
    if origin is Mapping:
        return _value_loader(lambda data: isinstance(data, dict))
    return _SCALARS[kind]


def _object_loader(kinds: tuple[Any, ...]) -> _Loader:
    """One of several dataclasses, told apart by name."""
    classes = {kind.__name__: kind for kind in kinds}

    def load(data: Json, where: str) -> Any:
        tag = data.get(_TAG) if isinstance(data, dict) else None
        if not isinstance(tag, str) or tag not in classes:
            raise ValueError(f"{where}: expected {' or '.join(classes)}")
        fields = _fields(classes[tag])
        missing = [name for name, default, *_ in fields if default is dataclasses.MISSING and name not in data]
        unknown = data.keys() - {_TAG, *(name for name, *_ in fields)}
        if missing or unknown:
            raise ValueError(f"{where}: fields missing: {missing}, unknown: {sorted(map(str, unknown))}")
        values = {name: _loader(kind)(data[name], f"{where}.{name}") for name, _, kind, _ in fields if name in data}
        return classes[tag](**values)

    return load


def _optional_loader(kind: Any) -> _Loader:
    load = _loader(kind)
    return lambda data, where: None if data is None else load(data, where)


def _tuple_loader(kind: Any) -> _Loader:
    item = _loader(kind)

    def load(data: Json, where: str) -> Any:
        if not isinstance(data, list):
            raise ValueError(f"{where}: expected an array")
        return tuple([item(value, f"{where}[{index}]") for index, value in enumerate(data)])

    return load


def _value_loader(fits: Callable[[Json], bool]) -> _Loader:
    """A value that is the same in JSON."""

    def load(data: Json, where: str) -> Any:
        if not fits(data):
            raise ValueError(f"{where}: unexpected {type(data).__name__}")
        return data

    return load


def _is_number(data: Json) -> bool:
    return isinstance(data, int | float) and not isinstance(data, bool) and abs(data) <= sys.float_info.max


_SCALARS: Final[dict[Any, _Loader]] = {
    str: _value_loader(lambda data: isinstance(data, str)),
    bool: _value_loader(lambda data: isinstance(data, bool)),
    int: _value_loader(lambda data: isinstance(data, int) and not isinstance(data, bool)),
    float: _value_loader(_is_number),
    Any: _value_loader(lambda _: True),
}
