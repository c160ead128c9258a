"""Whole replies of Chat Completions, and what a reply of another dialect becomes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.errors import FramingError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    Extra,
    FinishReason,
    Json,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from motive_core.stream import replay

DIALECT = OpenAIChat()
NAME = "openai-chat"
WIRE = Path(__file__).parents[2] / "wire" / NAME
REQUEST = ChatRequest(NAME, "m", (Message("user", (TextPart("hi"),)),), stream=True, include_usage=True)
LEGACY = ChatRequest(NAME, "m", (), tools=(Tool("f", extra={"functions": {}}),), stream=True)


def golden(name: str) -> Reply:
    return DIALECT.parse_reply((WIRE / f"{name}.reply.json").read_bytes())


def parse(message: Json, **choice: Json) -> Choice:
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}]}
    return DIALECT.parse_reply(json.dumps(body).encode()).choices[0]


def message_of(*parts: Part, request: ChatRequest = REQUEST, dialect: str = "") -> dict[str, Json]:
    """The message that these parts are rendered to."""
    body = DIALECT.render_reply(request, Reply("id", "m", (Choice(parts),), dialect=dialect))
    return json.loads(body)["choices"][0]["message"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "name", ["text", "parallel_tools", "tool_only", "custom_tool", "refusal", "two_choices", "annotations", "logprobs"]
)
def test_a_reply_of_the_live_api_is_rendered_as_it_was(name: str) -> None:
    body = json.loads((WIRE / f"{name}.reply.json").read_bytes())

    assert json.loads(DIALECT.render_reply(REQUEST, golden(name))) == body


def test_a_text() -> None:
    reply = golden("text")

    assert reply == Reply(
        "chatcmpl-CfB1f2Zqk3uVZJ9T0aHXbYcD4E5Fg",
        "gpt-5.5-2026-04-23",
        (Choice((TextPart("Hello! How can I help?"),)),),
        Usage(11, 7, cached_tokens=4),
        1_795_230_236,
        extra={"system_fingerprint": "fp_44709d6fcb"},
    )
    assert reply.dialect == NAME


def test_every_member_of_a_text() -> None:
    reply = Reply("chatcmpl-1", "room", (Choice((TextPart("Hi"),)),), Usage(11, 7, 4, 3, estimated=True), 1_795_230_236)

    assert DIALECT.render_reply(REQUEST, reply) == (
        b'{"id":"chatcmpl-1","object":"chat.completion","created":1795230236,"model":"room","service_tier":"default",'
        b'"system_fingerprint":null,"choices":[{"index":0,"message":{"role":"assistant","content":"Hi","refusal":null,'
        b'"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7,'
        b'"total_tokens":18,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":'
        b'{"reasoning_tokens":3,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}'
    )


def test_tool_calls_keep_their_arguments() -> None:
    first, second, third = golden("parallel_tools").choices[0].parts[1:]

    assert first == ToolCallPart(
        "call_YwYXBJHrhGMQ2DFWcpRP1TVo",
        "get_weather",
        '{ "location": "München",\n "days": 1.0, "big": 123456789012345678901 }',
    )
    assert (second, third) == (
        ToolCallPart("call_2", "get_weather", '{"location":"Åre"}'),
        ToolCallPart("call_3", "now", ""),
    )
    assert golden("parallel_tools").choices[0].finish_reason == "tool_calls"


def test_reasoning_comes_first() -> None:
    assert golden("deepseek_reasoning").choices[0].parts == (ReasoningPart("27 × 453\n= 12231"), TextPart("12231"))
    assert golden("openrouter_reasoning").choices[0].parts == (ReasoningPart("Easy."), TextPart("12231"))


def test_unknown_members_are_kept_where_they_belong() -> None:
    reply = golden("openrouter_reasoning")

    assert reply.extra == {"provider": "Anthropic"}
    assert reply.choices[0].extra["native_finish_reason"] == "end_turn"
    assert reply.choices[0].extra["message"]["reasoning_details"][0]["signature"] == "c2ln"
    assert reply.usage == Usage(20, 15, reasoning_tokens=5, extra={"cost": 0.00015})
    assert golden("logprobs").choices[0].extra["logprobs"]["content"][0]["token"] == "Hi"


def test_extra_of_another_dialect_is_not_sent() -> None:
    extra: Extra = {"service_tier": "batch", "message": {"x": 1}, "finish_reason": "odd"}
    call = ToolCallPart("c", "f", "{}", extra=extra)
    reply = Reply("id", "m", (Choice((call,), extra=extra),), Usage(1, extra=extra), extra=extra, dialect="elsewhere")

    clean = Reply("id", "m", (Choice((ToolCallPart("c", "f", "{}"),)),), Usage(1))
    assert DIALECT.render_reply(REQUEST, reply) == DIALECT.render_reply(REQUEST, clean)
    assert DIALECT.encoder(REQUEST).encode_all(replay(reply)) == DIALECT.encoder(REQUEST).encode_all(replay(clean))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, None),
        ("7", None),
        ({}, Usage()),
        ({"prompt_tokens": None, "completion_tokens": True}, Usage()),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, Usage(1, 2)),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 9}, Usage(1, 2, extra={"total_tokens": 9})),
        ({"prompt_tokens": 1, "prompt_tokens_details": None}, Usage(1)),
        (
            {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 2, "text_tokens": 0}},
            Usage(9, cached_tokens=4, extra={"prompt_tokens_details": {"audio_tokens": 2}}),
        ),
    ],
)
def test_usage(usage: Json, expected: Usage | None) -> None:
    body = json.dumps({"choices": [], "usage": usage}).encode()
    reply = DIALECT.parse_reply(body)

    assert reply.usage == expected
    assert DIALECT.parse_reply(DIALECT.render_reply(REQUEST, reply)) == reply


@pytest.mark.parametrize(
    ("told", "finish", "extra"),
    [
        ("stop", "stop", {}),
        ("length", "length", {}),
        ("content_filter", "content_filter", {}),
        ("tool_calls", "tool_calls", {}),
        ("function_call", "tool_calls", {}),
        ("model_length", "length", {"finish_reason": "model_length"}),
        ("error", "error", {"finish_reason": "error"}),
        ("eos", "stop", {"finish_reason": "eos"}),
        (None, "stop", {}),
    ],
)
def test_finish_reasons_in(told: str | None, finish: FinishReason, extra: Extra) -> None:
    choice = parse({"role": "assistant", "content": "x"}, finish_reason=told)

    assert (choice.finish_reason, choice.extra) == (finish, extra)


@pytest.mark.parametrize(
    ("finish", "told"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("refusal", "content_filter"),
        ("error", "length"),
        ("pause", "stop"),
    ],
)
def test_finish_reasons_out(finish: FinishReason, told: str) -> None:
    body = DIALECT.render_reply(REQUEST, Reply("id", "m", (Choice((), finish),)))

    assert json.loads(body)["choices"][0]["finish_reason"] == told


def test_a_finish_reason_that_is_not_told_follows_from_the_calls() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}}

    assert parse({"content": None, "tool_calls": [call]}, finish_reason=None).finish_reason == "tool_calls"


def test_choices_are_in_the_order_of_their_index() -> None:
    choices = [{"index": n, "message": {"content": str(n)}, "finish_reason": "stop"} for n in (2, 0, 1)]
    reply = DIALECT.parse_reply(json.dumps({"choices": choices}).encode())

    assert [choice.parts for choice in reply.choices] == [(TextPart("0"),), (TextPart("1"),), (TextPart("2"),)]


@pytest.mark.parametrize(
    ("parts", "content"),
    [
        ((), ""),
        ((TextPart(""),), ""),
        ((ReasoningPart("hm"),), ""),
        ((RefusalPart("no"),), None),
        ((ToolCallPart("c", "f", "{}"),), None),
        ((ToolCallPart("c", "f", "{}"), TextPart("x")), "x"),
    ],
)
def test_content_is_null_only_beside_something_else(parts: tuple[Part, ...], content: str | None) -> None:
    assert message_of(*parts)["content"] == content


def test_texts_are_one_string_with_blank_lines_where_something_stood_between() -> None:
    call = ToolCallPart("c", "f", "{}")

    assert message_of(TextPart("a"), TextPart("b"))["content"] == "ab"
    assert message_of(TextPart("a"), call, TextPart("b"))["content"] == "a\n\nb"
    assert message_of(ReasoningPart("a"), TextPart("x"), ReasoningPart("b"))["reasoning_content"] == "a\n\nb"
    assert message_of(RefusalPart("a"), RefusalPart("b"))["refusal"] == "a\n\nb"


def test_what_a_reply_cannot_carry_becomes_text() -> None:
    message = message_of(
        TextPart("Look:"),
        BlobPart("image/png", data="AAAA", name="a [cat]"),
        BlobPart("", url="https://example.org/a (1).png"),
        BlobPart("application/pdf", url="file-id:7", name="a.pdf"),
        ToolResultPart("c", (TextPart("3 °C"), BlobPart("text/plain", data="AA")), "weather", is_error=True),
        OpaquePart("elsewhere", {"type": "odd", "n": 1}),
        ReasoningPart("", redacted="xyz"),
        TextPart("Done."),
    )

    assert message["content"] == (
        "Look:\n\n"
        "![a \\[cat\\]](data:image/png;base64,AAAA)\n\n"
        "![image](https://example.org/a%20%281%29.png)\n\n"
        "[a.pdf](file-id:7)\n\n"
        "[tool result weather c (error)]\n3 °C\n\n[file](data:text/plain;base64,AA)\n\n"
        '{"type":"odd","n":1}\n\n'
        "Done."
    )
    assert message["reasoning_content"] == "[redacted reasoning]"


def test_a_tool_call_of_an_unknown_type_stays_as_it_is() -> None:
    raw = {"id": "c", "type": "computer", "computer": {"action": "click"}}
    choice = parse({"content": None, "tool_calls": [raw]})

    assert choice.parts == (OpaquePart(NAME, {"tool_calls": raw}),)
    assert message_of(*choice.parts, dialect=NAME)["tool_calls"] == [raw]
    assert '"computer"' in message_of(*choice.parts)["content"]


def test_a_content_in_parts_is_read() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}, {"type": "text", "text": "!"}]}
    reference = {"type": "reference", "reference_ids": [1]}
    texts = [{"type": "text", "text": "12"}, {"type": "text", "text": ""}]
    choice = parse({"content": [{**thinking, "closed": True}, *texts, reference, *texts]})

    parts = (
        ReasoningPart("hm!", extra={"thinking": {"closed": True}}),
        TextPart("12"),
        OpaquePart(NAME, reference),
        TextPart("12"),
    )
    assert choice.parts == parts
    assert message_of(*parts, dialect=NAME)["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm!"}], "closed": True},
        {"type": "text", "text": "12"},
        reference,
        {"type": "text", "text": "12"},
    ]
    elsewhere = message_of(*parts)
    assert elsewhere["reasoning_content"] == "hm!"
    assert elsewhere["content"] == '12\n\n{"type":"reference","reference_ids":[1]}\n\n12'


def test_reasoning_that_is_counted_apart_is_counted_in() -> None:
    """The figures are those of a reply of xAI."""
    counts = {"prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428}
    details = {"prompt_tokens_details": {"cached_tokens": 128}, "completion_tokens_details": {"reasoning_tokens": 2809}}
    body = {"choices": [], "usage": {**counts, **details}}
    reply = DIALECT.parse_reply(json.dumps(body).encode())

    assert reply.usage == Usage(10120, 1499 + 2809, 128, 2809)
    assert DIALECT.parse_reply(DIALECT.render_reply(REQUEST, reply)).usage == reply.usage


def test_a_client_that_offers_functions_gets_a_function_call() -> None:
    call, more = ToolCallPart("call_1", "f", '{"a":1}'), ToolCallPart("call_2", "g", "{}")
    reply = Reply("id", "m", (Choice((TextPart("x"), call, more), "tool_calls"),))
    choice = json.loads(DIALECT.render_reply(LEGACY, reply))["choices"][0]

    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert "tool_calls" not in choice["message"]
    assert choice["message"]["content"] == "x\n\n[tool call g call_2]\n{}"
    legacy = ToolCallPart("f", "f", '{"a":1}', extra={"function_call": {}})
    assert DIALECT.parse_reply(DIALECT.render_reply(LEGACY, reply)).choices[0].parts[1] == legacy


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"<html>",
        b'{"choices":{}}',
        b'{"choices":[7]}',
        b'{"choices":[{"index":0}]}',
        b'{"choices":[{"index":"0","message":{}}]}',
        b'{"choices":[{"message":{"content":7}}]}',
        b'{"choices":[{"message":{"tool_calls":[{}]}}]}',
        b'{"choices":[{"message":{},"finish_reason":7}]}',
        b'{"id":7,"choices":[]}',
        b'{"error":{"message":"no"}}',
    ],
)
def test_what_is_no_reply_is_a_framing_error(body: bytes) -> None:
    with pytest.raises(FramingError, match="not a reply of Chat Completions"):
        DIALECT.parse_reply(body)


def test_half_a_surrogate_pair_never_reaches_the_wire() -> None:
    assert message_of(TextPart("a\ud800b"))["content"] == "a?b"
