"""What another dialect's requests become in Ollama's chat."""

from __future__ import annotations

import json
from typing import Any

from motive_core.dialects.ollama_chat import OllamaChat
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

DIALECT = OllamaChat()
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


def said(role: Role, *parts: Part | str, **fields: Any) -> Message:
    return Message(role, tuple([TextPart(part) if isinstance(part, str) else part for part in parts]), **fields)


def rendered(*messages: Message, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        DIALECT.render_request(ChatRequest("a-dialect-of-yesterday", "m", messages, **fields))
    )
    return found


def messages(*given: Message) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rendered(*given)["messages"]
    return found


def test_what_has_no_place_is_left_out() -> None:
    body = rendered(
        said("user", "hi", name="ann", extra={"cache": True}),
        stream=True,
        tools=(Tool("f"), Tool("web", raw={"type": "web_search"})),
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=True,
        n=2,
        include_usage=True,
        extra={"user": "ann", "options": {"a": 1}},
        response_format=ResponseFormat("json_schema", "name", {"type": "object"}, strict=True),
        sampling=Sampling(5, 0.5, 0.25, ("x", "y"), 2),
    )
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
        "stream": True,
        "format": {"type": "object"},
        "options": {"num_predict": 5, "temperature": 0.5, "top_p": 0.25, "seed": 2, "stop": ["x", "y"]},
    }


def test_a_schema_that_is_none_is_json() -> None:
    assert rendered(said("user", "x"), response_format=ResponseFormat("json_schema", "n"))["format"] == "json"
    assert rendered(said("user", "x"), response_format=ResponseFormat("json_object"))["format"] == "json"
    assert "format" not in rendered(said("user", "x"), response_format=ResponseFormat("text"))


def test_developers_are_the_system() -> None:
    assert messages(said("developer", "Be kind.")) == [{"role": "system", "content": "Be kind."}]


def test_pictures_stand_apart_and_other_files_are_text() -> None:
    parts = (
        "See",
        BlobPart("image/png", data=PNG),
        " that",
        BlobPart("image/jpeg", url="https://example.org/a b.jpg"),
        BlobPart("image/svg+xml", data="PHN2Zz4="),
        BlobPart("audio/wav", data="AAAA", name="a.wav"),
    )
    assert messages(said("user", *parts)) == [
        {
            "role": "user",
            "content": "See that\n\n![image](https://example.org/a%20b.jpg)\n\n"
            "![image](data:image/svg+xml;base64,PHN2Zz4=)\n\n[a.wav](data:audio/wav;base64,AAAA)",
            "images": [PNG],
        }
    ]


def test_an_assistant() -> None:
    parts = (
        ReasoningPart("One.", "sig"),
        "Hi.",
        RefusalPart("No."),
        ReasoningPart("", redacted="abc"),
        ReasoningPart("Two."),
        OpaquePart("elsewhere", {"a": 1}),
        ToolCallPart("c1", "f", '{ "a": 1.0 }', extra={"index": 3}),
        ToolCallPart("c2", "sql", "SELECT 1", custom=True),
    )
    assert messages(said("assistant", *parts)) == [
        {
            "role": "assistant",
            "content": 'Hi.\n\nNo.\n\n{"a":1}',
            "thinking": "One.\n\nTwo.",
            "tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": {"a": 1.0}}},
                {"id": "c2", "function": {"name": "sql", "arguments": {"input": "SELECT 1"}}},
            ],
        }
    ]


def test_results_follow_their_calls_by_name() -> None:
    calls = said("assistant", ToolCallPart("c1", "f", "{}"), ToolCallPart("g", "g", "{}"))
    results = said(
        "user",
        ToolResultPart("c1", (TextPart("3"), BlobPart("image/png", data=PNG)), is_error=True),
        ToolResultPart("g", (OpaquePart("elsewhere", {"a": 1}),)),
        ToolResultPart("c9", (), "h"),
        "And?",
    )
    assert messages(calls, results)[1:] == [
        {"role": "tool", "content": "3", "images": [PNG], "tool_name": "f", "tool_call_id": "c1"},
        {"role": "tool", "content": '{"a":1}', "tool_name": "g"},
        {"role": "tool", "content": "", "tool_name": "h", "tool_call_id": "c9"},
        {"role": "user", "content": "And?"},
    ]


def test_what_stands_beside_the_results_of_a_tool_is_the_users() -> None:
    assert messages(said("tool", ToolResultPart("c1", (TextPart("3"),)), "And?")) == [
        {"role": "tool", "content": "3", "tool_call_id": "c1"},
        {"role": "user", "content": "And?"},
    ]


def test_reasoning_and_calls_of_others_are_text() -> None:
    assert messages(said("user", ReasoningPart("Hm."), ToolCallPart("c1", "f", "{}"))) == [
        {"role": "user", "content": "Hm.\n\n[tool call f c1]\n{}"}
    ]


def test_an_empty_message_stays() -> None:
    assert messages(said("user"), said("assistant", "")) == [
        {"role": "user", "content": ""},
        {"role": "assistant", "content": ""},
    ]
