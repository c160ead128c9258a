"""Requests of the Converse API: read, and written as they were."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motive_core.dialects.base import RequestHead
from motive_core.dialects.bedrock_converse import BedrockConverse
from motive_core.errors import BadRequestError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    OpaquePart,
    Part,
    ReasoningPart,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

DIALECT = BedrockConverse()
NAME = "bedrock-converse"
PNG = "iVBORw0KGgo="


def head(path: str = "/model/room/converse", method: str = "POST", **headers: str) -> RequestHead:
    return RequestHead(method, "bedrock-runtime.us-east-1.amazonaws.com", 443, path, "", headers)


def parse(body: Any, path: str = "/model/room/converse") -> ChatRequest:
    return DIALECT.parse_request(body if isinstance(body, bytes) else json.dumps(body).encode(), head(path))


def said(*content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(content)}


def parts(*content: Any) -> tuple[Part, ...]:
    return parse({"messages": [said(*content)]}).messages[0].parts


def rendered(request: ChatRequest) -> Any:
    return json.loads(DIALECT.render_request(request))


# Paths.


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/model/room/converse", "room", False),
        ("/model/room/converse-stream", "room", True),
        ("/model/room/converse/", "room", False),
        ("/gateway/v1/model/room/converse", "room", False),
        ("/model/amazon.nova-pro-v1%3A0/converse", "amazon.nova-pro-v1:0", False),
        ("/model/amazon.nova-pro-v1:0/converse", "amazon.nova-pro-v1:0", False),
        (
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.x",
            False,
        ),
        (
            "/model/arn:aws:bedrock:us-east-1:1:custom-model/a/b/converse",
            "arn:aws:bedrock:us-east-1:1:custom-model/a/b",
            False,
        ),
        ("/model/zimmer%20%C3%BC%40asker/converse-stream", "zimmer ü@asker", True),
        ("/model/a%2Fconverse%2Fb/converse", "a/converse/b", False),
        ("/model/100%25/converse", "100%", False),
        ("/model/%ff/converse", "\ufffd", False),
    ],
)
def test_the_path_tells_the_model_and_whether_to_stream(path: str, model: str, stream: bool) -> None:
    assert DIALECT.matches(head(path))
    request = parse({"messages": [said({"text": "hi"})]}, path)
    assert (request.model, request.stream, request.include_usage) == (model, stream, stream)
    again = DIALECT.target(request)
    assert again.isascii()
    assert again.count("/") == 3
    assert parse({"messages": [said({"text": "hi"})]}, again).model == model


@pytest.mark.parametrize(
    "path",
    ["/model/room/invoke", "/model/converse", "/model//converse", "/converse", "/model/room/conversed", "/model/a/b"],
)
def test_other_paths_are_not_ours(path: str) -> None:
    assert not DIALECT.matches(head(path))


def test_without_a_path_there_is_no_model() -> None:
    request = DIALECT.parse_request(b'{"messages":[{"role":"user","content":[{"text":"hi"}]}]}')
    assert (request.model, request.stream) == ("", False)


@pytest.mark.parametrize(
    ("headers", "speaks"),
    [
        ({"authorization": "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/bedrock/aws4_request"}, True),
        ({"x-amz-date": "20260101T000000Z"}, True),
        ({"amz-sdk-invocation-id": "1"}, True),
        ({"user-agent": "Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1"}, True),
        ({"user-agent": "aws-sdk-js/3.9 ua/2.1"}, True),
        ({"user-agent": "aws-sdk-rust/1.3"}, True),
        ({"user-agent": "aws-cli/2.9"}, True),
        ({"user-agent": "laws-sdk"}, False),
        ({"authorization": "Bearer AWS4"}, False),
        ({}, False),
    ],
)
def test_clients_are_recognised_by_their_headers(headers: dict[str, str], speaks: bool) -> None:
    assert DIALECT.speaks(RequestHead("GET", "h", 1, "/", "", headers)) is speaks


# Blocks.

BLOCKS: dict[str, tuple[Any, Part]] = {
    "text": ({"text": "é\n"}, TextPart("é\n")),
    "empty": ({"text": ""}, TextPart("")),
    "null beside": ({"text": "a", "image": None}, TextPart("a")),
    "image": ({"image": {"format": "png", "source": {"bytes": PNG}}}, BlobPart("image/png", data=PNG)),
    "jpeg": ({"image": {"format": "jpeg", "source": {"bytes": PNG}}}, BlobPart("image/jpeg", data=PNG)),
    "s3": (
        {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/k"}}}},
        BlobPart("image/png", url="file-id:s3://b/k"),
    ),
    "document": (
        {"document": {"format": "pdf", "name": "Report", "source": {"bytes": "JVBE"}}},
        BlobPart("application/pdf", data="JVBE", name="Report"),
    ),
    "video": ({"video": {"format": "three_gp", "source": {"bytes": "AAAA"}}}, BlobPart("video/3gpp", data="AAAA")),
    "audio": ({"audio": {"format": "wav", "source": {"bytes": "AAAA"}}}, BlobPart("audio/wav", data="AAAA")),
    "reasoning": (
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
        ReasoningPart("hm", "s"),
    ),
    "unsigned": ({"reasoningContent": {"reasoningText": {"text": "hm"}}}, ReasoningPart("hm")),
    "redacted": ({"reasoningContent": {"redactedContent": "AAAA"}}, ReasoningPart("", redacted="AAAA")),
    "call": (
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": [1, {"b": None}]}}},
        ToolCallPart("t", "f", '{"a":[1,{"b":null}]}'),
    ),
    "result": (
        {
            "toolResult": {
                "toolUseId": "t",
                "content": [{"text": "ok"}, {"image": {"format": "png", "source": {"bytes": PNG}}}],
            }
        },
        ToolResultPart("t", (TextPart("ok"), BlobPart("image/png", data=PNG))),
    ),
    "failed": (
        {"toolResult": {"toolUseId": "t", "content": [], "status": "error"}},
        ToolResultPart("t", (), is_error=True),
    ),
}
ODD_BLOCKS: dict[str, Any] = {
    "s3 of another": {
        "image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/k", "bucketOwner": "123456789012"}}}
    },
    "text document": {
        "document": {"name": "N", "source": {"text": "wörter"}, "context": "c", "citations": {"enabled": True}}
    },
    "chunks": {"document": {"format": "txt", "name": "N", "source": {"content": [{"text": "a"}, {"text": "b"}]}}},
    "unknown format": {"image": {"format": "avif", "source": {"bytes": PNG}}},
    "no format": {"image": {"source": {"bytes": PNG}}},
    "second format": {"video": {"format": "mpg", "source": {"bytes": "AAAA"}}},
    "unknown source": {"image": {"format": "png", "source": {"url": "https://example.org"}}},
    "no source": {"image": {"format": "png", "error": {"message": "too large"}}},
    "guard": {"guardContent": {"text": {"text": "mind this", "qualifiers": ["guard_content"]}}},
    "guard image": {"guardContent": {"image": {"format": "png", "source": {"bytes": PNG}}}},
    "citations": {"citationsContent": {"content": [{"text": "so"}], "citations": [{"title": "T"}]}},
    "many citations": {"citationsContent": {"content": [{"text": "a"}, {"text": "b"}], "citations": []}},
    "search result": {"searchResult": {"source": "s", "title": "t", "content": [{"text": "found"}]}},
    "status": {
        "toolResult": {"toolUseId": "t", "content": [{"json": {"n": [1]}}, {"json": None}], "status": "success"}
    },
    "server call": {"toolUse": {"toolUseId": "t", "name": "f", "input": {}, "type": "server_tool_use"}},
    "server result": {"toolResult": {"toolUseId": "t", "content": [], "type": "x"}},
    "input of no object": {"toolUse": {"toolUseId": "t", "name": "f", "input": [1]}},
    "more of a call": {"toolUse": {"toolUseId": "t", "name": "f", "input": {}, "new": 1}},
    "more of reasoning": {"reasoningContent": {"reasoningText": {"text": "t", "new": 1}}},
    "odd reasoning": {"reasoningContent": {"new": 1}},
    "tool addition": {"toolAddition": {"tool": {"name": "x"}}},
    "tomorrow's": {"tomorrow": {"x": 1.5}},
    "two at once": {"text": "a", "tomorrow": 1},
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_both_ways(name: str) -> None:
    block, part = BLOCKS[name]
    request = parse({"messages": [said(block)]})
    assert request.messages[0].parts == (part,)
    assert rendered(request)["messages"] == [said({key: value for key, value in block.items() if value is not None})]


@pytest.mark.parametrize("name", ODD_BLOCKS)
def test_what_only_this_dialect_knows_survives_to_the_letter(name: str) -> None:
    request = parse({"messages": [said({"text": "x"}, ODD_BLOCKS[name], {"text": "y"})]})
    assert rendered(request)["messages"] == [said({"text": "x"}, ODD_BLOCKS[name], {"text": "y"})]
    assert parse(DIALECT.render_request(request)) == request


def test_what_is_text_to_a_reader_is_text() -> None:
    got = parts(ODD_BLOCKS["guard"], ODD_BLOCKS["citations"], ODD_BLOCKS["status"])
    assert [part.text for part in got if isinstance(part, TextPart)] == ["mind this", "so"]
    assert isinstance(got[2], ToolResultPart)
    assert [part.text for part in got[2].content if isinstance(part, TextPart)] == ['{"n":[1]}', "null"]


def test_a_text_document_is_data_to_others() -> None:
    (part,) = parts(ODD_BLOCKS["text document"])
    assert part == BlobPart("text/plain", data="d8O2cnRlcg==", name="N", extra=ODD_BLOCKS["text document"])


def test_a_cache_point_is_kept_with_what_it_follows_and_shown_to_nobody() -> None:
    point, hour = {"cachePoint": {"type": "default"}}, {"cachePoint": {"type": "default", "ttl": "1h"}}
    content = [point, {"text": "a"}, hour, point, {"tomorrow": 1}, point, BLOCKS["call"][0], point, {"text": "b"}]
    request = parse({"system": [{"text": "s"}, point], "messages": [said(*content)]})

    opaque = [part.raw for part in request.messages[1].parts if isinstance(part, OpaquePart)]
    assert opaque == [point, point, {"tomorrow": 1}, point]
    assert request.messages[0].parts == (TextPart("s", extra=point),)
    assert request.messages[1].parts[1] == TextPart("a", extra=hour)
    body = rendered(request)
    assert body["system"] == [{"text": "s"}, point]
    assert body["messages"][0]["content"] == content


def test_numbers_stay_as_they_were_written() -> None:
    given = '{"a":1.0,"b":1e5,"c":12345678901234567890,"d":0.10,"e":-0.0}'
    use = {"toolUse": {"toolUseId": "t", "name": "f", "input": "GIVEN"}}
    result = {"toolResult": {"toolUseId": "t", "content": [{"json": "GIVEN"}]}}
    body = json.dumps({"messages": [said(use, role="assistant"), said(result)]}).replace('"GIVEN"', given).encode()
    request = parse(body)
    assert request.messages[0].parts == (ToolCallPart("t", "f", given),)
    assert DIALECT.render_request(request).count(given.encode()) == 2


# The rest of a request.


def test_everything_has_its_place() -> None:
    request = parse(
        {
            "system": [{"text": "Be kind."}],
            "messages": [
                said({"text": "hi"}),
                said({"text": "now"}, role="system"),
                said({"text": "ho"}, role="assistant"),
            ],
            "inferenceConfig": {"maxTokens": 5, "temperature": 0.5, "topP": 1, "stopSequences": ["x"], "new": 1},
            "toolConfig": {
                "tools": [
                    {
                        "toolSpec": {
                            "name": "f",
                            "description": "F.",
                            "inputSchema": {"json": {"type": "object"}},
                            "strict": True,
                        }
                    },
                    {"cachePoint": {"type": "default"}},
                    {"systemTool": {"name": "grounding"}},
                    {"cachePoint": {"type": "default"}},
                ],
                "toolChoice": {"any": {}},
                "new": 2,
            },
            "outputConfig": {"effort": "low"},
            "requestMetadata": {"a": "b"},
        }
    )
    assert [one.role for one in request.messages] == ["system", "user", "system", "assistant"]
    assert request.sampling == Sampling(5, 0.5, 1, ("x",))
    assert request.tools == (
        Tool("f", "F.", {"type": "object"}, extra={"strict": True, "cachePoint": {"type": "default"}}),
        Tool("grounding", raw={"systemTool": {"name": "grounding"}}),
        Tool("cachePoint", raw={"cachePoint": {"type": "default"}}),
    )
    assert request.tool_choice == ToolChoice("required")
    assert request.extra == {
        "inferenceConfig": {"new": 1},
        "toolConfig": {"new": 2},
        "outputConfig": {"effort": "low"},
        "requestMetadata": {"a": "b"},
    }
    assert rendered(request) == json.loads(request.raw)


@pytest.mark.parametrize(
    ("raw", "choice"),
    [
        ({"auto": {}}, ToolChoice("auto")),
        ({"any": {}}, ToolChoice("required")),
        ({"tool": {"name": "f"}}, ToolChoice("tool", "f")),
        ({"none": {}}, ToolChoice("auto", raw={"none": {}})),
        ({"any": {"new": 1}}, ToolChoice("required", raw={"any": {"new": 1}})),
    ],
)
def test_tool_choices(raw: Any, choice: ToolChoice) -> None:
    tools = [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]
    request = parse({"messages": [said({"text": "x"})], "toolConfig": {"tools": tools, "toolChoice": raw}})
    assert request.tool_choice == choice
    assert rendered(request)["toolConfig"] == {"tools": tools, "toolChoice": raw}


def test_a_schema_is_read_and_written_as_it_was() -> None:
    described = {"name": "n", "description": "d", "schema": '{"type": "object"}'}
    config = {"effort": "low", "textFormat": {"type": "json_schema", "structure": {"jsonSchema": described}}}
    request = parse({"messages": [said({"text": "x"})], "outputConfig": config})
    assert request.response_format is not None
    assert (request.response_format.name, request.response_format.schema) == ("n", {"type": "object"})
    assert rendered(request)["outputConfig"] == config


@pytest.mark.parametrize("schema", ["no JSON", "[]", '"\\ud800"'])
def test_a_schema_that_is_none_is_left_to_the_service(schema: str) -> None:
    config = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema}}}}
    request = parse({"messages": [said({"text": "x"})], "outputConfig": config})
    assert request.response_format is None
    assert rendered(request)["outputConfig"] == config


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b"{}", "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": []}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": []}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "messages[0].content"),
        ({"messages": [said("hi")]}, "messages[0].content[0]"),
        ({"messages": [said({})]}, "messages[0].content[0]"),
        ({"messages": [said({"text": None})]}, "messages[0].content[0]"),
        ({"messages": [said({"text": 1})]}, "messages[0].content[0].text"),
        ({"messages": [said({"image": 1})]}, "messages[0].content[0].image"),
        ({"messages": [said({"toolUse": {"name": "f"}})]}, "messages[0].content[0].toolUse.toolUseId"),
        ({"messages": [said({"toolUse": {"toolUseId": "t", "name": 1}})]}, "messages[0].content[0].toolUse.name"),
        (
            {"messages": [said({"toolResult": {"toolUseId": "t", "content": 1}})]},
            "messages[0].content[0].toolResult.content",
        ),
        (
            {"messages": [said({"toolResult": {"toolUseId": "t", "content": [1]}})]},
            "messages[0].content[0].toolResult.content[0]",
        ),
        ({"messages": [said({"text": "x"})], "system": "x"}, "system"),
        ({"messages": [said({"text": "x"})], "inferenceConfig": {"maxTokens": "5"}}, "inferenceConfig.maxTokens"),
        (
            {"messages": [said({"text": "x"})], "inferenceConfig": {"stopSequences": [1]}},
            "inferenceConfig.stopSequences[0]",
        ),
        ({"messages": [said({"text": "x"})], "toolConfig": {"tools": [1]}}, "toolConfig.tools[0]"),
        (
            {"messages": [said({"text": "x"})], "toolConfig": {"tools": [{"toolSpec": {}}]}},
            "toolConfig.tools[0].toolSpec.name",
        ),
        (
            {"messages": [said({"text": "x"})], "toolConfig": {"toolChoice": {"tool": {}}}},
            "toolConfig.toolChoice.tool.name",
        ),
    ],
)
def test_what_is_wrong_is_named(body: Any, param: str | None) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse(body)
    assert caught.value.param == param
