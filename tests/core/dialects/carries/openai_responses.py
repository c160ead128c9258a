"""Whether a response calls tools follows from its items, so that is how its finish reason is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from motive_core.ir import Reply, ToolCallPart
from tests.core.dialects.carries import Carries


class _Responses(Carries):
    def reply(self, reply: Reply) -> Reply:
        (choice,) = reply.choices
        if choice.finish_reason not in ("stop", "tool_calls"):
            return reply
        called = any(isinstance(part, ToolCallPart) for part in choice.parts)
        return replace(reply, choices=(replace(choice, finish_reason="tool_calls" if called else "stop"),))


CARRIES: Final = _Responses()
