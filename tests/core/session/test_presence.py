"""Rules 7 to 9 of the design: deliveries that fail, orphans, and who counts as present."""

from __future__ import annotations

import pytest

from motive_core.session import (
    Session,
    answerer_present,
    asker_present,
    live_calls,
)
from tests.core.session.room import Room, text_of


def outcomes(room: Room) -> list[str | None]:
    return [prompt.outcome for prompt in room.state.prompts]


# Rule 7: delivery


@pytest.mark.parametrize("how", ["gone", "failed", "failed after delivery"])
def test_a_prompt_that_did_not_arrive_is_shown_again(how: str) -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    room.sends("A1 is shown: q1")
    if how == "failed after delivery":
        room.delivered("A1")
    if how == "gone":
        room.gone("A1")
    else:
        room.failed("A1")
    room.arrives("A", "hello?")
    room.expects("A2 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_a_client_that_hangs_up_after_it_was_served_has_seen_its_prompt() -> None:
    room = Room()
    room.pairs()
    room.gone("A1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_a_prompt_that_failed_after_it_was_answered_stays_answered() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.failed("A1")
    room.expects("B1 is answered: a1")
    room.arrives("B", "q2")
    room.expects("A2 is shown: q2")


def test_a_failure_of_an_older_showing_changes_nothing() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "ping")
    room.expects("A2 is shown: q1")
    room.failed("A1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


@pytest.mark.parametrize("how", ["gone", "failed", "failed after delivery"])
def test_an_answer_that_did_not_arrive_waits_for_a_retry(how: str) -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.sends("B1 is answered: a1")
    if how == "failed after delivery":
        room.delivered("B1")
    if how == "gone":
        room.gone("B1")
    else:
        room.failed("B1")
    room.arrives("B", "q1")
    room.expects("B2 is answered: a1")


def test_a_client_that_hangs_up_after_it_was_answered_needs_no_retry() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.gone("B1")
    room.arrives("B", "q1")
    room.expects("A2 is shown: q1")


def test_an_answer_that_reached_one_of_two_calls_is_delivered() -> None:
    room = Room()
    room.pairs()
    room.arrives("B", "q1")
    room.arrives("A", "a1")
    room.sends("B1 is answered: a1", "B2 is answered: a1")
    room.failed("B1")
    assert room.state.prompts[0].orphaned_at is None
    room.delivered("B2")
    assert outcomes(room) == ["answered"]
    room.failed("B2")
    assert outcomes(room) == [None]
    room.passes(60)
    room.expects("A2 notice: undelivered")


def test_one_of_two_deliveries_that_fails_later_reopens_nothing() -> None:
    room = Room()
    room.pairs()
    room.arrives("B", "q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "B2 is answered: a1")
    room.failed("B2")
    assert outcomes(room) == ["answered"]


def test_an_answer_still_being_sent_is_not_given_up() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.sends("B1 is answered: a1")
    room.passes(299)
    assert live_calls(room.state) == ("A2", "B1")
    room.delivered("B1")
    assert live_calls(room.state) == ("A2",)
    assert outcomes(room) == ["answered"]


# Rule 8: orphans


def test_an_orphan_is_not_shown() -> None:
    room = Room()
    room.arrives("B", "q1", role="asker")
    room.gone("B1")
    room.arrives("A", "ping")
    room.expects()


def test_an_orphan_keeps_its_place() -> None:
    room = Room()
    room.arrives("B", "q1", role="asker")
    room.arrives("B", "q2", role="asker")
    room.gone("B1")
    room.passes(59)
    room.arrives("B", "q1", role="asker")
    room.arrives("A", "ping")
    room.expects("A1 is shown: q1")


def test_an_orphan_is_forgotten_after_the_retry_window() -> None:
    room = Room()
    room.arrives("B", "q1", role="asker")
    room.arrives("B", "q2", role="asker")
    room.gone("B1")
    room.passes(60)
    room.arrives("B", "q1", role="asker")
    room.arrives("A", "ping")
    room.expects("A1 is shown: q2")


def test_an_answer_to_an_orphan_waits_for_the_retry() -> None:
    room = Room()
    room.pairs()
    room.gone("B1")
    room.arrives("A", "a1")
    room.expects()
    room.passes(59)
    room.arrives("B", "q1")
    room.expects("B2 is answered: a1")


def test_an_answer_to_an_orphan_never_goes_to_another_prompt() -> None:
    room = Room()
    room.pairs()
    room.gone("B1")
    room.arrives("B", "q2")
    room.arrives("A", "a1")
    room.expects("A2 is shown: q2")
    room.arrives("A", "a2")
    room.expects("B2 is answered: a2")


def test_an_answer_that_nobody_came_back_for_is_undelivered_and_its_author_is_told() -> None:
    room = Room()
    room.pairs()
    room.gone("B1")
    room.arrives("A", "a1")
    room.passes(60)
    room.expects("A2 notice: undelivered")
    assert [text_of(answer.parts) for answer in room.state.undelivered] == ["a1"]
    room.passes(99)
    assert answerer_present(room.state, room.now)
    room.arrives("A", "pity")
    room.arrives("B", "q1")
    room.expects("A3 is shown: q1")


def test_an_undelivered_answer_is_kept_where_its_author_is_not_there_to_be_told() -> None:
    room = Room()
    room.pairs()
    room.gone("B1")
    room.arrives("A", "a1")
    room.gone("A2")
    room.passes(60)
    room.expects()
    assert [text_of(answer.parts) for answer in room.state.undelivered] == ["a1"]


# Rule 9: present or gone


def test_the_answerer_is_present_while_it_listens_and_for_a_while_after_each_sign_of_life() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.passes(199)
    assert answerer_present(room.state, room.now)
    room.arrives("B", "q1")
    room.expects("A1 is shown: q1")
    room.passes(99)
    assert answerer_present(room.state, room.now)
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.gone("A2")
    room.passes(9)
    assert answerer_present(room.state, room.now)
    room.passes(1)
    assert not answerer_present(room.state, room.now)


@pytest.mark.parametrize("how", ["gone", "failed", "released", "restarted"])
def test_who_lost_its_call_is_present_for_the_rejoin_window_only(how: str) -> None:
    room = Room(on_lost="error")
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    if how == "released":
        room.expects("A1 is shown: q1")
        room.arrives("A", "a1")
        room.expects("B1 is answered: a1")
        room.released("A2")
        room.arrives("B", "q2")
    else:
        room.sends("A1 is shown: q1")
        if how == "gone":
            room.gone("A1")
        elif how == "failed":
            room.failed("A1")
        else:
            room.restarts()
            room.arrives("B", "q1")
    room.passes(9)
    room.expects()
    room.passes(1)
    room.expects("B1 error: answerer_left" if how in ("gone", "failed") else "B2 error: answerer_left")


@pytest.mark.parametrize(
    ("on_lost", "can_pass", "lines", "outcome"),
    [
        ("wait", True, [], None),
        ("pass", True, ["B1 passes", "B2 passes"], "passed"),
        ("pass", False, ["B1 error: answerer_left", "B2 error: answerer_left"], "failed"),
        ("error", True, ["B1 error: answerer_left", "B2 error: answerer_left"], "failed"),
    ],
)
def test_when_the_answerer_goes_each_open_prompt_gets_its_on_lost(
    on_lost: str, *, can_pass: bool, lines: list[str], outcome: str | None
) -> None:
    room = Room(on_lost=on_lost, can_pass=can_pass)
    room.pairs()
    room.arrives("B", "q2")
    room.passes(99)
    room.expects()
    room.passes(1)
    room.expects(*lines)
    assert outcomes(room) == [outcome, outcome]
    room.arrives("A", "a1")
    if on_lost == "wait":
        room.expects("B1 is answered: a1", "A2 is shown: q2")
    else:
        room.expects("A2 notice: late")


def test_two_calls_of_one_prompt_may_have_different_policies() -> None:
    room = Room()
    room.pairs()
    room.arrives("B", "q1", rules=Room(on_lost="pass", can_pass=True).rules)
    room.passes(100)
    room.expects("B2 passes")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_what_comes_while_nobody_is_present_is_not_lost_with_the_answerer() -> None:
    room = Room(on_lost="error")
    room.pairs()
    room.passes(100)
    room.expects("B1 error: answerer_left")
    room.arrives("B", "q2")
    room.passes(50)
    room.expects()
    room.arrives("A", "ping")
    room.expects("A2 is shown: q2")


def test_a_call_of_the_last_answerer_that_fails_at_last_does_not_send_the_new_one_away() -> None:
    room = Room(on_lost="error", on_timeout="pass", can_pass=True, hold_timeout_s=50.0)
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    room.sends("A1 is shown: q1")
    room.passes(100)
    room.expects("B1 passes")
    room.arrives("C", "ping")
    room.arrives("B", "q2")
    room.expects("C1 is shown: q2")
    room.failed("A1")
    room.passes(49)
    room.expects()
    room.arrives("C", "c2")
    room.expects("B2 is answered: c2")


def test_an_answerer_that_comes_back_needs_no_join_word() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.gone("A2")
    room.passes(90)
    room.arrives("B", "q2")
    room.expects()
    room.arrives("A", "I am back")
    room.expects("A3 is shown: q2")


def test_a_new_answerer_is_shown_the_open_prompt() -> None:
    room = Room()
    room.pairs()
    room.passes(100)
    room.arrives("C", "ping")
    room.expects("C1 is shown: q1")
    room.arrives("C", "c1")
    room.expects("B1 is answered: c1")


def test_a_new_answerer_that_joins_is_not_taken_at_its_word() -> None:
    room = Room()
    room.pairs()
    room.passes(100)
    room.arrives("C", "I can answer that", role="answerer")
    room.expects("C1 is shown: q1")


def test_the_old_answerer_is_a_stranger_once_its_seat_is_taken() -> None:
    room = Room()
    room.pairs()
    room.passes(100)
    room.arrives("C", "ping")
    room.expects("C1 is shown: q1")
    room.arrives("A", "a1")
    room.expects("A2 error: session_full")


def test_the_empty_seat_goes_only_to_a_join_word() -> None:
    room = Room()
    room.pairs()
    room.passes(100)
    room.arrives("C", "hello")
    room.expects("C1 error: session_full")


def test_with_when_joined_calls_pass_while_nobody_is_present() -> None:
    room = Room(when_joined=True, can_pass=True, on_lost="pass")
    room.arrives("B", "q1", role="asker")
    room.expects("B1 passes")
    assert room.state == Session()
    room.arrives("A", "ping")
    room.arrives("B", "q2", role="asker")
    room.expects("A1 is shown: q2")
    room.passes(100)
    room.expects("B2 passes")
    room.arrives("B", "q3", role="asker")
    room.expects("B3 passes")


def test_with_when_joined_a_call_fails_where_there_is_no_service() -> None:
    room = Room(when_joined=True)
    room.arrives("B", "q1", role="asker")
    room.expects("B1 error: answerer_left")


def test_with_when_joined_a_plain_first_client_passes_and_leaves_nothing_behind() -> None:
    room = Room(when_joined=True, can_pass=True)
    room.arrives("B", "q1")
    room.expects("B1 passes")
    assert room.state == Session()


def test_with_when_joined_a_retry_still_gets_the_answer_that_was_given() -> None:
    room = Room(when_joined=True, can_pass=True)
    room.pairs()
    room.arrives("A", "a1")
    room.sends("B1 is answered: a1")
    room.failed("B1")
    room.arrives("A", "/leave")
    room.expects("A2 error: superseded", "A3 notice: left")
    room.arrives("B", "q1", retry=True)
    room.expects("B2 is answered: a1")
    room.arrives("B", "q1", retry=True)
    room.expects("B3 is answered: a1")


def test_the_asker_is_present_with_a_live_call_and_for_a_while_after() -> None:
    room = Room()
    room.arrives("B", "q1", role="asker")
    room.passes(199)
    assert asker_present(room.state, room.now)
    room.passes(1)
    room.expects("B1 error: hold_timeout")
    assert not asker_present(room.state, room.now)
    room.arrives("A", "ping")
    room.arrives("B", "q2", role="asker")
    room.expects("A1 is shown: q2")
    room.arrives("A", "a2")
    room.passes(99)
    room.expects("B2 is answered: a2")
    room.passes(99)
    assert asker_present(room.state, room.now)
    room.passes(1)
    assert not asker_present(room.state, room.now)
