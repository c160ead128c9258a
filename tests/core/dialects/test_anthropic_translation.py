"""Requests of other dialects, rendered for the Messages API: what they become, and that the live API would take it."""

from __future__ import annotations

import base64
import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.dialects.anthropic_messages import AnthropicMessages
from motive_core.ir import (
    BlobPart,
    ChatRequest,
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

DIALECT = AnthropicMessages()


def foreign(*messages: Message, **fields: Any) -> dict[str, Any]:
    """What a request of another dialect becomes."""
    body = DIALECT.render_request(ChatRequest("openai-chat", "m", messages, **fields))
    return json.loads(body)  # type: ignore[no-any-return]


def assert_the_live_api_takes(body: dict[str, Any]) -> None:
    """The rules by which the live API refuses a conversation, as its documentation and error messages state them."""
    assert isinstance(body["max_tokens"], int)
    assert body["max_tokens"] > 0
    assert not {"temperature", "top_p", "top_k", "seed", "n"} & body.keys()
    assert body["messages"]
    for block in body["system"] if isinstance(body.get("system"), list) else []:
        assert block["text"].strip()
    assert body.get("system") is None or body["system"]
    roles = [message["role"] for message in body["messages"]]
    assert set(roles) <= {"user", "assistant"}
    assert all(a != b for a, b in itertools.pairwise(roles))
    expected: set[str] = set()
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        assert blocks
        results = [block for block in blocks if block["type"] == "tool_result"]
        assert blocks[: len(results)] == results
        assert {block["tool_use_id"] for block in results} == expected
        expected = {block["id"] for block in blocks if block["type"] == "tool_use"}
        assert not expected or message["role"] == "assistant"
        for block in [*blocks, *(one for result in results for one in _list(result.get("content")))]:
            assert block["type"] != "text" or block["text"].strip()
            assert block["type"] not in {"thinking", "redacted_thinking"}
            if block["type"] == "tool_use":
                assert re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"])
                assert isinstance(block["input"], dict)
            if block["type"] in {"image", "document"}:
                assert message["role"] == "user"
                assert block["source"]["type"] != "file"


def _list(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def test_an_openai_conversation_becomes_one_that_the_live_api_takes() -> None:
    body = foreign(
        Message("system", (TextPart("Be kind."),)),
        Message("user", (TextPart("Weather in Paris and Rome?"), TextPart("")), name="ann"),
        Message(
            "assistant",
            (
                ToolCallPart("call_1", "weather", '{"city": "Paris", "n": 1.0}'),
                ToolCallPart("functions.weather:1", "weather", '{"city":"Rome"}'),
            ),
        ),
        Message("tool", (ToolResultPart("call_1", (TextPart("15"),), name="weather"),)),
        Message("developer", (TextPart("Use Celsius."),)),
        Message("tool", (ToolResultPart("functions.weather:1", (TextPart(""),)),)),
        Message("user", (TextPart("And?"),)),
        Message("user", (TextPart("  \n"),)),
        Message("assistant", (TextPart(""), ReasoningPart("hm", signature="theirs"))),
        Message("assistant", (RefusalPart("No."),)),
        Message("user", (TextPart("Please."),)),
        tools=(
            Tool("weather", "Tells it.", {"properties": {"city": {"type": "string"}}}, extra={"strict": True}),
            Tool("browse", raw={"type": "browse"}),
        ),
        sampling=Sampling(temperature=0.5, top_p=0.9, stop=("END", "\n"), seed=7),
        n=2,
        extra={"logit_bias": {"1": 2}},
    )

    assert_the_live_api_takes(body)
    assert body == {
        "model": "m",
        "max_tokens": 4096,
        "stop_sequences": ["END"],
        "tools": [
            {
                "name": "weather",
                "description": "Tells it.",
                "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
            }
        ],
        "system": [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Use Celsius."}],
        "messages": [
            {"role": "user", "content": "Weather in Paris and Rome?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris", "n": 1.0}},
                    {"type": "tool_use", "id": "functions_weather_1", "name": "weather", "input": {"city": "Rome"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "15"},
                    {"type": "tool_result", "tool_use_id": "functions_weather_1"},
                    {"type": "text", "text": "And?"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "No."}]},
            {"role": "user", "content": "Please."},
        ],
    }


def test_arguments_of_another_dialect_stand_in_the_body_byte_for_byte() -> None:
    arguments = '{ "b" : 1.0,\n "a": 1e5, "\\u00e9": "\\/" }'
    call = Message("assistant", (ToolCallPart("c", "f", arguments),))

    body = DIALECT.render_request(ChatRequest("openai-chat", "m", (call,)))

    assert f'"input":{arguments}}}'.encode() in body


@pytest.mark.parametrize(
    ("arguments", "custom", "value"),
    [
        ("", False, {}),
        (" \n", False, {}),
        ('{"a": [1, 2', False, {"input": '{"a": [1, 2'}),
        ("[1]", False, {"input": "[1]"}),
        ('{"a": NaN}', False, {"input": '{"a": NaN}'}),
        ("*** Begin Patch\n\t+x", True, {"input": "*** Begin Patch\n\t+x"}),
        ("", True, {"input": ""}),
        ("\ud800", False, {"input": "?"}),
    ],
)
def test_arguments_that_are_no_object_become_one(arguments: str, custom: bool, value: Any) -> None:
    body = foreign(Message("assistant", (ToolCallPart("c", "f", arguments, custom=custom),)))

    assert body["messages"][0]["content"][0]["input"] == value


def test_a_blob_is_native_where_the_api_takes_it_and_text_elsewhere() -> None:
    png = BlobPart("image/png", data="AAAA")
    link = BlobPart("", url="https://e.x/a.png")
    pdf = BlobPart("application/pdf", data="JVBE", name="a.pdf")
    text = BlobPart("text/csv", data=base64.b64encode(b"a,b").decode(), name="a.csv")
    sound = BlobPart("audio/wav", data="UklG", name="a.wav")
    theirs = BlobPart("", url="file-id:file-abc")
    body = foreign(
        Message("user", (TextPart("see"), png, link, pdf, text, sound, theirs, TextPart("there"))),
        Message("assistant", (TextPart("ok"), png)),
    )

    assert_the_live_api_takes(body)
    user, assistant = body["messages"]
    assert [block["type"] for block in user["content"]] == [
        *("text", "image", "image", "document", "document", "text", "text", "text")
    ]
    assert user["content"][2]["source"] == {"type": "url", "url": "https://e.x/a.png"}
    assert user["content"][3]["title"] == "a.pdf"
    assert user["content"][4]["source"] == {"type": "text", "media_type": "text/plain", "data": "a,b"}
    assert [block["text"] for block in user["content"][5:]] == [
        "\n\n[a.wav](data:audio/wav;base64,UklG)",
        "\n\n[file](file-id:file-abc)",
        "\n\nthere",
    ]
    assert assistant["content"] == [
        {"type": "text", "text": "ok"},
        {"type": "text", "text": "\n\n![image](data:image/png;base64,AAAA)"},
    ]


def test_blobs_of_a_tool_result_stay_in_it() -> None:
    shot = BlobPart("image/png", data="AAAA")
    body = foreign(
        Message("assistant", (ToolCallPart("c", "f", "{}"),)),
        Message("tool", (ToolResultPart("c", (TextPart("done"), shot), is_error=True),)),
    )

    result = body["messages"][1]["content"][0]
    assert result["is_error"] is True
    assert [block["type"] for block in result["content"]] == ["text", "image"]


def test_a_foreign_request_of_system_messages_alone_says_them_as_the_user() -> None:
    body = foreign(Message("system", (TextPart("Greet the guest."),)))

    assert body["messages"] == [{"role": "user", "content": "Greet the guest."}]
    assert "system" not in body


@pytest.mark.parametrize(
    ("choice", "parallel", "wire"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("required"), None, {"type": "any"}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("tool", "f", raw={"type": "function"}), None, {"type": "tool", "name": "f"}),
        (ToolChoice("tool", "another"), None, None),
    ],
)
def test_the_tool_choice_of_another_dialect(
    choice: ToolChoice | None, parallel: bool | None, wire: dict[str, Any] | None
) -> None:
    hello = Message("user", (TextPart("hi"),))
    body = foreign(hello, tools=(Tool("f"),), tool_choice=choice, parallel_tool_calls=parallel)

    assert body.get("tool_choice") == wire
    assert body["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert "tool_choice" not in foreign(hello, tool_choice=choice, parallel_tool_calls=parallel)


def test_the_response_format_of_another_dialect() -> None:
    hello = Message("user", (TextPart("hi"),))
    schema = {"type": "object", "additionalProperties": False}
    wanted = ResponseFormat("json_schema", name="x", schema=schema, strict=True, extra={"description": "?"})

    assert foreign(hello, response_format=wanted)["output_config"] == {
        "format": {"type": "json_schema", "schema": schema}
    }
    assert "output_config" not in foreign(hello, response_format=ResponseFormat("json_object"))


_TEXTS = st.sampled_from(["", " ", "\n", "hi", "go on", "\ud83d"])
_SAID: st.SearchStrategy[Part] = st.one_of(
    st.builds(TextPart, _TEXTS),
    st.builds(BlobPart, st.sampled_from(["image/png", "audio/wav", "text/plain", ""]), data=st.just("AAAA")),
    st.builds(ReasoningPart, _TEXTS),
    st.builds(RefusalPart, _TEXTS),
    st.builds(OpaquePart, st.just("openai-chat"), st.just({"type": "x"})),
)


@st.composite
def _conversations(draw: st.DrawFn) -> list[Message]:
    """Conversations that an OpenAI client may have: calls are followed by their results, the rest is arbitrary."""
    messages = [Message("user", (TextPart("start"),))]
    for number in range(draw(st.integers(0, 5))):
        role = draw(st.sampled_from(["system", "developer", "user", "assistant", "calls"]))
        parts = tuple(draw(st.lists(_SAID, max_size=3)))
        if role != "calls":
            messages.append(Message(role, parts))  # type: ignore[arg-type]  # one of four literals
            continue
        ids = [f"call.{number}:{n}" for n in range(draw(st.integers(1, 3)))]
        arguments = st.sampled_from(["", "{}", '{"a": 1}', "[", "\ud83d"])
        calls = [ToolCallPart(call_id, "f", draw(arguments)) for call_id in ids]
        messages.append(Message("assistant", (*parts, *calls)))
        if draw(st.booleans()):
            messages.append(Message("user", (TextPart("meanwhile"),)))
        for call_id in draw(st.permutations(ids)):
            content = tuple(part for part in draw(st.lists(_SAID, max_size=2)) if not isinstance(part, ReasoningPart))
            messages.append(Message("tool", (ToolResultPart(call_id, content),)))
    return messages


@given(_conversations())
def test_any_conversation_of_another_dialect_becomes_one_that_the_live_api_takes(messages: list[Message]) -> None:
    assert_the_live_api_takes(foreign(*messages))
