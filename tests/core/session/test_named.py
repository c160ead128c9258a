"""An answerer that sees all prompts, and says which one it answers."""

from __future__ import annotations

from tests.core.session.room import Room


def room_with_two() -> Room:
    """A seat that was shown the first of two prompts."""
    room = Room()
    room.arrives("A", "/join", role="answerer")
    room.arrives("B", "q1", role="asker")
    room.expects("A1 is shown: q1")
    room.delivered("A1")
    room.arrives("B", "q2", role="asker")
    return room


def test_any_prompt_may_be_answered_and_the_one_that_was_shown_is_shown_again() -> None:
    room = room_with_two()
    room.arrives("A", "a2", role="answerer", names="p2", wish="answer")
    room.expects("B2 is answered: a2", "A2 is shown: q1")
    room.arrives("A", "a1", role="answerer", names="p1", wish="answer")
    room.expects("B1 is answered: a1")
    assert room.state.turns == 2
    assert room.state.listening is not None


def test_what_is_named_was_seen_even_before_it_was_delivered() -> None:
    room = Room()
    room.arrives("A", "/join", role="answerer")
    room.arrives("B", "q1", role="asker")
    room.arrives("A", "a1", role="answerer", names="p1", wish="answer")
    room.expects("A1 is shown: q1", "B1 is answered: a1")


def test_an_answer_to_a_prompt_that_is_over_goes_to_no_other() -> None:
    room = room_with_two()
    room.gone("B2")
    room.arrives("A", "first", role="answerer", names="p1", wish="answer")
    room.expects("B1 is answered: first")
    room.arrives("B", "q3", role="asker")
    room.expects("A2 is shown: q3")
    room.arrives("A", "again", role="answerer", names="p1", wish="answer")
    room.expects("A3 notice: late")
    assert room.state.owes == "p3"
    assert not room.state.unsolicited
    room.arrives("A", "nothing", role="answerer", names="p9", wish="answer")
    room.expects("A4 notice: late")


def test_an_answer_waits_on_its_prompt_for_the_apps_return() -> None:
    room = room_with_two()
    room.gone("B1")
    room.arrives("A", "a1", role="answerer", names="p1", wish="answer")
    room.expects("A2 is shown: q2")
    room.arrives("B", "q1", role="asker", retry=True)
    room.expects("B3 is answered: a1")


def test_somebody_who_does_not_sit_there_answers_nothing() -> None:
    room = room_with_two()
    room.arrives("C", "a1", role="answerer", names="p1", wish="answer")
    room.expects("C1 notice: unowed")
