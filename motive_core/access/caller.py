"""A caller at the meeting point, after it was asked who it is.

Owns what a key is good for: sessions and a role. Knows no header.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from motive_core.errors import PermissionDeniedError
from motive_core.session import Role

type Rank = Literal["operator", "client", "stranger"]
"""The operator has shown the admin token. A client has shown a key, or was not asked for one. A stranger has shown
neither, and gets what everybody may have: whether the proxy is up, and the reply to a preflight."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. ``name`` is its key's, ``sessions`` the ids that it may use (None: any), ``role`` the one that its key
    is bound to."""

    rank: Rank
    name: str | None = None
    sessions: tuple[re.Pattern[str], ...] | None = None
    role: Role | None = None

    @property
    def credential(self) -> str | None:
        """Its identity in routes, fingerprints and logs; None if it has no key."""
        return None if self.name is None else f"key:{self.name}"

    def may_use(self, session: str) -> bool:
        """Whether its key is good for this session."""
        return self.sessions is None or any(glob.fullmatch(session) for glob in self.sessions)

    def check(self, session: str) -> None:
        """Raises ``PermissionDeniedError`` if its key is not good for this session: in the same words whether there is
        such a session or not."""
        if not self.may_use(session):
            raise PermissionDeniedError("This key may not use this session.", code="session_not_allowed")


ANYBODY: Final = Caller("client")
"""Of whom no key is asked."""
