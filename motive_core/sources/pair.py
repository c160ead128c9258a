"""The ``pair`` source: two clients meet in a session, and each is answered with what the other said.

Owns the way between exchanges and the session machine: what arrives becomes an event, a step is swapped into the
backend, and its commands end exchanges. Owns the timers of the sessions, too. What a step does is the machine's
business, how a reply looks the exchange's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, assert_never

from motive_core.backends.base import Backend
from motive_core.errors import (
    ConflictError,
    HoldTimeoutError,
    InternalError,
    MotiveError,
    RateLimitedError,
    UnavailableError,
    error_of,
)
from motive_core.exchange import Exchange
from motive_core.ir import ToolCallPart
from motive_core.relay import (
    CommandError,
    CommandReader,
    Relayed,
    fingerprint,
    join_of,
    prompt_parts,
    relayed,
    request_key,
)
from motive_core.routing import Answer as AnswerDecision
from motive_core.session import (
    NO_TERMS,
    Answer,
    Arrive,
    Close,
    Command,
    Delivered,
    ErrorKind,
    Event,
    Failed,
    Failure,
    FallBack,
    Gone,
    NoticeKind,
    PassThrough,
    Released,
    Restarted,
    SendAnswer,
    SendError,
    SendNotice,
    SendPrompt,
    Session,
    Terms,
    Tick,
    Wish,
    answerer_present,
    live_calls,
    next_due,
    step,
)

logger = logging.getLogger(__name__)

type Spawn = Callable[[Coroutine[Any, Any, None]], object]

NOTICES: Final[dict[NoticeKind, str]] = {
    "paired": "You are paired: the other side is here. What you send next goes to it.",
    "waiting": "You are in the session, and nobody is here to answer yet. What you send next waits for them.",
    "late": "Too late: the call that you answered has ended in the meantime. Your words were not sent. "
    "Say anything to see the next prompt.",
    "refused": "Not sent: {detail}. The call still waits for your answer.",
    "undelivered": "Your last answer was not delivered: the app went away and did not come back for it. "
    "Say anything to see the next prompt.",
    "idle": "Nothing has come yet. Say anything to go on waiting.",
    "left": "You have left the session. Its calls go on without you; a join word brings you back.",
    "help": "{detail}",
}

_QUEUE_S: Final = 5.0
"""When to ask again whether there is room in a queue of prompts, which a person works off."""

_CALLS_AT_ONCE: Final = 64
"""How many tool calls one answer may make."""

_TIMER_SLACK_S: Final = 0.001
"""A timer may fire a little early by the session's clock; this much later it is surely due."""


def error_for(kind: ErrorKind, session: str) -> MotiveError:
    """The error that a client sees when the machine ends its call with ``kind``."""
    match kind:
        case "superseded":
            return ConflictError("A newer call of this client took its place.", code="superseded")
        case "session_full":
            return ConflictError(
                f"Session {session!r} has both its clients. Use another model name, or end the session with "
                f"DELETE /admin/sessions/{session}.",
                code="session_full",
            )
        case "queue_full":
            message = f"Too many prompts wait in session {session!r}."
            return RateLimitedError(message, code="queue_full", retry_after_s=_QUEUE_S)
        case "hold_timeout":
            return HoldTimeoutError("Nobody answered in time.")
        case "idle":
            message = "No prompt came in time. Call again to go on waiting."
            return HoldTimeoutError(message, code="idle", retry_after_s=1.0)
        case "answerer_left":
            return UnavailableError(f"Nobody is there to answer in session {session!r}.", code="answerer_left")
        case "closed":
            return UnavailableError(f"Session {session!r} was ended by the operator.", code="session_closed")
        case _:
            assert_never(kind)


class PairSource:
    """See the module. ``clock`` gives seconds that never go back; ``spawn`` runs a coroutine in the background."""

    def __init__(
        self,
        backend: Backend,
        *,
        clock: Callable[[], float],
        spawn: Spawn,
        join_words: tuple[str, ...],
        commands: CommandReader,
        max_sessions: int,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._spawn = spawn
        self._held: dict[str, Exchange] = {}
        self._timers: dict[str, tuple[float, asyncio.TimerHandle]] = {}
        self._touched: dict[str, float] = {}
        self._restored = False
        self.join_words = join_words
        self.commands = commands
        self.max_sessions = max_sessions

    @property
    def held(self) -> dict[str, Exchange]:
        """Every exchange in its charge that has not ended, or not been seen delivered, by id."""
        return self._held

    async def accept(self, exchange: Exchange, decision: AnswerDecision, retry: bool) -> None:
        """Take charge of an exchange: see ``Source``."""
        session, rules = exchange.session, decision.rules
        if not self._restored:
            await self.restore()
        stored = await self._backend.load(session)
        if stored.version == 0:
            if rules.when_joined and rules.can_pass and decision.role == "asker":
                exchange.pass_on()  # what the machine would say, for the many calls that nobody is interested in
                return
            if await self._backend.count() >= self.max_sessions:
                exchange.fail(RateLimitedError("Too many sessions are open.", code="too_many_sessions"))
                return
        said = relayed(
            exchange.request,
            with_system=decision.relay_system,
            with_context=decision.relay_context,
            call_word=self.commands.call_word,
        )
        self._held[exchange.exchange] = exchange
        try:
            while True:
                event = self._arrival(exchange, decision, said, retry, stored.state)
                if await self._apply(session, stored.state, stored.version, event):
                    return
                stored = await self._backend.load(session)
        except MotiveError:
            del self._held[exchange.exchange]  # nothing has changed: the call was not taken
            raise

    def _arrival(
        self, exchange: Exchange, decision: AnswerDecision, said: Relayed, retry: bool, state: Session
    ) -> Arrive:
        request, headers = exchange.request, exchange.head.headers
        who = fingerprint(exchange.listener, exchange.client_host, exchange.credential, headers.get("user-agent", ""))
        answer, refused, hint = Answer(said.words, said.digest), "", ""
        wish: Wish = "say" if decision.role == "asker" else self.commands.wish(said.words)
        if decision.role != "asker":
            terms = next((prompt.terms for prompt in state.prompts if prompt.prompt == state.owes), NO_TERMS)
            if wish == "help":
                hint = self.commands.help(terms)
            elif wish == "say":
                try:
                    ids = (f"call_{exchange.exchange}{number:02d}" for number in range(_CALLS_AT_ONCE))
                    answer = self.commands.answer(said.words, terms, ids)
                except CommandError as error:
                    refused = str(error)
        return Arrive(
            call=exchange.exchange,
            who=who,
            key=request_key(who, request, headers.get("idempotency-key", "")),
            digest=said.digest,
            words=said.words,
            answer=answer,
            rules=decision.rules,
            role=decision.role,
            join=join_of(said.words, self.join_words),
            wish=wish,
            asks=said.asks,
            shape=said.shape,
            context=said.context,
            quotes=said.quotes,
            replies_to=said.replies_to,
            retry=retry,
            refused=refused,
            hint=hint,
            terms=Terms(request.tools, request.response_format),
        )

    async def restore(self) -> None:
        """Take over the sessions that the last process left in the store: every call that it held is gone. Done at the
        first call at the latest."""
        self._restored = True
        for session in await self._backend.all():
            await self._dispatch(session, Restarted())
        await self._backend.flush()

    async def delivered(self, exchange: Exchange) -> None:
        """See ``Source``."""
        event = Delivered if exchange.cut_by is None else Failed
        await self._ended(exchange, event(exchange.exchange))

    async def failed(self, exchange: Exchange) -> None:
        """See ``Source``."""
        await self._ended(exchange, Failed(exchange.exchange))

    async def gone(self, exchange: Exchange) -> None:
        """See ``Source``."""
        await self._ended(exchange, Gone(exchange.exchange))

    async def released(self, exchange: Exchange) -> None:
        """See ``Source``."""
        await self._ended(exchange, Released(exchange.exchange))

    async def _ended(self, exchange: Exchange, event: Event) -> None:
        if self._held.pop(exchange.exchange, None) is not None:
            await self._dispatch(exchange.session, event)

    async def close(self, session: str) -> bool:
        """End a session: every call that it holds gets an error. Gives False if there is no such session."""
        if (await self._backend.load(session)).version == 0:
            return False
        await self._dispatch(session, Close())
        return True

    async def sweep(self, idle_s: float) -> None:
        """End the sessions that hold no call and that nothing was heard of for ``idle_s``. Writes what the store could
        not."""
        now = self._clock()
        for session, state in (await self._backend.all()).items():
            if not live_calls(state) and now - self._touched.setdefault(session, now) > idle_s:
                await self._dispatch(session, Close())
        await self._backend.flush()

    async def tick(self, session: str) -> None:
        """Let time pass in a session: what is due by now happens."""
        await self._dispatch(session, Tick())

    async def is_present(self, session: str) -> bool:
        """Whether somebody is there to answer in this session."""
        return answerer_present((await self._backend.load(session)).state, self._clock())

    async def sessions(self) -> dict[str, Session]:
        """The state of every session, by id."""
        return await self._backend.all()

    def stop(self, error: MotiveError) -> None:
        """End every held call with an error, and all timers. A reply that is being spoken ends in the middle."""
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for exchange in list(self._held.values()):
            exchange.exit(error)

    async def _dispatch(self, session: str, event: Event) -> None:
        while True:
            stored = await self._backend.load(session)
            if await self._apply(session, stored.state, stored.version, event):
                return

    async def _apply(self, session: str, state: Session, version: int, event: Event) -> bool:
        after, commands = step(state, event, self._clock())
        # What a client asks for can be refused; what has happened cannot.
        if not await self._backend.swap(session, after, version, lazy=not isinstance(event, Arrive)):
            return False
        if is_urgent(state, event):
            await self._backend.flush()
        if not isinstance(event, Tick):
            self._touched[session] = self._clock()
        self._schedule(session, after)
        for command in commands:
            self._run(session, command)
        return True

    def _schedule(self, session: str, state: Session) -> None:
        """Keep one timer a session, at its next deadline or before it (a timer that is early sets the next one)."""
        due = next_due(state)
        timer = self._timers.get(session)
        if due is None:
            self._touched.pop(session, None)
            if timer is not None:
                timer[1].cancel()
                del self._timers[session]
            return
        now = self._clock()
        if timer is not None:
            if timer[0] <= due:
                return
            timer[1].cancel()
        handle = asyncio.get_running_loop().call_later(max(0.0, due - now) + _TIMER_SLACK_S, self._fire, session)
        self._timers[session] = (due, handle)

    def _fire(self, session: str) -> None:
        self._timers.pop(session, None)
        self._spawn(self.tick(session))

    def _run(self, session: str, command: Command) -> None:
        """Carry out one command. Whatever goes wrong ends that call only."""
        exchange = self._held.get(command.call)
        if exchange is None:
            self._spawn(self._dispatch(session, Failed(command.call)))
            return
        try:
            sent = self._send(exchange, command)
        except Exception:
            logger.exception("reply failed exchange=%s session=%s", exchange.exchange, session)
            exchange.fail(InternalError("The reply could not be made; the log has the reason."))
            sent = False
        if not sent:
            self._held.pop(command.call, None)
            self._spawn(self._dispatch(session, Failed(command.call)))

    def _send(self, exchange: Exchange, command: Command) -> bool:
        match command:
            case SendPrompt(_, prompt, context):
                return exchange.answer(prompt_parts(prompt.words, prompt.context if context else ()))
            case SendAnswer(_, _, Answer(failure=Failure(status, message))):
                return exchange.fail(error_of(status, message))
            case SendAnswer(_, _, answer):
                calls_tool = any(isinstance(part, ToolCallPart) for part in answer.parts)
                return exchange.answer(answer.parts, "tool_calls" if calls_tool else "stop")
            case _:
                # The machine forgets these calls with the command: nothing more will be told of them.
                del self._held[exchange.exchange]
        match command:
            case SendNotice(_, kind, detail):
                exchange.notice(NOTICES[kind].format(detail=detail))
            case SendError(_, kind):
                exchange.fail(error_for(kind, exchange.session))
            case PassThrough():
                exchange.pass_on()
            case FallBack():
                exchange.fall_back()
            case _:
                assert_never(command)
        return True


def is_urgent(before: Session, event: Event) -> bool:
    """Whether this must be stored at once, though nothing is sent because of it.

    That a prompt was handed over is, before its bytes leave: for a client that has no history, nothing but the state
    will tell that its next words are an answer. That an answer was, is not: until that is stored, a call that says its
    prompt again gets it again.
    """
    match event:
        case Close() | Failed():
            return True
        case Delivered(call) | Gone(call):
            return any(prompt.shown_by == call for prompt in before.prompts)
        case _:
            return False
