"""One SQLite file: its lock, its schema, and rows that are written together or not at all.

Owns the file's life (who may open it, what becomes of one that is broken or too new), the transactions, and what waits
to be written. Knows no session: a row is what its table says. What is in the file is read once, when it is opened.

The file is in WAL mode and locked for as long as the process lives. A transaction survives the end of the process as
soon as it is committed, however that ends; the disk is told to keep it only now and then (``synchronous=NORMAL``), so a
power cut may lose the last moments, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from motive_core.errors import ConfigError, StoreError

logger = logging.getLogger(__name__)

type Table = Literal["sessions", "digests", "prompts", "pieces", "kept", "signs"]
type Row = tuple[str | bytes | int | float | None, ...]
"""A row without its id."""
type Change = Row | Callable[[], Row] | None
"""A row as it shall be, or what makes it once it is written: a newer one may take its place before. None removes it."""
type Changes = Mapping[tuple[Table, int], Change]
"""By table and id."""

_SCHEMA: Final = 2
"""The version of what stands in the file: of the tables, and of the JSON in them. One that cannot be read as it is by
code of the version before gets the next number; ``_open`` then brings older files up to it. Since 2, a prompt is
written without its calls, and digests have a table; what 1 wrote of them is read, and written anew."""
_APPLICATION: Final = 0x4D6F7476
"""``PRAGMA application_id``: tells a file of ours from somebody else's."""

_COLUMNS: Final[dict[Table, tuple[str, ...]]] = {
    "sessions": ("session BLOB", "at REAL", "head TEXT"),
    "digests": ("session INTEGER", "list TEXT", "number INTEGER", "digest TEXT"),
    "prompts": ("session INTEGER", "place INTEGER", "state TEXT"),
    "pieces": ("data BLOB",),
    "kept": ("reply TEXT", "credential TEXT", "at REAL", "previous TEXT", "size INTEGER", "data BLOB"),
    "signs": ("at REAL",),
}
_PUT: Final = {
    table: f"INSERT OR REPLACE INTO {table} VALUES (?{', ?' * len(columns)})" for table, columns in _COLUMNS.items()
}
_DELETE: Final = {table: f"DELETE FROM {table} WHERE id = ?" for table in _COLUMNS}

_LOCK_TIMEOUT_S: Final = 1.0
"""How long a process that is about to end may keep the file from us."""
_LAZY_S: Final = 0.05
_PAGE_BYTES: Final = 1024
"""Small, since a step changes a few short rows, and each page that it touches is written whole."""
_CHECKPOINT_PAGES: Final = 16_000
"""Pages in the log until it is written into the file, which takes the disk's time."""
_SIDE_FILES: Final = ("", "-wal", "-shm")
_BROKEN: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


class BrokenFileError(Exception):
    """What stands in the file cannot be read."""


class SqliteFile:
    """An open file. Raises ``ConfigError`` if it cannot be used, ``BrokenFileError`` if it is none of SQLite's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        """Why the file cannot be written at the moment."""
        self._pending: dict[tuple[Table, int], Change] = {}
        self._timer: asyncio.TimerHandle | None = None
        _prepare(path)
        db = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S, isolation_level=None)
        self._db: sqlite3.Connection | None = db
        try:
            _open(db, path)
            self._ids = itertools.count(1 + max(self._highest(table) for table in _COLUMNS))
        except BaseException as error:
            db.close()
            if isinstance(error, sqlite3.Error):
                raise _why_not(path, error) from error
            raise

    def _highest(self, table: Table) -> int:
        assert self._db is not None
        found = self._db.execute(f"SELECT max(id) FROM {table}").fetchone()
        return found[0] or 0

    def new_id(self) -> int:
        """An id that no row of any table has, or had since the file was opened."""
        return next(self._ids)

    def rows(self, table: Table) -> Iterator[tuple[Any, ...]]:
        """Every row, its id first, oldest first. Raises ``BrokenFileError``."""
        assert self._db is not None
        try:
            yield from self._db.execute(f"SELECT * FROM {table} ORDER BY id")
        except sqlite3.Error as error:
            raise BrokenFileError(str(error)) from error

    def write(self, changes: Changes, *, lazy: bool = False) -> None:
        """Write these rows, and what waits, together. ``lazy``: in a moment. Raises ``StoreError`` if that cannot be
        done, and forgets these changes; lazy ones wait for as long as it takes."""
        if lazy:
            self._pending.update(changes)
            self._schedule()
            return
        if changes or self._pending:
            self._commit({**self._pending, **changes} if self._pending else changes)
            self._pending.clear()

    def _schedule(self) -> None:
        if self._pending and self._timer is None and self._db is not None:
            with contextlib.suppress(RuntimeError):  # no loop yet, while the first states are read
                self._timer = asyncio.get_running_loop().call_later(_LAZY_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Write what waits. Never raises: ``problem`` tells."""
        if self._pending:
            with contextlib.suppress(StoreError):
                self._commit(self._pending)
                self._pending.clear()

    def _commit(self, changes: Changes) -> None:
        db = self._db
        if db is None:
            raise StoreError("The proxy's store is closed.")
        try:
            if len(changes) > 1:  # one statement is a transaction by itself
                db.execute("BEGIN IMMEDIATE")
            for (table, row_id), row in changes.items():
                if row is None:
                    db.execute(_DELETE[table], (row_id,))
                else:
                    db.execute(_PUT[table], (row_id, *(row() if callable(row) else row)))
            if len(changes) > 1:
                db.execute("COMMIT")
        except sqlite3.Error as error:
            if self.problem != (why := str(error)):
                logger.error("the store cannot be written path=%s error=%s", self.path, why)
                self.problem = why
            raise StoreError(f"The proxy cannot write to its store: {why}.", retry_after_s=1.0) from error
        finally:
            if db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    db.rollback()
        if self.problem is not None:
            logger.warning("the store can be written again path=%s", self.path)
            self.problem = None

    def close(self) -> None:
        """Write what waits and let go of the file. What is written later is lost, and told so to whoever waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()
        if self._db is not None:
            self._db.close()
            self._db = None


def set_aside(path: Path, why: str) -> None:
    """Put a file that cannot be read where nobody writes to it, so that a new one can be begun. Raises ``ConfigError``
    if that cannot be done."""
    stamp = f"{path.name}.broken-{time.strftime('%Y%m%dT%H%M%S')}"
    names = itertools.chain([stamp], (f"{stamp}-{number}" for number in itertools.count(2)))
    name = next(name for name in names if not path.with_name(name).exists())
    try:
        for side in _SIDE_FILES:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + side).rename(path.with_name(name + side))
    except OSError as error:
        raise ConfigError("store.path", f"{path} is broken and cannot be moved: {error.strerror}") from error
    logger.warning("the store was broken, and a new one is begun path=%s kept=%s error=%s", path, name, why)


def _prepare(path: Path) -> None:
    """Make the file and its folder, for this user's eyes only: the words of both sides will be in it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error


def _open(db: sqlite3.Connection, path: Path) -> None:
    # Before the first access, so that the log's index is in memory, and the lock is kept from the first access on.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    application, schema = _number(db, "application_id"), _number(db, "user_version")
    is_new = not application and not schema and db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    if not is_new and application != _APPLICATION:
        raise ConfigError("store.path", f"{path} is a database of another program; choose another path")
    if schema > _SCHEMA:
        why = f"{path} was written by a newer version of Motive; use that one, or choose another path"
        raise ConfigError("store.path", why)
    db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    db.execute("BEGIN IMMEDIATE")
    if is_new:
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
    if schema < _SCHEMA:
        for table, columns in _COLUMNS.items():
            db.execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, {', '.join(columns)})")
        db.execute(f"PRAGMA user_version = {_SCHEMA}")
    db.execute("COMMIT")
    for (fault,) in db.execute("PRAGMA quick_check(1)"):
        if fault != "ok":
            raise BrokenFileError(fault)


def _number(db: sqlite3.Connection, pragma: str) -> int:
    (number,) = db.execute(f"PRAGMA {pragma}").fetchone()
    assert isinstance(number, int)
    return number


def _why_not(path: Path, error: sqlite3.Error) -> Exception:
    # The extended codes have the primary one in their lowest byte.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BROKEN:
        return BrokenFileError(str(error))
    if code == sqlite3.SQLITE_BUSY:
        return ConfigError(
            "store.path",
            f"{path} is in use by another process; end that one, give this one a file of its own by store.path or "
            "MOTIVE_PROXY_STORE_PATH, or none by store.kind: memory",
        )
    return _unusable(path, str(error))


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        "store.path",
        f"{path} cannot be written: {why}; choose another by store.path or MOTIVE_PROXY_STORE_PATH, or keep nothing by "
        "store.kind: memory",
    )
