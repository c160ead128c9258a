"""Calls that a source answers: each is held while its source thinks, and ends exactly once.

Owns the tasks in which sources work, their deadlines, and what becomes of a call whose source fails or is late. What is
said is the source's business, how it looks the exchange's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from motive_core.errors import HoldTimeoutError, InternalError, MotiveError
from motive_core.estimate import estimate_usage
from motive_core.exchange import Answered, Events, Exchange, Garbage, Severed, Spoken
from motive_core.ir import Reply
from motive_core.log_lines import LogLine
from motive_core.metrics import Metrics
from motive_core.pairing import HeldCalls, Spawn
from motive_core.routing import Answer
from motive_core.sources import Call, Source, SourceSettings, World
from motive_core.sources.base import NO_HEADERS
from motive_core.stream import Collector, Failed, Finished, Started, UsageReported
from motive_core.upstream import OwnService

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
            if decision.rules.can_pass and (exchange.listener == "forward" or decision.rules.on_full == "pass"):
                exchange.pass_on()
            else:
                exchange.fail(error)
            return
        self.take(exchange, decision.source, deadline_s=decision.rules.hold_timeout_s)

    def take(self, exchange: Exchange, name: str, *, deadline_s: float | None = None) -> None:
        """Let this source answer an exchange. ``deadline_s`` is how long it may take until its first words."""
        made = self._sources.get(name)
        if made is None:  # the configuration has changed since the call came
            exchange.fail(InternalError(f"There is no source {name!r} any more."))
            return
        self._held.add(exchange)
        made.calls += 1
        exchange.source, exchange.answered_by = made.settings.kind, name
        work = self._works[exchange.exchange] = _Work(made)
        task = self._spawn(self._work(exchange, work, deadline_s))
        if not task.done():
            work.task = task

    async def _work(self, exchange: Exchange, work: _Work, deadline_s: float | None) -> None:
        call = Call(
            exchange.request,
            exchange.head,
            exchange.exchange,
            exchange.session,
            exchange.arrived_at,
            _own_service(exchange),
        )
        try:
            try:
                async with asyncio.timeout(deadline_s):
                    answered = await work.made.source.answer(call)
                    if not isinstance(answered, Reply) and not exchange.streams:
                        work.events = answered
                        answered = await _collected(answered)
            except TimeoutError:
                self._late(exchange)
                return
            exchange.decided_at = self._world.clock()
            more = {name: value for name, value in call.headers.items() if name not in NO_HEADERS}
            exchange.extra_headers = {**exchange.extra_headers, **more}
            await self._send(exchange, work, answered)
        except MotiveError as error:
            exchange.fail(error)
        except Exception:
            logger.exception(LogLine("source failed", exchange=exchange.exchange, source=exchange.source))
            exchange.fail(InternalError("The source failed on this call; the log has the reason."))

    async def _send(self, exchange: Exchange, work: _Work, answered: Answered) -> None:
        if isinstance(answered, Reply):
            exchange.reply(_as_its_own(exchange, answered), "replied")
            return
        work.events = events = _told(exchange, answered)
        if not exchange.relay(events):
            await events.aclose()
            await answered.aclose()  # that one has not begun, so it closes nothing

    def _late(self, exchange: Exchange) -> None:
        """A source did not answer in time: the route says what becomes of its call."""
        name = exchange.stand_ins.pop("timeout", None)
        if name is not None and name in self._sources:
            self._forget(exchange)
            self.take(exchange, name)
        elif exchange.late == "pass":
            exchange.pass_on()
        elif exchange.late == "fallback":
            exchange.fall_back()
        else:
            exchange.fail(HoldTimeoutError("The source did not answer in time."))

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
    own_id = reply.dialect == exchange.dialect.name and reply.reply_id
    return replace(
        reply,
        reply_id=reply.reply_id if own_id else f"{exchange.dialect.reply_prefix}{exchange.exchange}",
        model=exchange.request.model,
        created=reply.created or int(exchange.arrived_at),
        usage=reply.usage or estimate_usage(exchange.request, reply.choices),
    )


async def _collected(events: Events) -> Reply:
    collector = Collector()
    async with contextlib.aclosing(events):
        async for batch in events:
            for event in batch:
                match event:
                    case Failed(error):
                        raise error
                    case Garbage() | Severed():
                        pass
                    case _:
                        collector.add(event)
    return collector.reply()


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
                        told.append(started := _started(exchange, event))
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


def _started(exchange: Exchange, event: Started) -> Started:
    own_id = event.dialect == exchange.dialect.name and event.reply_id
    return replace(
        event,
        reply_id=event.reply_id if own_id else f"{exchange.dialect.reply_prefix}{exchange.exchange}",
        model=exchange.request.model,
        created=event.created or int(exchange.arrived_at),
    )
