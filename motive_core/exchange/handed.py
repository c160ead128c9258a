"""Events that one task reads and another may close, at any moment.

Owns the race between the two, which a generator answers with a ``RuntimeError`` to whoever comes second.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from motive_core.exchange.live import Events, Spoken


class Handed(AsyncGenerator[Sequence[Spoken]]):
    """The same events. Who reads them finds them at their end once they are being closed; who closes them while they
    are being read leaves that to their reader, who closes them when it is done."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._is_read = False
        self._is_closed = False

    async def asend(self, value: None) -> Sequence[Spoken]:
        """See ``AsyncGenerator``."""
        if self._is_closed:
            raise StopAsyncIteration
        self._is_read = True
        try:
            return await self._events.asend(value)
        finally:
            self._is_read = False

    async def athrow(self, *error: Any) -> Sequence[Spoken]:
        """See ``AsyncGenerator``."""
        return await self._events.athrow(*error)

    async def aclose(self) -> None:
        """See ``AsyncGenerator``."""
        if self._is_closed or self._is_read:
            return
        self._is_closed = True
        await self._events.aclose()
