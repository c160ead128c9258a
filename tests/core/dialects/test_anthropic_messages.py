"""Requests of the Messages API: what is read, what is refused, and what other dialects' requests become."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.dialects import ModelInfo, RequestHead
from motive_core.dialects.anthropic_messages import AnthropicMessages
from motive_core.errors import BadRequestError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Message,
    OpaquePart,
    ReasoningPart,
    ResponseFormat,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

DIALECT = AnthropicMessages()
WIRE = Path(__file__).parents[2] / "wire" / "anthropic-messages"


def golden(name: str) -> ChatRequest:
    return DIALECT.parse_request((WIRE / f"{name}.request.json").read_bytes())


def parse(**fields: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return DIALECT.parse_request(json.dumps(body).encode())


def test_a_minimal_request_has_its_fields() -> None:
    request = golden("minimal")

    assert request == ChatRequest(
        "anthropic-messages",
        "claude-sonnet-4-6",
        (Message("user", (TextPart("Hello, world"),)),),
        sampling=Sampling(max_tokens=1024),
    )
    assert request.raw == (WIRE / "minimal.request.json").read_bytes()


def test_system_comes_first_and_cache_control_stays_with_its_block() -> None:
    request = golden("cached_system")

    system, user = request.messages
    assert system.role == "system"
    assert system.text == "You are Claude Code, Anthropic's official CLI for Claude.Be brief.\n\tTabs stay."
    assert system.parts[1] == TextPart(
        "Be brief.\n\tTabs stay.", extra={"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    )
    assert user.parts[1] == TextPart("fix the bug 🐛", extra={"cache_control": {"type": "ephemeral"}})
    assert request.stream
    assert request.include_usage
    assert request.extra["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert request.extra["a_field_of_tomorrow"] == {"x": [1, 2.5, None]}


def test_a_system_message_amid_the_conversation_stays_there() -> None:
    request = golden("mid_conversation_system")

    assert [message.role for message in request.messages] == ["system", "user", "assistant", "system", "user"]
    again = json.loads(DIALECT.render_request(request))
    assert again["system"] == "Base."
    assert [message["role"] for message in again["messages"]] == ["user", "assistant", "system", "user"]


def test_images_and_documents_are_blobs_where_a_blob_can_hold_them() -> None:
    parts = golden("images_and_documents").messages[0].parts

    assert [type(part).__name__ for part in parts] == ["BlobPart"] * 7 + ["OpaquePart"] * 2 + ["TextPart"]
    blobs = [part for part in parts if isinstance(part, BlobPart)]
    assert [blob.media_type for blob in blobs] == [
        "image/png",
        "",
        "image/*",
        "application/pdf",
        "text/plain",
        "application/pdf",
        "",
    ]
    assert blobs[0].extra == {"cache_control": {"type": "ephemeral"}}
    assert blobs[1].url == "https://example.com/ant.jpg?x=1&y=(2)"
    assert blobs[2].url == "file-id:file_011CNha8iCJcU1wXNR6q4V8w"
    assert (blobs[3].name, blobs[3].extra) == ("Report", {"citations": {"enabled": True}})
    assert base64.b64decode(blobs[4].data or "").decode() == "The grass is green. Ä\n"
    assert blobs[5].url == "https://example.com/a.pdf"
    assert blobs[6].url == "file-id:file_011CPMxVD3fHLUhvTqtsQA5w"


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image"},
        {"type": "image", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="}},
        {"type": "image", "source": {"type": "url", "url": "https://e.x/a.png", "ttl": 1}},
        {"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": "AA=="}},
        {"type": "document", "source": {"type": "text", "data": "no media type"}},
        {"type": "document", "title": 5, "source": {"type": "url", "url": "https://e.x/a.pdf"}},
        {"type": "container_upload", "file_id": "file_1"},
        {"type": "a_block_of_tomorrow", "text": ["?"]},
    ],
)
def test_a_block_that_no_part_holds_exactly_stays_as_it_is(block: dict[str, Any]) -> None:
    request = parse(messages=[{"role": "user", "content": [block]}])

    assert request.messages[0].parts == (OpaquePart("anthropic-messages", block),)
    assert json.loads(DIALECT.render_request(request))["messages"][0]["content"] == [block]


def test_a_conversation_with_tools() -> None:
    request = golden("tools_conversation")

    weather, time, search, mcp = request.tools
    assert (weather.name, weather.schema["required"]) == ("get_weather", ["location"])
    assert weather.extra == {"cache_control": {"type": "ephemeral"}}
    assert (time.description, time.extra["strict"]) == (None, True)
    assert search == Tool("web_search", raw={"type": "web_search_20250305", "name": "web_search", "max_uses": 5})
    assert mcp.name == "mcp_toolset"
    assert request.tool_choice == ToolChoice("auto")
    assert request.parallel_tool_calls is False
    _, calls, results, searched, nothing = request.messages
    assert calls.parts[1] == ToolCallPart("toolu_01A", "get_weather", '{"location":"Paris","unit":"celsius"}')
    assert calls.parts[2] == ToolCallPart("toolu_01B", "get_time", "{}", extra={"caller": {"type": "direct"}})
    assert results.parts[0] == ToolResultPart("toolu_01A", (TextPart("15 degrees"),))
    broken = results.parts[1]
    assert isinstance(broken, ToolResultPart)
    assert broken.is_error
    assert isinstance(broken.content[1], BlobPart)
    assert isinstance(searched.parts[0], OpaquePart)
    assert isinstance(searched.parts[2], TextPart)
    assert "citations" in searched.parts[2].extra
    assert nothing.parts == (ToolResultPart("toolu_none", ()),)


def test_arguments_keep_their_numbers_and_the_order_of_their_keys() -> None:
    request = golden("exact_numbers")

    arguments = '{"z":1.0,"a":1e5,"big":123456789012345678901234567890,"small":-1.50E-7,"more":[0.10,2,{"k":1E400}]}'
    assert request.messages[1].parts == (ToolCallPart("toolu_1", "f", arguments),)
    assert f'"input":{arguments}'.encode() in DIALECT.render_request(request)


def test_reasoning_keeps_its_proofs() -> None:
    request = golden("thinking_history")

    thinking, redacted, _ = request.messages[1].parts
    assert isinstance(thinking, ReasoningPart)
    assert isinstance(redacted, ReasoningPart)
    assert (thinking.signature or "").startswith("EqQBCgIYAhIM")
    assert (redacted.text, redacted.signature) == ("", None)
    assert (redacted.redacted or "").startswith("EmwKAhgBEgy3")


def test_the_format_of_the_reply_is_told_apart_from_the_rest_of_the_output_config() -> None:
    request = golden("structured_output")

    assert request.response_format is not None
    assert request.response_format.kind == "json_schema"
    assert request.response_format.schema["required"] == ["title"]
    assert request.extra == {"output_config": {"effort": "low"}}


def test_the_format_of_the_older_beta_is_a_format_too() -> None:
    schema = {"type": "object"}
    request = parse(output_format={"type": "json_schema", "schema": schema})

    assert request.response_format == ResponseFormat("json_schema", schema=schema)
    again = json.loads(DIALECT.render_request(request))
    assert again["output_format"] == {"type": "json_schema", "schema": schema}
    assert "output_config" not in again


@pytest.mark.parametrize("output_config", [{"effort": "max"}, {"format": {"type": "xml"}}, {}])
def test_an_output_config_without_a_schema_is_kept(output_config: dict[str, Any]) -> None:
    request = parse(output_config=output_config)

    assert request.response_format is None
    assert json.loads(DIALECT.render_request(request))["output_config"] == output_config


@pytest.mark.parametrize(
    ("wire", "choice", "parallel"),
    [
        ({"type": "auto"}, ToolChoice("auto"), None),
        ({"type": "auto", "disable_parallel_tool_use": False}, ToolChoice("auto"), True),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice("required"), False),
        ({"type": "tool", "name": "f"}, ToolChoice("tool", "f"), None),
        ({"type": "none"}, ToolChoice("none"), None),
        ({"type": "of_tomorrow", "x": 1}, ToolChoice("auto", raw={"type": "of_tomorrow", "x": 1}), None),
    ],
)
def test_tool_choice_both_ways(wire: dict[str, Any], choice: ToolChoice, parallel: bool | None) -> None:
    request = parse(tool_choice=wire, tools=[{"name": "f", "input_schema": {"type": "object"}}])

    assert (request.tool_choice, request.parallel_tool_calls) == (choice, parallel)
    assert json.loads(DIALECT.render_request(request))["tool_choice"] == wire


def test_what_a_request_leaves_out_stays_left_out() -> None:
    assert json.loads(DIALECT.render_request(parse())) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_null_is_the_same_as_left_out() -> None:
    fields = ("system", "max_tokens", "stream", "tools", "tool_choice", "stop_sequences", "temperature", "top_p")

    assert parse(**dict.fromkeys(fields)) == parse()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"messages": {}}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages.0"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "tool", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "i", "name": "f"}]}]},
            "messages.0.content.0.input",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "i", "content": 1}]}]},
            "messages.0.content.0.content",
        ),
        ({"system": 5}, "system"),
        ({"system": [{"type": "text", "text": 1}]}, "system.0.text"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"stop_sequences": [1]}, "stop_sequences.0"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
        ({"tools": [{"name": "f", "input_schema": []}]}, "tools.0.input_schema"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"output_config": []}, "output_config"),
    ],
)
def test_a_bad_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse(**fields)

    assert caught.value.param == param
    told = json.loads(DIALECT.render_error(caught.value, "req_1"))["error"]
    assert told["type"] == "invalid_request_error"
    assert told["message"].startswith(f"{param}: ")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'"model"',
        b"{",
        b"\xff\xfe",
        b'{"model": "\xff"}',
        b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "x": NaN}',
        b'{"model": "m", "messages": ' + b"[" * 100_000,
        b'{"model": "m", "x": ' + b'{"tool_use":' * 5_000 + b"1" + b"}" * 5_001,
        b'{"model": "m", "x": ' + b"1" * 10_000 + b"}",
    ],
)
def test_a_body_that_is_no_json_object_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        DIALECT.parse_request(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "text", "role", "content", "source", "input", "id", "name", "data", "url", "schema"]
            )
            | st.text(max_size=3),
            inner
            | st.sampled_from(["text", "image", "document", "tool_use", "tool_result", "thinking", "user", "base64"]),
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(
    st.fixed_dictionaries(
        {"model": st.just("m"), "messages": st.lists(_JSON, min_size=1, max_size=3)},
        optional=dict.fromkeys(("system", "tools", "tool_choice", "output_config", "output_format", "other"), _JSON),
    )
)
def test_any_object_is_either_a_request_that_survives_its_rendering_or_a_bad_request(body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    try:
        request = DIALECT.parse_request(data)
    except BadRequestError:
        return
    assert DIALECT.parse_request(DIALECT.render_request(request)) == request


@given(st.binary(max_size=64))
def test_any_bytes_are_a_bad_request_at_worst(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        DIALECT.parse_request(body)


# The dialect itself.


def head(method: str, path: str, **headers: str) -> RequestHead:
    return RequestHead(method, "api.anthropic.com", 443, path, headers=headers)


@pytest.mark.parametrize(
    ("method", "path", "matches"),
    [
        ("POST", "/v1/messages", True),
        ("POST", "/anthropic/v1/messages", True),
        ("POST", "//v1/messages/", True),
        ("GET", "/v1/messages", False),
        ("POST", "/v1/messages/count_tokens", False),
        ("POST", "/v1/messages/batches", False),
        ("POST", "/v1/chat/completions", False),
    ],
)
def test_the_call_is_known_by_method_and_path(method: str, path: str, matches: bool) -> None:
    assert DIALECT.matches(head(method, path)) is matches


def test_the_query_is_no_part_of_the_path() -> None:
    beta = RequestHead("POST", "api.anthropic.com", 443, "/v1/messages", query="beta=true")

    assert DIALECT.matches(beta)


def test_a_client_is_known_by_its_version_header_and_not_by_its_key() -> None:
    assert DIALECT.speaks(head("GET", "/v1/models", **{"anthropic-version": "2023-06-01"}))
    assert not DIALECT.speaks(head("GET", "/v1/models", **{"x-api-key": "k"}))


def test_the_list_of_models() -> None:
    models = [ModelInfo("room-1", 1_795_230_236), ModelInfo("room-2", 0)]

    assert json.loads(DIALECT.render_models(models)) == {
        "data": [
            {
                "type": "model",
                "id": "room-1",
                "display_name": "room-1",
                "created_at": "2026-11-21T03:03:56Z",
                "lifecycle": "active",
            },
            {
                "type": "model",
                "id": "room-2",
                "display_name": "room-2",
                "created_at": "1970-01-01T00:00:00Z",
                "lifecycle": "active",
            },
        ],
        "has_more": False,
        "first_id": "room-1",
        "last_id": "room-2",
    }
    assert json.loads(DIALECT.render_models([])) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_replies_have_the_request_id_that_the_sdk_reads() -> None:
    assert DIALECT.reply_headers("req_1") == {"x-request-id": "req_1", "request-id": "req_1"}
