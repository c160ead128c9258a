"""Requests of other dialects as the Gemini API takes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motive_core.dialects import RequestHead
from motive_core.dialects.gemini import Gemini
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

DIALECT = Gemini()
HI = Message("user", (TextPart("hi"),))


def asked(*messages: Message, model: str = "gemini-2.5-flash", **settings: Any) -> Any:
    request = ChatRequest("openai-chat", model, messages or (HI,), **settings)
    body = DIALECT.render_request(request)
    path, _, query = DIALECT.target(request).partition("?")
    DIALECT.parse_request(body, RequestHead("POST", "h", 443, path, query))
    return json.loads(body)


def user(*parts: Part) -> list[Json]:
    return list(asked(Message("user", parts))["contents"][0]["parts"])


def test_system_messages_are_the_system_instruction() -> None:
    body = asked(
        Message("system", (TextPart("A"), TextPart("B"))), HI, Message("developer", (TextPart("C"),), "name"), HI
    )
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}, {"text": "hi"}]}],
        "systemInstruction": {"parts": [{"text": "AB"}, {"text": "C"}]},
    }


def test_a_system_message_alone_is_what_the_user_says() -> None:
    assert asked(Message("system", (TextPart("A"),))) == {"contents": [{"role": "user", "parts": [{"text": "A"}]}]}
    assert asked(Message("user", ())) == {"contents": [{"role": "user", "parts": [{"text": ""}]}]}


def test_messages_of_one_role_are_one_content_and_empty_texts_are_left_out() -> None:
    body = asked(
        HI,
        Message("user", (TextPart(""), TextPart("there"))),
        Message("assistant", (TextPart(""),)),
        Message("assistant", (TextPart("a"),)),
        Message("assistant", (RefusalPart("No."), ReasoningPart("", redacted="x"))),
    )
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "hi"}, {"text": "there"}]},
        {"role": "model", "parts": [{"text": "a"}, {"text": "No."}]},
    ]


def conversation(model: str) -> list[Json]:
    """A conversation with parallel calls, for this model."""
    return list(
        asked(
            HI,
            Message(
                "assistant",
                (
                    ReasoningPart("Hm.", "a signature of another vendor"),
                    TextPart("One moment."),
                    ToolCallPart("c1", "f", '{ "a":1.0}', extra={"index": 0}),
                    ToolCallPart("c2", "g", "SELECT 1", custom=True),
                ),
            ),
            Message("tool", (ToolResultPart("c1", (TextPart("3"),)),)),
            Message("tool", (ToolResultPart("c2", (TextPart("no"), TextPart("!")), is_error=True),)),
            Message("user", (TextPart("And?"),)),
            model=model,
        )["contents"]
    )


def test_calls_and_results() -> None:
    _, model, results = conversation("gemini-2.5-pro")
    assert model["parts"] == [
        {"text": "Hm.", "thought": True},
        {"text": "One moment."},
        {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1.0}}},
        {"functionCall": {"id": "c2", "name": "g", "args": {"input": "SELECT 1"}}},
    ]
    assert results == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "c1", "name": "f", "response": {"output": "3"}}},
            {"functionResponse": {"id": "c2", "name": "g", "response": {"error": "no!"}}},
            {"text": "And?"},
        ],
    }


@pytest.mark.parametrize("model", ["gemini-3-pro-preview", "a room"])
def test_the_first_call_of_a_turn_has_a_mark_for_a_signature(model: str) -> None:
    _, turn, _ = conversation(model)
    signatures = [part.get("thoughtSignature") for part in turn["parts"]]
    assert signatures == [None, None, "skip_thought_signature_validator", None]


def test_results_come_first_and_their_pictures_stand_beside_them() -> None:
    body = asked(
        HI,
        Message("assistant", (ToolCallPart("c1", "f", ""),)),
        Message(
            "user",
            (
                TextPart("Look:"),
                ToolResultPart(
                    "c1",
                    (TextPart("a"), BlobPart("image/png", data="AAAA"), BlobPart("application/zip", data="UEs=")),
                ),
                ToolResultPart("unknown", (OpaquePart("another", {"x": 1}),)),
                ToolResultPart("", ()),
            ),
        ),
    )
    assert body["contents"][1]["parts"] == [{"functionCall": {"id": "c1", "name": "f", "args": {}}}]
    assert body["contents"][2]["parts"] == [
        {
            "functionResponse": {
                "id": "c1",
                "name": "f",
                "response": {"output": "a\n\n[file](data:application/zip;base64,UEs=)"},
            }
        },
        {"functionResponse": {"id": "unknown", "name": "unknown", "response": {"output": '{"x":1}'}}},
        {"functionResponse": {"id": "", "name": "tool", "response": {"output": ""}}},
        {"text": "Look:"},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    ]


@pytest.mark.parametrize(
    ("blob", "part"),
    [
        (BlobPart("image/png", data="AAAA", name="x.png"), {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        (BlobPart("Audio/WAV; a=b", data="AAAA"), {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}),
        (BlobPart("application/pdf", data="AAAA"), {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}),
        (BlobPart("text/csv", data="AAAA"), {"inlineData": {"mimeType": "text/csv", "data": "AAAA"}}),
        (BlobPart("image/gif", data="AAAA"), {"text": "![image](data:image/gif;base64,AAAA)"}),
        (BlobPart("", data="AAAA"), {"text": "[file](data:application/octet-stream;base64,AAAA)"}),
        (
            BlobPart("", url="https://example.org/a.JPG?x=1#y"),
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.org/a.JPG?x=1#y"}},
        ),
        (
            BlobPart("application/pdf", url="https://example.org/a"),
            {"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.org/a"}},
        ),
        (BlobPart("", url="https://example.org/a"), {"text": "![image](https://example.org/a)"}),
        (BlobPart("image/png", url="http://example.org/a.png"), {"text": "![image](http://example.org/a.png)"}),
        (BlobPart("image/png", url="file-id:file-1"), {"text": "![image](file-id:file-1)"}),
    ],
)
def test_blobs(blob: BlobPart, part: Json) -> None:
    assert user(blob) == [part]


def test_parts_without_a_place_become_text() -> None:
    assert user(TextPart("a"), OpaquePart("another", {"x": 1}), ToolCallPart("c", "f", "{}"), TextPart("b")) == [
        {"text": 'a\n\n{"x":1}\n\n[tool call f c]\n{}\n\nb'}
    ]
    body = asked(HI, Message("assistant", (ToolResultPart("c", (TextPart("3"),)), BlobPart("image/png", data="AA=="))))
    assert body["contents"][1]["parts"] == [
        {"text": "[tool result c]\n3"},
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
    ]


def test_extra_of_another_dialect_is_left_out() -> None:
    text = TextPart("hi", extra={"cache_control": {}})
    body = asked(Message("user", (text,), "name", extra={"x": 1}), extra={"user": "u", ":path": "/x"})
    assert body == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def test_tools() -> None:
    schema = {"type": "object", "properties": {}}
    tools = (
        Tool("f", "F.", schema, extra={"function": {"strict": True}}),
        Tool("search", raw={"type": "web_search"}),
        Tool("g"),
    )
    body = asked(tools=tools, tool_choice=ToolChoice("tool", "g"), parallel_tool_calls=False)
    assert body["tools"] == [
        {"functionDeclarations": [{"name": "f", "description": "F.", "parametersJsonSchema": schema}, {"name": "g"}]}
    ]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["g"]}}


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice("auto", raw="whatever"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("tool", "unknown"), None),
    ],
)
def test_tool_choices(choice: ToolChoice, config: Json) -> None:
    found = asked(tools=(Tool("f"),), tool_choice=choice).get("toolConfig")
    assert found == (None if config is None else {"functionCallingConfig": config})
    assert "toolConfig" not in asked(tool_choice=choice)


def test_knobs_stay_within_the_bounds_of_the_api() -> None:
    stop = ("", "a", "b", "c", "d", "e", "f")
    assert asked(sampling=Sampling(5, 0.5, 0.9, stop, 2**31), n=9)["generationConfig"] == {
        "maxOutputTokens": 5,
        "temperature": 0.5,
        "topP": 0.9,
        "stopSequences": ["a", "b", "c", "d", "e"],
        "candidateCount": 8,
    }
    assert asked(sampling=Sampling(seed=-(2**31)))["generationConfig"] == {"seed": -(2**31)}


@pytest.mark.parametrize(
    ("wanted", "config"),
    [
        (ResponseFormat("text"), {"responseMimeType": "text/plain"}),
        (ResponseFormat("json_object", extra={"x": 1}), {"responseMimeType": "application/json"}),
        (
            ResponseFormat("json_schema", "name", {"type": "object"}, strict=True, extra={"responseSchema": 1}),
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
        ),
        (ResponseFormat("json_schema"), {"responseMimeType": "application/json"}),
    ],
)
def test_formats(wanted: ResponseFormat, config: Json) -> None:
    assert asked(response_format=wanted)["generationConfig"] == config
