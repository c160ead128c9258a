"""The streamed reply of the Converse API, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from motive_core import errors
from motive_core.dialects.bedrock_converse import BedrockConverse
from motive_core.errors import FramingError, MotiveError, StatusError
from motive_core.framing import event_frame, exception_frame
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    Reply,
    TextPart,
    ToolCallPart,
    ToolResultPart,
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
    SignatureDelta,
    Started,
    UsageReported,
    collect,
    replay,
)
from tests.core.dialects.bedrock_wire import error_frame, events_of, stream_of

DIALECT = BedrockConverse()
NAME = "bedrock-converse"
REQUEST = ChatRequest(NAME, "room", (Message("user", (TextPart("hi"),)),), stream=True)

type Event = tuple[str, Any]

BEGIN: Event = ("messageStart", {"role": "assistant"})
END: tuple[Event, Event] = (
    ("messageStop", {"stopReason": "end_turn"}),
    ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, "metrics": {"latencyMs": 0}}),
)


def start(index: int, value: Any) -> Event:
    return "contentBlockStart", {"contentBlockIndex": index, "start": value}


def delta(index: int, value: Any) -> Event:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": value}


def stop(index: int) -> Event:
    return "contentBlockStop", {"contentBlockIndex": index}


def tool(call_id: str, name: str = "f", **more: Any) -> Any:
    return {"toolUse": {"toolUseId": call_id, "name": name, **more}}


def decode(*events: Event, after: bytes = b"") -> list[ReplyEvent]:
    decoder = DIALECT.decoder()
    return [*decoder.feed(stream_of(*events) + after), *decoder.close()]


def parts(*events: Event) -> tuple[Part, ...]:
    return collect(decode(BEGIN, *events, *END)).choices[0].parts


def encode(*events: ReplyEvent) -> list[Event]:
    return events_of(DIALECT.encoder(REQUEST).encode_all(events))


def said(*given: Part, dialect: str = "") -> list[Event]:
    """What lies between the first event and the last two."""
    reply = Reply("", "", (Choice(given),), dialect=dialect)
    first, *between, last, metadata = encode(*replay(reply))
    assert (first[0], last[0], metadata[0]) == ("messageStart", "messageStop", "metadata")
    return between


# In.


def test_a_text_is_told_as_it_comes() -> None:
    decoder = DIALECT.decoder()
    assert decoder.feed(stream_of(BEGIN)) == [Started("", "", dialect=NAME)]
    assert decoder.feed(stream_of(delta(0, {"text": ""}))) == []
    assert decoder.feed(stream_of(delta(0, {"text": "Hé"}))) == [PartStarted(0, 0, TextPart("")), PartDelta(0, 0, "Hé")]
    assert decoder.feed(stream_of(delta(0, {"text": "y"}))) == [PartDelta(0, 0, "y")]
    assert decoder.feed(stream_of(stop(0))) == [PartEnded(0, 0)]
    assert decoder.feed(stream_of(END[0])) == []
    assert decoder.feed(stream_of(END[1])) == [UsageReported(Usage(1, 2)), ChoiceEnded(0, "stop"), Finished()]
    assert decoder.feed(stream_of(BEGIN)) == decoder.close() == []


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], ()),
        ([delta(0, {"text": ""}), stop(0)], ()),
        ([stop(0), delta(1, {"text": "a"})], (TextPart("a"),)),
        ([start(0, {}), delta(0, {"text": "a"}), stop(0)], (TextPart("a"),)),
        ([start(0, None), delta(0, {"text": "a"})], (TextPart("a"),)),
        ([delta(0, {"text": "a", "image": None})], (TextPart("a"),)),
        ([delta(0, {"text": "a"}), delta(1, {"text": "b"}), delta(0, {"text": "c"})], (TextPart("ac"), TextPart("b"))),
        ([start(0, tool("t")), stop(0)], (ToolCallPart("t", "f", "{}"),)),
        ([start(0, tool("t")), delta(0, {"toolUse": {"input": ""}}), stop(0)], (ToolCallPart("t", "f", "{}"),)),
        (
            [start(3, tool("t", new=1)), *[delta(3, {"toolUse": {"input": one}}) for one in ('{ "a"', ": 1.0}")]],
            (ToolCallPart("t", "f", '{ "a": 1.0}', extra={"new": 1}),),
        ),
        ([start(0, tool("t")), start(0, tool("u"))], (ToolCallPart("t", "f", "{}"), ToolCallPart("u", "f", "{}"))),
        (
            [delta(0, {"reasoningContent": one}) for one in ({"text": "h"}, {"text": "m"}, {"signature": "s"})],
            (ReasoningPart("hm", "s"),),
        ),
        ([delta(0, {"reasoningContent": {"signature": "s"}})], (ReasoningPart("", "s"),)),
        ([delta(0, {"reasoningContent": {"text": ""}}), stop(0)], (ReasoningPart(""),)),
        (
            [delta(0, {"reasoningContent": {"redactedContent": one}}) for one in ("YQ==", "Yg==")],
            (ReasoningPart("", redacted="YWI="),),
        ),
        (
            [delta(0, {"reasoningContent": {"text": "hm"}}), delta(0, {"text": "so"})],
            (ReasoningPart("hm"), TextPart("so")),
        ),
        (
            [delta(0, {"text": "a"}), delta(0, {"citation": {"title": "1"}}), delta(0, {"citation": {"title": "2"}})],
            (TextPart("a", extra={"citations": [{"title": "1"}, {"title": "2"}]}),),
        ),
        ([delta(0, {"citation": {"title": "1"}})], (TextPart("", extra={"citations": [{"title": "1"}]}),)),
        (
            [
                start(0, {"image": {"format": "png"}}),
                *[delta(0, {"image": {"source": {"bytes": one}}}) for one in ("YQ==", "Yg==")],
            ],
            (BlobPart("image/png", data="YWI="),),
        ),
        (
            [
                start(0, tool("t", type="server_tool_use")),
                *[delta(0, {"toolUse": {"input": one}}) for one in ('{"a":', "1.0}")],
            ],
            (
                OpaquePart(
                    NAME, {"toolUse": {"toolUseId": "t", "name": "f", "type": "server_tool_use", "input": {"a": 1.0}}}
                ),
            ),
        ),
        (
            [
                start(0, {"toolResult": {"toolUseId": "t", "status": "error"}}),
                delta(0, {"toolResult": [{"text": "a"}]}),
                delta(0, {"toolResult": [{"text": "b"}]}),
            ],
            (ToolResultPart("t", (TextPart("a"), TextPart("b")), is_error=True),),
        ),
        (
            [
                delta(0, {"tomorrow": {"a": "x", "b": [1], "c": 1}}),
                delta(0, {"tomorrow": {"a": "y", "b": [2], "c": 2, "d": 3}}),
            ],
            (OpaquePart(NAME, {"tomorrow": {"a": "xy", "b": [1, 2], "c": 2, "d": 3}}),),
        ),
    ],
)
def test_what_streams_tell(events: list[Event], expected: tuple[Part, ...]) -> None:
    assert parts(*events) == expected


def test_metadata_may_come_before_the_stop_and_is_kept() -> None:
    metadata: Event = ("metadata", {"usage": {}, "metrics": {"latencyMs": 9}, "trace": {"x": 1}})
    reply = collect(
        decode(BEGIN, ("tomorrow's", {}), metadata, ("messageStop", {"stopReason": "max_tokens", "new": 1}))
    )
    assert reply.choices == (Choice((), "length", extra={"metrics": {"latencyMs": 9}, "trace": {"x": 1}, "new": 1}),)
    assert reply.usage is None


@pytest.mark.parametrize(
    "events",
    [
        [delta(0, {"text": "a"})],
        [start(0, tool("t"))],
        [*END],
        [BEGIN, BEGIN],
        [BEGIN, ("contentBlockDelta", {"delta": {"text": "a"}})],
        [BEGIN, ("contentBlockDelta", {"contentBlockIndex": 0})],
        [BEGIN, delta(0, {})],
        [BEGIN, delta(0, {"toolUse": {"input": "x"}})],
        [BEGIN, start(0, tool("t")), delta(0, {"toolUse": {"input": 1}})],
        [BEGIN, start(0, {"toolUse": {"name": "f"}})],
        [BEGIN, start(0, {"toolUse": 1})],
        [BEGIN, start(0, tool("t", type="x")), delta(0, {"toolUse": {"input": "{"}}), stop(0)],
        [BEGIN, start(0, {"image": 1}), stop(0)],
    ],
)
def test_what_is_no_stream_of_ours(events: list[Event]) -> None:
    decoder = DIALECT.decoder()
    with pytest.raises(FramingError, match="not a stream of the Converse API"):
        decoder.feed(stream_of(*events))
        decoder.feed(b"")


@pytest.mark.parametrize("payload", [b"{", b"[]", b'"\\ud800"', b"\xff", b"[" * 1000])
def test_payloads_that_are_no_objects(payload: bytes) -> None:
    with pytest.raises(FramingError):
        DIALECT.decoder().feed(event_frame("contentBlockDelta", payload))


@pytest.mark.parametrize("count", range(3))
def test_a_stream_that_is_cut_fails(count: int) -> None:
    *_, last = decode(*[BEGIN, delta(0, {"text": "a"}), END[0]][: count + 1])
    assert isinstance(last, Failed)
    assert last.error.message == "the stream ended before its metadata"


@pytest.mark.parametrize(
    ("after", "status", "message", "code"),
    [
        (exception_frame("throttlingException", b'{"message":"Slow."}'), 429, "Slow.", "throttlingException"),
        (exception_frame("ThrottlingException", b'{"Message":"Slow."}'), 429, "Slow.", "ThrottlingException"),
        (exception_frame("validationException", b'{"message":"No."}'), 400, "No.", "validationException"),
        (exception_frame("modelStreamErrorException", b'{"message":"x"}'), 424, "x", "modelStreamErrorException"),
        (
            exception_frame("modelStreamErrorException", b'{"message":"x","originalStatusCode":503}'),
            503,
            "x",
            "modelStreamErrorException",
        ),
        (
            exception_frame("serviceUnavailableException", b"{}"),
            503,
            "the service ended the stream with an error",
            None,
        ),
        (exception_frame("tomorrowsException", b"<html>"), 500, "the service ended the stream with an error", None),
        (error_frame("InternalError", "Broken."), 500, "Broken.", "InternalError"),
    ],
)
def test_exceptions_in_a_stream(after: bytes, status: int, message: str, code: str | None) -> None:
    *_, last = decode(BEGIN, delta(0, {"text": "a"}), after=after + stream_of(*END))
    assert isinstance(last, Failed)
    assert (last.error.status, last.error.message) == (status, message)
    assert code in (None, last.error.code)


# Out.


def test_the_events_of_a_reply() -> None:
    usage = Usage(10, 5, cached_tokens=4)
    assert encode(*replay(Reply("", "", (Choice((TextPart("Hé"),)),), usage))) == [
        BEGIN,
        delta(0, {"text": "Hé"}),
        stop(0),
        END[0],
        (
            "metadata",
            {
                "metrics": {"latencyMs": 0},
                "usage": {
                    "inputTokens": 6,
                    "outputTokens": 5,
                    "totalTokens": 15,
                    "cacheReadInputTokens": 4,
                    "cacheWriteInputTokens": 0,
                },
            },
        ),
    ]


@pytest.mark.parametrize(
    ("given", "events"),
    [
        ((), []),
        ((TextPart(""),), []),
        ((ReasoningPart("hm"),), [delta(0, {"reasoningContent": {"text": "hm"}}), stop(0)]),
        (
            (ReasoningPart("hm", "s"), TextPart("so")),
            [
                delta(0, {"reasoningContent": {"text": "hm"}}),
                delta(0, {"reasoningContent": {"signature": "s"}}),
                stop(0),
                delta(1, {"text": "so"}),
                stop(1),
            ],
        ),
        ((ReasoningPart(""),), [delta(0, {"reasoningContent": {"text": ""}}), stop(0)]),
        ((ReasoningPart("", redacted="AAAA"),), [delta(0, {"reasoningContent": {"redactedContent": "AAAA"}}), stop(0)]),
        ((ToolCallPart("t", "f", ""),), [start(0, tool("t")), delta(0, {"toolUse": {"input": "{}"}}), stop(0)]),
        (
            (ToolCallPart("t", "f", '{ "a": 1.0}'),),
            [start(0, tool("t")), delta(0, {"toolUse": {"input": '{ "a": 1.0}'}}), stop(0)],
        ),
        (
            (ToolCallPart("t", "f", 'a"b', custom=True),),
            [
                start(0, tool("t")),
                *[delta(0, {"toolUse": {"input": one}}) for one in ('{"input":"', 'a\\"b', '"}')],
                stop(0),
            ],
        ),
        (
            (TextPart("a"), OpaquePart("other", {"x": 1}), TextPart("b")),
            [
                *[delta(0, {"text": "a"}), stop(0)],
                *[delta(1, {"text": '\n\n{"x":1}'}), stop(1)],
                *[delta(2, {"text": "\n\nb"}), stop(2)],
            ],
        ),
    ],
)
def test_what_replies_of_others_become(given: tuple[Part, ...], events: list[Event]) -> None:
    assert said(*given) == events


def test_blocks_of_our_own_are_told_as_the_sdk_reads_them() -> None:
    call, result = (
        tool("t", type="x", input={"a": 1}),
        {"toolResult": {"toolUseId": "t", "type": "y", "content": [{"text": "b"}]}},
    )
    given = (
        TextPart("a", extra={"citations": [{"title": "1"}]}),
        OpaquePart(NAME, call),
        OpaquePart(NAME, result),
        BlobPart("image/png", data="YQ=="),
        OpaquePart(NAME, {"tomorrow": 1}),
    )
    events = said(*given, dialect=NAME)
    assert events == [
        *[delta(0, {"text": "a"}), delta(0, {"citation": {"title": "1"}}), stop(0)],
        *[start(1, tool("t", type="x")), delta(1, {"toolUse": {"input": '{"a":1}'}}), stop(1)],
        start(2, {"toolResult": {"toolUseId": "t", "type": "y"}}),
        *[delta(2, {"toolResult": [{"text": "b"}]}), stop(2)],
        *[start(3, {"image": {"format": "png"}}), delta(3, {"image": {"source": {"bytes": "YQ=="}}}), stop(3)],
        *[start(4, {"tomorrow": 1}), stop(4)],
    ]
    assert parts(*events) == given


def test_a_block_of_two_kinds_is_told_as_it_is() -> None:
    mixed = {"toolResult": {"content": [{"text": "a"}]}, "image": {"format": "png"}}
    assert parts(*said(OpaquePart(NAME, mixed), dialect=NAME)) == (OpaquePart(NAME, mixed),)


def test_parts_that_interleave_come_one_after_the_other() -> None:
    events = encode(
        Started("", ""),
        PartStarted(0, 0, ToolCallPart("t", "f", "")),
        PartStarted(0, 1, ToolCallPart("u", "f", "")),
        PartDelta(0, 1, "[u"),
        PartDelta(0, 0, "[t"),
        SignatureDelta(0, 5, "of nothing"),
        PartDelta(0, 1, "]"),
        PartEnded(0, 1),
        PartDelta(0, 0, "]"),
        PartEnded(0, 0),
        PartStarted(1, 0, TextPart("another choice")),
        PartStarted(0, 2, TextPart("never ended")),
        ChoiceEnded(0, "tool_calls"),
        Finished(),
        PartDelta(0, 2, "late"),
        Finished(),
    )
    assert events[1:-2] == [
        *[start(0, tool("t")), delta(0, {"toolUse": {"input": "[t"}}), delta(0, {"toolUse": {"input": "]"}}), stop(0)],
        *[start(1, tool("u")), delta(1, {"toolUse": {"input": "[u"}}), delta(1, {"toolUse": {"input": "]"}}), stop(1)],
        *[delta(2, {"text": "never ended"}), stop(2)],
    ]
    assert events[-2] == ("messageStop", {"stopReason": "tool_use"})


def test_a_stream_without_a_start_is_whole_all_the_same() -> None:
    assert [name for name, _ in encode(Finished())] == ["messageStart", "messageStop", "metadata"]


def test_a_heartbeat_is_a_frame_that_says_nothing() -> None:
    encoder, decoder = DIALECT.encoder(REQUEST), DIALECT.decoder()
    assert encoder.heartbeat() and decoder.feed(encoder.heartbeat()) == []
    encoder.encode(Started("", ""))
    assert encoder.heartbeat()
    encoder.encode(Finished())
    assert encoder.heartbeat() == b""


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (errors.BadRequestError("x"), "validationException"),
        (errors.NotFoundError("x"), "validationException"),
        (errors.ConflictError("x"), "validationException"),
        (errors.RequestTimeoutError("x"), "modelStreamErrorException"),
        (StatusError(424, "x"), "modelStreamErrorException"),
        (errors.RateLimitedError("x"), "throttlingException"),
        (errors.InternalError("x"), "internalServerException"),
        (errors.UpstreamError("x"), "internalServerException"),
        (errors.UnavailableError("x"), "serviceUnavailableException"),
        (errors.HoldTimeoutError("x"), "modelStreamErrorException"),
        (errors.OverloadedError("x"), "serviceUnavailableException"),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_a_failure_is_an_exception_that_the_stream_may_have(error: MotiveError, name: str, begun: bool) -> None:
    half: list[ReplyEvent] = [Started("", ""), PartStarted(0, 0, TextPart("a"))] if begun else []
    events = encode(*half, Failed(error), Finished())
    assert events[-1][0] == name
    assert events[-1][1]["message"] == "x"
    assert (events[-1][1].get("originalStatusCode") == error.status) is (name == "modelStreamErrorException")
    assert [one[0] for one in events[:-1]] == (["messageStart", "contentBlockDelta"] if begun else [])
