"""What an answerer may want beside an answer: that the service answers, that a call fails, to know what it can say."""

from __future__ import annotations

import pytest

from motive_core.session import Answer, Failure
from tests.core.session.room import Room


def test_the_real_service_answers_this_one_call() -> None:
    room = Room(can_pass=True)
    room.pairs()
    room.arrives("A", "/pass")
    room.expects("B1 passes")
    room.arrives("B", "q2")
    room.expects("A2 is shown: q2")
    room.arrives("A", "a2")
    room.expects("B2 is answered: a2")


def test_every_call_of_the_prompt_passes() -> None:
    room = Room(can_pass=True)
    room.pairs()
    room.arrives("B", "q1")
    room.arrives("A", "/pass")
    room.expects("B1 passes", "B2 passes")


def test_a_repeated_pass_passes_nothing_else() -> None:
    """Its call was lost after it had been carried out, and its SDK tries again."""
    room = Room(can_pass=True)
    room.pairs()
    room.arrives("B", "q2")
    room.arrives("A", "/pass")
    room.sends("B1 passes", "A2 is shown: q2")
    room.failed("A2")
    room.arrives("A", "/pass", retry=True)
    room.expects("A3 is shown: q2")
    room.arrives("A", "a2")
    room.expects("B2 is answered: a2")


@pytest.mark.parametrize(
    ("can_pass", "gone", "reason"),
    [
        (False, False, "there is no real service behind this call"),
        (True, True, "the app has gone away, and may come back for your answer"),
    ],
)
def test_what_cannot_be_passed_stays_open(*, can_pass: bool, gone: bool, reason: str) -> None:
    room = Room(can_pass=can_pass)
    room.pairs()
    if gone:
        room.gone("B1")
    room.arrives("A", "/pass")
    room.expects(f"A2 notice: refused ({reason})")
    room.arrives("A", "a1")
    room.expects(*([] if gone else ["B1 is answered: a1"]))


def test_there_is_nothing_to_pass() -> None:
    room = Room(can_pass=True)
    room.arrives("A", "ping")
    room.arrives("A", "/pass")
    room.expects("A2 notice: unowed")
    room.arrives("C", "/pass")
    room.expects("C1 notice: unowed")


@pytest.mark.parametrize("same_look", [False, True])
def test_a_command_is_never_a_prompt(*, same_look: bool) -> None:
    """Who writes one means to answer: also if nobody asks, and if it looks like nobody in the room."""
    room = Room(same_look=same_look)
    room.arrives("A", "ping")
    for number, client in enumerate(("C", "A"), start=1):
        call = room.arrives(client, f"/call fly {number}", wish="answer")
        room.expects(f"{call} notice: unowed")
    room.arrives("B", "q1")
    room.expects("A1 is shown: q1")


def test_help_changes_nothing() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "/help", hint="this and that")
    room.expects("A2 notice: help (this and that)")
    room.arrives("A", "/help", hint="this and that")
    room.expects("A3 notice: help (this and that)")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


@pytest.mark.parametrize("role", [None, "answerer"])
def test_help_for_somebody_who_has_no_seat(role: str | None) -> None:
    room = Room()
    room.arrives("A", "/help", hint="this and that", role=role)
    room.expects("A1 notice: help (this and that)")
    room.arrives("B", "q1")
    room.arrives("A", "ping")
    room.expects("A2 is shown: q1")


def test_an_askers_words_are_no_command() -> None:
    room = Room(can_pass=True)
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    for number, text in enumerate(("/help", "/pass"), start=2):
        room.arrives("B", text)
        room.expects(f"A{number} is shown: {text}")
        room.arrives("A", "a")
        room.expects(f"B{number} is answered: a")


FAILURE = Answer((), "/fail 429 Slow down.", Failure(429, "Slow down."))


def test_an_error_is_an_answer() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "/fail 429 Slow down.", answer=FAILURE)
    room.expects("B1 fails: 429 Slow down.")
    room.arrives("B", "q2")
    room.expects("A2 is shown: q2")


def test_who_tries_again_after_an_error_asks_anew() -> None:
    """So that the person decides again: to let it fail once more, or to answer."""
    room = Room()
    room.pairs()
    room.arrives("A", "/fail 429 Slow down.", answer=FAILURE)
    room.expects("B1 fails: 429 Slow down.")
    room.arrives("B", "q1", retry=True)
    room.expects("A2 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B2 is answered: a1")


def test_an_error_waits_for_an_app_that_went_away() -> None:
    room = Room()
    room.pairs()
    room.gone("B1")
    room.arrives("A", "/fail 429 Slow down.", answer=FAILURE)
    room.arrives("B", "q1", retry=True)
    room.expects("B2 fails: 429 Slow down.")


class TestFallback:
    """The route has a reply for when nobody answers."""

    def test_in_time(self) -> None:
        room = Room(on_timeout="fallback", turn_timeout_s=1000.0)
        room.pairs()
        room.passes(room.rules.hold_timeout_s)
        room.expects("B1 falls back")
        room.arrives("A", "a1")
        room.expects("A2 notice: late")

    def test_lost(self) -> None:
        room = Room(on_lost="fallback")
        room.pairs()
        room.passes(room.rules.turn_timeout_s)
        room.expects("B1 falls back")

    def test_full(self) -> None:
        room = Room(on_full="fallback", queue_limit=1)
        room.pairs()
        room.arrives("B", "q2")
        room.expects("B2 falls back")
