"""What a source is: one way to answer a call by itself.

Owns the contract that every file of this folder keeps. A source gets a request and gives a reply, whole or as it is
said; how that becomes bytes, who waits for it, and what happens if it takes too long is not its business.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping
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
    real service that the app meant, with the app's own credentials; None if there is none. ``client`` tells who calls:
    it is the same for each call of one credential, or of one address if there is none, and holds no secret. ``retry``
    tells that the call is marked as another try of one before. What a source puts into ``headers`` (lower-case names)
    before it gives its answer stands in the head of the reply. ``answer_by`` is when the call is taken away from a
    source that has not said a word, by the clock of its ``World``; None: never. ``pieces`` splits the texts of a whole
    reply into the deltas in which they are streamed, by default one each. ``hush``, to be called at any time, makes the
    call silent from then on, and free of its route's deadline: nothing shows that it lives.
    """

    request: ChatRequest
    head: RequestHead
    exchange: str
    session: str
    arrived_at: float
    own: Upstream | None = None
    client: str = ""
    retry: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    answer_by: float | None = None
    pieces: Callable[[str], Iterable[str]] | None = None
    hush: Callable[[], None] = lambda: None


class Source(Protocol):
    """Answers calls, any number of them at once."""

    async def answer(self, call: Call) -> Answered:
        """A reply, or the events of one that is being said. Model and id of it may be empty: then they are the call's.
        What gives a reply in time is done when it is cancelled, or its events are closed.

        Raises ``MotiveError``, as the events do, which the app sees in its own dialect, and ``SeveredError``, by which
        its connection ends.
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
    belongs_to: ClassVar[Mapping[str, str]] = {}
    """By such a field, another one: where the file sets that one, the first one's variable does not count. So no key of
    the environment goes to a service that the file names."""

    @abc.abstractmethod
    def make(self, world: World) -> Source:
        """The source."""
