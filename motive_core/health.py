"""What is wrong with the proxy, and since when.

Owns the list of things that are looked at; each tells in a sentence what is wrong with it, or nothing. Knows none of
them: whoever owns a thing says how it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

type Check = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Reason:
    """Something that is wrong: ``what`` names the thing, ``since`` is in seconds of the gateway's clock."""

    what: str
    why: str
    since: float


class Health:
    """``clock`` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._checks: dict[str, Check] = {}
        self._since: dict[str, float] = {}

    def watch(self, what: str, check: Check) -> None:
        """Look at a thing from now on. ``check`` must not wait and must not raise."""
        self._checks[what] = check

    def look(self) -> list[Reason]:
        """What is wrong now. To be called now and then, since the first look that finds it is when it began."""
        found: list[Reason] = []
        for what, check in self._checks.items():
            why = check()
            if why is None:
                self._since.pop(what, None)
            else:
                found.append(Reason(what, why, self._since.setdefault(what, self._clock())))
        return found

    def told(self) -> list[dict[str, Any]]:
        """The reasons as JSON."""
        now = self._clock()
        return [
            {"what": reason.what, "why": reason.why, "for_s": round(now - reason.since, 3)} for reason in self.look()
        ]
