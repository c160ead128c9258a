"""What has changed, in order: the console's pages follow it, and one that was away goes on where it stopped.

Owns the numbers and how far back they are kept. What changed is a kind and a name only; how it is now is asked when it
is told, so that a thing that changes often is told once. Knows no page.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Literal

type Kind = Literal["call", "session", "draft"]

_KEPT: Final = 4096
"""How many changes are kept. Who was away for more of them starts anew."""


class Feed:
    """See the module. ``epoch`` tells the numbers of this process from those of another."""

    def __init__(self, epoch: str, most: int = _KEPT) -> None:
        self.epoch = epoch
        self.closed = False
        self._changes: deque[tuple[int, Kind, str]] = deque(maxlen=most)
        self._waiting: set[asyncio.Future[None]] = set()
        self.number = 0
        """That of the latest change."""

    def touch(self, kind: Kind, name: str) -> None:
        """Something has changed."""
        self.number += 1
        self._changes.append((self.number, kind, name))
        if self._waiting:
            self._wake()

    def close(self) -> None:
        """There will be no more: who waits is told so by ``closed``."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    def since(self, number: int) -> list[tuple[Kind, str]] | None:
        """What has changed after ``number``, each thing once, in the order of its last change; None if that is not
        known any more."""
        if number > self.number or (self._changes and number < self._changes[0][0] - 1):
            return None
        found: dict[tuple[Kind, str], None] = {}
        for at, kind, name in reversed(self._changes):
            if at <= number:
                break
            found.setdefault((kind, name))
        return list(reversed(found))

    async def changed(self, number: int, timeout_s: float) -> bool:
        """Wait until there is something after ``number``. Gives False if there was nothing in that time."""
        if self.number > number or self.closed:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(waiter)
        return True
