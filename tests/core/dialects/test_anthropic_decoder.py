"""Streamed replies of the Messages API, in, and the way out and in again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.dialects.anthropic_messages import AnthropicMessages
from motive_core.errors import FramingError, OverloadedError, StatusError, UpstreamError
from motive_core.ir import (
    ChatRequest,
    Choice,
    OpaquePart,
    Part,
    ReasoningPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)
from motive_core.stream import (
    ChoiceEnded,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    ReplyEvent,
    Started,
    UsageReported,
    collect,
    replay,
)

DIALECT = AnthropicMessages()
NAME = "anthropic-messages"
WIRE = Path(__file__).parents[2] / "wire" / NAME
REQUEST = ChatRequest(NAME, "m", (), stream=True)
GOLDEN = sorted(path.name.removesuffix(".stream.sse") for path in WIRE.glob("*.stream.sse"))
BEGIN = b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","model":"m","usage":{}}}\n\n'


def stream(name: str) -> bytes:
    return (WIRE / f"{name}.stream.sse").read_bytes()


def decode(data: bytes, *cuts: int) -> list[ReplyEvent]:
    decoder = DIALECT.decoder()
    events: list[ReplyEvent] = []
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        events += decoder.feed(data[start:end])
    return events + decoder.close()


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


@pytest.mark.parametrize("name", GOLDEN)
def test_a_stream_of_the_live_api_is_the_same_reply_as_its_whole_form(name: str) -> None:
    whole = DIALECT.parse_reply((WIRE / f"{name}.reply.json").read_bytes())

    assert collect(decode(stream(name))) == whole
    assert collect(decode(stream(name).replace(b"\n", b"\r\n"))) == whole


@pytest.mark.parametrize("name", GOLDEN)
def test_every_cut_of_a_stream_gives_the_same_events(name: str) -> None:
    data = stream(name)
    events = decode(data)

    assert decode(data, *range(1, len(data))) == events
    for cut in range(1, len(data), 13):
        assert decode(data, cut) == events


@pytest.mark.parametrize("name", GOLDEN)
def test_a_stream_survives_being_decoded_and_encoded_again(name: str) -> None:
    events = decode(stream(name))

    assert collect(decode(DIALECT.encoder(REQUEST).encode_all(events))) == collect(events)


def test_deltas_come_as_they_are_said() -> None:
    assert decode(stream("max_tokens")) == [
        Started("msg_01MaxTokensAbCdEfGhJkLm", "claude-haiku-4-5-20251001", usage=Usage(12, 1)),
        PartStarted(0, 0, TextPart("")),
        PartDelta(0, 0, "Once upon a "),
        PartDelta(0, 0, "time there w"),
        PartDelta(0, 0, "as a proxy t"),
        PartDelta(0, 0, "hat"),
        PartEnded(0, 0),
        UsageReported(Usage(12, 10)),
        ChoiceEnded(0, "length"),
        Finished(),
    ]


def test_pings_comments_and_events_that_are_new_to_us_change_nothing() -> None:
    data = stream("tool_call")
    noise = event("ping") + b": comment\n\n" + event("event_of_tomorrow", x=1) + b"data: {}\n\n"

    assert decode(data.replace(b"\n\nevent: content", b"\n\n" + noise + b"event: content")) == decode(data)
    assert decode(noise + data) == decode(data)


def test_events_without_names_are_known_by_their_type() -> None:
    data = b"\n".join(line for line in stream("text").split(b"\n") if not line.startswith(b"event:"))

    assert decode(data) == decode(stream("text"))


def test_arguments_are_the_pieces_verbatim() -> None:
    start = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    pieces = ('{"a": 1.0, ', '"b": ', "1e5}")
    data = b"".join(
        event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": piece})
        for piece in pieces
    )
    reply = collect(
        decode(BEGIN + event("content_block_start", index=0, content_block=start) + data + event("message_stop"))
    )

    assert reply.choices[0].parts == (ToolCallPart("t", "f", '{"a": 1.0, "b": 1e5}'),)


@pytest.mark.parametrize(
    ("told", "arguments"), [("{}", "{}"), ('{"a":1e5}', '{"a":1e5}'), ("{ }", "{}"), ('{"a": 1}', '{"a":1}')]
)
def test_arguments_that_the_start_tells_count_if_no_delta_does(told: str, arguments: str) -> None:
    start = (
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"tool_use","id":"t","name":"f","input":' + told.encode() + b"}}\n\n"
    )
    reply = collect(decode(BEGIN + start + event("content_block_stop", index=0) + event("message_stop")))

    assert reply.choices[0].parts == (ToolCallPart("t", "f", arguments),)


def test_citations_may_come_before_amid_and_after_the_text() -> None:
    def cited(number: int) -> bytes:
        return event("content_block_delta", index=0, delta={"type": "citations_delta", "citation": {"n": number}})

    def said(text: str) -> bytes:
        return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    start = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    end = event("content_block_stop", index=0) + event("message_stop")
    reply = collect(decode(BEGIN + start + cited(1) + said("a") + cited(2) + said("b") + cited(3) + end))
    alone = collect(decode(BEGIN + start + cited(1) + end))

    assert reply.choices[0].parts == (TextPart("ab", extra={"citations": [{"n": 1}, {"n": 2}, {"n": 3}]}),)
    assert alone.choices[0].parts == (TextPart("", extra={"citations": [{"n": 1}]}),)


def test_a_block_that_is_new_to_us_is_whole_and_verbatim() -> None:
    data = BEGIN + event("content_block_start", index=0, content_block={"type": "compaction", "content": None, "n": []})
    for delta in (
        {"type": "compaction_delta", "content": "so "},
        {"type": "compaction_delta", "content": "far", "n": [1]},
        {"type": "another_delta", "n": [2], "flag": True},
        {"type": "input_json_delta", "partial_json": '{"q": '},
        {"type": "input_json_delta", "partial_json": "1}"},
    ):
        data += event("content_block_delta", index=0, delta=delta)
    block = {"type": "compaction", "content": "so far", "n": [1, 2], "flag": True, "input": {"q": 1}}
    events = decode(data + event("content_block_stop", index=0) + event("message_stop"))

    assert collect(events).choices[0].parts == (OpaquePart(NAME, block),)
    assert collect(decode(DIALECT.encoder(REQUEST).encode_all(events))) == collect(events)


def test_a_delta_that_is_new_to_us_ends_up_in_the_part() -> None:
    data = (
        BEGIN
        + event("content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""})
        + event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"})
        + event("content_block_delta", index=0, delta={"type": "estimate_delta", "estimated_tokens": 5})
        + event("message_stop")
    )

    assert collect(decode(data)).choices[0].parts == (ReasoningPart("hm", extra={"estimated_tokens": 5}),)


def test_blocks_that_nobody_ended_end_with_the_message() -> None:
    data = BEGIN + b"".join(
        event("content_block_start", index=index, content_block=block)
        for index, block in enumerate(
            [
                {"type": "text", "text": "a"},
                {"type": "tool_use", "id": "t", "name": "f"},
                {"type": "redacted_thinking", "data": "x"},
            ]
        )
    )

    assert collect(decode(data + event("message_stop"))).choices[0].parts == (
        TextPart("a"),
        ToolCallPart("t", "f", "{}"),
        ReasoningPart("", redacted="x"),
    )


def test_usage_is_what_was_told_last() -> None:
    begin = event("message_start", message={"id": "", "model": "", "usage": {"input_tokens": 3, "output_tokens": 1}})
    end = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9, "input_tokens": None})
    events = decode(begin + end + event("message_stop"))

    assert isinstance(events[0], Started)
    assert events[0].usage == Usage(3, 1)
    assert collect(events).usage == Usage(3, 9)


@pytest.mark.parametrize(
    ("kind", "status", "type_"),
    [
        ("overloaded_error", 529, OverloadedError),
        ("rate_limit_error", 429, StatusError),
        ("invalid_request_error", 400, StatusError),
        ("request_too_large", 413, StatusError),
        ("timeout_error", 504, StatusError),
        ("api_error", 500, StatusError),
        ("error_of_tomorrow", 500, StatusError),
    ],
)
def test_an_error_event_fails_the_stream(kind: str, status: int, type_: type[Exception]) -> None:
    events = decode(BEGIN + event("error", error={"type": kind, "message": "why"}) + event("message_stop"))

    assert len(events) == 2
    failed = events[1]
    assert isinstance(failed, Failed)
    assert type(failed.error) is type_
    assert (failed.error.status, failed.error.message) == (status, "why")


@pytest.mark.parametrize("data", [b"event: error\ndata: Bad Gateway\n\n", b"event: error\ndata: {}\n\n"])
def test_an_error_event_of_any_shape_fails_the_stream(data: bytes) -> None:
    (failed,) = decode(data)

    assert isinstance(failed, Failed)
    assert failed.error.status == 500


@pytest.mark.parametrize("name", GOLDEN)
def test_a_stream_that_is_cut_has_failed(name: str) -> None:
    data = stream(name)
    end = data.index(b'{"type":"message_stop"')
    for cut in (0, 1, 200, end // 2, end):
        *before, failed = decode(data[:cut])
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, UpstreamError)
        assert not any(isinstance(one, Finished | Failed) for one in before)


def test_a_stream_that_is_cut_after_its_last_event_is_complete() -> None:
    assert decode(stream("text").rstrip(b"\n")) == decode(stream("text"))


_BAD = [
    b"data: {\n\n",
    b"data: []\n\n",
    b"data: \xff\n\n",
    event("content_block_delta", index=5, delta={"type": "text_delta", "text": "x"}),
    event("content_block_delta", index="0", delta={"type": "text_delta", "text": "x"}),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": 5}),
    event("content_block_delta", index=0, delta={"text": "x"}),
    event("content_block_start", index=1, content_block={}),
    event("content_block_start", index=1, content_block={"type": "tool_use", "name": "f"}),
    event("content_block_stop", index=1),
    event("message_delta", delta=None),
    BEGIN,
]


@pytest.mark.parametrize("bad", _BAD)
def test_bytes_that_are_no_such_stream_are_a_framing_error(bad: bytes) -> None:
    begin = BEGIN + event("content_block_start", index=0, content_block={"type": "text", "text": "a"})
    decoder = DIALECT.decoder()
    events = decoder.feed(begin)
    with pytest.raises(FramingError):
        decoder.feed(bad)

    at_once = DIALECT.decoder()
    assert at_once.feed(begin + bad) == events
    with pytest.raises(FramingError):
        at_once.feed(b"")
    (failed,) = at_once.close()
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, UpstreamError)


@pytest.mark.parametrize("kind", ["content_block_start", "message_delta", "message_stop"])
def test_nothing_precedes_the_start_of_the_message(kind: str) -> None:
    with pytest.raises(FramingError):
        DIALECT.decoder().feed(event(kind, index=0, content_block={"type": "text", "text": ""}, delta={}))


@given(st.lists(st.sampled_from([BEGIN, *_BAD, stream("web_search"), b"\n", b"data", b"\xf0\x9f"]), max_size=4))
def test_any_bytes_give_events_or_a_framing_error(chunks: list[bytes]) -> None:
    decoder = DIALECT.decoder()
    events: list[ReplyEvent] = []
    for chunk in chunks:
        try:
            events += decoder.feed(chunk)
        except FramingError:
            break
    events += decoder.close()
    assert isinstance(events[-1], Finished | Failed)
    assert sum(isinstance(one, Finished | Failed) for one in events) == 1


_PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(TextPart, st.text(min_size=1, max_size=9)),
    st.builds(
        TextPart, st.text(max_size=3), extra=st.just({"citations": [{"type": "char_location", "cited_text": "é"}]})
    ),
    st.builds(ReasoningPart, st.text(max_size=9), st.none() | st.text(min_size=1, max_size=9)),
    st.builds(ReasoningPart, st.just(""), redacted=st.text(max_size=9)),
    st.builds(ToolCallPart, st.text(max_size=5), st.text(max_size=5), st.sampled_from(["{}", '{"a": [1.0,1e5]}'])),
    st.builds(
        OpaquePart,
        st.just(NAME),
        st.sampled_from([{"type": "of_tomorrow", "x": [1]}, {"type": "server_tool_use", "input": {"q": "é"}}]),
    ),
)


@given(st.lists(_PARTS, max_size=4), st.data())
def test_any_reply_survives_its_stream(parts: list[Part], data: st.DataObject) -> None:
    reply = Reply("msg_1", "m", (Choice(tuple(parts), "pause"),), Usage(5, 6), dialect=NAME)
    wire = DIALECT.encoder(REQUEST).encode_all(replay(reply))
    cut = data.draw(st.integers(0, len(wire)))

    assert collect(decode(wire, cut)) == reply


@given(st.lists(_PARTS, min_size=1, max_size=4), st.data())
def test_any_interleaving_gives_the_parts_in_order(parts: list[Part], data: st.DataObject) -> None:
    """Each part's own events keep their order; parts begin in order. Between that, anything goes."""
    reply = Reply("msg_1", "m", (Choice(tuple(parts)),), dialect=NAME)
    events = list(replay(reply))
    queues = [[one for one in events if getattr(one, "part", None) == index] for index in range(len(parts))]
    mixed: list[ReplyEvent] = []
    begun = 0
    while any(queues):
        open_ = [queue for index, queue in enumerate(queues) if queue and index <= begun]
        queue = data.draw(st.sampled_from(open_))
        begun += isinstance(queue[0], PartStarted)
        mixed.append(queue.pop(0))

    wire = DIALECT.encoder(REQUEST).encode_all([events[0], *mixed, *events[-2:]])

    assert collect(decode(wire)) == reply
