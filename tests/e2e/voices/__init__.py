"""The voices: one a dialect, each through the vendor's own SDK."""

from __future__ import annotations

from typing import Final

from tests.e2e.voices.anthropic_messages import AnthropicMessagesVoice
from tests.e2e.voices.base import Call, Can, Form, Heard, Picture, ToolSpec, Voice
from tests.e2e.voices.openai_chat import OpenAIChatVoice

VOICES: Final[tuple[type[Voice], ...]] = (OpenAIChatVoice, AnthropicMessagesVoice)

__all__ = ["VOICES", "Call", "Can", "Form", "Heard", "Picture", "ToolSpec", "Voice"]
