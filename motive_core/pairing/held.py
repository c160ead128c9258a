"""The calls that are held, whoever answers them, counted by client, and whether one more may be.

Owns the two limits. Knows no session.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

from motive_core.errors import FullError, MotiveError, TooManyHeldError
from motive_core.exchange import Exchange

type Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]

RETRY_AFTER_S: Final = 5.0
"""A guess: nobody knows when a person will have answered."""


class HeldCalls(dict[str, Exchange]):
    """By id. Only ``add`` and ``forget`` may change it."""

    def __init__(self, most: int, most_per_client: int | None) -> None:
        super().__init__()
        self.most = most
        self.most_per_client = most_per_client
        self._clients: Counter[str] = Counter()

    def add(self, exchange: Exchange) -> None:
        """Take a call in."""
        if exchange.exchange not in self:
            self._clients[exchange.limited_as] += 1
        self[exchange.exchange] = exchange

    def forget(self, exchange_id: str) -> Exchange | None:
        """Let a call out. Gives it, None if it was not here."""
        exchange = self.pop(exchange_id, None)
        if exchange is not None:
            self._clients[exchange.limited_as] -= 1
            if not self._clients[exchange.limited_as]:
                del self._clients[exchange.limited_as]
        return exchange

    def over_limit(self, exchange: Exchange) -> tuple[str, MotiveError] | None:
        """The limit that one more call would be over, and the error that says so; None if it may come."""
        if len(self) >= self.most:
            message = f"{len(self)} calls are held already; {self.most} are the limit."
            return "held", FullError(message, retry_after_s=RETRY_AFTER_S)
        most, held = self.most_per_client, self._clients[exchange.limited_as]
        if most is not None and held >= most:
            message = f"You have {held} calls waiting already; {most} are the limit of one client."
            return "held_per_client", TooManyHeldError(message, retry_after_s=RETRY_AFTER_S)
        return None
