"""The sources of a configuration: those that it lists, and those that a route names by their kind alone.

Owns how an entry gets its kind, and what the environment sets in it. Knows no source by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from motive_core.sources import KINDS

ANSWERS: Final = ("pair", "review", "pass", "reject")
POLICIES: Final[Mapping[str, tuple[str, ...]]] = {
    "on_timeout": ("pass", "fallback", "error"),
    "on_lost": ("pass", "fallback", "error", "wait"),
    "on_full": ("pass", "fallback", "error"),
}
"""By setting, what it may be beside the name of a source."""
RESERVED: Final = frozenset({*ANSWERS, *(word for words in POLICIES.values() for word in words), "joined", "always"})
"""Words that a route has another meaning for."""


def with_sources(
    tree: dict[str, Any], variables: Mapping[str, str]
) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """The tree with an entry for each source that a route names, and in all entries what they leave out and the
    environment has; for each path that a variable set, its name. What is no mapping is left to the settings."""
    listed = tree.get("sources")
    entries = dict(listed) if isinstance(listed, dict) else {}
    if listed is not None and not isinstance(listed, dict):
        return tree, {}
    for name in _named(tree.get("routes")):
        if name in KINDS:
            entries.setdefault(name, None)
    set_by: dict[tuple[str, ...], str] = {}
    for name, entry in entries.items():
        if entry is not None and not isinstance(entry, dict):
            continue
        filled = {"kind": name, **(entry or {})} if name in KINDS else dict(entry or {})
        kind = KINDS.get(str(filled.get("kind")))
        written = {field for field, value in filled.items() if value is not None}
        environment, belongs_to = (kind.environment, kind.belongs_to) if kind is not None else ({}, {})
        for field, variable in environment.items():
            value = variables.get(variable, "").strip()
            if value and not written & {field, belongs_to.get(field)}:
                filled[field] = value
                set_by["sources", name, field] = variable
        entries[name] = filled
    return ({**tree, "sources": entries} if entries else tree), set_by


def _named(routes: Any) -> Iterator[str]:
    """The words by which routes may name a source."""
    for route in routes if isinstance(routes, list) else ():
        if isinstance(route, dict):
            for setting in ("answer", "draft", *POLICIES):
                if isinstance(name := route.get(setting), str):
                    yield name
