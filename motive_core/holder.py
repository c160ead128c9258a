"""What takes charge of exchanges and ends them: the meeting of two clients, or what answers by itself."""

from __future__ import annotations

from typing import Protocol

from motive_core.exchange import Exchange
from motive_core.routing import Answer


class Holder(Protocol):
    """Takes exchanges and ends each of them exactly once, now or later.

    The other methods tell what became of one: none of them may end it.
    """

    async def accept(self, exchange: Exchange, decision: Answer, retry: bool) -> None:
        """Take charge of an exchange."""
        ...

    async def delivered(self, exchange: Exchange) -> None:
        """Its reply was handed to the client."""
        ...

    async def failed(self, exchange: Exchange) -> None:
        """Its reply did not reach the client, or not whole."""
        ...

    async def gone(self, exchange: Exchange) -> None:
        """Its client left before there was a reply."""
        ...

    async def released(self, exchange: Exchange) -> None:
        """The operator let the real service answer it."""
        ...
