"""What of a call is relayed to the other side, what tells it from other calls, and what an answerer may write."""

from __future__ import annotations

from motive_core.relay.by_hand import called, failed, said
from motive_core.relay.commands import CommandError, CommandReader
from motive_core.relay.words import (
    NEW_MESSAGE,
    Relayed,
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
    "called",
    "failed",
    "fingerprint",
    "is_retry",
    "join_of",
    "prompt_parts",
    "relayed",
    "request_key",
    "said",
    "text_digest",
]
