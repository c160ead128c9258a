"""``AnthropicBedrock`` and ``boto3`` against bytes that the dialect rendered, served by a plain HTTP server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types import Message as SdkMessage
from anthropic.types import TextBlock, ThinkingBlock, ToolUseBlock
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from motive_core import errors
from motive_core.dialects.anthropic_bedrock import VERSION, AnthropicBedrock
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
from tests.e2e.voices.bedrock import aws_session

DIALECT = AnthropicBedrock()
WIRE = Path(__file__).parents[1] / "wire" / "bedrock-invoke"
REQUEST = ChatRequest("bedrock-invoke", "room", (Message("user", (TextPart("hi"),)),), stream=True)
HELLO: Any = [{"role": "user", "content": "hi"}]
BODY = json.dumps({"anthropic_version": VERSION, "max_tokens": 9, "messages": HELLO})
CODE = 'Grüße — 你好 👩‍👩‍👧\n\n```python\ndef f(x):\n\treturn "\\t" + x\u2028\n```\r\n\x7f</script>\n\ndata: [DONE]\n\n'
KEYS: dict[str, Any] = {"aws_access_key": "AKIDTEST", "aws_secret_key": "secret", "aws_region": "us-east-1"}


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(DIALECT, REQUEST) as server:
        yield server


@pytest.fixture
def client(service: Service) -> Iterator[anthropic.AnthropicBedrock]:
    with anthropic.AnthropicBedrock(
        base_url=service.url,
        max_retries=0,
        http_client=anthropic.DefaultHttpxClient(trust_env=False),
        _strict_response_validation=True,
        **KEYS,
    ) as sdk:
        yield sdk


@pytest.fixture
async def async_client(service: Service) -> AsyncIterator[anthropic.AsyncAnthropicBedrock]:
    async with anthropic.AsyncAnthropicBedrock(
        base_url=service.url,
        max_retries=0,
        http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False),
        _strict_response_validation=True,
        **KEYS,
    ) as sdk:
        yield sdk


@pytest.fixture
def boto(service: Service) -> Iterator[Any]:
    config = Config(retries={"total_max_attempts": 1}, proxies={})
    keys = {"aws_access_key_id": "AKIDTEST", "aws_secret_access_key": "secret"}
    sdk = aws_session().client("bedrock-runtime", endpoint_url=service.url, config=config, **keys)
    yield sdk
    sdk.close()


def reply_of(*parts: Part, finish_reason: FinishReason = "stop", stop_sequence: str | None = None) -> Reply:
    return Reply("msg_bdrk_1", "room", (Choice(parts, finish_reason, stop_sequence),), Usage(11, 7, cached_tokens=4))


def streamed(reply: Reply) -> list[bytes]:
    """A reply as a stream with a heartbeat before each event, each part in pieces of three characters."""
    encoder = DIALECT.encoder(REQUEST)
    choice = reply.choices[0]
    start, *_, usage, end = replay(reply)
    events = [start]
    for index, part in enumerate(choice.parts):
        text = part.arguments if isinstance(part, ToolCallPart) else getattr(part, "text", "")
        events += replay_part(0, index, part, [text[at : at + 3] for at in range(0, len(text), 3)])
    events += [ChoiceEnded(0, choice.finish_reason, choice.stop_sequence), usage, end]
    chunks = []
    for event in events:
        chunks += [encoder.heartbeat(), encoder.encode(event)]
    return chunks


TOOL = ToolCallPart(
    "toolu_bdrk_1", "get_weather", '{"location": "München", "days": 3, "scale": 1.0, "big": 123456789012345678901}'
)
REPLIES = {
    "text": reply_of(TextPart("Hello!")),
    "code": reply_of(TextPart(CODE)),
    "tool": reply_of(TextPart("Let me look.\n\t"), TOOL, finish_reason="tool_calls"),
    "parallel": reply_of(
        TOOL,
        ToolCallPart("toolu_bdrk_2", "now", ""),
        ToolCallPart("toolu_bdrk_3", "echo", '{"text":"\\u00e9 \\" \\n"}'),
        finish_reason="tool_calls",
    ),
    "thinking": reply_of(ReasoningPart("27 × 453\n= 12231", "EqQBCgIYAhIM"), TextPart("12231")),
    "redacted": reply_of(ReasoningPart("", redacted="EmwKAhgB"), ReasoningPart("unsigned"), TextPart("ok")),
    "length": reply_of(TextPart("and so"), finish_reason="length"),
    "stop_sequence": reply_of(TextPart("1, 2, "), stop_sequence="3"),
    "refusal": reply_of(RefusalPart("No."), finish_reason="stop"),
    "empty": reply_of(),
}
STOP_REASONS = {
    "tool": "tool_use",
    "parallel": "tool_use",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}


def assert_says(message: SdkMessage, name: str) -> None:
    """What the SDK gives its caller is what was replied."""
    reply = REPLIES[name]
    assert (message.id, message.model, message.role, message.type) == ("msg_bdrk_1", "room", "assistant", "message")
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
    def test_whole(self, service: Service, client: anthropic.AnthropicBedrock, name: str) -> None:
        service.serve_reply(REPLIES[name])
        assert_says(client.messages.create(model="room", max_tokens=100, messages=HELLO), name)

    def test_streamed(self, service: Service, client: anthropic.AnthropicBedrock, name: str) -> None:
        service.serve_stream(*streamed(REPLIES[name]))

        with client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream:
            texts = "".join(stream.text_stream)
            message = stream.get_final_message()
        assert_says(message, name)
        said = REPLIES[name].choices[0].parts
        assert texts == "".join(part.text for part in said if isinstance(part, TextPart | RefusalPart))

    def test_streamed_byte_by_byte(self, service: Service, client: anthropic.AnthropicBedrock, name: str) -> None:
        data = b"".join(streamed(REPLIES[name]))
        service.serve_stream(*[data[at : at + 1] for at in range(len(data))])

        with client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream:
            assert_says(stream.get_final_message(), name)

    async def test_async(self, service: Service, async_client: anthropic.AsyncAnthropicBedrock, name: str) -> None:
        service.serve_reply(REPLIES[name])
        assert_says(await async_client.messages.create(model="room", max_tokens=100, messages=HELLO), name)

        service.serve_stream(*streamed(REPLIES[name]))
        async with async_client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream:
            assert_says(await stream.get_final_message(), name)

        raw = await async_client.messages.create(model="room", max_tokens=100, messages=HELLO, stream=True)
        assert [event.type async for event in raw][-1] == "message_stop"

    def test_whole_by_boto3(self, service: Service, boto: Any, name: str) -> None:
        service.serve_reply(REPLIES[name])

        reply = boto.invoke_model(modelId="room", body=BODY)
        assert reply["contentType"] == "application/json"
        assert_says(SdkMessage.model_validate_json(reply["body"].read(), strict=True), name)

    def test_streamed_by_boto3(self, service: Service, boto: Any, name: str) -> None:
        service.serve_stream(*streamed(REPLIES[name]))

        reply = boto.invoke_model_with_response_stream(modelId="room", body=BODY)
        assert reply["contentType"] == "application/json"
        events = [json.loads(event["chunk"]["bytes"]) for event in reply["body"]]
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        said = REPLIES[name].choices[0].parts
        for kind, expected in (
            ("text", "".join(part.text for part in said if isinstance(part, TextPart | RefusalPart))),
            ("partial_json", "".join(part.arguments for part in said if isinstance(part, ToolCallPart))),
        ):
            assert "".join(delta.get(kind, "") for delta in deltas) == expected
        metrics = events[-1]["amazon-bedrock-invocationMetrics"]
        assert (metrics["inputTokenCount"], metrics["outputTokenCount"]) == (7, 7)


def test_pieces_of_a_tool_call_arrive_as_they_are_said(service: Service, client: anthropic.AnthropicBedrock) -> None:
    service.serve_stream(*streamed(REPLIES["tool"]))

    with client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
    assert len(pieces) > 10
    assert "".join(pieces) == TOOL.arguments


def test_the_stream_of_the_live_api_gives_the_sdk_the_same_message_as_ours(
    service: Service, client: anthropic.AnthropicBedrock
) -> None:
    for path in sorted(WIRE.glob("*.stream.bin")):
        messages = []
        decoder = DIALECT.decoder()
        events = [*decoder.feed(path.read_bytes()), *decoder.close()]
        for data in (path.read_bytes(), DIALECT.encoder(REQUEST).encode_all(events)):
            service.serve_stream(data)
            with client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream:
                messages.append(stream.get_final_message())
        first, second = [(message.content, message.stop_reason, message.usage.output_tokens) for message in messages]
        assert first == second


ERRORS: list[tuple[MotiveError, int, type[anthropic.APIStatusError], str]] = [
    (errors.BadRequestError("x", param="messages"), 400, anthropic.BadRequestError, "ValidationException"),
    (errors.AuthenticationError("x"), 401, anthropic.AuthenticationError, "AccessDeniedException"),
    (StatusError(402, "x"), 402, anthropic.PaymentRequiredError, "AccessDeniedException"),
    (errors.PermissionDeniedError("x"), 403, anthropic.PermissionDeniedError, "AccessDeniedException"),
    (errors.NotFoundError("x"), 404, anthropic.NotFoundError, "ResourceNotFoundException"),
    (errors.RequestTimeoutError("x"), 408, anthropic.RequestTimeoutError, "ModelTimeoutException"),
    (errors.ConflictError("x"), 409, anthropic.ConflictError, "ConflictException"),
    (errors.PayloadTooLargeError("x"), 413, anthropic.ContentTooLargeError, "ValidationException"),
    (errors.UnprocessableError("x"), 422, anthropic.UnprocessableEntityError, "ValidationException"),
    (errors.UpgradeRequiredError("x"), 426, anthropic.APIStatusError, "ValidationException"),
    (errors.RateLimitedError("x"), 429, anthropic.RateLimitError, "ThrottlingException"),
    (errors.InternalError("x"), 500, anthropic.InternalServerError, "InternalServerException"),
    (errors.UpstreamError("x"), 502, anthropic.InternalServerError, "InternalServerException"),
    (errors.UnavailableError("x"), 503, anthropic.ServiceUnavailableError, "ServiceUnavailableException"),
    (errors.HoldTimeoutError("x"), 408, anthropic.RequestTimeoutError, "ModelTimeoutException"),
    (errors.OverloadedError("x"), 503, anthropic.ServiceUnavailableError, "ServiceUnavailableException"),
]
"""504 and 529, for which Anthropic's SDK has classes of its own, are not statuses of AWS."""


@pytest.mark.parametrize(
    ("error", "status", "raised", "name"), ERRORS, ids=lambda value: getattr(value, "status", None)
)
def test_every_error_raises_its_exception(
    service: Service,
    client: anthropic.AnthropicBedrock,
    boto: Any,
    *,
    error: MotiveError,
    status: int,
    raised: type[anthropic.APIStatusError],
    name: str,
) -> None:
    service.serve_error(error)
    message = "messages: x" if error.param else "x"

    for stream in (False, True):
        with pytest.raises(raised) as caught:
            client.messages.create(model="room", max_tokens=100, messages=HELLO, stream=stream)
        assert type(caught.value) is raised
        assert caught.value.status_code == status
        assert caught.value.body == {"message": message}
    for call in (boto.invoke_model, boto.invoke_model_with_response_stream):
        with pytest.raises(ClientError) as refused:
            call(modelId="room", body=BODY)
        assert type(refused.value) is getattr(boto.exceptions, name)
        assert refused.value.response["Error"] == {"Code": name, "Message": message}


@pytest.mark.parametrize(("error", "requests"), [(errors.HoldTimeoutError("x"), 1), (errors.OverloadedError("x"), 2)])
def test_an_error_that_no_retry_can_mend_is_not_retried(
    service: Service, client: anthropic.AnthropicBedrock, error: MotiveError, requests: int
) -> None:
    service.serve_error(error)

    with pytest.raises(anthropic.APIStatusError):
        client.with_options(max_retries=1).messages.create(model="room", max_tokens=100, messages=HELLO)
    assert len(service.asked) == requests


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.OverloadedError("too much"), "serviceUnavailableException"),
        (errors.HoldTimeoutError("too much"), "modelTimeoutException"),
        (errors.RateLimitedError("too much"), "throttlingException"),
    ],
)
def test_an_error_in_the_stream_raises(
    service: Service, client: anthropic.AnthropicBedrock, boto: Any, *, error: MotiveError, code: str, begun: bool
) -> None:
    encoder = DIALECT.encoder(REQUEST)
    half: list[ReplyEvent] = [Started("m", "room"), PartStarted(0, 0, TextPart("")), PartDelta(0, 0, "half")]
    service.serve_stream(encoder.encode_all(half if begun else []), encoder.encode(Failed(error)))

    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream,
    ):
        stream.until_done()
    assert caught.value.body == {"type": "error", "error": {"type": code, "message": "too much"}}
    with (
        closing(boto.invoke_model_with_response_stream(modelId="room", body=BODY)["body"]) as events,
        pytest.raises(EventStreamError) as ended,
    ):
        list(events)
    assert ended.value.response["Error"] == {"Code": code, "Message": "too much"}


# What the SDKs send.

SENT: dict[str, dict[str, Any]] = {
    "plain": {"messages": HELLO},
    "system": {"messages": HELLO, "system": "Be kind.", "stop_sequences": ["END"]},
    "blocks": {
        "system": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "text", "text": CODE},
                ],
            }
        ],
        "thinking": {"type": "adaptive"},
    },
    "tools": {
        "tools": [{"name": "f", "description": "F.", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1.0}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True}]},
        ],
    },
}


@pytest.mark.parametrize("name", SENT)
@pytest.mark.parametrize("model", ["room-é ü@asker", "arn:aws:bedrock:us-east-1:1:inference-profile/us.x", "a.b-v1:0"])
@pytest.mark.parametrize("beta", [False, True])
def test_what_the_sdk_sends_is_understood_and_survives(
    service: Service, client: anthropic.AnthropicBedrock, name: str, model: str, beta: bool
) -> None:
    service.serve_reply(REPLIES["text"])
    messages: Any = client.beta.messages if beta else client.messages
    more = {"betas": ["context-1m-2025-08-07"]} if beta else {}
    messages.create(model=model, max_tokens=100, **SENT[name], **more)

    head, body = service.asked[0]
    assert DIALECT.matches(head)
    assert DIALECT.speaks(head)
    request = DIALECT.parse_request(body, head)
    assert (request.model, request.sampling.max_tokens, request.stream) == (model, 100, False)
    rendered = DIALECT.render_request(request)
    assert DIALECT.parse_request(rendered, head) == request
    assert json.loads(rendered) == json.loads(body)


@pytest.mark.parametrize("stream", [False, True])
def test_what_boto3_sends_is_understood(service: Service, boto: Any, stream: bool) -> None:
    if stream:
        service.serve_stream(*streamed(REPLIES["text"]))
        list(boto.invoke_model_with_response_stream(modelId="room-é:1", body=BODY)["body"])
    else:
        service.serve_reply(REPLIES["text"])
        boto.invoke_model(modelId="room-é:1", body=BODY)["body"].read()

    head, body = service.asked[0]
    assert DIALECT.speaks(head)
    request = DIALECT.parse_request(body, head)
    assert (request.model, request.stream) == ("room-é:1", stream)
    assert head.path == DIALECT.target(request)


def test_a_reply_that_the_sdk_sends_back_is_the_same_reply(
    service: Service, client: anthropic.AnthropicBedrock
) -> None:
    for name in ("code", "tool", "parallel", "thinking", "redacted"):
        service.serve_stream(*streamed(REPLIES[name]))
        with client.messages.stream(model="room", max_tokens=100, messages=HELLO) as stream:
            content = stream.get_final_message().content
        service.serve_reply(REPLIES["text"])
        client.messages.create(
            model="room", max_tokens=9, messages=[*HELLO, {"role": "assistant", "content": content}, *HELLO]
        )

        head, body = service.asked[-1]
        sent = DIALECT.parse_request(body, head).messages[1].parts
        assert [_value(part) for part in sent] == [_value(part) for part in REPLIES[name].choices[0].parts]


def _value(part: Part) -> Any:
    """A part without what the SDK adds (nulls) and with arguments as the object that they are."""
    if isinstance(part, ToolCallPart):
        return part.call_id, part.name, json.loads(part.arguments or "{}")
    if isinstance(part, ReasoningPart):
        return part.text, part.signature, part.redacted
    assert isinstance(part, TextPart)
    return part.text


def test_an_api_key_of_bedrock_is_sent_as_bearer(service: Service) -> None:
    service.serve_reply(REPLIES["text"])
    with anthropic.AnthropicBedrock(
        base_url=service.url,
        api_key="bedrock-api-key",
        aws_region="us-east-1",
        http_client=anthropic.DefaultHttpxClient(trust_env=False),
    ) as sdk:
        sdk.messages.create(model="room", max_tokens=9, messages=HELLO)
    head, body = service.asked[0]
    assert head.headers["authorization"] == "Bearer bedrock-api-key"
    assert DIALECT.parse_request(body, head).model == "room"
