"""What the real service would say to a call that a person answers: a draft for them, or a shadow beside their answer.

Owns that each prompt has one of them at most, that they are bounded, and what of them is known so far. How the service
is asked is not known here: the app's own request goes there, with its own credentials, which stay in the proxy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from motive_core.access import without_keys
from motive_core.errors import (
    ConflictError,
    FramingError,
    InternalError,
    MotiveError,
    RateLimitedError,
    UpstreamError,
)
from motive_core.exchange import Exchange
from motive_core.ir import ChatRequest, Choice, Reply
from motive_core.pairing import Spawn
from motive_core.part_sizes import bytes_of
from motive_core.stream import Collector, PartDelta, PartStarted, ReplyEvent, SignatureDelta

logger = logging.getLogger(__name__)

type Key = tuple[str, str]
"""A session, and what the console calls a prompt of it."""
type Hear = Callable[[Sequence[ReplyEvent]], None]
type AskService = Callable[[Exchange, Hear], Awaitable[Reply]]
"""Gives what an exchange would be answered, once that is whole; ``Hear`` is told of it as it comes. Raises
``MotiveError``."""
type Purpose = Literal["draft", "shadow"]
type Fate = Literal["waits", "answered", "over"]
"""What became of a prompt: ``over`` is that nobody here answered it."""

_AT_ONCE: Final = 8
_SHADOWS_AT_ONCE: Final = 6
"""So that nobody waits for a draft because of what nobody waits for."""
_KEPT: Final = 200
_KEPT_BYTES: Final = 16 * 1024 * 1024
_MOST_BYTES: Final = 4 * 1024 * 1024
_PIECE_BYTES: Final = 64
"""What a piece takes beside its letters, however short it is."""
_DEADLINE_S: Final = 300.0
_TOLD_EVERY_S: Final = 0.05
_TOLD_BYTES_PER_S: Final = 2_000_000
"""All of it is told each time that more is known: the longer it is, the more seldom."""
_ONCE_ONLY: Final[Mapping[str, str]] = {
    "background": "Its answer is made in the background, where it is fetched from the service later.",
    "conversation": "It belongs to a conversation that its service keeps, and a draft would become a part of that.",
    "mcp_servers": "Its service may use tools of others for it, and would use them for a draft, too.",
}
"""Fields of requests that do more than ask: OpenAI's Responses have the first two, Anthropic's Messages the last."""


@dataclass(slots=True, eq=False)
class Suggestion:
    """What the service says. ``reply`` is what is known of it at last: it is whole if there is no ``why``, which says
    what it ended by otherwise. ``status`` is that of the service's error."""

    purpose: Purpose
    calls: tuple[str, ...]
    """The calls that say the prompt."""
    began_at: float
    earlier: Reply | None = None
    """What the one before it said, that somebody may be writing on."""
    heard: Collector = field(default_factory=Collector)
    reply: Reply | None = None
    size_bytes: int = 0
    answered: bool = False
    """Whether somebody answered the prompt meanwhile."""
    done: bool = False
    why: str = ""
    stopped: bool = False
    status: int | None = None
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    is_news: bool = False
    """Whether it has said more since it was told of."""

    @property
    def so_far(self) -> Reply:
        """What has been said."""
        return self.reply or self.heard.reply()

    @property
    def base(self) -> Reply | None:
        """What somebody may have made an answer of."""
        return self.reply or self.earlier


class Suggestions:
    """See the module. ``changed`` is told of each that says more, ``ended`` of each that will not."""

    def __init__(
        self,
        ask: AskService,
        *,
        clock: Callable[[], float],
        spawn: Spawn,
        changed: Callable[[Key], None],
        ended: Callable[[Suggestion], None],
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._spawn = spawn
        self._changed = changed
        self._ended = ended
        self._made: dict[Key, Suggestion] = {}
        self._running: dict[Key, Suggestion] = {}
        self._kept_bytes = 0

    def get(self, key: Key) -> Suggestion | None:
        """That of a prompt, if it was asked for and is kept."""
        return self._made.get(key)

    def ask(self, key: Key, exchange: Exchange, calls: tuple[str, ...], purpose: Purpose) -> Suggestion:
        """Ask for one, or join the one that is being said: a shadow that a person asks for becomes a draft. Raises
        ``RateLimitedError`` if too many are, ``ConflictError`` for a call that must not be made twice."""
        known = self._made.get(key)
        if known is not None and not known.done:
            if purpose == "draft":
                known.purpose = purpose
                self._changed(key)
            return known
        if (why := once_only(exchange.request)) is not None:
            raise ConflictError(why, code="once_only")
        shadows = sum(one.purpose == "shadow" for one in self._running.values())
        if len(self._running) >= _AT_ONCE or (purpose == "shadow" and shadows >= _SHADOWS_AT_ONCE):
            raise RateLimitedError(f"{len(self._running)} drafts are being made already.", code="too_many_drafts")
        made = Suggestion(purpose, calls, self._clock())
        if known is not None:
            made.earlier = known.base
            self._forget(key)
        self._made[key] = self._running[key] = made
        self._drop()
        task = self._spawn(self._fill(key, made, exchange))
        if not task.done():
            made.task = task
        return made

    def stop(self, key: Key) -> None:
        """What was said so far is enough."""
        made = self._running.get(key)
        if made is not None and made.purpose == "draft":
            _leave(made)

    def settle(self, session: str, fate: Callable[[str], Fate], *, shadowed: bool) -> None:
        """Leave those of a session that nobody wants any more. A shadow goes on behind the answer, and so does a draft
        where the session is ``shadowed``."""
        for key, made in list(self._running.items()):
            if key[0] != session:
                continue
            match fate(key[1]):
                case "waits":
                    continue
                case "answered":
                    made.answered = True
                    if made.purpose == "draft" and not shadowed:
                        _leave(made)
                case "over":  # where it was answered before, its session does not remember it any more
                    if not made.answered:
                        _leave(made)

    def close(self) -> None:
        """The process ends."""
        for made in list(self._running.values()):
            _leave(made)

    # How

    async def _fill(self, key: Key, made: Suggestion, exchange: Exchange) -> None:
        def hear(events: Sequence[ReplyEvent]) -> None:
            for event in events:
                made.heard.add(event)
                made.size_bytes += _bytes_of(event)
            if made.size_bytes > _MOST_BYTES:
                raise _too_long()
            self._say(key, made)

        try:
            async with asyncio.timeout(_DEADLINE_S):
                reply = await self._ask(exchange, hear)
            made.size_bytes = _bytes_of_all(reply.choices)
            if made.size_bytes > _MOST_BYTES:
                raise _too_long()
            made.reply = reply
        except TimeoutError:
            self._fail(made, exchange, UpstreamError("The service did not answer in time."))
        except FramingError as error:
            self._fail(made, exchange, UpstreamError(f"The service's reply cannot be read: {error}."))
        except MotiveError as error:
            self._fail(made, exchange, error)
        except Exception:
            logger.exception("a draft could not be made exchange=%s", exchange.exchange)
            self._fail(made, exchange, InternalError("The draft could not be made; the log has the reason."))
        except asyncio.CancelledError:
            made.why, made.stopped = "It was stopped.", True
            raise
        finally:
            self._end(key, made)

    @staticmethod
    def _fail(made: Suggestion, exchange: Exchange, error: MotiveError) -> None:
        made.why, made.status = without_keys(error.message, exchange.head), error.status

    def _end(self, key: Key, made: Suggestion) -> None:
        if made.timer is not None:
            made.timer.cancel()
        said = made.heard.reply()
        if made.reply is None and any(choice.parts for choice in said.choices):
            made.reply = said  # what of it was seen may have been sent
        made.heard = Collector()
        made.task = made.timer = None
        made.done = True
        self._running.pop(key, None)
        self._kept_bytes += made.size_bytes
        self._drop()
        self._ended(made)
        self._changed(key)

    def _say(self, key: Key, made: Suggestion) -> None:
        """Tell that there is more, at once or in a moment."""
        if made.timer is not None:
            made.is_news = True
            return
        made.is_news = False
        self._changed(key)
        again_s = max(_TOLD_EVERY_S, made.size_bytes / _TOLD_BYTES_PER_S)
        made.timer = asyncio.get_running_loop().call_later(again_s, self._say_again, key, made)

    def _say_again(self, key: Key, made: Suggestion) -> None:
        made.timer = None
        if made.is_news:
            self._say(key, made)

    def _drop(self) -> None:
        """Keep no more than may be kept: the oldest go first."""
        for key in [key for key, made in self._made.items() if made.done]:
            if len(self._made) <= _KEPT and self._kept_bytes <= _KEPT_BYTES:
                return
            self._forget(key)

    def _forget(self, key: Key) -> None:
        self._kept_bytes -= self._made.pop(key).size_bytes


def once_only(request: ChatRequest) -> str | None:
    """Why a call must not be made for a draft and then once more; None if it may: to ask a model changes nothing. (A
    service that keeps replies to look at, as OpenAI's with ``store``, keeps that of a draft, too. Nothing goes on from
    there: nobody is told its id.)"""
    why = next((why for name, why in _ONCE_ONLY.items() if request.extra.get(name)), None)
    uses_others = any(isinstance(tool.raw, Mapping) and tool.raw.get("type") == "mcp" for tool in request.tools)
    return why or (_ONCE_ONLY["mcp_servers"] if uses_others else None)


def _leave(made: Suggestion) -> None:
    if made.task is not None:
        made.task.cancel()


def _too_long() -> MotiveError:
    return UpstreamError("What the service says is too long.")


def _bytes_of(event: ReplyEvent) -> int:
    match event:
        case PartDelta(text=text) | SignatureDelta(signature=text):
            return _PIECE_BYTES + len(text)
        case PartStarted(value=part):
            return bytes_of((part,))
        case _:
            return 0


def _bytes_of_all(choices: Sequence[Choice]) -> int:
    return sum(bytes_of(choice.parts) for choice in choices)
