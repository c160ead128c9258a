"""The ways to answer a call, one file each. To add one: write its file and add its name to ``SOURCES``."""

from __future__ import annotations

from typing import Final

from motive_core.sources.base import Source
from motive_core.sources.pair import PairSource

SOURCES: Final[tuple[str, ...]] = ("pair",)
"""The names that a route's ``answer`` may have, ``pass`` and ``reject`` aside."""

__all__ = ["SOURCES", "PairSource", "Source"]
