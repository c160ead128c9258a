"""The ``openai`` SDK against bytes that the dialect rendered, served by a plain HTTP server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage

from motive_core import errors
from motive_core.dialects import ModelInfo
from motive_core.dialects.openai_chat import OpenAIChat
from motive_core.errors import MotiveError, StatusError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    FinishReason,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Usage,
)
from motive_core.stream import ChoiceEnded, Failed, PartDelta, PartStarted, ReplyEvent, Started, replay, replay_part
from tests.e2e.dialect_service import Service, serving

DIALECT = OpenAIChat()
NAME = "openai-chat"
WIRE = Path(__file__).parents[1] / "wire" / NAME
REQUEST = ChatRequest(NAME, "room", (Message("user", (TextPart("hi"),)),), stream=True, include_usage=True)
HELLO: Any = [{"role": "user", "content": "hi"}]
USAGE: Any = {"include_usage": True}

CODE = 'Grüße — 你好 👩‍👩‍👧\n\n```python\ndef f(x):\n\treturn "\\t" + x\u2028\n```\r\n\x7f</script>\n\ndata: [DONE]\n\n'


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(DIALECT, REQUEST) as server:
        yield server


@pytest.fixture
def client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{service.url}/v1",
        api_key="sk-test",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
        _strict_response_validation=True,
    ) as sdk:
        yield sdk


@pytest.fixture
async def async_client(service: Service) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{service.url}/v1",
        api_key="sk-test",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        _strict_response_validation=True,
    ) as sdk:
        yield sdk


def reply_of(*parts: Part, finish_reason: FinishReason = "stop") -> Reply:
    return Reply("chatcmpl-1", "room", (Choice(parts, finish_reason),), Usage(11, 7, 4, 3), 1_795_230_236)


def streamed(reply: Reply, *, heartbeats: bool = False, request: ChatRequest = REQUEST) -> list[bytes]:
    """A reply as a stream, each part in pieces of three characters, the choices in turns."""
    encoder = DIALECT.encoder(request)
    start, *_, usage, end = replay(reply)
    lines: list[list[ReplyEvent]] = []
    for number, choice in enumerate(reply.choices):
        line: list[ReplyEvent] = []
        for index, part in enumerate(choice.parts):
            text = part.arguments if isinstance(part, ToolCallPart) else getattr(part, "text", "")
            pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
            line += replay_part(number, index, part, pieces)
        lines.append([*line, ChoiceEnded(number, choice.finish_reason)])
    events = [start]
    while any(lines):
        events += [line.pop(0) for line in lines if line]
    chunks = []
    for event in [*events, usage, end]:
        chunks += [encoder.heartbeat() if heartbeats else b"", encoder.encode(event)]
    return chunks


TOOL = ToolCallPart(
    "call_1", "get_weather", '{"location": "München", "days": 3, "scale": 1.0, "big": 123456789012345678901}'
)
REPLIES = {
    "text": reply_of(TextPart("Hello!")),
    "code": reply_of(TextPart(CODE)),
    "tool": reply_of(TextPart("Let me look.\n\t"), TOOL, finish_reason="tool_calls"),
    "parallel": reply_of(
        TOOL,
        ToolCallPart("call_2", "now", ""),
        ToolCallPart("call_3", "echo", '{"text":"\\u00e9 \\" \\n"}'),
        finish_reason="tool_calls",
    ),
    "reasoning": reply_of(ReasoningPart("27 × 453\n= 12231"), TextPart("12231")),
    "refusal": reply_of(RefusalPart("I can't. Nö.")),
    "length": reply_of(TextPart("and so"), finish_reason="length"),
    "filtered": reply_of(TextPart("I will"), finish_reason="content_filter"),
    "two_choices": Reply(
        "chatcmpl-1",
        "room",
        (Choice((TextPart("Heads."),)), Choice((TextPart("Let me look."), TOOL), "tool_calls")),
        Usage(11, 7, 4, 3),
        1_795_230_236,
    ),
    "degraded": reply_of(
        TextPart("See"), BlobPart("image/png", data="AAAA"), OpaquePart("elsewhere", {"a": 1}), TextPart("that.")
    ),
    "empty": reply_of(),
}


def said(choice: Choice, kind: type[Part]) -> str:
    return "".join(part.text for part in choice.parts if isinstance(part, kind) and hasattr(part, "text"))


def assert_says(completion: ChatCompletion, name: str) -> None:
    """What the SDK gives its caller is what was replied."""
    reply = REPLIES[name]
    assert (completion.id, completion.model, completion.created) == ("chatcmpl-1", "room", 1_795_230_236)
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (11, 7)
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == 4
    assert completion.usage.completion_tokens_details is not None
    assert completion.usage.completion_tokens_details.reasoning_tokens == 3
    assert len(completion.choices) == len(reply.choices)
    for number, (got, choice) in enumerate(zip(completion.choices, reply.choices, strict=True)):
        assert got.index == number
        assert got.finish_reason == choice.finish_reason
        assert_message(got.message, choice, name)


def assert_message(message: ChatCompletionMessage, choice: Choice, name: str) -> None:
    assert message.role == "assistant"
    if name == "degraded":
        assert message.content == 'See\n\n![image](data:image/png;base64,AAAA)\n\n{"a":1}\n\nthat.'
    else:
        assert (message.content or "") == said(choice, TextPart)
    assert (message.refusal or "") == said(choice, RefusalPart)
    assert getattr(message, "reasoning_content", "") == said(choice, ReasoningPart)
    calls = [part for part in choice.parts if isinstance(part, ToolCallPart)]
    assert [
        (call.id, call.function.name, call.function.arguments)
        for call in message.tool_calls or ()
        if call.type == "function"
    ] == [(call.call_id, call.name, call.arguments) for call in calls]


@pytest.mark.parametrize("name", REPLIES)
class TestReplies:
    def test_whole(self, service: Service, client: openai.OpenAI, name: str) -> None:
        service.serve_reply(REPLIES[name])

        completion = client.chat.completions.create(model="room", messages=HELLO)
        assert_says(completion, name)
        assert completion._request_id == "req_1"

    def test_streamed(self, service: Service, client: openai.OpenAI, name: str) -> None:
        service.serve_stream(*streamed(REPLIES[name]))

        chunks = list(client.chat.completions.create(model="room", messages=HELLO, stream=True, stream_options=USAGE))
        assert {(chunk.id, chunk.model, chunk.created) for chunk in chunks} == {("chatcmpl-1", "room", 1_795_230_236)}
        assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        for number, choice in enumerate(REPLIES[name].choices):
            deltas = [one for chunk in chunks for one in chunk.choices if one.index == number]
            assert deltas[0].delta.role == "assistant"
            assert deltas[-1].finish_reason == choice.finish_reason
            assert [one.finish_reason for one in deltas[:-1]] == [None] * (len(deltas) - 1)
            if name != "degraded":
                assert "".join(one.delta.content or "" for one in deltas) == said(choice, TextPart)
            assert "".join(one.delta.refusal or "" for one in deltas) == said(choice, RefusalPart)
            reasoning = "".join(getattr(one.delta, "reasoning_content", "") for one in deltas)
            assert reasoning == said(choice, ReasoningPart)

    def test_the_stream_helper(self, service: Service, client: openai.OpenAI, name: str) -> None:
        service.serve_stream(*streamed(REPLIES[name]))
        with client.chat.completions.stream(model="room", messages=HELLO, stream_options=USAGE) as stream:
            events = list(stream)
            assert_says(stream.current_completion_snapshot, name)
        kinds = [event.type for event in events]
        assert kinds.count("content.done") == len([one for one in REPLIES[name].choices if said(one, TextPart)])

    def test_streamed_byte_by_byte_with_heartbeats(self, service: Service, client: openai.OpenAI, name: str) -> None:
        data = b"".join(streamed(REPLIES[name], heartbeats=True))
        service.serve_stream(*[data[at : at + 1] for at in range(len(data))])

        with client.chat.completions.stream(model="room", messages=HELLO) as stream:
            stream.until_done()
            assert_says(stream.current_completion_snapshot, name)

    async def test_async(self, service: Service, async_client: openai.AsyncOpenAI, name: str) -> None:
        service.serve_reply(REPLIES[name])
        assert_says(await async_client.chat.completions.create(model="room", messages=HELLO), name)

        service.serve_stream(*streamed(REPLIES[name], heartbeats=True))
        async with async_client.chat.completions.stream(model="room", messages=HELLO) as stream:
            await stream.until_done()
            assert_says(stream.current_completion_snapshot, name)

        raw = await async_client.chat.completions.create(model="room", messages=HELLO, stream=True)
        assert [chunk async for chunk in raw][-1].usage is not None

    def test_the_sdks_own_models_accept_every_byte(self, name: str) -> None:
        ChatCompletion.model_validate_json(DIALECT.render_reply(REQUEST, REPLIES[name]), strict=True)
        *chunks, done = b"".join(streamed(REPLIES[name])).removesuffix(b"\n\n").split(b"\n\n")
        assert done == b"data: [DONE]"
        for chunk in chunks:
            ChatCompletionChunk.model_validate_json(chunk.removeprefix(b"data: "), strict=True)


def test_without_include_usage_no_chunk_has_usage(service: Service, client: openai.OpenAI) -> None:
    asked = ChatRequest(NAME, "room", (), stream=True)
    service.serve_stream(*streamed(REPLIES["tool"], request=asked))

    chunks = list(client.chat.completions.create(model="room", messages=HELLO, stream=True))
    assert not any("usage" in chunk.model_fields_set for chunk in chunks)
    assert all(chunk.choices for chunk in chunks)


def test_pieces_of_a_tool_call_arrive_as_they_are_said(service: Service, client: openai.OpenAI) -> None:
    service.serve_stream(*streamed(REPLIES["parallel"]))

    with client.chat.completions.stream(model="room", messages=HELLO) as stream:
        pieces = [event for event in stream if event.type == "tool_calls.function.arguments.delta"]
    first = [piece.arguments_delta for piece in pieces if piece.index == 0]
    assert len(first) > 10
    assert "".join(first) == TOOL.arguments


def test_a_custom_tool(service: Service, client: openai.OpenAI) -> None:
    call = ToolCallPart("call_1", "run_sql", "SELECT 'ü';\n\t-- done", custom=True)
    service.serve_reply(reply_of(call, finish_reason="tool_calls"))

    message = client.chat.completions.create(model="room", messages=HELLO).choices[0].message
    assert message.tool_calls
    assert message.tool_calls[0].type == "custom"
    assert (message.tool_calls[0].custom.name, message.tool_calls[0].custom.input) == (call.name, call.arguments)


OF_OTHER_HOSTS = ("mistral_references", "unknown_finish", "groq_reasoning", "mistral_thinking")
"""A finish reason, a service tier and chunks of thinking that OpenAI itself does not have."""


@pytest.mark.parametrize("path", sorted(WIRE.glob("*.reply.json")), ids=lambda path: path.name)
def test_replies_of_services_are_rendered_as_the_sdk_wants_them(path: Path) -> None:
    reply = DIALECT.parse_reply(path.read_bytes())
    if path.name.partition(".")[0] in OF_OTHER_HOSTS:
        # The SDK's models do not know what only this host says; another dialect's reply never has it.
        reply = replace(reply, dialect="")

    ChatCompletion.model_validate_json(DIALECT.render_reply(REQUEST, reply), strict=True)
    if any(isinstance(part, ToolCallPart) and part.custom for choice in reply.choices for part in choice.parts):
        return  # nor custom tools in a stream, which it takes if it is not strict
    *chunks, _ = DIALECT.encoder(REQUEST).encode_all(replay(reply)).removesuffix(b"\n\n").split(b"\n\n")
    for chunk in chunks:
        ChatCompletionChunk.model_validate_json(chunk.removeprefix(b"data: "), strict=True)


LIVE = ["text", "unicode_code", "parallel_tools", "tool_only", "refusal", "two_choices", "logprobs"]


@pytest.mark.parametrize("name", LIVE)
def test_the_stream_of_a_service_gives_the_sdk_the_same_message_as_ours(
    service: Service, client: openai.OpenAI, name: str
) -> None:
    data = (WIRE / f"{name}.stream.sse").read_bytes()
    decoder = DIALECT.decoder()
    events = [*decoder.feed(data), *decoder.close()]
    choices = []
    for stream in (data, DIALECT.encoder(REQUEST).encode_all(events)):
        service.serve_stream(stream)
        with client.chat.completions.stream(model="room", messages=HELLO) as helper:
            helper.until_done()
            completion = helper.current_completion_snapshot
        choices.append([choice.to_dict() for choice in completion.choices])
        assert completion.id == json.loads((WIRE / f"{name}.reply.json").read_bytes())["id"]
    assert choices[0] == choices[1]


ERRORS: list[tuple[MotiveError, type[openai.APIStatusError], str]] = [
    (errors.BadRequestError("x", param="messages"), openai.BadRequestError, "invalid_request_error"),
    (errors.AuthenticationError("x"), openai.AuthenticationError, "invalid_request_error"),
    (StatusError(402, "x"), openai.APIStatusError, "invalid_request_error"),
    (errors.PermissionDeniedError("x"), openai.PermissionDeniedError, "invalid_request_error"),
    (errors.NotFoundError("x"), openai.NotFoundError, "invalid_request_error"),
    (errors.RequestTimeoutError("x"), openai.APIStatusError, "timeout"),
    (errors.ConflictError("x"), openai.ConflictError, "invalid_request_error"),
    (errors.PayloadTooLargeError("x"), openai.APIStatusError, "invalid_request_error"),
    (errors.UnprocessableError("x"), openai.UnprocessableEntityError, "invalid_request_error"),
    (errors.UpgradeRequiredError("x"), openai.APIStatusError, "invalid_request_error"),
    (errors.RateLimitedError("x"), openai.RateLimitError, "requests"),
    (errors.InternalError("x"), openai.InternalServerError, "server_error"),
    (errors.UpstreamError("x"), openai.InternalServerError, "server_error"),
    (errors.UnavailableError("x"), openai.InternalServerError, "server_error"),
    (errors.HoldTimeoutError("x"), openai.InternalServerError, "server_error"),
    (errors.OverloadedError("x"), openai.InternalServerError, "server_error"),
]


@pytest.mark.parametrize(("error", "raised", "kind"), ERRORS, ids=lambda value: getattr(value, "status", None))
def test_every_error_raises_its_exception(
    service: Service,
    client: openai.OpenAI,
    error: MotiveError,
    raised: type[openai.APIStatusError],
    kind: str,
) -> None:
    service.serve_error(error)

    for stream in (False, True):
        with pytest.raises(raised) as caught:
            client.chat.completions.create(model="room", messages=HELLO, stream=stream)
        assert type(caught.value) is raised
        assert caught.value.status_code == error.status
        assert caught.value.request_id == "req_1"
        assert (caught.value.type, caught.value.code, caught.value.param) == (kind, error.code, error.param)
        assert caught.value.body == {"message": "x", "type": kind, "param": error.param, "code": error.code}


def test_an_error_that_no_retry_can_mend_is_not_retried(service: Service, client: openai.OpenAI) -> None:
    service.serve_error(errors.HoldTimeoutError("nobody answered"))

    with pytest.raises(openai.APIStatusError):
        client.with_options(max_retries=2).chat.completions.create(model="room", messages=HELLO)
    assert len(service.asked) == 1


@pytest.mark.parametrize("begun", [False, True])
def test_an_error_in_the_stream_raises(service: Service, client: openai.OpenAI, begun: bool) -> None:
    encoder = DIALECT.encoder(REQUEST)
    half: list[ReplyEvent] = (
        [Started("chatcmpl-1", "room"), PartStarted(0, 0, TextPart("")), PartDelta(0, 0, "half")] if begun else []
    )
    chunks = [encoder.heartbeat(), encoder.encode_all(half), encoder.heartbeat()]
    service.serve_stream(*chunks, encoder.encode(Failed(errors.OverloadedError("too much"))))

    with (
        pytest.raises(openai.APIError) as caught,
        client.chat.completions.stream(model="room", messages=HELLO) as stream,
    ):
        stream.until_done()
    assert type(caught.value) is openai.APIError
    assert (caught.value.message, caught.value.type, caught.value.code) == ("too much", "server_error", "overloaded")


def test_the_list_of_models(service: Service, client: openai.OpenAI) -> None:
    models = [ModelInfo("room-1", 1_795_230_236), ModelInfo("room-2", 1_795_230_236)]
    service.serve(200, {"content-type": "application/json"}, DIALECT.render_models(models))

    listed = client.models.list()
    assert [(model.id, model.object, model.created, model.owned_by) for model in listed] == [
        ("room-1", "model", 1_795_230_236, "motive"),
        ("room-2", "model", 1_795_230_236, "motive"),
    ]


# What the SDK sends.

WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "Weather", "parameters": {"type": "object"}, "strict": True},
}
SENT: dict[str, dict[str, Any]] = {
    "plain": {"messages": HELLO},
    "knobs": {
        "messages": HELLO,
        "temperature": 0,
        "top_p": 0.5,
        "stop": ["a", "b"],
        "seed": 7,
        "n": 2,
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "metadata": {"a": "b"},
    },
    "parts": {
        "messages": [
            {"role": "developer", "content": "Be kind."},
            {
                "role": "user",
                "name": "ann",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                    {"type": "file", "file": {"file_id": "file-1"}},
                ],
            },
        ]
    },
    "tools": {
        "messages": [
            *HELLO,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"a": 1}'}},
                    {"id": "call_2", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "3 °C"},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "1"}]},
        ],
        "tools": [WEATHER, {"type": "custom", "custom": {"name": "sql"}}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
    },
    "functions": {
        "messages": HELLO,
        "functions": [{"name": "weather", "parameters": {"type": "object"}}],
        "function_call": "auto",
    },
    "schema": {
        "messages": HELLO,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    },
}
PARSED: dict[str, tuple[Part, ...]] = {
    "plain": (TextPart("hi"),),
    "parts": (
        TextPart("What is it?"),
        BlobPart("image/png", data="AAAA", extra={"image_url": {"detail": "low"}}),
        BlobPart("audio/mpeg", data="AAAA"),
        BlobPart("", url="file-id:file-1"),
    ),
    "tools": (ToolResultPart("call_2", (TextPart("1"),)),),
}


def asked_of(service: Service) -> ChatRequest:
    """The last request that the SDK sent, parsed; it must survive its rendering."""
    head, body = service.asked[-1]
    assert DIALECT.matches(head)
    assert DIALECT.speaks(head)
    request = DIALECT.parse_request(body)
    assert DIALECT.parse_request(DIALECT.render_request(request)) == request
    return request


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", SENT)
def test_requests_of_the_sdk_are_understood(service: Service, client: openai.OpenAI, name: str, stream: bool) -> None:
    if stream:
        service.serve_stream(*streamed(REPLIES["text"]))
        list(client.chat.completions.create(model="room", stream=True, stream_options=USAGE, **SENT[name]))
    else:
        service.serve_reply(REPLIES["text"])
        client.chat.completions.create(model="room", **SENT[name])

    request = asked_of(service)
    assert (request.model, request.stream, request.include_usage) == ("room", stream, stream)
    assert request.messages[-1].parts == PARSED.get(name, (TextPart("hi"),))


def test_the_tools_of_the_sdk_are_understood(service: Service, client: openai.OpenAI) -> None:
    service.serve_reply(REPLIES["text"])
    client.chat.completions.create(model="room", **SENT["tools"])

    request = asked_of(service)
    assert [tool.name for tool in request.tools] == ["weather", "sql"]
    assert request.tool_choice == ToolChoice("tool", "weather")
    assert request.parallel_tool_calls is False
    assert request.messages[1].parts == (
        ToolCallPart("call_1", "weather", '{"a": 1}'),
        ToolCallPart("call_2", "sql", "SELECT 1", custom=True),
    )


@pytest.mark.parametrize("name", ["tool", "parallel", "reasoning", "refusal", "text"])
def test_a_reply_that_the_sdk_sends_back_says_the_same(service: Service, client: openai.OpenAI, name: str) -> None:
    service.serve_stream(*streamed(REPLIES[name]))
    with client.chat.completions.stream(model="room", messages=HELLO) as stream:
        message: Any = stream.get_final_completion().choices[0].message.to_dict()
    service.serve_reply(REPLIES["text"])
    client.chat.completions.create(model="room", messages=[*HELLO, message, *HELLO])

    # The helper adds what it made of the arguments, and an empty content beside a refusal.
    parts = asked_of(service).messages[1].parts
    told = tuple(
        [replace(part, extra={}) for part in parts if not isinstance(part, OpaquePart) and part != TextPart("")]
    )
    assert told == REPLIES[name].choices[0].parts


def test_a_client_of_azure_is_understood(service: Service) -> None:
    service.serve_reply(REPLIES["text"])
    with openai.AzureOpenAI(
        azure_endpoint=service.url,
        api_key="k",
        api_version="2025-01-01",
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as azure:
        azure.chat.completions.create(model="my-deployment", messages=HELLO)

    assert asked_of(service).model == "my-deployment"
    assert service.asked[-1][0].path == "/openai/deployments/my-deployment/chat/completions"
