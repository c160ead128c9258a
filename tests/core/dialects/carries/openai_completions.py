"""The legacy completions: a request is one prompt, a reply one text."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from motive_core.dialects.degrade import parts_as_text
from motive_core.ir import Choice, FinishReason, Reply, TextPart
from tests.core.dialects.carries import Carries


class _OpenAICompletions(Carries):
    def reply(self, reply: Reply) -> Reply:
        (choice,) = reply.choices
        text = parts_as_text(choice.parts)
        finish: FinishReason = "length" if choice.finish_reason == "length" else "stop"
        return replace(reply, choices=(Choice((TextPart(text),) if text else (), finish),))


CARRIES: Final = _OpenAICompletions(tools=False, calls=False, call_ids=False, exact_arguments=False, reasoning=False)
