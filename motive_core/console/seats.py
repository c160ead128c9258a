"""The console's seat in each session that a person took over: an ordinary answerer of the session, in this process.

Owns the calls by which it joins, speaks and leaves, and that it stays present for as long as a page of the console is
open. Everybody at the console is one answerer: who of them says what is not known here. Which prompts there are is the
session's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from motive_core.dialects import DIALECTS, RequestHead
from motive_core.errors import ConflictError, MotiveError, UpstreamError
from motive_core.exchange import Exchange, ServiceReply
from motive_core.ir import ChatRequest, Message, TextPart
from motive_core.pairing import Pairing, Spawn, Spoken
from motive_core.relay import fingerprint
from motive_core.routing import Answer as Decision
from motive_core.session import Answer, Close, Event, Rules, Session, answerer_present

logger = logging.getLogger(__name__)

_HOST: Final = "console"
_AGENT: Final = "motive-console"
WHO: Final = fingerprint("reverse", _HOST, None, _AGENT)
"""The console's fingerprint: the same in every process, so that it finds its seats after a restart."""

_SEATS: Final = 200
"""With more of them, those in which nothing waits are given up, the longest taken first: each keeps its session."""
_STAYS_S: Final = 3600.0
"""How long the seat counts as taken without a sign of life; it is shown one well before that."""
REFRESH_S: Final = 900.0
AWAY_AFTER_S: Final = 120.0
"""How long no page may be open until the seats are given up: a reload, a tunnel, a restart are shorter."""
_RULES: Final = Rules(hold_timeout_s=_STAYS_S, handshake_timeout_s=_STAYS_S, turn_timeout_s=_STAYS_S, on_idle="notice")


@dataclass(slots=True, eq=False)
class _Port:
    """Where the replies to the console's own calls go: they say nothing that it does not see anyway."""

    ended: Callable[[], None]
    can_stream: bool = False

    def respond(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """See ``Port``."""
        self.ended()

    def stream(self, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
        """See ``Port``."""
        raise NotImplementedError  # it cannot

    def pass_through(self, service: str | None, body: bytes | None = None) -> None:
        """See ``Port``."""
        self.ended()

    async def ask(self, service: str | None, body: bytes | None = None) -> ServiceReply:
        """See ``Port``."""
        raise UpstreamError("There is no real service behind the console.")


@dataclass(slots=True, eq=False)
class _Seat:
    """One session's. ``call`` is the latest call in it: it listens, or it was shown a prompt."""

    call: Exchange | None = None
    refreshed_at: float = 0.0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Seats:
    """See the module. ``clock`` gives seconds that never go back, ``spawn`` runs a coroutine in the background,
    ``new_id`` gives an id for a call. ``changed`` is told of a session that was taken or given up."""

    def __init__(
        self,
        pairing: Pairing,
        *,
        clock: Callable[[], float],
        spawn: Spawn,
        new_id: Callable[[], str],
        changed: Callable[[str], None],
    ) -> None:
        self._pairing = pairing
        self._clock = clock
        self._spawn = spawn
        self._new_id = new_id
        self._changed = changed
        self._dialect = next(dialect for dialect in DIALECTS if dialect.name == "openai-chat")
        self._seats: dict[str, _Seat] = {}
        self._rested: set[str] = set()
        """Sessions that were given up because no page was open; the next page takes them again."""
        self._pages = 0
        self._empty_since: float | None = None
        self._closed = False

    def __contains__(self, session: str) -> bool:
        return session in self._seats

    # What a person wants

    async def take(self, session: str) -> None:
        """Sit down in a session. Raises ``MotiveError`` if somebody else sits there, or there is no room."""
        self._rested.discard(session)
        if session not in self._seats:
            await self._join(session, _Seat())

    async def hand_back(self, session: str) -> None:
        """Give the seat up: what the app asks from now on goes where it went before."""
        self._rested.discard(session)
        if self._seats.pop(session, None) is None:
            return
        await self._say(session, Spoken(wish="leave"))
        self._changed(session)

    async def answer(self, session: str, prompt: str, answer: Answer) -> None:
        """Say this to a prompt. Whether it was taken shows in the session's state. Raises ``MotiveError`` as ``take``
        does."""
        await self.take(session)
        seat = self._seats.get(session)
        if seat is None:  # given up in between
            raise ConflictError(f"The seat in session {session!r} is not taken any more.", code="not_taken")
        async with seat.turn:
            await self._speak(session, seat, Spoken(prompt, answer, wish="answer"))
        self._listen_again(session, await self._pairing.state(session))

    # How the seat is kept

    async def _join(self, session: str, seat: _Seat) -> None:
        async with seat.turn:
            call = await self._speak(session, seat, Spoken(join="word"))
            if call.ending == "failed":
                assert call.error is not None
                raise call.error
            self._seats[session] = seat
        self._changed(session)

    async def _speak(self, session: str, seat: _Seat, spoken: Spoken) -> Exchange:
        """Make a call. If it listens, or was shown a prompt, it is the seat's from now on."""
        call = await self._say(session, spoken)
        if call.ending in (None, "replied"):
            seat.call = call
            seat.refreshed_at = self._clock()
        return call

    async def _say(self, session: str, spoken: Spoken) -> Exchange:
        def ended() -> None:
            # Not at once: it is told so in the middle of a step.
            asyncio.get_running_loop().call_soon(self._ended, call)

        call = Exchange(
            exchange=self._new_id(),
            session=session,
            listener="reverse",
            head=RequestHead("POST", _HOST, 0, "/", headers={"user-agent": _AGENT}),
            client_host=_HOST,
            credential=None,
            dialect=self._dialect,
            request=ChatRequest("openai-chat", session, (Message("user", (TextPart(""),)),)),
            port=_Port(ended),
            arrived_at=self._clock(),
            source="console",
            limited_as=_HOST,
        )
        await self._pairing.accept(call, _decision(session), retry=False, spoken=spoken)
        return call

    def _ended(self, call: Exchange) -> None:
        """A call of ours has its reply: that it was a prompt is to be said, and whether the seat is still ours seen."""
        if call.ending == "replied":
            self._spawn(self._pairing.delivered(call))
            return
        seat = self._seats.get(call.session)
        if seat is None or seat.call is not call:
            return  # it left, or a newer call took its place
        seat.call = None
        if not self._closed:
            self._spawn(self._return(call.session, seat))

    async def _return(self, session: str, seat: _Seat) -> None:
        """Sit down again where the call that kept the seat has ended."""
        if self._seats.get(session) is not seat or seat.turn.locked():
            return
        try:
            await self._join(session, seat)
        except MotiveError as error:
            logger.info("console lost its seat session=%r code=%s", session, error.code)
            self._seats.pop(session, None)
            self._changed(session)

    def stepped(self, session: str, state: Session, event: Event) -> None:
        """A session made a step."""
        if isinstance(event, Close) and self._seats.pop(session, None) is not None:
            self._changed(session)
        self._listen_again(session, state)

    def _listen_again(self, session: str, state: Session) -> None:
        """When the prompt that the seat was shown is over, it listens again."""
        seat = self._seats.get(session)
        if seat is None or self._closed or state.listening is not None or seat.turn.locked():
            return
        owed = next((one for one in state.prompts if one.prompt == state.owes), None)
        if owed is None or owed.outcome is not None or owed.answer is not None:
            self._spawn(self._return(session, seat))

    async def refresh(self) -> None:
        """Show a sign of life where it is due; to be called now and then. Gives the seats up if nobody is there."""
        now = self._clock()
        if self._empty_since is not None and now - self._empty_since >= AWAY_AFTER_S:
            for session in list(self._seats):
                await self._give_up(session)
                self._rested.add(session)
            self._empty_since = None
        for session in list(self._seats):
            if len(self._seats) <= _SEATS:
                break
            prompts = (await self._pairing.state(session)).prompts
            if not any(prompt.outcome is None and prompt.answer is None for prompt in prompts):
                await self._give_up(session)
        for session, seat in list(self._seats.items()):
            if now - seat.refreshed_at >= REFRESH_S:
                await self._return(session, seat)

    async def _give_up(self, session: str) -> None:
        try:
            await self.hand_back(session)
        except MotiveError as error:
            logger.info("console could not give its seat up session=%r code=%s", session, error.code)

    # Who is there

    def page_opened(self) -> None:
        """A page of the console is open."""
        self._pages += 1
        self._empty_since = None
        for session in list(self._rested):
            self._spawn(self._retake(session))

    def page_closed(self) -> None:
        """A page is not open any more."""
        self._pages -= 1
        if not self._pages:
            self._empty_since = self._clock()

    async def _retake(self, session: str) -> None:
        try:
            await self.take(session)
        except MotiveError as error:
            logger.info("console did not get its seat back session=%r code=%s", session, error.code)
            self._changed(session)

    async def restore(self) -> None:
        """Sit down again where the last process sat."""
        now = self._clock()
        for session, state in (await self._pairing.sessions()).items():
            if state.answerer is not None and state.answerer.who == WHO and answerer_present(state, now):
                await self._retake(session)
        if self._seats:
            self._empty_since = now

    def close(self) -> None:
        """The process ends: the seats stay as they are, for the next one."""
        self._closed = True


def _decision(session: str) -> Decision:
    return Decision(
        session=session,
        rules=_RULES,
        role="answerer",
        relay_system=False,
        relay_context=False,
        pace_tokens_per_s=None,
        background="answer",
        heartbeats="off",
        fallback=None,
        stand_ins={},
        passes_at_exit=False,
        service=None,
        route="console",
        source="pair",
    )
