"""An exchange: one LLM call and its one reply, and the way from a decided reply to the bytes that the client gets."""

from __future__ import annotations

from motive_core.exchange.exchange import Ending, Exchange, Listener, Policy, session_header
from motive_core.exchange.handed import Handed
from motive_core.exchange.live import Answered, Events, Garbage, ReplyEvents, Severed, SeveredError, Spoken
from motive_core.exchange.port import Port, ServiceReply
from motive_core.exchange.speech import Beat, Speech, tokens
from motive_core.exchange.told import READ_BYTES, told_error

__all__ = [
    "READ_BYTES",
    "Answered",
    "Beat",
    "Ending",
    "Events",
    "Exchange",
    "Garbage",
    "Handed",
    "Listener",
    "Policy",
    "Port",
    "ReplyEvents",
    "ServiceReply",
    "Severed",
    "SeveredError",
    "Speech",
    "Spoken",
    "session_header",
    "tokens",
    "told_error",
]
