"""The calls that came lately, whatever became of them, and the sessions that they belong to.

Owns what is kept of a call, and for how long: the latest calls, the requests of fewer of them, all within bounds. It is
written on the way of every call, so it computes next to nothing there. Knows no page, and no session's state.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Literal

from motive_core.console.diff import Piece
from motive_core.console.feed import Feed
from motive_core.console.overheard import MOST_BYTES, Overheard, read
from motive_core.exchange import Exchange, Listener
from motive_core.ir import ChatRequest, Reply, TextPart
from motive_core.part_sizes import bytes_of
from motive_core.routing import NAMING_HEADERS, CallFacts
from motive_core.session import Arrive, Command, Event, Prompt, Role, SendAnswer, Session

type CallState = Literal["held", "answered", "noticed", "failed", "passed", "gone"]

_STATES: Final[dict[str, CallState]] = {
    "replied": "answered",
    "noticed": "noticed",
    "failed": "failed",
    "undelivered": "failed",
    "cut": "failed",
    "passed": "passed",
    "released": "passed",
    "gone": "gone",
}
_CALLS: Final = 10_000
_SESSIONS: Final = 1_000
_REQUESTS: Final = 1_000
_KEPT_BYTES: Final = 16 * 1024 * 1024
"""Of requests and answers as they came. What they are in memory is about three times as much."""
_TITLE_CHARACTERS: Final = 160
_APP_CHARACTERS: Final = 120
_NAME_CHARACTERS: Final = 256
"""Of a session's name, and of a model's: no more of them can be a session's."""


def id_of(prompt: Prompt) -> str:
    """What the console calls a prompt. The numbers of a session begin anew when it does: with the digest of what was
    said, and when, no answer goes to another prompt than the one that its author saw, and nothing that was kept of one
    counts for another."""
    return f"{prompt.prompt}.{prompt.key[:12]}.{round(prompt.created_at * 1000):x}"


@dataclass(slots=True, eq=False)
class CallRecord:
    """A call. ``number`` counts them; ``at`` and ``ended_at`` are in Unix seconds (of one that passed: when its reply
    had gone out). ``prompt`` is the one that it carries, if it is held or was; ``request`` and ``said`` are None where
    they are not kept (any more)."""

    call: str
    number: int
    session: str
    app: str
    client: str
    listener: Listener
    dialect: str
    model: str
    stream: bool
    title: str
    at: float
    can_pass: bool
    answered_by: str
    """What its route says that answers it: ``pair``, or a source, or ``pass``."""
    request: ChatRequest | None
    size_bytes: int
    """What its words took as they came."""
    facts: CallFacts | None
    """What routes decide by, of its headers those that name the agent; kept for as long as ``request`` is."""
    state: CallState = "held"
    source: str = "pair"
    role: Role | None = None
    prompt: str = ""
    ended_at: float | None = None
    status: int | None = None
    error: str = ""
    said: Reply | None = None
    overheard: Overheard | None = None
    """What its real service said, until somebody looks: then it is ``said``. See ``CallLog.read``."""
    problem: str = ""
    """Why its real service said nothing, or not all of it."""
    by: str = ""
    """Who answered it, where that is known by name."""
    drafted: Reply | None = None
    """What its service would have said, where that was asked."""
    draft_kind: str = ""
    """What that was for: ``draft``, ``shadow`` or ``review``."""
    draft_why: str = ""
    """Why that is not whole, or not there at all."""
    diff: list[Piece] | None = None
    """What ``drafted`` and ``said`` have in common, once it was asked for."""


@dataclass(slots=True, eq=False)
class SessionRecord:
    """A session, by the calls of its app: the latest of them, and how many there were."""

    session: str
    latest: CallRecord
    calls: int = 0


class CallLog:
    """See the module. ``clock`` is that of the exchanges' arrivals."""

    def __init__(
        self, feed: Feed, clock: Callable[[], float], *, most: int = _CALLS, requests: int = _REQUESTS
    ) -> None:
        self._feed = feed
        self._clock = clock
        self._most = most
        self._most_requests = requests
        self._number = 0
        self._calls: OrderedDict[str, CallRecord] = OrderedDict()
        self._with_request: deque[CallRecord] = deque()
        self._kept_bytes = 0
        self._by_session: dict[str, deque[CallRecord]] = {}
        self.sessions: OrderedDict[str, SessionRecord] = OrderedDict()
        """The one that was heard of last stands last."""
        self.ended_call: Callable[[CallRecord], None] = lambda record: None
        """Is told of each call that is over, and again when more is known of it."""

    def __len__(self) -> int:
        return len(self._calls)

    # What happens to calls

    def arrived(
        self, exchange: Exchange, facts: CallFacts, role: Role | None, *, can_pass: bool, answered_by: str = "pair"
    ) -> None:
        """A call has come, and somebody is to answer it: ``answered_by`` is what its route says."""
        record = self._record(
            exchange.exchange,
            exchange.session,
            facts,
            client=exchange.client_host,
            at=exchange.arrived_at,
            can_pass=can_pass,
            answered_by=answered_by,
        )
        record.role = role
        self._add(record)

    def passed(self, call: str, session: str, facts: CallFacts, *, client: str) -> None:
        """A call has come, and went on to its real service at once."""
        at = self._clock()
        record = self._record(
            call,
            session,
            facts,
            client=client,
            at=at,
            can_pass=True,
            answered_by="pass",
        )
        record.state, record.source = "passed", "none"
        self._add(record)

    def overheard(self, call: str, said: Overheard) -> None:
        """The real service's reply to a call that passed has gone out, or will not come."""
        record = self._calls.get(call)
        if record is None or record.state != "passed" or record.overheard is not None:
            return
        record.ended_at, record.status, record.problem = self._clock(), said.status, said.problem
        if record.request is not None:
            if len(said.body) > MOST_BYTES:
                said = replace(said, body=b"", problem=f"It has {len(said.body):,} bytes, too many to be kept.")
                record.problem = said.problem
            record.overheard = said
            record.size_bytes += len(said.body)
            self._kept_bytes += len(said.body)
            self._drop()
            self.ended_call(record)
        self._changed(record)

    def read(self, record: CallRecord) -> bool:
        """Read what the real service said, if nobody has yet. Gives whether that was to be done: it takes a while."""
        said = record.overheard
        if said is None or not said.body:
            return False
        record.said, record.problem = read(said, record.dialect, streamed=record.stream)
        record.overheard = replace(said, body=b"", problem=record.problem)
        more_bytes = size_of(record.said) - len(said.body)
        record.size_bytes += more_bytes
        self._kept_bytes += more_bytes
        self._drop()
        return True

    def ended(self, exchange: Exchange, outcome: str) -> None:
        """A call is over."""
        record = self._calls.get(exchange.exchange)
        if record is None or record.ended_at is not None:
            return
        record.state = _STATES.get(outcome, "failed")
        record.ended_at = self._clock()
        record.source, record.status = exchange.source, exchange.status
        record.by = exchange.answered_by
        record.error = exchange.error.code if exchange.error is not None else ""
        if record.request is not None and exchange.said is not None:
            record.said = exchange.said
            size_bytes = size_of(exchange.said)
            record.size_bytes += size_bytes
            self._kept_bytes += size_bytes
            self._drop()
        if exchange.draft is not None:
            self.drafted(record.call, exchange.draft, "review")
        self.ended_call(record)
        self._changed(record)

    def restore(self, records: Iterable[CallRecord]) -> None:
        """Take over calls that the last process knew, in the order in which they came."""
        for record in records:
            self._number += 1
            record.number = self._number
            self._add(record)

    def drafted(self, call: str, reply: Reply | None, kind: str, why: str = "") -> bool:
        """What the service of a call would have said is known; ``why`` says why not, or not all of it. The latest one
        is kept, but none that says less in the place of a whole one, nor any in the place of a ``review``: that is
        what the service did say. Gives whether this is news."""
        record = self._calls.get(call)
        if record is None or record.request is None or (record.drafted, record.draft_why) == (reply, why):
            return False
        if record.drafted is not None and (record.draft_kind == "review" or (why and not record.draft_why)):
            return False
        before_bytes, after_bytes = size_of(record.drafted), size_of(reply)
        record.drafted, record.draft_kind, record.draft_why, record.diff = reply, kind, why, None
        record.size_bytes += after_bytes - before_bytes
        self._kept_bytes += after_bytes - before_bytes
        self._drop()
        if record.ended_at is not None:
            self.ended_call(record)
        self._changed(record)
        return True

    def stepped(self, state: Session, event: Event, commands: tuple[Command, ...]) -> None:
        """A session made a step: what it says of calls."""
        if isinstance(event, Arrive) and (record := self._calls.get(event.call)) is not None:
            if (state.listening is not None and state.listening.call == event.call) or any(
                prompt.shown_by == event.call for prompt in state.prompts
            ):
                self._answers(record)
            else:
                own = (one for one in commands if one.call == event.call)
                given = {one.prompt for one in own if isinstance(one, SendAnswer)}
                for prompt in reversed(state.prompts):
                    if (prompt.calls and prompt.calls[-1].call == event.call) or prompt.prompt in given:
                        record.prompt = id_of(prompt)
                        record.role = "asker"
                        break
        for command in commands:
            if (record := self._calls.get(command.call)) is not None:
                self._feed.touch("call", record.call)

    def _answers(self, record: CallRecord) -> None:
        """A call that says something of the model's: it is none of the app's, and no row of its session."""
        record.role = "answerer"
        known = self.sessions.get(record.session)
        if known is not None and known.latest is record:
            earlier = next((one for one in self.of(record.session) if one.role != "answerer"), None)
            known.calls -= 1
            if earlier is not None:
                known.latest = earlier
        self._changed(record)

    # What is asked of it

    def get(self, call: str) -> CallRecord | None:
        """A call, if it is kept."""
        return self._calls.get(call)

    def of(self, session: str) -> Iterator[CallRecord]:
        """The calls of a session, the latest first."""
        return reversed(self._by_session.get(session, ()))

    def latest(self, before: int | None, count: int, wanted: Callable[[CallRecord], bool]) -> list[CallRecord]:
        """The latest calls of those with a number below ``before``, the latest first."""
        found = (one for one in reversed(self._calls.values()) if (before is None or one.number < before))
        return list(islice(filter(wanted, found), count))

    # How it is kept

    def _record(
        self,
        call: str,
        session: str,
        facts: CallFacts,
        *,
        client: str,
        at: float,
        can_pass: bool,
        answered_by: str,
    ) -> CallRecord:
        self._number += 1
        request, headers = facts.request, facts.headers
        app = headers.get("user-agent", "")[:_APP_CHARACTERS]
        naming = {name: headers[name] for name in NAMING_HEADERS if name in headers}
        return CallRecord(
            call,
            self._number,
            session[:_NAME_CHARACTERS],
            app,
            client,
            facts.listener,
            request.dialect,
            request.model[:_NAME_CHARACTERS],
            request.stream,
            title_of(request),
            at,
            can_pass,
            answered_by,
            request,
            len(request.raw),
            replace(facts, headers=naming),
        )

    def _add(self, record: CallRecord) -> None:
        self._calls[record.call] = record
        if len(self._calls) > self._most:
            self._forget(self._calls.popitem(last=False)[1])
        self._by_session.setdefault(record.session, deque()).append(record)
        self._with_request.append(record)
        self._kept_bytes += record.size_bytes
        self._drop()
        known = self.sessions.get(record.session)
        if known is None:
            self.sessions[record.session] = known = SessionRecord(record.session, record)
            if len(self.sessions) > _SESSIONS:
                self.sessions.popitem(last=False)
        else:
            self.sessions.move_to_end(record.session)
        if record.role != "answerer":
            known.latest = record
            known.calls += 1
        self._changed(record)

    def _forget(self, record: CallRecord) -> None:
        calls = self._by_session[record.session]
        calls.popleft()  # calls of a session are in the order of all, too
        if not calls:
            del self._by_session[record.session]

    def _drop(self) -> None:
        """Keep no more words than may be kept: the oldest go first."""
        while self._kept_bytes > _KEPT_BYTES or len(self._with_request) > self._most_requests:
            record = self._with_request.popleft()
            self._kept_bytes -= record.size_bytes
            record.request = record.said = record.drafted = record.facts = record.diff = record.overheard = None

    def _changed(self, record: CallRecord) -> None:
        self._feed.touch("call", record.call)
        self._feed.touch("session", record.session)


def size_of(reply: Reply | None) -> int:
    """What the words of a reply take, in bytes, by estimate."""
    return sum(bytes_of(choice.parts) for choice in reply.choices[:1]) if reply is not None else 0


def title_of(request: ChatRequest) -> str:
    """The beginning of what was said last, on one line."""
    for message in reversed(request.messages):
        for part in reversed(message.parts):
            if isinstance(part, TextPart) and (text := part.text[: 4 * _TITLE_CHARACTERS].strip()):
                return " ".join(text.split())[:_TITLE_CHARACTERS]
    return ""
