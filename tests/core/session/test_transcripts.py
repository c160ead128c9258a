"""Whole conversations, as they go wrong elsewhere: what two clients see, from the first call to the last."""

from __future__ import annotations

import pytest

from motive_core.ir import ToolResultPart
from motive_core.session import Answer, Session
from tests.core.session.room import Room, arrival, words


def test_the_answerer_waits_and_gets_exactly_the_first_prompt() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.expects()
    room.arrives("B", "the prompt")
    room.expects("A1 is shown: the prompt")


def test_the_asker_waits_and_gets_the_answer_and_never_the_ping() -> None:
    room = Room()
    room.arrives("B", "q1")
    room.arrives("A", "ping")
    room.expects("A1 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_an_impatient_answerer_that_pings_again_and_again() -> None:
    room = Room()
    room.arrives("A", "ping")
    for number in range(1, 6):
        room.arrives("A", "ping")
        room.expects(f"A{number} error: superseded")
    room.arrives("B", "q1")
    room.expects("A6 is shown: q1")
    for number in range(7, 10):
        room.arrives("A", "ping")
        room.expects(f"A{number} is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_the_askers_sdk_times_out_and_retries_while_a_person_types() -> None:
    room = Room()
    room.pairs()
    room.gone("B1")
    room.arrives("B", "q1", retry=True)
    room.gone("B2")
    room.arrives("B", "q1", retry=True)
    room.expects()
    room.arrives("A", "a1")
    room.expects("B3 is answered: a1")
    for number in range(2, 6):  # and no later answer is off by one
        room.arrives("B", f"q{number}")
        room.expects(f"A{number} is shown: q{number}")
        room.arrives("A", f"a{number}")
        room.expects(f"B{number + 2} is answered: a{number}")


def test_a_late_answer_meets_the_retry() -> None:
    room = Room(turn_timeout_s=1000.0)
    room.pairs()
    room.passes(300)
    room.expects("B1 error: hold_timeout")
    room.arrives("A", "a1")
    room.arrives("B", "q1", retry=True)
    room.expects("B2 is answered: a1")


def test_after_a_time_out_a_new_question_never_gets_the_old_answer() -> None:
    room = Room(turn_timeout_s=1000.0)
    room.pairs()
    room.passes(300)
    room.expects("B1 error: hold_timeout")
    room.arrives("B", "q2")
    room.arrives("A", "a1")
    room.expects("A2 is shown: q2")
    room.arrives("A", "a2")
    room.expects("B2 is answered: a2")
    room.passes(60)
    room.expects("A3 notice: undelivered")


def test_the_answerer_hangs_up_and_the_prompt_waits_for_its_return() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.gone("A1")
    room.arrives("B", "q1")
    room.passes(150)
    room.expects()
    room.arrives("A", "ping")
    room.expects("A2 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_look_alikes_the_answerer_hangs_up_and_the_prompt_waits_for_its_return() -> None:
    room = Room(same_look=True)
    room.arrives("A", "ping")
    room.gone("A1")
    room.arrives("B", "q1")
    room.expects()
    room.arrives("A", "ping")
    room.expects("A2 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_the_asker_hangs_up_in_mid_turn_and_the_answerer_is_told() -> None:
    room = Room()
    room.pairs()
    room.gone("B1")
    room.passes(50)
    room.arrives("A", "a1")
    room.passes(10)
    room.expects("A2 notice: undelivered")
    room.arrives("B", "q2")
    room.passes(80)
    room.arrives("A", "oh")
    room.expects("A3 is shown: q2")


def test_the_asker_hangs_up_and_does_not_come_back_for_a_slow_answer() -> None:
    room = Room()
    room.pairs()
    room.gone("B1")
    room.passes(90)
    room.arrives("A", "a1")
    room.expects("A2 notice: late")


@pytest.mark.parametrize("text", ["hello", "ping", "a1", "/leave"])
def test_a_third_client_in_mid_turn_disturbs_nobody(text: str) -> None:
    room = Room()
    room.pairs()
    room.arrives("C", text)
    room.expects("C1 notice: left" if text == "/leave" else "C1 error: session_full")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_a_hold_that_times_out_gets_its_error_and_the_session_lives_on() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.passes(200)
    room.expects("A1 error: idle")
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    room.expects("A2 is shown: q1")
    room.passes(300)
    room.expects("B1 error: hold_timeout")
    room.arrives("A", "sorry, I was away")
    room.arrives("B", "q1", retry=True)
    room.expects("B2 is answered: sorry, I was away")


def test_a_tool_result_reaches_the_answerer_as_it_is() -> None:
    room = Room(remembering=["B"])
    room.pairs()
    room.arrives("A", "/call look")
    room.expects("B1 is answered: /call look")
    result = (ToolResultPart("call_7", words("42")),)
    room.step(arrival("B9", "B", "result", words=result, answer=Answer(result, "result"), history=("q1", "/call look")))
    prompt = room.state.prompts[-1]
    assert prompt.words == result
    assert prompt.shown == "sending"


def test_a_session_over_its_limit_gives_one_clear_error_and_serves_the_others() -> None:
    room = Room(queue_limit=1)
    room.pairs()
    for number in range(2, 5):
        room.arrives("B", f"q{number}")
        room.expects(f"B{number} error: queue_full")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_a_hold_that_is_older_than_everybodys_patience_keeps_its_session() -> None:
    room = Room(hold_timeout_s=100_000.0)
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    room.expects("A1 is shown: q1")
    room.passes(90_000)
    room.expects()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_the_id_of_a_finished_session_starts_with_a_fresh_handshake() -> None:
    room = Room()
    room.pairs()
    room.restarts()
    room.passes(1000)
    room.expects()
    assert room.state == Session()
    room.arrives("B", "hello")
    room.arrives("A", "other words")
    room.expects("B2 is shown: other words")


@pytest.mark.parametrize("same_look", [True, False])
def test_simultaneous_first_calls_lose_no_words(*, same_look: bool) -> None:
    for first, second in (("A", "B"), ("B", "A")):
        room = Room(same_look=same_look)
        said = {"A": "ping", "B": "q1"}
        room.arrives(first, said[first])
        room.arrives(second, said[second])
        room.expects("A1 is shown: q1")


def test_a_person_takes_a_conversation_over_and_gives_it_back() -> None:
    room = Room(when_joined=True, can_pass=True, on_lost="pass")
    room.arrives("B", "q1", role="asker")
    room.expects("B1 passes")
    room.arrives("A", "/join", role="answerer")
    room.arrives("B", "q2", role="asker")
    room.expects("A1 is shown: q2")
    room.arrives("A", "a2", role="answerer")
    room.expects("B2 is answered: a2")
    room.arrives("A", "/leave", role="answerer")
    room.expects("A2 error: superseded", "A3 notice: left")
    room.arrives("B", "q3", role="asker")
    room.expects("B3 passes")
    room.arrives("A", "/join", role="answerer")
    room.arrives("B", "q4", role="asker")
    room.expects("A4 is shown: q4")


@pytest.mark.parametrize("first", ["A", "B"])
@pytest.mark.parametrize("opening", ["ping", "hello"])
def test_two_look_alike_curls_take_turns(first: str, opening: str) -> None:
    room = Room(same_look=True)
    if first == "A":
        room.arrives("A", opening)
        room.arrives("B", "q1")
        asker, answerer = "B", "A"
        room.expects("A1 is shown: q1")
    else:
        room.arrives("B", "q1")
        room.arrives("A", opening)
        if opening == "ping":
            asker, answerer = "B", "A"
            room.expects("A1 is shown: q1")
        else:  # nothing tells who is who: the first answers
            asker, answerer = "A", "B"
            room.expects("B1 is shown: hello")
    for turn in range(1, 7):
        room.arrives(answerer, f"a{turn}")
        room.expects(f"{asker}{turn} is answered: a{turn}")
        room.arrives(asker, f"q{turn + 1}")
        room.expects(f"{answerer}{turn + 1} is shown: q{turn + 1}")


def test_a_chat_ui_and_an_sdk_app_with_one_fingerprint_and_growing_histories() -> None:
    room = Room(same_look=True, remembering=["A", "B"])
    room.pairs()
    for turn in range(1, 7):
        room.arrives("A", f"a{turn}")
        room.expects(f"B{turn} is answered: a{turn}")
        room.arrives("B", f"q{turn + 1}")
        room.expects(f"A{turn + 1} is shown: q{turn + 1}")
    assert len(room.histories["A"]) == len(room.histories["B"]) + 2


def test_an_app_with_twenty_parallel_prompts_that_answer_in_any_order_of_delivery() -> None:
    room = Room()
    room.arrives("A", "ping")
    for number in range(1, 21):
        room.arrives("B", f"q{number}")
    room.expects("A1 is shown: q1")
    for number in range(1, 21):
        room.arrives("A", f"a{number}")
        shown = [f"A{number + 1} is shown: q{number + 1}"] if number < 20 else []
        room.sends(f"B{number} is answered: a{number}", *shown)
        room.delivered(f"A{number + 1}")
    for number in range(20, 0, -1):
        room.delivered(f"B{number}")
    assert {prompt.outcome for prompt in room.state.prompts} == {"answered"}
    assert room.state.turns == 20


def test_a_regenerated_message_of_a_chat_ui_shows_the_prompt_again() -> None:
    room = Room(remembering=["A"])
    room.pairs()
    room.arrives("A", "a1")
    room.arrives("B", "q2")
    room.sends("B1 is answered: a1", "A2 is shown: q2")
    room.delivered("B1")
    room.gone("A2")  # the person pressed Stop, then Regenerate
    room.arrives("A", "a1")
    room.expects("A3 is shown: q2")
    room.arrives("A", "a2")
    room.expects("B2 is answered: a2")


def test_half_a_streamed_prompt_is_no_prompt() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    room.sends("A1 is shown: q1")
    room.failed("A1")
    room.passes(9)
    room.arrives("A", "ping")
    room.expects("A2 is shown: q1")
