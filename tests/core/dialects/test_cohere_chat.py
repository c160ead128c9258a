"""Requests of Cohere's Chat API, its errors, and what is decided by the head of a call."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motive_core.dialects import ModelInfo, RequestHead, SideCall
from motive_core.dialects.cohere_chat import CohereChat
from motive_core.errors import BadRequestError, HoldTimeoutError, MotiveError, NotFoundError, RateLimitedError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
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

DIALECT = CohereChat()
PLAN = {"tool_plan": True}


def parse(**members: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **members}
    return DIALECT.parse_request(json.dumps(body, ensure_ascii=False).encode())


def render(*messages: Message, **fields: Any) -> dict[str, Any]:
    """The body of a request from another dialect."""
    told: dict[str, Any] = json.loads(DIALECT.render_request(ChatRequest("another", "m", messages, **fields)))
    return told


def rendered(*messages: Message) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = render(*messages)["messages"]
    return found


USER = Message("user", (TextPart("hi"),))
CALL = ToolCallPart("c1", "f", '{"a": 1.0}')
WIRE_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.0}'}}


class TestHead:
    @pytest.mark.parametrize("path", ["/v2/chat", "/v2/chat/", "/cohere/v2/chat", "/a%20gateway/v2/chat"])
    def test_the_chat_call_is_told_by_its_path(self, path: str) -> None:
        assert DIALECT.matches(RequestHead("POST", "h", 1, path))
        assert not DIALECT.matches(RequestHead("GET", "h", 1, path))

    @pytest.mark.parametrize("path", ["/v1/chat", "/v2/chat/completions", "/v2/embed", "/chat", "/xv2/chats"])
    def test_no_other_path_is_one(self, path: str) -> None:
        assert not DIALECT.matches(RequestHead("POST", "h", 1, path))

    @pytest.mark.parametrize(
        "headers",
        [
            {"user-agent": "cohere/7.3.1"},
            {"x-fern-sdk-name": "cohere-ai", "user-agent": "node"},
            {"x-client-name": "langchain:partner"},
        ],
    )
    def test_its_clients_are_told_by_their_headers(self, headers: dict[str, str]) -> None:
        assert DIALECT.speaks(RequestHead("GET", "h", 1, "/v1/models", headers=headers))
        assert DIALECT.serves(RequestHead("GET", "h", 1, "/v1/models", headers=headers))
        assert DIALECT.serves(RequestHead("GET", "h", 1, "/v1/models/a%2Fb", headers=headers))

    def test_the_list_of_models_is_for_its_clients_only(self) -> None:
        head = RequestHead(
            "GET", "h", 1, "/v1/models", headers={"user-agent": "OpenAI/Python 3", "x-fern-runtime": "x"}
        )
        assert not DIALECT.speaks(head)
        assert not DIALECT.serves(head)


def served(method: str, target: str) -> Any:
    path, _, query = target.partition("?")
    models = [ModelInfo("room-1", 1), ModelInfo("a b/ü@x", 2), ModelInfo("room-3", 3)]
    head = RequestHead(method, "h", 1, path, query, {"user-agent": "cohere/7"})
    assert DIALECT.serves(head)
    reply = DIALECT.serve(SideCall(head, b"", models, lambda _: None, lambda _: False))
    return json.loads(reply.body)


class TestSideCalls:
    def test_models(self) -> None:
        told = served("GET", "/v1/models")
        assert [model["name"] for model in told["models"]] == ["room-1", "a b/ü@x", "room-3"]
        assert "next_page_token" not in told

    def test_pages(self) -> None:
        first = served("GET", "/v1/models?page_size=2&endpoint=chat")
        assert [model["name"] for model in first["models"]] == ["room-1", "a b/ü@x"]
        last = served("GET", f"/v1/models?page_size=2&page_token={first['next_page_token']}")
        assert [model["name"] for model in last["models"]] == ["room-3"]
        assert "next_page_token" not in last
        assert served("GET", "/v1/models?endpoint=rerank")["models"] == []
        assert served("GET", "/v1/models?page_size=&page_token=")["models"]

    @pytest.mark.parametrize(
        ("query", "param"),
        [
            ("page_size=0", "page_size"),
            ("page_size=x", "page_size"),
            ("page_size=1e3", "page_size"),
            ("page_token=9", "page_token"),
            ("page_token=-1", "page_token"),
            ("page_size=٣", "page_size"),
        ],
    )
    def test_a_page_that_there_is_not(self, query: str, param: str) -> None:
        with pytest.raises(BadRequestError) as caught:
            served("GET", f"/v1/models?{query}")
        assert caught.value.param == param

    def test_one_model(self) -> None:
        assert served("GET", "/v1/models/a%20b/%C3%BC@x")["name"] == "a b/ü@x"
        assert served("GET", "/v1/models/a%20b%2F%C3%BC%40x")["name"] == "a b/ü@x"
        with pytest.raises(NotFoundError, match="nobody"):
            served("GET", "/v1/models/nobody")

    def test_a_key(self) -> None:
        assert served("POST", "/v1/check-api-key") == {"valid": True}

    @pytest.mark.parametrize(
        ("path", "why"),
        [("/v1/chat", "use POST /v2/chat"), ("/v1/tokenize", "no tokenizer"), ("/v1/detokenize", "no tokenizer")],
    )
    def test_what_is_refused(self, path: str, why: str) -> None:
        with pytest.raises(NotFoundError, match=why):
            served("POST", path)


class TestParsing:
    def test_content_items(self) -> None:
        request = parse(
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                        {"type": "image_url", "image_url": "https://example.org/x.png"},
                        {"type": "document", "document": {"data": "D", "id": "1"}},
                        {"type": "document", "document": {"data": {"a": 1}}},
                        {"type": "new", "x": 1},
                    ],
                }
            ]
        )
        assert request.messages[0].parts == (
            TextPart("a"),
            BlobPart("image/png", data="AAAA", extra={"image_url": {"detail": "low"}}),
            BlobPart("", url="https://example.org/x.png"),
            TextPart("D", extra={"document": {"id": "1"}}),
            OpaquePart("cohere-chat", {"type": "document", "document": {"data": {"a": 1}}}),
            OpaquePart("cohere-chat", {"type": "new", "x": 1}),
        )
        assert DIALECT.parse_request(DIALECT.render_request(request)) == request

    def test_an_assistant_says_its_content_then_its_plan_then_its_calls(self) -> None:
        message = {
            "role": "assistant",
            "tool_calls": [WIRE_CALL, {"type": "new", "x": 1}],
            "tool_plan": "I will.",
            "content": [{"type": "thinking", "thinking": "hm", "mood": "calm"}],
            "citations": [{"start": 0}],
        }
        request = parse(messages=[message])
        (parsed,) = request.messages
        assert parsed.parts == (
            ReasoningPart("hm", extra={"mood": "calm"}),
            TextPart("I will.", extra=PLAN),
            CALL,
            OpaquePart("cohere-chat", {"tool_calls": {"type": "new", "x": 1}}),
        )
        assert parsed.extra == {"citations": [{"start": 0}]}
        assert json.loads(DIALECT.render_request(request))["messages"] == [message]

    def test_arguments_that_are_null_are_none(self) -> None:
        call = {"id": "c", "type": "function", "function": {"name": "now", "arguments": "null"}}
        assert parse(messages=[{"role": "assistant", "tool_calls": [call]}]).messages[0].parts == (
            ToolCallPart("c", "now", "{}"),
        )

    def test_documents_are_told_before_all_else(self) -> None:
        request = parse(documents=["a", {"data": {"x": 1.5}}])
        assert request.messages[0] == Message(
            "system", (OpaquePart("cohere-chat", {"documents": ["a", {"data": {"x": 1.5}}]}),)
        )
        assert "documents" not in request.extra
        assert json.loads(DIALECT.render_request(request))["documents"] == ["a", {"data": {"x": 1.5}}]

    @pytest.mark.parametrize(
        ("told", "choice"),
        [
            ("REQUIRED", ToolChoice("required")),
            ("NONE", ToolChoice("none")),
            ("NEW", ToolChoice("auto", raw="NEW")),
            (None, None),
        ],
    )
    def test_tool_choices(self, told: str | None, choice: ToolChoice | None) -> None:
        request = parse(tool_choice=told)
        assert request.tool_choice == choice
        assert json.loads(DIALECT.render_request(request)).get("tool_choice") == told

    @pytest.mark.parametrize(
        ("told", "expected"),
        [
            ({"type": "json_object"}, ResponseFormat("json_object")),
            ({"type": "text", "x": 1}, ResponseFormat("text", extra={"x": 1})),
            (
                {"type": "json_object", "json_schema": {"type": "object"}},
                ResponseFormat("json_schema", schema={"type": "object"}),
            ),
            ({"type": "grammar"}, None),
        ],
    )
    def test_formats(self, told: dict[str, Any], expected: ResponseFormat | None) -> None:
        request = parse(response_format=told)
        assert request.response_format == expected
        assert json.loads(DIALECT.render_request(request))["response_format"] == told

    def test_exact_numbers(self) -> None:
        request = parse(seed=18446744073709551615, x=12345678901234567890123)
        assert request.sampling.seed == 18446744073709551615
        assert b'"x":12345678901234567890123' in DIALECT.render_request(request)

    @pytest.mark.parametrize(
        ("members", "param", "why"),
        [
            ({"model": None}, "model", "null"),
            ({"model": ""}, "model", "empty"),
            ({"messages": []}, "messages", "at least one"),
            ({"messages": ["x"]}, "messages[0]", "an object"),
            ({"messages": [{"content": "x"}]}, "messages[0].role", "required"),
            ({"messages": [{"role": "USER", "content": "x"}]}, "messages[0].role", "'USER'"),
            ({"messages": [{"role": "user"}]}, "messages[0].content", "required"),
            ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content", "a string or an array"),
            ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type", "required"),
            (
                {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
                "messages[0].content[0].text",
                "required",
            ),
            (
                {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": 1}]}]},
                "messages[0].content[0].image_url",
                "an object",
            ),
            ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "required"),
            (
                {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]}]},
                "messages[0].tool_calls[0].function.arguments",
                "a string",
            ),
            ({"messages": [{"role": "assistant", "tool_plan": []}]}, "messages[0].tool_plan", "a string"),
            ({"tools": [{"type": "function"}]}, "tools[0].function", "required"),
            ({"tools": {}}, "tools", "an array"),
            ({"tool_choice": {}}, "tool_choice", "a string"),
            ({"response_format": {}}, "response_format.type", "required"),
            ({"stream": "yes"}, "stream", "a boolean"),
            ({"p": "1"}, "p", "a number"),
            ({"max_tokens": True}, "max_tokens", "an integer"),
            ({"stop_sequences": [1]}, "stop_sequences[0]", "a string"),
            ({"documents": "x"}, "documents", "an array"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_bad_input_is_told_with_its_place(self, members: dict[str, Any], param: str, why: str) -> None:
        with pytest.raises(BadRequestError) as caught:
            parse(**members)
        assert caught.value.param == param
        assert param in caught.value.message
        assert why in caught.value.message

    def test_what_is_no_json(self) -> None:
        with pytest.raises(BadRequestError, match="invalid json"):
            DIALECT.parse_request(b"{")
        with pytest.raises(BadRequestError, match="the body is an array, but should be an object"):
            DIALECT.parse_request(b"[]")


class TestFromAnotherDialect:
    def test_tool_results_come_first(self) -> None:
        blob = BlobPart("image/png", data="AAAA")
        result = ToolResultPart("c1", (TextPart("a"), TextPart("b"), blob), is_error=True)
        assert rendered(
            Message("assistant", (TextPart("Let me"), RefusalPart("No"), CALL)),
            Message("user", (TextPart("and"), result)),
        ) == [
            {"role": "assistant", "tool_plan": "Let me\n\nNo", "tool_calls": [WIRE_CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "ab\n\n![image](data:image/png;base64,AAAA)"},
            {"role": "user", "content": "and"},
        ]

    def test_reasoning_is_thinking(self) -> None:
        parts = (ReasoningPart("hm", "sig"), ReasoningPart("", redacted="x"), ReasoningPart("so"), TextPart("Yes"))
        thinking = [{"type": "thinking", "thinking": "hm"}, {"type": "thinking", "thinking": "so"}]
        assert rendered(Message("assistant", parts), Message("assistant", (*parts, CALL))) == [
            {"role": "assistant", "content": [*thinking, {"type": "text", "text": "Yes"}]},
            {"role": "assistant", "content": thinking, "tool_plan": "Yes", "tool_calls": [WIRE_CALL]},
        ]

    def test_messages_that_say_nothing_are_left_out(self) -> None:
        assert rendered(
            USER, Message("assistant", (TextPart(" "),)), Message("user", ()), Message("developer", ())
        ) == [{"role": "user", "content": "hi"}]

    def test_roles_and_names(self) -> None:
        assert rendered(Message("developer", (TextPart("a"),), "ann"), Message("tool", (TextPart("b"),))) == [
            {"role": "system", "content": "a"},
            {"role": "user", "content": "b"},
        ]

    def test_images_stand_in_user_messages_only(self) -> None:
        png, pdf = BlobPart("image/png", data="AAAA"), BlobPart("application/pdf", data="AAAA", name="x.pdf")
        link, file = BlobPart("", url="https://example.org/a.png"), BlobPart("", url="file-id:f1")
        (user, assistant) = rendered(
            Message("user", (TextPart("See"), png, pdf, link, file)), Message("assistant", (png,))
        )
        assert user["content"] == [
            {"type": "text", "text": "See"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "text", "text": "[x.pdf](data:application/pdf;base64,AAAA)"},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            {"type": "text", "text": "[file](file-id:f1)"},
        ]
        assert assistant["content"] == "![image](data:image/png;base64,AAAA)"

    @pytest.mark.parametrize(
        ("call", "arguments"),
        [
            (ToolCallPart("c", "f", ""), "{}"),
            (ToolCallPart("c", "f", '{ "a" : 1e5 }'), '{ "a" : 1e5 }'),
            (ToolCallPart("c", "f", "not json"), '{"input":"not json"}'),
            (ToolCallPart("c", "f", "{}", custom=True), '{"input":"{}"}'),
        ],
    )
    def test_arguments_are_an_object(self, call: ToolCallPart, arguments: str) -> None:
        (message,) = rendered(Message("assistant", (call,)))
        assert message["tool_calls"][0]["function"]["arguments"] == arguments

    def test_settings(self) -> None:
        sampling = Sampling(9, 0.5, 1.0, ("a", "", "b", "c", "d", "e", "f"), -3)
        body = render(USER, sampling=sampling, n=2, parallel_tool_calls=False, stream=True)
        assert body == {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "max_tokens": 9,
            "temperature": 0.5,
            "p": 0.99,
            "stop_sequences": ["a", "b", "c", "d", "e"],
        }

    def test_tools(self) -> None:
        tools = (Tool("f", "F.", {"properties": {}}), Tool("web", raw={"type": "web"}), Tool("g"))
        format_ = ResponseFormat("json_schema", "r", {"type": "object"}, strict=True)
        body = render(USER, tools=tools, tool_choice=ToolChoice("tool", "f"), response_format=format_)
        schema = {"type": "object", "properties": {}}
        assert body["tools"] == [
            {"type": "function", "function": {"name": "f", "description": "F.", "parameters": schema}},
            {"type": "function", "function": {"name": "g", "parameters": schema}},
        ]
        assert body["tool_choice"] == "REQUIRED"
        assert "response_format" not in body
        body = render(USER, tool_choice=ToolChoice("required"), response_format=format_)
        assert "tool_choice" not in body
        assert body["response_format"] == {"type": "json_object", "json_schema": {"type": "object"}}
        assert "tool_choice" not in render(USER, tools=tools, tool_choice=ToolChoice("auto"))
        assert render(USER, tools=tools, tool_choice=ToolChoice("none"))["tool_choice"] == "NONE"

    def test_nothing_of_another_vendor_goes_along(self) -> None:
        message = Message("user", (TextPart("hi", extra={"a": 1}),), extra={"b": 2})
        tool = Tool("f", None, {"type": "object"}, extra={"strict": True})
        body = json.dumps(render(message, tools=(tool,), extra={"c": 3}))
        assert not any(f'"{name}"' in body for name in ("a", "b", "c", "strict"))


def test_errors() -> None:
    error: MotiveError = BadRequestError("it is wrong", param="messages[0]")
    assert json.loads(DIALECT.render_error(error, "r1")) == {"id": "r1", "message": "messages[0]: it is wrong"}
    assert json.loads(DIALECT.render_error(HoldTimeoutError(""), "r1"))["message"] == "hold_timeout"
    headers = DIALECT.error_headers(RateLimitedError("x", retry_after_s=2), "r1")
    assert headers["x-debug-trace-id"] == headers["x-request-id"] == "r1"
