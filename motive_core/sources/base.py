"""What a source is: one way to answer a call by itself.

Owns the contract that every file of this folder keeps. A source gets a request and gives a reply, whole or as it is
said; how that becomes bytes, who waits for it, and what happens if it takes too long is not its business.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol

from motive_core.dialects.base import RequestHead
from motive_core.exchange import Answered
from motive_core.ir import ChatRequest
from motive_core.settings.types import Section
from motive_core.upstream import Http, Upstream

NO_HEADERS: Final = frozenset({"content-length", "content-type", "transfer-encoding", "connection"})


@dataclass(slots=True)
class Call:
    """What a source is asked.

    ``exchange`` is the id of the call, ``session`` that of its session, ``arrived_at`` in Unix seconds. ``own`` is the
    real service that the app meant, with the app's own credentials; None if there is none. What a source puts into
    ``headers`` (lower-case names) before it gives its answer stands in the head of the reply.
    """

    request: ChatRequest
    head: RequestHead
    exchange: str
    session: str
    arrived_at: float
    own: Upstream | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Answers calls, any number of them at once."""

    async def answer(self, call: Call) -> Answered:
        """A reply, or the events of one that is being said. Model and id of it may be empty: then they are the call's.
        What gives a reply in time is done when it is cancelled, or its events are closed.

        Raises ``MotiveError``, as the events do, which the app sees in its own dialect.
        """
        ...

    async def close(self) -> None:
        """Let go of what it holds. No call is being answered any more."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """What a source may use beside its settings. ``clock`` gives Unix seconds that never go back."""

    http: Http
    clock: Callable[[], float]


class SourceSettings(Section, abc.ABC):
    """The settings of a source."""

    kind: str
    """Its name, a literal in each of them."""
    environment: ClassVar[Mapping[str, str]] = {}
    """By field, the environment variable that is read where the file does not set it."""

    @abc.abstractmethod
    def make(self, world: World) -> Source:
        """The source."""
