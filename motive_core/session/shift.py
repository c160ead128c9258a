"""A session whose clock was set: the same state at another time.

Owns which fields are times. Pure. While nobody could reach the session (the process was down), its deadlines must not
run out; and a clock that was set back must not make them last for ever.
"""

from __future__ import annotations

from dataclasses import replace

from motive_core.session.state import LiveCall, Prompt, Seat, Session


def shifted(state: Session, seconds: float) -> Session:
    """The state with all that is due later by ``seconds``, which may be negative. When something was said stays."""

    def seat(one: Seat | None) -> Seat | None:
        return one and replace(one, until=one.until + seconds, yields_at=one.yields_at + seconds)

    def live(one: LiveCall) -> LiveCall:
        return replace(one, arrived_at=one.arrived_at + seconds, deadline=one.deadline + seconds)

    def prompt(one: Prompt) -> Prompt:
        return replace(
            one,
            calls=tuple(map(live, one.calls)),
            orphaned_at=None if one.orphaned_at is None else one.orphaned_at + seconds,
            closed_at=one.closed_at + seconds if one.outcome is not None else 0.0,
        )

    return replace(
        state,
        asker=seat(state.asker),
        answerer=seat(state.answerer),
        prompts=tuple(map(prompt, state.prompts)),
        listening=state.listening and live(state.listening),
    )
