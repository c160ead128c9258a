"""``docs/config.md`` and ``docs/sources.md``: the tables in them, made from the models so that they say nothing else.

``python -m motive_core.config.reference docs/config.md docs/sources.md`` writes them anew, between the marks.
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from motive_core.config.access import Access, Key
from motive_core.config.commands import Commands
from motive_core.config.heartbeats import HEARTBEAT_CLIENTS, HeartbeatClient, HeartbeatMatch
from motive_core.config.models import (
    Background,
    BackgroundMatch,
    Config,
    Limits,
    Log,
    Match,
    Proxy,
    Route,
    Timing,
    default_background,
)
from motive_core.config.rate_limits import RateLimits
from motive_core.config.store import Store
from motive_core.config.variables import VARIABLES
from motive_core.settings.types import Kind
from motive_core.sources import KINDS, AnySource
from motive_core.sources.critique import Step
from motive_core.sources.mock_settings import MockFault, MockPace, MockRule, MockToolCall, MockWhen

_MARKS: Final = re.compile(r"(<!-- (?P<table>[a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)

_MODELS: Final[Mapping[str, type[BaseModel]]] = {
    "config": Config,
    "proxy": Proxy,
    "log": Log,
    "limits": Limits,
    "rate_limits": RateLimits,
    "timing": Timing,
    "store": Store,
    "commands": Commands,
    "access": Access,
    "key": Key,
    "route": Route,
    "match": Match,
    "background": Background,
    "background_match": BackgroundMatch,
    "heartbeat_client": HeartbeatClient,
    "heartbeat_match": HeartbeatMatch,
    **KINDS,
    "step": Step,
    "mock_rule": MockRule,
    "mock_when": MockWhen,
    "mock_tool_call": MockToolCall,
    "mock_pace": MockPace,
    "mock_fault": MockFault,
}


def with_tables(text: str) -> str:
    """The document with every table between ``<!-- name -->`` and ``<!-- end -->`` made anew. Raises ``KeyError`` for a
    name that is none."""
    return _MARKS.sub(lambda found: f"{found[1]}{_table(found['table'])}{found[3]}", text)


def _table(name: str) -> str:
    rows = _LISTS.get(name)
    return "".join(f"{line}\n" for line in (rows() if rows is not None else _settings(_MODELS[name])))


def _settings(model: type[BaseModel]) -> Iterator[str]:
    yield "| setting | type | default | |"
    yield "|---|---|---|---|"
    for name, field in model.model_fields.items():
        if name == "kind" and len(get_args(field.annotation)) == 1:
            continue  # it is the title of the table
        cells = (f"`{field.alias or name}`", _type_of(field), _default_of(name, field), _cell(field.description))
        yield f"| {' | '.join(cells)} |"


def _type_of(field: FieldInfo) -> str:
    return _name_of(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation)


def _name_of(annotation: Any) -> str:
    if annotation is AnySource:
        return "[source](sources.md)"
    arguments = get_args(annotation)
    match get_origin(annotation):
        case origin if origin is Annotated:
            kinds = [mark.name for mark in arguments[1:] if isinstance(mark, Kind)]
            return kinds[0] if kinds else _name_of(arguments[0])
        case origin if origin in (Union, types.UnionType):
            return " or ".join("null" if one is type(None) else _name_of(one) for one in arguments)
        case origin if origin is Literal:
            return ", ".join(f"`{value}`" for value in arguments)
        case origin if origin is tuple:
            return f"list of {_name_of(arguments[0])}"
        case origin if origin is not None and issubclass(origin, Mapping):
            return f"mapping of {_name_of(arguments[0])} to {_name_of(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return {str: "text", bool: "boolean"}[annotation]


def _default_of(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value and name in ("hosts", "background", "heartbeat_clients", "routes"):
        return "see below"
    match value:
        case None:
            return "null"
        case Match() | MockWhen():
            return "empty"
        case BaseModel():
            return "see below"
        case bool():
            return str(value).lower()
        case tuple() | Mapping():
            return ", ".join(f"`{one}`" for one in value) or "empty"
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return f"`{value}`" if isinstance(value, str) else str(value)


def _variables() -> Iterator[str]:
    yield "| variable | setting |"
    yield "|---|---|"
    for name, path in VARIABLES.items():
        yield f"| `{name}` | `{'.'.join(path)}` |"


def _hosts() -> Iterator[str]:
    for host in Config().hosts:
        yield f"- `{host}`"


def _background_calls() -> Iterator[str]:
    yield "| name | reply |"
    yield "|---|---|"
    for entry in default_background():
        yield f"| {entry.name} | `{_cell(entry.reply)}` |"


def _known_heartbeat_clients() -> Iterator[str]:
    yield "| client | `User-Agent` | whole replies too | waits for a byte |"
    yield "|---|---|---|---|"
    for entry in HEARTBEAT_CLIENTS:
        waits = f"{entry.read_timeout_s:g} s" if entry.read_timeout_s is not None else "for ever"
        agent = _cell(entry.match.user_agent)
        yield f"| {entry.name} | `{agent}` | {'yes' if entry.whole else 'no'} | {waits}, if it does not tell |"


_LISTS: Final[Mapping[str, Callable[[], Iterator[str]]]] = {
    "variables": _variables,
    "hosts": _hosts,
    "background_calls": _background_calls,
    "known_heartbeat_clients": _known_heartbeat_clients,
}
"""Tables that are no section's."""

TABLES: Final = frozenset(_MODELS) | frozenset(_LISTS)
"""The names of all tables."""


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def main() -> None:
    """Write the tables of the files that the command line names."""
    for path in map(Path, sys.argv[1:]):
        path.write_text(with_tables(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
