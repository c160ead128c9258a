"""What the real service would say to a call that a person answers: a draft for them, or a shadow beside their answer.

Owns that each prompt has one of them at most, that they are bounded, and what of them is known so far. How the service
is asked is not known here: the app's own request goes there, with its own credentials, which stay in the proxy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from motive_core.errors import InternalError, MotiveError, RateLimitedError, UpstreamError
from motive_core.exchange import Exchange
from motive_core.ir import Reply
from motive_core.pairing import Spawn
from motive_core.part_sizes import bytes_of
from motive_core.stream import Collector, ReplyEvent

logger = logging.getLogger(__name__)

type Key = tuple[str, str]
"""A session, and what the console calls a prompt of it."""
type Hear = Callable[[Sequence[ReplyEvent]], None]
type AskService = Callable[[Exchange, Hear], Awaitable[Reply]]
"""Gives what an exchange would be answered, once that is whole; ``Hear`` is told of it as it comes. Raises
``MotiveError``."""
type Purpose = Literal["draft", "shadow"]

_AT_ONCE: Final = 8
_KEPT: Final = 200
_MOST_BYTES: Final = 4 * 1024 * 1024
_DEADLINE_S: Final = 300.0


@dataclass(slots=True, eq=False)
class Suggestion:
    """What the service says. ``reply`` is what is known of it; it is whole when ``done`` without an ``error``."""

    purpose: Purpose
    calls: tuple[str, ...]
    """The calls that say the prompt."""
    began_at: float
    heard: Collector = field(default_factory=Collector)
    reply: Reply | None = None
    size_bytes: int = 0
    done: bool = False
    error: MotiveError | None = None
    task: asyncio.Task[None] | None = None

    @property
    def so_far(self) -> Reply:
        """What has been said."""
        return self.reply or self.heard.reply()


class Suggestions:
    """See the module. ``changed`` is told of each that says more, ``whole`` of each that is known whole."""

    def __init__(
        self,
        ask: AskService,
        *,
        clock: Callable[[], float],
        spawn: Spawn,
        changed: Callable[[Key], None],
        whole: Callable[[Suggestion], None],
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._spawn = spawn
        self._changed = changed
        self._whole = whole
        self._made: dict[Key, Suggestion] = {}

    def get(self, key: Key) -> Suggestion | None:
        """That of a prompt, if it was asked for and is kept."""
        return self._made.get(key)

    def ask(self, key: Key, exchange: Exchange, calls: tuple[str, ...], purpose: Purpose) -> Suggestion:
        """Ask for one, or join the one that is being said: a shadow that a person asks for becomes a draft. Raises
        ``RateLimitedError`` if too many are."""
        known = self._made.get(key)
        if known is not None and not known.done:
            if purpose == "draft":
                known.purpose = purpose
                self._changed(key)
            return known
        if sum(not one.done for one in self._made.values()) >= _AT_ONCE:
            raise RateLimitedError(f"{_AT_ONCE} drafts are being made already.", code="too_many_drafts")
        made = self._made[key] = Suggestion(purpose, calls, self._clock())
        self._made[key] = self._made.pop(key)  # the latest stands last
        for old in [one for one, it in self._made.items() if it.done][: max(0, len(self._made) - _KEPT)]:
            del self._made[old]
        task = self._spawn(self._fill(key, made, exchange))
        if not task.done():
            made.task = task
        return made

    def stop(self, key: Key) -> None:
        """What was said so far is enough."""
        made = self._made.get(key)
        if made is not None and made.task is not None and made.purpose == "draft":
            made.task.cancel()

    def over(self, key: Key) -> None:
        """Its call is answered, or gone: nobody needs a draft any more. A shadow goes on."""
        made = self._made.get(key)
        if made is not None and made.purpose == "draft" and not made.done:
            made.purpose = "shadow"

    def close(self) -> None:
        """The process ends."""
        for made in self._made.values():
            if made.task is not None:
                made.task.cancel()

    async def _fill(self, key: Key, made: Suggestion, exchange: Exchange) -> None:
        def hear(events: Sequence[ReplyEvent]) -> None:
            for event in events:
                made.heard.add(event)
                made.size_bytes += len(getattr(event, "text", ""))
            if made.size_bytes > _MOST_BYTES:
                raise UpstreamError("The draft is too long.")
            self._changed(key)

        try:
            async with asyncio.timeout(_DEADLINE_S):
                made.reply = await self._ask(exchange, hear)
            made.size_bytes = sum(bytes_of(choice.parts) for choice in made.reply.choices)
        except TimeoutError:
            made.error = UpstreamError("The service did not answer in time.", code="upstream_timeout")
        except MotiveError as error:
            made.error = error
        except Exception:
            logger.exception("a draft could not be made exchange=%s", exchange.exchange)
            made.error = InternalError("The draft could not be made; the log has the reason.")
        finally:
            made.task = None
            made.done = True
            if made.reply is not None:
                self._whole(made)
            self._changed(key)
