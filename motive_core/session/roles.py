"""Who is calling: the asker, the answerer, or a stranger.

Owns the rules that tell two clients apart, from the strongest evidence to the weakest. Pure: a call and a state in, a
verdict out. Two clients whose fingerprints differ are easy; two that look the same (two ``curl``s on one machine) are
told apart by what they say.
"""

from __future__ import annotations

from typing import Literal

from motive_core.session.state import Arrive, Role, Seat, Session

type Verdict = Literal["asker", "answerer", "stranger", "passer-by", "first", "first answers"]
"""``first``: the first client of a session; whether it asks is decided when the second one comes, or by its own join
word (``first answers``). A ``passer-by`` leaves without having sat down. Where the operator answers, nobody becomes an
answerer but by a join word of a client that is not the asker's, or by an explicit role."""


def role_of(state: Session, event: Arrive, *, asker_stays: bool, answerer_present: bool) -> Verdict:
    """Which role the author of ``event`` has in ``state``."""
    asker, answerer = state.asker, state.answerer
    if event.role is not None:
        return _explicit(state, event, event.role, answerer_present=answerer_present)
    asker_alike = asker is not None and asker.who == event.who
    answerer_alike = answerer is not None and answerer.who == event.who
    joins = event.join != "no"
    if event.wish != "say":
        if answerer_alike and (answerer_present or event.wish != "leave"):
            return "answerer"
        return "asker" if asker_alike and not state.provisional else "passer-by"
    if asker is None and answerer is None:
        return "answerer" if joins else "asker" if state.taken_by else "first"
    if asker is not None and state.provisional:
        if asker_alike and _is_first_again(state, event, asker, joins=joins):
            return "first answers" if joins else "first"
        return _second(asker, event, joins=joins)
    if asker is not None and answerer is not None and asker_alike and answerer_alike:
        return _lookalike(state, event, asker, answerer, joins=joins)
    if answerer is not None and answerer_alike:
        is_other = asker is None and not joins and not _quotes(event, answerer)
        return "asker" if is_other else "answerer"
    if asker is not None and asker_alike:
        is_asker = _quotes(event, asker) or (event.asks and event.shape == asker.shape)
        return "answerer" if joins and not answerer_present and not is_asker and not state.taken_by else "asker"
    return _newcomer(state, event, joins=joins, asker_stays=asker_stays, answerer_present=answerer_present)


def _explicit(state: Session, event: Arrive, role: Role, *, answerer_present: bool) -> Verdict:
    answerer = state.answerer
    if role == "asker":
        return "asker"
    if answerer is not None and answerer.who == event.who and (answerer_present or event.wish != "leave"):
        return "answerer"
    if event.wish != "say":
        return "passer-by"
    return "stranger" if answerer_present else "answerer"


def _second(first: Seat, event: Arrive, *, joins: bool) -> Verdict:
    """The second client has come: which one asks? The one that asks visibly, else the later one."""
    if joins or (first.asks and not event.asks):
        return "answerer"
    return "asker"


def first_stays_asker(first: Seat, event: Arrive, verdict: Verdict) -> bool:
    """Whether the first client keeps the asker's seat, now that the second one's role is known."""
    return verdict == "answerer" or (verdict == "asker" and event.role == "asker" and first.asks)


def _quotes(event: Arrive, seat: Seat) -> bool:
    """Whether the history of this call has words in it that this seat said."""
    return any(said in event.quotes for said in seat.said)


def _is_first_again(state: Session, event: Arrive, first: Seat, *, joins: bool) -> bool:
    """Only one client is known and this call looks like it: is it that client again, or its look-alike?"""
    if _quotes(event, first) or any(p.key == event.key for p in state.prompts if p.outcome is None):
        return True
    if event.shape != first.shape:
        return False
    if event.asks and not joins:
        return True  # parallel calls of one app
    return not any(p.calls for p in state.prompts)  # its only call is gone: it tries again with other words


def _lookalike(state: Session, event: Arrive, asker: Seat, answerer: Seat, *, joins: bool) -> Verdict:
    if joins:
        return "answerer"
    if asker.shape != answerer.shape:
        if event.shape == asker.shape:
            return "asker"
        if event.shape == answerer.shape:
            return "answerer"
    if any(p.key == event.key and (p.outcome is None or event.retry) for p in state.prompts):
        return "asker"
    if event.key == answerer.last_key and event.retry:
        return "answerer"
    if event.replies_to:
        quotes_answer = event.replies_to in state.answered
        quotes_prompt = event.replies_to in state.shown
        if quotes_answer != quotes_prompt:
            return "asker" if quotes_answer else "answerer"
    if event.key == answerer.last_key and event.digest not in asker.said and state.listening is None and not state.owes:
        return "answerer"  # its call is gone, and it says the same again: many clients mark no retry
    asker_said, answerer_said = _quotes(event, asker), _quotes(event, answerer)
    if asker_said != answerer_said:
        return "asker" if asker_said else "answerer"
    if event.asks and not answerer.asks:
        return "asker"
    # By turn. Who listens has nothing to say, even if a prompt that it was shown once waits for its asker's return.
    return "answerer" if state.owes and state.listening is None else "asker"


def _newcomer(state: Session, event: Arrive, *, joins: bool, asker_stays: bool, answerer_present: bool) -> Verdict:
    """A client that looks like nobody in the session."""
    if joins:
        if not answerer_present:
            return "answerer"
        return "stranger" if asker_stays else "asker"
    if state.answerer is None and not event.asks and not state.taken_by:
        return "answerer"  # one that asks visibly has to say that it means to answer: it may be another app
    return "stranger" if asker_stays else "asker"
