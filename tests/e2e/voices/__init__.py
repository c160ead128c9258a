"""The voices: one a dialect, each through the vendor's own SDK."""

from __future__ import annotations

from typing import Final

from tests.e2e.voices.anthropic_messages import AnthropicMessagesVoice
from tests.e2e.voices.base import Call, Can, Form, Heard, Picture, ToolSpec, Voice
from tests.e2e.voices.bedrock import BedrockConverseVoice, BedrockInvokeVoice
from tests.e2e.voices.cohere import CohereVoice
from tests.e2e.voices.gemini import GeminiVoice
from tests.e2e.voices.hosts import AzureOpenAIVoice, GroqVoice, MistralVoice
from tests.e2e.voices.ollama import OllamaChatVoice, OllamaGenerateVoice
from tests.e2e.voices.openai_chat import OpenAIChatVoice
from tests.e2e.voices.openai_completions import OpenAICompletionsVoice
from tests.e2e.voices.openai_responses import OpenAIResponsesVoice

VOICES: Final[tuple[type[Voice], ...]] = (
    OpenAIChatVoice,
    OpenAIResponsesVoice,
    OpenAICompletionsVoice,
    AnthropicMessagesVoice,
    GeminiVoice,
    OllamaChatVoice,
    OllamaGenerateVoice,
    BedrockConverseVoice,
    BedrockInvokeVoice,
    CohereVoice,
)
HOST_VOICES: Final[tuple[type[Voice], ...]] = (AzureOpenAIVoice, MistralVoice, GroqVoice)
"""Hosts that speak a dialect of those above, by SDKs of their own."""

__all__ = ["HOST_VOICES", "VOICES", "Call", "Can", "Form", "Heard", "Picture", "ToolSpec", "Voice"]
