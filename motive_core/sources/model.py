"""The ``model`` source: another service answers, of any dialect.

Owns which service that is. Knows no wire.
"""

from __future__ import annotations

from typing import Literal

from motive_core.exchange import Answered
from motive_core.sources.base import Call, Source, SourceSettings, World
from motive_core.upstream import Endpoint, Http, HttpUpstream


class Model(SourceSettings, Endpoint):
    """Settings of ``model``."""

    kind: Literal["model"] = "model"

    def make(self, world: World) -> Source:
        """See ``SourceSettings``."""
        return ModelSource(self, world.http)


class ModelSource:
    """See the module."""

    def __init__(self, settings: Model, http: Http) -> None:
        self._upstream = HttpUpstream(settings, http)

    async def answer(self, call: Call) -> Answered:
        """See ``Source``."""
        return await self._upstream.ask(call.request)

    async def close(self) -> None:
        """See ``Source``."""
