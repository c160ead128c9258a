"""Rules 1 to 3 of the design: who asks, who answers, and how two clients that look alike are told apart."""

from __future__ import annotations

import pytest

from motive_core.session import Session
from tests.core.session.room import Room

# Rule 1: the role


def test_a_join_word_makes_an_answerer() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("B", "q1")
    room.expects("A1 is shown: q1")


def test_the_first_of_two_plain_clients_answers_and_its_words_are_a_ping() -> None:
    room = Room()
    room.arrives("A", "anyone here?")
    room.expects()
    room.arrives("B", "q1")
    room.expects("A1 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    assert all(prompt.who == "B" for prompt in room.state.prompts)


def test_the_first_client_asks_if_the_second_one_joins() -> None:
    room = Room()
    room.arrives("B", "q1")
    room.arrives("A", "ping")
    room.expects("A1 is shown: q1")


def test_the_only_client_that_visibly_asks_is_the_asker_though_it_came_first() -> None:
    room = Room()
    room.arrives("B", "q1", asks=True)
    room.arrives("A", "hello")
    room.expects("A1 is shown: q1")
    assert not room.state.unsolicited


def test_the_only_client_that_visibly_asks_is_the_asker_though_it_came_second() -> None:
    room = Room()
    room.arrives("A", "hello")
    room.arrives("B", "q1", asks=True)
    room.expects("A1 is shown: q1")


def test_of_two_that_visibly_ask_the_first_answers() -> None:
    room = Room()
    room.arrives("A", "hello", asks=True, shape="chat")
    room.arrives("B", "q1", asks=True, shape="app")
    room.expects("A1 is shown: q1")


def test_parallel_calls_of_an_app_that_came_first_are_all_prompts() -> None:
    room = Room()
    for number in range(1, 21):
        room.arrives("B", f"q{number}", asks=True, shape="app")
    room.expects()
    room.arrives("A", "hello")
    room.expects("A1 is shown: q1")
    for number in range(1, 20):
        room.arrives("A", f"a{number}")
        room.expects(f"B{number} is answered: a{number}", f"A{number + 1} is shown: q{number + 1}")


def test_a_client_that_asked_visibly_once_is_an_asker_though_its_next_call_shows_nothing() -> None:
    room = Room()
    room.arrives("B", "q1", asks=True)
    room.arrives("B", "q2", history=("q1", "(cut)"))
    room.arrives("A", "hello")
    room.expects("A1 is shown: q1")


def test_an_explicit_asker_is_one_whatever_it_looks_like() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("A", "q1", role="asker")
    room.expects("A1 is shown: q1")
    room.arrives("A", "a1")
    room.expects("A2 is answered: a1")


def test_several_explicit_askers_share_one_answerer() -> None:
    room = Room()
    room.arrives("B", "q1", role="asker")
    room.arrives("C", "q2", role="asker")
    room.arrives("A", "ping")
    room.expects("A1 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "A2 is shown: q2")
    room.arrives("A", "a2")
    room.expects("C1 is answered: a2")


def test_an_explicit_answerer_needs_no_join_word() -> None:
    room = Room()
    room.arrives("B", "q1", asks=True)
    room.arrives("A", "hi", role="answerer", asks=True)
    room.expects("A1 is shown: q1")
    room.arrives("A", "a1", role="answerer")
    room.expects("B1 is answered: a1")


def test_an_explicit_answerer_is_a_stranger_while_another_one_is_there() -> None:
    room = Room()
    room.pairs()
    room.arrives("C", "hi", role="answerer")
    room.expects("C1 error: session_full")
    room.passes(100)
    room.arrives("C", "hi", role="answerer")
    room.expects("C2 is shown: q1")


def test_the_first_client_listens_when_an_explicit_asker_comes() -> None:
    room = Room()
    room.arrives("A", "hello")
    room.arrives("B", "q1", role="asker")
    room.expects("A1 is shown: q1")


def test_a_first_client_that_visibly_asks_stays_asker_when_an_explicit_asker_comes() -> None:
    room = Room()
    room.arrives("B", "q1", asks=True)
    room.arrives("C", "q2", role="asker")
    room.expects()
    room.arrives("A", "ping")
    room.expects("A1 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "A2 is shown: q2")


def test_the_first_client_may_try_again_with_other_words() -> None:
    room = Room()
    call = room.arrives("A", "hello")
    room.gone(call)
    room.arrives("A", "hello??")
    room.expects()
    room.arrives("B", "q1")
    room.expects("A2 is shown: q1")


def test_a_second_message_of_a_first_client_with_a_history_is_no_other_client() -> None:
    room = Room()
    room.arrives("A", "hello")
    room.arrives("A", "hello??", history=("hello", "(stopped)"))
    room.expects()
    room.arrives("B", "q1")
    room.expects("A1 error: superseded", "A2 is shown: q1")


@pytest.mark.parametrize("stopped", [True, False])
def test_the_first_client_may_decide_to_join_and_is_never_shown_its_own_words(*, stopped: bool) -> None:
    room = Room()
    call = room.arrives("A", "hello")
    if stopped:
        room.gone(call)
        room.arrives("A", "ping")
        room.expects()
    else:
        room.arrives("A", "ping", history=("hello", "(stopped)"))
        room.expects("A1 error: superseded")
    room.arrives("B", "q1")
    room.expects("A2 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_a_first_client_that_left_is_awaited_as_the_answerer() -> None:
    room = Room(on_lost="error")
    call = room.arrives("A", "hello")
    room.gone(call)
    room.arrives("B", "q1")
    room.passes(20)
    room.expects()
    room.arrives("A", "here I am")
    room.expects("A2 is shown: q1")


def test_a_retry_of_the_first_client_changes_nothing() -> None:
    room = Room()
    room.arrives("A", "hello")
    room.arrives("A", "hello", retry=True)
    room.expects()
    room.arrives("B", "q1")
    room.expects("A1 error: superseded", "A2 is shown: q1")


def test_the_second_one_to_say_a_join_word_asks() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("B", "ping")
    room.expects("B1 notice: paired")
    room.arrives("B", "q1")
    room.expects("A1 is shown: q1")


def test_a_plain_newcomer_answers_where_only_an_explicit_asker_is() -> None:
    room = Room()
    room.arrives("B", "q1", role="asker")
    room.arrives("A", "hello")
    room.expects("A1 is shown: q1")


def test_a_newcomer_takes_the_seat_of_an_asker_that_has_not_been_heard_of_for_a_while() -> None:
    room = Room(rejoin_window_s=30.0)
    room.pairs()
    room.passes(20)
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.passes(29)
    room.arrives("C", "q2")
    room.expects("C1 error: session_full")
    room.passes(1)
    room.arrives("C", "q3")
    room.expects("A2 is shown: q3")
    room.arrives("C", "q4")
    room.arrives("B", "q5")
    room.expects("B2 error: session_full")


def test_an_asker_that_nobody_displaced_finds_its_seat_after_a_long_pause() -> None:
    room = Room(rejoin_window_s=10.0, turn_timeout_s=100.0)
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.passes(99)
    room.arrives("B", "q2")
    room.expects("A2 is shown: q2")


def test_the_askers_seat_stays_its_own_beside_an_explicit_asker() -> None:
    room = Room()
    room.pairs()
    room.arrives("C", "q2", role="asker")
    room.arrives("B", "q3")
    room.expects()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "A2 is shown: q2")


# Rule 2: join words


def test_a_join_word_of_the_asker_gets_a_notice_and_never_reaches_the_other_side() -> None:
    room = Room()
    room.arrives("B", "/join", role="asker")
    room.expects("B1 notice: waiting")
    room.arrives("A", "ping")
    room.arrives("B", "/join", role="asker")
    room.arrives("B", "/join the talk", role="asker")
    room.expects("B2 notice: paired", "B3 notice: paired")
    assert not room.state.prompts


def test_a_first_word_joins_only_who_owes_nothing() -> None:
    room = Room()
    room.arrives("A", "/join the talk")
    room.arrives("B", "q1")
    room.expects("A1 is shown: q1")
    room.arrives("A", "/join is the word")
    room.expects("B1 is answered: /join is the word")
    room.arrives("A", "/join again")
    room.expects("A2 error: superseded")
    assert not room.state.unsolicited


def test_a_join_word_is_never_an_answer() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "ping")
    room.expects("A2 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


# Leaving, a word of the answerer


def test_leaving_frees_the_seat_at_once() -> None:
    room = Room(on_lost="pass", can_pass=True)
    room.pairs()
    room.arrives("A", "/leave")
    room.expects("A2 notice: left", "B1 passes")
    room.arrives("C", "ping")
    room.arrives("B", "q2")
    room.expects("C1 is shown: q2")


def test_leaving_ends_an_older_listening_call() -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("A", "/leave")
    room.expects("A1 error: superseded", "A2 notice: left")
    assert room.state == Session()


def test_who_leaves_owes_nothing_when_it_comes_back() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "/leave")
    room.expects("A2 notice: left")
    room.arrives("A", "hello again")
    room.expects("A3 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


@pytest.mark.parametrize("role", [None, "answerer"])
def test_who_never_sat_down_cannot_send_the_prompts_away(role: str | None) -> None:
    room = Room(on_lost="error")
    room.arrives("B", "q1", role="asker")
    room.arrives("C", "/leave", role=role)
    room.expects("C1 notice: left")
    room.arrives("A", "ping")
    room.expects("A1 is shown: q1")
    room.arrives("C", "/leave", role=role)
    room.expects("C2 notice: left")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


def test_leaving_twice_is_leaving_once() -> None:
    room = Room(on_lost="error")
    room.pairs()
    room.arrives("A", "/leave")
    room.expects("A2 notice: left", "B1 error: answerer_left")
    room.arrives("B", "q2")
    room.arrives("A", "/leave")
    room.expects("A3 notice: left")


def test_an_askers_leave_is_a_prompt_like_any_other() -> None:
    room = Room()
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.arrives("B", "/leave")
    room.expects("A2 is shown: /leave")


# Rule 3: look-alikes


def test_look_alikes_a_join_word_tells_the_answerer() -> None:
    room = Room(same_look=True)
    room.arrives("B", "q1")
    room.arrives("A", "ping")
    room.expects("A1 is shown: q1")
    room.arrives("A", "ping")
    room.expects("A2 is shown: q1")


def test_look_alikes_a_join_word_wins_over_everything_else() -> None:
    room = Room(same_look=True, remembering=["B"])
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.arrives("B", "ping")
    room.expects("A2 error: superseded")


def test_look_alikes_the_shape_tells_them_apart() -> None:
    room = Room(same_look=True)
    room.arrives("A", "ping", shape="chat")
    room.arrives("B", "q1", shape="app")
    room.expects("A1 is shown: q1")
    room.arrives("B", "q2", shape="app")  # by turn it would be the answer
    room.expects()
    room.arrives("A", "a1", shape="chat")
    room.expects("B1 is answered: a1", "A2 is shown: q2")
    room.arrives("A", "a2", shape="chat")
    room.arrives("A", "hm", shape="chat")  # by turn it would be a prompt
    room.expects("B2 is answered: a2", "A3 error: superseded")


def test_look_alikes_the_first_one_is_told_apart_by_its_shape() -> None:
    room = Room(same_look=True)
    call = room.arrives("A", "hello", shape="chat")
    room.gone(call)
    room.arrives("B", "q1", shape="app")
    room.arrives("A", "here I am", shape="chat")
    room.expects("A2 is shown: q1")


def test_look_alikes_the_key_of_an_open_prompt_tells_the_asker() -> None:
    room = Room(same_look=True)
    room.pairs()
    room.arrives("B", "q1", retry=True)
    room.expects()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "B2 is answered: a1")


def test_look_alikes_a_marked_retry_of_a_done_prompt_tells_the_asker() -> None:
    room = Room(same_look=True)
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.arrives("B", "q2")
    room.expects("A2 is shown: q2")
    room.arrives("B", "q1", retry=True)
    room.expects("B3 is answered: a1")


def test_look_alikes_words_that_were_a_prompt_once_may_be_an_answer_now() -> None:
    room = Room(same_look=True)
    room.arrives("A", "ping")
    for turn, text in enumerate(["ok", "sure?", "fine"], 1):
        room.arrives("B", text)
        room.expects(f"A{turn} is shown: {text}")
        room.arrives("A", "ok" if turn == 2 else f"a{turn}")
        room.expects(f"B{turn} is answered: {'ok' if turn == 2 else f'a{turn}'}")


def test_look_alikes_a_marked_retry_of_the_last_words_tells_the_answerer() -> None:
    room = Room(same_look=True)
    room.pairs()
    call = room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.gone(call)
    room.arrives("A", "a1", retry=True)
    room.arrives("B", "q2")
    room.expects("A3 is shown: q2")


def test_look_alikes_a_prompt_is_told_by_the_answer_that_it_quotes_out_of_turn() -> None:
    room = Room(same_look=True, remembering=["A", "B"])
    room.pairs()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.arrives("B", "q2")
    room.expects("A2 is shown: q2")
    room.arrives("B", "q2, other words")  # an answer is owed, but it quotes one
    room.expects()
    room.arrives("A", "a2")
    room.expects("B2 is answered: a2", "A3 is shown: q2, other words")


def test_look_alikes_an_answer_is_told_by_the_prompt_that_it_quotes_out_of_turn() -> None:
    room = Room(same_look=True, remembering=["A", "B"])
    room.pairs()
    call = room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.gone(call)
    room.arrives("A", "a1, and more")  # nothing is owed, but it quotes q1
    room.expects()
    room.arrives("B", "q2")
    room.expects("A3 is shown: q2")


def test_look_alikes_quotes_of_ones_own_words_tell_where_the_last_message_does_not() -> None:
    room = Room(same_look=True)
    room.pairs()
    room.arrives("B", "q2", history=("q1", "(cut)"))
    room.expects()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "A2 is shown: q2")
    room.arrives("A", "a2")
    room.arrives("A", "more", history=("a2", "(cut)"))
    room.expects("B2 is answered: a2", "A3 error: superseded")


def test_look_alikes_with_the_same_words_on_both_sides_go_by_turn() -> None:
    room = Room(same_look=True, remembering=["A", "B"])
    room.arrives("A", "ping")
    room.arrives("B", "ok")
    room.expects("A1 is shown: ok")
    room.arrives("A", "ok")
    room.expects("B1 is answered: ok")
    room.arrives("B", "fine")
    room.expects("A2 is shown: fine")


def test_look_alikes_by_turn_it_is_the_answerer_if_and_only_if_it_owes() -> None:
    room = Room(same_look=True)
    room.pairs()
    for number in range(1, 7):
        room.arrives("A", f"a{number}")
        room.expects(f"B{number} is answered: a{number}")
        room.arrives("B", f"q{number + 1}")
        room.expects(f"A{number + 1} is shown: q{number + 1}")


def test_look_alikes_who_listens_does_not_speak_though_an_orphan_is_owed() -> None:
    room = Room(same_look=True)
    room.pairs()
    room.gone("B1")
    room.arrives("A", "ping")
    room.arrives("B", "q2")
    room.expects("A2 is shown: q2")


def test_look_alikes_who_joined_again_owes_nothing_that_is_done() -> None:
    room = Room(same_look=True)
    room.pairs()
    room.released("B1")
    room.arrives("A", "ping")
    room.arrives("B", "q2")
    room.expects("A2 is shown: q2")


def test_a_late_answer_of_a_look_alike_is_told_so() -> None:
    room = Room(same_look=True)
    room.pairs()
    room.released("B1")
    room.arrives("A", "a1")
    room.expects("A2 notice: late")


def test_a_look_alike_of_the_asker_takes_the_answerers_empty_seat_with_a_join_word() -> None:
    room = Room()
    room.pairs()
    room.passes(100)
    room.arrives("C", "ping", who="B")
    room.expects("C1 is shown: q1")


def test_a_join_word_of_the_asker_takes_nobodys_seat() -> None:
    room = Room()
    room.pairs()
    room.arrives("B", "ping")
    room.expects("B2 notice: paired")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")


@pytest.mark.parametrize("more", [{"history": ("q0", "a0", "q1", "hm")}, {"asks": True}])
def test_an_asker_that_says_a_join_word_to_nobody_stays_the_asker(more: dict[str, object]) -> None:
    room = Room()
    room.arrives("A", "ping")
    room.arrives("B", "q1", asks=True)
    room.expects("A1 is shown: q1")
    room.passes(100)
    room.arrives("B", "ping", **more)
    room.expects("B2 notice: waiting")


def test_a_look_alike_of_the_only_answerer_asks_unless_it_joins_or_quotes_it() -> None:
    room = Room(same_look=True)
    room.arrives("A", "ping")
    room.arrives("A", "/join")
    room.expects("A1 error: superseded")
    room.arrives("A", "anyone?", history=("ping", "(stopped)"))
    room.expects("A2 error: superseded")
    room.arrives("A", "anyone?", history=("ping", "(stopped)"))
    room.expects("A3 error: superseded")
    room.arrives("B", "q1")
    room.expects("A4 is shown: q1")


def test_a_second_agent_that_looks_like_the_answerer_is_not_taken_for_it() -> None:
    room = Room()
    room.arrives("A", "ping", who="same")
    room.arrives("B", "plan", who="same", asks=True, shape="planner")
    room.expects("A1 is shown: plan")
    room.arrives("B", "code", who="same", asks=True, shape="coder")
    room.expects()
    room.arrives("A", "planned", who="same")
    room.expects("B1 is answered: planned", "A2 is shown: code")


def test_a_visible_asker_does_not_fall_into_the_answerers_empty_seat() -> None:
    room = Room()
    room.arrives("B", "q1", role="asker")
    room.arrives("C", "q2", asks=True)
    room.expects("C1 error: session_full")
    room.arrives("A", "ping")
    room.expects("A1 is shown: q1")
