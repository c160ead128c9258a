"""What the operator does to a session: answers a call, lets it pass, takes the session over, gives it back."""

from __future__ import annotations

from dataclasses import replace

from motive_core.session import Answered, Failure, Session, answerer_present
from tests.core.session.room import Room, by_operator


class TestAnAnswer:
    def test_goes_to_the_call_though_nobody_is_there(self) -> None:
        room = Room()
        room.arrives("B", "q1", role="asker")
        room.answers("B1", "by hand")
        room.expects("B1 is answered: by hand")
        assert room.state.turns == 1
        room.arrives("B", "q2", role="asker")
        room.expects()

    def test_goes_to_all_calls_of_the_prompt(self) -> None:
        room = Room()
        room.pairs()
        room.arrives("B", "q1", retry=True)
        room.answers("B2", "by hand")
        room.expects("B1 is answered: by hand", "B2 is answered: by hand")

    def test_goes_to_a_later_retry_as_well(self) -> None:
        room = Room()
        room.pairs()
        room.answers("B1", "by hand")
        room.sends("B1 is answered: by hand")
        room.failed("B1")
        room.arrives("B", "q1", retry=True)
        room.expects("B2 is answered: by hand")

    def test_who_was_shown_the_prompt_is_told_that_it_is_late(self) -> None:
        room = Room(remembering="A")
        room.pairs()
        room.answers("B1", "by hand")
        room.expects("B1 is answered: by hand")
        room.arrives("A", "my answer")
        room.expects("A2 notice: late")
        room.arrives("B", "q2")
        room.arrives("A", "ping")
        room.expects("A3 is shown: q2")
        room.arrives("A", "another answer")
        room.expects("B2 is answered: another answer")

    def test_who_is_shown_it_at_that_moment_is_late_too(self) -> None:
        room = Room()
        room.arrives("A", "ping")
        room.arrives("B", "q1")
        room.sends("A1 is shown: q1")
        room.answers("B1", "by hand")
        room.sends("B1 is answered: by hand")
        room.delivered("A1")
        room.delivered("B1")
        room.arrives("A", "my answer")
        room.expects("A2 notice: late")

    def test_who_joins_again_is_past_it(self) -> None:
        room = Room()
        room.pairs()
        room.answers("B1", "by hand")
        room.sends("B1 is answered: by hand")
        room.arrives("A", "ping")
        room.arrives("A", "hm")
        room.expects("A2 error: superseded")

    def test_who_listens_is_shown_the_next_prompt(self) -> None:
        room = Room(remembering="A")
        room.pairs()
        room.arrives("B", "q2", role="asker")
        room.expects()
        room.answers("B2", "by hand")
        room.expects("B2 is answered: by hand")
        room.arrives("A", "answer to q1")
        room.expects("B1 is answered: answer to q1")
        room.arrives("B", "q3")
        room.expects("A2 is shown: q3")

    def test_makes_the_first_client_the_asker(self) -> None:
        """Its words were no ping: it has got an answer to them."""
        room = Room()
        room.arrives("B", "q1")
        room.answers("B1", "by hand")
        room.expects("B1 is answered: by hand")
        assert not room.state.provisional
        room.arrives("A", "ping")
        room.arrives("B", "q2")
        room.expects("A1 is shown: q2")

    def test_may_be_an_error(self) -> None:
        room = Room()
        room.pairs()
        room.step(Answered(room.prompt_of("B1"), replace(by_operator(""), failure=Failure(429, "slow down"))))
        room.expects("B1 fails: 429 slow down")

    def test_to_a_call_that_listens_is_none(self) -> None:
        room = Room()
        room.arrives("A", "ping")
        before = room.state
        room.answers("A1", "by hand")
        room.expects()
        assert room.state == before

    def test_to_a_call_that_has_its_answer_is_none(self) -> None:
        room = Room()
        room.pairs()
        room.arrives("A", "answer")
        room.answers("B1", "by hand")
        room.expects("B1 is answered: answer")

    def test_that_the_session_has_no_room_for_is_none(self) -> None:
        room = Room(keep_limit_bytes=100)
        room.arrives("B", "q1", role="asker", size_bytes=60)
        before = room.state
        room.step(Answered(room.prompt_of("B1"), replace(by_operator("long"), size_bytes=60)))
        room.expects()
        assert room.state == before


class TestAPass:
    def test_takes_all_calls_of_the_prompt(self) -> None:
        room = Room(can_pass=True, remembering="A")
        room.pairs()
        room.arrives("B", "q1", retry=True)
        room.lets_pass("B1")
        room.expects("B1 passes", "B2 passes")
        room.arrives("A", "my answer")
        room.expects("A2 notice: late")

    def test_of_a_call_without_a_real_service_is_none(self) -> None:
        room = Room()
        room.pairs()
        before = room.state
        room.lets_pass("B1")
        room.expects()
        assert room.state == before


class TestATakeover:
    def test_holds_what_would_have_passed(self) -> None:
        room = Room(when_joined=True, can_pass=True)
        room.arrives("B", "q1", role="asker")
        room.expects("B1 passes")
        room.takes_over()
        room.arrives("B", "q2", role="asker")
        room.expects()
        room.answers("B2", "by hand")
        room.expects("B2 is answered: by hand")

    def test_lasts_until_it_is_given_back(self) -> None:
        room = Room(when_joined=True, can_pass=True)
        room.takes_over()
        room.passes(1_000_000.0)
        assert answerer_present(room.state, room.now)
        room.arrives("B", "q1", role="asker")
        room.expects()
        room.gives_back()
        room.answers("B1", "by hand")
        room.expects("B1 is answered: by hand")
        room.arrives("B", "q2", role="asker")
        room.expects("B2 passes")

    def test_lasts_over_a_restart(self) -> None:
        room = Room(when_joined=True, can_pass=True)
        room.takes_over()
        room.restarts()
        room.arrives("B", "q1", role="asker")
        room.expects()

    def test_ends_with_the_session(self) -> None:
        room = Room()
        room.takes_over()
        room.closes()
        assert room.state == Session()

    def test_given_back_leaves_nothing(self) -> None:
        room = Room()
        room.takes_over()
        room.gives_back()
        assert room.state == Session()

    def test_given_back_is_what_a_lost_answerer_is(self) -> None:
        room = Room(can_pass=True, on_lost="pass")
        room.takes_over()
        room.arrives("B", "q1", role="asker")
        room.expects()
        room.gives_back()
        room.expects("B1 passes")

    def test_given_back_changes_nothing_for_an_answerer_beside_it(self) -> None:
        room = Room(can_pass=True, on_lost="pass")
        room.takes_over()
        room.pairs()
        room.gives_back()
        room.expects()
        room.arrives("A", "answer")
        room.expects("B1 is answered: answer")

    def test_an_answerer_that_leaves_it_is_no_loss(self) -> None:
        room = Room(can_pass=True, on_lost="pass")
        room.pairs()
        room.takes_over()
        room.arrives("A", "/leave")
        room.expects("A2 notice: left")
        room.answers("B1", "by hand")
        room.expects("B1 is answered: by hand")

    def test_an_answerer_whose_time_is_over_is_no_loss(self) -> None:
        room = Room(can_pass=True, on_lost="pass")
        room.pairs()
        room.takes_over()
        room.passes(room.rules.turn_timeout_s + 1)
        room.expects()
        room.gives_back()
        room.expects("B1 passes")

    def test_grants_calls_that_wait_for_a_first_answerer_their_hold_time(self) -> None:
        room = Room()
        room.arrives("B", "q1", role="asker")
        room.takes_over()
        room.passes(room.rules.handshake_timeout_s + 1)
        room.expects()
        room.passes(room.rules.hold_timeout_s)
        room.expects("B1 error: hold_timeout")

    def test_makes_askers_of_those_who_only_speak(self) -> None:
        room = Room()
        room.takes_over()
        room.arrives("B", "q1")
        assert not room.state.provisional
        room.passes(room.rules.rejoin_window_s)
        room.arrives("C", "q2")
        room.expects("C1 error: session_full")
        room.arrives("A", "ping")
        room.expects("A1 is shown: q1")

    def test_leaves_to_who_came_first_what_it_said(self) -> None:
        """It is not shown its own words, should it say a join word now."""
        room = Room()
        room.arrives("B", "q1")
        room.takes_over()
        room.arrives("B", "ping")
        room.expects("B2 notice: paired")
