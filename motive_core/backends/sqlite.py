"""Sessions in an SQLite file: they outlive the process, however that ends.

Owns which rows of the file a session is. The states are in memory, too, and the file is read when it is opened only, so
that no step waits for it but to be written. A session is a head, a row for each prompt, and pieces: what never changes
(the words of a prompt, an answer) is written once, and what a step left as it was is not written at all. Since states
are frozen and share what they have in common, ``is`` tells what that is. Calls die with the process, and so are not
written (see ``session.lasting``): one that comes to a prompt, or ends, costs nothing if others have it, too.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from operator import attrgetter, is_, itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from motive_core.backends.base import Stored
from motive_core.backends.sqlite_file import BrokenFileError, Change, Row, SqliteFile, Table, set_aside
from motive_core.backends.sqlite_kept import SqliteKept
from motive_core.backends.sqlite_lists import Items, Slots, follow, in_order
from motive_core.errors import ConfigError, StoreError, UnprocessableError
from motive_core.ir import Json
from motive_core.session import Answer, Prompt, Seat, Session, Unsolicited, lost_of, shifted, was_held
from motive_core.state_json import dump, json_bytes, json_value, load, load_session

logger = logging.getLogger(__name__)

_NONE: Final = Stored(Session(), 0)

_FIXED: Final = (
    "prompt",
    "who",
    "key",
    "digest",
    "words",
    "context",
    "quotes",
    "rules",
    "created_at",
    "terms",
    "draft",
)
"""What of a prompt never changes."""
_MOVING: Final = tuple(one.name for one in fields(Prompt) if one.name not in (*_FIXED, "answer", "calls", "sending"))
_LISTS: Final = ("unsolicited", "undelivered")
_HEAD: Final = tuple(one.name for one in fields(Session) if one.name not in ("prompts", *_LISTS))
_SEATS: Final = ("asker", "answerer")
_SHORT: Final = ("shown", "answered")
_DIGESTS: Final = (*_SEATS, *_SHORT)
"""Lists that a row of ``digests`` may belong to: what each seat said, what was shown, what was answered."""
_REST: Final = tuple(name for name in _HEAD if name not in _DIGESTS)
_SEAT: Final = tuple(one.name for one in fields(Seat) if one.name != "said")

_fixed_of = attrgetter(*_FIXED)
_head_of = attrgetter(*_HEAD)
_but_asker_of = attrgetter(*(name for name in _HEAD if name != "asker"))
_lists_of = attrgetter(*_LISTS)

_FREE: Final = 8
_SIGN_EVERY_S: Final = 10.0
_SIGN_OF_LIFE: Final = 1
"""The one row of ``signs``: when the process was last known to be there."""

_OF_PROMPTS: Final = ("prompts", "pieces")

_Changes = dict[tuple[Table, int], Change]


class _Place(NamedTuple):
    """Where a prompt stands in the file: its row, that of its fixed part, and its place in the order. ``state`` is what
    its row says."""

    row: int
    fixed: int
    place: int
    state: str = ""


@dataclass(slots=True)
class _Rows:
    """Where a session stands in the file: its own row, each prompt, the rows of the pieces, by ``id`` of the object,
    which the state keeps alive, and those of each list of digests. ``place`` is the next prompt's, ``free`` the rows of
    the last prompts that went: the next ones take them, which touches fewer pages."""

    row: int
    place: int = 0
    prompts: dict[str, _Place] = field(default_factory=dict)
    pieces: dict[int, int] = field(default_factory=dict)
    digests: dict[str, Slots] = field(default_factory=dict)
    free: tuple[tuple[int, int], ...] = ()


class SqliteBackend:
    """See the module. ``clock`` gives the seconds that the states are made with.

    The time in which no process was there does not count: nobody could come back then. A session of which nothing was
    heard for ``keep_s`` is forgotten, though. Raises ``BrokenFileError``.
    """

    def __init__(self, file: SqliteFile, clock: Callable[[], float], keep_s: float) -> None:
        self._file = file
        self._clock = clock
        self._sessions: dict[str, Stored] = {}
        self._rows: dict[str, _Rows] = {}
        self._versions = 0
        self._signed_at = clock()
        self._read(keep_s)

    @property
    def problem(self) -> str | None:
        """See ``Backend``."""
        return self._file.problem

    async def load(self, session: str) -> Stored:
        """See ``Backend``."""
        return self._sessions.get(session, _NONE)

    async def all(self) -> dict[str, Session]:
        """See ``Backend``."""
        return {session: stored.state for session, stored in self._sessions.items()}

    async def count(self) -> int:
        """See ``Backend``."""
        return len(self._sessions)

    async def flush(self) -> None:
        """See ``Backend``. Tells the file now and then, too, that the process is still there."""
        now = self._clock()
        if self._sessions and now - self._signed_at > _SIGN_EVERY_S:
            self._signed_at = now
            self._file.write({("signs", _SIGN_OF_LIFE): (now,)}, lazy=True)
        self._file.flush()

    async def swap(self, session: str, state: Session, version: int, *, lazy: bool = False) -> bool:
        """See ``Backend``. Raises ``UnprocessableError`` for words that cannot be written as JSON."""
        before = self._sessions.get(session, _NONE)
        if before.version != version:
            return False
        changes: _Changes = {}
        if state == _NONE.state:
            if version:
                _remove(self._rows[session], changes)
            self._file.write(changes, lazy=lazy)  # one that is gone already may not be gone from the file yet
            if version:
                del self._rows[session], self._sessions[session]
            return True
        rows = self._changes(session, before.state, state, changes)
        if not lazy and not any(table in _OF_PROMPTS for table, _ in changes) and _only_stays(before.state, state):
            lazy = True  # a call of a prompt that others have, too: a kill before it is written is one before it came
        self._file.write(changes, lazy=lazy)
        self._rows[session] = rows
        self._versions += 1
        self._sessions[session] = Stored(state, self._versions)
        return True

    # Writing

    def _changes(self, session: str, before: Session, after: Session, changes: _Changes) -> _Rows:
        """Put what differs between two states into ``changes``; gives where the session stands in the file then."""
        old = self._rows.get(session)
        row = old.row if old is not None else self._file.new_id()
        has_lists_as_before = _same(_lists_of, before, after)
        if has_lists_as_before and after.prompts is before.prompts:
            rows = old or _Rows(row)
        else:
            rows = replace(old, prompts=dict(old.prompts), pieces=dict(old.pieces)) if old else _Rows(row)
            lost = self._change_prompts(rows, before, after, changes)
            if not has_lists_as_before:
                pieces: tuple[Answer | Unsolicited, ...] = (*after.unsolicited, *after.undelivered)
                for one in pieces:
                    self._piece(rows, one, changes)
                _forget_pieces(rows, after, changes)
            for answer in lost:
                # It may be undelivered, too; no other prompt ever has it.
                if id(answer) in rows.pieces and not any(answer is one for one in after.undelivered):
                    changes["pieces", rows.pieces.pop(id(answer))] = None
        if old is None or not has_lists_as_before or not _same(_head_of, before, after):
            rows = self._change_digests(rows, before, after, changes)
            changes["sessions", row] = partial(_head_row, session, self._clock(), after, rows)
        return rows

    def _change_prompts(self, rows: _Rows, before: Session, after: Session, changes: _Changes) -> list[Answer]:
        """Gives the answers that no prompt has any more."""
        lost: list[Answer] = []
        same = _common(before.prompts, after.prompts)
        known = {prompt.prompt: prompt for prompt in before.prompts[same:]}
        new = {prompt.prompt: prompt for prompt in after.prompts[same:]}
        gone = [
            prompt
            for name, prompt in known.items()
            if (newer := new.get(name)) is not prompt and (newer is None or not _same(_fixed_of, prompt, newer))
        ]
        free = list(rows.free)
        for prompt in gone:
            left = rows.prompts.pop(prompt.prompt)
            changes["prompts", left.row] = changes["pieces", left.fixed] = None
            free.append((left.row, left.fixed))
        for name, prompt in known.items():
            if prompt.answer is not None and (name not in new or new[name].answer is not prompt.answer):
                lost.append(prompt.answer)
        for name, prompt in new.items():
            if known.get(name) is prompt:
                continue
            place = rows.prompts.get(name)
            if place is None:
                row, fixed = free.pop() if free else (self._file.new_id(), self._file.new_id())
                place = _Place(row, fixed, rows.place)
                rows.place += 1
                changes["pieces", fixed] = (_json(dump(prompt, _FIXED)),)
            answer = None if prompt.answer is None else self._piece(rows, prompt.answer, changes)
            state = _moving(prompt, place.fixed, answer)
            if state != place.state:
                rows.prompts[name] = place._replace(state=state)
                changes["prompts", place.row] = (rows.row, place.place, state)
        rows.free = tuple(free[-_FREE:])
        return lost

    def _change_digests(self, rows: _Rows, before: Session, after: Session, changes: _Changes) -> _Rows:
        digests = dict(rows.digests)
        for name, old, new in zip(_DIGESTS, _digests_of(before), _digests_of(after), strict=True):
            slots = digests.get(name, ())
            if old is new and len(slots) == len(new):
                continue
            # A file of before there were such rows has none of them.
            digests[name], changed = follow(slots, old if slots else (), new, self._file.new_id)
            for row, item in changed.items():
                changes["digests", row] = item and (rows.row, name, *item)
        return replace(rows, digests=digests)

    def _piece(self, rows: _Rows, value: Answer | Unsolicited, changes: _Changes) -> int:
        piece = rows.pieces.get(id(value))
        if piece is None:
            piece = rows.pieces[id(value)] = self._file.new_id()
            changes["pieces", piece] = (_json(dump(value)),)
        return piece

    # Reading

    def _read(self, keep_s: float) -> None:
        found: dict[str, tuple[float, _Rows, Session]] = {}
        prompts: dict[int, list[tuple[int, int, Any]]] = {}
        digests: dict[int, dict[str, list[tuple[int, int, str]]]] = {}
        try:
            pieces = dict(self._file.rows("pieces"))
            for row, session_row, place, moving in self._file.rows("prompts"):
                prompts.setdefault(session_row, []).append((place, row, json.loads(moving)))
            for row, session_row, name, number, digest in self._file.rows("digests"):
                digests.setdefault(session_row, {}).setdefault(name, []).append((row, number, digest))
            for row, session, at, head in self._file.rows("sessions"):
                rows, state = _session(row, json.loads(head), prompts.get(row, []), pieces)
                lists = {name: in_order(found_rows) for name, found_rows in digests.get(row, {}).items()}
                rows.digests = {name: slots for name, (slots, _) in lists.items()}
                state = _with_digests(state, {name: items for name, (_, items) in lists.items()})
                found[session.decode("utf-8", "surrogatepass")] = at, rows, state
            seen = max([at for at, _, _ in found.values()] + [at for _, at in self._file.rows("signs")], default=0.0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BrokenFileError(f"{type(error).__name__}: {error}") from error
        now, changes = self._clock(), _Changes()
        for session, (at, rows, state) in found.items():
            if now - (seen if was_held(state) else at) > keep_s:
                _remove(rows, changes)
                continue
            self._rows[session] = rows
            later = shifted(state, now - seen)
            self._rows[session] = self._changes(session, state, later, changes)
            self._versions += 1
            self._sessions[session] = Stored(later, self._versions)
        if self._sessions:
            changes["signs", _SIGN_OF_LIFE] = (now,)  # else the same time would be made up for once more
        self._file.write(changes)
        if found:
            logger.info("sessions were read path=%s sessions=%d", self._file.path, len(self._sessions))


def _digests_of(state: Session) -> tuple[Items, ...]:
    asker, answerer = state.asker, state.answerer
    said = asker.said if asker is not None else (), answerer.said if answerer is not None else ()
    return *said, state.shown, state.answered


def _with_digests(state: Session, digests: dict[str, Items]) -> Session:
    """The state with these lists, where it has none."""
    lists: dict[str, Any] = {name: digests[name] for name in _SHORT if name in digests}
    for name in _SEATS:
        seat: Seat | None = getattr(state, name)
        if seat is not None and name in digests:
            lists[name] = replace(seat, said=digests[name])
    return replace(state, **lists)


def _head_row(session: str, at: float, state: Session, rows: _Rows) -> Row:
    head = dump(state, _REST)
    for name in _SEATS:
        seat: Seat | None = getattr(state, name)
        if seat is not None:
            head[name] = dump(seat, _SEAT)
    for name in _LISTS:
        head[name] = [rows.pieces[id(one)] for one in getattr(state, name)]
    return session.encode("utf-8", "surrogatepass"), at, to_json(head).decode()


def _same[T](parts_of: Callable[[T], tuple[Any, ...]], one: T, other: T) -> bool:
    """Whether two values have the very same objects in these fields."""
    return all(map(is_, parts_of(one), parts_of(other)))


def _moving(prompt: Prompt, fixed: int, answer: int | None) -> str:
    """What changes of a prompt, as far as it outlives the process, and the pieces that it has."""
    state = dump(prompt, _MOVING) | {"fixed": fixed}
    for name, value in lost_of(prompt).items():
        state[name] = value
    if answer is not None:
        state["answer"] = answer
    return to_json(state).decode()


def _common(one: tuple[Prompt, ...], other: tuple[Prompt, ...]) -> int:
    """How many prompts two states have in common at their beginning."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine is not theirs:
            break
        count += 1
    return count


def _only_stays(before: Session, after: Session) -> bool:
    """Whether two heads differ in nothing but how long the asker counts as present."""
    old, new = before.asker, after.asker
    if old is None or new is None or not _same(_but_asker_of, before, after) or not set(new.said) <= set(old.said):
        return False
    return replace(new, until=old.until, yields_at=old.yields_at, said=old.said) == old


def _forget_pieces(rows: _Rows, after: Session, changes: _Changes) -> None:
    """Remove the pieces that the state has no more. An answer may be both a prompt's and undelivered."""
    used = {id(prompt.answer) for prompt in after.prompts}
    used.update(map(id, after.unsolicited), map(id, after.undelivered))
    for gone in rows.pieces.keys() - used:
        changes["pieces", rows.pieces.pop(gone)] = None


def _remove(rows: _Rows, changes: _Changes) -> None:
    changes["sessions", rows.row] = None
    for place in rows.prompts.values():
        changes["prompts", place.row] = changes["pieces", place.fixed] = None
    for piece in rows.pieces.values():
        changes["pieces", piece] = None
    for slots in rows.digests.values():
        for row, _ in slots:
            changes["digests", row] = None


def _session(
    row: int, head: Any, prompts: list[tuple[int, int, Any]], pieces: dict[int, bytes]
) -> tuple[_Rows, Session]:
    """A session of its rows. Raises what JSON that is no state raises."""
    rows = _Rows(row)
    known: dict[int, Answer | Unsolicited] = {}

    def piece[T: (Answer, Unsolicited)](kind: type[T], number: int) -> T:
        # Once for each number, since it is by the object that a piece is known.
        value = known.setdefault(number, load(kind, json_value(pieces[number]), f"piece {number}"))
        assert isinstance(value, kind)
        rows.pieces[id(value)] = number
        return value

    lists = {name: head.pop(name) for name in _LISTS}
    whole = []
    for place, prompt_row, moving in sorted(prompts, key=itemgetter(0)):
        fixed, answer = moving.pop("fixed"), moving.pop("answer", None)
        prompt = load(Prompt, {**json_value(pieces[fixed]), **moving}, f"prompt {prompt_row}")
        rows.prompts[prompt.prompt] = _Place(prompt_row, fixed, place)
        rows.place = place + 1
        whole.append(prompt if answer is None else replace(prompt, answer=piece(Answer, answer)))
    state = replace(
        load_session(head),
        prompts=tuple(whole),
        unsolicited=tuple([piece(Unsolicited, number) for number in lists["unsolicited"]]),
        undelivered=tuple([piece(Answer, number) for number in lists["undelivered"]]),
    )
    return rows, state


def _json(data: Json) -> bytes:
    """JSON of what others said. Raises ``UnprocessableError``."""
    try:
        return json_bytes(data)
    except ValueError as error:
        raise UnprocessableError("This message cannot be stored: it is nested too deeply.") from error


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """What an open file holds, and its end."""

    backend: SqliteBackend
    kept: SqliteKept
    close: Callable[[], None]


def open_sqlite(path: Path, clock: Callable[[], float], keep_s: float) -> SqliteStore:
    """Open the file, or begin it. One that cannot be read is set aside first. Raises ``ConfigError``."""
    try:
        return _opened(path, clock, keep_s)
    except BrokenFileError as error:
        set_aside(path, str(error))
        return _opened(path, clock, keep_s)


def _opened(path: Path, clock: Callable[[], float], keep_s: float) -> SqliteStore:
    file = SqliteFile(path)
    try:
        return SqliteStore(SqliteBackend(file, clock, keep_s), SqliteKept(file), file.close)
    except StoreError as error:
        file.close()
        raise ConfigError("store.path", f"{path}: {error.message}") from error
    except BaseException:
        file.close()
        raise
