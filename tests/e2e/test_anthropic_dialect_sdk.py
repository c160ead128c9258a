"""The ``anthropic`` SDK against bytes that the dialect rendered, served by a plain HTTP server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types import Message as SdkMessage
from anthropic.types import RawMessageStreamEvent, TextBlock, ThinkingBlock, ToolUseBlock
from pydantic import TypeAdapter

from motive_core import errors
from motive_core.dialects import ModelInfo
from motive_core.dialects.anthropic_messages import AnthropicMessages
from motive_core.errors import MotiveError, StatusError
from motive_core.ir import (
    ChatRequest,
    Choice,
    FinishReason,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    Usage,
)
from motive_core.stream import ChoiceEnded, Failed, PartDelta, PartStarted, ReplyEvent, Started, replay, replay_part
from tests.e2e.dialect_service import Service, serving

DIALECT = AnthropicMessages()
WIRE = Path(__file__).parents[1] / "wire" / "anthropic-messages"
REQUEST = ChatRequest("anthropic-messages", "room", (Message("user", (TextPart("hi"),)),), stream=True)
HELLO: Any = [{"role": "user", "content": "hi"}]

CODE = 'Grüße — 你好 👩‍👩‍👧\n\n```python\ndef f(x):\n\treturn "\\t" + x\u2028\n```\r\n\x7f</script>\n\ndata: [DONE]\n\n'


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(DIALECT, REQUEST) as server:
        yield server


@pytest.fixture
def client(service: Service) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=service.url,
        api_key="sk-test",
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(trust_env=False),
        _strict_response_validation=True,
    ) as sdk:
        yield sdk


@pytest.fixture
async def async_client(service: Service) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=service.url,
        api_key="sk-test",
        max_retries=0,
        http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False),
        _strict_response_validation=True,
    ) as sdk:
        yield sdk


def reply_of(*parts: Part, finish_reason: FinishReason = "stop", stop_sequence: str | None = None) -> Reply:
    return Reply("msg_1", "room", (Choice(parts, finish_reason, stop_sequence),), Usage(11, 7, cached_tokens=4))


def streamed(reply: Reply, *, heartbeats: bool = False) -> list[bytes]:
    """A reply as a stream, each part in pieces of three characters."""
    encoder = DIALECT.encoder(REQUEST)
    choice = reply.choices[0]
    start, *_, usage, end = replay(reply)
    events = [start]
    for index, part in enumerate(choice.parts):
        text = part.arguments if isinstance(part, ToolCallPart) else getattr(part, "text", "")
        pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
        events += replay_part(0, index, part, pieces)
    events += [ChoiceEnded(0, choice.finish_reason, choice.stop_sequence), usage, end]
    chunks = []
    for event in events:
        chunks += [encoder.heartbeat() if heartbeats else b"", encoder.encode(event)]
    return chunks


TOOL = ToolCallPart(
    "toolu_1", "get_weather", '{"location": "München", "days": 3, "scale": 1.0, "big": 123456789012345678901}'
)
REPLIES = {
    "text": reply_of(TextPart("Hello!")),
    "code": reply_of(TextPart(CODE)),
    "tool": reply_of(TextPart("Let me look.\n\t"), TOOL, finish_reason="tool_calls"),
    "parallel": reply_of(
        TOOL,
        ToolCallPart("toolu_2", "now", ""),
        ToolCallPart("toolu_3", "echo", '{"text":"\\u00e9 \\" \\n"}'),
        finish_reason="tool_calls",
    ),
    "thinking": reply_of(ReasoningPart("27 × 453\n= 12231", "EqQBCgIYAhIM"), TextPart("12231")),
    "redacted": reply_of(ReasoningPart("", redacted="EmwKAhgB"), ReasoningPart("unsigned"), TextPart("ok")),
    "length": reply_of(TextPart("and so"), finish_reason="length"),
    "stop_sequence": reply_of(TextPart("1, 2, "), stop_sequence="3"),
    "refusal": reply_of(RefusalPart("No."), finish_reason="stop"),
    "pause": reply_of(TextPart("Wait."), finish_reason="pause"),
    "empty": reply_of(),
}
STOP_REASONS = {
    "tool": "tool_use",
    "parallel": "tool_use",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
    "pause": "pause_turn",
}


def assert_says(message: SdkMessage, name: str) -> None:
    """What the SDK gives its caller is what was replied."""
    reply = REPLIES[name]
    assert (message.id, message.model, message.role, message.type) == ("msg_1", "room", "assistant", "message")
    assert message.stop_reason == STOP_REASONS.get(name, "end_turn")
    assert message.stop_sequence == reply.choices[0].stop_sequence
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 7)
    assert message.usage.cache_read_input_tokens == 4
    assert len(message.content) == len(reply.choices[0].parts)
    for block, part in zip(message.content, reply.choices[0].parts, strict=True):
        match part:
            case TextPart(text) | RefusalPart(text):
                assert isinstance(block, TextBlock)
                assert block.text == text
            case ToolCallPart(call_id, tool, arguments):
                assert isinstance(block, ToolUseBlock)
                assert (block.id, block.name, block.input) == (call_id, tool, json.loads(arguments or "{}"))
            case ReasoningPart(redacted=str(data)):
                assert block.type == "redacted_thinking"
                assert block.data == data
            case ReasoningPart(text, signature):
                assert isinstance(block, ThinkingBlock)
                assert (block.thinking, block.signature) == (text, signature or "")
            case _:
                pytest.fail(f"no such part is replied here: {part}")


@pytest.mark.parametrize("name", REPLIES)
class TestReplies:
    def test_whole(self, service: Service, client: anthropic.Anthropic, name: str) -> None:
        service.serve_reply(REPLIES[name])

        message = client.messages.create(model="room", max_tokens=100, messages=HELLO)
        assert_says(message, name)
        assert message._request_id == "req_1"

    def test_streamed(self, service: Service, client: anthropic.Anthropic, name: str) -> None:
        service.serve_stream(*streamed(REPLIES[name]))

        with client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream:
            texts = "".join(stream.text_stream)
            message = stream.get_final_message()
        assert_says(message, name)
        said = REPLIES[name].choices[0].parts
        assert texts == "".join(part.text for part in said if isinstance(part, TextPart | RefusalPart))

    def test_streamed_byte_by_byte_with_heartbeats(
        self, service: Service, client: anthropic.Anthropic, name: str
    ) -> None:
        data = b"".join(streamed(REPLIES[name], heartbeats=True))
        service.serve_stream(*[data[at : at + 1] for at in range(len(data))])

        with client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream:
            assert_says(stream.get_final_message(), name)

    def test_raw_events(self, service: Service, client: anthropic.Anthropic, name: str) -> None:
        service.serve_stream(*streamed(REPLIES[name], heartbeats=True))

        kinds = [
            event.type for event in client.messages.create(model="room", max_tokens=100, messages=HELLO, stream=True)
        ]
        assert kinds[0] == "message_start"
        assert kinds[-2:] == ["message_delta", "message_stop"]
        assert (
            kinds.count("content_block_start")
            == kinds.count("content_block_stop")
            == len(REPLIES[name].choices[0].parts)
        )

    async def test_async(self, service: Service, async_client: anthropic.AsyncAnthropic, name: str) -> None:
        service.serve_reply(REPLIES[name])
        assert_says(await async_client.messages.create(model="room", max_tokens=100, messages=HELLO), name)

        service.serve_stream(*streamed(REPLIES[name], heartbeats=True))
        async with async_client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream:
            assert_says(await stream.get_final_message(), name)

        raw = await async_client.messages.create(model="room", max_tokens=100, messages=HELLO, stream=True)
        assert [event.type async for event in raw][-1] == "message_stop"

    def test_the_sdks_own_models_accept_every_byte(self, name: str) -> None:
        SdkMessage.model_validate_json(DIALECT.render_reply(REQUEST, REPLIES[name]), strict=True)
        events: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
        for block in b"".join(streamed(REPLIES[name])).split(b"\n\n")[:-1]:
            events.validate_json(block.partition(b"\ndata: ")[2], strict=True)


def test_pieces_of_a_tool_call_arrive_as_they_are_said(service: Service, client: anthropic.Anthropic) -> None:
    service.serve_stream(*streamed(REPLIES["tool"]))

    with client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
    assert len(pieces) > 10
    assert "".join(pieces) == TOOL.arguments


BETA = ("compaction", "fallback", "mcp")
"""Golden replies with blocks that only the beta namespace of the SDK knows; see ``test_anthropic_extras_sdk``."""


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(WIRE.glob("*.reply.json")) if not path.name.startswith(BETA)],
    ids=lambda path: path.name,
)
def test_replies_of_the_live_api_are_rendered_as_the_sdk_wants_them(path: Path) -> None:
    reply = DIALECT.parse_reply(path.read_bytes())

    SdkMessage.model_validate_json(path.read_bytes(), strict=True)
    SdkMessage.model_validate_json(DIALECT.render_reply(REQUEST, reply), strict=True)
    events: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    data = DIALECT.encoder(REQUEST).encode_all(replay(reply))
    for block in data.split(b"\n\n")[:-1]:
        events.validate_json(block.partition(b"\ndata: ")[2], strict=True)


def test_the_stream_of_the_live_api_gives_the_sdk_the_same_message_as_ours(
    service: Service, client: anthropic.Anthropic
) -> None:
    for path in [path for path in sorted(WIRE.glob("*.stream.sse")) if not path.name.startswith(BETA)]:
        messages = []
        decoder = DIALECT.decoder()
        events = [*decoder.feed(path.read_bytes()), *decoder.close()]
        for data in (path.read_bytes(), DIALECT.encoder(REQUEST).encode_all(events)):
            service.serve_stream(data)
            with client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream:
                messages.append(stream.get_final_message().to_dict())
        assert messages[0] == messages[1]


ERRORS: list[tuple[MotiveError, type[anthropic.APIStatusError], str]] = [
    (errors.BadRequestError("x", param="messages"), anthropic.BadRequestError, "invalid_request_error"),
    (errors.AuthenticationError("x"), anthropic.AuthenticationError, "authentication_error"),
    (StatusError(402, "x"), anthropic.PaymentRequiredError, "billing_error"),
    (errors.PermissionDeniedError("x"), anthropic.PermissionDeniedError, "permission_error"),
    (errors.NotFoundError("x"), anthropic.NotFoundError, "not_found_error"),
    (errors.RequestTimeoutError("x"), anthropic.RequestTimeoutError, "timeout_error"),
    (errors.ConflictError("x"), anthropic.ConflictError, "conflict_error"),
    (errors.PayloadTooLargeError("x"), anthropic.ContentTooLargeError, "request_too_large"),
    (errors.UnprocessableError("x"), anthropic.UnprocessableEntityError, "invalid_request_error"),
    (errors.UpgradeRequiredError("x"), anthropic.APIStatusError, "invalid_request_error"),
    (errors.RateLimitedError("x"), anthropic.RateLimitError, "rate_limit_error"),
    (errors.InternalError("x"), anthropic.InternalServerError, "api_error"),
    (errors.UpstreamError("x"), anthropic.InternalServerError, "api_error"),
    (errors.UnavailableError("x"), anthropic.ServiceUnavailableError, "api_error"),
    (errors.HoldTimeoutError("x"), anthropic.GatewayTimeoutError, "timeout_error"),
    (errors.OverloadedError("x"), anthropic.OverloadedError, "overloaded_error"),
]


@pytest.mark.parametrize(("error", "raised", "kind"), ERRORS, ids=lambda value: getattr(value, "status", None))
def test_every_error_raises_its_exception(
    service: Service,
    client: anthropic.Anthropic,
    error: MotiveError,
    raised: type[anthropic.APIStatusError],
    kind: str,
) -> None:
    service.serve_error(error)

    for stream in (False, True):
        with pytest.raises(raised) as caught:
            client.messages.create(model="room", max_tokens=100, messages=HELLO, stream=stream)
        assert type(caught.value) is raised
        assert caught.value.status_code == error.status
        assert caught.value.request_id == "req_1"
        assert (caught.value.type, caught.value.api_message) == (kind, "messages: x" if error.param else "x")


def test_an_error_that_no_retry_can_mend_is_not_retried(service: Service, client: anthropic.Anthropic) -> None:
    service.serve_error(errors.HoldTimeoutError("nobody answered"))

    with pytest.raises(anthropic.APIStatusError):
        client.with_options(max_retries=2).messages.create(model="room", max_tokens=100, messages=HELLO)
    assert len(service.asked) == 1


@pytest.mark.parametrize("begun", [False, True])
def test_an_error_in_the_stream_raises(service: Service, client: anthropic.Anthropic, begun: bool) -> None:
    encoder = DIALECT.encoder(REQUEST)
    half: list[ReplyEvent] = (
        [Started("msg_1", "room"), PartStarted(0, 0, TextPart("")), PartDelta(0, 0, "half")] if begun else []
    )
    said = [encoder.heartbeat(), encoder.encode_all(half), encoder.heartbeat()]
    service.serve_stream(*said, encoder.encode(Failed(errors.OverloadedError("too much"))))

    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream,
    ):
        stream.until_done()
    assert caught.value.type == "overloaded_error"
    assert caught.value.api_message == "too much"


def test_the_list_of_models(service: Service, client: anthropic.Anthropic) -> None:
    models = [ModelInfo("room-1", 1_795_230_236), ModelInfo("room-2", 1_795_230_236)]
    service.serve(200, {"content-type": "application/json"}, DIALECT.render_models(models))

    listed = client.models.list()
    assert [(model.id, model.lifecycle, model.created_at.year) for model in listed] == [
        ("room-1", "active", 2026),
        ("room-2", "active", 2026),
    ]
    assert DIALECT.speaks(service.asked[0][0])


# What the SDK sends.

SENT: dict[str, dict[str, Any]] = {
    "plain": {"messages": HELLO},
    "system": {"messages": HELLO, "system": "Be kind.", "stop_sequences": ["END"], "metadata": {"user_id": "u"}},
    "blocks": {
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é\n"}},
                    {"type": "text", "text": CODE},
                ],
            }
        ],
        "thinking": {"type": "adaptive"},
    },
    "tools": {
        "tools": [
            {"name": "f", "description": "F.", "input_schema": {"type": "object", "properties": {}}},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1.0}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True}]},
        ],
    },
    "format": {
        "messages": HELLO,
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    },
}


@pytest.mark.parametrize("name", SENT)
@pytest.mark.parametrize("beta", [False, True])
def test_what_the_sdk_sends_is_understood_and_survives(
    service: Service, client: anthropic.Anthropic, name: str, beta: bool
) -> None:
    service.serve_reply(REPLIES["text"])
    messages: Any = client.beta.messages if beta else client.messages
    messages.create(model="room-é", max_tokens=100, **SENT[name])

    head, body = service.asked[0]
    assert DIALECT.matches(head)
    assert DIALECT.speaks(head)
    request = DIALECT.parse_request(body)
    assert (request.model, request.sampling.max_tokens, request.stream) == ("room-é", 100, False)
    rendered = DIALECT.render_request(request)
    assert DIALECT.parse_request(rendered) == request
    assert json.loads(rendered) == json.loads(body)


def test_a_reply_that_the_sdk_sends_back_is_the_same_reply(service: Service, client: anthropic.Anthropic) -> None:
    for name in ("code", "tool", "parallel", "thinking", "redacted"):
        service.serve_stream(*streamed(REPLIES[name]))
        with client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream:
            content = stream.get_final_message().content
        client.messages.create(
            model="room",
            max_tokens=9,
            messages=[*HELLO, {"role": "assistant", "content": content}, *HELLO],
            stream=True,
        ).close()

        sent = DIALECT.parse_request(service.asked[-1][1]).messages[1].parts
        said = REPLIES[name].choices[0].parts
        assert [_value(part) for part in sent] == [_value(part) for part in said]


def _value(part: Part) -> Any:
    """A part without what the SDK adds (nulls) and with arguments as the object that they are."""
    if isinstance(part, ToolCallPart):
        return part.call_id, part.name, json.loads(part.arguments or "{}")
    if isinstance(part, ReasoningPart):
        return part.text, part.signature, part.redacted
    assert isinstance(part, TextPart)
    return part.text
