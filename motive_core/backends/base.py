"""What a store of sessions is: load a state with its version, and swap it if the version is still the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from motive_core.session import Session


@dataclass(frozen=True, slots=True)
class Stored:
    """A session as it was read. ``version`` is 0 if there was none."""

    state: Session
    version: int


class Backend(Protocol):
    """A store of sessions by id. Every method may wait; none holds a lock between calls.

    What this process stored, it loads again. What the next process loads is ``session.lasting`` of it (later by the
    time in which no process was there), and ``Restarted`` is to be the first event.
    """

    async def load(self, session: str) -> Stored:
        """The session, or a fresh one with version 0."""
        ...

    async def swap(self, session: str, state: Session, version: int, *, lazy: bool = False) -> bool:
        """Store ``state`` if the stored version is still ``version``. A fresh ``Session()`` removes the entry.

        Gives False, and changes nothing, if somebody else was faster. It is safe when this returns, but for how long
        the asker counts as present, if nothing else that lasts has changed: that, and a ``lazy`` one, is a moment
        later, with whatever is stored next, or with the next ``flush``. Raises ``StoreError``, and changes nothing, if
        it cannot be stored; a lazy one never does.
        """
        ...

    async def flush(self) -> None:
        """Store what lazy swaps left. Never raises: ``problem`` tells, and it is tried again."""
        ...

    @property
    def problem(self) -> str | None:
        """Why nothing can be stored at the moment; None while all is well."""
        ...

    async def all(self) -> dict[str, Session]:
        """Every session that is not fresh."""
        ...

    async def count(self) -> int:
        """How many sessions are not fresh."""
        ...
