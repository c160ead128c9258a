"""The gateway: what happens to an LLM call from its arrival to its end.

The one orchestrator. Owns the order of things (understand the body, route, keep background calls out, hand over to a
source), the configuration in force, and the edge at which an exception of ours becomes a reply. Knows neither flows nor
sockets: the shell brings calls in and holds them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from motive_core.access import INTERNAL_HOST, Guard
from motive_core.answering import Answering
from motive_core.backends import Backend, MemoryBackend
from motive_core.background import BackgroundTable
from motive_core.clients import FORWARDED_HEADER, TrustedProxies, limited_as
from motive_core.config import Config, Hashed, Route, check_route
from motive_core.console import Archive, Console, Logins
from motive_core.content import check_values, decode_body
from motive_core.dialects import Dialect, ModelInfo, RequestHead, dialect_of
from motive_core.errors import (
    BadRequestError,
    ConfigError,
    ConflictError,
    InternalError,
    MotiveError,
    NotFoundError,
    PayloadTooLargeError,
    UnavailableError,
)
from motive_core.exchange import Exchange, Port
from motive_core.health import Health
from motive_core.heartbeats import Heartbeats
from motive_core.incoming import Incoming, new_id, steady_clock
from motive_core.kept import KeptStore
from motive_core.ledger import Ledger
from motive_core.live_routes import LiveRoute, LiveRoutes
from motive_core.log_lines import LogLine
from motive_core.metrics import CONTENT_TYPE, Metrics, Source
from motive_core.operating import Operator
from motive_core.overview import describe_session
from motive_core.pairing import HeldCalls, Pairing
from motive_core.rate_limits import RateLimiter
from motive_core.refusals import Refusals, error_reply, side_of
from motive_core.relay import CommandReader, is_retry
from motive_core.routing import (
    Answer,
    CallFacts,
    Decision,
    HostTable,
    Pass,
    Reject,
    Router,
    credential_identity,
    split_model,
)
from motive_core.sidecalls import SideCalls
from motive_core.sources import World
from motive_core.upstream import Http

logger = logging.getLogger(__name__)

_ADMIN_TOKEN_BYTES: Final = 24
_RESTART_S: Final = 2.0
"""About what a restart takes."""

CLIENTS_ANSWER: Final = ("pair", "review")
"""Routes by which calls meet in sessions."""

_VERSION: Final = "0.1.0"
_NEAR: Final = 0.9
"""The share of a limit from which on ``/health`` warns of it."""


class Gateway:
    """See the module. Made within a running event loop, or before it; used only within it."""

    def __init__(
        self,
        config: Config,
        *,
        backend: Backend | None = None,
        kept: KeptStore | None = None,
        clock: Callable[[], float] | None = None,
        versions: Mapping[str, str] | None = None,
        logins: Logins | None = None,
        live_routes: LiveRoutes | None = None,
        archive: Archive | None = None,
    ) -> None:
        """``versions`` are told by ``/metrics`` beside our own; ``logins`` is who is logged in to the console, and
        ``archive`` where its transcripts are kept."""
        self.clock = clock or steady_clock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._started_at = self.clock()
        self.closing = False
        self._backend = backend or MemoryBackend()
        self.admin_token = secrets.token_urlsafe(_ADMIN_TOKEN_BYTES)
        """Holds where the configuration names none."""
        self.metrics = Metrics({"version": _VERSION, **(versions or {})})
        self.ledger = Ledger(self.metrics, self.clock)
        self.health_checks = Health(self.clock)
        self.health_checks.watch("store", lambda: self._backend.problem)
        self.health_checks.watch("held", lambda: _near("held calls", len(self.held), self.config.limits.max_held))
        self._rates = RateLimiter(config.rate_limits, self.clock)
        self.refusals = Refusals(self.ledger, self._rates, self.client_of)
        self.held = HeldCalls(config.limits.max_held, config.limits.max_held_per_client)
        self._http = Http()
        self.answering = Answering(
            spawn=self.spawn, held=self.held, world=World(self._http, self.clock), metrics=self.metrics
        )
        self.pair = Pairing(
            self._backend,
            clock=self.clock,
            spawn=self.spawn,
            join_words=config.join_words,
            commands=CommandReader(config.commands),
            limits=config.limits,
            metrics=self.metrics,
            held=self.held,
            hand_over=self.answering.take,
            ask_draft=self.answering.draft,
        )
        self.operator = Operator(
            self.pair, self.held, clock=self.clock, most_sessions=lambda: self.config.limits.max_sessions
        )
        self.logins = logins or Logins(self.clock)
        self._live_routes = live_routes or LiveRoutes()
        self.save_route: Callable[[Route, Sequence[Route]], str] | None = None
        """Writes a route into the configuration file, as its first or behind others of it, and has that in force when
        it returns. Gives the file's name. Raises ``ConfigError``."""
        self.console = Console(
            self.pair,
            self.operator,
            self.held,
            clock=self.clock,
            spawn=self.spawn,
            new_id=new_id,
            ask_service=self.answering.draft,
            routes=self,
            archive=archive or Archive(),
        )
        self.ledger.calls = self.console.log
        self.listeners: Callable[[], list[str]] = list
        """Where the proxy listens, as whoever runs it knows."""
        self.side = SideCalls(self.clock, config.timing.session_ttl_s, self._models, kept)
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take a new configuration. Calls that are held keep the rules that they came with."""
        self.config = config
        self.hosts = HostTable(config)
        self._live_routes.settle(config.routes)
        self._route()
        self._background = BackgroundTable(config)
        self._heartbeats = Heartbeats(config)
        self.guard = Guard(config, Hashed.of(self.admin_token), self.logins.admits)
        self.refusals.configure(config, self.guard)
        named = config.access.admin_token
        self.logins.use_token(named.digest.hex() if named is not None else "")
        self.pair.join_words = config.join_words
        self.pair.commands = CommandReader(config.commands)
        self.pair.limit(config.limits)
        self.held.most, self.held.most_per_client = config.limits.max_held, config.limits.max_held_per_client
        self.answering.configure(config.sources)
        self._proxies = TrustedProxies(config.trusted_proxies)
        self._rates.configure(config.rate_limits)
        self.side.kept.keep_s = config.timing.session_ttl_s

    def _route(self) -> None:
        live = self._live_routes.in_force(self.config)
        self._router = Router(self.config.model_copy(update={"routes": (*live, *self.config.routes)}))

    # Routes that the operator puts in force: see ``console.Routes``

    def live(self) -> tuple[LiveRoute, ...]:
        """See ``Routes``."""
        return self._live_routes.all

    def put_live(self, route: Route) -> str:
        """See ``Routes``."""
        try:
            check_route(self.config, route)
        except ConfigError as error:
            raise BadRequestError(f"{error.where}: {error.why}", param=error.where) from None
        route_id = self._live_routes.put(new_id(), route)
        self._route()
        return route_id

    def drop_live(self, route_id: str) -> bool:
        """See ``Routes``."""
        dropped = self._live_routes.drop(route_id)
        self._route()
        return dropped

    def save_live(self, route_id: str) -> str:
        """See ``Routes``."""
        known = self._live_routes.get(route_id)
        if known is None:
            raise NotFoundError("There is no such route (any more).")
        if self.save_route is None:
            raise ConflictError("There is no configuration file to write to.", code="no_config")
        try:
            return self.save_route(known.route, self._live_routes.before(route_id))
        except ConfigError as error:
            raise ConflictError(f"Not saved: {error}.", code="not_saved") from None

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something in the background: at once up to where it first waits, as all tasks do under mitmproxy. An
        exception in it is logged, never lost."""
        task = asyncio.eager_task_factory(asyncio.get_running_loop(), work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("background task failed", exc_info=error)

    # What a call is

    @staticmethod
    def dialect_of(head: RequestHead) -> Dialect | None:
        """The dialect of a chat call; None for any other request."""
        return dialect_of(head)

    def kept_by(self, head: RequestHead) -> Dialect | None:
        """The dialect of a call about a reply that was kept here: the real service knows nothing of it."""
        dialect = side_of(head)
        if dialect is None or (reply_id := dialect.names_reply(head)) is None:
            return None
        return (
            dialect
            if self.side.kept.find(reply_id, credential_identity(head.headers, head.query)) is not None
            else None
        )

    async def serve(self, incoming: Incoming, dialect: Dialect) -> tuple[int, Mapping[str, str], bytes]:
        """The reply to a call beside the chat, which ``side_of`` said is this dialect's: status, headers and body.
        Never raises."""
        exchange = new_id()
        try:
            body, may_use = self._body(incoming), incoming.caller.may_use
            reply = await self.side.serve(dialect, incoming.head, body, incoming.credential, may_use)
        except MotiveError as error:
            status, headers, body = error_reply(dialect, error, exchange)
        except Exception:
            logger.exception(LogLine("call failed", exchange=exchange, dialect=dialect.name))
            failed = InternalError(f"The proxy failed on this call; its log has the reason under {exchange}.")
            status, headers, body = error_reply(dialect, failed, exchange)
        else:
            status, body = reply.status, reply.body
            headers = {"content-type": reply.content_type, **dialect.reply_headers(exchange), **reply.headers}
        return status, headers | self._cors(incoming), body

    async def _models(self) -> list[ModelInfo]:
        created = int(self._started_at)
        names = {*await self.pair.sessions(), *self.config.answered_models}
        return [ModelInfo(name, created) for name in sorted(names)]

    # Who calls, and how often

    def client_of(self, head: RequestHead, peer: str) -> str:
        """The address of a client, from that of its connection."""
        return self._proxies.client_of(peer, head.headers.get(FORWARDED_HEADER))

    def _allow(self, incoming: Incoming, dialect: Dialect) -> dict[str, str]:
        """Count a call of the meeting point. Gives headers that tell what its client may still do. Raises
        ``TooManyRequestsError``."""
        client = self._limited_as(incoming)
        allowance = self._rates.admit(client, incoming.body, retry=is_retry(incoming.head.headers))
        return dialect.allowance_headers(allowance) if allowance is not None else {}

    @staticmethod
    def _limited_as(incoming: Incoming) -> str:
        return limited_as(incoming.client_host, incoming.caller.name)

    # A call's life

    async def accept(self, incoming: Incoming, dialect: Dialect, port: Port) -> Exchange | None:
        """Take a call. When this returns, either the port was told what to do, or the call is to be held.

        Gives the exchange, or None if the call was answered or passed before it became one. Never raises: whatever goes
        wrong becomes an error in the caller's dialect.
        """
        exchange_id, began = incoming.exchange, time.perf_counter()
        try:
            exchange = await self._accept(incoming, dialect, port, exchange_id)
        except MotiveError as error:
            self._reject(incoming, dialect, port, error, exchange_id)
            exchange = None
        except Exception:
            logger.exception(LogLine("call failed", exchange=exchange_id, dialect=dialect.name))
            failed = InternalError(f"The proxy failed on this call; its log has the reason under {exchange_id}.")
            self._reject(incoming, dialect, port, failed, exchange_id)
            exchange = None
        if exchange is not None and exchange.ending == "passed":
            self.ledger.ended(exchange, "passed")
        self.metrics.added("accept", time.perf_counter() - began)
        return exchange

    def _reject(
        self,
        incoming: Incoming,
        dialect: Dialect,
        port: Port,
        error: MotiveError,
        exchange: str,
        *,
        source: Source = "none",
    ) -> None:
        port.respond(*self.refusals.at_meeting(incoming.head, error, dialect, exchange))
        self.ledger.refused(exchange, incoming.listener, dialect, incoming.client_host, error=error, source=source)

    def _pass(self, incoming: Incoming, dialect: Dialect, port: Port, exchange: str) -> None:
        port.pass_through(None)
        self.ledger.passed(exchange, incoming.listener, dialect, incoming.client_host)

    async def _accept(self, incoming: Incoming, dialect: Dialect, port: Port, exchange_id: str) -> Exchange | None:
        forward = incoming.listener == "forward"
        if self.closing:
            if forward:
                self._pass(incoming, dialect, port, exchange_id)
                return None
            raise shutting_down()
        allowed = {} if forward else self._allow(incoming, dialect)
        try:
            request = dialect.parse_request(self._body(incoming), incoming.head)
        except MotiveError:
            if not forward:
                raise
            # Not ours to judge: the real service will say what is wrong with it.
            self._pass(incoming, dialect, port, exchange_id)
            return None
        head = incoming.head
        credential = incoming.credential
        came = request
        request, continues = self.side.continue_kept(dialect, request, credential, forward=forward)
        facts = CallFacts(
            listener=incoming.listener,
            dialect=dialect.name,
            host=head.host,
            port=head.port,
            path=head.path,
            headers=head.headers,
            client_host=incoming.client_host,
            credential=credential,
            request=request,
            bound_role=incoming.caller.role,
        )
        decision: Decision = self._router.decide(facts)
        match decision:
            case Reject(error=error):
                self._reject(incoming, dialect, port, error, exchange_id, source="reject")
                return None
            case Pass():
                incoming.caller.check(split_model(request.model)[0])
                body = dialect.render_request(request) if continues else None
                port.pass_through(decision.service, body)
                self.ledger.passed(exchange_id, incoming.listener, dialect, incoming.client_host, "pass")
                session, client = split_model(request.model)[0], incoming.client_host
                self.console.log.passed(exchange_id, session, facts, client=client)
                return None
            case Answer():
                incoming.caller.check(decision.session)
        exchange = Exchange(
            exchange=exchange_id,
            session=decision.session,
            listener=incoming.listener,
            head=self.guard.without_secrets(head, forward=forward) if self.config.sources else head,
            client_host=incoming.client_host,
            credential=credential,
            dialect=dialect,
            request=request,
            port=port,
            arrived_at=self.clock(),
            service=decision.service,
            pace_tokens_per_s=decision.pace_tokens_per_s,
            limited_as=self._limited_as(incoming),
            extra_headers=self._cors(incoming) | allowed,
            fallback=decision.fallback or "",
            stand_ins=dict(decision.stand_ins),
            late=decision.rules.on_timeout,
            passes_at_exit=decision.passes_at_exit,
            source=decision.source if decision.source in CLIENTS_ANSWER else "pair",
            keep=lambda request, reply: self.side.kept.add(request, reply, credential, came),
            continues=continues,
        )
        self.console.log.arrived(
            exchange, facts, decision.role, can_pass=decision.rules.can_pass, answered_by=decision.source
        )
        if not await self._is_background(exchange, decision):
            if decision.source not in CLIENTS_ANSWER:
                self._keep_alive(exchange, decision)
                await self.answering.accept(exchange, decision, is_retry(head.headers))
                return exchange
            await self.pair.accept(exchange, decision, is_retry(head.headers))
            self._keep_alive(exchange, decision)
        return exchange

    def _keep_alive(self, exchange: Exchange, decision: Answer) -> None:
        stream = exchange.request.stream
        allowed = decision.heartbeats == "auto" or (decision.heartbeats == "stream" and stream)
        if exchange.ending is not None or not allowed:
            return
        rules = decision.rules
        deadline_in_s = max(rules.hold_timeout_s, rules.handshake_timeout_s) + (rules.review_timeout_s or 0.0)
        headers = exchange.head.headers
        beat = self._heartbeats.plan(exchange.dialect.name, headers, stream=stream, deadline_in_s=deadline_in_s)
        if beat is not None:
            exchange.keep_alive(beat)

    def _body(self, incoming: Incoming) -> bytes:
        limit = self.config.limits.body_limit_bytes
        if len(incoming.body) > limit:
            raise PayloadTooLargeError(f"The body has {len(incoming.body)} bytes; the limit is {limit}.")
        body = decode_body(incoming.body, incoming.head.headers.get("content-encoding", ""), limit)
        check_values(body)
        return body

    async def _is_background(self, exchange: Exchange, decision: Answer) -> bool:
        """End a background call of a chat UI here, so that it never becomes a turn. Gives whether it was one."""
        task = self._background.match(exchange.request, exchange.head.headers)
        if task is None:
            return False
        exchange.source = "background"
        rules = decision.rules
        answered = decision.background == "answer" and not (
            rules.when_joined and not await self.pair.is_present(exchange.session)
        )
        if answered or not rules.can_pass:
            exchange.outcome = f"background {task.name}"
            exchange.notice(self._background.answer(task, exchange.request))
        else:
            self.pair.pass_on(exchange)
        return True

    def _cors(self, incoming: Incoming) -> dict[str, str]:
        return self.guard.pages.cors_headers(incoming.head)

    async def delivered(self, exchange: Exchange) -> None:
        """The reply to an exchange was handed to its client."""
        self.ledger.ended(exchange, "cut" if exchange.cut_by is not None else exchange.ending or "replied")
        await self.pair.delivered(exchange)
        await self.answering.delivered(exchange)

    async def failed(self, exchange: Exchange) -> None:
        """The reply to an exchange did not reach its client, or not whole."""
        self.ledger.ended(exchange, "passed" if exchange.ending == "passed" else "undelivered")
        await self.pair.failed(exchange)
        await self.answering.failed(exchange)

    async def gone(self, exchange: Exchange) -> None:
        """The client of an exchange left before there was a reply."""
        self.ledger.ended(exchange, "gone")
        await self.pair.gone(exchange)
        await self.answering.gone(exchange)

    async def released(self, exchange: Exchange) -> None:
        """The operator let the real service answer an exchange."""
        self.ledger.ended(exchange, "released")
        await self.pair.released(exchange)
        await self.answering.released(exchange)

    async def let_go(self, exchange: Exchange) -> None:
        """The operator let an exchange go that has a draft: that is its reply."""
        assert exchange.draft is not None
        exchange.say(exchange.draft)
        await self.pair.released(exchange)

    async def restore(self) -> None:
        """Take over what the last process left in the store."""
        await self.pair.restore()
        await self.console.restore()

    async def sweep(self) -> None:
        """Let time pass everywhere; to be called every ``cleanup_interval_s``."""
        self.side.kept.expire()
        await self.pair.sweep(self.config.timing.session_ttl_s)
        await self.console.presence.refresh()

    def shut_down(self) -> None:
        """End every held call with an error in its dialect; take no new ones."""
        self.closing = True
        self.console.close()
        self.pair.stop(shutting_down())

    async def close(self) -> None:
        """Let go of what sources hold. Every call must have been ended before."""
        await self.answering.close()
        await self._http.close()

    # What the origin tells

    async def health(self) -> Mapping[str, Any]:
        """See ``origin.Site``."""
        sessions, most = await self.pair.count(), self.config.limits.max_sessions
        reasons = self.health_checks.told()
        if (why := _near("sessions", sessions, most)) is not None:
            reasons.append({"what": "sessions", "why": why})
        return {
            "status": "closing" if self.closing else "degraded" if reasons else "ok",
            "reasons": reasons,
            "version": _VERSION,
            "uptime_s": round(self.clock() - self._started_at, 3),
            "held": len(self.held),
            "max_held": self.config.limits.max_held,
            "sessions": sessions,
            "max_sessions": most,
            "listeners": self.listeners(),
        }

    async def render_metrics(self) -> tuple[str, bytes]:
        """See ``origin.Site``."""
        sessions = await self.pair.count()
        return CONTENT_TYPE, self.metrics.render(held=len(self.held), sessions=sessions)

    async def sessions(self) -> list[dict[str, Any]]:
        """See ``origin.Site``."""
        now = self.clock()
        states = await self.pair.sessions()
        return [describe_session(name, state, self.pair.held, now) for name, state in states.items()]

    async def close_session(self, session: str) -> bool:
        """See ``origin.Site``."""
        return await self.pair.close(session)


def shutting_down() -> MotiveError:
    """Its client comes back, and finds its session as it was, if the proxy does."""
    return UnavailableError("The proxy is shutting down.", code="shutting_down", retry_after_s=_RESTART_S)


def _near(what: str, now: int, most: int) -> str | None:
    return f"{now} {what} of {most}, which is the limit." if now >= _NEAR * most else None


__all__ = ["INTERNAL_HOST", "Gateway", "shutting_down"]
