"""The wire dialects, one file each. To add one: write its file, add a line to ``DIALECTS``, add golden files."""

from __future__ import annotations

from typing import Final

from motive_core.dialects.anthropic_bedrock import AnthropicBedrock
from motive_core.dialects.anthropic_messages import AnthropicMessages
from motive_core.dialects.base import Decoder, Dialect, Encoder, KeptReply, ModelInfo, RequestHead, SideCall, WireReply
from motive_core.dialects.bedrock_converse import BedrockConverse
from motive_core.dialects.cohere_chat import CohereChat
from motive_core.dialects.gemini import Gemini
from motive_core.dialects.heard import PutTogether, is_stream_type, put_together
from motive_core.dialects.ollama_chat import OllamaChat
from motive_core.dialects.ollama_generate import OllamaGenerate
from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.dialects.openai_completions import OpenAICompletions
from motive_core.dialects.openai_responses import OpenAIResponses

DIALECTS: Final[tuple[Dialect, ...]] = (
    AnthropicMessages(),
    Gemini(),
    OpenAIResponses(),
    OllamaChat(),
    OllamaGenerate(),
    BedrockConverse(),
    AnthropicBedrock(),
    CohereChat(),
    OpenAICompletions(),
    OpenAIChat(),
)
"""In the order in which they are asked whether a request is theirs. The last one is the envelope of last resort."""


def dialect_of(head: RequestHead) -> Dialect | None:
    """The dialect of a chat call, as its client expects it; None for any other request."""
    return next((dialect.for_client(head) for dialect in DIALECTS if dialect.matches(head)), None)


def dialect_named(name: str) -> Dialect:
    """The dialect of this name. Raises ``KeyError``."""
    for dialect in DIALECTS:
        if dialect.name == name:
            return dialect
    raise KeyError(name)


__all__ = [
    "DIALECTS",
    "Decoder",
    "Dialect",
    "Encoder",
    "KeptReply",
    "ModelInfo",
    "PutTogether",
    "RequestHead",
    "SideCall",
    "WireReply",
    "dialect_named",
    "dialect_of",
    "is_stream_type",
    "put_together",
]
