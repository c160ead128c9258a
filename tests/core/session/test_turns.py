"""Rules 4 to 6, 13 and 14 of the design: prompts and their twins, what counts as an answer, and who is shown what."""

from __future__ import annotations

import pytest

from motive_core.session import Arrive, SendPrompt, Session, step
from tests.core.session.room import RULES, Room, arrival, text_of, words

# Rule 4: an asker arrives


def test_equal_calls_are_one_prompt_and_all_get_its_answer() -> None:
    room = Room()
    room.pairs()
    room.arrives("B", "q1")
    room.arrives("B", "q1", retry=True)
    room.expects()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "B2 is answered: a1", "B3 is answered: a1")


def test_a_hedged_call_outlives_the_one_that_was_dropped_for_it() -> None:
    room = Room()
    room.pairs()
    room.arrives("B", "q1")
    room.gone("B1")
    room.arrives("A", "a1")
    room.expects("B2 is answered: a1")


def test_equal_calls_queue_where_the_route_says_so() -> None:
    room = Room(twins="queue")
    room.pairs()
    room.arrives("B", "q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "A2 is shown: q1")
    room.arrives("A", "a2")
    room.expects("B2 is answered: a2")


def test_a_marked_retry_attaches_even_where_twins_queue() -> None:
    room = Room(twins="queue")
    room.pairs()
    room.arrives("B", "q1", retry=True)
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "B2 is answered: a1")


def test_a_call_takes_up_an_orphan_even_where_twins_queue() -> None:
    room = Room(twins="queue")
    room.pairs()
    room.gone("B1")
    room.arrives("B", "q1")
    room.arrives("A", "a1")
    room.expects("B2 is answered: a1")


def test_a_retry_takes_the_newest_of_equal_prompts() -> None:
    room = Room(twins="queue")
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    room.arrives("B", "q1")
    room.expects("A1 is shown: q1")
    room.gone("B2")
    room.arrives("B", "q1", retry=True)
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "A2 is shown: q1")
    room.arrives("A", "a2")
    room.expects("B3 is answered: a2")


def test_a_retry_after_the_answer_gets_the_same_answer() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.passes(59)
    room.arrives("B", "q1", retry=True)
    room.expects("B2 is answered: a1")
    assert room.state.turns == 1


@pytest.mark.parametrize(("after_s", "retry"), [(60, True), (1, False)])
def test_equal_words_later_are_a_new_prompt(*, after_s: float, retry: bool) -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.passes(after_s)
    room.arrives("B", "q1", retry=retry)
    room.expects("A2 is shown: q1")


def test_a_retry_of_a_prompt_that_failed_is_a_new_prompt() -> None:
    room = Room(on_lost="error")
    room.pairs()
    room.passes(100)
    room.expects("B1 error: answerer_left")
    room.arrives("B", "q1", retry=True)
    room.arrives("A", "ping")
    room.expects("A2 is shown: q1")


def test_a_retry_is_not_mistaken_for_that_of_another_client() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("B", "q1", role="asker")
    room.arrives("C", "q1", role="asker", retry=True)
    room.expects("A1 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "A2 is shown: q1")


def test_only_the_latest_done_prompts_are_kept_for_retries() -> None:
    room = Room()
    room.pairs()
    for number in range(1, 40):
        room.arrives("A", f"a{number}")
        room.arrives("B", f"q{number + 1}")
        room.expects(f"B{number} is answered: a{number}", f"A{number + 1} is shown: q{number + 1}")
        room.passes(0.25)
    assert len(room.state.prompts) == 33
    room.arrives("B", "q39", retry=True)
    room.arrives("B", "q8", retry=True)
    room.expects("B41 is answered: a39", "B42 is answered: a8")
    room.arrives("B", "q7", retry=True)
    room.expects()


def test_a_done_prompt_is_kept_while_its_answer_is_under_way() -> None:
    room = Room()
    room.pairs()
    room.arrives("B", "q1")
    room.arrives("A", "a1")
    room.sends("B1 is answered: a1", "B2 is answered: a1")
    room.delivered("B1")
    for number in range(2, 40):
        room.arrives("B", f"q{number}")
        room.expects(f"A{number} is shown: q{number}")
        room.arrives("A", f"a{number}")
        room.expects(f"B{number + 1} is answered: a{number}")
    room.failed("B2")
    room.arrives("B", "q1", retry=True)
    room.expects("B41 is answered: a1")


@pytest.mark.parametrize(
    ("on_full", "can_pass", "line"),
    [("error", True, "B3 error: queue_full"), ("pass", True, "B3 passes"), ("pass", False, "B3 error: queue_full")],
)
def test_over_the_queue_limit(on_full: str, *, can_pass: bool, line: str) -> None:
    room = Room(queue_limit=2, on_full=on_full, can_pass=can_pass)
    room.pairs()
    room.arrives("B", "q2")
    room.arrives("B", "q3")
    room.expects(line)
    room.arrives("B", "q2")  # no new prompt: it attaches
    room.expects()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "A2 is shown: q2")
    room.arrives("B", "q4")
    room.expects()


def test_a_call_with_an_id_that_is_held_is_nothing() -> None:
    event = arrival("B1", "B", "q1")
    state, _ = step(Session(), event, 0.0)
    assert step(state, event, 1.0) == (state, ())


# Rule 5: an answerer arrives


def test_words_that_crossed_a_prompt_are_no_answer_to_it() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    room.sends("A1 is shown: q1")
    room.arrives("A", "are you there?")
    room.expects("A2 is shown: q1")
    assert [text_of(one.words) for one in room.state.unsolicited] == ["are you there?"]
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_a_prompt_that_was_crossed_and_left_is_shown_when_its_asker_returns() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    room.sends("A1 is shown: q1")
    room.gone("B1")
    room.arrives("A", "are you there?")
    room.arrives("B", "q2")
    room.expects("A2 is shown: q2")
    room.arrives("B", "q1")
    room.arrives("A", "a2")
    room.expects("B2 is answered: a2", "A3 is shown: q1")


def test_words_that_answer_an_earlier_prompt_are_no_answer_to_this_one() -> None:
    room = Room(remembering=["A"])
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.arrives("B", "q2")
    room.sends("A2 is shown: q2")
    room.delivered("A2")  # handed over, but A's screen shows an error and it edits its last words
    room.arrives("A", "a1, better")
    room.expects("A3 is shown: q2")
    room.arrives("A", "a2")
    room.expects("B2 is answered: a2")


def test_a_quoted_prompt_was_seen_though_its_delivery_failed() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    room.sends("A1 is shown: q1")
    room.failed("A1")
    room.arrives("A", "a1", history=("ping", "q1"))
    room.expects("B1 is answered: a1")


def test_a_quoted_prompt_was_seen_before_its_delivery_is_known() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    room.sends("A1 is shown: q1")
    room.arrives("A", "a1", history=("ping", "q1"))
    room.expects("B1 is answered: a1")
    room.failed("A1")
    room.expects()


def test_a_quotation_does_not_prove_a_prompt_with_the_words_of_an_earlier_one() -> None:
    room = Room(remembering=["A"])
    room.arrives("A", "ping")
    room.arrives("B", "go on")
    room.expects("A1 is shown: go on")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.arrives("B", "go on")
    room.sends("A2 is shown: go on")
    room.arrives("A", "a1, better")
    room.expects("A3 is shown: go on")
    room.arrives("A", "a2")
    room.expects("B2 is answered: a2")


def test_a_prompt_that_was_shown_twice_is_still_proven_by_a_quotation() -> None:
    room = Room(remembering=["A"])
    room.pairs()
    room.arrives("A", "ping")
    room.sends("A2 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


@pytest.mark.parametrize("how", ["marked", "with a history", "first message"])
def test_a_repeat_is_no_answer(how: str) -> None:
    room = Room(remembering=["A"] if how == "with a history" else [])
    first = "hello" if how == "first message" else "ping"
    room.arrives("A", first, role="answerer")
    room.arrives("B", "q1")
    if how == "first message":
        room.expects("A1 is shown: q1")
        room.arrives("A", first, role="answerer")
        room.expects("A2 is shown: q1")
        return
    room.expects("A1 is shown: q1")
    room.arrives("A", "a1")
    room.arrives("B", "q2")
    room.sends("B1 is answered: a1", "A2 is shown: q2")
    room.delivered("B1")
    room.delivered("A2")  # handed over, but A did not get it, and says the same again
    room.arrives("A", "a1", retry=how == "marked")
    room.expects("A3 is shown: q2")
    assert not room.state.unsolicited


def test_the_same_words_without_any_sign_of_a_repeat_are_an_answer() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    room.expects("A1 is shown: q1")
    room.arrives("A", "yes")
    room.arrives("B", "q2")
    room.expects("B1 is answered: yes", "A2 is shown: q2")
    room.arrives("A", "yes")
    room.expects("B2 is answered: yes")


def test_a_repeat_of_what_answered_is_not_passed_off_twice() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.arrives("A", "a1", retry=True)
    room.expects("B1 is answered: a1", "A2 error: superseded")
    room.arrives("B", "q2")
    room.expects("A3 is shown: q2")
    assert not room.state.unsolicited


def test_unsolicited_words_are_kept_and_never_passed_off() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.arrives("A", "and another thing")
    room.expects("B1 is answered: a1", "A2 error: superseded")
    room.arrives("B", "q2")
    room.expects("A3 is shown: q2")
    assert [text_of(one.words) for one in room.state.unsolicited] == ["and another thing"]


def test_only_so_many_unsolicited_words_are_kept() -> None:
    room = Room()
    room.arrives("A", "ping")
    for number in range(110):
        room.arrives("A", f"w{number}", history=("ping", "(cut)"))
    assert len(room.state.unsolicited) == 100
    assert text_of(room.state.unsolicited[-1].words) == "w109"


def test_who_answers_too_late_is_told_and_listens_with_its_next_words() -> None:
    room = Room()
    room.pairs()
    room.released("B1")
    room.arrives("A", "a1")
    room.expects("A2 notice: late")
    assert [text_of(one.words) for one in room.state.unsolicited] == ["a1"]
    room.arrives("B", "q2")
    room.expects()
    room.arrives("A", "I see")
    room.expects("A3 is shown: q2")


def test_who_joins_again_is_not_told_that_it_is_late() -> None:
    room = Room()
    room.pairs()
    room.released("B1")
    room.arrives("A", "ping")
    room.arrives("A", "hello")
    room.expects("A2 error: superseded")
    room.arrives("B", "q2")
    room.expects("A3 is shown: q2")


def test_who_listens_while_what_it_owed_expires_is_not_told_that_it_is_late() -> None:
    room = Room()
    room.pairs()
    room.gone("B1")
    room.arrives("A", "ping")
    room.passes(60)
    room.arrives("A", "hello")
    room.expects("A2 error: superseded")


def test_a_newer_listening_call_supersedes_the_older_one_and_echoes_nothing() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("A", "ping")
    room.expects("A1 error: superseded")
    room.arrives("B", "q1")
    room.expects("A2 is shown: q1")


# Rule 14: a command that cannot be carried out


def test_a_refused_command_gets_its_reason_and_the_prompt_stays_open() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "/call nothing", refused="no such tool")
    room.expects("A2 notice: refused (no such tool)")
    room.passes(90)
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    assert not room.state.unsolicited


def test_a_refused_command_that_comes_again_is_refused_again_only_if_it_is_no_repeat() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "/call nothing", refused="no such tool")
    room.arrives("A", "/call nothing", refused="no such tool")
    room.expects("A2 notice: refused (no such tool)", "A3 notice: refused (no such tool)")
    room.arrives("A", "/call nothing", refused="no such tool", retry=True)
    room.expects("A4 is shown: q1")


def test_a_refused_command_keeps_its_author_present() -> None:
    room = Room(on_lost="error", can_pass=True)
    room.pairs()
    room.passes(99)
    room.arrives("A", "/call nothing", refused="no such tool")
    room.expects("A2 notice: refused (no such tool)")
    room.passes(99)
    room.expects()
    room.passes(1)
    room.expects("B1 error: answerer_left")


def test_a_first_message_is_never_refused() -> None:
    room = Room()
    room.arrives("A", "/call nothing", refused="no such tool", role="answerer")
    room.arrives("B", "q1")
    room.expects("A1 is shown: q1")


# Rule 6: match


def test_prompts_are_shown_one_by_one_in_their_order() -> None:
    room = Room()
    room.arrives("A", "ping")
    for number in range(1, 21):
        room.arrives("B", f"q{number}")
    room.expects("A1 is shown: q1")
    for number in range(1, 20):
        room.arrives("A", f"a{number}")
        room.expects(f"B{number} is answered: a{number}", f"A{number + 1} is shown: q{number + 1}")
    room.arrives("A", "a20")
    room.expects("B20 is answered: a20")


def test_what_is_owed_is_shown_before_an_older_prompt_that_came_back() -> None:
    room = Room()
    room.arrives("B", "q1", role="asker")
    room.gone("B1")
    room.arrives("B", "q2", role="asker")
    room.arrives("A", "ping")
    room.expects("A1 is shown: q2")
    room.arrives("B", "q1", role="asker")
    room.arrives("A", "ping")
    room.expects("A2 is shown: q2")
    room.arrives("A", "a2")
    room.expects("B2 is answered: a2", "A3 is shown: q1")


def test_another_prompt_is_shown_while_the_owed_one_is_an_orphan() -> None:
    room = Room()
    room.pairs()
    room.gone("B1")
    room.arrives("A", "ping")
    room.arrives("B", "q2")
    room.expects("A2 is shown: q2")
    room.arrives("B", "q1")
    room.arrives("A", "a2")
    room.expects("B2 is answered: a2", "A3 is shown: q1")


def test_a_program_that_answers_at_once_and_one_that_asks_at_once() -> None:
    room = Room()
    room.pairs()
    for number in range(1, 50):
        room.arrives("A", f"a{number}")
        room.arrives("B", f"q{number + 1}")
        room.expects(f"B{number} is answered: a{number}", f"A{number + 1} is shown: q{number + 1}")
    assert room.state.turns == 49


# Rule 13: what is relayed


def test_context_is_sent_to_who_joins_a_running_conversation() -> None:
    room = Room()
    room.arrives("B", "q2", context=words("[q1, a1] "), history=("q1", "a1"))
    room.arrives("A", "ping")
    room.expects("A1 is shown: [q1, a1] q2")


def test_context_is_not_repeated_while_the_prompts_go_on_from_each_other() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.arrives("B", "q2", context=words("[q1, a1] "), history=("q1", "a1"))
    room.expects("B1 is answered: a1", "A2 is shown: q2")


def test_context_is_sent_with_a_prompt_that_does_not_go_on_from_the_last_one() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.arrives("B", "q9", context=words("[q8, a8] "), history=("q8", "a8"))
    room.expects("B1 is answered: a1", "A2 is shown: [q8, a8] q9")


def test_context_is_sent_to_a_new_answerer() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.arrives("B", "q2", context=words("[q1, a1] "), history=("q1", "a1"))
    room.expects("B1 is answered: a1", "A2 is shown: q2")
    room.passes(100)
    room.arrives("C", "ping")
    room.expects("C1 is shown: [q1, a1] q2")


def test_all_parts_of_the_words_reach_the_answerer_as_they_are() -> None:
    asked: Arrive = arrival("B1", "B", "q1", rules=RULES)
    state, _ = step(Session(), arrival("A1", "A", "ping", rules=RULES), 0.0)
    _, (command,) = step(state, asked, 0.0)
    assert isinstance(command, SendPrompt)
    assert command.prompt.words is asked.words
