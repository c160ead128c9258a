"""Whole replies and errors of the Messages API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core import errors
from motive_core.dialects.anthropic_messages import AnthropicMessages
from motive_core.errors import FramingError, MotiveError, StatusError
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
    ToolResultPart,
    Usage,
)

DIALECT = AnthropicMessages()
WIRE = Path(__file__).parents[2] / "wire" / "anthropic-messages"
REQUEST = ChatRequest("anthropic-messages", "m", ())
GOLDEN = sorted(path.name.removesuffix(".reply.json") for path in WIRE.glob("*.reply.json"))


def body(name: str) -> bytes:
    return (WIRE / f"{name}.reply.json").read_bytes()


def golden(name: str) -> Reply:
    return DIALECT.parse_reply(body(name))


def render(*parts: Part, finish_reason: FinishReason = "stop", **fields: Any) -> dict[str, Any]:
    reply = Reply("msg_1", "m", (Choice(parts, finish_reason),), **fields)
    return json.loads(DIALECT.render_reply(REQUEST, reply))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", GOLDEN)
def test_a_reply_of_the_live_api_is_rendered_as_it_was(name: str) -> None:
    assert json.loads(DIALECT.render_reply(REQUEST, golden(name))) == json.loads(body(name))


def test_a_text() -> None:
    assert golden("text") == Reply(
        "msg_01XFDUDYJgAACzvnptvVoYEL",
        "claude-sonnet-4-6",
        (Choice((TextPart("Hello! I'm Claude. How can I help you today?"),)),),
        Usage(14, 15),
    )


def test_a_tool_call_keeps_its_arguments_exactly() -> None:
    choice = golden("tool_call").choices[0]

    arguments = (
        '{"location":"München","unit":"celsius","days":3,"threshold":1.0,"scale":1e5,'
        '"serial":123456789012345678901234567890,"tags":["a","b"],"nested":{"z":null,"a":true}}'
    )
    assert choice.finish_reason == "tool_calls"
    assert choice.parts[1] == ToolCallPart("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "get_weather", arguments)
    assert f'"input":{arguments}'.encode() in DIALECT.render_reply(REQUEST, golden("tool_call"))


def test_thinking_and_its_tokens() -> None:
    reply = golden("thinking")

    thinking = reply.choices[0].parts[0]
    assert isinstance(thinking, ReasoningPart)
    assert (thinking.signature or "").startswith("EqQBCgIYAhIM")
    assert reply.usage == Usage(43, 96, reasoning_tokens=61)


def test_server_tools_are_opaque_and_citations_ride_with_their_text() -> None:
    parts = golden("web_search").choices[0].parts

    assert [type(part) for part in parts] == [TextPart, OpaquePart, OpaquePart, TextPart, TextPart, TextPart]
    cited = parts[4]
    assert isinstance(cited, TextPart)
    assert [citation["cited_text"][:9] for citation in cited.extra["citations"]] == ["Claude El", "in Petosk"]


def test_cached_tokens_are_input_tokens() -> None:
    written = golden("web_search").usage
    read = golden("redacted_thinking").usage

    assert written is not None
    assert (written.input_tokens, written.cached_tokens) == (6039 + 1200, 0)
    assert written.extra["cache_creation_input_tokens"] == 1200
    assert read is not None
    assert (read.input_tokens, read.cached_tokens) == (77 + 2048, 2048)
    assert render(usage=Usage(100, 5, cached_tokens=30, reasoning_tokens=2))["usage"] == {
        "input_tokens": 70,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 2},
        "service_tier": "standard",
    }


def test_a_reply_without_usage_counts_nothing() -> None:
    reply = Reply("msg_1", "m", (Choice((TextPart("hi"),)),))
    rendered = DIALECT.render_reply(REQUEST, reply)

    assert json.loads(rendered)["usage"]["input_tokens"] == 0
    assert DIALECT.parse_reply(rendered) == reply


@pytest.mark.parametrize(
    ("finish_reason", "stop_sequence", "stop_reason", "back"),
    [
        ("stop", None, "end_turn", "stop"),
        ("stop", "END", "stop_sequence", "stop"),
        ("length", None, "max_tokens", "length"),
        ("tool_calls", None, "tool_use", "tool_calls"),
        ("refusal", None, "refusal", "refusal"),
        ("pause", None, "pause_turn", "pause"),
        ("content_filter", None, "refusal", "refusal"),
        ("error", None, "end_turn", "stop"),
    ],
)
def test_stop_reasons(finish_reason: FinishReason, stop_sequence: str | None, stop_reason: str, back: str) -> None:
    reply = Reply("msg_1", "m", (Choice((TextPart("x"),), finish_reason, stop_sequence),))
    rendered = DIALECT.render_reply(REQUEST, reply)

    told = json.loads(rendered)
    assert (told["stop_reason"], told["stop_sequence"]) == (stop_reason, stop_sequence)
    again = DIALECT.parse_reply(rendered).choices[0]
    assert (again.finish_reason, again.stop_sequence) == (back, stop_sequence)


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [("model_context_window_exceeded", "length"), ("of_tomorrow", "stop"), ("stop_sequence", "stop")],
)
def test_a_stop_reason_that_does_not_follow_from_the_finish_reason_is_kept(
    stop_reason: str, finish_reason: str
) -> None:
    reply = DIALECT.parse_reply(json.dumps({"content": [], "stop_reason": stop_reason}).encode())

    assert reply.choices[0].finish_reason == finish_reason
    assert json.loads(DIALECT.render_reply(REQUEST, reply))["stop_reason"] == stop_reason


def test_a_refusal_is_text_with_its_own_stop_reason() -> None:
    told = render(TextPart("Well."), RefusalPart("No."))

    assert told["stop_reason"] == "refusal"
    assert [block["text"] for block in told["content"]] == ["Well.", "\n\nNo."]


def test_the_details_of_a_refusal_belong_to_the_choice() -> None:
    assert golden("refusal").choices[0].extra["stop_details"]["category"] == "cyber"


def test_what_a_reply_cannot_carry_becomes_text_between_blank_lines() -> None:
    told = render(
        TextPart("See"),
        BlobPart("image/png", url="https://e.x/a.png"),
        OpaquePart("openai-chat", {"type": "audio"}),
        OpaquePart("anthropic-messages", {"type": "search_result", "title": "t"}),
        ToolResultPart("c", (TextPart("15"),)),
        TextPart("there"),
        TextPart("."),
        OpaquePart("anthropic-messages", {"type": "container_upload", "file_id": "file_1"}),
    )

    assert told["content"][:-1] == [
        {"type": "text", "text": "See"},
        {"type": "text", "text": "\n\n![image](https://e.x/a.png)"},
        {"type": "text", "text": '\n\n{"type":"audio"}'},
        {"type": "text", "text": '\n\n{"type":"search_result","title":"t"}'},
        {"type": "text", "text": "\n\n[tool result c]\n15"},
        {"type": "text", "text": "\n\nthere"},
        {"type": "text", "text": "."},
    ]
    assert told["content"][-1] == {"type": "container_upload", "file_id": "file_1"}


def test_there_are_no_empty_text_blocks() -> None:
    call = ToolCallPart("toolu_1", "f", "{}")

    assert [block["type"] for block in render(TextPart(""), call, RefusalPart(""))["content"]] == ["tool_use"]
    empty = b'{"content": [{"type": "text", "text": ""}, {"type": "text", "text": "x"}]}'
    assert DIALECT.parse_reply(empty).choices[0].parts == (TextPart("x"),)


def test_reasoning_without_a_signature_has_an_empty_one() -> None:
    assert render(ReasoningPart("hm"))["content"] == [{"type": "thinking", "thinking": "hm", "signature": ""}]


def test_only_the_first_choice_is_carried() -> None:
    reply = Reply("msg_1", "m", (Choice((TextPart("a"),)), Choice((TextPart("b"),), "length")))
    told = json.loads(DIALECT.render_reply(REQUEST, reply))

    assert [block["text"] for block in told["content"]] == ["a"]
    assert told["stop_reason"] == "end_turn"
    assert json.loads(DIALECT.render_reply(REQUEST, Reply("msg_1", "m", ())))["content"] == []


@pytest.mark.parametrize("dialect", ["", "openai-chat"])
def test_extra_fields_of_another_vendor_are_not_sent(dialect: str) -> None:
    choice = Choice(
        (TextPart("a", extra={"cache_control": {}}), ToolCallPart("c", "f", "{}", extra={"index": 0})),
        extra={"logprobs": None, "stop_reason": "x"},
    )
    usage = Usage(3, 4, extra={"prompt_tokens_details": {}, "service_tier": "flex"})
    reply = Reply("msg_1", "m", (choice,), usage, extra={"system_fingerprint": "fp"}, dialect=dialect)
    told = json.loads(DIALECT.render_reply(REQUEST, reply))

    assert told["content"] == [
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {}},
    ]
    assert told["stop_reason"] == "end_turn"
    assert told["usage"]["service_tier"] == "standard"
    assert not {"system_fingerprint", "logprobs"} & told.keys()
    assert "prompt_tokens_details" not in told["usage"]


def test_extra_fields_of_this_vendor_are_sent_again() -> None:
    told = {
        "model": "m",
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}}],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 1,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 2,
            "service_tier": "priority",
            "inference_geo": "eu",
        },
        "container": {"id": "container_1", "expires_at": "2026-11-21T03:03:56Z"},
        "diagnostics": {"cache_miss_reason": None},
    }
    reply = DIALECT.parse_reply(json.dumps(told).encode())

    assert reply.extra == {"diagnostics": {"cache_miss_reason": None}}
    assert reply.choices[0].extra == {"container": told["container"]}
    assert json.loads(DIALECT.render_reply(REQUEST, reply)) == told


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"content": {}}',
        b'{"content": [{"type": "text"}]}',
        b'{"content": [{"type": "tool_use", "id": "x", "name": "f", "input": "{}"}]}',
        b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}',
    ],
)
def test_what_is_no_reply_is_a_framing_error(data: bytes) -> None:
    with pytest.raises(FramingError):
        DIALECT.parse_reply(data)


_USAGES = st.none() | st.builds(
    lambda fresh, cached, out: Usage(fresh + cached, out, cached_tokens=cached),
    st.integers(1, 9),
    st.integers(0, 9),
    st.integers(0, 9),
)
_PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(TextPart, st.text(min_size=1, max_size=9)),
    st.builds(ReasoningPart, st.text(max_size=9), st.none() | st.text(min_size=1, max_size=9)),
    st.builds(ReasoningPart, st.just(""), redacted=st.text(max_size=9)),
    st.builds(ToolCallPart, st.text(max_size=5), st.text(max_size=5), st.sampled_from(["{}", '{"a":[1.0,1e5]}'])),
    st.builds(OpaquePart, st.just("anthropic-messages"), st.just({"type": "of_tomorrow", "x": [1, "é"]})),
)


@given(
    st.lists(_PARTS, max_size=5),
    st.sampled_from(["stop", "length", "tool_calls", "refusal", "pause"]),
    st.none() | st.text(max_size=4),
    _USAGES,
)
def test_any_reply_survives_its_rendering(
    parts: list[Part], finish: FinishReason, sequence: str | None, usage: Usage | None
) -> None:
    reply = Reply("msg_1", "m", (Choice(tuple(parts), finish, sequence),), usage)

    assert DIALECT.parse_reply(DIALECT.render_reply(REQUEST, reply)) == reply


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.BadRequestError("x"), "invalid_request_error"),
        (errors.AuthenticationError("x"), "authentication_error"),
        (StatusError(402, "x"), "billing_error"),
        (errors.PermissionDeniedError("x"), "permission_error"),
        (errors.NotFoundError("x"), "not_found_error"),
        (errors.RequestTimeoutError("x"), "timeout_error"),
        (errors.ConflictError("x"), "conflict_error"),
        (errors.PayloadTooLargeError("x"), "request_too_large"),
        (errors.UnprocessableError("x"), "invalid_request_error"),
        (errors.UpgradeRequiredError("x"), "invalid_request_error"),
        (errors.RateLimitedError("x"), "rate_limit_error"),
        (errors.InternalError("x"), "api_error"),
        (errors.UpstreamError("x"), "api_error"),
        (errors.UnavailableError("x"), "api_error"),
        (errors.HoldTimeoutError("x"), "timeout_error"),
        (errors.OverloadedError("x"), "overloaded_error"),
        (StatusError(418, "x"), "invalid_request_error"),
        (StatusError(599, "x"), "api_error"),
    ],
)
def test_an_error_has_the_type_of_its_status(error: MotiveError, kind: str) -> None:
    assert json.loads(DIALECT.render_error(error, "req_1")) == {
        "type": "error",
        "error": {"type": kind, "message": "x"},
        "request_id": "req_1",
    }
