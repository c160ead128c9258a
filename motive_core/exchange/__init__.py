"""An exchange: one LLM call and its one reply, and the way from a decided reply to the bytes that the client gets."""

from __future__ import annotations

from motive_core.exchange.exchange import Ending, Exchange, Listener, session_header
from motive_core.exchange.port import Port, ServiceReply
from motive_core.exchange.speech import Beat, Speech, tokens

__all__ = [
    "Beat",
    "Ending",
    "Exchange",
    "Listener",
    "Port",
    "ServiceReply",
    "Speech",
    "session_header",
    "tokens",
]
