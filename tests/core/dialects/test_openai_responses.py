"""Requests of the Responses API, both ways, and what the dialect says of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motive_core import errors
from motive_core.dialects import RequestHead
from motive_core.dialects.openai_responses import OpenAIResponses
from motive_core.errors import BadRequestError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    ResponseFormat,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

DIALECT = OpenAIResponses()
NAME = "openai-responses"


def parse(told: Any = "hi", **fields: Any) -> ChatRequest:
    return DIALECT.parse_request(json.dumps({"model": "m", "input": told, **fields}).encode())


def rendered(request: ChatRequest) -> Any:
    return json.loads(DIALECT.render_request(request))


def items(*told: Any) -> tuple[Message, ...]:
    """Items as messages; they come back as they were, but for what is the same in another form."""
    request = parse(list(told))
    assert parse(rendered(request)["input"]).messages == request.messages
    return request.messages


def user(*content: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": list(content)}


def content(part: dict[str, Any]) -> Part:
    """One part of a user's message. It is rendered as it came."""
    ((got,),) = [message.parts for message in items(user(part))]
    assert rendered(parse([user(part, part)]))["input"][0]["content"] == [part, part]
    return got


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        [
            "/v1/responses",
            "/responses",
            "/v1/responses/",
            "/openai/v1/responses",
            "/openai/responses",
            "/backend-api/codex/responses",
        ],
    )
    def test_chat_calls(self, path: str) -> None:
        assert DIALECT.matches(RequestHead("POST", "h", 443, path))
        assert not DIALECT.matches(RequestHead("GET", "h", 443, path))
        assert not DIALECT.serves(RequestHead("POST", "h", 443, path))
        assert DIALECT.speaks(RequestHead("PUT", "h", 443, path))

    @pytest.mark.parametrize("path", ["/v1/responses/resp_1", "/v1/my-responses", "/v1/chat/completions", "/"])
    def test_other_calls(self, path: str) -> None:
        assert not DIALECT.matches(RequestHead("POST", "h", 443, path))


class TestInput:
    def test_a_string(self) -> None:
        assert parse("Hello").messages == (Message("user", (TextPart("Hello"),)),)
        assert rendered(parse("Hello"))["input"] == [{"type": "message", "role": "user", "content": "Hello"}]

    def test_messages_need_no_type(self) -> None:
        told = [{"role": role, "content": role} for role in ("system", "developer", "user", "assistant")]
        assert [(one.role, one.text) for one in items(*told)] == [(one["role"], one["role"]) for one in told]
        assert rendered(parse(told))["input"] == [{"type": "message", **one} for one in told]

    def test_instructions_are_a_system_message(self) -> None:
        request = parse("hi", instructions="Be kind.\n\tReally.")
        assert request.messages[0] == Message(
            "system", (TextPart("Be kind.\n\tReally."),), extra={"instructions": True}
        )
        assert rendered(request)["instructions"] == "Be kind.\n\tReally."
        assert len(rendered(request)["input"]) == 1

    def test_a_system_item_is_no_instructions(self) -> None:
        request = parse([{"role": "system", "content": "Be kind."}])
        assert "instructions" not in rendered(request)

    @pytest.mark.parametrize("told", ["", None])
    def test_no_instructions(self, told: str | None) -> None:
        request = parse("hi", instructions=told)
        assert len(request.messages) == 1
        assert rendered(request).get("instructions") == told

    def test_what_a_model_said_in_a_row_is_one_message(self) -> None:
        got = items(
            user({"type": "input_text", "text": "hi"}),
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [text("Let me.")],
            },
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a": 1.0}'},
            {"type": "custom_tool_call", "call_id": "c2", "name": "sql", "input": "SELECT 1"},
            {"type": "function_call_output", "call_id": "c1", "output": "x"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "y"},
        )
        assert got[1:] == (
            Message(
                "assistant",
                (
                    ReasoningPart("Hm.", extra={"id": "rs_1"}),
                    TextPart(
                        "Let me.",
                        extra={"annotations": [], "message": {"id": "msg_1", "status": "completed"}},
                    ),
                    ToolCallPart("c1", "f", '{"a": 1.0}', extra={"id": "fc_1"}),
                    ToolCallPart("c2", "sql", "SELECT 1", custom=True),
                ),
            ),
            Message("tool", (ToolResultPart("c1", (TextPart("x"),)),)),
            Message("tool", (ToolResultPart("c2", (TextPart("y"),), extra={"type": "custom_tool_call_output"}),)),
        )

    def test_messages_of_a_model_stay_apart(self) -> None:
        said = [
            {"type": "message", "role": "assistant", "content": "one"},
            {"type": "message", "role": "assistant", "content": "two"},
            {"type": "message", "role": "assistant", "content": []},
            {"type": "message", "role": "assistant", "phase": "final_answer", "content": [text("a"), text("b")]},
            {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}, text("c")]},
            {"type": "message", "role": "assistant", "content": [{"type": "hologram"}, text("d")]},
        ]
        (message,) = items(*said)
        assert [getattr(part, "text", None) for part in message.parts] == [
            "one",
            "two",
            "",
            "a",
            "b",
            "No.",
            "c",
            None,
            "d",
        ]
        again = rendered(parse(said))["input"]
        assert again[0] == said[0]
        assert again[2:] == said[2:]

    @pytest.mark.parametrize(
        "item",
        [
            {
                "type": "web_search_call",
                "id": "ws_1",
                "status": "completed",
                "action": {"type": "search", "query": "x"},
            },
            {"type": "mcp_call", "id": "mcp_1", "name": "f", "arguments": "{}", "server_label": "s", "output": None},
            {"type": "item_reference", "id": "msg_1"},
            {"id": "msg_1"},
            {"type": "compaction", "encrypted_content": "gAAA"},
            {"type": "tomorrow", "content": {"a": 1}},
        ],
    )
    def test_other_items_are_what_a_model_said(self, item: dict[str, Any]) -> None:
        first, said, last = items({"role": "user", "content": "a"}, item, {"role": "user", "content": "b"})
        assert said == Message("assistant", (OpaquePart(NAME, item),))
        assert (first.text, last.text) == ("a", "b")
        assert rendered(parse([item]))["input"] == [item]

    @pytest.mark.parametrize(
        ("kind", "role"),
        [
            ("shell_call_output", "user"),
            ("computer_call_output", "user"),
            ("mcp_approval_response", "user"),
            ("additional_tools", "developer"),
        ],
    )
    def test_items_that_an_app_adds(self, kind: str, role: Any) -> None:
        item = {"type": kind, "anything": [1, None]}
        assert items(item) == (Message(role, (OpaquePart(NAME, item),)),)
        assert rendered(parse([item]))["input"] == [item]

    @pytest.mark.parametrize(
        ("item", "part"),
        [
            (
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA", "status": "completed"},
                ReasoningPart("", "gAAA", extra={"id": "rs_1", "status": "completed"}),
            ),
            (
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}], "encrypted_content": "gA"},
                ReasoningPart("a", "gA"),
            ),
            (
                {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gA"},
                ReasoningPart("", "gA", extra={"content": None}),
            ),
            (
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": one} for one in "ab"]},
                ReasoningPart(
                    "a\n\nb",
                    extra={"id": "rs_1", "summary": [{"type": "summary_text", "text": one} for one in "ab"]},
                ),
            ),
            (
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "a"}],
                },
                ReasoningPart("a", extra={"id": "rs_1", "summary": []}),
            ),
            (
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]},
                ReasoningPart("a", extra={"summary": [{"type": "summary_text", "text": "a"}]}),
            ),
            ({"type": "reasoning", "summary": []}, ReasoningPart("", extra={"summary": []})),
        ],
    )
    def test_reasoning_survives(self, item: dict[str, Any], part: ReasoningPart) -> None:
        assert items(item) == (Message("assistant", (part,)),)
        assert rendered(parse([item]))["input"] == [item]

    def test_results_of_tools(self) -> None:
        picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
        told = [
            {"type": "function_call_output", "call_id": "c", "output": ""},
            {"type": "function_call_output", "call_id": "c", "output": []},
            {"type": "function_call_output", "call_id": "c", "id": "fco_1", "status": "completed", "output": [picture]},
            {"type": "function_call_output", "name": "f", "output": "no id"},
        ]
        assert [message.parts for message in items(*told)] == [
            (ToolResultPart("c", (TextPart(""),)),),
            (ToolResultPart("c", ()),),
            (
                ToolResultPart(
                    "c",
                    (BlobPart("image/png", data="AAAA", extra={"detail": "low"}),),
                    extra={"id": "fco_1", "status": "completed"},
                ),
            ),
            (ToolResultPart("", (TextPart("no id"),), "f"),),
        ]
        assert rendered(parse(told))["input"] == told

    def test_an_input_is_not_needed_beside_a_template_or_what_the_service_kept(self) -> None:
        for field in ({"prompt": {"id": "pmpt_1"}}, {"previous_response_id": "resp_1"}, {"conversation": "conv_1"}):
            body = json.dumps({"model": "m", **field}).encode()
            request = DIALECT.parse_request(body)
            assert request.messages == ()
            assert rendered(request) == {"model": "m", **field}
            assert parse([], **field).messages == ()


def text(told: str) -> dict[str, Any]:
    return {"type": "output_text", "text": told, "annotations": []}


class TestContents:
    @pytest.mark.parametrize(
        ("part", "expected"),
        [
            (
                {"type": "input_text", "text": "a\n\t", "prompt_cache_breakpoint": {"mode": "explicit"}},
                TextPart("a\n\t", extra={"prompt_cache_breakpoint": {"mode": "explicit"}}),
            ),
            ({"type": "output_text", "text": "a"}, TextPart("a", extra={"type": "output_text"})),
            ({"type": "text", "text": "a"}, TextPart("a", extra={"type": "text"})),
            (
                {"type": "input_image", "image_url": "https://x.example/a.png", "detail": "high"},
                BlobPart("", url="https://x.example/a.png", extra={"detail": "high"}),
            ),
            ({"type": "input_image", "image_url": "data:image/png;base64,AAAA"}, BlobPart("image/png", data="AAAA")),
            (
                {"type": "input_image", "image_url": "data:application/pdf;base64,AAAA"},
                BlobPart("application/pdf", data="AAAA", extra={"type": "input_image"}),
            ),
            ({"type": "input_image", "image_url": "data:,x"}, BlobPart("", url="data:,x")),
            (
                {"type": "input_image", "file_id": "file-1"},
                BlobPart("", url="file-id:file-1", extra={"type": "input_image"}),
            ),
            ({"type": "input_file", "file_id": "file-1"}, BlobPart("", url="file-id:file-1")),
            (
                {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
                BlobPart("application/pdf", data="AAAA", name="a.pdf"),
            ),
            ({"type": "input_file", "file_data": "AAAA", "filename": "a"}, BlobPart("", data="AAAA", name="a")),
            (
                {"type": "input_file", "file_data": "data:image/png;base64,AAAA"},
                BlobPart("image/png", data="AAAA", extra={"type": "input_file"}),
            ),
            (
                {"type": "input_file", "file_data": "data:audio/wav;base64,AAAA"},
                BlobPart("audio/wav", data="AAAA", extra={"type": "input_file"}),
            ),
            (
                {"type": "input_file", "file_url": "https://x.example/a.PDF?b"},
                BlobPart("application/pdf", url="https://x.example/a.PDF?b"),
            ),
            (
                {"type": "input_file", "file_url": "https://x.example/a", "filename": "b"},
                BlobPart("application/octet-stream", url="https://x.example/a", name="b"),
            ),
            (
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3", "x": 1}},
                BlobPart("audio/mpeg", data="AAAA", extra={"input_audio": {"x": 1}}),
            ),
        ],
    )
    def test_known_parts(self, part: dict[str, Any], expected: Part) -> None:
        assert content(part) == expected

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "hologram", "depth": 3},
            {"type": "refusal", "refusal": "No."},
            {"type": "input_image", "detail": "low"},
            {"type": "input_image", "image_url": "https://x.example", "file_id": "file-1"},
            {"type": "input_image", "image_url": "file-id:x"},
            {"type": "input_file", "file_url": "file-id:x"},
            {"type": "input_file", "file_id": "a", "file_url": "https://x.example"},
            {"type": "input_file", "file_data": "data:text/plain,x"},
            {"type": "input_file", "file_id": 7},
            {"type": "input_file", "file_id": "a", "filename": 7},
        ],
    )
    def test_parts_that_we_do_not_know(self, part: dict[str, Any]) -> None:
        assert content(part) == OpaquePart(NAME, {"content": part})


class TestSettings:
    def test_all_of_them(self) -> None:
        schema = {"type": "object"}
        request = parse(
            "hi",
            stream=True,
            store=False,
            previous_response_id="resp_0",
            max_output_tokens=5,
            temperature=0,
            top_p=0.5,
            parallel_tool_calls=False,
            tools=[
                {"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": True},
                {"type": "function", "name": "g", "parameters": None},
                {"type": "custom", "name": "sql"},
                {"type": "mcp", "server_label": "dice"},
                {"type": "web_search"},
            ],
            tool_choice="required",
            text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True, "description": "d"}},
            reasoning={"effort": "low"},
            metadata=None,
        )
        assert request == ChatRequest(
            NAME,
            "m",
            (Message("user", (TextPart("hi"),)),),
            stream=True,
            tools=(
                Tool("f", "d", schema, extra={"strict": True}),
                Tool("g", extra={"parameters": None}),
                Tool("sql", raw={"type": "custom", "name": "sql"}),
                Tool("dice", raw={"type": "mcp", "server_label": "dice"}),
                Tool("web_search", raw={"type": "web_search"}),
            ),
            tool_choice=ToolChoice("required"),
            parallel_tool_calls=False,
            response_format=ResponseFormat("json_schema", "n", schema, strict=True, extra={"description": "d"}),
            sampling=Sampling(max_tokens=5, temperature=0, top_p=0.5),
            include_usage=True,
            previous="resp_0",
            store=False,
            extra={"reasoning": {"effort": "low"}, "metadata": None},
        )
        sent = json.loads(request.raw)
        sent["input"] = [{"type": "message", "role": "user", "content": "hi"}]
        assert rendered(request) == sent

    @pytest.mark.parametrize(
        ("told", "store"), [({}, True), ({"store": None}, True), ({"store": True}, True), ({"store": False}, False)]
    )
    def test_replies_are_kept_unless_told_otherwise(self, told: dict[str, Any], store: bool) -> None:
        request = parse("hi", **told)
        assert request.store is store
        assert rendered(request).get("store") == (told.get("store"))

    @pytest.mark.parametrize(
        ("told", "expected"),
        [
            (None, None),
            ("none", ToolChoice("none")),
            ("tomorrow", ToolChoice("auto", raw="tomorrow")),
            ({"type": "function", "name": "f"}, ToolChoice("tool", "f")),
            ({"type": "custom", "name": "f"}, ToolChoice("tool", "f", raw={"type": "custom", "name": "f"})),
            ({"type": "web_search_preview"}, ToolChoice("auto", raw={"type": "web_search_preview"})),
            (
                {"type": "allowed_tools", "mode": "required", "tools": []},
                ToolChoice("required", raw={"type": "allowed_tools", "mode": "required", "tools": []}),
            ),
        ],
    )
    def test_tool_choices(self, told: Any, expected: ToolChoice | None) -> None:
        request = parse("hi", tool_choice=told)
        assert request.tool_choice == expected
        assert rendered(request).get("tool_choice") == told

    @pytest.mark.parametrize(
        "told",
        [
            {"format": {"type": "text"}},
            {"format": {"type": "json_object"}, "verbosity": "low"},
            {"format": {"type": "json_schema", "name": "n", "schema": {}}},
            {"format": {"type": "grammar", "definition": "x"}, "verbosity": "low"},
            {"verbosity": "low", "x": None},
        ],
    )
    def test_the_text_of_a_reply(self, told: dict[str, Any]) -> None:
        assert rendered(parse("hi", text=told))["text"] == told

    def test_a_model_may_have_any_name(self) -> None:
        for model in ("a b/c ü@asker", "ft:gpt", "名"):
            assert DIALECT.parse_request(json.dumps({"model": model, "input": "x"}).encode()).model == model


MISSING, TYPE = "missing_required_parameter", "invalid_type"
EMPTY = "Invalid 'input': empty array. Expected an array with minimum length 1, but got an empty array instead."
ROLES = "Invalid value: 'tool'. Supported values are: 'assistant', 'system', 'developer', and 'user'."
CONTENT = (
    "Invalid type for 'input[0].content': expected one of a string or array of objects, but got an integer instead."
)
CALL = {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"}


class TestBadInput:
    @pytest.mark.parametrize(
        ("fields", "param", "code", "message"),
        [
            ({"model": ...}, "model", MISSING, "Missing required parameter: 'model'."),
            ({"input": ...}, "input", MISSING, "Missing required parameter: 'input'."),
            (
                {"model": 7},
                "model",
                TYPE,
                "Invalid type for 'model': expected a string, but got an integer instead.",
            ),
            ({"model": ""}, "model", "invalid_value", "Invalid 'model': it must not be empty."),
            ({"input": []}, "input", "empty_array", EMPTY),
            (
                {"input": 7},
                "input",
                TYPE,
                "Invalid type for 'input': expected an array, but got an integer instead.",
            ),
            ({"instructions": []}, "instructions", TYPE, None),
            ({"stream": "yes"}, "stream", TYPE, None),
            ({"store": 1}, "store", TYPE, None),
            ({"previous_response_id": 1}, "previous_response_id", TYPE, None),
            ({"tools": {}}, "tools", TYPE, None),
            ({"tools": [{"type": "function"}]}, "tools[0].name", MISSING, None),
            ({"tool_choice": 7}, "tool_choice", TYPE, None),
            ({"text": "x"}, "text", TYPE, None),
            ({"text": {"format": {}}}, "text.format.type", MISSING, None),
            ({"temperature": "hot"}, "temperature", TYPE, None),
            ({"max_output_tokens": 1.5}, "max_output_tokens", TYPE, None),
        ],
    )
    def test_a_field_is_named(self, fields: dict[str, Any], param: str, code: str, message: str | None) -> None:
        body = {"model": "m", "input": "x", **fields}
        self.refused({key: value for key, value in body.items() if value is not ...}, param, code, message)

    @pytest.mark.parametrize(
        ("item", "param", "code", "message"),
        [
            ("x", "", TYPE, None),
            ({}, ".type", MISSING, None),
            ({"type": 7}, ".type", TYPE, None),
            ({"role": "tool", "content": "x"}, ".role", "invalid_value", ROLES),
            ({"role": "user", "content": 7}, ".content", TYPE, CONTENT),
            ({"role": "user", "content": [{}]}, ".content[0].type", MISSING, None),
            ({"role": "user", "content": [{"type": "input_text"}]}, ".content[0].text", MISSING, None),
            ({**CALL, "call_id": None}, ".call_id", TYPE, None),
            ({**CALL, "arguments": {}}, ".arguments", TYPE, None),
            ({"type": "function_call_output", "call_id": "c", "output": {}}, ".output", TYPE, None),
            ({"type": "reasoning", "summary": "x"}, ".summary", TYPE, None),
            ({"type": "reasoning", "summary": [7]}, ".summary[0]", TYPE, None),
        ],
    )
    def test_an_item_is_named(self, item: Any, param: str, code: str, message: str | None) -> None:
        self.refused({"model": "m", "input": [item]}, f"input[0]{param}", code, message)

    def test_a_body_is_an_object(self) -> None:
        self.refused([], None, TYPE, None)

    def refused(self, body: Any, param: str | None, code: str, message: str | None) -> None:
        with pytest.raises(BadRequestError) as caught:
            DIALECT.parse_request(json.dumps(body).encode())
        assert (caught.value.param, caught.value.code) == (param, code)
        assert message in (None, caught.value.message)

    def test_null_is_as_good_as_missing(self) -> None:
        optional = ("instructions", "stream", "tools", "tool_choice", "parallel_tool_calls", "text", "store")
        numbers = ("max_output_tokens", "temperature", "top_p", "previous_response_id", "reasoning", "metadata")
        request = parse("hi", **dict.fromkeys((*optional, *numbers)))
        assert parse("hi").messages == request.messages
        assert (request.stream, request.tools, request.previous) == (False, (), None)
        empty = {"type": "message", "role": "user", "content": None}
        assert items(empty) == (Message("user", ()),)


def test_errors_and_models_are_those_of_openai() -> None:
    told = json.loads(DIALECT.render_error(errors.NotFoundError("x", code="c", param="p"), "req_1"))
    assert told == {"error": {"message": "x", "type": "invalid_request_error", "param": "p", "code": "c"}}
    assert json.loads(DIALECT.render_models([])) == {"object": "list", "data": []}
