"""The store of a proxy: which file it is, and its opening.

Owns the path where the configuration names none. It has the port of the meeting point in its name: a proxy that is
started again finds its sessions, and two at once do not meet. What is in the file is the core's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode

from motive_core.access import LOGIN_COOKIE
from motive_core.backends import SqliteStore, open_sqlite
from motive_core.config import Config
from motive_core.console import Archive, Logins
from motive_core.live_routes import LiveRoutes

_ANY_PORT: Final = "any"


def open_store(
    config: Config, modes: Sequence[str], env: Mapping[str, str], clock: Callable[[], float]
) -> SqliteStore | None:
    """The store that the configuration asks for; None for memory. ``modes`` are mitmproxy's listeners. Raises
    ``ConfigError``."""
    if config.store.kind == "memory":
        return None
    return open_sqlite(_path(config, modes, env), clock, config.timing.session_ttl_s)


def open_logins(config: Config, modes: Sequence[str], env: Mapping[str, str], clock: Callable[[], float]) -> Logins:
    """Who is logged in to the console: beside the store, if there is one."""
    path = None if config.store.kind == "memory" else _path(config, modes, env).with_suffix(".logins.json")
    return Logins(clock, path, f"{LOGIN_COOKIE}_{_port_of(modes)}")


def open_live_routes(config: Config, modes: Sequence[str], env: Mapping[str, str]) -> LiveRoutes:
    """The routes that the operator put in force: beside the store, if there is one."""
    return LiveRoutes(None if config.store.kind == "memory" else _path(config, modes, env).with_suffix(".routes.json"))


def open_archive(config: Config, modes: Sequence[str], env: Mapping[str, str]) -> Archive:
    """Where the console's transcripts are kept: beside the store, if there is one."""
    return Archive(None if config.store.kind == "memory" else _path(config, modes, env).with_suffix(".turns.jsonl"))


def _path(config: Config, modes: Sequence[str], env: Mapping[str, str]) -> Path:
    return Path(config.store.path).expanduser() if config.store.path is not None else _default_path(modes, env)


def _default_path(modes: Sequence[str], env: Mapping[str, str]) -> Path:
    # An empty or relative one counts as unset: XDG Base Directory Specification 0.8.
    given = Path(env.get("XDG_STATE_HOME", ""))
    state = given if given.is_absolute() else Path("~/.local/state").expanduser()
    return state / "motive" / f"{_port_of(modes)}.sqlite"


def _port_of(modes: Sequence[str]) -> str:
    """The port of the meeting point, or else that of the first listener; port 0 is a new one each time."""
    parsed = sorted(map(ProxyMode.parse, modes), key=lambda mode: not isinstance(mode, ReverseMode))
    port = parsed[0].listen_port() if parsed else None
    return str(port or _ANY_PORT)
