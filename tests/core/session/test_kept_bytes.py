"""What a session keeps of what was said has a limit: what may go goes first, and what may not go is refused clearly."""

from __future__ import annotations

from motive_core.session.draft import prompt_bytes
from tests.core.session.room import Room, words


def kept(room: Room) -> int:
    state = room.state
    said = [one.size_bytes for one in state.unsolicited] + [one.size_bytes for one in state.undelivered]
    return sum(said) + sum(map(prompt_bytes, state.prompts))


def test_a_prompt_that_does_not_fit_is_refused_and_the_others_wait_on() -> None:
    room = Room(keep_limit_bytes=100)
    room.arrives("A", "ping")
    room.arrives("B", "q1", size_bytes=60)
    room.expects("A1 is shown: q1")
    room.arrives("B", "q2", size_bytes=41)
    room.expects("B2 error: queue_full")
    room.arrives("B", "q3", size_bytes=40)
    room.expects()
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1", "A2 is shown: q3")
    assert kept(room) == 100


def test_it_passes_where_the_route_says_so() -> None:
    room = Room(keep_limit_bytes=100, on_full="pass", can_pass=True)
    room.pairs()
    room.arrives("B", "q2", size_bytes=101)
    room.expects("B2 passes")


def test_prompts_that_are_kept_for_a_retry_go_first_and_the_oldest_of_them() -> None:
    room = Room(keep_limit_bytes=100)
    room.arrives("A", "ping")
    for number in (1, 2):
        room.arrives("B", f"q{number}", size_bytes=40)
        room.expects(f"A{number} is shown: q{number}")
        room.arrives("A", f"a{number}", size_bytes=5)
        room.expects(f"B{number} is answered: a{number}")
        room.now += 1.0
    assert kept(room) == 90
    room.arrives("B", "q3", size_bytes=50)
    room.expects("A3 is shown: q3")
    assert kept(room) == 95
    room.arrives("B", "q2", retry=True)
    room.expects("B4 is answered: a2")


def test_unsolicited_words_go_before_anything_else_and_take_nobodys_place() -> None:
    room = Room(keep_limit_bytes=100)
    room.arrives("A", "ping")
    for number in range(4):
        room.arrives("A", f"w{number}", role="answerer", size_bytes=30)
        room.now += 1.0
    room.expects(*(f"A{number} error: superseded" for number in range(1, 5)))
    assert [one.words for one in room.state.unsolicited] == [words(f"w{number}") for number in (1, 2, 3)]
    room.arrives("A", "too long", role="answerer", size_bytes=101)
    room.expects("A5 error: superseded")
    assert kept(room) == 90
    room.arrives("B", "q1", size_bytes=70)
    room.expects("A6 is shown: q1")
    assert kept(room) == 100 and len(room.state.unsolicited) == 1


def test_unsolicited_words_do_not_drop_what_is_kept_for_a_retry() -> None:
    room = Room(keep_limit_bytes=100)
    room.arrives("A", "ping")
    room.arrives("B", "q1", size_bytes=90)
    room.expects("A1 is shown: q1")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.arrives("A", "and more", size_bytes=11)
    room.expects("A2 error: superseded")
    assert room.state.unsolicited == ()
    room.arrives("B", "q1", retry=True)
    room.expects("B2 is answered: a1")


def test_an_answer_that_does_not_fit_is_told_so_and_the_prompt_waits() -> None:
    room = Room(keep_limit_bytes=100)
    room.arrives("A", "ping")
    room.arrives("B", "q1", size_bytes=60)
    room.expects("A1 is shown: q1")
    room.arrives("A", "far too long", size_bytes=50)
    room.expects("A2 notice: refused (the session keeps as much as it may, and has no room for so long an answer)")
    room.arrives("A", "short", size_bytes=40)
    room.expects("B1 is answered: short")
    assert kept(room) == 100


def test_answers_that_nobody_fetched_are_bounded() -> None:
    room = Room(keep_limit_bytes=100)
    for number in range(1, 6):
        room.arrives("A", "ping", role="answerer")
        room.arrives("B", f"q{number}", size_bytes=1)
        room.expects(f"A{2 * number - 1} is shown: q{number}")
        room.gone(f"B{number}")
        room.arrives("A", f"a{number}", size_bytes=40)
        room.passes(room.rules.retry_window_s)
        room.expects(f"A{2 * number} notice: undelivered")
        assert kept(room) <= 100
    assert [one.digest for one in room.state.undelivered] == ["a4", "a5"]
