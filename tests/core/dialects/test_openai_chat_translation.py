"""Requests of other dialects as Chat Completions: what the live API takes, and what each part becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Json,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from tests.core.strategies import EXACT, any_requests

DIALECT = OpenAIChat()
OTHER = "anthropic-messages"
SCHEMA = {"type": "object", "properties": {}}


def foreign(*messages: Message, **fields: Any) -> dict[str, Json]:
    """What a request of another dialect becomes."""
    return json.loads(DIALECT.render_request(ChatRequest(OTHER, "m", messages, **fields)))  # type: ignore[no-any-return]


def content_of(*parts: Part, role: Any = "user") -> Json:
    """The content of a message with these parts."""
    (message,) = foreign(Message(role, parts))["messages"]
    return message["content"]


def test_a_conversation_with_tools() -> None:
    call = ToolCallPart("toolu_1", "weather", '{"place": "Åre"}', extra={"cache_control": {}})
    body = foreign(
        Message("system", (TextPart("Be brief. "), TextPart("Be kind.", extra={"cache_control": {}}))),
        Message("user", (TextPart("Weather?"),), "ann"),
        Message("assistant", (ReasoningPart("hm", "sig"), TextPart("Let me look."), call, call), extra={"x": 1}),
        Message(
            "user",
            (
                TextPart("And hurry."),
                ToolResultPart("toolu_1", (TextPart("-5"), TextPart(" °C")), extra={"x": 1}),
                ToolResultPart("toolu_2", (), is_error=True),
            ),
        ),
        tools=(Tool("weather", "Weather", SCHEMA, extra={"x": 1}), Tool("bash", raw={"type": "bash_20250124"})),
        tool_choice=ToolChoice("tool", "weather"),
        parallel_tool_calls=False,
        sampling=Sampling(100, 0.5, 0.9, ("a", "b"), 7),
        stream=True,
        include_usage=True,
        extra={"thinking": {"type": "adaptive"}},
    )

    function = {"name": "weather", "arguments": '{"place": "Åre"}'}
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief. Be kind."},
            {"role": "user", "content": "Weather?", "name": "ann"},
            {
                "role": "assistant",
                "content": "Let me look.",
                "reasoning_content": "hm",
                "tool_calls": [{"id": "toolu_1", "type": "function", "function": function}] * 2,
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": "-5 °C"},
            {"role": "tool", "tool_call_id": "toolu_2", "content": ""},
            {"role": "user", "content": "And hurry."},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": SCHEMA}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "max_completion_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["a", "b"],
    }


def test_what_belongs_to_tools_goes_with_them() -> None:
    server_tool = (Tool("bash", raw={"type": "bash_20250124"}),)
    choice = ToolChoice("required")
    body = foreign(Message("user", (TextPart("x"),)), tools=server_tool, tool_choice=choice, parallel_tool_calls=True)

    assert body.keys() == {"model", "messages"}


@pytest.mark.parametrize(
    ("choice", "wire"),
    [
        (None, None),
        (ToolChoice("auto", raw={"type": "auto"}), "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("required", raw={"type": "any"}), "required"),
        (ToolChoice("tool", "f", raw={"type": "tool"}), {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_the_tool_choice(choice: ToolChoice | None, wire: Json) -> None:
    body = foreign(Message("user", (TextPart("x"),)), tools=(Tool("f", schema=SCHEMA),), tool_choice=choice)

    assert body.get("tool_choice") == wire


@pytest.mark.parametrize(
    ("wanted", "wire"),
    [
        (ResponseFormat("json_object"), {"type": "json_object"}),
        (
            ResponseFormat("json_schema", schema=SCHEMA, extra={"x": 1}),
            {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA}},
        ),
        (
            ResponseFormat("json_schema", "n", SCHEMA, strict=True),
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
        ),
    ],
)
def test_the_response_format(wanted: ResponseFormat, wire: Json) -> None:
    assert foreign(Message("user", (TextPart("x"),)), response_format=wanted)["response_format"] == wire


@pytest.mark.parametrize(
    ("blob", "wire"),
    [
        (
            BlobPart("image/png", data="AA", name="a.png", extra={"file": {}}),
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        ),
        (BlobPart("", url="https://x/y"), {"type": "image_url", "image_url": {"url": "https://x/y"}}),
        (BlobPart("audio/wav", data="AA"), {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}),
        (BlobPart("audio/mpeg", data="AA"), {"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}}),
        (
            BlobPart("application/pdf", data="AA", name="a.pdf"),
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
        ),
        (
            BlobPart("audio/ogg", data="AA"),
            {"type": "file", "file": {"file_data": "data:audio/ogg;base64,AA"}},
        ),
    ],
)
def test_a_blob_that_the_api_takes_stands_beside_the_text(blob: BlobPart, wire: Json) -> None:
    assert content_of(TextPart("See:"), blob) == [{"type": "text", "text": "See:"}, wire]


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (BlobPart("image/png", url="file-id:file_1"), "![image](file-id:file_1)"),
        (BlobPart("application/pdf", url="https://x/y.pdf", name="y"), "[y](https://x/y.pdf)"),
        (OpaquePart(OTHER, {"type": "search_result"}), '{"type":"search_result"}'),
        (RefusalPart("no"), "no"),
        (ToolCallPart("c", "f", "{}"), "[tool call f c]\n{}"),
        (ReasoningPart("hm", "sig"), "hm"),
    ],
)
def test_what_has_no_place_becomes_text(part: Part, text: str) -> None:
    assert content_of(TextPart("See:"), part, TextPart("Well?")) == f"See:\n\n{text}\n\nWell?"


@pytest.mark.parametrize("role", ["assistant", "system", "developer"])
def test_blobs_are_the_users(role: str) -> None:
    assert content_of(BlobPart("image/png", data="AA"), role=role) == "![image](data:image/png;base64,AA)"


def test_blobs_of_a_tool_result_become_text() -> None:
    result = ToolResultPart("c", (TextPart("shot:"), BlobPart("image/png", data="AA")))

    assert foreign(Message("tool", (result,)))["messages"] == [
        {"role": "tool", "tool_call_id": "c", "content": "shot:\n\n![image](data:image/png;base64,AA)"}
    ]


def test_a_refusal_is_an_assistants() -> None:
    (message,) = foreign(Message("assistant", (TextPart("x"), RefusalPart("no"))))["messages"]

    assert message == {"role": "assistant", "content": "x", "refusal": "no"}


def test_messages_that_say_nothing_are_left_out_or_empty() -> None:
    thought = Message("assistant", (ReasoningPart("", redacted="xyz"),))

    assert foreign(Message("user", ()), Message("user", (TextPart(""),)), thought)["messages"] == [
        {"role": "user", "content": ""},
        {"role": "assistant", "content": ""},
    ]


@given(request=any_requests)
@EXACT
def test_any_request_becomes_one_that_the_live_api_takes(request: ChatRequest) -> None:
    """The rules of the API's reference that a translation can break."""
    body = json.loads(DIALECT.render_request(request))

    for message in body["messages"]:
        role, content = message["role"], message["content"]
        assert content is not None or message["tool_calls"]
        assert ("tool_call_id" in message) == (role == "tool")
        assert not ({"tool_calls", "refusal", "reasoning_content"} & message.keys()) or role == "assistant"
        kinds = {"text"} if isinstance(content, str | None) else {part["type"] for part in content}
        assert kinds <= {"user": {"text", "image_url", "input_audio", "file"}, "assistant": {"text", "refusal"}}.get(
            role, {"text"}
        )
        assert content != []
    assert ("tools" in body) or "tool_choice" not in body
    assert "stream_options" not in body or body["stream"]
