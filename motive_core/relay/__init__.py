"""What of a call is relayed to the other side, what tells it from other calls, and what an answerer may write."""

from __future__ import annotations

from motive_core.relay.commands import CommandError, CommandReader, tool_call
from motive_core.relay.words import (
    NEW_MESSAGE,
    Relayed,
    border_of,
    fingerprint,
    is_retry,
    join_of,
    prompt_parts,
    relayed,
    request_key,
    text_digest,
)

__all__ = [
    "NEW_MESSAGE",
    "CommandError",
    "CommandReader",
    "Relayed",
    "border_of",
    "fingerprint",
    "is_retry",
    "join_of",
    "prompt_parts",
    "relayed",
    "request_key",
    "text_digest",
    "tool_call",
]
