"""Replies that a client may name later instead of repeating the conversation: what ``previous_response_id`` leads to.

Owns how long they are kept and who may name them: only the client that they went to, by the identity of its credential.
Knows no dialect but the types that they share.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from motive_core.dialects.base import KeptReply
from motive_core.ir import ChatRequest, Json, Reply, Tool
from motive_core.part_sizes import bytes_of

_KEPT: Final = 2000
"""How many replies are kept; the oldest one goes first."""
_KEPT_BYTES: Final = 128 * 1024 * 1024
"""How much memory all of it may take, by estimate. A conversation that takes more by itself is not kept."""
_PLACE_BYTES: Final = 8
"""What a conversation takes for each of its messages, be they shared with another or not."""


_SECRET_MEMBERS: Final = frozenset({"authorization", "authorization_token", "headers", "domain_secrets"})
"""Of vendors' own tools."""


@dataclass(slots=True)
class _Link:
    """What a conversation takes beside the one that it goes on from, for as long as a reply of it is kept."""

    size: int
    before: _Link | None
    whole: int
    """What the conversation takes up to here."""
    users: int = 1
    """The kept reply that it ends with, and the links that go on from it."""


@dataclass(frozen=True, slots=True)
class _Entry:
    kept: KeptReply
    credential: str | None
    at: float
    size: int
    link: _Link


@dataclass(frozen=True, slots=True)
class StoredReply:
    """A kept reply as a store has it. ``previous`` is the kept reply that its conversation goes on from, ``size`` what
    it takes beside that one."""

    kept: KeptReply
    credential: str | None
    at: float
    previous: str | None
    size: int


class KeptStore(Protocol):
    """Where kept replies outlive the process. What cannot be stored now is stored later; nothing is ever raised."""

    def all(self) -> Iterable[StoredReply]:
        """Every reply, oldest first; asked once, before all else."""
        ...

    def add(self, stored: StoredReply) -> None:
        """Store a reply; it is safe when this returns."""
        ...

    def remove(self, reply_id: str) -> None:
        """Forget a reply, in a moment."""
        ...


class KeptReplies:
    """By id. ``clock`` gives seconds that never go back; ``keep_s`` is how long a reply is kept; what is in ``store``
    is kept already.

    A conversation shares its older messages with the replies that were kept before: those are counted once, for as long
    as a kept reply refers to them."""

    def __init__(self, clock: Callable[[], float], keep_s: float, store: KeptStore | None = None) -> None:
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = 0
        self._store = store
        self.keep_s = keep_s
        for stored in store.all() if store is not None else ():
            request, reply = stored.kept.request, stored.kept.reply
            is_whole = stored.previous is None or stored.previous in self._entries
            size = stored.size if is_whole else _bytes_of_request(request) + _bytes_of_reply(reply)
            # A clock that was set back makes nothing last longer.
            self._take(replace(stored, at=min(stored.at, clock()), size=size))
        self._bound()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """How much memory they take, in bytes, by estimate."""
        return self._size

    def add(self, request: ChatRequest, reply: Reply, credential: str | None, came: ChatRequest | None = None) -> None:
        """Keep a reply and the conversation before it. ``came`` is the request as it came, where that named the
        conversation by a reply that is kept here."""
        before = None if came is None or came.previous is None else self._entries.get(came.previous)
        own = request if came is None or before is None else came
        size = _bytes_of_request(own) + _bytes_of_reply(reply)
        previous = came.previous if came is not None and before is not None else None
        # Without the body, which may hold the same pictures once more.
        kept = replace(request, raw=b"", tools=tuple(map(_without_secrets, request.tools)))
        stored = StoredReply(KeptReply(kept, reply), credential, self._clock(), previous, size)
        if self._take(stored) and self._store is not None:
            self._store.add(stored)
        self._bound()

    def _take(self, stored: StoredReply) -> bool:
        """Put a reply into memory. Gives False, and leaves it, if its conversation takes all the room there is."""
        before = self._entries.get(stored.previous) if stored.previous is not None else None
        whole = stored.size + (before.link.whole if before is not None else 0)
        places = _PLACE_BYTES * len(stored.kept.request.messages)
        if whole + places > _KEPT_BYTES:
            return False  # rather than drop those of everybody else
        link = _Link(stored.size, before.link if before is not None else None, whole)
        if link.before is not None:
            link.before.users += 1
        self._drop(stored.kept.reply.reply_id)
        self._entries[stored.kept.reply.reply_id] = _Entry(stored.kept, stored.credential, stored.at, places, link)
        self._size += places + stored.size
        return True

    def _bound(self) -> None:
        """Keep to the limits."""
        while len(self._entries) > _KEPT or self._size > _KEPT_BYTES:
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
        if entry is None:
            return
        if self._store is not None:
            self._store.remove(reply_id)
        self._size -= entry.size
        link: _Link | None = entry.link
        while link is not None:
            link.users -= 1
            if link.users:
                return
            self._size -= link.size
            link = link.before


def _without_secrets(tool: Tool) -> Tool:
    """A tool without what it is let in with elsewhere. OpenAI's API keeps none of that, either: each request has to say
    it again (reference, ``tools``: "mcp", "shell")."""
    return tool if tool.raw is None else replace(tool, raw=public(tool.raw))


def public(value: Json) -> Json:
    """A JSON value without the members that hold secrets of vendors' own tools."""
    if isinstance(value, Mapping):
        return {name: public(one) for name, one in value.items() if name not in _SECRET_MEMBERS}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [public(one) for one in value]
    return value


def _bytes_of_request(request: ChatRequest) -> int:
    """What a request takes that nothing else refers to."""
    size = sum(bytes_of(message.parts) for message in request.messages)
    # What a body has beside its messages (tools, most of all) takes what it took there, at least.
    return max(size, len(request.raw))


def _bytes_of_reply(reply: Reply) -> int:
    return sum(bytes_of(choice.parts) for choice in reply.choices)
