"""Routes that the operator put in force while the proxy runs: they stand before those of the configuration file.

Owns which there are, and that they outlive a restart where sessions do. That one is in the file by now ends it here.
What a route means is known elsewhere.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from motive_core.config import Route, route_as_tree

logger = logging.getLogger(__name__)

MOST: Final = 100


@dataclass(frozen=True, slots=True)
class LiveRoute:
    """A route, and the id by which it is dropped."""

    id: str
    route: Route


class LiveRoutes:
    """See the module. ``path`` is where they are kept, if they are; what cannot be read there is said, and left out."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._routes: list[LiveRoute] = _read(path) if path is not None else []

    @property
    def all(self) -> tuple[LiveRoute, ...]:
        """The latest first: that is their order in force, too."""
        return tuple(self._routes)

    def get(self, route_id: str) -> LiveRoute | None:
        """One of them."""
        return next((one for one in self._routes if one.id == route_id), None)

    def put(self, route_id: str, route: Route) -> None:
        """Put one before all others."""
        self._routes = [LiveRoute(route_id, route), *self._routes][:MOST]
        self._write()

    def drop(self, route_id: str) -> bool:
        """Take one out. Gives False if there is none of this id."""
        left = [one for one in self._routes if one.id != route_id]
        found = len(left) < len(self._routes)
        if found:
            self._routes = left
            self._write()
        return found

    def settle(self, routes: Iterable[Route]) -> None:
        """These are in the file: which of ours they are is no matter of ours any more."""
        known = list(routes)
        left = [one for one in self._routes if one.route not in known]
        if len(left) < len(self._routes):
            self._routes = left
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        new = self._path.with_suffix(".new")
        told = [{"id": one.id, "route": route_as_tree(one.route)} for one in self._routes]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump(told, file, indent=1)
            new.replace(self._path)
        except OSError as error:
            logger.warning("live routes not written: a restart forgets them error=%s", error)


def _read(path: Path) -> list[LiveRoute]:
    try:
        told = json.loads(path.read_text("utf-8"))
        return [LiveRoute(str(one["id"]), Route.model_validate(one["route"])) for one in told]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, RecursionError, ValidationError) as error:
        logger.warning("live routes not read error=%s", type(error).__name__)
        return []
