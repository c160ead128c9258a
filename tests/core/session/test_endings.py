"""Rules 10 to 12 of the design: deadlines, strangers, and the session's end."""

from __future__ import annotations

import pytest

from motive_core.session import (
    Close,
    Delivered,
    Event,
    Failed,
    Gone,
    Released,
    Restarted,
    Session,
    Tick,
    live_calls,
    next_due,
    step,
)
from tests.core.session.room import RULES, Room, arrival


def outcomes(room: Room) -> list[str | None]:
    return [prompt.outcome for prompt in room.state.prompts]


# Rule 10: deadlines


def test_every_call_ends_by_its_own_deadline() -> None:
    room = Room(turn_timeout_s=1000.0)
    room.pairs()
    room.passes(100)
    room.arrives("B", "q1")
    room.arrives("B", "q2")
    room.passes(199)
    room.expects()
    room.passes(1)
    room.expects("B1 error: hold_timeout")
    room.arrives("A", "a1")
    room.expects("B2 is answered: a1", "A2 is shown: q2")
    room.passes(100)
    room.expects("B3 error: hold_timeout")


@pytest.mark.parametrize(
    ("on_timeout", "can_pass", "line"),
    [
        ("pass", True, "B1 passes"),
        ("pass", False, "B1 error: hold_timeout"),
        ("error", True, "B1 error: hold_timeout"),
    ],
)
def test_a_call_ends_by_on_timeout(on_timeout: str, *, can_pass: bool, line: str) -> None:
    room = Room(on_timeout=on_timeout, can_pass=can_pass, turn_timeout_s=1000.0)
    room.pairs()
    room.passes(300)
    room.expects(line)
    room.arrives("A", "a1")
    if line == "B1 passes":
        room.expects("A2 notice: late")
    else:
        room.arrives("B", "q1")
        room.expects("B2 is answered: a1")


def test_one_call_that_timed_out_does_not_close_a_prompt_with_another() -> None:
    room = Room(on_timeout="pass", can_pass=True, turn_timeout_s=1000.0)
    room.pairs()
    room.passes(100)
    room.arrives("B", "q1")
    room.passes(200)
    room.expects("B1 passes")
    room.arrives("A", "a1")
    room.expects("B2 is answered: a1")


@pytest.mark.parametrize(("on_idle", "line"), [("error", "A1 error: idle"), ("notice", "A1 notice: idle")])
def test_a_listening_call_ends_by_on_idle(on_idle: str, line: str) -> None:
    room = Room(on_idle=on_idle)
    room.arrives("A", "ping")
    room.passes(199)
    room.expects()
    room.passes(1)
    room.expects(line)
    room.passes(9)
    room.arrives("B", "q1")
    room.arrives("A", "ping")
    room.expects("A2 is shown: q1")


def test_who_waits_for_the_other_side_has_the_handshake_time() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.passes(200)
    room.expects("A1 error: idle")
    room.passes(10)
    room.arrives("B", "q1", role="asker")
    room.passes(199)
    room.expects()
    room.passes(1)
    room.expects("B1 error: hold_timeout")


def test_a_call_that_waited_for_the_handshake_has_its_hold_time_once_somebody_comes() -> None:
    room = Room(turn_timeout_s=1000.0)
    room.arrives("B", "q1", role="asker")
    room.arrives("B", "q2", role="asker")
    room.passes(150)
    room.arrives("A", "ping")
    room.expects("A1 is shown: q1")
    room.passes(149)
    room.expects()
    room.passes(1)
    room.expects("B1 error: hold_timeout", "B2 error: hold_timeout")


def test_a_longer_handshake_time_is_not_cut_when_somebody_comes() -> None:
    room = Room(turn_timeout_s=1000.0, hold_timeout_s=50.0)
    room.arrives("B", "q1", role="asker")
    room.arrives("B", "q1", role="asker", rules=Room(handshake_timeout_s=61.0, hold_timeout_s=80.0).rules)
    room.passes(60)
    room.arrives("A", "ping")
    room.expects("A1 is shown: q1")
    room.passes(20)
    room.expects("B2 error: hold_timeout")
    room.passes(119)
    room.expects()
    room.passes(1)
    room.expects("B1 error: hold_timeout")


def test_who_has_the_other_side_has_the_hold_time() -> None:
    room = Room(turn_timeout_s=1000.0)
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.passes(299)
    room.expects()
    room.passes(1)
    room.expects("A2 error: idle")


def test_late_ticks_end_where_ticks_in_time_would() -> None:
    room = Room(on_lost="error")
    room.pairs()
    room.gone("A1")
    room.arrives("B", "q2")
    room.passes(10_000)  # the room compares one late tick with all those that were due
    room.expects("B1 error: answerer_left", "B2 error: answerer_left")
    assert room.state == Session()


def test_what_is_due_happens_before_what_comes_then() -> None:
    room = Room(when_joined=True, can_pass=True)
    room.arrives("A", "ping")
    room.now += 10_000  # nobody ticked
    room.arrives("B", "q1", role="asker")
    room.expects("A1 error: idle", "B1 passes")
    assert room.state == Session()


def test_an_answer_under_way_keeps_no_clock_busy() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.sends("B1 is answered: a1")
    room.gone("A2")
    room.passes(10_000)
    assert next_due(room.state) is None
    room.delivered("B1")
    room.passes(1000)
    assert room.state == Session()


# Rule 11: a stranger


@pytest.mark.parametrize(("can_pass", "line"), [(False, "C1 error: session_full"), (True, "C1 passes")])
@pytest.mark.parametrize("text", ["hello", "ping"])
def test_a_stranger_is_turned_away_and_disturbs_nobody(text: str, *, can_pass: bool, line: str) -> None:
    room = Room(can_pass=can_pass)
    room.pairs()
    before = room.state
    room.arrives("C", text)
    room.expects(line)
    assert room.state == before
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


# Rule 12: the end


def test_after_a_restart_all_goes_on_where_it_was() -> None:
    room = Room()
    room.pairs()
    room.arrives("B", "q2")
    room.restarts()
    room.arrives("A", "a1")
    room.expects()
    room.arrives("B", "q2", retry=True)
    room.arrives("B", "q1", retry=True)
    room.expects("A2 is shown: q2", "B4 is answered: a1")
    room.arrives("A", "a2")
    room.expects("B3 is answered: a2")


def test_what_was_on_its_way_at_a_restart_did_not_arrive() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.arrives("B", "q2")
    room.sends("B1 is answered: a1", "A2 is shown: q2")
    room.restarts()
    assert live_calls(room.state) == ()
    room.arrives("B", "q2")
    room.arrives("A", "a1", retry=True)
    room.expects("A3 is shown: q2")
    room.arrives("B", "q1", retry=True)
    room.expects("B4 is answered: a1")


def test_a_released_call_is_done() -> None:
    room = Room()
    room.pairs()
    room.arrives("B", "q2")
    room.released("B1")
    room.released("B2")
    assert outcomes(room) == ["passed", "passed"]


def test_a_released_twin_leaves_the_other_call_waiting() -> None:
    room = Room()
    room.pairs()
    room.arrives("B", "q1")
    room.released("B1")
    room.arrives("A", "a1")
    room.expects("B2 is answered: a1")


def test_the_operator_may_end_a_session() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.closes()
    room.expects("A2 error: closed")
    assert room.state == Session()
    room.arrives("B", "q2", role="asker")
    room.arrives("C", "q3", role="asker", rules=Room(when_joined=True, can_pass=True).rules)
    room.closes()
    room.expects("C1 passes", "B2 error: closed")


def test_an_ended_session_does_not_pass_what_was_to_be_held() -> None:
    room = Room(can_pass=True)
    room.pairs()
    room.closes()
    room.expects("B1 error: closed")


def test_an_ended_session_takes_up_the_calls_of_a_joined_route_for_the_service() -> None:
    room = Room(when_joined=True, can_pass=True)
    room.pairs()
    room.closes()
    room.expects("B1 passes")


def test_a_session_ends_when_nobody_is_there_and_its_id_starts_afresh() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.gone("A2")
    room.passes(99)
    assert room.state != Session()
    room.passes(1)
    assert room.state == Session()
    room.arrives("C", "hello")
    room.expects()
    room.arrives("D", "q1")
    room.expects("C1 is shown: q1")
    assert [prompt.prompt for prompt in room.state.prompts] == ["p2"]  # p1 was what C's ping was held as


@pytest.mark.parametrize(
    "event", [Gone("x"), Failed("x"), Delivered("x"), Released("x"), Restarted(), Close(), Tick()], ids=repr
)
def test_an_event_of_an_unknown_call_has_no_effect_on_a_fresh_session(event: Event) -> None:
    assert step(Session(), event, 0.0) == (Session(), ())


@pytest.mark.parametrize("event", [Gone("x"), Failed("x"), Delivered("x"), Released("x")], ids=repr)
def test_an_event_of_an_unknown_call_has_no_effect(event: Event) -> None:
    room = Room()
    room.pairs()
    before = room.state
    room.step(event)
    room.expects()
    assert room.state == before


def test_a_delivery_that_is_told_twice_counts_once() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    before = room.state
    room.delivered("B1")
    room.delivered("A1")
    assert room.state == before


def test_windows_of_no_length_are_due_at_once() -> None:
    rules = Room(RULES, rejoin_window_s=0.0, retry_window_s=0.0, turn_timeout_s=0.0).rules
    state, _ = step(Session(), arrival("A1", "A", "ping", rules=rules), 0.0)
    state, _ = step(state, arrival("B1", "B", "q1", rules=rules), 0.0)
    state, _ = step(state, Gone("B1"), 0.0)
    assert next_due(state) == 0.0
    state, _ = step(state, Tick(), 0.0)
    assert state == Session()
