"""What the Converse API carries: neither the id of a reply nor its model, which is in the path of the request alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from motive_core.ir import Reply
from tests.core.dialects.carries import Carries


@dataclass(frozen=True)
class _Converse(Carries):
    def reply(self, reply: Reply) -> Reply:
        return replace(reply, reply_id="", model="")


CARRIES: Final = _Converse()
