"""What a service is to whoever asks it: a request in, a reply or its events out.

Owns the contract, and the way from a service's bytes to events in any dialect.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from motive_core.dialects import Dialect
from motive_core.errors import FramingError, MotiveError, UpstreamError
from motive_core.exchange import ReplyEvents
from motive_core.ir import ChatRequest, Reply
from motive_core.stream import Collector, Failed, Finished, ReplyEvent


class Upstream(Protocol):
    """A service that can be asked."""

    async def ask(self, request: ChatRequest) -> Reply | ReplyEvents:
        """Ask for a reply: events if the request streams, else whole. The events are the caller's to close.

        Raises ``MotiveError``: the service's own error with its status, or ``UpstreamError`` if there is none; so do
        the events where they are cut.
        """
        ...


async def decoded(dialect: Dialect, chunks: AsyncGenerator[bytes]) -> ReplyEvents:
    """The events of a streamed reply, as its bytes come. Raises ``MotiveError``."""
    decoder = dialect.decoder()
    async with aclosing(chunks):
        try:
            async for data in chunks:
                said, error = _parted(decoder.feed(data))
                if said:
                    yield said
                if error is not None:
                    raise error
                if said and isinstance(said[-1], Finished):
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
