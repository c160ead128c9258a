"""Where the state of sessions lives. To add a store: write its file under the contract of ``base``."""

from __future__ import annotations

from motive_core.backends.base import Backend, Stored
from motive_core.backends.memory import MemoryBackend

__all__ = ["Backend", "MemoryBackend", "Stored"]
