"""What a service is to whoever asks it: a request in, a reply or its events out.

Owns the contract, and the way from a service's bytes to events in any dialect.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from motive_core.dialects import Dialect
from motive_core.errors import FramingError, MotiveError, UpstreamError
from motive_core.exchange import ReplyEvents, told_error
from motive_core.ir import ChatRequest, ReasoningPart, Reply, TextPart
from motive_core.stream import (
    Collector,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    ReplyEvent,
    Started,
    UsageReported,
)


class Upstream(Protocol):
    """A service that can be asked."""

    async def ask(self, request: ChatRequest) -> Reply | ReplyEvents:
        """Ask for a reply: events if the request streams, else whole. The events are the caller's to close.

        Raises ``MotiveError``: the service's own error with its status, or ``UpstreamError`` if there is none; so do
        the events where they are cut.
        """
        ...


async def decoded(
    dialect: Dialect, chunks: AsyncGenerator[bytes], on_end: Callable[[], None] | None = None
) -> ReplyEvents:
    """The events of a streamed reply, as its bytes come. ``on_end`` is called before the last of them is given. Raises
    ``MotiveError``."""
    decoder = dialect.decoder()
    async with aclosing(chunks):
        try:
            async for data in chunks:
                said, error = _parted(decoder.feed(data))
                ended = bool(said) and isinstance(said[-1], Finished)
                if ended and on_end is not None:
                    on_end()
                if said:
                    yield said
                if error is not None:
                    raise error
                if ended:
                    return  # what a service leaves open behind its last word is not waited for
            said, error = _parted(decoder.close())
            if said:
                yield said
            if error is not None:
                raise error
        except FramingError as error:
            raise UpstreamError(f"The service's reply cannot be read: {error}.") from error


def _parted(events: Sequence[ReplyEvent]) -> tuple[Sequence[ReplyEvent], MotiveError | None]:
    """What was said, and the error that it ended with."""
    last = events[-1] if events else None
    return (events[:-1], last.error) if isinstance(last, Failed) else (events, None)


async def begin(events: ReplyEvents, mask: Callable[[MotiveError], None]) -> Begun:
    """Events whose first words are here: until then another service may be asked. ``mask`` sees each error
    that comes later. Raises ``MotiveError``; then the events are closed."""
    first: list[ReplyEvent] = []
    try:
        async for batch in events:
            first += batch
            if any(map(_says_something, batch)):
                return Begun(first, events, mask)
        raise UpstreamError("The service's reply is empty.")
    except BaseException:
        await events.aclose()
        raise


def _says_something(event: ReplyEvent) -> bool:
    match event:
        case Started() | UsageReported() | PartEnded():
            return False
        case PartStarted(value=TextPart("") | ReasoningPart("", redacted=None)):
            return False
        case _:
            return True


class Begun(AsyncGenerator[Sequence[ReplyEvent]]):
    """Events of which some were read, as if none had been. Not a generator in itself: one that nobody has begun to read
    closes nothing when it is closed."""

    def __init__(self, first: Sequence[ReplyEvent], rest: ReplyEvents, mask: Callable[[MotiveError], None]) -> None:
        self.first: Sequence[ReplyEvent] | None = first
        self._rest = rest
        self._mask = mask

    @property
    def model(self) -> str:
        """The model that the service said is answering, as long as nothing was read."""
        return next((event.model for event in self.first or () if isinstance(event, Started)), "")

    async def asend(self, value: None) -> Sequence[ReplyEvent]:
        """See ``AsyncGenerator``."""
        if self.first is not None:
            first, self.first = self.first, None
            return first
        try:
            return await self._rest.asend(value)
        except MotiveError as error:
            self._mask(error)
            raise

    async def athrow(self, *error: Any) -> Sequence[ReplyEvent]:
        """See ``AsyncGenerator``."""
        self.first = None
        return await self._rest.athrow(*error)

    async def aclose(self) -> None:
        """See ``AsyncGenerator``."""
        self.first = None
        await self._rest.aclose()


def told_in_body(body: bytes) -> MotiveError | None:
    """The error that a successful reply is in truth, as some gateways have it; None if it is none."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not told.get("error"):
        return None
    code = told["error"].get("code") if isinstance(told["error"], dict) else None
    return told_error(code if isinstance(code, int) and 400 <= code <= 599 else 502, {}, body)


async def whole(answered: Reply | ReplyEvents) -> Reply:
    """A reply, once it is whole. Raises ``MotiveError``."""
    if isinstance(answered, Reply):
        return answered
    collector = Collector()
    async with aclosing(answered):
        async for batch in answered:
            for event in batch:
                collector.add(event)
    if not collector.complete:
        raise UpstreamError("The service's reply was cut off.")
    return collector.reply()
