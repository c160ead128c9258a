"""Prompts with a draft: what the service would say, and somebody who may say otherwise."""

from __future__ import annotations

from typing import Any, Final

import pytest

from motive_core.session import Answer, Failure
from tests.core.session.room import RULES, Room, draft

REVIEWED: Final[dict[str, Any]] = {
    "can_pass": True,
    "when_joined": True,
    "on_timeout": "pass",
    "on_lost": "pass",
    "on_full": "pass",
    "review_timeout_s": 40.0,
}
"""As a route with ``answer: review`` has it."""


@pytest.fixture
def room() -> Room:
    return Room(**REVIEWED)


def sent(room: Room, client: str = "A") -> None:
    """The answerer lets the draft go."""
    owed = next(prompt for prompt in room.state.prompts if prompt.prompt == room.state.owes)
    room.arrives(client, "/send", answer=owed.draft, wish="answer")


def test_a_draft_is_let_go(room: Room) -> None:
    room.reviews()
    sent(room)
    room.expects("B1 is answered: d1")
    assert room.state.turns == 1 and not room.state.unsolicited
    room.arrives("B", "q2", draft=draft("d2"))
    room.expects("A2 is shown: q2")


def test_passing_is_letting_go(room: Room) -> None:
    room.reviews()
    room.arrives("A", "/pass")
    room.expects("B1 is answered: d1")
    assert room.state.turns == 1 and room.state.listening is not None


def test_other_words_take_its_place(room: Room) -> None:
    room.reviews()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_an_error_does(room: Room) -> None:
    room.reviews()
    room.arrives("A", "/fail", answer=Answer((), "f", Failure(429, "no")), wish="answer")
    room.expects("B1 fails: 429 no")


def test_time_lets_it_go_and_late_words_are_told_so(room: Room) -> None:
    room.reviews()
    room.passes(39.0)
    room.expects()
    room.passes(1.0)
    room.expects("B1 is answered: d1")
    assert room.state.answered == ("draft d1",)
    room.arrives("A", "a1")
    room.expects("A2 notice: late")
    room.arrives("A", "again")
    room.expects()
    room.arrives("B", "q2", draft=draft("d2"))
    room.expects("A3 is shown: q2")


def test_who_has_joined_again_is_late_for_nothing(room: Room) -> None:
    room.reviews()
    room.passes(40.0)
    room.sends("B1 is answered: d1")
    room.arrives("A", "ping")
    room.arrives("A", "anybody?")
    room.expects("A2 error: superseded")


def test_time_is_that_of_the_first_call_for_all(room: Room) -> None:
    room.reviews()
    room.passes(30.0)
    room.arrives("B", "q1", retry=True)
    room.expects()
    room.passes(10.0)
    room.expects("B1 is answered: d1", "B2 is answered: d1")


@pytest.mark.parametrize("retry", [False, True])
def test_a_retry_joins_the_prompt_and_needs_no_draft(room: Room, *, retry: bool) -> None:
    room.reviews()
    room.gone("B1")
    room.arrives("B", "q1", retry=retry)
    room.expects()
    sent(room)
    room.expects("B2 is answered: d1")


def test_the_draft_waits_for_a_retry(room: Room) -> None:
    room.reviews()
    room.gone("B1")
    sent(room)
    room.expects()
    room.arrives("B", "q1")
    room.expects("B2 is answered: d1")


def test_what_did_not_arrive_is_there_for_a_retry(room: Room) -> None:
    room.reviews()
    room.passes(40.0)
    room.sends("B1 is answered: d1")
    room.failed("B1")
    room.arrives("B", "q1", retry=True)
    room.expects("B2 is answered: d1")
    room.arrives("B", "q1", retry=True)
    room.expects("B3 is answered: d1")


def test_nobody_is_told_that_a_draft_of_no_word_of_theirs_was_not_delivered(room: Room) -> None:
    room.reviews()
    room.passes(40.0)
    room.sends("B1 is answered: d1")
    room.failed("B1")
    room.arrives("A", "a1")
    room.expects("A2 notice: late")
    room.arrives("A", "ping")
    room.passes(RULES.retry_window_s)
    room.expects()
    assert room.state.undelivered == ()


def test_who_leaves_lets_it_go(room: Room) -> None:
    room.reviews()
    room.arrives("A", "/leave")
    room.expects("A2 notice: left", "B1 is answered: d1")


def test_who_hangs_up_while_two_wait_lets_both_go(room: Room) -> None:
    room.arrives("A", "ping")
    room.arrives("B", "q1", draft=draft("d1"))
    room.arrives("B", "q2", draft=draft("d2"))
    room.sends("A1 is shown: q1")
    room.failed("A1")
    room.passes(RULES.rejoin_window_s)
    room.expects("B1 is answered: d1", "B2 is answered: d2")


def test_who_left_while_the_draft_was_made_does_not_hold_it(room: Room) -> None:
    room.arrives("A", "ping")
    room.gone("A1")
    room.passes(RULES.rejoin_window_s)
    room.arrives("B", "q1", draft=draft("d1"))
    room.expects("B1 is answered: d1")


def test_a_retry_of_a_draft_that_nobody_reviews_any_more_gets_it(room: Room) -> None:
    room.reviews()
    room.gone("B1")
    room.arrives("A", "/leave")
    room.expects("A2 notice: left")
    room.arrives("B", "q1")
    room.expects("B2 is answered: d1")


def test_without_a_draft_nobody_there_is_a_pass(room: Room) -> None:
    room.arrives("B", "q1")
    room.expects("B1 passes")


def test_a_review_without_anybody_waits_where_the_route_says_so() -> None:
    room = Room(**{**REVIEWED, "when_joined": False})
    room.arrives("B", "q1", draft=draft("d1"), role="asker")
    room.expects()
    room.passes(30.0)
    room.arrives("A", "ping")
    room.expects("A1 is shown: q1")
    room.passes(10.0)
    room.expects("B1 is answered: d1")


def test_a_full_queue_passes() -> None:
    room = Room(**REVIEWED, queue_limit=1)
    room.reviews()
    room.arrives("B", "q2", draft=draft("d2"))
    room.expects("B2 passes")


def test_the_end_of_the_session_lets_it_go(room: Room) -> None:
    room.reviews()
    room.closes()
    room.sends("B1 is answered: d1")


def test_a_restart_keeps_the_draft(room: Room) -> None:
    room.reviews()
    room.restarts()
    room.arrives("B", "q1")
    room.expects()
    sent(room)
    room.expects("B2 is answered: d1")


def test_a_released_call_is_done_with(room: Room) -> None:
    room.reviews()
    room.released("B1")
    room.arrives("A", "a1")
    room.expects("A2 notice: late")
