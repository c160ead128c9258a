"""The settings of the store: what outlives the process, and where.

Owns their shape only. Where the file is if nobody says is the shell's business: it knows the listeners.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from motive_core.settings.types import Section, Text


class Store(Section):
    """Where sessions live."""

    kind: Literal["sqlite", "memory"] = Field(
        default="sqlite",
        description="`sqlite`: sessions outlive the process, however it ends. `memory`: they end with it.",
    )
    path: Text | None = Field(
        default=None,
        description="The file. Null: `~/.local/state/motive/PORT.sqlite`, by the port of the meeting point.",
    )
