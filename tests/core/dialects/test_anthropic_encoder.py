"""Streamed replies of the Messages API, out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from motive_core.dialects.anthropic_messages import AnthropicMessages
from motive_core.errors import HoldTimeoutError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
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
    replay,
)

DIALECT = AnthropicMessages()
REQUEST = ChatRequest("anthropic-messages", "m", (), stream=True)
STARTED = Started("msg_1", "m")


def encode(*events: ReplyEvent) -> list[tuple[str, Any]]:
    """What an encoder says of these events, as event names and their data."""
    data = DIALECT.encoder(REQUEST).encode_all(events)
    return [_parsed(block) for block in data.decode().split("\n\n")[:-1]]


def _parsed(block: str) -> tuple[str, Any]:
    name, data = block.split("\n")
    told = json.loads(data.removeprefix("data: "))
    assert told["type"] == name.removeprefix("event: ")
    return told.pop("type"), told


def spoken(*events: ReplyEvent) -> list[tuple[str, Any]]:
    """The same, without the start of the message and its end."""
    told = encode(STARTED, *events, Finished())
    assert (told[0][0], told[-2][0], told[-1]) == ("message_start", "message_delta", ("message_stop", {}))
    return told[1:-2]


def test_the_order_of_events_and_their_bytes() -> None:
    encoder = DIALECT.encoder(REQUEST)

    assert encoder.encode(Started("msg_1", "room", usage=Usage(11, 1))) == (
        b"event: message_start\n"
        b'data: {"type":"message_start","message":{"model":"room","id":"msg_1","type":"message","role":"assistant",'
        b'"content":[],"stop_reason":null,"stop_sequence":null,"usage":{'
        b'"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"service_tier":"standard",'
        b'"input_tokens":11,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}\n\n'
    )
    assert encoder.encode(PartStarted(0, 0, TextPart(""))) == b""
    assert encoder.encode(PartDelta(0, 0, "")) == b""
    assert encoder.encode(PartDelta(0, 0, "Hé\n")) == (
        b"event: content_block_start\n"
        b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"H\xc3\xa9\\n"}}\n\n'
    )
    assert encoder.encode(PartDelta(0, 0, "\t!")) == (
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\t!"}}\n\n'
    )
    assert encoder.encode(PartEnded(0, 0)) == (
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    )
    assert encoder.encode(ChoiceEnded(0, "stop")) == b""
    assert encoder.encode(UsageReported(Usage(11, 7))) == b""
    assert encoder.encode(Finished()) == (
        b"event: message_delta\n"
        b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        b'"usage":{"input_tokens":11,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":7}}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    assert encoder.encode(PartStarted(0, 1, TextPart("late"))) == b""


def test_parts_that_interleave_come_one_after_the_other() -> None:
    told = spoken(
        PartStarted(0, 0, ToolCallPart("a", "f", "")),
        PartStarted(0, 1, ToolCallPart("b", "g", '{"')),
        PartDelta(0, 1, "x"),
        PartDelta(0, 0, '{"y'),
        PartStarted(0, 2, TextPart("then")),
        PartEnded(0, 1),
        PartDelta(0, 0, '":1}'),
        PartDelta(0, 9, "of a part that never began"),
        PartEnded(0, 0),
        PartDelta(0, 2, "."),
        ChoiceEnded(0, "tool_calls"),
    )

    assert [(kind, rest["index"]) for kind, rest in told] == [
        *(("content_block_start", 0), *[("content_block_delta", 0)] * 3, ("content_block_stop", 0)),
        *(("content_block_start", 1), *[("content_block_delta", 1)] * 3, ("content_block_stop", 1)),
        *(("content_block_start", 2), *[("content_block_delta", 2)] * 2, ("content_block_stop", 2)),
    ]
    pieces = [rest["delta"].get("partial_json") for kind, rest in told if kind == "content_block_delta"]
    assert pieces == ["", '{"y', '":1}', "", '{"', "x", None, None]


def test_what_waits_is_said_as_soon_as_its_turn_comes() -> None:
    encoder = DIALECT.encoder(REQUEST)
    encoder.encode_all([STARTED, PartStarted(0, 0, TextPart("a")), PartStarted(0, 1, TextPart("b"))])

    assert b'"text":"b"' in encoder.encode(PartEnded(0, 0))
    assert encoder.encode(PartDelta(0, 1, "c")).count(b"event:") == 1


def test_any_number_of_parts_may_wait() -> None:
    waiting: list[ReplyEvent] = [PartStarted(0, 0, TextPart("first"))]
    for index in range(1, 2_000):
        waiting += [PartStarted(0, index, TextPart("x")), PartEnded(0, index)]

    told = spoken(*waiting, PartEnded(0, 0))
    assert told[-1] == ("content_block_stop", {"index": 1_999})


def test_a_signature_is_one_delta_at_the_end() -> None:
    told = spoken(
        PartStarted(0, 0, ReasoningPart("h")),
        SignatureDelta(0, 0, "si"),
        PartDelta(0, 0, "m"),
        SignatureDelta(0, 0, "g"),
        PartEnded(0, 0),
        PartStarted(0, 1, ReasoningPart("", "whole")),
        PartEnded(0, 1),
    )

    assert told[0][1]["content_block"] == {"type": "thinking", "thinking": "", "signature": ""}
    deltas = [rest["delta"] for kind, rest in told if kind == "content_block_delta"]
    assert deltas == [
        {"type": "thinking_delta", "thinking": "h"},
        {"type": "thinking_delta", "thinking": "m"},
        {"type": "signature_delta", "signature": "sig"},
        {"type": "signature_delta", "signature": "whole"},
    ]


def test_free_form_input_is_wrapped_piece_by_piece() -> None:
    told = spoken(
        PartStarted(0, 0, ToolCallPart("a", "patch", "+", custom=True)),
        PartDelta(0, 0, '"é\n'),
        PartDelta(0, 0, "\t-"),
        PartEnded(0, 0),
    )

    pieces = [rest["delta"]["partial_json"] for kind, rest in told if kind == "content_block_delta"]
    assert len(pieces) == 5
    assert json.loads("".join(pieces)) == {"input": '+"é\n\t-'}


def test_empty_texts_have_no_block() -> None:
    told = spoken(
        PartStarted(0, 0, TextPart("")),
        PartEnded(0, 0),
        PartStarted(0, 1, TextPart("x")),
        PartEnded(0, 1),
        PartStarted(0, 2, RefusalPart("")),
    )

    assert [(kind, rest["index"]) for kind, rest in told] == [
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
    ]


def test_what_becomes_text_stands_between_blank_lines() -> None:
    picture = BlobPart("image/png", url="https://e.x/a.png")
    parts: Sequence[Part] = (TextPart("See"), picture, TextPart(""), TextPart("there"), TextPart("!"))
    reply = Reply("msg_1", "m", (Choice(tuple(parts)),))

    told = spoken(*list(replay(reply))[1:-1])
    texts = [rest["delta"]["text"] for kind, rest in told if kind == "content_block_delta"]
    assert texts == ["See", "\n\n![image](https://e.x/a.png)", "\n\nthere", "!"]
    whole = json.loads(DIALECT.render_reply(REQUEST, reply))
    assert [block["text"] for block in whole["content"]] == texts


def test_a_refusal_sets_the_stop_reason() -> None:
    told = encode(STARTED, PartStarted(0, 0, RefusalPart("No.")), ChoiceEnded(0, "stop"), Finished())

    assert told[-2][1]["delta"] == {"stop_reason": "refusal", "stop_sequence": None}


def test_choices_after_the_first_are_left_out() -> None:
    told = encode(
        STARTED,
        PartStarted(0, 0, TextPart("a")),
        PartStarted(1, 0, TextPart("b")),
        PartDelta(1, 0, "B"),
        PartDelta(0, 0, "A"),
        ChoiceEnded(1, "length"),
        PartEnded(0, 0),
        ChoiceEnded(0, "stop", "END"),
        Finished(),
    )

    assert [rest["delta"]["text"] for kind, rest in told if kind == "content_block_delta"] == ["a", "A"]
    assert told[-2][1]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}


def test_a_heartbeat_never_precedes_the_start_of_the_message() -> None:
    encoder = DIALECT.encoder(REQUEST)

    assert encoder.heartbeat() == b": keep-alive\n\n"
    encoder.encode(STARTED)
    assert encoder.heartbeat() == b'event: ping\ndata: {"type":"ping"}\n\n'
    encoder.encode_all([PartStarted(0, 0, TextPart("a")), Finished()])
    assert encoder.heartbeat() == b""


@pytest.mark.parametrize("before", [[], [STARTED], [STARTED, PartStarted(0, 0, TextPart("half"))]])
def test_a_failure_is_an_error_event_and_the_end(before: list[ReplyEvent]) -> None:
    encoder = DIALECT.encoder(REQUEST)
    encoder.encode_all(before)

    assert encoder.encode(Failed(HoldTimeoutError("nobody answered"))) == (
        b'event: error\ndata: {"type":"error","error":{"type":"timeout_error","message":"nobody answered"}}\n\n'
    )
    assert encoder.encode_all([PartDelta(0, 0, "more"), Finished()]) == b""
    assert encoder.heartbeat() == b""


def test_a_stream_without_anything_is_still_a_message() -> None:
    told = encode(Finished())

    assert [kind for kind, _ in told] == ["message_start", "message_delta", "message_stop"]
    assert told[0][1]["message"]["model"] == "m"


def test_half_a_surrogate_pair_is_a_question_mark() -> None:
    data = DIALECT.encoder(REQUEST).encode_all(
        [STARTED, PartStarted(0, 0, TextPart("\ud83d")), PartDelta(0, 0, "\ude00")]
    )

    assert data.count(b'"text":"?"') == 2


def test_extra_fields_of_another_vendor_are_not_sent() -> None:
    told = encode(
        Started("msg_1", "m", usage=Usage(1, extra={"cost": 1}), extra={"system_fingerprint": "fp"}),
        PartStarted(0, 0, TextPart("a", extra={"cache_control": {}})),
        PartEnded(0, 0, extra={"citations": [{}]}),
        ChoiceEnded(0, "stop", extra={"stop_details": {}, "stop_reason": "x"}),
        UsageReported(Usage(1, 2, extra={"cost": 2})),
        Finished(),
    )

    assert "cost" not in json.dumps(told)
    assert "system_fingerprint" not in json.dumps(told)
    assert [kind for kind, _ in told].count("content_block_delta") == 1
    assert told[1][1]["content_block"] == {"type": "text", "text": ""}
    assert told[-2][1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
