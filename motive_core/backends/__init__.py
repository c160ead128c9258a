"""Where the state of sessions lives. To add a store: write its file under the contract of ``base``."""

from __future__ import annotations

from motive_core.backends.base import Backend, Stored
from motive_core.backends.memory import MemoryBackend
from motive_core.backends.sqlite import SqliteBackend, SqliteStore, open_sqlite

__all__ = ["Backend", "MemoryBackend", "SqliteBackend", "SqliteStore", "Stored", "open_sqlite"]
