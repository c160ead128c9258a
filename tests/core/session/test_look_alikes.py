"""Two clients that look the same, where one says again what it said before."""

from __future__ import annotations

from tests.core.session.room import Room


def test_look_alikes_last_words_again_tell_the_answerer_whose_call_is_gone() -> None:
    room = Room(same_look=True)
    room.pairs()
    call = room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.gone(call)
    room.arrives("A", "a1")  # not marked: Ollama's, Google's and Cohere's SDKs mark none
    room.expects()
    room.arrives("B", "q2")
    room.expects("A3 is shown: q2")


def test_look_alikes_words_that_both_said_tell_nobody_apart() -> None:
    room = Room(same_look=True)
    room.arrives("A", "ping")
    room.arrives("B", "ok")
    room.expects("A1 is shown: ok")
    room.arrives("A", "a1")
    room.expects("B1 is answered: a1")
    room.arrives("B", "q2")
    room.expects("A2 is shown: q2")
    call = room.arrives("A", "ok")
    room.expects("B2 is answered: ok")
    room.gone(call)
    room.arrives("B", "ok")
    room.expects()
    room.arrives("A", "ping")
    room.expects("A4 is shown: ok")
