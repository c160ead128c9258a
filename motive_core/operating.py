"""What the operator does to calls and sessions, whoever else is to answer them.

Owns which of it can be done, and how the operator is told what cannot. What it does to a session is the session
machine's business; how the operator says it is the shell's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from motive_core.errors import BadRequestError, ConflictError
from motive_core.exchange import Exchange
from motive_core.fit import wants_json
from motive_core.ir import Tool
from motive_core.pairing import HeldCalls, LiveAnswer, Pairing, send
from motive_core.part_sizes import bytes_of
from motive_core.relay import CommandError, called, failed, said
from motive_core.routing import session_id
from motive_core.session import (
    Answer,
    Answered,
    GivenBack,
    Passed,
    Prompt,
    TakenOver,
    Terms,
    answerer_present,
    waits,
)

OPERATOR: Final = "operator"
COMMANDS: Final = "commands"
"""By what the operator takes sessions over, where that is not a page."""
_NO_SERVICE: Final = "there is no real service behind this call"


class OperatorError(ConflictError):
    """What the operator wants cannot be done; the message says why, to the operator."""


@dataclass(frozen=True, slots=True)
class SessionLine:
    """A session as the operator is shown it in a list. ``waiting`` are calls that wait for an answer, the first of
    them for ``waiting_s``."""

    session: str
    taken_over: bool
    answerer: bool
    waiting: int
    waiting_s: float
    turns: int


class Operator:
    """See the module. ``most_sessions`` gives the limit of open ones."""

    def __init__(
        self, pair: Pairing, held: HeldCalls, *, clock: Callable[[], float], most_sessions: Callable[[], int]
    ) -> None:
        self._pair = pair
        self._held = held
        self._clock = clock
        self._most_sessions = most_sessions

    # One call. Each raises ``OperatorError``.

    async def say(self, exchange: Exchange, text: str) -> None:
        """Answer a call with these words."""
        await self._answer(exchange, _made(lambda: said(text, _terms(exchange))))

    async def call(self, exchange: Exchange, name: str, arguments: str) -> None:
        """Answer a call with a call of one of its tools; ``arguments`` are JSON."""
        call_id = f"call_{exchange.exchange}00"
        await self._answer(exchange, _made(lambda: called(name, arguments, _terms(exchange), call_id)))

    async def fail(self, exchange: Exchange, status: int, message: str) -> None:
        """Answer a call with an error."""
        await self._answer(exchange, _made(lambda: failed(status, message)))

    async def let_pass(self, exchange: Exchange) -> None:
        """Let the real service answer a call."""
        prompt = await self._prompt_of(exchange)
        if prompt is not None:
            await self.let_prompt_pass(exchange.session, prompt)
        elif has_service(exchange):
            exchange.pass_on()
        else:
            raise OperatorError(_NO_SERVICE, code="no_service")

    async def _answer(self, exchange: Exchange, answer: Answer) -> None:
        prompt = await self._prompt_of(exchange)
        if prompt is not None:
            await self.answer(exchange.session, prompt, answer)
            return
        exchange.source, exchange.answered_by = OPERATOR, OPERATOR
        exchange.decided_at = self._clock()
        send(exchange, answer)

    async def _prompt_of(self, exchange: Exchange) -> Prompt | None:
        """The prompt of a call that waits; None if its session does not hold it, but a source works on it."""
        if exchange.ending is not None:
            raise OperatorError("this call has its answer already")
        state = await self._pair.state(exchange.session)
        if state.listening is not None and state.listening.call == exchange.exchange:
            raise OperatorError("this call waits for a prompt, not for an answer: it is of somebody who answers")
        calls = ((prompt, live.call) for prompt in state.prompts for live in prompt.calls)
        return next((prompt for prompt, call in calls if call == exchange.exchange), None)

    # One prompt: all calls that say it, one that comes back for it among them. Each raises ``OperatorError``.

    async def answer(self, session: str, prompt: Prompt, answer: Answer, by: str = OPERATOR) -> None:
        """Answer a prompt, if nobody was faster; ``by`` is who does."""
        answer = replace(answer, size_bytes=bytes_of(answer.parts), by=by)
        await self._pair.operate(session, Answered(prompt.prompt, answer))
        after = await self._state_of(session, prompt)
        if after is not None and after.answer == answer:
            return
        if after is not None and waits(after):
            raise OperatorError("the session keeps as much as it may, and has no room for so long an answer")
        raise OperatorError("this call does not wait any more")

    async def speak(self, session: str, prompt: Prompt, by: str = OPERATOR) -> LiveAnswer:
        """Begin an answer to a prompt that is said while it is written."""
        if wants_json(prompt.terms.response_format):
            raise OperatorError("the app wants JSON, which can be checked only when it is whole")
        live = await self._pair.speak(session, prompt, by)
        after = await self._state_of(session, prompt)
        if after is None or after.answer is None or not after.answer.live:
            live.end()
            raise OperatorError("this call does not wait any more")
        return live

    async def let_prompt_pass(self, session: str, prompt: Prompt) -> None:
        """Let the real service answer a prompt, or its draft go as it is, if it has one."""
        if prompt.draft is None and not prompt.calls:
            raise OperatorError("the app has gone away, and may come back for an answer")
        calls = [one for live in prompt.calls if (one := self._held.get(live.call)) is not None]
        if prompt.draft is None and not all(map(has_service, calls)):
            raise OperatorError(_NO_SERVICE, code="no_service")
        await self._pair.operate(session, Passed(prompt.prompt))
        after = await self._state_of(session, prompt)
        if after is not None and waits(after):
            raise OperatorError("there is no real service behind another call that says the same")

    async def _state_of(self, session: str, prompt: Prompt) -> Prompt | None:
        """How a prompt is by now. The numbers of a session begin anew when it does."""
        prompts = (await self._pair.state(session)).prompts
        return next((p for p in prompts if (p.prompt, p.created_at) == (prompt.prompt, prompt.created_at)), None)

    # Sessions

    async def take_over(self, session: str, by: str = COMMANDS) -> str:
        """Be there to answer in a session, from its next call on, until it is given back. ``by`` says from where. Gives
        its id. Raises ``OperatorError``."""
        try:
            session = session_id(session)
        except BadRequestError as error:
            raise OperatorError(str(error)) from None
        if session not in await self._pair.sessions() and await self._pair.count() >= self._most_sessions():
            raise OperatorError("too many sessions are open")
        await self._pair.operate(session, TakenOver(by))
        return session

    async def give_back(self, session: str, by: str = "") -> None:
        """Be there no longer; with ``by``, only if it was taken over from there. Raises ``OperatorError`` if the
        operator was not there."""
        if not (await self._pair.state(session)).taken_by:
            raise OperatorError(f"the session {session!r} is not taken over")
        await self._pair.operate(session, GivenBack(by))

    async def sessions(self) -> list[SessionLine]:
        """Every open session; those first in which a call waits the longest."""
        now = self._clock()
        lines = []
        for session, state in (await self._pair.sessions()).items():
            since = [live.arrived_at for prompt in state.prompts for live in prompt.calls]
            seated = answerer_present(replace(state, taken_by=""), now)
            waiting_s = max((now - at for at in since), default=0.0)
            lines.append(SessionLine(session, bool(state.taken_by), seated, len(since), waiting_s, state.turns))
        return sorted(lines, key=lambda line: (-line.waiting_s, line.session))

    def waiting_in(self, session: str) -> Exchange | None:
        """The call of a session that has waited longest for an answer."""
        calls = (one for one in self._held.values() if one.session == session and one.ending is None)
        return min((one for one in calls if not one.listens), key=lambda one: one.arrived_at, default=None)


def _made(make: Callable[[], Answer]) -> Answer:
    try:
        return make()
    except CommandError as error:
        raise OperatorError(str(error)) from None


def has_service(exchange: Exchange) -> bool:
    """Whether there is anything behind a call that can answer it without anybody here."""
    return exchange.listener == "forward" or exchange.service is not None or "pass" in exchange.stand_ins


def _terms(exchange: Exchange) -> Terms:
    request = exchange.request
    return Terms(tuple(Tool(one.name, one.description, one.schema) for one in request.tools), request.response_format)
