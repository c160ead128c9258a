"""A reply that is spoken over time: its head is out before its end is known.

Owns what goes over the wire from the head on: what keeps the connection alive while nothing is known, the reply at its
pace once it is, an error where the status can no longer tell it, and the real service's own words if it answers after
all. Knows neither who decides that nor when.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Never, assert_never

from motive_core.dialects.base import Dialect, Encoder
from motive_core.errors import InternalError, MotiveError, UpstreamError
from motive_core.exchange.live import Events, Garbage, Severed, SeveredError, Spoken
from motive_core.exchange.port import ServiceReply
from motive_core.exchange.told import READ_BYTES, told_error
from motive_core.ir import ChatRequest, Reply, TextPart
from motive_core.stream import ChoiceEnded, Failed, Finished, ReplyEvent, Started, UsageReported, replay, replay_part

logger = logging.getLogger(__name__)

SPACE: Final = b" "
"""May stand before a JSON value any number of times (RFC 8259, section 2)."""


@dataclass(frozen=True, slots=True)
class Beat:
    """How a call is kept alive that has no reply yet. In seconds: ``after_s`` from its arrival its head goes out, and
    from then on something every ``every_s``."""

    after_s: float
    every_s: float


@dataclass(frozen=True, slots=True)
class _Said:
    reply: Reply


@dataclass(frozen=True, slots=True)
class _Broken:
    error: MotiveError


@dataclass(frozen=True, slots=True)
class _Passed:
    ask: Callable[[], Awaitable[ServiceReply]]


@dataclass(frozen=True, slots=True)
class _Live:
    events: Events


@dataclass(frozen=True, slots=True)
class _Spoilt:
    said: bytes
    severed: Severed | None


type _End = _Said | _Broken | _Passed | _Live | _Spoilt


class Speech:
    """The body of one reply. ``beat_every_s`` is the time between two signs of life while there is no reply,
    ``token_every_s`` that between two tokens of one that is paced; ``exchange`` is the id that errors name. ``sever``
    is told of a connection that is to end in the middle, and whether by a reset, before ``chunks`` raises.

    How it ends is said once, by ``say``, ``relay``, ``fail``, ``pass_on`` or ``spoil``, before or after its first byte
    was taken.
    """

    def __init__(
        self,
        dialect: Dialect,
        request: ChatRequest,
        exchange: str,
        *,
        beat_every_s: float | None = None,
        token_every_s: float | None = None,
        sever: Callable[[bool], None] = lambda reset: None,
    ) -> None:
        self._dialect = dialect
        self._request = request
        self._exchange = exchange
        self._beat_every_s = beat_every_s
        self._token_every_s = token_every_s
        self._sever = sever
        self._end: _End | None = None
        self._known = asyncio.Event()
        self._cut: MotiveError | None = None
        self._interrupt = asyncio.Event()

    def say(self, reply: Reply) -> None:
        """This is the reply."""
        self._finish(_Said(reply))

    def relay(self, events: Events) -> None:
        """This is the reply, as it comes; for a call that streams."""
        self._finish(_Live(events))

    def fail(self, error: MotiveError) -> None:
        """There is an error in the place of a reply."""
        self._finish(_Broken(error))

    def pass_on(self, ask: Callable[[], Awaitable[ServiceReply]]) -> None:
        """The real service answers: ``ask`` asks it, and raises ``UpstreamError`` if it does not."""
        self._finish(_Passed(ask))

    def spoil(self, said: bytes, severed: Severed | None) -> None:
        """These bytes are in the place of a reply, and the connection ends there if it is ``severed``: a fault that is
        made on purpose."""
        self._finish(_Spoilt(said, severed))

    def hush(self) -> None:
        """Show no sign of life any more."""
        self._beat_every_s = None

    def _finish(self, end: _End) -> None:
        assert self._end is None
        self._end = end
        self._known.set()

    @property
    def cut_by(self) -> MotiveError | None:
        """The error that ended the reply in the middle."""
        return self._cut

    def cut(self, error: MotiveError) -> bool:
        """End a reply that is being spoken, by an error within it. Gives False if there was one before."""
        if self._cut is not None:
            return False
        self._cut = error
        self._interrupt.set()
        return True

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes, as they become due. To be read once. Raises ``SeveredError`` where the connection is to end."""
        encoder = self._dialect.encoder(self._request) if self._request.stream else None
        while self._end is None:
            if await _set_within(self._known, self._beat_every_s):
                break
            if self._beat_every_s is not None and (data := encoder.heartbeat() if encoder is not None else SPACE):
                yield data
        match self._end:
            case None:
                raise AssertionError("woken without an end")
            case _Said(reply):
                async for data in self._spoken(reply, encoder):
                    yield data
            case _Broken(error):
                yield self._error(error, encoder)
            case _Passed(ask):
                async for data in self._relayed(ask, encoder):
                    yield data
            case _Live(events):
                assert encoder is not None
                try:
                    async for data in self._live(events, encoder):
                        yield data
                finally:
                    # Where the client is gone, this task may not wait: they are being closed where they are read.
                    with contextlib.suppress(RuntimeError):
                        await events.aclose()
            case _Spoilt(said, severed):
                yield said
                if severed is not None:
                    self._break(severed)
            case _:
                assert_never(self._end)

    async def _spoken(self, reply: Reply, encoder: Encoder | None) -> AsyncIterator[bytes]:
        if encoder is None:
            yield self._dialect.render_reply(self._request, reply)
            return
        if self._token_every_s is None:
            yield encoder.encode_all(replay(reply))
            return
        # By the clock: what is late by now does not make the rest late, and goes out at once, in one piece.
        loop, said = asyncio.get_running_loop(), bytearray()
        due = loop.time()
        for event, waits in _paced_events(reply):
            if waits:
                due += self._token_every_s
                if (wait_s := due - loop.time()) > 0.0:
                    if said:
                        yield bytes(said)
                        said.clear()
                    await _set_within(self._interrupt, wait_s)
            if self._cut is not None:
                yield bytes(said) + encoder.encode(Failed(self._cut))
                return
            said += encoder.encode(event)
        yield bytes(said)

    async def _live(self, events: Events, encoder: Encoder) -> AsyncIterator[bytes]:
        """What a source says, as it comes, with signs of life where it is silent."""
        interrupted = asyncio.ensure_future(self._interrupt.wait())
        batch: asyncio.Future[Sequence[Spoken] | None] | None = None
        ended = False
        try:
            while not ended:
                batch = asyncio.ensure_future(anext(events, None))
                while not batch.done() and self._cut is None:
                    done, _ = await asyncio.wait(
                        (batch, interrupted), timeout=self._beat_every_s, return_when=asyncio.FIRST_COMPLETED
                    )
                    if not done and self._beat_every_s is not None and (data := encoder.heartbeat()):
                        yield data
                if self._cut is not None:
                    raise self._cut
                spoken = batch.result()
                if spoken is None:
                    raise UpstreamError("The reply ended before it was complete.")
                ended = any(isinstance(one, Finished | Failed) for one in spoken)
                if data := self._encoded(spoken, encoder):
                    yield data
                for one in spoken:
                    if isinstance(one, Severed):
                        self._break(one)
        except MotiveError as error:
            self._cut = error
            yield encoder.encode(Failed(error))
        except (asyncio.CancelledError, GeneratorExit, SeveredError):
            raise
        except Exception:
            logger.exception("a reply could not be relayed exchange=%s", self._exchange)
            self._cut = InternalError("The reply could not be made; the log has the reason.")
            yield encoder.encode(Failed(self._cut))
        finally:
            interrupted.cancel()
            if batch is not None and not batch.done():
                # It must have let go of the events before they can be closed.
                batch.cancel()
                await asyncio.wait((batch,))

    def _break(self, severed: Severed) -> Never:
        self._sever(severed.reset)
        raise SeveredError(reset=severed.reset)

    def _encoded(self, spoken: Sequence[Spoken], encoder: Encoder) -> bytes:
        data = bytearray()
        for one in spoken:
            match one:
                case Garbage():
                    data += one.data
                case Severed():
                    break
                case Failed(error):
                    self._cut = error
                    data += encoder.encode(one)
                case _:
                    data += encoder.encode(one)
        return bytes(data)

    def _error(self, error: MotiveError, encoder: Encoder | None) -> bytes:
        """An error after the head: within the stream, or as the body that tells it, whose status has gone out."""
        if encoder is not None:
            return encoder.encode(Failed(error))
        return self._dialect.render_error(error, self._exchange)

    async def _relayed(
        self, ask: Callable[[], Awaitable[ServiceReply]], encoder: Encoder | None
    ) -> AsyncIterator[bytes]:
        asked = asyncio.ensure_future(ask())
        interrupted = asyncio.ensure_future(self._interrupt.wait())
        try:
            while True:
                done, _ = await asyncio.wait(
                    (asked, interrupted), timeout=self._beat_every_s, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    break
                if data := encoder.heartbeat() if encoder is not None else SPACE:
                    yield data
            if self._cut is not None and not asked.done():
                yield self._error(self._cut, encoder)
                return
            reply = asked.result()
        except MotiveError as error:
            yield self._error(error, encoder)
            return
        finally:
            interrupted.cancel()
            asked.cancel()
        async with contextlib.aclosing(reply.chunks) as chunks:
            if reply.status != 200 and encoder is not None:
                yield self._error(await _told(reply, self._pieces(chunks)), encoder)
                return
            async for data in self._pieces(chunks):
                yield data

    async def _pieces(self, chunks: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
        """What a service says, up to where this reply is cut."""
        while (piece := await self._next(chunks)) is not None:
            yield piece

    async def _next(self, chunks: AsyncGenerator[bytes]) -> bytes | None:
        """The next piece of what a service says, None at its end. Its client sees what it would see if the service had
        been cut off, if this reply is: raises ``UpstreamError``."""
        piece = asyncio.ensure_future(anext(chunks, None))
        interrupted = asyncio.ensure_future(self._interrupt.wait())
        try:
            await asyncio.wait((piece, interrupted), return_when=asyncio.FIRST_COMPLETED)
        finally:
            interrupted.cancel()
            if not piece.done():
                # It must have let go of the pieces before they can be closed.
                piece.cancel()
                await asyncio.wait((piece,))
        if self._cut is not None:
            raise UpstreamError("The reply was cut off.")
        return piece.result()


async def _told(reply: ServiceReply, chunks: AsyncIterator[bytes]) -> MotiveError:
    """A service's error, to be told within a stream: its own message, if there is one."""
    body = bytearray()
    with contextlib.suppress(UpstreamError):
        async for data in chunks:
            body += data
            if len(body) > READ_BYTES:
                break
    return told_error(reply.status, reply.headers, bytes(body))


async def _set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for an event for so long. Gives whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _paced_events(reply: Reply) -> Iterator[tuple[ReplyEvent, bool]]:
    """Events with one token a delta; True where a token is to be waited for."""
    yield Started(reply.reply_id, reply.model, reply.created, extra=reply.extra), False
    for number, choice in enumerate(reply.choices):
        for index, part in enumerate(choice.parts):
            text = part.text if isinstance(part, TextPart) else None
            pieces = tokens(text) if text is not None else None
            for position, event in enumerate(replay_part(number, index, part, pieces)):
                yield event, text is not None and position > 0
        yield ChoiceEnded(number, choice.finish_reason, choice.stop_sequence, extra=choice.extra), False
    if reply.usage is not None:
        yield UsageReported(reply.usage), False
    yield Finished(), False


def tokens(text: str) -> list[str]:
    """Text in pieces of about a token: white space and up to six characters. They join to the text again."""
    return re.findall(r"\s*\S{1,6}|\s+\Z", text)
