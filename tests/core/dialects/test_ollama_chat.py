"""Requests of Ollama's chat API: what is understood, what is refused, and how they are said again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motive_core.dialects import RequestHead
from motive_core.dialects.ollama_chat import OllamaChat
from motive_core.errors import BadRequestError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Message,
    ReasoningPart,
    ResponseFormat,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)

DIALECT = OllamaChat()
HI: Any = [{"role": "user", "content": "hi"}]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


def parse(**body: Any) -> ChatRequest:
    return DIALECT.parse_request(json.dumps({"model": "room", "messages": HI, **body}).encode())


def again(request: ChatRequest) -> dict[str, Any]:
    """The body that a request is rendered as; it must say the same."""
    body = DIALECT.render_request(request)
    assert DIALECT.parse_request(body) == request
    found: dict[str, Any] = json.loads(body)
    return found


class TestHead:
    @pytest.mark.parametrize("path", ["/api/chat", "/api/chat/", "/ollama/api/chat"])
    def test_chat_calls(self, path: str) -> None:
        assert DIALECT.matches(RequestHead("POST", "localhost", 11434, path))

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/api/chat"), ("POST", "/api/chats"), ("POST", "/api/generate"), ("POST", "/v1/chat/completions")],
    )
    def test_other_calls(self, method: str, path: str) -> None:
        assert not DIALECT.matches(RequestHead(method, "localhost", 11434, path))

    @pytest.mark.parametrize(
        ("path", "agent", "speaks"),
        [
            ("/", "ollama-python/0.6.3 (x86_64 linux) Python/3.13", True),
            ("/", "ollama/0.14.0 (amd64 linux) Go/go1.24", True),
            ("/", "ollama-js/0.6.3 (x64 linux Node.js/v22)", True),
            ("/api/nothing", "curl/8", True),
            ("/", "curl/8", False),
            ("/api/v1/models", "curl/8", False),
            ("/v1/models", "OpenAI/Python 3.52", False),
            ("/", "my-ollama/1", False),
        ],
    )
    def test_clients(self, path: str, agent: str, speaks: bool) -> None:
        assert DIALECT.speaks(RequestHead("GET", "localhost", 80, path, headers={"user-agent": agent})) is speaks


class TestSettings:
    def test_a_stream_is_what_a_client_gets_that_does_not_say(self) -> None:
        assert parse().stream
        assert parse(stream=None).stream
        assert parse(stream=True).stream
        assert not parse(stream=False).stream
        assert parse().include_usage

    @pytest.mark.parametrize("stream", [True, False])
    def test_whether_to_stream_is_always_told(self, stream: bool) -> None:
        assert again(parse(stream=stream))["stream"] is stream

    def test_options(self) -> None:
        request = parse(
            options={
                "num_predict": 9,
                "temperature": 0,
                "top_p": 0.5,
                "seed": 7.0,
                "stop": ["a", "b"],
                "num_ctx": 4096,
                "mirostat": None,
            }
        )
        assert request.sampling == Sampling(9, 0, 0.5, ("a", "b"), 7)
        assert request.extra == {"options": {"num_ctx": 4096}}
        assert again(request)["options"] == {
            "num_predict": 9,
            "temperature": 0,
            "top_p": 0.5,
            "seed": 7,
            "stop": ["a", "b"],
            "num_ctx": 4096,
        }

    def test_a_stop_text_and_no_limit(self) -> None:
        request = parse(options={"stop": "\n", "num_predict": -1})
        assert request.sampling == Sampling(stop=("\n",))
        assert again(request)["options"] == {"stop": ["\n"], "num_predict": -1}

    @pytest.mark.parametrize(
        ("told", "wanted"),
        [
            (None, None),
            ("", None),
            ("json", ResponseFormat("json_object")),
            ({"type": "object"}, ResponseFormat("json_schema", schema={"type": "object"})),
        ],
    )
    def test_format(self, told: Any, wanted: ResponseFormat | None) -> None:
        request = parse(format=told)
        assert request.response_format == wanted
        assert again(request).get("format") == (told or None)

    def test_a_format_that_is_not_known_is_kept(self) -> None:
        request = parse(format="grammar")
        assert request.response_format is None
        assert again(request)["format"] == "grammar"

    def test_what_is_not_known_is_kept(self) -> None:
        told = {"keep_alive": "5m", "think": "low", "logprobs": True, "top_logprobs": 2, "truncate": False, "new": {}}
        request = parse(**told, shift=None)
        assert request.extra == told
        assert {key: again(request)[key] for key in told} == told


class TestNames:
    @pytest.mark.parametrize(
        ("told", "model"),
        [
            ("room", "room"),
            ("room:latest", "room"),
            ("room:7b", "room:7b"),
            ("room@asker:latest", "room@asker"),
            ("a/b c ü:latest", "a/b c ü"),
            (":latest", ":latest"),
            ("room:latest:latest", "room:latest"),
        ],
    )
    def test_the_latest_is_the_same_as_none(self, told: str, model: str) -> None:
        request = parse(model=told)
        assert request.model == model
        assert again(request)["model"] == told

    def test_the_tag_is_nothing_to_other_dialects(self) -> None:
        assert parse(model="room:latest") == parse(model="room")


class TestLoading:
    @pytest.mark.parametrize("messages", [{}, {"messages": None}, {"messages": []}])
    def test_no_messages_ask_nothing(self, messages: dict[str, Any]) -> None:
        request = DIALECT.parse_request(json.dumps({"model": "room", "stream": True, **messages}).encode())
        assert request.messages == ()
        assert not request.stream
        assert again(request)["messages"] == []


class TestMessages:
    def test_roles(self) -> None:
        told = [
            {"role": "System", "content": "Be brief."},
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "hi", "name": "ann"},
            {"role": "assistant", "content": "Hello."},
            {"role": "control", "content": "thinking"},
        ]
        request = parse(messages=told)
        assert [message.role for message in request.messages] == ["system", "developer", "user", "assistant", "system"]
        assert [message.text for message in request.messages] == [one["content"] for one in told]
        assert again(request)["messages"] == [{**told[0], "role": "system"}, *told[1:]]

    def test_an_assistant_says_all_of_its_parts_in_one_order(self) -> None:
        call = {"id": "call_1", "function": {"index": 3, "name": "f", "arguments": {"a": [1, {}]}}}
        told = {
            "role": "assistant",
            "content": "Let me look.",
            "thinking": "Hm.",
            "images": [PNG],
            "tool_calls": [call],
            "new": 1,
        }
        request = parse(messages=[told])
        (message,) = request.messages
        assert message.parts == (
            ReasoningPart("Hm."),
            TextPart("Let me look."),
            BlobPart("image/png", data=PNG),
            ToolCallPart("call_1", "f", '{"a":[1,{}]}', extra={"function": {"index": 3}}),
        )
        assert again(request)["messages"] == [told]

    def test_null_and_empty_members_say_nothing(self) -> None:
        message = {"role": "user", "content": None, "images": None, "tool_calls": None, "thinking": None}
        request = parse(messages=[message, {"role": "user"}, {"role": "user", "content": "", "images": []}])
        assert request.messages == (Message("user", ()),) * 3

    def test_arguments_keep_their_numbers(self) -> None:
        arguments = '{"a":1.0,"b":1e5,"c":12345678901234567890,"d":"é"}'
        told = json.dumps([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 0}}]}])
        spaced = arguments.replace(",", " ,\n")
        body = f'{{"model":"m","messages":{told}}}'.replace('"arguments": 0', f'"arguments": {spaced}')
        request = DIALECT.parse_request(body.encode())
        assert request.messages[0].parts == (ToolCallPart("f", "f", arguments),)
        assert f'"arguments":{arguments}'.encode() in DIALECT.render_request(request)

    @pytest.mark.parametrize("arguments", [{}, None])
    def test_no_arguments(self, arguments: Any) -> None:
        call = {"function": {"name": "f", "arguments": arguments}}
        request = parse(messages=[{"role": "assistant", "tool_calls": [call]}])
        assert request.messages[0].parts == (ToolCallPart("f", "f", "{}"),)


class TestResults:
    """A result is of the call that it names; else of the first one that has none yet."""

    @staticmethod
    def of(calls: list[tuple[str | None, str]], results: list[dict[str, str]]) -> list[tuple[str, str | None]]:
        made = [
            {**({"id": call_id} if call_id else {}), "function": {"name": name, "arguments": {}}}
            for call_id, name in calls
        ]
        told: list[Any] = [{"role": "assistant", "content": "", "tool_calls": made}]
        told += [{"role": "tool", "content": "3", **result} for result in results]
        request = parse(messages=told)
        again(request)
        found = []
        for message in request.messages[1:]:
            (part,) = message.parts
            assert isinstance(part, ToolResultPart)
            assert part.content == (TextPart("3"),)
            found.append((part.call_id, part.name))
        return found

    def test_by_id(self) -> None:
        calls: list[tuple[str | None, str]] = [("call_1", "f"), ("call_2", "f")]
        results = [{"tool_call_id": "call_2", "tool_name": "f"}, {"tool_call_id": "call_1"}, {"tool_call_id": "call_9"}]
        assert self.of(calls, results) == [("call_2", "f"), ("call_1", None), ("call_9", None)]

    def test_by_name(self) -> None:
        calls: list[tuple[str | None, str]] = [("call_1", "f"), ("call_2", "g"), ("call_3", "f")]
        results = [{"tool_name": "f"}, {"tool_name": "f"}, {"tool_name": "g"}, {"tool_name": "h"}]
        assert self.of(calls, results) == [("call_1", "f"), ("call_3", "f"), ("call_2", "g"), ("h", "h")]

    def test_by_place(self) -> None:
        assert self.of([("call_1", "f"), ("call_2", "g")], [{}, {}, {}]) == [
            ("call_1", None),
            ("call_2", None),
            ("", None),
        ]

    def test_without_ids_the_name_stands_for_it(self) -> None:
        results = [{"tool_name": "g"}, {"tool_name": "f"}, {}]
        assert self.of([(None, "f"), (None, "g"), (None, "f")], results) == [("g", "g"), ("f", "f"), ("f", None)]

    def test_what_was_told_is_told_again(self) -> None:
        told = [
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
            {"role": "tool", "content": "3", "tool_name": "f", "images": [PNG], "new": 1},
        ]
        assert again(parse(messages=told))["messages"] == told


class TestImages:
    @pytest.mark.parametrize(
        ("data", "media_type"),
        [
            (PNG, "image/png"),
            ("/9j/4AAQSkZJRgABAQ", "image/jpeg"),
            ("R0lGODlhAQABAAAAACH5", "image/gif"),
            ("UklGRiQAAABXRUJQVlA4", "image/webp"),
            ("UklGRiQAAABXQVZFZm10", "audio/wav"),
            ("Qk1GAAAAAAAAADYAAAAo", "image/bmp"),
            ("UklGRg==", "image/*"),
            ("AAAA", "image/*"),
            ("", "image/*"),
            ("é", "image/*"),
            ("A", "image/*"),
            ("no base64 at all!", "image/*"),
        ],
    )
    def test_the_first_bytes_tell_what_it_is(self, data: str, media_type: str) -> None:
        request = parse(messages=[{"role": "user", "content": "?", "images": [data]}])
        assert request.messages[0].parts == (TextPart("?"), BlobPart(media_type, data=data))
        assert again(request)["messages"][0]["images"] == [data]

    def test_a_data_url(self) -> None:
        url = f"data:image/png;base64,{PNG}"
        request = parse(messages=[{"role": "user", "images": [url]}])
        (part,) = request.messages[0].parts
        assert isinstance(part, BlobPart)
        assert (part.media_type, part.data) == ("image/png", PNG)
        assert again(request)["messages"][0]["images"] == [url]


class TestTools:
    def test_a_function(self) -> None:
        told = {
            "type": "function",
            "function": {"name": "f", "description": "F.", "parameters": {"type": "object"}, "strict": True},
            "items": {},
        }
        request = parse(tools=[told])
        extra = {"items": {}, "function": {"strict": True}}
        assert request.tools == (Tool("f", "F.", {"type": "object"}, extra=extra),)
        assert again(request)["tools"] == [told]

    def test_least_of_a_function(self) -> None:
        request = parse(tools=[{"function": {"name": "f", "description": None}}])
        assert request.tools == (Tool("f"),)
        assert again(request)["tools"] == [{"type": "function", "function": {"name": "f"}}]

    @pytest.mark.parametrize("told", [{"type": "docs", "name": "d"}, {"type": "docs"}, {}])
    def test_another_kind_is_kept(self, told: dict[str, str]) -> None:
        request = parse(tools=[told])
        assert request.tools[0].raw == told
        assert again(request)["tools"] == [told]


@pytest.mark.parametrize(
    ("body", "param", "why"),
    [
        ({"model": None}, "model", "model is required"),
        ({"model": ""}, "model", "model is required"),
        ({"model": 7}, "model", "model: it must be a string, not an integer"),
        ({"messages": "x"}, "messages", "messages: it must be an array, not a string"),
        ({"messages": ["x"]}, "messages[0]", "messages[0]: it must be an object, not a string"),
        ({"messages": [{}]}, "messages[0].role", "messages[0].role is required"),
        ({"messages": [{"role": 1}]}, "messages[0].role", "messages[0].role: it must be a string, not an integer"),
        ({"messages": [*HI, {"role": "user", "content": []}]}, "messages[1].content", "must be a string, not an array"),
        ({"messages": [{"role": "user", "images": [1]}]}, "messages[0].images[0]", "must be a string"),
        ({"messages": [{"role": "user", "images": "x"}]}, "messages[0].images", "must be an array"),
        ({"messages": [{"role": "assistant", "thinking": 1}]}, "messages[0].thinking", "must be a string"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
            "messages[0].tool_calls[0].function",
            "is required",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages[0].tool_calls[0].function.name",
            "is required",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
            "it must be an object, not a string",
        ),
        ({"messages": [{"role": "tool", "tool_name": 1}]}, "messages[0].tool_name", "must be a string"),
        ({"tools": {}}, "tools", "must be an array"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name", "is required"),
        ({"stream": "yes"}, "stream", "must be a boolean"),
        ({"options": []}, "options", "must be an object"),
        ({"options": {"num_predict": 1.5}}, "options.num_predict", "must be an integer"),
        ({"options": {"temperature": "hot"}}, "options.temperature", "must be a number"),
        ({"options": {"seed": True}}, "options.seed", "must be an integer"),
        ({"options": {"stop": [1]}}, "options.stop[0]", "must be a string"),
    ],
)
def test_bad_input_is_refused_by_name(body: dict[str, Any], param: str, why: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse(**body)
    assert caught.value.param == param
    assert why in caught.value.message


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"model":"m","messages":[{"role":"user","content":NaN}]}']
)
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        DIALECT.parse_request(body)
