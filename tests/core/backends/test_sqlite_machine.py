"""The session machine among rude clients, its state in a file, and the process killed at any step.

What is in the file then is exactly what lasts of the state after the last step that had to be safe, or after one since
then. With it the world goes on: all that a client may rely on (see ``tests.core.session.world``) holds across the kill.
"""

from __future__ import annotations

import tempfile
from collections.abc import Coroutine
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis.stateful import rule

from motive_core.backends import open_sqlite
from motive_core.pairing import is_urgent
from motive_core.session import Arrive, Event, Session, lasting, shifted
from tests.core.session.test_machine_properties import SETTINGS, LookAlikes, RudeClients
from tests.core.session.world import Client, World

NAME = "s"


def run[T](work: Coroutine[Any, Any, T]) -> T:
    """A coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")


@cache
def empty_file() -> bytes:
    """A new store: to make one takes the disk longer than all that an example does with it."""
    with tempfile.TemporaryDirectory(prefix="motive-store-") as folder:
        path = Path(folder) / "store.sqlite"
        open_sqlite(path, lambda: 0.0, 1e9).close()
        return path.read_bytes()


def may_be_late(before: Session, after: Session) -> bool:
    """Whether a step changed nothing that lasts but for how long the asker is present."""
    old, new = before.asker, after.asker
    if old is not None and new is not None and set(new.said) <= set(old.said):
        after = replace(after, asker=replace(new, until=old.until, yields_at=old.yields_at, said=old.said))
    return lasting(before) == lasting(after)


class StoredWorld(World):
    """Writes each state as the ``pair`` source does. ``restarts`` is a kill, and a start from the file."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="motive-store-")
        (Path(self.folder.name) / "store.sqlite").write_bytes(empty_file())
        self.durable: list[Session] = [Session()]
        """The state that had to be safe last, and those since then."""
        self.open()

    def open(self) -> None:
        store = open_sqlite(Path(self.folder.name) / "store.sqlite", lambda: self.now, 1e9)
        self.backend, self.close = store.backend, store.close

    def apply(self, event: Event, author: Client | None = None) -> None:
        before = self.state
        super().apply(event, author)
        lazy = not isinstance(event, Arrive)
        assert run(self.backend.swap(NAME, self.state, run(self.backend.load(NAME)).version, lazy=lazy))
        if is_urgent(before, event):
            run(self.backend.flush())
        if is_urgent(before, event) or not (lazy or may_be_late(before, self.state)):
            self.durable.clear()
        self.durable.append(self.state)

    def restarts(self) -> None:
        file = self.backend._file
        file._pending.clear()
        seen = max([row[2] for row in file.rows("sessions")] + [row[1] for row in file.rows("signs")], default=0.0)
        self.close()
        self.open()
        self.state = run(self.backend.load(NAME)).state
        assert self.state in [shifted(lasting(one), self.now - seen) for one in self.durable]
        self.durable = [self.state]
        super().restarts()

    def ends(self) -> None:
        super().ends()
        run(self.backend.flush())
        assert not [
            row for table in ("sessions", "digests", "prompts", "pieces") for row in self.backend._file.rows(table)
        ]
        self.close()
        self.folder.cleanup()


class StoredRudeClients(RudeClients):
    """See ``RudeClients``."""

    def __init__(self) -> None:
        super().__init__()
        self.world = StoredWorld()

    @rule()
    def the_process_is_killed(self) -> None:
        self.world.restarts()


class StoredLookAlikes(LookAlikes):
    """See ``LookAlikes``."""

    def __init__(self) -> None:
        super().__init__()
        self.world = StoredWorld()

    @rule()
    def the_process_is_killed(self) -> None:
        self.world.restarts()


TestStoredRudeClients = StoredRudeClients.TestCase
TestStoredRudeClients.settings = settings(SETTINGS, max_examples=SETTINGS.max_examples // 3)
TestStoredLookAlikes = StoredLookAlikes.TestCase
TestStoredLookAlikes.settings = settings(SETTINGS, max_examples=SETTINGS.max_examples // 3)
