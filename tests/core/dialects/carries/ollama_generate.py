"""Ollama's completions: a request has no tools, so a call is text; a reply has no id."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from motive_core.dialects.degrade import parts_as_text
from motive_core.ir import Choice, FinishReason, Part, ReasoningPart, Reply, TextPart
from tests.core.dialects.carries import Carries


class _OllamaGenerate(Carries):
    def reply(self, reply: Reply) -> Reply:
        (choice,) = reply.choices
        parts: list[Part] = [part for part in choice.parts if isinstance(part, ReasoningPart)]
        if text := parts_as_text([part for part in choice.parts if not isinstance(part, ReasoningPart)]):
            parts.append(TextPart(text))
        finish: FinishReason = "length" if choice.finish_reason == "length" else "stop"
        return replace(reply, reply_id="", choices=(Choice(tuple(parts), finish),))


CARRIES: Final = _OllamaGenerate(tools=False, calls=False, call_ids=False, exact_arguments=False)
