"""Replies that a client may name later instead of repeating the conversation: what ``previous_response_id`` leads to.

Owns how long they are kept and who may name them: only the client that they went to, by the identity of its credential.
Knows no dialect but the types that they share.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from motive_core.dialects.base import KeptReply
from motive_core.ir import ChatRequest, Reply

_KEPT: Final = 2000
"""How many replies are kept; the oldest one goes first."""
_KEPT_BYTES: Final = 128 * 1024 * 1024
"""How many bytes of requests they may refer to, each counted by itself: conversations share their older messages."""


@dataclass(frozen=True, slots=True)
class _Entry:
    kept: KeptReply
    credential: str | None
    at: float
    size: int


class KeptReplies:
    """By id. ``clock`` gives seconds that never go back; ``keep_s`` is how long a reply is kept."""

    def __init__(self, clock: Callable[[], float], keep_s: float) -> None:
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = 0
        self.keep_s = keep_s

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, request: ChatRequest, reply: Reply, credential: str | None) -> None:
        """Keep a reply and the conversation before it."""
        self._drop(reply.reply_id)
        size = len(request.raw)
        # Without the body, which may hold the same pictures once more.
        kept = KeptReply(replace(request, raw=b""), reply)
        self._entries[reply.reply_id] = _Entry(kept, credential, self._clock(), size)
        self._size += size
        while len(self._entries) > _KEPT or (self._size > _KEPT_BYTES and len(self._entries) > 1):
            self._drop(next(iter(self._entries)))
        self.expire()

    def find(self, reply_id: str, credential: str | None) -> KeptReply | None:
        """The reply of this id, if it went to this client."""
        entry = self._entries.get(reply_id)
        if entry is None or entry.credential != credential or self._clock() - entry.at > self.keep_s:
            return None
        return entry.kept

    def forget(self, reply_id: str, credential: str | None) -> bool:
        """Drop a reply. Gives whether it was there."""
        if self.find(reply_id, credential) is None:
            return False
        self._drop(reply_id)
        return True

    def expire(self) -> None:
        """Drop what is too old."""
        limit = self._clock() - self.keep_s
        while self._entries and next(iter(self._entries.values())).at < limit:
            self._drop(next(iter(self._entries)))

    def _drop(self, reply_id: str) -> None:
        entry = self._entries.pop(reply_id, None)
        if entry is not None:
            self._size -= entry.size
