"""The judge of the soak: a sound transcript passes, and every kind of damage to it is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.soak.transcript import Asked, Shown, Transcript, faults


def sound() -> Transcript:
    """Two conversations at once, with a retry, a prompt given up, and a prompt that was shown again after a loss."""
    return Transcript(
        "s",
        asked=[
            Asked(0, "p1", heard=["a1"]),
            Asked(1, "q1", heard=["b1"]),
            Asked(0, "p2", gave_up=True),
            Asked(0, "p3", heard=["a3", "a3"]),
            Asked(1, "q2", heard=["b2"]),
        ],
        shown=[
            Shown("q1", expected_again=True, answers=["b1"], taken=True),
            Shown("p1", expected_again=False, answers=["lost"]),
            Shown("p1", expected_again=True, answers=["a1"], taken=True),
            Shown("p3", expected_again=False, answers=["a3"], taken=True),
            Shown("p2", expected_again=False, answers=["nobody's"]),
            Shown("q2", expected_again=False, answers=["b2"]),
        ],
    )


def test_sound() -> None:
    assert faults(sound()) == []
    assert sound().turns == 4


def retried_unmarked(transcript: Transcript) -> None:
    transcript.asked[0].said_again = 1
    transcript.asked[0].heard = ["lost", "a1"]
    transcript.shown[1].taken = True


def test_a_retry_without_a_mark_may_be_a_prompt_of_its_own() -> None:
    transcript = sound()
    retried_unmarked(transcript)
    assert faults(transcript) == []


def lose_an_answer(transcript: Transcript) -> None:
    transcript.asked[0].heard.clear()


def swap_answers(transcript: Transcript) -> None:
    transcript.asked[0].heard, transcript.asked[1].heard = ["b1"], ["a1"]


def change_an_answer(transcript: Transcript) -> None:
    transcript.asked[0].heard = ["a1 "]


def answer_a_retry_otherwise(transcript: Transcript) -> None:
    transcript.asked[0].heard = ["lost", "a1"]


def change_a_prompt(transcript: Transcript) -> None:
    transcript.shown[-1].words = "q"


def show_twice(transcript: Transcript) -> None:
    transcript.shown.append(Shown("q2", expected_again=False))


def show_after_its_answer(transcript: Transcript) -> None:
    transcript.shown.append(Shown("p1", expected_again=True))


def show_out_of_order(transcript: Transcript) -> None:
    transcript.shown[0], transcript.shown[-1] = transcript.shown[-1], transcript.shown[0]


def say_something_odd(transcript: Transcript) -> None:
    transcript.oddities.append("409")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lose_an_answer, "never answered"),
        (swap_answers, "not said to it"),
        (change_an_answer, "not said to it"),
        (answer_a_retry_otherwise, "different answers"),
        (change_a_prompt, "never said"),
        (show_twice, "shown twice"),
        (show_after_its_answer, "after its answer was taken"),
        (show_out_of_order, "out of order"),
        (say_something_odd, "409"),
    ],
)
def test_damage_is_found(damage: Callable[[Transcript], None], fault: str) -> None:
    transcript = sound()
    damage(transcript)
    assert any(fault in one for one in faults(transcript)), faults(transcript)
