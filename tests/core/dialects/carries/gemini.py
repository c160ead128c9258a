"""Gemini: a finish reason does not tell of tool calls, and their arguments are an object on the wire."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from motive_core.ir import Choice, Reply, ToolCallPart
from tests.core.dialects.carries import Carries


@dataclass(frozen=True)
class _CarriesGemini(Carries):
    def reply(self, reply: Reply) -> Reply:
        return replace(reply, choices=tuple([_told(choice) for choice in reply.choices]))


def _told(choice: Choice) -> Choice:
    if choice.finish_reason not in ("stop", "tool_calls"):
        return choice
    called = any(isinstance(part, ToolCallPart) for part in choice.parts)
    return replace(choice, finish_reason="tool_calls" if called else "stop")


CARRIES: Final = _CarriesGemini(exact_arguments=False)
