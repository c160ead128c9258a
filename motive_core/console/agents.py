"""Answering an agent from now on: which route would take its calls, which of the latest ones that takes, and the route
in force.

Owns what a person is proposed and what may be put in force here. How routes decide is known elsewhere; how they are
kept, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from pydantic import ValidationError

from motive_core.config import Route, placeholders, route_as_tree
from motive_core.console.calls import CallLog, CallRecord
from motive_core.console.presence import Presence
from motive_core.console.shown import row_of
from motive_core.errors import BadRequestError, MotiveError, NotFoundError
from motive_core.live_routes import LiveRoute
from motive_core.routing import propose, session_id, takes

_LOOKED_AT: Final = 500
_SHOWN: Final = 20
_ANSWERS: Final = ("pair", "review")


class Routes(Protocol):
    """The routes that are in force beside those of the file."""

    def live(self) -> tuple[LiveRoute, ...]:
        """All of them, in their order."""
        ...

    def put_live(self, route: Route) -> str:
        """Put one in force, before all others. Gives its id: one that is in force already keeps its own. Raises
        ``BadRequestError`` for one that the configuration does not allow, ``ConflictError`` if there are too many."""
        ...

    def drop_live(self, route_id: str) -> bool:
        """Take one out of force. Gives False if there is none of this id."""
        ...

    def save_live(self, route_id: str) -> str:
        """Write one into the configuration file, which has it in force from then on. Gives the file's name. Raises
        ``NotFoundError``, or ``ConflictError`` if it cannot be written; it stays in force then."""
        ...


class Agents:
    """See the module."""

    def __init__(self, log: CallLog, routes: Routes, presence: Presence) -> None:
        self._log = log
        self._routes = routes
        self._presence = presence

    def proposals(self, call: str) -> list[dict[str, Any]]:
        """What could be matched by, for the agent that made a call. Raises ``NotFoundError``."""
        record = self._log.get(call)
        if record is None or record.facts is None:
            raise NotFoundError("What is known of this call is not kept any more.")
        return [
            {
                "label": one.label,
                "match": one.match.model_dump(mode="json", exclude_defaults=True),
                "session": one.session,
                **self._caught(one.match.model_dump(mode="json", exclude_defaults=True)),
            }
            for one in propose(record.facts, [known.facts for known in self._known() if known.facts is not None])
        ]

    def caught(self, match: Mapping[str, Any]) -> dict[str, Any]:
        """Which of the latest calls a match takes. Raises ``BadRequestError``."""
        return self._caught(match)

    def _caught(self, match: Mapping[str, Any]) -> dict[str, Any]:
        route = _route({"match": match})
        known = self._known()
        taken = takes(route.match, [one.facts for one in known if one.facts is not None])
        found = [record for record, is_taken in zip(known, taken, strict=True) if is_taken]
        return {
            "caught": [row_of(record, record.state) for record in found[:_SHOWN]],
            "caught_count": len(found),
            "looked_at": len(known),
        }

    def _known(self) -> list[CallRecord]:
        """The latest calls of apps of which enough is kept."""
        return [one for one in self._log.latest(None, _LOOKED_AT, _has_facts) if one.facts is not None]

    def routes(self) -> list[dict[str, Any]]:
        """The routes that were put in force here."""
        return [{"id": one.id, "route": route_as_tree(one.route)} for one in self._routes.live()]

    async def put(self, match: Mapping[str, Any], session: str, answer: str = "pair") -> dict[str, Any]:
        """Put a route in force that lets a person answer what matches, in this session, and take that over. Raises
        ``MotiveError``, and then nothing has changed."""
        if answer not in _ANSWERS:
            raise BadRequestError("answer must be pair or review.", param="answer")
        session = session.strip()
        if not match:
            raise BadRequestError("The match must have a condition, or it would take every call.", param="match")
        route = _route({"name": f"console: {session[:60]}", "match": match, "session": session, "answer": answer})
        is_fixed = not placeholders(session)
        if is_fixed:
            session_id(session)
        before = {one.id for one in self._routes.live()}
        route_id = self._routes.put_live(route)
        if is_fixed:
            try:
                await self._presence.take(session)
            except MotiveError:
                if route_id not in before:
                    self._routes.drop_live(route_id)
                raise
        return {"id": route_id, "route": route_as_tree(route)}

    def drop(self, route_id: str) -> None:
        """Take a route out of force again. Raises ``NotFoundError``."""
        if not self._routes.drop_live(route_id):
            raise NotFoundError("There is no such route (any more).")

    def save(self, route_id: str) -> str:
        """Write a route into the configuration file. Gives the file's name. Raises ``MotiveError``."""
        return self._routes.save_live(route_id)


def _has_facts(record: CallRecord) -> bool:
    return record.facts is not None and record.role != "answerer"


def _route(tree: Mapping[str, Any]) -> Route:
    try:
        return Route.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadRequestError(f"{where}: {first['msg'].removeprefix('Value error, ')}", param=where) from None
