"""Sessions in an SQLite file: they outlive the process, however that ends.

Owns which rows of the file a session is. The states are in memory, too, and the file is read when it is opened only, so
that no step waits for it but to be written. A session is a head, a row for each prompt, and pieces: what never changes
(the words of a prompt, an answer) is written once, and what a step left as it was is not written at all. Since states
are frozen and share what they have in common, ``is`` tells what that is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from operator import attrgetter, is_, itemgetter
from pathlib import Path
from typing import Any, Final

from pydantic_core import to_json

from motive_core.backends.base import Stored
from motive_core.backends.sqlite_file import BrokenFileError, Change, Row, SqliteFile, Table, set_aside
from motive_core.backends.sqlite_kept import SqliteKept
from motive_core.errors import ConfigError, StoreError, UnprocessableError
from motive_core.ir import Json
from motive_core.session import Answer, Prompt, Session, Unsolicited, live_calls, shifted
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
_MOVING: Final = tuple(one.name for one in fields(Prompt) if one.name not in (*_FIXED, "answer"))
_LISTS: Final = ("unsolicited", "undelivered")
_HEAD: Final = tuple(one.name for one in fields(Session) if one.name not in ("prompts", *_LISTS))

_fixed_of = attrgetter(*_FIXED)
_head_of = attrgetter(*_HEAD)
_lists_of = attrgetter(*_LISTS)

_FREE: Final = 8
_SIGN_EVERY_S: Final = 10.0
_SIGN_OF_LIFE: Final = 1
"""The one row of ``signs``: when the process was last known to be there."""

_Changes = dict[tuple[Table, int], Change]


@dataclass(slots=True)
class _Rows:
    """Where a session stands in the file: its own row, that of each prompt with that of its fixed part and its place
    in the order, and those of the pieces, by ``id`` of the object, which the state keeps alive. ``place`` is the next
    prompt's, ``free`` the rows of the last prompts that went: the next ones take them, which touches fewer pages."""

    row: int
    place: int = 0
    prompts: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    pieces: dict[int, int] = field(default_factory=dict)
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
            changes["sessions", row] = partial(_head_row, session, self._clock(), after, rows)
        return rows

    def _change_prompts(self, rows: _Rows, before: Session, after: Session, changes: _Changes) -> list[Answer]:
        """Gives the answers that no prompt has any more."""
        lost: list[Answer] = []
        same = _common(before.prompts, after.prompts)
        known = {prompt.prompt: prompt for prompt in before.prompts[same:]}
        new = {prompt.prompt: prompt for prompt in after.prompts[same:]}
        changed = [prompt for name, prompt in new.items() if known.get(name) is not prompt]
        gone = [
            prompt
            for name, prompt in known.items()
            if (newer := new.get(name)) is not prompt and (newer is None or not _same(_fixed_of, prompt, newer))
        ]
        free = list(rows.free)
        for prompt in gone:
            row, fixed = rows.prompts.pop(prompt.prompt)[:2]
            changes["prompts", row] = changes["pieces", fixed] = None
            free.append((row, fixed))
        for name, prompt in known.items():
            if prompt.answer is not None and (name not in new or new[name].answer is not prompt.answer):
                lost.append(prompt.answer)
        for prompt in changed:
            if prompt.prompt not in rows.prompts:
                row, fixed = free.pop() if free else (self._file.new_id(), self._file.new_id())
                rows.prompts[prompt.prompt] = row, fixed, rows.place
                rows.place += 1
                changes["pieces", fixed] = (_json(dump(prompt, _FIXED)),)
            row, fixed, place = rows.prompts[prompt.prompt]
            moving = dump(prompt, _MOVING) | {"fixed": fixed}
            if prompt.answer is not None:
                moving["answer"] = self._piece(rows, prompt.answer, changes)
            changes["prompts", row] = (rows.row, place, to_json(moving).decode())
        rows.free = tuple(free[-_FREE:])
        return lost

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
        try:
            pieces = dict(self._file.rows("pieces"))
            for row, session_row, place, state in self._file.rows("prompts"):
                prompts.setdefault(session_row, []).append((place, row, json.loads(state)))
            for row, session, at, head in self._file.rows("sessions"):
                found[session.decode("utf-8", "surrogatepass")] = (
                    at,
                    *_session(row, json.loads(head), prompts.get(row, []), pieces),
                )
            seen = max([at for at, _, _ in found.values()] + [at for _, at in self._file.rows("signs")], default=0.0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BrokenFileError(f"{type(error).__name__}: {error}") from error
        now, changes = self._clock(), _Changes()
        for session, (at, rows, state) in found.items():
            if now - (seen if live_calls(state) else at) > keep_s:
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


def _head_row(session: str, at: float, state: Session, rows: _Rows) -> Row:
    head = dump(state, _HEAD)
    for name in _LISTS:
        head[name] = [rows.pieces[id(one)] for one in getattr(state, name)]
    return session.encode("utf-8", "surrogatepass"), at, to_json(head).decode()


def _same[T](parts_of: Callable[[T], tuple[Any, ...]], one: T, other: T) -> bool:
    """Whether two values have the very same objects in these fields."""
    return all(map(is_, parts_of(one), parts_of(other)))


def _common(one: tuple[Prompt, ...], other: tuple[Prompt, ...]) -> int:
    """How many prompts two states have in common at their beginning."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine is not theirs:
            break
        count += 1
    return count


def _forget_pieces(rows: _Rows, after: Session, changes: _Changes) -> None:
    """Remove the pieces that the state has no more. An answer may be both a prompt's and undelivered."""
    used = {id(prompt.answer) for prompt in after.prompts}
    used.update(map(id, after.unsolicited), map(id, after.undelivered))
    for gone in rows.pieces.keys() - used:
        changes["pieces", rows.pieces.pop(gone)] = None


def _remove(rows: _Rows, changes: _Changes) -> None:
    changes["sessions", rows.row] = None
    for row, fixed, _ in rows.prompts.values():
        changes["prompts", row] = changes["pieces", fixed] = None
    for piece in rows.pieces.values():
        changes["pieces", piece] = None


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
        rows.prompts[prompt.prompt] = prompt_row, fixed, place
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
