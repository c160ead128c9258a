"""An answer that is said while it is written: the app hears the words as they come.

Owns what was written so far, that everybody who is told it hears all of it, and that it ends: by its author, or by
itself if that one goes away. What it means to a session is the machine's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from motive_core.errors import MotiveError, PayloadTooLargeError
from motive_core.exchange import Exchange, ReplyEvents
from motive_core.ir import TextPart
from motive_core.session import Answer
from motive_core.stream import (
    ChoiceEnded,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    ReplyEvent,
    Started,
    UsageReported,
)

SILENCE_S: Final = 120.0
"""How long its author may write nothing; then it ends with what was said."""
MOST_CHARACTERS: Final = 1_000_000


class LiveAnswer:
    """See the module. To be made within a running event loop. ``ended`` is told of the whole answer, once; of one that
    was broken off it is not."""

    def __init__(self, ended: Callable[[Answer], None]) -> None:
        self.text = ""
        self.answer: Answer | None = None
        """The whole, once it has ended."""
        self.error: MotiveError | None = None
        """Why it was broken off, if it was."""
        self._ended = ended
        self._more = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._silence = self._loop.call_later(SILENCE_S, self.end)

    def write(self, text: str) -> None:
        """Say more. Without effect after the end. Raises ``PayloadTooLargeError``."""
        if self.is_over or not text:
            return
        if len(self.text) + len(text) > MOST_CHARACTERS:
            raise PayloadTooLargeError("The answer is too long.")
        self.text += text
        self._silence.cancel()
        self._silence = self._loop.call_later(SILENCE_S, self.end)
        self._wake()

    def end(self) -> None:
        """That was all."""
        if not self.is_over:
            self._silence.cancel()
            self.answer = Answer((TextPart(self.text),), "")
            self._ended(self.answer)
            self._wake()

    def break_off(self, error: MotiveError) -> None:
        """There will be no more of it: it was no answer. Everybody who hears it is told this error."""
        if not self.is_over:
            self._silence.cancel()
            self.error = error
            self._wake()

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or was broken off."""
        return self.answer is not None or self.error is not None

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()

    async def whole(self) -> Answer:
        """The answer, once it has ended. Raises ``MotiveError`` if it is broken off."""
        while self.answer is None:
            if self.error is not None:
                raise self.error
            await self._more.wait()
        return self.answer

    async def told_to(self, exchange: Exchange) -> ReplyEvents:
        """What this call is told, from the beginning on, as it comes; once for each choice that it wants. Raises
        ``MotiveError`` where it is broken off."""
        numbers = range(max(1, exchange.request.n))
        empty = exchange.reply_of((), "stop")
        begin: list[ReplyEvent] = [Started(empty.reply_id, empty.model, empty.created)]
        yield [*begin, *(PartStarted(number, 0, TextPart("")) for number in numbers)]
        said = 0
        while True:
            more, is_over = self.text[said:], self.answer is not None
            said += len(more)
            if more:
                yield [PartDelta(number, 0, more) for number in numbers]
            elif self.error is not None:
                raise self.error
            elif is_over:
                break
            else:
                await self._more.wait()
        reply = exchange.reply_of((TextPart(self.text),), "stop")
        exchange.said = reply
        if exchange.keep is not None and exchange.request.store:
            exchange.keep(exchange.request, reply)
        ends: list[ReplyEvent] = []
        for number in numbers:
            ends += [PartEnded(number, 0), ChoiceEnded(number, "stop")]
        if reply.usage is not None:
            ends.append(UsageReported(reply.usage))
        yield [*ends, Finished()]
