"""Streamed replies of the Responses API, out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from motive_core.dialects.openai_responses import OpenAIResponses
from motive_core.errors import FramingError, HoldTimeoutError, MotiveError, OverloadedError, RateLimitedError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    Message,
    OpaquePart,
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
)

DIALECT = OpenAIResponses()
NAME = "openai-responses"
REQUEST = ChatRequest(NAME, "m", (Message("user", (TextPart("hi"),)),), stream=True)
ID = "resp_0a"


def encode(*said: ReplyEvent, dialect: str = "") -> list[Any]:
    """The JSON of each event of a stream, which are named and numbered as they should be."""
    data = DIALECT.encoder(REQUEST).encode_all([Started(ID, "m", 7, dialect=dialect), *said])
    return events_of(data)


def events_of(data: bytes, first: int = 0) -> list[Any]:
    frames = data.decode().removesuffix("\n\n").split("\n\n") if data else []
    events = []
    for number, frame in enumerate(frames, first):
        name, _, told = frame.partition("\ndata: ")
        event = json.loads(told)
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        events.append(event)
    return events


PLACES = ("output_index", "content_index", "summary_index", "delta")


def short(events: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Type, place and delta of each event."""
    return [
        (event["type"].removeprefix("response."), *[event[key] for key in PLACES if key in event]) for event in events
    ]


class TestOut:
    def test_a_text(self) -> None:
        usage = Usage(1, 2)
        got = encode(
            PartStarted(0, 0, TextPart("")),
            PartDelta(0, 0, "he"),
            PartDelta(0, 0, "llo"),
            PartEnded(0, 0),
            ChoiceEnded(0, "stop"),
            UsageReported(usage),
            Finished(),
        )
        whole = json.loads(
            DIALECT.render_reply(REQUEST, Reply(ID, "m", (Choice((TextPart("hello"),)),), usage, created=7))
        )
        begun = {**whole, "status": "in_progress", "completed_at": None, "output": [], "usage": None}
        (item,) = whole["output"]
        part = item["content"][0]
        where = {"item_id": "msg_0a00", "output_index": 0, "content_index": 0}
        assert [{key: value for key, value in one.items() if key != "sequence_number"} for one in got] == [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
            {
                "type": "response.output_item.added",
                "output_index": 0,
                "item": {**item, "status": "in_progress", "content": []},
            },
            {"type": "response.content_part.added", **where, "part": {**part, "text": ""}},
            {"type": "response.output_text.delta", **where, "delta": "he", "logprobs": []},
            {"type": "response.output_text.delta", **where, "delta": "llo", "logprobs": []},
            {"type": "response.output_text.done", **where, "text": "hello", "logprobs": []},
            {"type": "response.content_part.done", **where, "part": part},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": whole},
        ]

    def test_the_start_goes_out_at_once(self) -> None:
        encoder = DIALECT.encoder(REQUEST)
        assert len(events_of(encoder.encode(Started(ID, "m", 7)))) == 2
        assert encoder.encode(Started("resp_0b", "m")) == b""

    def test_a_tool_call(self) -> None:
        got = encode(
            PartStarted(0, 0, ToolCallPart("c", "f", "")),
            PartDelta(0, 0, '{"a"'),
            PartDelta(0, 0, ": 1.0}"),
            PartEnded(0, 0),
        )
        added, first, second, done, ended = got[2:]
        item = {"id": "fc_0a00", "type": "function_call", "call_id": "c", "name": "f"}
        where = {"item_id": "fc_0a00", "output_index": 0}
        assert added["item"] == {**item, "status": "in_progress", "arguments": ""}
        assert [first["delta"], second["delta"]] == ['{"a"', ": 1.0}"]
        for event in (first, second, done):
            assert where.items() <= event.items()
        assert done["type"] == "response.function_call_arguments.done"
        assert (done["arguments"], done["name"]) == ('{"a": 1.0}', "f")
        assert ended["item"] == {**item, "status": "completed", "arguments": '{"a": 1.0}'}

    def test_a_custom_tool_call(self) -> None:
        got = encode(PartStarted(0, 0, ToolCallPart("c", "sql", "SELECT", custom=True)), PartEnded(0, 0))
        assert short(got[2:]) == [
            ("output_item.added", 0),
            ("custom_tool_call_input.delta", 0, "SELECT"),
            ("custom_tool_call_input.done", 0),
            ("output_item.done", 0),
        ]
        assert got[-1]["item"]["input"] == "SELECT"

    def test_no_arguments_are_an_empty_object(self) -> None:
        got = encode(PartStarted(0, 0, ToolCallPart("c", "f", "")), PartEnded(0, 0))
        assert short(got[2:])[1] == ("function_call_arguments.delta", 0, "{}")
        assert got[-1]["item"]["arguments"] == "{}"

    def test_reasoning(self) -> None:
        got = encode(
            PartStarted(0, 0, ReasoningPart("")),
            PartDelta(0, 0, "H"),
            PartDelta(0, 0, "m."),
            SignatureDelta(0, 0, "theirs"),
            PartEnded(0, 0),
            PartStarted(0, 1, ReasoningPart("")),
            PartEnded(0, 1),
        )
        assert short(got[2:]) == [
            ("output_item.added", 0),
            ("reasoning_summary_part.added", 0, 0),
            ("reasoning_summary_text.delta", 0, 0, "H"),
            ("reasoning_summary_text.delta", 0, 0, "m."),
            ("reasoning_summary_text.done", 0, 0),
            ("reasoning_summary_part.done", 0, 0),
            ("output_item.done", 0),
            ("output_item.added", 1),
            ("output_item.done", 1),
        ]
        summary = [{"type": "summary_text", "text": "Hm."}]
        assert got[8]["item"] == {"id": "rs_0a00", "type": "reasoning", "summary": summary}
        assert got[-1]["item"] == {"id": "rs_0a01", "type": "reasoning", "summary": []}

    def test_items_are_said_side_by_side(self) -> None:
        got = encode(
            PartStarted(0, 0, TextPart("")),
            PartStarted(0, 1, ToolCallPart("c1", "f", "")),
            PartStarted(0, 2, ToolCallPart("c2", "g", "")),
            PartDelta(0, 2, "{"),
            PartDelta(0, 0, "a"),
            PartDelta(0, 1, "{}"),
            PartEnded(0, 0),
            PartDelta(0, 2, "}"),
            PartEnded(0, 2),
            PartEnded(0, 1),
            ChoiceEnded(0, "tool_calls"),
            Finished(),
        )
        assert short(got[2:]) == [
            ("output_item.added", 0),
            ("content_part.added", 0, 0),
            ("output_item.added", 1),
            ("output_item.added", 2),
            ("function_call_arguments.delta", 2, "{"),
            ("output_text.delta", 0, 0, "a"),
            ("function_call_arguments.delta", 1, "{}"),
            ("output_text.done", 0, 0),
            ("content_part.done", 0, 0),
            ("output_item.done", 0),
            ("function_call_arguments.delta", 2, "}"),
            ("function_call_arguments.done", 2),
            ("output_item.done", 2),
            ("function_call_arguments.done", 1),
            ("output_item.done", 1),
            ("completed",),
        ]
        assert [item["id"] for item in got[-1]["response"]["output"]] == ["msg_0a00", "fc_0a01", "fc_0a02"]

    def test_a_message_ends_when_another_item_begins(self) -> None:
        got = encode(
            PartStarted(0, 0, TextPart("a")),
            PartEnded(0, 0),
            PartStarted(0, 1, TextPart("b")),
            PartEnded(0, 1),
            PartStarted(0, 2, ToolCallPart("c", "f", "{}")),
        )
        assert short(got[4:]) == [
            ("output_text.delta", 0, 0, "a"),
            ("output_text.delta", 0, 0, "b"),
            ("output_text.done", 0, 0),
            ("content_part.done", 0, 0),
            ("output_item.done", 0),
            ("output_item.added", 1),
            ("function_call_arguments.delta", 1, "{}"),
        ]
        assert got[8]["item"]["content"][0]["text"] == "ab"

    def test_parts_that_share_a_text_wait_for_their_turn(self) -> None:
        got = encode(
            PartStarted(0, 0, TextPart("")),
            PartStarted(0, 1, BlobPart("image/png", url="x")),
            PartStarted(0, 2, TextPart("")),
            PartDelta(0, 2, "c"),
            PartDelta(0, 0, "a"),
            PartEnded(0, 1),
            PartEnded(0, 0),
            PartDelta(0, 2, "d"),
            PartStarted(0, 3, RefusalPart("")),
            PartDelta(0, 3, "No."),
            PartDelta(0, 2, "e"),
            ChoiceEnded(0, "stop"),
        )
        assert short(got[4:]) == [
            ("output_text.delta", 0, 0, "a"),
            ("output_text.delta", 0, 0, "\n\n![image](x)"),
            ("output_text.delta", 0, 0, "\n\nc"),
            ("output_text.delta", 0, 0, "d"),
            ("content_part.added", 0, 1),
            ("refusal.delta", 0, 1, "No."),
            ("output_text.delta", 0, 0, "e"),
            ("output_text.done", 0, 0),
            ("content_part.done", 0, 0),
            ("refusal.done", 0, 1),
            ("content_part.done", 0, 1),
            ("output_item.done", 0),
        ]

    @pytest.mark.parametrize(
        ("finish", "kind", "status"),
        [
            ("stop", "completed", "completed"),
            ("length", "incomplete", "incomplete"),
            ("refusal", "incomplete", "incomplete"),
        ],
    )
    def test_ends(self, finish: Any, kind: str, status: str) -> None:
        got = encode(PartStarted(0, 0, TextPart("and so")), ChoiceEnded(0, finish), Finished())
        assert got[-1]["type"] == f"response.{kind}"
        assert got[-1]["response"]["status"] == status
        assert got[-2]["item"]["status"] == status

    def test_what_is_open_ends_with_the_stream(self) -> None:
        got = encode(PartStarted(0, 0, ToolCallPart("c", "f", "{")), PartStarted(0, 1, TextPart("a")), Finished())
        assert [item["status"] for item in got[-1]["response"]["output"]] == ["completed", "completed"]
        assert got[-1]["response"]["output"][0]["arguments"] == "{"

    def test_other_choices_are_left_out(self) -> None:
        got = encode(
            PartStarted(1, 0, TextPart("tails")),
            PartDelta(1, 0, "x"),
            PartEnded(1, 0),
            ChoiceEnded(1, "stop"),
            ChoiceEnded(0, "stop"),
            Finished(),
        )
        assert short(got[2:]) == [("completed",)]

    def test_what_comes_after_the_end_is_nothing(self) -> None:
        encoder = DIALECT.encoder(REQUEST)
        encoder.encode_all([Started(ID, "m"), PartStarted(0, 0, TextPart("a")), ChoiceEnded(0, "stop")])
        late: list[ReplyEvent] = [
            PartDelta(0, 0, "b"),
            PartEnded(0, 0),
            PartStarted(0, 1, TextPart("c")),
            SignatureDelta(0, 0, "s"),
            ChoiceEnded(0, "length"),
        ]
        assert encoder.encode_all(late) == b""
        assert b"response.completed" in encoder.encode(Finished())
        assert encoder.encode_all([*late, Finished(), Failed(OverloadedError("x"))]) == b""

    def test_a_part_that_never_began(self) -> None:
        for event in (PartDelta(0, 0, "x"), PartEnded(0, 0)):
            with pytest.raises(FramingError):
                encode(event)

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (OverloadedError("Too much."), "server_error"),
            (RateLimitedError("Too much."), "rate_limit_exceeded"),
            (HoldTimeoutError("Too much."), "invalid_prompt"),
        ],
    )
    @pytest.mark.parametrize("begun", [False, True])
    def test_an_error(self, error: MotiveError, code: str, begun: bool) -> None:
        encoder = DIALECT.encoder(REQUEST)
        said = encoder.encode_all([Started(ID, "m", 7), PartStarted(0, 0, TextPart("half"))]) if begun else b""
        told, failed = events_of(encoder.encode(Failed(error)), len(events_of(said)))
        nested = told.pop("error")
        assert (told["type"], told["message"], told["code"], told["param"]) == ("error", "Too much.", error.code, None)
        assert nested["message"] == "Too much."
        assert nested["code"] == error.code
        assert failed["type"] == "response.failed"
        response = failed["response"]
        assert response["id"] == (ID if begun else "")
        assert (response["status"], response["output"]) == ("failed", [])
        assert response["error"] == {"code": code, "message": "Too much."}

    def test_a_heartbeat(self) -> None:
        assert DIALECT.encoder(REQUEST).heartbeat() == b": keep-alive\n\n"


class TestOutOwn:
    """Replies of this dialect keep what they had."""

    def test_ids_and_members(self) -> None:
        got = encode(
            PartStarted(0, 0, ReasoningPart("", extra={"id": "rs_x"})),
            PartDelta(0, 0, "a\n\nb"),
            SignatureDelta(0, 0, "gA"),
            SignatureDelta(0, 0, "AA"),
            PartEnded(0, 0, extra={"summary": [{"type": "summary_text", "text": one} for one in "ab"]}),
            PartStarted(0, 1, TextPart("x", extra={"message": {"id": "msg_x", "phase": "commentary"}})),
            PartEnded(0, 1, extra={"annotations": [{"type": "url_citation"}]}),
            PartStarted(0, 2, OpaquePart(NAME, {"content": {"type": "hologram"}})),
            PartEnded(0, 2),
            PartStarted(0, 3, TextPart("y", extra={"message": {}})),
            PartStarted(0, 4, OpaquePart(NAME, {"type": "web_search_call", "id": "ws_1"})),
            PartEnded(0, 4),
            ChoiceEnded(0, "length", extra={"incomplete_details": {"reason": "steered"}, "response": {"x": 1}}),
            Finished(),
            dialect=NAME,
        )
        response = got[-1]["response"]
        assert (response["incomplete_details"], response["x"]) == ({"reason": "steered"}, 1)
        text = {"type": "output_text", "annotations": [], "logprobs": []}
        assert response["output"] == [
            {
                "id": "rs_x",
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": one} for one in "ab"],
                "encrypted_content": "gAAA",
            },
            {
                "id": "msg_x",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{**text, "text": "x", "annotations": [{"type": "url_citation"}]}, {"type": "hologram"}],
                "phase": "commentary",
            },
            {
                "id": "msg_0a02",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{**text, "text": "y"}],
            },
            {"type": "web_search_call", "id": "ws_1"},
        ]

    def test_each_part_of_a_message_begins_and_ends_once(self) -> None:
        known = OpaquePart(NAME, {"content": {"type": "hologram"}})
        got = encode(
            PartStarted(0, 0, TextPart("a")),
            PartEnded(0, 0),
            PartStarted(0, 1, known),
            PartEnded(0, 1),
            PartStarted(0, 2, TextPart("b")),
            PartStarted(0, 3, known),
            ChoiceEnded(0, "stop"),
            dialect=NAME,
        )
        assert short(got[2:]) == [
            ("output_item.added", 0),
            ("content_part.added", 0, 0),
            ("output_text.delta", 0, 0, "a"),
            ("output_text.done", 0, 0),
            ("content_part.done", 0, 0),
            ("content_part.added", 0, 1),
            ("content_part.done", 0, 1),
            ("content_part.added", 0, 2),
            ("output_text.delta", 0, 2, "b"),
            ("content_part.added", 0, 3),
            ("output_text.done", 0, 2),
            ("content_part.done", 0, 2),
            ("content_part.done", 0, 3),
            ("output_item.done", 0),
        ]

    def test_a_model_that_thinks_aloud(self) -> None:
        got = encode(
            PartStarted(0, 0, ReasoningPart("", extra={"summary": []})),
            PartDelta(0, 0, "Hm."),
            PartEnded(0, 0),
            dialect=NAME,
        )
        assert short(got[2:]) == [
            ("output_item.added", 0),
            ("content_part.added", 0, 0),
            ("reasoning_text.delta", 0, 0, "Hm."),
            ("reasoning_text.done", 0, 0),
            ("content_part.done", 0, 0),
            ("output_item.done", 0),
        ]
        assert got[-1]["item"]["content"] == [{"type": "reasoning_text", "text": "Hm."}]
        assert got[-1]["item"]["summary"] == []
