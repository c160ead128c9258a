"""The hosts in which TLS is opened.

Owns the answer to one question, asked at every connection. Knows neither routes nor calls.
"""

from __future__ import annotations

from typing import Final

from motive_core.config import Config, glob_regex, normal_host, split_host

_REMEMBERED: Final = 4096
"""Clients choose the hosts, so what is remembered has a bound."""


class HostTable:
    """``hosts`` and ``extra_hosts`` of a configuration, compiled."""

    def __init__(self, config: Config) -> None:
        self._exact: set[tuple[str, int | None]] = set()
        self._globs = []
        for pattern in (*config.hosts, *config.extra_hosts):
            host, port = split_host(pattern)
            if "*" in host or "?" in host:
                self._globs.append((glob_regex(host), port))
            else:
                self._exact.add((host, port))
        self._known: dict[tuple[str, int], bool] = {}

    def matches(self, host: str, port: int) -> bool:
        """Whether this host is in the table. Case, brackets and a trailing dot of the host don't count."""
        key = (host, port)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[key] = self._look_up(normal_host(host), port)
        return known

    def _look_up(self, host: str, port: int) -> bool:
        if (host, port) in self._exact or (host, None) in self._exact:
            return True
        return any(wanted in (None, port) and glob.fullmatch(host) for glob, wanted in self._globs)
