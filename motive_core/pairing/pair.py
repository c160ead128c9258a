"""How the two clients of a session are answered: each with what the other said.

Owns the way between exchanges and the session machine: what arrives becomes an event, a step is swapped into the
backend, and its commands end exchanges. Owns the timers of the sessions, too. What a step does is the machine's
business, how a reply looks the exchange's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, assert_never

from motive_core.backends.base import Backend
from motive_core.config import Limits
from motive_core.errors import (
    InternalError,
    MotiveError,
    RateLimitedError,
)
from motive_core.exchange import Exchange, Policy
from motive_core.ir import Reply
from motive_core.log_lines import LogLine
from motive_core.metrics import Metrics
from motive_core.pairing.arrivals import arrival, makes_prompt, who_is
from motive_core.pairing.drafting import AskDraft, Drafting
from motive_core.pairing.held import HeldCalls, Spawn
from motive_core.pairing.live import LiveAnswer
from motive_core.pairing.sending import send
from motive_core.pairing.told import NOTICES, error_for
from motive_core.part_sizes import bytes_of
from motive_core.relay import (
    CommandReader,
    Relayed,
    join_of,
    prompt_parts,
    relayed,
    text_digest,
)
from motive_core.routing import Answer as AnswerDecision
from motive_core.session import (
    CUT,
    Answer,
    Answered,
    Arrive,
    Close,
    Command,
    Delivered,
    ErrorKind,
    Event,
    Failed,
    FallBack,
    GivenBack,
    Gone,
    Passed,
    PassThrough,
    Prompt,
    Released,
    Restarted,
    Said,
    SendAnswer,
    SendError,
    SendNotice,
    SendPrompt,
    Session,
    TakenOver,
    Tick,
    answerer_present,
    draft_of,
    live_calls,
    next_due,
    step,
)

logger = logging.getLogger(__name__)

type HandOver = Callable[[Exchange, str], None]
type Watch = Callable[[str, Session, Event, tuple[Command, ...]], None]
"""Is told of each step: the session, its state after it, what happened, and what is done because of it."""

_POLICIES: Final[Mapping[ErrorKind, Policy]] = {"hold_timeout": "timeout", "answerer_left": "lost"}
"""The policy that says what stands in for an error."""

_TIMER_SLACK_S: Final = 0.001
"""A timer may fire a little early by the session's clock; this much later it is surely due."""


def _nobody(*_: object) -> None:
    """Watches nothing."""


class Pairing:
    """See the module. ``clock`` gives seconds that never go back; ``spawn`` runs a coroutine in the background."""

    def __init__(
        self,
        backend: Backend,
        *,
        clock: Callable[[], float],
        spawn: Spawn,
        join_words: tuple[str, ...],
        commands: CommandReader,
        limits: Limits,
        metrics: Metrics,
        held: HeldCalls,
        hand_over: HandOver,
        ask_draft: AskDraft,
    ) -> None:
        """``hand_over`` lets the source of this name answer an exchange that is not in charge here any more;
        ``ask_draft`` gives what an exchange would be answered if nobody was here."""
        self._backend = backend
        self._clock = clock
        self._spawn = spawn
        self._metrics = metrics
        self._held = held
        self._hand_over = hand_over
        self._drafting = Drafting(spawn, ask_draft)
        self._timers: dict[str, tuple[float, asyncio.TimerHandle]] = {}
        self._touched: dict[str, float] = {}
        self._restored = False
        self.join_words = join_words
        self.commands = commands
        self.max_sessions = limits.max_sessions
        self._live: dict[tuple[str, str], tuple[LiveAnswer, float]] = {}
        """By session and prompt, with when that was created: the numbers of a session begin anew when it does."""
        self.watch: Watch = _nobody

    def limit(self, limits: Limits) -> None:
        """Take new limits. What is over one of them already stays."""
        self.max_sessions = limits.max_sessions

    @property
    def held(self) -> Mapping[str, Exchange]:
        """Every exchange in its charge that has not ended, or not been seen delivered, by id."""
        return self._held

    async def accept(self, exchange: Exchange, decision: AnswerDecision, retry: bool) -> None:
        """Take charge of an exchange: see ``Holder``."""
        session, rules = exchange.session, decision.rules
        await self.restore()
        stored = await self._backend.load(session)
        if stored.version == 0:
            if rules.when_joined and rules.can_pass and decision.role == "asker":
                self.pass_on(exchange)  # what the machine would say, for the many calls that nobody is interested in
                return
            if await self._backend.count() >= self.max_sessions:
                full = RateLimitedError("Too many sessions are open.", code="too_many_sessions")
                self._refuse(exchange, decision, "sessions", full)
                return
        over = self._held.over_limit(exchange)
        if over is not None and not self._may_answer(exchange, decision, stored.state):
            self._refuse(exchange, decision, *over)
            return
        said = relayed(
            exchange.request,
            with_system=decision.relay_system,
            with_context=decision.relay_context,
            call_word=self.commands.call_word,
        )
        if rules.review_timeout_s is not None:
            event = self._arrival(exchange, decision, said, stored.state, retry=retry)
            if makes_prompt(stored.state, event, self._clock()):
                self._held.add(exchange)
                self._draft(exchange, decision, said, event)
                return
        self._held.add(exchange)
        await self._arrive(exchange, decision, said, retry)

    def _draft(self, exchange: Exchange, decision: AnswerDecision, said: Relayed, event: Arrive) -> None:
        """Let a call arrive with what its service would answer. Whatever goes wrong once that is known, it is the
        answer; what goes wrong before, the service's own error most of all, the app is told."""

        async def arrive(draft: Reply) -> None:
            exchange.draft = draft
            try:
                await self._arrive(exchange, decision, said, event.retry)
            except MotiveError:
                self.pass_on(exchange)
            except Exception:
                logger.exception(LogLine("not reviewed", exchange=exchange.exchange, session=exchange.session))
                self.pass_on(exchange)

        def fail(error: MotiveError) -> None:
            self._held.forget(exchange.exchange)
            exchange.decided_at = self._clock()
            exchange.fail(error)

        shares = decision.rules.twins == "attach" or event.retry
        key = event.key if shares else event.call
        self._drafting.begin(exchange, key, decision.rules.hold_timeout_s, arrive, fail)

    async def _arrive(self, exchange: Exchange, decision: AnswerDecision, said: Relayed, retry: bool) -> None:
        is_taken = False
        try:
            while not is_taken:
                stored = await self._backend.load(exchange.session)
                event = self._arrival(exchange, decision, said, stored.state, retry=retry)
                is_taken = await self._apply(exchange.session, stored.state, stored.version, event)
        finally:
            if not is_taken:
                self._held.forget(exchange.exchange)  # nothing has changed
        if decision.rules.review_timeout_s is not None and exchange.draft is None:
            exchange.draft = draft_of((await self._backend.load(exchange.session)).state, exchange.exchange)

    def _may_answer(self, exchange: Exchange, decision: AnswerDecision, state: Session) -> bool:
        """Whether a call may well be the answerer's. That one is never over a limit of held calls: it ends one, and a
        session has one of them that listens."""
        if decision.role is not None:
            return decision.role == "answerer"
        words = relayed(exchange.request, with_system=False, with_context=False).words
        if join_of(words, self.join_words) == "word":
            return True
        seat, asker = state.answerer, state.asker
        return (
            seat is not None
            and seat.who == who_is(exchange)
            and (asker is None or asker.who != seat.who or bool(state.owes))
        )

    def _refuse(self, exchange: Exchange, decision: AnswerDecision, limit: str, error: MotiveError) -> None:
        """A call is over a limit: its real service answers it where it came by the forward proxy, or where the route
        says so."""
        self._metrics.limit_hit(limit)
        rules = decision.rules
        can_pass = rules.can_pass and (limit == "sessions" or "pass" not in exchange.stand_ins)  # a source's are held
        if can_pass and (exchange.listener == "forward" or rules.on_full == "pass"):
            self.pass_on(exchange)
        elif rules.on_full == "fallback":
            self._fall_back(exchange, "full")
        else:
            exchange.fail(error)

    def _arrival(
        self, exchange: Exchange, decision: AnswerDecision, said: Relayed, state: Session, *, retry: bool
    ) -> Arrive:
        words, commands = self.join_words, self.commands
        return arrival(exchange, decision, said, state, retry=retry, commands=commands, join_words=words)

    async def restore(self) -> None:
        """Take over the sessions that the last process left in the store: every call that it held is gone. Done once,
        at the first call at the latest."""
        if self._restored:
            return
        self._restored = True
        for session in await self._backend.all():
            await self._dispatch(session, Restarted())
        await self._backend.flush()

    async def delivered(self, exchange: Exchange) -> None:
        """See ``Holder``."""
        event = Delivered if exchange.cut_by is None else Failed
        await self._ended(exchange, event(exchange.exchange))

    async def failed(self, exchange: Exchange) -> None:
        """See ``Holder``."""
        await self._ended(exchange, Failed(exchange.exchange))

    async def gone(self, exchange: Exchange) -> None:
        """See ``Holder``."""
        await self._ended(exchange, Gone(exchange.exchange))

    async def released(self, exchange: Exchange) -> None:
        """See ``Holder``."""
        await self._ended(exchange, Released(exchange.exchange))

    async def _ended(self, exchange: Exchange, event: Event) -> None:
        self._drafting.leave(exchange)
        if self._held.forget(exchange.exchange) is not None:
            await self._dispatch(exchange.session, event)

    async def operate(self, session: str, event: Answered | Passed | TakenOver | GivenBack) -> None:
        """The operator does something in a session, which begins with that if there is none."""
        await self._dispatch(session, event)

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
            if live_calls(state):
                self._touched[session] = now  # a held call is a sign of life for as long as it is held
            elif now - self._touched.setdefault(session, now) > idle_s:
                await self._dispatch(session, Close())
        await self._backend.flush()

    async def tick(self, session: str) -> None:
        """Let time pass in a session: what is due by now happens."""
        await self._dispatch(session, Tick())

    async def is_present(self, session: str) -> bool:
        """Whether somebody is there to answer in this session."""
        return answerer_present(await self.state(session), self._clock())

    async def state(self, session: str) -> Session:
        """The state of a session, a fresh one if there is none."""
        return (await self._backend.load(session)).state

    async def sessions(self) -> dict[str, Session]:
        """The state of every session, by id."""
        return await self._backend.all()

    async def count(self) -> int:
        """How many sessions are open."""
        return await self._backend.count()

    def stop(self, error: MotiveError) -> None:
        """End every held call with an error, and all timers. A reply that is being spoken ends in the middle."""
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for exchange in list(self._held.values()):
            exchange.exit(error)
        self._drafting.stop()
        for live, _ in list(self._live.values()):
            live.break_off(error)  # no answer: after a restart its prompt waits again
        self._live.clear()

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
        if not isinstance(event, Tick) or live_calls(state):
            self._touched[session] = self._clock()
        if after.turns > state.turns:
            self._metrics.turn(after.turns - state.turns)
        self._schedule(session, after)
        if self._live:
            self._forget_live(session, after, error_for("closed", session) if isinstance(event, Close) else None)
        for command in commands:
            self._run(session, command)
        if after.listening is not None and (listening := self._held.get(after.listening.call)) is not None:
            listening.listens = True
        self.watch(session, after, event, commands)
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
        exchange.decided_at = self._clock()
        if isinstance(command, SendPrompt):
            exchange.outcome = "prompted"
        began = time.perf_counter()
        try:
            sent = self._send(exchange, command)
        except Exception:
            logger.exception(LogLine("reply failed", exchange=exchange.exchange, session=session))
            exchange.fail(InternalError("The reply could not be made; the log has the reason."))
            sent = False
        self._metrics.added("reply", time.perf_counter() - began)
        if not sent:
            self._held.forget(command.call)
            self._spawn(self._dispatch(session, Failed(command.call)))

    def _send(self, exchange: Exchange, command: Command) -> bool:
        if isinstance(command, SendAnswer) and command.answer.by:
            # A call that came for it later, after a restart, say, is the operator's, too.
            exchange.source, exchange.answered_by = "operator", command.answer.by
        match command:
            case SendPrompt(_, prompt, context):
                reply = prompt.draft.reply if prompt.draft is not None else None
                draft = self.commands.draft(reply, self.join_words) if reply is not None else None
                return exchange.answer(prompt_parts(prompt.words, prompt.context if context else (), draft))
            case SendAnswer(_, prompt_id, Answer(live=True)):
                return self._say_live(exchange, prompt_id)
            case SendAnswer(_, _, answer):
                if answer.failure is not None and answer.failure.status == CUT:
                    # What is cut on purpose has been told: who tries again asks anew.
                    self._held.forget(exchange.exchange)
                    self._spawn(self._dispatch(exchange.session, Delivered(exchange.exchange)))
                return send(exchange, answer)
            case _:
                # The machine forgets these calls with the command: nothing more will be told of them.
                self._held.forget(exchange.exchange)
        match command:
            case SendNotice(_, kind, detail):
                exchange.notice(NOTICES[kind].format(detail=detail))
            case SendError(_, kind):
                if kind == "queue_full":
                    self._metrics.limit_hit("queue")
                exchange.fail(error_for(kind, exchange.session))
            case PassThrough():
                self.pass_on(exchange)
            case FallBack(_, kind):
                if kind == "queue_full":
                    self._metrics.limit_hit("queue")
                self._fall_back(exchange, _POLICIES.get(kind, "full"))
            case _:
                assert_never(command)
        return True

    def _say_live(self, exchange: Exchange, prompt_id: str) -> bool:
        """Let a call hear an answer as it is written; one that does not stream hears the whole of it."""
        live, _ = self._live.get((exchange.session, prompt_id), (None, 0.0))
        if live is None:  # it was being said by a process that is gone
            return False
        if exchange.streams:
            return exchange.relay(live.told_to(exchange))

        async def tell() -> None:
            try:
                answer = await live.whole()
            except MotiveError as error:
                exchange.fail(error)
                return
            if exchange.ending is None:
                exchange.decided_at = self._clock()
                send(exchange, answer)

        self._spawn(tell())
        return True

    async def speak(self, session: str, prompt: Prompt, by: str) -> LiveAnswer:
        """Begin an answer of this operator that is said while it is written. Whether the prompt took it shows in the
        session's state."""
        key = (session, prompt.prompt)
        known, created_at = self._live.get(key, (None, 0.0))
        if known is not None and created_at == prompt.created_at:
            return known

        def ended(answer: Answer) -> None:
            answer = replace(answer, digest=text_digest(live.text), size_bytes=bytes_of(answer.parts), by=by)
            self._spawn(finish(answer))

        async def finish(answer: Answer) -> None:
            await self._dispatch(session, Said(prompt.prompt, answer))
            if self._live.get(key) == (live, prompt.created_at):
                del self._live[key]

        live = LiveAnswer(ended)
        self._live[key] = (live, prompt.created_at)
        await self._dispatch(session, Answered(prompt.prompt, Answer((), "", live=True, by=by)))
        return live

    def _forget_live(self, session: str, after: Session, error: MotiveError | None) -> None:
        """Answers to prompts that the session does not know any more are nothing to it. With an error, whoever still
        hears them is told that."""
        known = {(prompt.prompt, prompt.created_at) for prompt in after.prompts}
        for key, (live, created_at) in list(self._live.items()):
            if key[0] == session and (key[1], created_at) not in known:
                del self._live[key]
                if error is not None:
                    live.break_off(error)

    def pass_on(self, exchange: Exchange) -> None:
        """Let the service answer: with the draft that it made, or else the app's own, or the source that stands for
        it."""
        source = exchange.stand_ins.get("pass")
        if exchange.draft is not None:
            exchange.say(exchange.draft)
        elif source is not None:
            self._hand_over(exchange, source)
        else:
            exchange.pass_on()

    def _fall_back(self, exchange: Exchange, policy: Policy) -> None:
        """Answer with what the route has for this policy: a source, or words."""
        source = exchange.stand_ins.get(policy)
        if source is not None:
            self._hand_over(exchange, source)
        else:
            exchange.fall_back()


def is_urgent(before: Session, event: Event) -> bool:
    """Whether this must be stored at once, though nothing is sent because of it.

    That a prompt was handed over is, before its bytes leave: for a client that has no history, nothing but the state
    will tell that its next words are an answer. That an answer was, is not: until that is stored, a call that says its
    prompt again gets it again.
    """
    match event:
        case Close() | Failed() | TakenOver() | GivenBack():
            return True
        case Delivered(call) | Gone(call):
            return any(prompt.shown_by == call for prompt in before.prompts)
        case _:
            return False
