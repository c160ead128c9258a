"""Heartbeats: whether and when a call that waits long shows signs of life.

Owns the choice, by dialect, client and the patience that a client tells of. What a sign of life is, the dialect knows;
when the choice is carried out, the exchange. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from motive_core.config import Config, HeartbeatClient, Matcher, glob_regex, visible
from motive_core.exchange import Beat

_TOLD_BY: Final = ("x-stainless-read-timeout", "x-stainless-timeout", "x-server-timeout")
"""Headers in which clients tell how many seconds they wait. The Stainless SDKs: ``_base_client.py`` (Python, openai
3.52.0, anthropic 2.11.0), ``client.ts``; Google's Gemini SDK (3.4.0): ``_api_client.py``."""

_LONGEST_READ_TIMEOUT_S: Final = 86400.0
_LATEST_S: Final = 30.0
"""A call that is not streamed gets its head after so long at the latest, if it gets one: half of the 60 s after which
many proxies give up."""
_EARLIEST_S: Final = 0.05


class Heartbeats:
    """The table of a configuration, compiled; the first entry that matches counts."""

    def __init__(self, config: Config) -> None:
        self._after_s = config.timing.heartbeat_after_s
        self._every_s = config.timing.heartbeat_every_s
        self._clients = [_Client(one) for one in (*config.extra_heartbeat_clients, *config.heartbeat_clients)]

    def plan(self, dialect: str, headers: Mapping[str, str], *, stream: bool, deadline_in_s: float) -> Beat | None:
        """How a call is kept alive that may wait for ``deadline_in_s``; None if it is not. ``headers`` have lower-case
        names."""
        if self._after_s is None:
            return None
        agent = visible(headers.get("user-agent", ""))
        client = next((one.client for one in self._clients if one.matches(dialect, agent)), None)
        patience_s = _told(headers) if client is None else _least(_told(headers), client.read_timeout_s)
        after_s, every_s = self._after_s, self._every_s
        if patience_s is not None:
            every_s = max(_EARLIEST_S, min(every_s, patience_s / 2))
        if stream:
            if client is not None and not client.stream:
                return None
            return Beat(min(after_s, every_s) if patience_s is not None else after_s, every_s)
        if client is None or not client.whole or patience_s is None or patience_s > deadline_in_s:
            return None
        return Beat(max(_EARLIEST_S, min(patience_s / 2, _LATEST_S)), every_s)


class _Client:
    def __init__(self, client: HeartbeatClient) -> None:
        self.client = client
        match = client.match
        self._dialect = glob_regex(match.dialect) if match.dialect is not None else None
        self._agent = Matcher(match.user_agent) if match.user_agent is not None else None

    def matches(self, dialect: str, agent: str) -> bool:
        if self._dialect is not None and self._dialect.fullmatch(dialect) is None:
            return False
        return self._agent is None or self._agent.search(agent) is not None


def _told(headers: Mapping[str, str]) -> float | None:
    """How many seconds a client says that it waits; None if it does not, or not in numbers."""
    for name in _TOLD_BY:
        text = headers.get(name, "")
        try:
            seconds = float(text)
        except ValueError:
            continue
        if 0 < seconds <= _LONGEST_READ_TIMEOUT_S:
            return seconds
    return None


def _least(one: float | None, other: float | None) -> float | None:
    return min((seconds for seconds in (one, other) if seconds is not None), default=None)
