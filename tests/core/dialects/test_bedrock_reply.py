"""Replies of the Converse API, whole: read, written, and what of other dialects becomes what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from motive_core.dialects.bedrock_converse import BedrockConverse
from motive_core.errors import FramingError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    FinishReason,
    Message,
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
from motive_core.stream import replay
from tests.core.dialects.bedrock_model import faults
from tests.core.dialects.bedrock_wire import events_of
from tests.core.strategies import EXACT, any_replies

DIALECT = BedrockConverse()
NAME = "bedrock-converse"
REQUEST = ChatRequest(NAME, "room", (Message("user", (TextPart("hi"),)),))


def whole(*content: Any, stop: str = "end_turn", usage: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "metrics": {"latencyMs": 0},
        "output": {"message": {"role": "assistant", "content": list(content)}},
        "stopReason": stop,
        "usage": usage or {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3},
        **more,
    }


def parse(body: Any) -> Reply:
    return DIALECT.parse_reply(json.dumps(body).encode())


def rendered(reply: Reply) -> Any:
    body = json.loads(DIALECT.render_reply(REQUEST, reply))
    assert faults("ConverseResponse", body) == []
    return body


def reply_of(*parts: Part, finish: FinishReason = "stop", usage: Usage | None = None, dialect: str = "") -> Reply:
    return Reply("id", "room", (Choice(parts, finish),), usage, dialect=dialect)


def test_a_reply() -> None:
    assert rendered(reply_of(TextPart("é"), usage=Usage(10, 5, cached_tokens=4, reasoning_tokens=2))) == {
        "metrics": {"latencyMs": 0},
        "output": {"message": {"role": "assistant", "content": [{"text": "é"}]}},
        "stopReason": "end_turn",
        "usage": {
            "inputTokens": 6,
            "outputTokens": 5,
            "totalTokens": 15,
            "cacheReadInputTokens": 4,
            "cacheWriteInputTokens": 0,
        },
    }
    assert rendered(Reply("id", "room", ()))["output"]["message"]["content"] == []


@given(reply=any_replies)
@EXACT
def test_any_reply_keeps_the_services_model_whole_and_streamed(reply: Reply) -> None:
    rendered(reply)
    for name, payload in events_of(DIALECT.encoder(REQUEST).encode_all(replay(reply))):
        assert faults("ConverseStreamOutput", {name: payload}) == []


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        ({"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}, Usage(3, 4)),
        (
            {
                "inputTokens": 3,
                "outputTokens": 4,
                "totalTokens": 18,
                "cacheReadInputTokens": 10,
                "cacheWriteInputTokens": 1,
            },
            Usage(14, 4, 10, extra={"cacheWriteInputTokens": 1}),
        ),
        ({"inputTokens": 3, "outputTokens": 4, "totalTokens": 99}, Usage(3, 4, extra={"totalTokens": 99})),
        (
            {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7, "cacheDetails": [{"ttl": "5m", "inputTokens": 1}]},
            Usage(3, 4, extra={"cacheDetails": [{"ttl": "5m", "inputTokens": 1}]}),
        ),
        ({"inputTokens": 0, "outputTokens": 0, "totalTokens": 0, "cacheReadInputTokens": None}, None),
        ({"inputTokens": "3", "outputTokens": True}, None),
        ("none", None),
    ],
)
def test_usage(raw: Any, usage: Usage | None) -> None:
    reply = parse(whole({"text": "a"}, usage=raw))
    assert reply.usage == usage
    again = json.loads(DIALECT.render_reply(REQUEST, reply))["usage"]
    assert parse(whole({"text": "a"}, usage=again)).usage == usage
    if isinstance(raw, dict) and usage is not None:
        assert {key: again[key] for key in raw} == raw


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_model_output", "error"),
        ("malformed_tool_use", "error"),
        ("tomorrow's", "stop"),
    ],
)
def test_every_stop_reason_survives(stop: str, finish: FinishReason) -> None:
    reply = parse(whole({"text": "a"}, stop=stop))
    assert reply.choices[0].finish_reason == finish
    assert json.loads(DIALECT.render_reply(REQUEST, reply))["stopReason"] == stop


@pytest.mark.parametrize(
    ("finish", "stop"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "content_filtered"),
        ("refusal", "content_filtered"),
        ("error", "malformed_model_output"),
        ("pause", "end_turn"),
    ],
)
def test_finish_reasons_of_others(finish: FinishReason, stop: str) -> None:
    assert rendered(reply_of(TextPart("a"), finish=finish))["stopReason"] == stop
    assert rendered(Reply("", "", (Choice((TextPart("a"),), "stop", "END"),)))["stopReason"] == "stop_sequence"


def test_a_refusal_is_text_and_tells_so_by_its_stop_reason() -> None:
    body = rendered(reply_of(TextPart("a"), RefusalPart("No.")))
    assert body["stopReason"] == "content_filtered"
    assert body["output"]["message"]["content"] == [{"text": "a"}, {"text": "\n\nNo."}]


def test_the_stop_sequence_is_told_where_it_was_asked_for() -> None:
    told: dict[str, Any] = {"additionalModelResponseFields": {"stop_sequence": "3"}}
    reply = parse(whole({"text": "a"}, stop="stop_sequence", **told))
    assert reply.choices[0].stop_sequence == "3"
    assert reply.choices[0].extra == told


def test_what_we_do_not_know_survives_in_this_dialect_only() -> None:
    more: dict[str, Any] = {
        "trace": {"promptRouter": {"invokedModelId": "x"}},
        "performanceConfig": {"latency": "optimized"},
        "serviceTier": {"type": "flex"},
        "tomorrow": [1],
    }
    body = whole({"text": "a"}, {"tomorrow": {"x": 1.5}}, **more)
    body["metrics"] = {"latencyMs": 431}
    reply = parse(body)
    assert json.loads(DIALECT.render_reply(REQUEST, reply)).items() >= {**body, "usage": reply_usage(body)}.items()

    other = Reply("", "", reply.choices, reply.usage, dialect="other")
    there = json.loads(DIALECT.render_reply(REQUEST, other))
    assert there.keys() == {"metrics", "output", "stopReason", "usage"}
    assert there["metrics"] == {"latencyMs": 0}


def reply_usage(body: dict[str, Any]) -> dict[str, Any]:
    return {**body["usage"], "cacheReadInputTokens": 0, "cacheWriteInputTokens": 0}


def test_pictures_are_this_dialects_own_or_text() -> None:
    block = {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}}
    reply = parse(whole({"text": "Here:"}, block))
    assert reply.choices[0].parts[1] == BlobPart("image/png", data="iVBORw0KGgo=")
    assert rendered(reply)["output"]["message"]["content"][1] == block
    there = rendered(reply_of(*reply.choices[0].parts))["output"]["message"]["content"]
    assert there == [{"text": "Here:"}, {"text": "\n\n![image](data:image/png;base64,iVBORw0KGgo=)"}]


def test_what_no_reply_has_is_text() -> None:
    body = rendered(
        reply_of(
            OpaquePart("other", {"a": 1}),
            OpaquePart(NAME, {"searchResult": {"title": "t"}}),
            OpaquePart(NAME, {"cachePoint": {"type": "default"}}),
            ToolResultPart("t", (TextPart("ok"),)),
            ReasoningPart("hm"),
            ReasoningPart("", redacted="not base64!"),
            ToolCallPart("t", "f", "free form", custom=True),
            TextPart(""),
        )
    )
    assert body["output"]["message"]["content"] == [
        {"text": '{"a":1}'},
        {"text": '\n\n{"searchResult":{"title":"t"}}'},
        {"text": '\n\n{"cachePoint":{"type":"default"}}'},
        {"text": "\n\n[tool result t]\nok"},
        {"reasoningContent": {"reasoningText": {"text": "hm"}}},
        {"reasoningContent": {"redactedContent": "bm90IGJhc2U2NCE="}},
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {"input": "free form"}}},
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"message": "Too many requests"},
        {"output": {}},
        {"output": {"message": {}}},
        {"output": {"message": {"content": "x"}}},
        whole({"text": 1}),
        whole({}),
        whole(stop=1),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_reply(body: Any) -> None:
    with pytest.raises(FramingError, match="not a reply of the Converse API"):
        parse(body)
