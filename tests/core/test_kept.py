"""Replies that a client may name later: who may, for how long, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from motive_core import kept
from motive_core.ir import ChatRequest, Choice, Message, Reply, TextPart
from motive_core.kept import KeptReplies


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def replies(clock: Clock) -> KeptReplies:
    return KeptReplies(clock, keep_s=10.0)


def request_of(text: str = "hi", **fields: object) -> ChatRequest:
    return ChatRequest("openai-responses", "npc", (Message("user", (TextPart(text),)),), **fields)  # type: ignore[arg-type]


def reply_of(reply_id: str) -> Reply:
    return Reply(reply_id, "npc", (Choice((TextPart("hello"),)),))


def test_a_reply_is_found_by_its_id_with_its_request(replies: KeptReplies) -> None:
    request, reply = request_of(raw=b"12345"), reply_of("resp_1")
    replies.add(request, reply, "key:a")
    found = replies.find("resp_1", "key:a")
    assert found is not None
    assert (found.request, found.reply) == (request, reply)
    assert found.request.raw == b""
    assert replies.find("resp_2", "key:a") is None
    assert len(replies) == 1


def test_a_conversation_that_began_at_the_real_service_still_says_so(replies: KeptReplies) -> None:
    replies.add(request_of(previous="resp_real"), reply_of("resp_1"), None)
    found = replies.find("resp_1", None)
    assert found is not None
    assert found.request.previous == "resp_real"


@pytest.mark.parametrize(("owner", "other"), [("key:a", "key:b"), ("key:a", None), (None, "key:a")])
def test_only_the_client_that_it_went_to_may_name_it(
    replies: KeptReplies, owner: str | None, other: str | None
) -> None:
    replies.add(request_of(), reply_of("resp_1"), owner)
    assert replies.find("resp_1", other) is None
    assert not replies.forget("resp_1", other)
    assert replies.find("resp_1", owner) is not None


def test_a_reply_is_forgotten_once(replies: KeptReplies) -> None:
    replies.add(request_of(), reply_of("resp_1"), None)
    assert replies.forget("resp_1", None)
    assert replies.find("resp_1", None) is None
    assert not replies.forget("resp_1", None)
    assert len(replies) == 0


def test_a_reply_is_kept_for_a_while(replies: KeptReplies, clock: Clock) -> None:
    replies.add(request_of(), reply_of("resp_1"), None)
    clock.now += 10.0
    assert replies.find("resp_1", None) is not None
    replies.add(request_of(), reply_of("resp_2"), None)
    clock.now += 0.1
    assert replies.find("resp_1", None) is None
    assert not replies.forget("resp_1", None)
    assert len(replies) == 2
    replies.expire()
    assert len(replies) == 1
    assert replies.find("resp_2", None) is not None


def test_a_new_configuration_counts_for_what_is_kept(replies: KeptReplies, clock: Clock) -> None:
    replies.add(request_of(), reply_of("resp_1"), None)
    clock.now += 20.0
    replies.keep_s = 30.0
    assert replies.find("resp_1", None) is not None
    replies.keep_s = 5.0
    replies.expire()
    assert len(replies) == 0


def test_the_same_id_again_takes_the_place_of_the_first(replies: KeptReplies, clock: Clock) -> None:
    replies.add(request_of("one"), reply_of("resp_1"), None)
    clock.now += 6.0
    replies.add(request_of("two"), reply_of("resp_1"), None)
    clock.now += 6.0
    found = replies.find("resp_1", None)
    assert found is not None
    assert found.request.messages[0].text == "two"
    assert len(replies) == 1


def test_the_oldest_go_first(replies: KeptReplies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_KEPT", 3)
    for number in range(5):
        replies.add(request_of(), reply_of(f"resp_{number}"), None)
    assert [number for number in range(5) if replies.find(f"resp_{number}", None)] == [2, 3, 4]


def test_large_bodies_leave_less_room(replies: KeptReplies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_KEPT_BYTES", 100_000)
    for number in range(4):
        replies.add(request_of(raw=b"x" * 40_000), reply_of(f"resp_{number}"), None)
    assert [number for number in range(4) if replies.find(f"resp_{number}", None)] == [2, 3]
    assert replies.forget("resp_3", None)
    replies.add(request_of(raw=b"x" * 50_000), reply_of("resp_5"), None)
    assert len(replies) == 2


def test_large_replies_leave_less_room(replies: KeptReplies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_KEPT_BYTES", 100_000)
    for number in range(4):
        reply = Reply(f"resp_{number}", "npc", (Choice((TextPart("x" * 40_000),)),))
        replies.add(request_of(), reply, None)
    assert len(replies) == 2


def test_what_is_too_large_is_not_kept_and_leaves_the_others_alone(
    replies: KeptReplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_KEPT_BYTES", 100_000)
    replies.add(request_of(), reply_of("resp_1"), None)
    replies.add(request_of(raw=b"x" * 100_001), reply_of("resp_2"), None)
    assert replies.find("resp_1", None) is not None
    assert replies.find("resp_2", None) is None


def said(replies: KeptReplies, text: str, number: int, previous: int | None) -> None:
    """One turn of a conversation that goes on by ``previous_response_id``, as the gateway keeps it."""
    name = None if previous is None else f"resp_{previous}"
    came = request_of(text, previous=name, raw=text.encode())
    request = came
    if name is not None:
        found = replies.find(name, None)
        assert found is not None
        answer = Message("assistant", found.reply.choices[0].parts)
        request = replace(came, messages=(*found.request.messages, answer, *came.messages), previous=None)
    replies.add(request, reply_of(f"resp_{number}"), None, came)


def test_a_conversation_counts_what_it_shares_once(replies: KeptReplies) -> None:
    said(replies, "x" * 50_000, 0, None)
    first = replies.size
    for number in range(1, 20):
        said(replies, "and?", number, number - 1)
    assert 50_000 < first < replies.size < 2 * first


def test_what_is_shared_is_counted_until_the_last_of_it_goes(replies: KeptReplies) -> None:
    said(replies, "x" * 50_000, 0, None)
    said(replies, "and?", 1, 0)
    said(replies, "or?", 2, 0)
    for number, size in ((0, 50_000), (2, 50_000), (1, 0)):
        assert replies.forget(f"resp_{number}", None)
        assert size <= replies.size <= size + 2_000
    assert replies.size == 0


def test_a_long_conversation_takes_no_more_than_all_may(replies: KeptReplies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_KEPT_BYTES", 1_000_000)
    for number in range(600):
        said(replies, "x" * 500, number, number - 1 if number else None)
        assert replies.size <= 1_000_000
    # Mostly places of shared messages, which go with the replies that have them.
    assert 10 < len(replies) < 300
    assert replies.find("resp_599", None) is not None
