"""Calls whose service is being asked what it would answer, before they come to their session.

Owns the tasks in which that is done: one service is asked for all calls that say the same, however many there are,
until nobody waits for it any more. What becomes of a draft is not known here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from motive_core.errors import InternalError, MotiveError, UpstreamError
from motive_core.exchange import Exchange
from motive_core.ir import Reply
from motive_core.pairing.held import Spawn

logger = logging.getLogger(__name__)

type AskDraft = Callable[[Exchange], Awaitable[Reply]]


@dataclass(slots=True, eq=False)
class _Asked:
    """A service that is being asked, and how many wait for what it says."""

    reply: asyncio.Future[Reply]
    task: asyncio.Task[None] | None = None
    waiting: int = 0


class Drafting:
    """``spawn`` runs a coroutine in the background; ``ask`` gives what an exchange would be answered, or raises
    ``MotiveError``."""

    def __init__(self, spawn: Spawn, ask: AskDraft) -> None:
        self._spawn = spawn
        self._ask = ask
        self._asked: dict[str, _Asked] = {}
        self._waiting: dict[str, asyncio.Task[None]] = {}

    def begin(
        self,
        exchange: Exchange,
        key: str,
        deadline_s: float,
        then: Callable[[Reply], Awaitable[None]],
        otherwise: Callable[[MotiveError], None],
    ) -> None:
        """Get the draft of an exchange, which is the same for all of this ``key``, and go on with it, or with the error
        in its place. Neither is called for an exchange that is left before."""
        task = self._spawn(self._wait(exchange, key, deadline_s, then, otherwise))
        if not task.done():
            self._waiting[exchange.exchange] = task

    def leave(self, exchange: Exchange) -> None:
        """Nobody waits for the draft of this exchange any more, if somebody did."""
        task = self._waiting.pop(exchange.exchange, None)
        if task is not None:
            task.cancel()

    def stop(self) -> None:
        """Leave all of them."""
        for task in self._waiting.values():
            task.cancel()
        self._waiting.clear()

    async def _wait(
        self,
        exchange: Exchange,
        key: str,
        deadline_s: float,
        then: Callable[[Reply], Awaitable[None]],
        otherwise: Callable[[MotiveError], None],
    ) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                draft = await self._draft(exchange, key)
        except TimeoutError:
            otherwise(UpstreamError("The service did not answer in time.", code="upstream_timeout"))
        except MotiveError as error:
            otherwise(error)
        else:
            self._waiting.pop(exchange.exchange, None)  # from here on it is not to be left
            await then(draft)
        finally:
            self._waiting.pop(exchange.exchange, None)

    async def _draft(self, exchange: Exchange, key: str) -> Reply:
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = _Asked(asyncio.get_running_loop().create_future())
            asked.reply.add_done_callback(_seen)
            task = self._spawn(self._fill(asked.reply, exchange))
            if not task.done():
                asked.task = task
        asked.waiting += 1
        try:
            return await asyncio.shield(asked.reply)
        finally:
            asked.waiting -= 1
            if not asked.waiting:
                del self._asked[key]
                if asked.task is not None:
                    asked.task.cancel()

    async def _fill(self, reply: asyncio.Future[Reply], exchange: Exchange) -> None:
        try:
            reply.set_result(await self._ask(exchange))
        except MotiveError as error:
            reply.set_exception(error)
        except Exception:
            logger.exception("a draft could not be made exchange=%s", exchange.exchange)
            reply.set_exception(InternalError("The draft could not be made; the log has the reason."))


def _seen(reply: asyncio.Future[Reply]) -> None:
    """An error that nobody waits for any more is no news."""
    if not reply.cancelled():
        reply.exception()
