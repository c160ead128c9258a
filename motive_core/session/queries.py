"""Questions that can be asked of a session's state. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from motive_core.ir import Reply
from motive_core.session.state import LiveCall, Prompt, Seat, Session


def live_calls(state: Session) -> tuple[str, ...]:
    """The ids of all calls that the session has not ended, or not seen delivered."""
    calls = [state.listening.call] if state.listening is not None else []
    for prompt in state.prompts:
        if prompt.calls:
            calls += [live.call for live in prompt.calls]
        if prompt.sending:
            calls += prompt.sending
        if prompt.shown == "sending":
            calls.append(prompt.shown_by)
    return tuple(calls)


def draft_of(state: Session, call: str) -> Reply | None:
    """What a held call of the asker is answered if the answerer says nothing else."""
    for prompt in state.prompts:
        if prompt.draft is not None and any(live.call == call for live in prompt.calls):
            return prompt.draft.reply
    return None


def answerer_present(state: Session, now: float) -> bool:
    """Whether somebody is there to answer: in the answerer's seat, or as the operator."""
    return bool(state.taken_by) or answerer_sits(state.answerer, state.listening, now)


def asker_present(state: Session, now: float) -> bool:
    """Whether the app is there: with an open call, or lately."""
    return asker_sits(state.asker, state.prompts, now)


def answerer_sits(answerer: Seat | None, listening: LiveCall | None, now: float) -> bool:
    """Whether the answerer's seat is taken."""
    return listening is not None or (answerer is not None and not answerer.away and now < answerer.until)


def asker_sits(asker: Seat | None, prompts: Iterable[Prompt], now: float) -> bool:
    """``asker_present``, for a step that is under way."""
    return asker is not None and (now < asker.until or any(p.calls for p in prompts if p.outcome is None))


def next_due(state: Session) -> float | None:
    """When ``Tick`` is due next, in the clock of ``now``; None if never: nothing changes before by time alone."""
    due: list[float] = []
    if state.listening is not None:
        due.append(state.listening.deadline)
    elif state.answerer is not None and not state.answerer.away:
        due.append(state.answerer.until)
    for prompt in state.prompts:
        if prompt.outcome is not None:
            due.append(prompt.closed_at + prompt.rules.retry_window_s)
        elif prompt.calls:
            due += [live.deadline for live in prompt.calls]
        elif prompt.orphaned_at is not None:
            due.append(prompt.orphaned_at + prompt.rules.retry_window_s)
    if not due and not state.prompts and state.asker is not None and not state.taken_by:
        due.append(state.asker.until)  # the session's end: as long as anything else is left, it would change nothing
    return min(due, default=None)


def waits(prompt: Prompt) -> bool:
    """Whether an answer to this prompt is still wanted."""
    return prompt.outcome is None and prompt.answer is None
