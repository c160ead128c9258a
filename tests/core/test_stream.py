"""Reply events and the two ways between them and a whole reply."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.errors import FramingError, OverloadedError
from motive_core.ir import (
    BlobPart,
    Choice,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from motive_core.stream import (
    ChoiceEnded,
    Collector,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    ReplyEvent,
    SignatureDelta,
    Started,
    UsageReported,
    collect,
    replay,
    replay_part,
)
from tests.core.strategies import EXACT, any_replies, sayings

EVERYTHING = Reply(
    "id",
    "m",
    (
        Choice(
            (
                ReasoningPart("hm", "sig", extra={"a": 1}),
                ReasoningPart("", redacted="xyz"),
                TextPart("hi", extra={"b": 2}),
                RefusalPart("no"),
                ToolCallPart("c", "f", "{}", extra={"c": 3}),
                ToolCallPart("d", "g", "text", custom=True),
                BlobPart("image/png", data="AAAA", name="x"),
                ToolResultPart("c", (TextPart("3"),), "f", is_error=True),
                OpaquePart("somewhere", {"type": "new"}),
            ),
            "tool_calls",
            extra={"d": 4},
        ),
        Choice((), "length", "END"),
    ),
    Usage(1, 2, 3, 4, extra={"e": 5}),
    1_795_230_236,
    extra={"f": 6},
    dialect="somewhere",
)


def test_a_whole_reply_as_events() -> None:
    reply = Reply("id", "m", (Choice((TextPart("hi"), ToolCallPart("c", "f", "{}")), "tool_calls"),), Usage(1, 2), 7)

    assert list(replay(reply)) == [
        Started("id", "m", 7),
        PartStarted(0, 0, TextPart("")),
        PartDelta(0, 0, "hi"),
        PartEnded(0, 0),
        PartStarted(0, 1, ToolCallPart("c", "f", "")),
        PartDelta(0, 1, "{}"),
        PartEnded(0, 1),
        ChoiceEnded(0, "tool_calls"),
        UsageReported(Usage(1, 2)),
        Finished(),
    ]


def test_everything_comes_back() -> None:
    again = collect(replay(EVERYTHING))

    assert again == EVERYTHING
    assert again.dialect == "somewhere"


@given(reply=any_replies, data=st.data())
@EXACT
def test_any_reply_comes_back_in_whatever_order_it_is_said(reply: Reply, data: st.DataObject) -> None:
    assert collect(replay(reply)) == reply
    assert collect(data.draw(sayings(reply))) == reply


@pytest.mark.parametrize("pieces", [["h", "", "i"], ["hi"], ["", "hi", ""]])
def test_pieces_are_the_deltas_and_empty_ones_are_left_out(pieces: list[str]) -> None:
    deltas = [event.text for event in replay_part(0, 0, TextPart("hi"), pieces) if isinstance(event, PartDelta)]

    assert deltas == [piece for piece in pieces if piece]


@pytest.mark.parametrize(
    ("start", "whole"),
    [
        (TextPart("a"), TextPart("ab")),
        (RefusalPart("a"), RefusalPart("ab")),
        (ReasoningPart("a", "s"), ReasoningPart("ab", "s")),
        (ToolCallPart("c", "f", "a"), ToolCallPart("c", "f", "ab")),
    ],
)
def test_a_part_grows_from_what_it_started_with(start: Part, whole: Part) -> None:
    events: list[ReplyEvent] = [
        Started("id", "m"),
        PartStarted(0, 0, start),
        PartDelta(0, 0, "b"),
        ChoiceEnded(0, "stop"),
        Finished(),
    ]

    assert collect(events).choices == (Choice((whole,)),)


def test_a_signature_may_come_in_pieces() -> None:
    parts: list[ReplyEvent] = [
        PartStarted(0, 0, ReasoningPart("")),
        SignatureDelta(0, 0, "a"),
        SignatureDelta(0, 0, "b"),
    ]

    assert collect([Started("id", "m"), *parts, Finished()]).choices[0].parts == (ReasoningPart("", "ab"),)


def test_what_is_known_at_the_end_of_a_part_replaces_what_was_at_its_start() -> None:
    start = TextPart("a", extra={"kept": 1, "new": 2})
    events: list[ReplyEvent] = [
        Started("id", "m"),
        PartStarted(0, 0, start),
        PartEnded(0, 0, extra={"new": 3}),
        Finished(),
    ]

    assert collect(events).choices[0].parts == (TextPart("a", extra={"kept": 1, "new": 3}),)


def test_an_opaque_part_is_never_changed() -> None:
    part = OpaquePart("somewhere", {"a": 1})
    events: list[ReplyEvent] = [
        Started("id", "m"),
        PartStarted(0, 0, part),
        PartEnded(0, 0, extra={"a": 2}),
        Finished(),
    ]

    assert collect(events).choices[0].parts == (part,)


def test_usage_is_what_was_told_last() -> None:
    early: list[ReplyEvent] = [Started("id", "m", usage=Usage(5))]

    assert collect([*early, Finished()]).usage == Usage(5)
    assert collect([*early, UsageReported(Usage(5, 1)), UsageReported(Usage(5, 9)), Finished()]).usage == Usage(5, 9)


def test_a_reply_can_be_had_at_any_point() -> None:
    collector = Collector()
    for event in (Started("id", "m"), PartStarted(1, 0, TextPart("")), PartDelta(1, 0, "so far")):
        collector.add(event)

    assert collector.reply() == Reply("id", "m", (Choice((TextPart("so far"),)),))
    assert not collector.complete


def test_choices_are_in_the_order_of_their_numbers() -> None:
    events: list[ReplyEvent] = [Started("id", "m"), ChoiceEnded(1, "length"), ChoiceEnded(0, "stop"), Finished()]

    assert [choice.finish_reason for choice in collect(events).choices] == ["stop", "length"]


def test_a_stream_that_failed_raises_its_error() -> None:
    error = OverloadedError("too much")

    with pytest.raises(OverloadedError) as caught:
        collect([Started("id", "m"), Failed(error)])
    assert caught.value is error


def test_a_stream_without_an_end_is_a_framing_error() -> None:
    with pytest.raises(FramingError, match="before its end"):
        collect(list(replay(EVERYTHING))[:-1])


@pytest.mark.parametrize("event", [PartDelta(0, 1, "x"), SignatureDelta(1, 0, "x"), PartEnded(0, 1, extra={"a": 1})])
def test_a_delta_of_a_part_that_never_started_is_a_framing_error(event: Any) -> None:
    with pytest.raises(FramingError, match="never started"):
        collect([Started("id", "m"), PartStarted(0, 0, TextPart("")), event, Finished()])


def test_the_dialect_of_a_reply_takes_no_part_in_equality() -> None:
    assert replace(EVERYTHING, dialect="elsewhere") == EVERYTHING
