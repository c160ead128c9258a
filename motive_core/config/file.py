"""A configuration file that may change while it is in force.

Owns when it is read again. Knows no clock: somebody calls ``poll`` now and then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from motive_core.config.loading import load_config
from motive_core.config.models import Config, Route
from motive_core.config.saving import save_route
from motive_core.errors import ConfigError

logger = logging.getLogger(__name__)

type _Stamp = tuple[int, int, int] | None
"""Modification time in nanoseconds, size and inode: what changes when a file is written or replaced. None: no file."""


class ConfigFile:
    """``config`` is the one in force. ``path`` may be None (then only ``dotenv`` is watched); a ``dotenv`` that is not
    there is no error."""

    def __init__(self, path: Path | None, env: Mapping[str, str], dotenv: Path | None = None) -> None:
        """Read it. Raises ``ConfigError``."""
        self.path: Final = path
        self._env = env
        self._dotenv = dotenv
        self._stamps = self._look()
        self._was_empty = False
        self.check: Callable[[Config], None] = lambda _: None
        """Raises ``ConfigError`` for a configuration that must not come into force while the proxy runs."""
        self.problem: str | None = None
        """Why the file as it is now is not in force."""
        self.config = self._at_start = load_config(path, env, dotenv)

    def poll(self) -> Config | None:
        """The new configuration, if a file has changed and is good; it is then the one in force.

        A bad file is logged once, and what was in force stays so, as it does while the file is missing. A file that
        changes while it is read, or that is empty (an editor may empty it before it writes), is left to the next poll.
        """
        stamps = self._look()
        if stamps == self._stamps and not self._was_empty:
            return None
        if self.path is not None and stamps[0] is None:
            return None  # kept as it was: when the file comes back, its stamp differs
        is_empty = stamps[0] is not None and stamps[0][1] == 0
        if is_empty and stamps != self._stamps:
            self._stamps, self._was_empty = stamps, True
            return None
        try:
            config = load_config(self.path, self._env, self._dotenv)
            self.check(config)
        except ConfigError as error:
            if self._look() == stamps:
                self._stamps, self._was_empty = stamps, False
                self.problem = f"configuration not reloaded, the old one stays in force: {error}"
                logger.warning("configuration not reloaded, the old one stays in force: %s", error)
            return None
        if self._look() != stamps:
            return None
        was_wrong = self.problem is not None
        self._stamps, self._was_empty, self.problem = stamps, False, None
        if config == self.config:
            if was_wrong:
                logger.info("configuration is right again, and is the one in force")
            return None
        for setting in ("proxy", "store", "fast_dispatch"):
            if getattr(config, setting) != getattr(self._at_start, setting):
                logger.warning("configuration: a change of %s takes effect at the next start", setting)
        self.config = config
        return config

    def save(self, route: Route, behind: Sequence[Route] = ()) -> Config:
        """Write a route into the file, as its first, or behind those of ``behind`` that it begins with: the
        configuration with it is then the one in force. Raises ``ConfigError``, and then the file is as it was."""
        if self.path is None:
            raise ConfigError("the configuration", "has no file to write to: start with one (--set motive_config=FILE)")
        save_route(self.path, route, self._env, self._dotenv, behind=behind, check=self.check)
        self.poll()
        return self.config

    def _look(self) -> tuple[_Stamp, _Stamp]:
        return _stamp(self.path), _stamp(self._dotenv)


def _stamp(path: Path | None) -> _Stamp:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
