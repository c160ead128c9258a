"""What of a call is relayed to the other side, what tells it from other calls, and what an answerer may write."""

from __future__ import annotations

from motive_core.relay.by_hand import called, failed, said
from motive_core.relay.commands import CommandError, CommandReader, checked_tool_call
from motive_core.relay.drafts import calls_of, drafted, parts_of
from motive_core.relay.words import (
    DRAFT,
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
    "DRAFT",
    "NEW_MESSAGE",
    "CommandError",
    "CommandReader",
    "Relayed",
    "border_of",
    "called",
    "calls_of",
    "checked_tool_call",
    "drafted",
    "failed",
    "fingerprint",
    "is_retry",
    "join_of",
    "parts_of",
    "prompt_parts",
    "relayed",
    "request_key",
    "said",
    "text_digest",
    "tool_call",
]
