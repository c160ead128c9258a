"""A reply of Cohere's does not tell its model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from motive_core.ir import Reply
from tests.core.dialects.carries import Carries


@dataclass(frozen=True)
class _Cohere(Carries):
    def reply(self, reply: Reply) -> Reply:
        return replace(reply, model="")


CARRIES: Final = _Cohere()
