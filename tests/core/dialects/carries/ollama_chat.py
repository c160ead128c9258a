"""Ollama's chat: a reply has no id, whether it calls tools follows from its calls, and arguments are an object."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from motive_core.ir import Reply, ToolCallPart
from tests.core.dialects.carries import Carries


class _OllamaChat(Carries):
    def reply(self, reply: Reply) -> Reply:
        (choice,) = reply.choices
        if choice.finish_reason in ("stop", "tool_calls"):
            called = any(isinstance(part, ToolCallPart) for part in choice.parts)
            choice = replace(choice, finish_reason="tool_calls" if called else "stop")
        return replace(reply, reply_id="", choices=(choice,))


CARRIES: Final = _OllamaChat(exact_arguments=False)
