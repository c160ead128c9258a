"""Requests of other dialects, written for the Converse API so that the service takes them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from motive_core.dialects.bedrock_converse import BedrockConverse
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
from tests.core.dialects.bedrock_model import faults
from tests.core.strategies import EXACT, any_requests

DIALECT = BedrockConverse()
NAME = "bedrock-converse"
PNG = "iVBORw0KGgo="


def said(*content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(content)}


def rendered(request: ChatRequest) -> Any:
    return json.loads(DIALECT.render_request(request))


def foreign(*messages: Message, **fields: Any) -> Any:
    """The body for a request of another dialect; it keeps the service's model."""
    body = rendered(ChatRequest("other", "room", messages, **fields))
    assert faults("ConverseRequest", body) == []
    return body


def user(*content: Part | str) -> Message:
    return message("user", *content)


def message(role: Role, *content: Part | str) -> Message:
    return Message(role, tuple([TextPart(one) if isinstance(one, str) else one for one in content]))


@given(request=any_requests)
@EXACT
def test_any_request_keeps_the_services_model(request: ChatRequest) -> None:
    body = rendered(request)
    assert faults("ConverseRequest", body) == []
    turns = body["messages"]
    assert [turn["role"] for turn in turns] == (["user", "assistant"] * len(turns))[: len(turns)]
    calls: list[str] = []
    for number, turn in enumerate(turns):
        results = [one["toolResult"]["toolUseId"] for one in turn["content"] if "toolResult" in one]
        assert sorted(results) == sorted(calls)
        assert all("toolResult" in one for one in turn["content"][: len(results)])
        calls = [one["toolUse"]["toolUseId"] for one in turn["content"] if "toolUse" in one]
        if number == len(turns) - 1:
            calls = []
        assert not calls or "toolConfig" in body
        assert turn["content"]
        for block in turn["content"]:
            assert block.get("text", "x").strip()
            assert turn["role"] == "user" or block.keys() <= {"text", "toolUse"}


def test_a_conversation_of_another_dialect() -> None:
    call = ToolCallPart("call.1", "f", '{ "a": 1.0 }')
    body = foreign(
        message("system", "Be kind."),
        message("developer", "Be brief.", " "),
        user("one", "two"),
        user("three"),
        message("assistant", ReasoningPart("hm", "s"), RefusalPart("No."), "Well.", call),
        user("wait"),
        Message("tool", (ToolResultPart("call.1", (TextPart("ok"), TextPart(" ")), is_error=True),)),
        user(""),
    )
    assert body == {
        "system": [{"text": "Be kind."}, {"text": "Be brief."}],
        "messages": [
            said({"text": "one"}, {"text": "two"}, {"text": "three"}),
            said(
                {"text": "No."},
                {"text": "\n\nWell."},
                {"toolUse": {"toolUseId": "call_1", "name": "f", "input": {"a": 1.0}}},
                role="assistant",
            ),
            said(
                {"toolResult": {"toolUseId": "call_1", "content": [{"text": "ok"}], "status": "error"}},
                {"text": "wait"},
            ),
        ],
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}}]
        },
    }


@pytest.mark.parametrize(
    ("messages", "content"),
    [
        ([message("system", "Go.")], ["Go."]),
        ([message("assistant", "Hello.")], ["(the conversation so far)"]),
        ([user(" ")], ["(an empty message)"]),
    ],
)
def test_a_conversation_begins_with_the_user(messages: list[Message], content: list[str]) -> None:
    body = foreign(*messages)
    assert body["messages"][0] == said(*[{"text": text} for text in content])
    assert "system" not in body


def test_calls_and_results_without_a_counterpart_are_text() -> None:
    body = foreign(
        user(ToolResultPart("x", (TextPart("early"),)), "go"),
        message("assistant", ToolCallPart("a", "f", "{}"), ToolCallPart("b", "f", '{"n":1}')),
        user(
            "hm",
            ToolResultPart("c", (TextPart("stray"),)),
            ToolResultPart("a", (TextPart("ok"),)),
            ToolResultPart("a", ()),
        ),
        message("assistant", ToolCallPart("d", "f", "{}")),
    )
    first, second, third, fourth = body["messages"]
    assert first == said({"text": "[tool result x]\nearly"}, {"text": "\n\ngo"})
    assert second["content"][0]["toolUse"]["toolUseId"] == "a"
    assert second["content"][1:] == [{"text": '[tool call f b]\n{"n":1}'}]
    assert third["content"][0]["toolResult"]["content"] == [{"text": "ok"}]
    assert third["content"][1:] == [
        {"text": "hm"},
        {"text": "\n\n[tool result c]\nstray"},
        {"text": "\n\n[tool result a]\n"},
    ]
    assert fourth["content"][0]["toolUse"]["toolUseId"] == "d"


def test_no_two_calls_have_the_same_id() -> None:
    calls = [ToolCallPart("f", "f", json.dumps({"n": number})) for number in range(2)]
    results = [ToolResultPart("f", (TextPart(f"r{number}"),)) for number in range(2)]
    body = foreign(
        user("go"), message("assistant", *calls), user(*results), message("assistant", calls[0]), user(results[0])
    )
    uses = [one["toolUse"] for turn in body["messages"] for one in turn["content"] if "toolUse" in one]
    told = [one["toolResult"] for turn in body["messages"] for one in turn["content"] if "toolResult" in one]
    assert [use["toolUseId"] for use in uses] == [one["toolUseId"] for one in told] == ["f", "f_2", "f_3"]
    assert [one["content"][0]["text"] for one in told] == ["r0", "r1", "r0"]


def test_ids_and_names_that_the_service_would_refuse() -> None:
    long, name = "x" * 90, "näme.with spaces" + "y" * 90
    body = foreign(
        user("go"),
        message(
            "assistant",
            ToolCallPart(long, name, "{}"),
            ToolCallPart(long + "1", name, "{}"),
            ToolCallPart("", "", "{}"),
        ),
        user(*[ToolResultPart(one, ()) for one in (long, long + "1", "")]),
        tools=(Tool(name, " "), Tool("g", "G.", {"properties": {"a": {}}})),
        tool_choice=ToolChoice("tool", name),
    )
    safe = ("n_me_with_spaces" + "y" * 90)[:64]
    assert [one["toolSpec"]["name"] for one in body["toolConfig"]["tools"]] == [safe, "g"]
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": safe}}
    assert "description" not in body["toolConfig"]["tools"][0]["toolSpec"]
    assert body["toolConfig"]["tools"][1]["toolSpec"]["inputSchema"]["json"] == {
        "type": "object",
        "properties": {"a": {}},
    }
    uses = [one["toolUse"] for one in body["messages"][1]["content"]]
    assert [use["name"] for use in uses] == [safe, safe, "_"]
    ids = [use["toolUseId"] for use in uses]
    assert len(set(ids)) == 3
    assert ids == [one["toolResult"]["toolUseId"] for one in body["messages"][2]["content"]]


@pytest.mark.parametrize(
    ("blob", "block"),
    [
        (BlobPart("image/png", data=PNG), {"image": {"format": "png", "source": {"bytes": PNG}}}),
        (BlobPart("IMAGE/JPG; q=1", data=PNG), {"image": {"format": "jpeg", "source": {"bytes": PNG}}}),
        (BlobPart("audio/x-wav", data="AAAA"), {"audio": {"format": "wav", "source": {"bytes": "AAAA"}}}),
        (BlobPart("video/mp4", data="AAAA"), {"video": {"format": "mp4", "source": {"bytes": "AAAA"}}}),
        (
            BlobPart("text/x-python", data="AAAA", name="a_b.py"),
            {"document": {"format": "txt", "name": "a b py", "source": {"bytes": "AAAA"}}},
        ),
        (BlobPart("image/svg+xml", data="AAAA"), {"text": "![image](data:image/svg+xml;base64,AAAA)"}),
        (BlobPart("", url="https://example.org/x.png"), {"text": "![image](https://example.org/x.png)"}),
        (BlobPart("image/png", url="file-id:s3://b/k"), {"text": "![image](file-id:s3://b/k)"}),
        (BlobPart("image/png", data=""), {"text": "![image](data:image/png;base64,)"}),
    ],
)
def test_blobs_of_another_dialect(blob: BlobPart, block: Any) -> None:
    assert foreign(user("Look:", blob))["messages"][0]["content"][1] in (block, {"text": f"\n\n{block.get('text')}"})


def test_documents_have_names_of_their_own_and_a_text_beside_them() -> None:
    blobs = [BlobPart("application/pdf", data="JVBE", name=name) for name in ("a.pdf", "a.pdf", None, "  ", "x" * 300)]
    body = foreign(user(*blobs), message("assistant", blobs[0]))
    names = [one["document"]["name"] for one in body["messages"][0]["content"] if "document" in one]
    assert names == ["a pdf", "a pdf 2", "document", "document 2", "x" * 180]
    assert body["messages"][0]["content"][-1] == {"text": "(a document)"}
    assert "text" in body["messages"][1]["content"][0]


def test_blobs_in_a_tool_result() -> None:
    result = ToolResultPart(
        "t", (BlobPart("image/png", data=PNG), BlobPart("audio/wav", data="AAAA"), OpaquePart("x", {"a": 1}))
    )
    body = foreign(user("go"), message("assistant", ToolCallPart("t", "f", "{}")), user(result))
    assert body["messages"][2]["content"][0]["toolResult"]["content"] == [
        {"image": {"format": "png", "source": {"bytes": PNG}}},
        {"text": "[file](data:audio/wav;base64,AAAA)"},
        {"text": '\n\n{"a":1}'},
    ]


@pytest.mark.parametrize(
    ("sampling", "config"),
    [
        (Sampling(), None),
        (Sampling(max_tokens=9, seed=1), {"maxTokens": 9}),
        (Sampling(temperature=1.7, top_p=0.5), {"temperature": 1.0}),
        (Sampling(top_p=0.5, stop=("a", " ", "\n")), {"topP": 0.5, "stopSequences": ["a"]}),
    ],
)
def test_sampling_of_another_dialect(sampling: Sampling, config: Any) -> None:
    assert foreign(user("hi"), sampling=sampling, n=3, parallel_tool_calls=False).get("inferenceConfig") == config


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (None, None),
        (ToolChoice("auto"), {"auto": {}}),
        (ToolChoice("required", raw={"x": 1}), {"any": {}}),
        (ToolChoice("none"), None),
        (ToolChoice("tool", "f"), {"tool": {"name": "f"}}),
        (ToolChoice("tool", "g"), None),
    ],
)
def test_tool_choices_of_another_dialect(choice: ToolChoice | None, told: Any) -> None:
    assert foreign(user("hi"), tools=(Tool("f"),), tool_choice=choice)["toolConfig"].get("toolChoice") == told
    assert "toolConfig" not in foreign(user("hi"), tools=(Tool("x", raw={"type": "x"}),), tool_choice=choice)


def test_formats_of_another_dialect() -> None:
    wanted = ResponseFormat("json_schema", "n", {"type": "object"}, strict=True, extra={"x": 1})
    assert foreign(user("hi"), response_format=wanted)["outputConfig"] == {
        "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": '{"type":"object"}', "name": "n"}}}
    }
    assert "outputConfig" not in foreign(user("hi"), response_format=ResponseFormat("json_object"))


def test_fields_of_another_dialect_stay_there() -> None:
    said_so = Message("user", (TextPart("hi", extra={"guardContent": 1}),), extra={"a": 1})
    request = ChatRequest("other", "m", (said_so,), extra={"service_tier": "x"})
    assert rendered(request) == {"messages": [said({"text": "hi"})]}
    assert rendered(replace(request, dialect=NAME))["service_tier"] == "x"
