"""What of a session outlives the process that holds its calls.

Owns which fields die with it. Pure. A restart ends every live call, so that a store need not know them: of a prompt it
is enough that it was held. ``Restarted`` makes the same of both: if nothing is due before,
``step(lasting(s), Restarted(), now)`` gives what ``step(s, Restarted(), now)`` does, but for ids of calls that nothing
will be heard of.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from motive_core.session.state import Prompt, Session


def lasting(state: Session) -> Session:
    """The state without the calls of its prompts. (The one that listens stays, since how long its author may be away
    stands in it, and what is being shown: there is one of each at most.)"""
    return replace(state, prompts=tuple(map(lasting_prompt, state.prompts)))


def lasting_prompt(prompt: Prompt) -> Prompt:
    """The prompt without its calls. One that was held is open and has no ``orphaned_at``: it is an orphan from the
    restart on. Of the calls that an answer is known to have reached, one is enough."""
    return replace(prompt, calls=(), sending=(), **lost_of(prompt))


def lost_of(prompt: Prompt) -> dict[str, Any]:
    """What ``lasting_prompt`` changes beside taking the calls away."""
    if prompt.sending and not prompt.delivered:
        return {"outcome": None, "closed_at": 0.0}  # nobody is known to have the answer: it waits for a retry
    if len(prompt.delivered) > 1:
        return {"delivered": prompt.delivered[:1]}
    return {}


def was_held(state: Session) -> bool:
    """Whether a state that ``lasting`` gave had a live call."""
    return state.listening is not None or any(is_held(prompt) or prompt.shown == "sending" for prompt in state.prompts)


def is_held(prompt: Prompt) -> bool:
    """Whether an open prompt has a live call, be it in the state or not."""
    return prompt.outcome is None and prompt.orphaned_at is None
