"""Whole replies of Cohere's Chat API: usage, finish reasons, and what degrades."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motive_core.dialects.cohere_chat import CohereChat
from motive_core.errors import FramingError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    FinishReason,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)

DIALECT = CohereChat()
NAME = "cohere-chat"
REQUEST = ChatRequest(NAME, "m", ())
PLAN = {"tool_plan": True}


def parse(**members: Any) -> Reply:
    body = {"id": "r", "message": {"role": "assistant", "content": []}, "finish_reason": "COMPLETE", **members}
    return DIALECT.parse_reply(json.dumps(body).encode())


def render(*parts: Part, dialect: str = "another", finish: FinishReason = "stop", **fields: Any) -> dict[str, Any]:
    reply = Reply("r", "m", (Choice(parts, finish, **fields),), Usage(3, 2), dialect=dialect)
    told: dict[str, Any] = json.loads(DIALECT.render_reply(REQUEST, reply))
    return told


def test_a_reply_in_full() -> None:
    assert render(ReasoningPart("hm", "sig"), TextPart("Yes"), ToolCallPart("c1", "f", '{"a":1}')) == {
        "id": "r",
        "message": {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Yes"}],
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
        },
        "finish_reason": "COMPLETE",
        "usage": {
            "billed_units": {"input_tokens": 3, "output_tokens": 2},
            "tokens": {"input_tokens": 3, "output_tokens": 2},
            "cached_tokens": 0,
        },
    }


def test_what_another_dialect_says_in_several_texts_is_one_item() -> None:
    parts = (
        TextPart("a"),
        TextPart("b"),
        BlobPart("image/png", data="AAAA"),
        TextPart(""),
        RefusalPart("No."),
        ReasoningPart("hm"),
        ReasoningPart("", redacted="x"),
        TextPart("c"),
        OpaquePart("another", {"x": 1}),
        ToolCallPart("c1", "f", ""),
        TextPart("d"),
    )
    told = render(*parts)["message"]
    assert told["content"] == [
        {"type": "text", "text": "ab\n\n![image](data:image/png;base64,AAAA)\n\nNo."},
        {"type": "thinking", "thinking": "hm"},
        {"type": "thinking", "thinking": "[redacted reasoning]"},
        {"type": "text", "text": '\n\nc\n\n{"x":1}'},
        {"type": "text", "text": "\n\nd"},
    ]
    assert told["tool_calls"][0]["function"]["arguments"] == "{}"


def test_an_empty_reply_has_an_empty_text_for_its_readers() -> None:
    assert render()["message"] == {"role": "assistant", "content": [{"type": "text", "text": ""}]}
    assert "content" not in render(ToolCallPart("c", "f", "{}"))["message"]
    no_choices = json.loads(DIALECT.render_reply(REQUEST, Reply("r", "m", ())))
    assert no_choices["message"]["content"] == [{"type": "text", "text": ""}]
    assert "usage" not in no_choices


def test_free_form_input_is_a_member_of_an_object() -> None:
    told = render(ToolCallPart("c", "f", 'a "b"', custom=True), ToolCallPart("d", "g", "not json"))["message"]
    assert [call["function"]["arguments"] for call in told["tool_calls"]] == ['{"input":"a \\"b\\""}', "not json"]


@pytest.mark.parametrize(
    ("finish", "told"),
    [
        ("stop", "COMPLETE"),
        ("length", "MAX_TOKENS"),
        ("tool_calls", "TOOL_CALL"),
        ("error", "ERROR"),
        ("content_filter", "ERROR"),
        ("refusal", "COMPLETE"),
        ("pause", "COMPLETE"),
    ],
)
def test_finish_reasons_out(finish: FinishReason, told: str) -> None:
    assert render(finish=finish)["finish_reason"] == told
    assert render(finish="stop", stop_sequence="x")["finish_reason"] == "STOP_SEQUENCE"
    assert render(extra={"finish_reason": "X"})["finish_reason"] == "COMPLETE"


@pytest.mark.parametrize(
    ("told", "finish", "extra"),
    [
        ("COMPLETE", "stop", {}),
        ("STOP_SEQUENCE", "stop", {"finish_reason": "STOP_SEQUENCE"}),
        ("MAX_TOKENS", "length", {}),
        ("TOOL_CALL", "tool_calls", {}),
        ("ERROR", "error", {}),
        ("TIMEOUT", "error", {"finish_reason": "TIMEOUT"}),
        ("ERROR_LIMIT", "length", {"finish_reason": "ERROR_LIMIT"}),
        ("ERROR_TOXIC", "content_filter", {"finish_reason": "ERROR_TOXIC"}),
        ("NEW", "stop", {"finish_reason": "NEW"}),
        (None, "stop", {}),
    ],
)
def test_finish_reasons_in(told: str | None, finish: str, extra: dict[str, str]) -> None:
    choice = parse(finish_reason=told).choices[0]
    assert (choice.finish_reason, choice.extra) == (finish, extra)
    again = json.loads(DIALECT.render_reply(REQUEST, parse(finish_reason=told)))
    assert again["finish_reason"] == (told or "COMPLETE")


def test_calls_tell_how_a_reply_ended_that_does_not_tell_itself() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert parse(finish_reason=None, message={"tool_calls": [call]}).choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (
            {
                "billed_units": {"input_tokens": 1, "output_tokens": 2},
                "tokens": {"input_tokens": 70, "output_tokens": 3},
            },
            Usage(70, 3, extra={"billed_units": {"input_tokens": 1, "output_tokens": 2}}),
        ),
        ({"billed_units": {"input_tokens": 1.0, "output_tokens": 2}}, Usage(1, 2)),
        ({"tokens": {"input_tokens": 9, "output_tokens": 2.0}, "cached_tokens": 8.0}, Usage(9, 2, cached_tokens=8)),
        (
            {"tokens": {"input_tokens": 9, "image_tokens": 4, "output_tokens": 0.5}, "tier": "x", "y": None},
            Usage(9, 0, extra={"tokens": {"image_tokens": 4}, "tier": "x"}),
        ),
        ({"billed_units": None, "tokens": None}, None),
        ({"tokens": {"input_tokens": 0, "output_tokens": 0}, "cached_tokens": 0}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage(told: Any, usage: Usage | None) -> None:
    reply = parse(usage=told)
    assert reply.usage == usage
    assert DIALECT.parse_reply(DIALECT.render_reply(REQUEST, reply)).usage == usage


def test_a_plan_is_a_text_with_a_mark() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "tool_plan": "I will.", "tool_calls": [call]}
    reply = parse(message=message)
    assert reply.choices[0].parts == (TextPart("I will.", extra=PLAN), ToolCallPart("c", "f", "{}"))
    assert json.loads(DIALECT.render_reply(REQUEST, reply))["message"] == message
    assert render(TextPart("x", extra=PLAN))["message"]["content"] == [{"type": "text", "text": "x"}]


def test_unknown_members_and_items_stay() -> None:
    content = [{"type": "text", "text": "a", "x": 1}, {"type": "image_url", "image_url": {"url": "u"}}]
    message = {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"type": "new", "z": [1.5]}],
        "citations": [{"start": 0}],
        "mood": "calm",
    }
    logprobs = [{"token_ids": [1], "logprobs": [-0.5]}]
    reply = parse(message={**message, "refusal": None}, logprobs=logprobs, meta={"v": 2}, other=None)

    assert reply.choices[0].parts == (
        TextPart("a", extra={"x": 1}),
        OpaquePart(NAME, content[1]),
        OpaquePart(NAME, {"tool_calls": {"type": "new", "z": [1.5]}}),
    )
    assert reply.choices[0].extra == {"logprobs": logprobs, "citations": [{"start": 0}], "message": {"mood": "calm"}}
    assert reply.extra == {"meta": {"v": 2}}
    told = json.loads(DIALECT.render_reply(REQUEST, reply))
    assert (told["message"], told["logprobs"], told["meta"]) == (message, logprobs, {"v": 2})


def test_nothing_of_another_vendor_goes_along() -> None:
    told = json.dumps(
        render(
            TextPart("x", extra={"a": 1}), ToolCallPart("c", "f", "{}", extra={"b": 2}), extra={"c": 3, "message": {}}
        )
    )
    assert not any(f'"{name}":' in told for name in ("a", "b", "c"))


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b'{"message":"there was an error","id":"x"}',
        b'{"message":{"content":1}}',
        b'{"message":{"content":[{"type":"text"}]}}',
        b'{"message":{"tool_calls":{}}}',
        b'{"message":{"tool_calls":[{"function":{"arguments":{}}}]}}',
        b'{"message":{},"finish_reason":1}',
        b'{"message":{},"logprobs":{}}',
    ],
)
def test_what_is_no_reply(body: bytes) -> None:
    with pytest.raises(FramingError, match="Cohere"):
        DIALECT.parse_reply(body)
