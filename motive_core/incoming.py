"""A call as it comes in, before anything is known of it; and the clock and the ids by which calls are told apart."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from motive_core.access import ANYBODY, Caller
from motive_core.dialects import RequestHead
from motive_core.exchange import Listener
from motive_core.routing import credential_identity


def new_id() -> str:
    """A new exchange id."""
    return secrets.token_hex(12)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A call as it came. ``client_host`` is the client's address, seen through trusted proxies; ``body`` is raw, still
    in its content encoding. ``caller`` is who was admitted at the meeting point; the forward proxy asks nobody."""

    listener: Listener
    head: RequestHead
    client_host: str
    body: bytes
    caller: Caller = ANYBODY
    exchange: str = field(default_factory=new_id)
    """The id of its exchange, in the log, in views, and for its client if it is answered here."""

    @property
    def credential(self) -> str | None:
        """By what its client is told from others: its key's name, or what else it presents."""
        return self.caller.credential or credential_identity(self.head.headers, self.head.query)


def steady_clock() -> Callable[[], float]:
    """Unix seconds that never go back: read once, then advanced by the monotonic clock."""
    start = time.time() - time.monotonic()
    return lambda: start + time.monotonic()
