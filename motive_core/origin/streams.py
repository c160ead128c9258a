"""Replies that are spoken over time, waiting to be fetched once by a one-time token.

Owns the tokens. A token that nobody fetches is dropped by ``expire``, and its stream is closed.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PromotedReply:
    """A reply under way. ``on_fetch`` is called when the origin has received the call for it."""

    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    on_fetch: Callable[[], None]
    offered_at: float


class Streams:
    """The replies that wait to be fetched. ``clock`` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: dict[str, PromotedReply] = {}

    def offer(self, headers: Mapping[str, str], chunks: AsyncIterator[bytes], on_fetch: Callable[[], None]) -> str:
        """Put a reply up; gives its token."""
        token = secrets.token_urlsafe(24)
        self._waiting[token] = PromotedReply(headers, chunks, on_fetch, self._clock())
        return token

    def take(self, token: str) -> PromotedReply | None:
        """The reply of a token, once."""
        return self._waiting.pop(token, None)

    def expire(self, older_than_s: float) -> None:
        """Drop what nobody fetched: its client left in between."""
        limit = self._clock() - older_than_s
        for token in [token for token, reply in self._waiting.items() if reply.offered_at < limit]:
            del self._waiting[token]

    def __len__(self) -> int:
        return len(self._waiting)
