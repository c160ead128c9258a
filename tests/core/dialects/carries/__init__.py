"""What each dialect carries of a reply and a request, for the contract suite: a file a dialect, if it is not
everything.

Each file defines ``CARRIES``, a ``Carries`` or a subclass of it. The name of the file is the dialect's, with
underscores.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from motive_core.ir import Reply


@dataclass(frozen=True)
class Carries:
    """``tools``: its requests have tools, tool calls and results as such. ``calls``: its replies have tool calls as
    such; ``call_ids``: with their ids; ``exact_arguments``: with their arguments byte for byte. ``reasoning``: its
    replies have reasoning apart from text."""

    tools: bool = True
    calls: bool = True
    call_ids: bool = True
    exact_arguments: bool = True
    reasoning: bool = True

    def reply(self, reply: Reply) -> Reply:
        """What is left of a plain reply (reasoning, text and tool calls, in this order) after its way over the wire."""
        return reply


EVERYTHING: Final = Carries()


def carries(dialect: str) -> Carries:
    """What a dialect carries."""
    module = f"{__name__}.{dialect.replace('-', '_')}"
    if find_spec(module) is None:
        return EVERYTHING
    found: Carries = import_module(module).CARRIES
    return found
