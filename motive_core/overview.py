"""What the operator is shown of a session: who is in it, who waits since when, deadlines.

Owns the shape of ``/admin/sessions``. No words of either side and no credential stand in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from motive_core.config import encodable
from motive_core.exchange import Exchange
from motive_core.session import Session, answerer_present, asker_present


def describe_session(name: str, state: Session, held: Mapping[str, Exchange], now: float) -> dict[str, Any]:
    """One session as JSON. ``held`` are the exchanges that have not ended, by id; times are seconds."""

    def call(exchange_id: str, deadline: float) -> dict[str, Any]:
        exchange = held.get(exchange_id)
        told: dict[str, Any] = {"call": exchange_id, "deadline_in_s": round(deadline - now, 3)}
        if exchange is not None:
            told |= {
                "dialect": exchange.dialect.name,
                "listener": exchange.listener,
                "client": exchange.client_host,
                "credential": exchange.credential,
                "user_agent": encodable(exchange.head.headers.get("user-agent", "")),
                "stream": exchange.request.stream,
                "held_for_s": round(now - exchange.arrived_at, 3),
            }
        return told

    seats = {"asker": (state.asker, asker_present), "answerer": (state.answerer, answerer_present)}
    listening = state.listening
    return {
        "session": name,
        "undecided": state.provisional,
        "taken_over": bool(state.taken_by),
        "participants": [
            {"role": role, "who": seat.who, "present": present(state, now)}
            for role, (seat, present) in seats.items()
            if seat is not None
        ],
        "listening": call(listening.call, listening.deadline) if listening is not None else None,
        "prompts": [
            {
                "prompt": prompt.prompt,
                "state": prompt.outcome or ("answered" if prompt.answer is not None else "open"),
                "shown": prompt.shown,
                "draft": prompt.draft is not None,
                "waiting_for_s": round(now - prompt.created_at, 3),
                "calls": [call(live.call, live.deadline) for live in prompt.calls],
            }
            for prompt in state.prompts
        ],
        "turns": state.turns,
        "unsolicited": len(state.unsolicited),
        "undelivered": len(state.undelivered),
    }
