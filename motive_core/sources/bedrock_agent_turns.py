"""Which turns of an agent may go on at once, which need not be made again, and what an agent waits for.

Owns the order of calls in one session of the agent's, and what is remembered of its last turns, in memory: the answers
that an app may have missed, and the calls whose results are to come. An agent's turn is
not idempotent: a call that its SDK marks as another try gets the answer that is known already. Knows no agent.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from motive_core.errors import StatusError
from motive_core.ir import ChatRequest, Reply, ToolCallPart
from motive_core.sources.bedrock_agent_calls import Invocation, Waiting, invocation_of

KEPT_S: Final = 120.0
"""As long as a session keeps the answer of a prompt for a retry, by default."""
_KEPT: Final = 256
_WAITING: Final = 10_000
_LONGEST_BYTES: Final = 256 * 1024
"""Of what the longest reply that is kept may say: together they are no more than 64 MiB."""


@dataclass(slots=True)
class _Seat:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    calls: int = 0


class Turns:
    """See the module. ``clock`` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seats: dict[str, _Seat] = {}
        self._kept: OrderedDict[str, tuple[float, Reply]] = OrderedDict()
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()

    @asynccontextmanager
    async def alone(self, session: str, timeout_s: float) -> AsyncIterator[None]:
        """The only turn of a session, once those before it have ended. Raises ``StatusError`` if they do not in time:
        the service would refuse it, too."""
        seat = self._seats.setdefault(session, _Seat())
        seat.calls += 1
        try:
            try:
                async with asyncio.timeout(timeout_s):
                    await seat.lock.acquire()
            except TimeoutError:
                raise StatusError(
                    409, "The agent is busy with another call of this session.", code="session_busy", retry_after_s=1.0
                ) from None
            try:
                yield
            finally:
                seat.lock.release()
        finally:
            seat.calls -= 1
            if not seat.calls:
                del self._seats[session]

    def keep(self, key: str, reply: Reply, size: int) -> None:
        """This was the answer; ``size`` in bytes, about."""
        if size > _LONGEST_BYTES:
            return
        self._kept[key] = (self._clock() + KEPT_S, reply)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def find(self, key: str) -> Reply | None:
        """The answer, if it is still kept."""
        until, reply = self._kept.get(key, (0.0, None))
        return reply if self._clock() < until else None

    def wait_for(self, session: str, reply: Reply) -> None:
        """The agent waits for the results of these calls, if there are any."""
        self._waiting.pop(session, None)
        waiting: dict[str, list[Invocation]] = {}
        for part in (part for choice in reply.choices for part in choice.parts):
            if isinstance(part, ToolCallPart) and (known := invocation_of(part.call_id)) is not None:
                waiting.setdefault(part.name, []).append(known)
        if waiting:
            self._waiting[session] = waiting
            while len(self._waiting) > _WAITING:
                self._waiting.popitem(last=False)

    def waiting(self, session: str) -> Waiting:
        """What the agent waits for, as far as it is remembered."""
        return self._waiting.get(session, {})


def key_of(session: str, request: ChatRequest) -> str:
    """What two tries of one call have in common."""
    return f"{session} {hashlib.sha256(request.raw).hexdigest()}"
