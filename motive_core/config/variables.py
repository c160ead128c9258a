"""The environment variables that override a configuration file.

Owns their names and what each of them sets. Knows neither types nor bounds: those are the settings'.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Final

from motive_core.settings.types import LEVELS

PREFIX: Final = "MOTIVE_PROXY_"

VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "MOTIVE_PROXY_HOST": ("proxy", "host"),
    "MOTIVE_PROXY_PORT": ("proxy", "port"),
    "MOTIVE_PROXY_FORWARD_PORT": ("proxy", "forward_port"),
    "MOTIVE_PROXY_LOG_LEVEL": ("log", "level"),
    "MOTIVE_PROXY_DEBUG": ("log", "debug"),
    "MOTIVE_PROXY_HANDSHAKE_TIMEOUT_SECONDS": ("timing", "handshake_timeout_s"),
    "MOTIVE_PROXY_TURN_TIMEOUT_SECONDS": ("timing", "turn_timeout_s"),
    "MOTIVE_PROXY_SESSION_TTL_SECONDS": ("timing", "session_ttl_s"),
    "MOTIVE_PROXY_CLEANUP_INTERVAL_SECONDS": ("timing", "cleanup_interval_s"),
    "MOTIVE_PROXY_MAX_SESSIONS": ("limits", "max_sessions"),
    "MOTIVE_PROXY_MAX_PAYLOAD_SIZE": ("limits", "body_limit_bytes"),
    "MOTIVE_PROXY_STORE_KIND": ("store", "kind"),
    "MOTIVE_PROXY_STORE_PATH": ("store", "path"),
    "MOTIVE_PROXY_CORS_ORIGINS": ("cors_origins",),
    "MOTIVE_PROXY_ENABLE_API_KEY_AUTH": ("access", "require_key"),
    "MOTIVE_PROXY_API_KEY_HEADER": ("access", "header"),
    "MOTIVE_PROXY_VALID_API_KEYS": ("access", "valid_keys"),
    "MOTIVE_PROXY_ADMIN_TOKEN": ("access", "admin_token"),
    "MOTIVE_PROXY_ALLOW_UNAUTHENTICATED": ("access", "allow_unauthenticated"),
    "MOTIVE_PROXY_ENABLE_RATE_LIMITING": ("rate_limits", "enabled"),
    "MOTIVE_PROXY_RATE_LIMIT_REQUESTS_PER_MINUTE": ("rate_limits", "requests_per_minute"),
    "MOTIVE_PROXY_RATE_LIMIT_REQUESTS_PER_HOUR": ("rate_limits", "requests_per_hour"),
    "MOTIVE_PROXY_RATE_LIMIT_BURST_LIMIT": ("rate_limits", "burst_limit"),
}
"""By name, the path of the setting that each one overrides: its section, if it is in one, and its key. An empty
variable counts as unset."""


LOG_LEVEL: Final = "LOG_LEVEL"
"""As ``MOTIVE_PROXY_LOG_LEVEL``, which comes first. Other programs have one of that name, too, with levels of their
own: one that is none of ours does not count."""


def override(tree: dict[str, Any], variables: Mapping[str, str]) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """The tree with what the variables say, and for each path that one of them set, its name."""
    changed, set_by = dict(tree), dict[tuple[str, ...], str]()
    levels = {LOG_LEVEL: ("log", "level")} if _level(variables) in LEVELS else {}
    for name, path in {**levels, **VARIABLES}.items():
        value = variables.get(name, "").strip()
        if not value:
            continue
        *sections, key = path
        held = changed.get(sections[0]) if sections else changed
        if held is None or isinstance(held, dict):  # anything else is an error of the file, which will be told
            within = {**(held or {}), key: value}
            changed = {**changed, sections[0]: within} if sections else within
            set_by[path] = name
    return changed, set_by


def _level(variables: Mapping[str, str]) -> str:
    return variables.get(LOG_LEVEL, "").strip().lower()


def unknown_variables(variables: Mapping[str, str]) -> tuple[str, ...]:
    """A warning for each variable that looks like ours and is none, and for a level that is none."""
    warnings = []
    if _level(variables) and _level(variables) not in LEVELS:
        warnings.append(f"the environment variable {LOG_LEVEL} does not count: it is none of {', '.join(LEVELS)}")
    for name in sorted(variables):
        if name.startswith(PREFIX) and name not in VARIABLES:
            near = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.8)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.append(f"the environment variable {name} is not one of Motive's{hint}")
    return tuple(warnings)
