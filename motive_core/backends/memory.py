"""Sessions in this process's memory: gone with it."""

from __future__ import annotations

from motive_core.backends.base import Stored
from motive_core.session import Session

_NONE = Stored(Session(), 0)


class MemoryBackend:
    """A dictionary. Its methods never wait, so a load and a swap in one task cannot be interrupted."""

    def __init__(self) -> None:
        self._sessions: dict[str, Stored] = {}
        self._versions = 0

    async def load(self, session: str) -> Stored:
        """See ``Backend``."""
        return self._sessions.get(session, _NONE)

    @property
    def problem(self) -> str | None:
        """See ``Backend``."""
        return None

    async def flush(self) -> None:
        """See ``Backend``."""

    async def swap(self, session: str, state: Session, version: int, *, lazy: bool = False) -> bool:
        """See ``Backend``. Versions are never used twice, so a removed and remade session is told apart."""
        if self._sessions.get(session, _NONE).version != version:
            return False
        if state == _NONE.state:
            self._sessions.pop(session, None)
        else:
            self._versions += 1
            self._sessions[session] = Stored(state, self._versions)
        return True

    async def all(self) -> dict[str, Session]:
        """See ``Backend``."""
        return {session: stored.state for session, stored in self._sessions.items()}

    async def count(self) -> int:
        """See ``Backend``."""
        return len(self._sessions)
