"""Calls that a source answers: each is held while its source thinks, and ends exactly once.

Owns the tasks in which sources work, their deadlines, and what becomes of a call whose source fails or is late. What is
said is the source's business, how it looks the exchange's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from motive_core.errors import ConflictError, HoldTimeoutError, InternalError, MotiveError, UpstreamError
from motive_core.estimate import estimate_usage
from motive_core.exchange import (
    Answered,
    Events,
    Exchange,
    Garbage,
    Handed,
    Policy,
    ReplyEvents,
    Severed,
    SeveredError,
    Spoken,
)
from motive_core.ir import Reply
from motive_core.log_lines import LogLine
from motive_core.metrics import Metrics
from motive_core.pairing import HeldCalls, Spawn
from motive_core.routing import Answer
from motive_core.sources import Call, Source, SourceSettings, World
from motive_core.sources.base import NO_HEADERS
from motive_core.stream import Collector, Failed, Finished, ReplyEvent, Started, UsageReported
from motive_core.upstream import OwnService, whole

logger = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S: Final = 5.0


@dataclass(slots=True)
class _Made:
    """A source, its settings, and the calls that it answers."""

    settings: SourceSettings
    source: Source
    calls: int = 0
    is_old: bool = False


@dataclass(slots=True, eq=False)
class _Work:
    """What goes on for one call."""

    made: _Made
    task: asyncio.Task[None] | None = None
    events: Events | None = None


@dataclass(frozen=True, slots=True)
class _Spoilt:
    """A reply up to a fault that is made on purpose, for a call that is not streamed."""

    reply: Reply
    fault: Garbage | Severed


class Answering:
    """See the module. ``spawn`` runs a coroutine in the background."""

    def __init__(self, *, spawn: Spawn, held: HeldCalls, world: World, metrics: Metrics) -> None:
        self._spawn = spawn
        self._held = held
        self._world = world
        self._metrics = metrics
        self._sources: dict[str, _Made] = {}
        self._works: dict[str, _Work] = {}

    def configure(self, sources: Mapping[str, SourceSettings]) -> None:
        """Take new sources, by name. One whose settings are the same stays as it is, and goes on counting; one that is
        gone ends with the last call that it answers."""
        old = self._sources
        self._sources = {
            name: old[name]
            if name in old and old[name].settings == settings
            else _Made(settings, settings.make(self._world))
            for name, settings in sources.items()
        }
        for name, made in old.items():
            if self._sources.get(name) is not made:
                made.is_old = True
                self._close_if_idle(made)

    def _close_if_idle(self, made: _Made) -> None:
        if made.is_old and not made.calls:
            self._spawn(_close(made.source))

    async def accept(self, exchange: Exchange, decision: Answer, retry: bool) -> None:
        """Take charge of an exchange: see ``Holder``."""
        over = self._held.over_limit(exchange)
        if over is not None:
            limit, error = over
            self._metrics.limit_hit(limit)
            if exchange.listener == "forward":
                exchange.pass_on()
            else:
                self._instead(exchange, "full", decision.rules.on_full, error)
            return
        self.take(exchange, decision.source, deadline_s=decision.rules.hold_timeout_s, retry=retry)

    def take(self, exchange: Exchange, name: str, *, deadline_s: float | None = None, retry: bool = False) -> None:
        """Let this source answer an exchange. ``deadline_s`` is how long it may take until its first words; ``retry``
        whether the call is marked as another try."""
        made = self._sources.get(name)
        if made is None:  # the configuration has changed since the call came
            exchange.fail(InternalError(f"There is no source {name!r} any more."))
            return
        self._held.add(exchange)
        made.calls += 1
        exchange.source, exchange.answered_by = made.settings.kind, name
        work = self._works[exchange.exchange] = _Work(made)
        task = self._spawn(self._work(exchange, work, deadline_s, retry=retry))
        if not task.done():
            work.task = task

    async def _work(self, exchange: Exchange, work: _Work, deadline_s: float | None, *, retry: bool) -> None:
        call = _call_of(exchange)
        call.retry = retry
        call.answer_by = self._world.clock() + deadline_s if deadline_s is not None else None
        deadline = asyncio.timeout(deadline_s)

        def hush() -> None:
            exchange.hush()
            with contextlib.suppress(RuntimeError):  # its first words are out, so it has no deadline any more
                deadline.reschedule(None)

        call.hush = hush
        said: Answered | _Spoilt
        try:
            try:
                async with deadline:
                    said = answered = await work.made.source.answer(call)
                    if not isinstance(answered, Reply) and not exchange.streams:
                        work.events = answered
                        said = await _collected(answered)
            except TimeoutError:
                late = HoldTimeoutError("The source did not answer in time.")
                self._instead(exchange, "timeout", exchange.late, late)
                return
            exchange.decided_at = self._world.clock()
            _tell_headers(exchange, call)
            await self._send(exchange, work, said, call.pieces)
        except SeveredError as severed:
            exchange.sever(reset=severed.reset)
        except MotiveError as error:
            exchange.fail(error)
        except Exception:
            logger.exception(LogLine("source failed", exchange=exchange.exchange, source=exchange.source))
            exchange.fail(InternalError("The source failed on this call; the log has the reason."))

    async def _send(
        self, exchange: Exchange, work: _Work, said: Answered | _Spoilt, pieces: Callable[[str], Iterable[str]] | None
    ) -> None:
        if isinstance(said, Reply):
            exchange.reply(_as_its_own(exchange, said), "replied", pieces=pieces)
            return
        if isinstance(said, _Spoilt):
            exchange.spoil(_as_its_own(exchange, said.reply), said.fault)
            return
        work.events = events = Handed(_told(exchange, said))
        if not exchange.relay(events):
            await events.aclose()
            await said.aclose()  # that one has not begun, so it closes nothing

    def _instead(
        self, exchange: Exchange, policy: Policy, word: Literal["pass", "fallback", "error"], error: MotiveError
    ) -> None:
        """End a call that its source does not answer as its route says: by another source if it names one, else by
        ``word``."""
        if (name := exchange.stand_ins.pop(policy, None)) is not None:
            self._forget(exchange)
            self.take(exchange, name)
        elif word == "pass" and _own_service(exchange) is not None:
            exchange.pass_on()
        elif word == "fallback":
            exchange.fall_back()
        else:
            exchange.fail(error)

    # Replies that somebody sees before the app does

    async def draft(self, exchange: Exchange, hear: Callable[[Sequence[ReplyEvent]], None] | None = None) -> Reply:
        """What an exchange would be answered, whole: by the source that stands for its service, or by that. ``hear`` is
        told of it as it comes. Raises ``MotiveError``."""
        name, own = exchange.stand_ins.get("pass"), _own_service(exchange)
        if name is None and own is None:
            raise ConflictError("There is no real service behind this call.", code="no_service")
        if name is None and own is not None:
            answered = await own.ask(exchange.request)
            return await whole(answered if isinstance(answered, Reply) or hear is None else _heard(answered, hear))
        made = self._sources.get(name or "")
        if made is None:  # the configuration has changed since the call came
            raise InternalError(f"There is no source {name!r} any more.")
        call = _call_of(exchange)
        made.calls += 1
        try:
            said = await made.source.answer(call)
            if isinstance(said, Reply):
                reply = said
            else:
                events = _faultless(said)
                reply = await whole(events if hear is None else _heard(events, hear))
        finally:
            made.calls -= 1
            self._close_if_idle(made)
        if hear is None:
            _tell_headers(exchange, call)
        return _as_its_own(exchange, reply)

    # What became of a call

    async def delivered(self, exchange: Exchange) -> None:
        """See ``Holder``."""
        await self._ended(exchange)

    async def failed(self, exchange: Exchange) -> None:
        """See ``Holder``."""
        await self._ended(exchange)

    async def gone(self, exchange: Exchange) -> None:
        """See ``Holder``."""
        await self._ended(exchange)

    async def released(self, exchange: Exchange) -> None:
        """See ``Holder``."""
        await self._ended(exchange)

    async def _ended(self, exchange: Exchange) -> None:
        work = self._forget(exchange)
        if work is None:
            return
        if work.task is not None and work.task is not asyncio.current_task():
            work.task.cancel()
        if work.events is not None:
            with contextlib.suppress(RuntimeError):  # it is being closed where it is read
                await work.events.aclose()

    def _forget(self, exchange: Exchange) -> _Work | None:
        work = self._works.pop(exchange.exchange, None)
        if work is None:
            return None
        self._held.forget(exchange.exchange)
        work.made.calls -= 1
        self._close_if_idle(work.made)
        return work

    async def close(self) -> None:
        """Stop every source. Calls must have been ended before."""
        for work in list(self._works.values()):
            if work.task is not None:
                work.task.cancel()
        for made in self._sources.values():
            await _close(made.source)


def _call_of(exchange: Exchange) -> Call:
    """What a source is asked."""
    return Call(
        exchange.request,
        exchange.head,
        exchange.exchange,
        exchange.session,
        exchange.arrived_at,
        _own_service(exchange),
        client=exchange.credential or exchange.limited_as,
    )


def _tell_headers(exchange: Exchange, call: Call) -> None:
    """Let the reply have the headers that its source wants in its head."""
    more = {name: value for name, value in call.headers.items() if name not in NO_HEADERS}
    exchange.extra_headers = {**exchange.extra_headers, **more}


def _own_service(exchange: Exchange) -> OwnService | None:
    """The real service that a call was meant for, if there is one."""
    if exchange.service is None and exchange.listener != "forward":
        return None
    return OwnService(exchange.port, exchange.dialect, exchange.service, exchange.request, exchange.own_body())


async def _close(source: Source) -> None:
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await source.close()
    except Exception:
        logger.exception("source not closed")


def _as_its_own(exchange: Exchange, reply: Reply) -> Reply:
    """A source's reply as one to this call: of the model that was asked for, with an id and with usage."""
    return replace(_named(exchange, reply), usage=reply.usage or estimate_usage(exchange.request, reply.choices))


def _named[Said: (Reply, Started)](exchange: Exchange, said: Said) -> Said:
    """The same with this call's model, and an id that its client knows for one."""
    own_id = said.dialect == exchange.dialect.name and said.reply_id
    return replace(
        said,
        reply_id=said.reply_id if own_id else f"{exchange.dialect.reply_prefix}{exchange.exchange}",
        model=exchange.request.model,
        created=said.created or int(exchange.arrived_at),
    )


async def _collected(events: Events) -> Reply | _Spoilt:
    """What a source says, for a call that is not streamed."""
    collector = Collector()
    async with contextlib.aclosing(events):
        async for batch in events:
            for event in batch:
                match event:
                    case Failed(error):
                        raise error
                    case Garbage() | Severed():
                        return _Spoilt(collector.reply(), event)
                    case _:
                        collector.add(event)
    if not collector.complete:
        raise UpstreamError("The reply ended before it was complete.")
    return collector.reply()


async def _faultless(events: Events) -> ReplyEvents:
    """What a source says, to be seen by a person. Raises ``MotiveError`` where it is cut, by whatever fault."""
    async with contextlib.aclosing(events):
        async for batch in events:
            told: list[ReplyEvent] = []
            for event in batch:
                match event:
                    case Failed(error):
                        raise error
                    case Garbage() | Severed():
                        raise UpstreamError("The reply was cut off.")
                    case _:
                        told.append(event)
            yield told


async def _heard(events: ReplyEvents, hear: Callable[[Sequence[ReplyEvent]], None]) -> ReplyEvents:
    """The same, while somebody listens."""
    async with contextlib.aclosing(events):
        async for batch in events:
            hear(batch)
            yield batch


async def _told(exchange: Exchange, events: Events) -> Events:
    """What a source says, as a reply to this call, and kept where its client may name it later."""
    collector = Collector()
    async with contextlib.aclosing(events):
        async for batch in events:
            told: list[Spoken] = []
            for event in batch:
                match event:
                    case Garbage() | Severed() | Failed():
                        told.append(event)
                        continue
                    case Started():
                        told.append(started := _named(exchange, event))
                        collector.add(started)
                        continue
                    case Finished():
                        reply = collector.reply()
                        if reply.usage is None:
                            usage = UsageReported(estimate_usage(exchange.request, reply.choices))
                            collector.add(usage)
                            told.append(usage)
                        if exchange.keep is not None and exchange.request.store:
                            exchange.keep(exchange.request, collector.reply())
                    case _:
                        pass
                collector.add(event)
                told.append(event)
            yield told
