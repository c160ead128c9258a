"""The wire dialects, one file each. To add one: write its file, add a line to ``DIALECTS``, add golden files."""

from __future__ import annotations

from typing import Final

from motive_core.dialects.anthropic_messages import AnthropicMessages
from motive_core.dialects.base import Decoder, Dialect, Encoder, KeptReply, ModelInfo, RequestHead, SideCall, WireReply
from motive_core.dialects.openai_chat import OpenAIChat

DIALECTS: Final[tuple[Dialect, ...]] = (AnthropicMessages(), OpenAIChat())
"""In the order in which they are asked whether a request is theirs. The last one is the envelope of last resort."""

__all__ = [
    "DIALECTS",
    "Decoder",
    "Dialect",
    "Encoder",
    "KeptReply",
    "ModelInfo",
    "RequestHead",
    "SideCall",
    "WireReply",
]
