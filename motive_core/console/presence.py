"""Which sessions the console has taken over, and that it has them for as long as somebody is there.

Owns that the sessions are given back when no page has been open for a while, and taken again by the next page. What it
means that one is taken over is the session's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from motive_core.errors import MotiveError
from motive_core.operating import Operator, OperatorError
from motive_core.pairing import Pairing, Spawn
from motive_core.session import Session

logger = logging.getLogger(__name__)

CONSOLE: Final = "console"
"""By what the operator takes a session over here."""
AWAY_AFTER_S: Final = 120.0
"""How long no page may be open until the sessions are given back: a reload, a tunnel, a restart are shorter."""


class Presence:
    """See the module. ``clock`` gives seconds that never go back, ``spawn`` runs a coroutine in the background;
    ``changed`` is told of a session that could not be taken again."""

    def __init__(
        self,
        operator: Operator,
        pairing: Pairing,
        *,
        clock: Callable[[], float],
        spawn: Spawn,
        changed: Callable[[str], None],
    ) -> None:
        self._operator = operator
        self._pairing = pairing
        self._clock = clock
        self._spawn = spawn
        self._changed = changed
        self._sessions: set[str] = set()
        self._rested: set[str] = set()
        """Sessions that were given back because no page was open; the next page takes them again."""
        self._pages = 0
        self._empty_since: float | None = None

    async def take(self, session: str) -> None:
        """Take a session over, if the operator has not done so already. Raises ``MotiveError``."""
        self._rested.discard(session)
        if not (await self._pairing.state(session)).taken_by:
            await self._operator.take_over(session, CONSOLE)

    def has(self, session: str) -> bool:
        """Whether the console has it."""
        return session in self._sessions

    async def hand_back(self, session: str) -> None:
        """Give it back, whatever it was taken over by: what the app asks from now on goes where it went before."""
        self._rested.discard(session)
        if (await self._pairing.state(session)).taken_by:
            await self._operator.give_back(session)

    def stepped(self, session: str, state: Session) -> None:
        """A session made a step."""
        if state.taken_by == CONSOLE:
            self._sessions.add(session)
        else:
            self._sessions.discard(session)

    async def refresh(self) -> None:
        """Give everything back if nobody is there; to be called now and then."""
        if self._empty_since is None or self._clock() - self._empty_since < AWAY_AFTER_S:
            return
        self._empty_since = None
        for session in list(self._sessions):
            if self._is_somebody_there():
                return
            try:
                await self._operator.give_back(session, CONSOLE)
            except OperatorError:
                continue  # somebody else gave it back meanwhile
            if (await self._pairing.state(session)).taken_by:
                continue
            self._rested.add(session)
            if self._is_somebody_there():  # a page was opened meanwhile
                self._spawn(self._retake(session))

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

    def _is_somebody_there(self) -> bool:
        return self._pages > 0

    async def _retake(self, session: str) -> None:
        try:
            await self.take(session)
        except MotiveError as error:
            logger.info("console could not take over again session=%r code=%s", session, error.code)
            self._changed(session)

    async def restore(self) -> None:
        """Go on with what the last process had taken over: its pages have a while to come back."""
        states = await self._pairing.sessions()
        self._sessions |= {session for session, state in states.items() if state.taken_by == CONSOLE}
        if self._sessions and not self._pages:
            self._empty_since = self._clock()
