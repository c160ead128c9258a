"""The ``mock`` source: a model that is none.

Owns what it says. Knows no wire.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from motive_core.exchange import Answered
from motive_core.ir import Choice, Reply, TextPart
from motive_core.settings.types import Text
from motive_core.sources.base import Call, Source, SourceSettings, World


class Mock(SourceSettings):
    """Settings of ``mock``."""

    kind: Literal["mock"] = "mock"
    text: Text | None = Field(default=None, description="What it says. Null: what it was told last.")

    def make(self, world: World) -> Source:
        """See ``SourceSettings``."""
        return MockSource(self)


class MockSource:
    """See the module."""

    def __init__(self, settings: Mock) -> None:
        self._settings = settings

    async def answer(self, call: Call) -> Answered:
        """See ``Source``."""
        said = self._settings.text
        if said is None:
            said = call.request.messages[-1].text if call.request.messages else ""
        return Reply("", "", (Choice((TextPart(said),)),))

    async def close(self) -> None:
        """See ``Source``."""
