"""Which routes would take the calls of the agent that made a call: by what it is told to be, by its key, by its name.

Owns what tells one agent from others, and which calls a match takes. The same facts always give the same proposals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from motive_core.config import Match
from motive_core.routing.matching import CallFacts, Conditions, Texts
from motive_core.routing.router import split_model

NAMING_HEADERS: Final = ("x-agent-name", "x-agent", "x-app-name", "x-title", "http-referer", "user-agent")
"""Headers by which agents say who they are, the most telling one first. None of them is a secret."""

_SYSTEM_CHARACTERS: Final = 120
_NAME_CHARACTERS: Final = 40
_REGEX_MARKS: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")
_GLOB_MARKS: Final = re.compile(r"[*?\[]")
_NO_NAME: Final = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A match, for people a label of what it goes by, and a name for the session."""

    label: str
    match: Match
    session: str


def propose(facts: CallFacts) -> list[Proposal]:
    """Matches that take this call, the closest one first; each takes calls of the same listener and host only."""
    where: dict[str, Any] = {"listener": facts.listener}
    if facts.listener == "forward":
        where["host"] = facts.host
    model = split_model(facts.request.model)[0]
    found = []
    system = Texts(facts.request).system
    words = next((line.strip() for line in system.splitlines() if line.strip()), "")[:_SYSTEM_CHARACTERS]
    if words:
        found.append(_proposal("its system prompt", where, {"system": _escaped(words)}, words))
    for name in NAMING_HEADERS:
        value = facts.headers.get(name, "")
        if value and value.isprintable():
            found.append(_proposal(f"its {name} header", where, {"header": {name: f"^{_escaped(value)}$"}}, value))
    if facts.credential is not None:
        found.append(_proposal("its key", where, {"credential": _literal(facts.credential)}, facts.credential))
    if model:
        found.append(_proposal("its model", where, {"model": _literal(model)}, model))
    return found


def takes(match: Match, calls: Iterable[CallFacts]) -> list[bool]:
    """Whether a match takes each of these calls."""
    conditions = Conditions(match)
    return [conditions.check(one, split_model(one.request.model)[0], Texts(one.request)) is not None for one in calls]


def _proposal(label: str, where: dict[str, Any], by: dict[str, Any], name: str) -> Proposal:
    return Proposal(label, Match.model_validate({**where, **by}), _named(name))


def _escaped(text: str) -> str:
    """A regex that finds this text."""
    return _REGEX_MARKS.sub(lambda mark: f"\\{mark[0]}", text)


def _literal(text: str) -> str:
    """A glob that is this text."""
    return _GLOB_MARKS.sub(lambda mark: f"[{mark[0]}]", text)


def _named(text: str) -> str:
    """The beginning of a text as a name."""
    name = _NO_NAME.sub("-", text[: 2 * _NAME_CHARACTERS]).strip("-.").lower()
    if len(name) > _NAME_CHARACTERS:
        name = name[:_NAME_CHARACTERS].rpartition("-")[0] or name[:_NAME_CHARACTERS]
    return name.rstrip("-.") or "agent"
