"""Routes that the operator put in force while the proxy runs: they stand before those of the configuration file.

Owns which there are, their order, and that they outlive a restart where sessions do. One that the file has by now ends
here, unless an older one would come before it then. What a route means is known elsewhere.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from motive_core.config import Config, Route, check_route, route_as_tree
from motive_core.errors import ConfigError, ConflictError

logger = logging.getLogger(__name__)

MOST: Final = 100
_SPOILT: Final = ".broken"


@dataclass(frozen=True, slots=True)
class LiveRoute:
    """A route, and the id by which it is dropped. ``saved``: the file has it, too; it stays here only for its place,
    before an older one that the file does not have."""

    id: str
    route: Route
    saved: bool = False


class LiveRoutes:
    """See the module. ``path`` is where they are kept, if they are; what cannot be read there is said, and left out."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._routes: list[LiveRoute] = _read(path) if path is not None else []

    @property
    def all(self) -> tuple[LiveRoute, ...]:
        """Those that the file does not have. The latest first: that is their order in force, too."""
        return tuple(one for one in self._routes if not one.saved)

    def get(self, route_id: str) -> LiveRoute | None:
        """One of them."""
        return next((one for one in self.all if one.id == route_id), None)

    def in_force(self, config: Config) -> tuple[Route, ...]:
        """Routes to stand before those of this configuration. One that it does not allow (a source is gone from it,
        say) is left out, and logged."""
        fit = []
        for one in self._routes:
            try:
                check_route(config, one.route)
            except ConfigError as error:
                logger.warning("live route not in force name=%r: %s", one.route.name or one.id, error.why)
            else:
                fit.append(one.route)
        return tuple(fit)

    def before(self, route_id: str) -> tuple[Route, ...]:
        """The routes of the file that one of these must not come before."""
        return tuple(one.route for one in takewhile(lambda one: one.id != route_id, self._routes) if one.saved)

    def put(self, route_id: str, route: Route) -> str:
        """Put one before all others. Gives its id: one that is there already keeps its own. Raises ``ConflictError``
        if there are too many."""
        known = next((one for one in self.all if one.route == route), LiveRoute(route_id, route))
        others = [one for one in self._routes if one != known]
        if len(others) >= MOST:
            message = (
                f"There are {MOST} routes in force beside those of the file, which is the limit: drop or save some."
            )
            raise ConflictError(message, code="too_many_routes")
        self._routes = [known, *others]
        self._write()
        return known.id

    def drop(self, route_id: str) -> bool:
        """Take one out. Gives False if there is none of this id."""
        if self.get(route_id) is None:
            return False
        self._routes = _needed([one for one in self._routes if one.id != route_id])
        self._write()
        return True

    def settle(self, routes: Sequence[Route]) -> None:
        """These are in the file: those of ours that it begins with are no matter of ours any more, if nothing comes
        before them by that. (One that stands further down in it may never be asked there.)"""
        ours = [one.route for one in self._routes]
        known = list(takewhile(lambda route: route in ours, routes))
        left = [
            replace(one, saved=one.route in known)
            for one in self._routes
            if one.route in known or not one.saved  # of a saved one, the file decides
        ]
        left = _needed(left)
        if left != self._routes:
            self._routes = left
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        new = self._path.with_suffix(".new")
        told = [{"id": one.id, "route": route_as_tree(one.route), "saved": one.saved} for one in self._routes]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump(told, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:
            logger.warning("live routes not written: a restart forgets them error=%s", error)


def _needed(routes: Sequence[LiveRoute]) -> list[LiveRoute]:
    """Without the saved ones that have only saved ones behind them: they have the same place in the file."""
    last = max((place for place, one in enumerate(routes) if not one.saved), default=-1)
    return list(routes[: last + 1])


def _read(path: Path) -> list[LiveRoute]:
    try:
        told = json.loads(path.read_text("utf-8"))
        return [one for one in map(_one, told) if one is not None]
    except FileNotFoundError:
        return []
    except OSError as error:
        logger.warning("live routes not read error=%s", error)
    except (ValueError, TypeError, RecursionError) as error:
        aside = path.with_name(path.name + _SPOILT)
        logger.warning("live routes not read, kept as file=%s error=%s", aside, type(error).__name__)
        try:
            path.replace(aside)
        except OSError as failed:
            logger.warning("live routes not moved aside error=%s", failed)
    return []


def _one(told: Any) -> LiveRoute | None:
    try:
        return LiveRoute(str(told["id"]), Route.model_validate(told["route"]), told.get("saved") is True)
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:
        logger.warning("a live route not read error=%s", type(error).__name__)
        return None
