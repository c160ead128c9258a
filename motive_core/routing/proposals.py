"""Which routes would take the calls of the agent that made a call: by what it is told to be, by its key, by its name.

Owns what tells one agent from others, and which calls a match takes. The same facts always give the same proposals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from motive_core.config import Match, normal_host, split_host
from motive_core.routing.matching import CallFacts, Conditions, Texts
from motive_core.routing.router import split_model

NAMING_HEADERS: Final = ("x-agent-name", "x-agent", "x-app-name", "x-title", "http-referer", "user-agent")
"""Headers by which agents say who they are, the most telling one first. None of them is a secret."""

_SYSTEM_CHARACTERS: Final = 120
_NAME_CHARACTERS: Final = 40
_HEADER_CHARACTERS: Final = 300
_COMPARED_PROMPTS: Final = 100
_COMPARED_LINES: Final = 100
_USUAL_PORTS: Final = (80, 443)
_REGEX_MARKS: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")
_GLOB_MARKS: Final = re.compile(r"[*?]")
_NO_NAME: Final = re.compile(r"[^\w.-]+")
_DIGIT: Final = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A match, for people a label of what it goes by, and a name for the session."""

    label: str
    match: Match
    session: str


def propose(facts: CallFacts, recent: Iterable[CallFacts] = ()) -> list[Proposal]:
    """Matches that take this call, the closest one first; each takes calls of the same listener and host only.

    ``recent`` are calls of this agent and of others: where prompts begin alike, the first line that the fewest of the
    others have is proposed, too. No line with a digit in it, which may be a date, and another one tomorrow."""
    where: dict[str, Any] = {"listener": facts.listener}
    if facts.listener == "forward" and (host := _host(facts)):
        where["host"] = host
    model = split_model(facts.request.model)[0]
    system = Texts(facts.request).system
    found = [
        _proposal(label, where, {"system": _escaped(words)}, words)
        for label, words in _telling_words(system, _other_prompts(system, recent))
    ]
    for name in NAMING_HEADERS:
        value = facts.headers.get(name, "")
        if 0 < len(value) <= _HEADER_CHARACTERS and value.isprintable():
            found.append(_proposal(f"its {name} header", where, {"header": {name: f"^{_escaped(value)}$"}}, value))
    if facts.credential is not None:
        found.append(_proposal("its key", where, {"credential": _literal(facts.credential)}, facts.credential))
    found.append(_proposal("its model", where, {"model": _literal(model)}, model))
    found.append(_proposal("its address", where, {"path": _literal(facts.path)}, f"{facts.host}{facts.path}"))
    return [one for one in found if one is not None]


def takes(match: Match, calls: Iterable[CallFacts]) -> list[bool]:
    """Whether a match takes each of these calls."""
    conditions = Conditions(match)
    return [conditions.check(one, split_model(one.request.model)[0], Texts(one.request)) is not None for one in calls]


def _proposal(label: str, where: dict[str, Any], by: dict[str, Any], name: str) -> Proposal | None:
    """None if a match cannot say this: it is empty, or no text that UTF-8 can hold."""
    try:
        return Proposal(label, Match.model_validate({**where, **by}), _named(name))
    except ValidationError:
        return None


def _host(facts: CallFacts) -> str | None:
    """The host as a match names it, with a port that is not to be expected; None if it cannot name it."""
    host = normal_host(facts.host)
    if facts.port not in _USUAL_PORTS:
        host = f"[{host}]:{facts.port}" if ":" in host else f"{host}:{facts.port}"
    try:
        split_host(host)
    except ValueError:
        return None
    return None if _GLOB_MARKS.search(host) else host


def _telling_words(system: str, others: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What to know a system prompt by, with a label; the most telling first."""
    lines = [line.strip()[:_SYSTEM_CHARACTERS] for line in system.splitlines() if line.strip()][:_COMPARED_LINES]
    if not lines:
        return

    def shared(line: str) -> int:
        return sum(line in other for other in others)

    first = lines[0]
    if among := shared(first):
        best = min((line for line in lines if not _DIGIT.search(line)), key=shared, default=first)
        if shared(best) < among:
            yield "a line of its system prompt", best
    yield "its system prompt", first


def _other_prompts(system: str, recent: Iterable[CallFacts]) -> list[str]:
    """The system prompts of calls that have another one than this."""
    prompts = dict.fromkeys(Texts(one.request).system for one in recent)
    return [prompt for prompt in prompts if prompt not in ("", system)][:_COMPARED_PROMPTS]


def _escaped(text: str) -> str:
    """A regex that finds this text."""
    return _REGEX_MARKS.sub(lambda mark: f"\\{mark[0]}", text)


def _literal(text: str) -> str:
    """A glob that takes this text. Its marks cannot be escaped: ``?`` takes any character, and so each of them."""
    return _GLOB_MARKS.sub("?", text)


def _named(text: str) -> str:
    """The beginning of a text as a name."""
    name = _NO_NAME.sub("-", text[: 2 * _NAME_CHARACTERS]).strip("-.").lower()
    if len(name) > _NAME_CHARACTERS:
        name = name[:_NAME_CHARACTERS].rpartition("-")[0] or name[:_NAME_CHARACTERS]
    return name.rstrip("-.") or "agent"
