"""Requests of Chat Completions: what is read, what is refused, and that nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from motive_core.dialects import ModelInfo, RequestHead
from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.errors import (
    BadRequestError,
    HoldTimeoutError,
    MotiveError,
    NotFoundError,
    RateLimitedError,
    RequestTimeoutError,
    StatusError,
)
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Json,
    Message,
    OpaquePart,
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

DIALECT = OpenAIChat()
NAME = "openai-chat"
WIRE = Path(__file__).parents[2] / "wire" / NAME
HELLO: list[Json] = [{"role": "user", "content": "hi"}]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="


def golden(name: str) -> ChatRequest:
    return DIALECT.parse_request((WIRE / f"{name}.request.json").read_bytes())


def parse(**fields: Json) -> ChatRequest:
    return DIALECT.parse_request(json.dumps({"model": "m", "messages": HELLO, **fields}).encode())


def again(request: ChatRequest) -> dict[str, Json]:
    """The body that a request of this dialect is rendered to."""
    return json.loads(DIALECT.render_request(request))  # type: ignore[no-any-return]


def test_a_minimal_request_has_its_fields() -> None:
    request = golden("minimal")

    assert request == ChatRequest(NAME, "gpt-5.5", (Message("user", (TextPart("Hello, world"),)),))
    assert request.raw == (WIRE / "minimal.request.json").read_bytes()


OTHERWISE = {"other_roles", "azure_deployment", "azure_other_model", "mistral_history"}
"""Those that may be said otherwise, or have no model: they have tests of their own."""


@pytest.mark.parametrize(
    "name",
    sorted({path.name.removesuffix(".request.json") for path in WIRE.glob("*.request.json")} - OTHERWISE),
)
def test_a_request_is_rendered_as_it_was(name: str) -> None:
    def plain(value: Json) -> Json:
        """Without what may differ: nulls, flags that are off, a list around one text."""
        match value:
            case {"type": "text", "text": str(text)} if len(value) == 2:
                return text
            case dict():
                return {key: plain(item) for key, item in value.items() if item not in (None, False, [], 1)}
            case list():
                items = [plain(item) for item in value]
                return items[0] if len(items) == 1 and isinstance(items[0], str) else items
            case _:
                return value

    body = json.loads((WIRE / f"{name}.request.json").read_bytes())
    for message in body["messages"]:
        if isinstance(message.get("content"), list):
            refusals = [part["refusal"] for part in message["content"] if part["type"] == "refusal"]
            message["content"] = [part for part in message["content"] if part["type"] != "refusal"] or None
            message.update({"refusal": refusals[0]} if refusals else {})
        if isinstance(message.get("reasoning"), str):
            message["reasoning_content"] = message.pop("reasoning")
        for call in message.get("tool_calls") or ():
            call.setdefault("type", "function")
    assert plain(again(golden(name))) == plain(body)


def test_parts_of_every_kind() -> None:
    developer, user, assistant, voice, _ = golden("multimodal").messages

    assert developer == Message(
        "developer", (TextPart("Be brief.", extra={"prompt_cache_breakpoint": {"type": "ephemeral"}}),)
    )
    assert user.name == "ann"
    assert user.parts == (
        TextPart("What is in these?\n\tTabs stay."),
        BlobPart("", url="https://example.org/cat (1).png", extra={"image_url": {"detail": "high"}}),
        BlobPart("image/png", data=PNG),
        BlobPart("audio/wav", data="UklGRiQAAABXQVZF"),
        BlobPart("audio/mpeg", data="SUQzBAAAAAAA"),
        BlobPart("", url="file-id:file-6F2ksmvXxt4VdoqmHRw6kL"),
        BlobPart("application/pdf", data="JVBERi0xLjQ=", name="note.pdf"),
        BlobPart("image/png", data=PNG, name="cat.png"),
        OpaquePart(NAME, {"type": "video_url", "video_url": {"url": "https://example.org/cat.mp4"}}),
    )
    assert assistant.parts == (TextPart("A cat."), RefusalPart("The sound I can't describe."))
    assert voice == Message("assistant", (), extra={"audio": {"id": "audio_abc123"}})
    assert golden("multimodal").extra["a_field_of_tomorrow"] == {"x": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("part", "blob"),
    [
        ({"type": "image_url", "image_url": "https://x/y"}, BlobPart("", url="https://x/y")),
        ({"type": "image_url", "image_url": {"url": "data:,hi"}}, BlobPart("", url="data:,hi")),
        ({"type": "image_url", "image_url": {"url": "DATA:image/GIF;BASE64,AA"}}, BlobPart("image/GIF", data="AA")),
        ({"type": "image_url", "image_url": {"url": "data:;base64,AA"}}, BlobPart("", data="AA")),
        (
            {"type": "image_url", "image_url": {"url": "data:application/pdf;base64,AA", "detail": "low"}},
            BlobPart("application/pdf", data="AA", extra={"image_url": {"detail": "low"}}),
        ),
        ({"type": "input_audio", "input_audio": {"data": "AA", "format": "ogg"}}, BlobPart("audio/ogg", data="AA")),
        ({"type": "file", "file": {"file_data": "AA"}}, BlobPart("", data="AA")),
        (
            {"type": "file", "file": {"file_data": "data:audio/mp3;base64,AA", "x": 1}, "y": 2},
            BlobPart("audio/mp3", data="AA", extra={"y": 2, "file": {"x": 1}}),
        ),
        ({"type": "file", "file": {"file_data": "data:audio/mp3;base64,AA"}}, BlobPart("audio/mp3", data="AA")),
    ],
)
def test_a_blob_becomes_what_it_came_as(part: dict[str, Json], blob: BlobPart) -> None:
    request = parse(messages=[{"role": "user", "content": [part]}])

    assert request.messages[0].parts == (blob,)
    assert DIALECT.parse_request(DIALECT.render_request(request)) == request


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {}},
        {"type": "file", "file": {"file_id": "a", "file_data": "b"}},
        {"type": "file", "file": {"file_data": "https://example.org/a.pdf", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "a", "filename": 7}},
        {"type": "file", "file": "a"},
        {"type": "refusal", "refusal": "a user does not refuse"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": ""},
    ],
)
def test_a_part_that_we_do_not_know_stays_as_it_is(part: dict[str, Json]) -> None:
    request = parse(messages=[{"role": "user", "content": [part, {"type": "text", "text": "x"}]}])

    assert request.messages[0].parts[0] == OpaquePart(NAME, part)
    assert again(request)["messages"][0]["content"][0] == part


def test_a_conversation_with_tools() -> None:
    request = golden("tools_conversation")
    _, _, calls, *results, second, _ = request.messages

    assert calls.parts == (
        TextPart("Let me look."),
        ToolCallPart("call_a1", "get_weather", '{ "location" : "München",\n"days":1.0, "scale": 1e5 }'),
        ToolCallPart(
            "call_a2",
            "get_weather",
            '{"location":"Åre"}',
            extra={"extra_content": {"google": {"thought_signature": "c2ln"}}},
        ),
        ToolCallPart("call_a3", "run_sql", "SELECT 'ü';\n\t-- done", custom=True),
        OpaquePart(NAME, {"tool_calls": {"id": "call_a4", "type": "computer", "computer": {"action": "click"}}}),
    )
    assert [result.parts for result in results] == [
        (ToolResultPart("call_a1", (TextPart('{"temp": 3}'),)),),
        (ToolResultPart("call_a2", (TextPart("-5"), TextPart(" °C")), "get_weather"),),
        (ToolResultPart("call_a3", (TextPart(""),)),),
        (ToolResultPart("call_a4", (TextPart("clicked"), BlobPart("image/png", data=PNG))),),
    ]
    assert {result.role for result in results} == {"tool"}
    assert second.parts == (ToolCallPart("call_b1", "now", ""),)
    weather, now, sql, search = request.tools
    assert (weather.name, weather.description, weather.extra) == (
        "get_weather",
        "Weather of a place",
        {"function": {"strict": True}},
    )
    assert weather.schema["required"] == ["location"]
    assert now == Tool("now")
    assert (sql.name, sql.raw["type"]) == ("run_sql", "custom")
    assert search == Tool("web_search_preview", raw={"type": "web_search_preview", "search_context_size": "low"})
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.tool_choice.raw["type"]) == ("required", "allowed_tools")
    assert request.parallel_tool_calls is False
    assert (request.stream, request.include_usage) == (True, True)
    assert request.extra == {"stream_options": {"include_obfuscation": False}}


def test_the_legacy_functions_are_tools_like_any_other() -> None:
    request = golden("legacy_functions")

    assert [tool.name for tool in request.tools] == ["get_weather", "now"]
    assert request.tools[0].schema == {"type": "object", "properties": {"location": {"type": "string"}}}
    assert request.tool_choice == ToolChoice("tool", "get_weather")
    assert request.messages[1].parts == (
        ToolCallPart("get_weather", "get_weather", '{"location": "Åre"}', extra={"function_call": {}}),
    )
    assert request.messages[2].parts == (
        ToolResultPart("get_weather", (TextPart("-5 °C"),), "get_weather", extra={"role": "function"}),
    )
    assert request.sampling.max_tokens == 64


@pytest.mark.parametrize(
    ("fields", "tools"),
    [
        ({"tools": [], "functions": [{"name": "f"}], "function_call": "auto"}, ["f"]),
        ({"tools": [{"type": "function", "function": {"name": "g"}}], "functions": [{"name": "f"}]}, ["g"]),
        ({"functions": [{"name": "f"}], "tool_choice": "required"}, ["f"]),
        ({"functions": [], "function_call": {"name": "f", "more": 1}}, []),
        ({"functions": [{"name": "f"}], "function_call": "whatever"}, ["f"]),
        ({"function_call": "none"}, []),
    ],
)
def test_odd_mixtures_of_functions_and_tools_survive(fields: dict[str, Json], tools: list[str]) -> None:
    request = parse(**fields)

    assert [tool.name for tool in request.tools] == tools
    assert DIALECT.parse_request(DIALECT.render_request(request)) == request


def test_reasoning_of_compatible_hosts_is_reasoning() -> None:
    _, deepseek, _, openrouter, _ = golden("reasoning_history").messages

    assert deepseek.parts == (ReasoningPart("27 × 453 = 12231"), TextPart("12231"))
    assert openrouter.parts == (ReasoningPart("The same."), TextPart("12231"))
    assert list(openrouter.extra) == ["reasoning_details"]


@pytest.mark.parametrize(
    ("told", "text", "extra"),
    [
        ({"reasoning_content": "a", "reasoning": "a"}, "a", {}),
        ({"reasoning_content": "a", "reasoning": "b"}, "a", {"reasoning": "b"}),
        ({"reasoning_content": "", "reasoning": "b"}, "b", {}),
        ({"reasoning_content": None, "reasoning": None}, "", {}),
        ({"reasoning": {"effort": "low"}}, "", {"reasoning": {"effort": "low"}}),
    ],
)
def test_reasoning_that_is_told_twice_or_otherwise(told: dict[str, Json], text: str, extra: dict[str, Json]) -> None:
    request = parse(messages=[{"role": "assistant", "content": "x", **told}])

    reasoning = [part.text for part in request.messages[0].parts if isinstance(part, ReasoningPart)]
    assert reasoning == ([text] if text else [])
    assert request.messages[0].extra == extra
    assert DIALECT.parse_request(DIALECT.render_request(request)) == request


def test_the_knobs() -> None:
    request = golden("structured_output")

    assert request.sampling == Sampling(256, 0, 0.95, ("\n\n", "END"), -7)
    assert request.n == 2
    assert request.response_format is not None
    assert (request.response_format.kind, request.response_format.name, request.response_format.strict) == (
        "json_schema",
        "title",
        True,
    )
    assert request.response_format.schema["required"] == ["title"]
    assert request.response_format.extra == {"json_schema": {"description": "The title"}}
    assert request.extra.keys() == {
        "reasoning_effort",
        "verbosity",
        "logit_bias",
        "metadata",
        "service_tier",
        "user",
    }


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6),
        ({"max_tokens": None}, None),
    ],
)
def test_the_limit_of_tokens_keeps_its_names(fields: dict[str, Json], limit: int | None) -> None:
    request = parse(**fields)

    assert request.sampling.max_tokens == limit
    body = again(request)
    assert {key: body.get(key) for key in fields} == fields
    assert len(body) == 2 + len([value for value in fields.values() if value is not None])


def test_formats_of_other_hosts_stay_as_they_are() -> None:
    request = golden("unknown_format")

    assert request.response_format is None
    assert request.extra == {"response_format": {"type": "regex", "regex": "yes|no"}}
    assert request.tool_choice == ToolChoice("auto", raw="whatever")
    assert golden("json_mode_older_limit").response_format == ResponseFormat("json_object")


def test_empty_contents_are_told_from_missing_ones() -> None:
    request = golden("empty_contents")

    assert [message.parts for message in request.messages] == [
        (TextPart(""),),
        (TextPart(""),),
        (),
        (RefusalPart("No."),),
        (TextPart("a"), TextPart("b")),
    ]


def test_no_role_and_no_missing_id_is_refused() -> None:
    request = golden("other_roles")
    ipython, tool_response, model, tool = request.messages

    assert (ipython.role, ipython.parts, ipython.extra) == ("user", (TextPart("1"),), {"role": "ipython"})
    assert (tool_response.role, tool_response.name) == ("user", "f")
    assert tool_response.extra == {"role": "tool_response", "x": 1}
    assert model == Message("user", (), extra={"role": "model"})
    assert tool.parts == (ToolResultPart("", (TextPart("3"),)),)
    assert [message["role"] for message in again(request)["messages"]] == ["ipython", "tool_response", "model", "tool"]
    assert request.extra["response_format"] == {"schema": {"type": "object"}}


def test_what_clients_of_mistral_send_is_understood() -> None:
    request = golden("mistral_history")
    system, user, assistant, tool, prefix = request.messages

    assert system.parts[1] == OpaquePart(
        NAME, {"type": "thinking", "thinking": [{"type": "text", "text": "A template."}], "closed": True}
    )
    assert user.parts[1] == BlobPart("", url="https://example.org/a.png")
    assert [part.raw["type"] for part in user.parts if isinstance(part, OpaquePart)] == [
        "document_url",
        "input_audio",
        "file",
    ]
    assert assistant.parts == (
        ReasoningPart("I should look.", extra={"thinking": {"signature": "c2ln", "closed": True}}),
        OpaquePart(NAME, {"type": "thinking", "thinking": [{"type": "reference", "reference_ids": [1]}]}),
        TextPart("I look."),
        ToolCallPart("D681PevKs", "get_weather", '{"place":"Åre","days":[1,2.5]}'),
    )
    assert tool.parts == (ToolResultPart("D681PevKs", (TextPart("-5 °C"),), "get_weather"),)
    assert prefix.extra == {"prefix": True}
    assert (request.sampling.seed, request.sampling.max_tokens) == (7, 100)
    assert request.tool_choice == ToolChoice("required", raw="any")
    body = again(request)
    assert (body["random_seed"], body["tool_choice"], "seed" in body) == (7, "any", False)
    assert body["messages"][2]["content"][0]["signature"] == "c2ln"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"random_seed": 7, "seed": 8}, {"random_seed": 7, "seed": 8}),
        ({"random_seed": 7, "seed": 7}, {"random_seed": 7}),
        ({"random_seed": "x"}, {"random_seed": "x"}),
        ({"random_seed": True}, {"random_seed": True}),
    ],
)
def test_the_seed_keeps_its_names(fields: dict[str, Json], told: dict[str, Json]) -> None:
    request = parse(**fields)

    assert DIALECT.parse_request(DIALECT.render_request(request)) == request
    assert {key: value for key, value in again(request).items() if key.endswith("seed")} == told


# The dialect itself.


@pytest.mark.parametrize(
    ("method", "path", "matches"),
    [
        ("POST", "/v1/chat/completions", True),
        ("POST", "/chat/completions", True),
        ("POST", "/openai/v1/chat/completions/", True),
        ("POST", "/openai/deployments/gpt-4o/chat/completions", True),
        ("GET", "/v1/chat/completions", False),
        ("POST", "/v1/chat/completions/chatcmpl-1", False),
        ("POST", "/v1/completions", False),
        ("POST", "/v1/responses", False),
    ],
)
def test_the_call_is_known_by_method_and_path(method: str, path: str, matches: bool) -> None:
    assert DIALECT.matches(RequestHead(method, "example.org", 443, path)) is matches


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadRequestError("x", param="messages[0].content", code="invalid_type"), "invalid_request_error"),
        (NotFoundError("x"), "invalid_request_error"),
        (RequestTimeoutError("x"), "timeout"),
        (RateLimitedError("x"), "requests"),
        (HoldTimeoutError("x"), "server_error"),
        (StatusError(529, "x", code="overloaded"), "server_error"),
    ],
)
def test_an_error_has_the_type_of_its_status(error: MotiveError, kind: str) -> None:
    assert json.loads(DIALECT.render_error(error, "req_1")) == {
        "error": {"message": "x", "type": kind, "param": error.param, "code": error.code}
    }


def test_the_list_of_models() -> None:
    assert json.loads(DIALECT.render_models([ModelInfo("room-1", 1_795_230_236)])) == {
        "object": "list",
        "data": [{"id": "room-1", "object": "model", "created": 1795230236, "owned_by": "motive"}],
    }


def test_it_speaks_to_anybody() -> None:
    assert DIALECT.speaks(RequestHead("GET", "example.org", 443, "/whatever"))
    assert DIALECT.reply_headers("req_1") == {"x-request-id": "req_1"}


def test_any_value_of_an_unknown_field_survives() -> None:
    value: Any = {"é": [None, True, 10**30, -1.5, {"": "\u2028\x00"}]}

    assert again(parse(x=value))["x"] == value
