"""Streamed replies of Cohere's Chat API, out and in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motive_core.dialects.cohere_chat import CohereChat
from motive_core.dialects.cohere_encoder import PIECE_LIMIT
from motive_core.errors import BadRequestError, FramingError, OverloadedError, UpstreamError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
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
    SignatureDelta,
    Started,
    UsageReported,
    collect,
    replay,
)

DIALECT = CohereChat()
NAME = "cohere-chat"
REQUEST = ChatRequest(NAME, "m", (Message("user", (TextPart("hi"),)),), stream=True)
PLAN = {"tool_plan": True}
START = (
    b"event: message-start\n"
    b'data: {"id":"r1","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tool_plan":"",'
    b'"tool_calls":[],"citations":[]}}}\n\n'
)


def encode(*events: ReplyEvent, dialect: str = "") -> bytes:
    """What is said after the start."""
    data = DIALECT.encoder(REQUEST).encode_all([Started("r1", "m", dialect=dialect), *events])
    assert data.startswith(START)
    return data[len(START) :]


def say(*parts: Part, dialect: str = "") -> list[dict[str, Any]]:
    """The events of a reply with these parts, between start and end."""
    reply = Reply("r1", "m", (Choice(parts),), dialect=dialect)
    events = told(DIALECT.encoder(REQUEST).encode_all(replay(reply)))
    assert events[0]["type"] == "message-start"
    assert events[-1] == {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}
    return events[1:-1]


def told(data: bytes) -> list[dict[str, Any]]:
    """The JSON of each event, the end mark aside."""
    *events, done, rest = data.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    found = [json.loads(event.partition(b"\ndata: ")[2]) for event in events]
    assert [event.partition(b"\n")[0].decode() for event in events] == [f"event: {one['type']}" for one in found]
    return found


def delta(kind: str, index: int | None = None, **message: Any) -> dict[str, Any]:
    where = {} if index is None else {"index": index}
    return {"type": kind, **where, "delta": {"message": message}}


def decode(*events: dict[str, Any] | bytes, closed: bool = True) -> list[ReplyEvent]:
    decoder = DIALECT.decoder()
    data = [event if isinstance(event, bytes) else b"data: %b\n\n" % json.dumps(event).encode() for event in events]
    found = decoder.feed(b"".join(data))
    return [*found, *decoder.close()] if closed else found


BEGIN = {"type": "message-start", "id": "r1", "delta": {"message": {"role": "assistant"}}}
END = {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}


def parts_of(*events: dict[str, Any]) -> tuple[Part, ...]:
    return collect(decode(BEGIN, *events, END)).choices[0].parts


class TestEncoder:
    def test_text_byte_for_byte(self) -> None:
        data = encode(
            PartStarted(0, 0, TextPart("")),
            PartDelta(0, 0, "Hé\n"),
            PartDelta(0, 0, ""),
            PartDelta(0, 0, "\u2028"),
            PartEnded(0, 0),
            ChoiceEnded(0, "stop"),
            UsageReported(Usage(5, 2, cached_tokens=1)),
            Finished(),
        )
        assert data.decode() == (
            'event: content-start\ndata: {"type":"content-start","index":0,"delta":{"message":{"content":'
            '{"type":"text","text":""}}}}\n\n'
            'event: content-delta\ndata: {"type":"content-delta","index":0,"delta":{"message":{"content":'
            '{"text":"Hé\\n"}}}}\n\n'
            'event: content-delta\ndata: {"type":"content-delta","index":0,"delta":{"message":{"content":'
            '{"text":"\u2028"}}}}\n\n'
            'event: content-end\ndata: {"type":"content-end","index":0}\n\n'
            'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":'
            '{"billed_units":{"input_tokens":5,"output_tokens":2},"tokens":{"input_tokens":5,"output_tokens":2},'
            '"cached_tokens":1}}}\n\ndata: [DONE]\n\n'
        )

    def test_calls(self) -> None:
        assert say(TextPart("Let me."), ToolCallPart("c1", "f", '{"a":1}'), ToolCallPart("c2", "now", "")) == [
            delta("content-start", 0, content={"type": "text", "text": ""}),
            delta("content-delta", 0, content={"text": "Let me."}),
            {"type": "content-end", "index": 0},
            delta("tool-call-start", 0, tool_calls=_call("c1", "f")),
            delta("tool-call-delta", 0, tool_calls={"function": {"arguments": '{"a":1}'}}),
            {"type": "tool-call-end", "index": 0},
            delta("tool-call-start", 1, tool_calls=_call("c2", "now")),
            delta("tool-call-delta", 1, tool_calls={"function": {"arguments": "{}"}}),
            {"type": "tool-call-end", "index": 1},
        ]

    def test_free_form_input_grows_within_a_string(self) -> None:
        events = encode(
            PartStarted(0, 0, ToolCallPart("c1", "f", "x", custom=True)),
            PartDelta(0, 0, 'a "b"'),
            PartDelta(0, 0, "\n"),
            ChoiceEnded(0, "tool_calls"),
            Finished(),
        )
        pieces = [
            event["delta"]["message"]["tool_calls"]["function"]["arguments"]
            for event in told(events)
            if event["type"] == "tool-call-delta"
        ]
        assert pieces == ['{"input":"', "x", 'a \\"b\\"', "\\n", '"}']
        assert json.loads("".join(pieces)) == {"input": 'xa "b"\n'}

    def test_thinking_then_text(self) -> None:
        assert say(ReasoningPart("hm", "sig"), TextPart("Yes")) == [
            delta("content-start", 0, content={"type": "thinking", "thinking": ""}),
            delta("content-delta", 0, content={"thinking": "hm"}),
            {"type": "content-end", "index": 0},
            delta("content-start", 1, content={"type": "text", "text": ""}),
            delta("content-delta", 1, content={"text": "Yes"}),
            {"type": "content-end", "index": 1},
        ]

    def test_texts_of_another_dialect_share_an_item(self) -> None:
        parts = (TextPart("a"), TextPart(""), TextPart("b"), BlobPart("image/png", data="AA"), RefusalPart("No"))
        events = say(*parts, ReasoningPart("", redacted="x"), OpaquePart("another", {"x": 1}))
        assert [event["type"] for event in events if event["type"] != "content-delta"] == [
            *("content-start", "content-end") * 3
        ]
        assert [list(event["delta"]["message"]["content"].values())[-1] for event in events if "delta" in event] == [
            "",
            "a",
            "b",
            "\n\n![image](data:image/png;base64,AA)",
            "\n\nNo",
            "",
            "[redacted reasoning]",
            "",
            '\n\n{"x":1}',
        ]

    def test_an_empty_reply_has_an_empty_item(self) -> None:
        empty = [
            delta("content-start", 0, content={"type": "text", "text": ""}),
            {"type": "content-end", "index": 0},
        ]
        assert say() == say(TextPart(""), ReasoningPart("")) == empty
        assert told(encode(Finished()))[:-1] == empty

    def test_parts_that_interleave_come_one_after_the_other(self) -> None:
        encoder = DIALECT.encoder(REQUEST)
        encoder.encode_all([Started("r1", "m"), PartStarted(0, 0, ToolCallPart("c1", "f", ""))])
        assert encoder.encode(PartStarted(0, 1, ToolCallPart("c2", "g", ""))) == b""
        assert encoder.encode(PartDelta(0, 1, '{"b"')) == b""
        assert b'"{\\"a\\":1}"' in encoder.encode(PartDelta(0, 0, '{"a":1}'))
        assert encoder.encode(PartDelta(0, 1, ":2}")) == b""
        said = encoder.encode(PartEnded(0, 0))
        assert said.index(b"tool-call-end") < said.index(b"tool-call-start") < said.index(b'"{\\"b\\""')
        assert b'":2}"' in said

    def test_what_is_open_ends_with_the_choice(self) -> None:
        data = encode(
            PartStarted(0, 0, TextPart("a")), PartStarted(0, 1, TextPart("b")), ChoiceEnded(0, "length"), Finished()
        )
        assert [event["type"] for event in told(data)] == [
            "content-start",
            "content-delta",
            "content-delta",
            "content-end",
            "message-end",
        ]

    def test_other_choices_and_signatures_are_left_out(self) -> None:
        data = encode(
            PartStarted(1, 0, TextPart("x")),
            PartDelta(1, 0, "x"),
            SignatureDelta(0, 0, "s"),
            PartEnded(1, 0),
            ChoiceEnded(1, "length"),
            PartStarted(0, 0, TextPart("a")),
            ChoiceEnded(0, "stop"),
            Finished(),
        )
        assert b'"x"' not in data
        assert told(data)[-1]["delta"]["finish_reason"] == "COMPLETE"

    def test_a_plan_is_told_apart_to_the_same_dialect(self) -> None:
        parts = (TextPart("I will.", extra=PLAN), ToolCallPart("c1", "f", "{}"))
        assert say(*parts, dialect=NAME)[0] == delta("tool-plan-delta", tool_plan="I will.")
        assert say(*parts)[1] == delta("content-delta", 0, content={"text": "I will."})

    def test_citations_and_log_probabilities_come_before_the_end_of_the_last_item(self) -> None:
        extra = {
            "citations": [{"start": 0}, {"start": 5}],
            "logprobs": [{"token_ids": [1]}],
            "message": {"m": 1},
            "x": 2,
        }
        reply = Reply("r1", "", (Choice((TextPart("Hi"),), extra=extra),), dialect=NAME)
        data = DIALECT.encoder(REQUEST).encode_all(replay(reply))
        assert told(data)[3:] == [
            {**delta("content-delta", 0, content={"text": ""}), "logprobs": {"token_ids": [1]}},
            delta("citation-start", 0, citations={"start": 0}),
            {"type": "citation-end", "index": 0},
            delta("citation-start", 1, citations={"start": 5}),
            {"type": "citation-end", "index": 1},
            {"type": "content-end", "index": 0},
            {"type": "message-end", "delta": {"x": 2, "finish_reason": "COMPLETE", "message": {"m": 1}}},
        ]
        assert collect(decode(data)) == reply

    def test_long_texts_go_in_pieces_that_the_sdk_takes(self) -> None:
        text = "\x00" * (2 * PIECE_LIMIT + 1)
        for part in (TextPart(text), ToolCallPart("c", "f", text), ToolCallPart("c", "f", text, custom=True)):
            data = DIALECT.encoder(REQUEST).encode_all(replay(Reply("r", "m", (Choice((part,)),))))
            assert max(len(line) for line in data.decode().split("\n")) < 1024 * 1024
        data = encode(PartStarted(0, 0, TextPart(text)), PartDelta(0, 0, text), ChoiceEnded(0, "stop"), Finished())
        assert collect(decode(START, data)).choices[0].parts == (TextPart(text * 2),)

    def test_a_failure_is_the_end(self) -> None:
        encoder = DIALECT.encoder(REQUEST)
        encoder.encode_all([Started("r1", "m"), PartStarted(0, 0, TextPart("")), PartDelta(0, 0, "a")])
        data = encoder.encode(Failed(BadRequestError("No.", param="model")))
        assert told(data) == [{"type": "message-end", "delta": {"error": "model: No.", "finish_reason": "ERROR"}}]
        for event in (PartDelta(0, 0, "b"), Finished(), Failed(OverloadedError("x"))):
            assert encoder.encode(event) == b""
        assert encoder.heartbeat() == b""

    def test_heartbeats_are_comments(self) -> None:
        assert DIALECT.encoder(REQUEST).heartbeat() == b": keep-alive\n\n"


def _call(call_id: str, name: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}


def _arguments(index: int | None, text: str) -> dict[str, Any]:
    return delta("tool-call-delta", index, tool_calls={"function": {"arguments": text}})


class TestDecoder:
    def test_events_come_as_they_are_told(self) -> None:
        assert decode(
            BEGIN,
            delta("content-start", 0, content={"type": "text", "text": ""}),
            delta("content-delta", 0, content={"text": "a"}),
            {"type": "content-end", "index": 0},
            delta("tool-call-start", 0, tool_calls=_call("c1", "f")),
            _arguments(0, "{"),
            _arguments(0, "}"),
            {"type": "tool-call-end", "index": 0},
            {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": {"tokens": {"input_tokens": 3}}}},
            closed=False,
        ) == [
            Started("r1", "", dialect=NAME),
            PartStarted(0, 0, TextPart("")),
            PartDelta(0, 0, "a"),
            PartEnded(0, 0),
            PartStarted(0, 1, ToolCallPart("c1", "f", "")),
            PartDelta(0, 1, "{"),
            PartDelta(0, 1, "}"),
            PartEnded(0, 1),
            UsageReported(Usage(3, 0)),
            ChoiceEnded(0, "tool_calls"),
            Finished(),
        ]

    @pytest.mark.parametrize(
        ("pieces", "arguments"),
        [
            (["null"], "{}"),
            (["n", "ul", "l"], "{}"),
            (["nul", "x"], "nulx"),
            (["nu"], "nu"),
            ([], ""),
            (["null", " "], "null "),
        ],
    )
    def test_arguments_that_are_null_are_none(self, pieces: list[str], arguments: str) -> None:
        start = delta("tool-call-start", 0, tool_calls=_call("c1", "now"))
        expected = (ToolCallPart("c1", "now", arguments),)
        assert (
            parts_of(start, *[_arguments(0, piece) for piece in pieces], {"type": "tool-call-end", "index": 0})
            == expected
        )
        assert parts_of(start, *[_arguments(0, piece) for piece in pieces]) == expected

    def test_a_plan(self) -> None:
        assert decode(
            BEGIN,
            delta("tool-plan-delta", tool_plan="I"),
            delta("tool-plan-delta", tool_plan=" will."),
            delta("tool-call-start", 0, tool_calls=_call("c1", "f")),
            closed=False,
        )[1:5] == [
            PartStarted(0, 0, TextPart("", extra=PLAN)),
            PartDelta(0, 0, "I"),
            PartDelta(0, 0, " will."),
            PartEnded(0, 0),
        ]
        plan = delta("tool-plan-delta", tool_plan="I")
        assert parts_of(plan, plan) == (TextPart("II", extra=PLAN),)

    def test_content_without_its_start(self) -> None:
        assert parts_of(
            delta("content-delta", 0, content={"thinking": "hm"}),
            delta("content-delta", 0, content={"thinking": "!", "text": None}),
            delta("content-delta", 0, content={"text": "Y"}),
            delta("content-delta", content={"text": "es"}),
            delta("content-delta", 1, content={"text": "No"}),
        ) == (ReasoningPart("hm!"), TextPart("Yes"), TextPart("No"))

    def test_events_without_an_index(self) -> None:
        assert parts_of(
            delta("content-start", content={"type": "text"}),
            delta("content-delta", content={"text": "a"}),
            {"type": "content-end"},
            delta("tool-call-start", tool_calls=[_call("c1", "f")]),
            _arguments(None, "1"),
            {"type": "tool-call-end"},
            delta("tool-call-start", tool_calls=_call("c2", "g")),
            _arguments(None, "2"),
        ) == (TextPart("a"), ToolCallPart("c1", "f", "1"), ToolCallPart("c2", "g", "2"))

    def test_calls_that_interleave(self) -> None:
        assert parts_of(
            delta("tool-call-start", 0, tool_calls=_call("c1", "f")),
            delta("tool-call-start", 1, tool_calls=_call("c2", "g")),
            _arguments(1, "{}"),
            _arguments(0, "[]"),
        ) == (ToolCallPart("c1", "f", "[]"), ToolCallPart("c2", "g", "{}"))

    def test_a_start_may_say_something(self) -> None:
        call = {"id": "c1", "x": 1, "function": {"name": "f", "arguments": "{", "y": 2}}
        assert parts_of(
            delta("content-start", 0, content={"type": "text", "text": "a", "thinking": None}),
            delta("content-delta", 0, content={"text": "b"}),
            delta("tool-call-start", 0, tool_calls=call),
            _arguments(0, "}"),
        ) == (TextPart("ab"), ToolCallPart("c1", "f", "{}", extra={"x": 1, "function": {"y": 2}}))

    def test_an_index_that_begins_again_ends_what_was_open(self) -> None:
        start = delta("content-start", 0, content={"type": "text", "text": ""})
        said = delta("content-delta", 0, content={"text": "a"})
        call = delta("tool-call-start", 0, tool_calls=_call("c1", "f"))
        assert parts_of(start, said, start, said, call, call) == (
            TextPart("a"),
            TextPart("a"),
            ToolCallPart("c1", "f", ""),
            ToolCallPart("c1", "f", ""),
        )

    def test_empty_items_are_not_read(self) -> None:
        assert parts_of(
            delta("content-start", 0, content={"type": "thinking", "thinking": ""}),
            {"type": "content-end", "index": 0},
            delta("content-start", 1, content={"type": "text", "text": ""}),
            {"type": "content-end", "index": 1},
            {"type": "content-end", "index": 7},
            delta("content-start", 2, content={"type": "text", "text": "", "mood": "calm"}),
        ) == (TextPart("", extra={"mood": "calm"}),)

    def test_items_and_calls_of_unknown_types_are_opaque(self) -> None:
        assert parts_of(
            delta("content-start", 0, content={"type": "new", "a": "x", "b": {"c": "y"}}),
            delta("content-delta", 0, content={"type": "new", "a": "z", "b": {"c": "!", "d": 1}, "e": [1]}),
            {"type": "content-end", "index": 0},
            delta("tool-call-start", 0, tool_calls={"id": "c1", "type": "new", "input": "a"}),
            delta("tool-call-delta", 0, tool_calls={"id": "c1", "input": "b"}),
        ) == (
            OpaquePart(NAME, {"type": "new", "a": "xz", "b": {"c": "y!", "d": 1}, "e": [1]}),
            OpaquePart(NAME, {"tool_calls": {"id": "c1", "type": "new", "input": "ab"}}),
        )

    def test_citations_and_log_probabilities_belong_to_the_choice(self) -> None:
        reply = collect(
            decode(
                {**BEGIN, "x": 1},
                delta("citation-start", 0, citations={"start": 0}),
                {"type": "citation-end", "index": 0},
                delta("citation-start", 1, citations=[{"start": 1}, {"start": 2}]),
                {"type": "content-delta", "index": 0, "logprobs": {"token_ids": [1]}},
                {**delta("content-delta", 0, content={"text": "a"}), "logprobs": [{"token_ids": [2]}]},
                {"type": "message-end", "delta": {"finish_reason": "NEW", "y": 2, "message": {"z": 3}}, "id": "r1"},
            )
        )
        assert reply.extra == {"x": 1}
        assert reply.choices[0].extra == {
            "finish_reason": "NEW",
            "logprobs": [{"token_ids": [1]}, {"token_ids": [2]}],
            "citations": [{"start": 0}, {"start": 1}, {"start": 2}],
            "message": {"z": 3},
            "y": 2,
        }

    def test_what_follows_the_end_is_ignored(self) -> None:
        events = decode(
            BEGIN, END, b"data: [DONE]\n\n", delta("content-delta", 0, content={"text": "x"}), b"data: {\n\n"
        )
        assert events[-1] == Finished()
        assert len(events) == 3

    def test_events_that_say_nothing_are_ignored(self) -> None:
        quiet: list[dict[str, Any]] = [{"type": "debug", "prompt": "p"}, {"type": "new"}, {"x": 1}, {"type": "error"}]
        assert parts_of(*quiet, delta("content-delta", 0), delta("tool-plan-delta"), {"type": "citation-start"}) == ()

    @pytest.mark.parametrize("cut", [b"", b"data: [DONE]\n\n", b"data: {\n\n", b'data: {"type":"message-e'])
    def test_a_stream_without_its_end_is_a_failure(self, cut: bytes) -> None:
        events = decode(BEGIN, delta("content-delta", 0, content={"text": "a"}), cut)
        match events[-1]:
            case Failed(UpstreamError()):
                pass
            case last:
                pytest.fail(f"{last}")
        assert not any(isinstance(event, Finished) for event in events)

    @pytest.mark.parametrize(
        "event",
        [
            {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "too much"}},
            {"type": "message-end", "delta": {"error": "too much"}},
            {"type": "error", "message": "too much"},
            {"type": "error", "error": {"message": "too much"}},
            {"type": "error", "error": "too much"},
            {"id": "x", "message": "too much"},
            b"event: error\ndata: too much\n\n",
        ],
    )
    @pytest.mark.parametrize("begun", [True, False])
    def test_errors(self, event: dict[str, Any] | bytes, begun: bool) -> None:
        events = decode(*([BEGIN] if begun else []), event, END)
        match events[-1]:
            case Failed(UpstreamError(message="too much")):
                pass
            case last:
                pytest.fail(f"{last}")
        assert len([event for event in events if isinstance(event, Failed | Finished)]) == 1

    @pytest.mark.parametrize(
        "event",
        [
            BEGIN,
            {"type": "content-delta", "index": "0"},
            {"type": "content-delta", "index": True},
            {"type": "content-delta", "delta": 1},
            delta("content-delta", 0, content=1),
            delta("content-delta", 0, content={"text": 1}),
            delta("content-start", 0, content=[1]),
            delta("content-start", 0, content={"type": 1}),
            delta("content-start", 0, content={"type": "text", "text": 1}),
            delta("tool-call-delta", 0, tool_calls={"function": {"arguments": "x"}}),
            delta("tool-call-start", 0, tool_calls="x"),
            delta("tool-call-start", 0, tool_calls={"function": {"arguments": {}}}),
            delta("tool-plan-delta", tool_plan=1),
            {"type": "message-end", "delta": []},
            {"type": "message-end", "delta": {"finish_reason": 1}},
            b"data: []\n\n",
            b"data: {]\n\n",
            b"data: \xff\n\n",
        ],
    )
    def test_what_is_no_stream(self, event: dict[str, Any] | bytes) -> None:
        decoder = DIALECT.decoder()
        decoder.feed(b"data: %b\n\n" % json.dumps(BEGIN).encode())
        with pytest.raises(FramingError, match="Cohere"):
            decoder.feed(event if isinstance(event, bytes) else b"data: %b\n\n" % json.dumps(event).encode())
