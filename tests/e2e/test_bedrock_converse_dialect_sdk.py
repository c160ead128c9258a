"""``boto3`` against bytes that the dialect rendered, served by a plain HTTP server.

It has no asynchronous client and no stricter mode; the service's model is checked to the letter in the tests of the
dialect itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from motive_core import errors
from motive_core.dialects import ModelInfo, RequestHead, SideCall
from motive_core.dialects.bedrock_converse import BedrockConverse
from motive_core.errors import MotiveError, StatusError
from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    FinishReason,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Usage,
)
from motive_core.stream import ChoiceEnded, Failed, PartDelta, PartStarted, ReplyEvent, Started, replay, replay_part
from tests.e2e.dialect_service import Service, serving
from tests.e2e.voices.bedrock import aws_session

DIALECT = BedrockConverse()
WIRE = Path(__file__).parents[1] / "wire" / "bedrock-converse"
REQUEST = ChatRequest("bedrock-converse", "room", (Message("user", (TextPart("hi"),)),), stream=True)
HELLO: Any = [{"role": "user", "content": [{"text": "hi"}]}]
CODE = 'Grüße — 你好 👩‍👩‍👧\n\n```python\ndef f(x):\n\treturn "\\t" + x\u2028\n```\r\n\x7f</script>\n\ndata: [DONE]\n\n'


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(DIALECT, REQUEST) as server:
        yield server


@pytest.fixture
def client(service: Service) -> Iterator[Any]:
    sdk = make_client(service)
    yield sdk
    sdk.close()


def make_client(service: Service, name: str = "bedrock-runtime", attempts: int = 1) -> Any:
    config = Config(retries={"total_max_attempts": attempts}, proxies={})
    keys = {"aws_access_key_id": "AKIDTEST", "aws_secret_access_key": "secret"}
    return aws_session().client(name, endpoint_url=service.url, config=config, **keys)


def reply_of(*parts: Part, finish_reason: FinishReason = "stop") -> Reply:
    return Reply("1", "room", (Choice(parts, finish_reason),), Usage(11, 7, cached_tokens=4))


def streamed(reply: Reply, *, heartbeats: bool = False) -> list[bytes]:
    """A reply as a stream, each part in pieces of three characters."""
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
        chunks += [encoder.heartbeat() if heartbeats else b"", encoder.encode(event)]
    return chunks


TOOL = ToolCallPart(
    "tooluse_1", "get_weather", '{"location": "München", "days": 3, "scale": 1.0, "big": 123456789012345678901}'
)
REPLIES = {
    "text": reply_of(TextPart("Hello!")),
    "code": reply_of(TextPart(CODE)),
    "tool": reply_of(TextPart("Let me look.\n\t"), TOOL, finish_reason="tool_calls"),
    "parallel": reply_of(
        TOOL,
        ToolCallPart("tooluse_2", "now", ""),
        ToolCallPart("tooluse_3", "echo", '{"text":"\\u00e9 \\" \\n"}'),
        finish_reason="tool_calls",
    ),
    "reasoning": reply_of(ReasoningPart("27 × 453\n= 12231", "EqQBCgIYAhIM"), TextPart("12231")),
    "redacted": reply_of(ReasoningPart("", redacted="EmwKAhgB"), ReasoningPart("unsigned"), TextPart("ok")),
    "length": reply_of(TextPart("and so"), finish_reason="length"),
    "refusal": reply_of(RefusalPart("No."), finish_reason="stop"),
    "filtered": reply_of(TextPart("No."), finish_reason="content_filter"),
    "error": reply_of(TextPart("{"), finish_reason="error"),
    "empty": reply_of(),
}
STOP_REASONS = {
    "tool": "tool_use",
    "parallel": "tool_use",
    "length": "max_tokens",
    "refusal": "content_filtered",
    "filtered": "content_filtered",
    "error": "malformed_model_output",
}


class Heard:
    """What the SDK's events tell, put together as AWS's examples do it."""

    def __init__(self, stream: Any) -> None:
        self.kinds: list[str] = []
        self.blocks: dict[int, dict[str, Any]] = {}
        self.inputs: dict[int, list[str]] = {}
        self.stop = ""
        self.usage: Any = None
        for event in stream:
            ((kind, told),) = event.items()
            self.kinds.append(kind)
            match kind:
                case "contentBlockStart":
                    self.blocks[told["contentBlockIndex"]] = {"toolUse": dict(told["start"]["toolUse"])}
                case "contentBlockDelta":
                    self._delta(told["contentBlockIndex"], told["delta"])
                case "messageStop":
                    self.stop = told["stopReason"]
                case "metadata":
                    self.usage = told["usage"]
        for index, pieces in self.inputs.items():
            self.blocks[index]["toolUse"]["input"] = json.loads("".join(pieces))

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        ((kind, told),) = delta.items()
        match kind:
            case "text":
                self.blocks.setdefault(index, {"text": ""})["text"] += told
            case "toolUse":
                self.inputs.setdefault(index, []).append(told["input"])
            case "reasoningContent" if "redactedContent" in told:
                self.blocks[index] = {"reasoningContent": told}
            case "reasoningContent":
                block = self.blocks.setdefault(index, {"reasoningContent": {"reasoningText": {"text": ""}}})
                ((name, value),) = told.items()
                text = block["reasoningContent"]["reasoningText"]
                text[name] = text.get(name, "") + value

    @property
    def content(self) -> list[Any]:
        return [self.blocks[index] for index in sorted(self.blocks)]


def assert_says(content: list[Any], stop: str, usage: Any, name: str) -> None:
    """What the SDK gives its caller is what was replied."""
    parts = REPLIES[name].choices[0].parts
    assert stop == STOP_REASONS.get(name, "end_turn")
    assert usage == {
        "inputTokens": 7,
        "outputTokens": 7,
        "totalTokens": 18,
        "cacheReadInputTokens": 4,
        "cacheWriteInputTokens": 0,
    }
    assert len(content) == len(parts)
    for block, part in zip(content, parts, strict=True):
        match part:
            case TextPart(text) | RefusalPart(text):
                assert block == {"text": text}
            case ToolCallPart(call_id, tool, arguments):
                told = {"toolUseId": call_id, "name": tool, "input": json.loads(arguments or "{}")}
                assert block == {"toolUse": told}
            case ReasoningPart(redacted=str(data)):
                assert block == {"reasoningContent": {"redactedContent": b"\x12l\n\x02\x18\x01"}}, data
            case ReasoningPart(text, signature):
                signed = {} if signature is None else {"signature": signature}
                assert block == {"reasoningContent": {"reasoningText": {"text": text, **signed}}}
            case _:
                pytest.fail(f"no such part is replied here: {part}")


@pytest.mark.parametrize("name", REPLIES)
class TestReplies:
    def test_whole(self, service: Service, client: Any, name: str) -> None:
        service.serve_reply(REPLIES[name])

        reply = client.converse(modelId="room", messages=HELLO)
        assert reply["output"]["message"]["role"] == "assistant"
        assert_says(reply["output"]["message"]["content"], reply["stopReason"], reply["usage"], name)
        assert reply["metrics"] == {"latencyMs": 0}
        assert reply["ResponseMetadata"]["RequestId"] == "req_1"

    def test_streamed(self, service: Service, client: Any, name: str) -> None:
        service.serve_stream(*streamed(REPLIES[name]))

        reply = client.converse_stream(modelId="room", messages=HELLO)
        heard = Heard(reply["stream"])
        assert_says(heard.content, heard.stop, heard.usage, name)
        assert (heard.kinds[0], heard.kinds[-2:]) == ("messageStart", ["messageStop", "metadata"])
        assert heard.kinds.count("contentBlockStop") == len(REPLIES[name].choices[0].parts)
        assert reply["ResponseMetadata"]["RequestId"] == "req_1"

    def test_streamed_byte_by_byte(self, service: Service, client: Any, name: str) -> None:
        data = b"".join(streamed(REPLIES[name], heartbeats=True))
        service.serve_stream(*[data[at : at + 1] for at in range(len(data))])

        heard = Heard(client.converse_stream(modelId="room", messages=HELLO)["stream"])
        assert_says(heard.content, heard.stop, heard.usage, name)


def test_pieces_of_a_tool_call_arrive_as_they_are_said(service: Service, client: Any) -> None:
    service.serve_stream(*streamed(REPLIES["tool"]))

    heard = Heard(client.converse_stream(modelId="room", messages=HELLO)["stream"])
    assert len(heard.inputs[1]) > 10
    assert "".join(heard.inputs[1]) == TOOL.arguments


@pytest.mark.parametrize("path", sorted(WIRE.glob("*.reply.json")), ids=lambda path: path.name)
def test_the_sdk_reads_our_replies_as_those_of_the_live_api(service: Service, client: Any, path: Path) -> None:
    data = path.with_name(path.name.replace(".reply.json", ".stream.bin")).read_bytes()
    decoder = DIALECT.decoder()
    events = [*decoder.feed(data), *decoder.close()]
    wholes, streams = [], []
    for whole, stream in (
        (path.read_bytes(), data),
        (
            DIALECT.render_reply(REQUEST, DIALECT.parse_reply(path.read_bytes())),
            DIALECT.encoder(REQUEST).encode_all(events),
        ),
    ):
        service.serve(200, {"content-type": "application/json"}, whole)
        told = client.converse(modelId="room", messages=HELLO)
        wholes.append([told[key] for key in ("output", "stopReason", "metrics")])
        service.serve_stream(stream)
        streams.append(told_in(client.converse_stream(modelId="room", messages=HELLO)["stream"]))
    assert wholes[0] == wholes[1]
    assert streams[0] == streams[1]


def told_in(stream: Any) -> list[Any]:
    """What the SDK's events tell, however many deltas told it. Where the service counts or says nothing, we may have
    zeros and ``{}``."""
    told: list[Any] = []
    for event in stream:
        ((kind, value),) = event.items()
        if kind == "contentBlockDelta":
            if told[-1][0] != kind or told[-1][1] != value["contentBlockIndex"]:
                told.append((kind, value["contentBlockIndex"], {}))
            join(told[-1][2], value["delta"])
        elif kind == "metadata":
            told.append((kind, {**value, "usage": {key: count for key, count in value["usage"].items() if count}}))
        else:
            told.append((kind, value))
    for one in told:
        if one[-1] == {"toolUse": {"input": ""}}:
            one[-1]["toolUse"]["input"] = "{}"
    return told


def join(before: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict):
            join(before.setdefault(key, {}), value)
        else:
            before[key] = before[key] + value if key in before else value


ERRORS: list[tuple[MotiveError, int, str]] = [
    (errors.BadRequestError("x", param="messages"), 400, "ValidationException"),
    (errors.AuthenticationError("x"), 401, "AccessDeniedException"),
    (StatusError(402, "x"), 402, "AccessDeniedException"),
    (errors.PermissionDeniedError("x"), 403, "AccessDeniedException"),
    (errors.NotFoundError("x"), 404, "ResourceNotFoundException"),
    (errors.RequestTimeoutError("x"), 408, "ModelTimeoutException"),
    (errors.ConflictError("x"), 409, "ConflictException"),
    (errors.PayloadTooLargeError("x"), 413, "ValidationException"),
    (errors.UnprocessableError("x"), 422, "ValidationException"),
    (StatusError(424, "x"), 424, "ModelErrorException"),
    (errors.UpgradeRequiredError("x"), 426, "ValidationException"),
    (errors.RateLimitedError("x"), 429, "ThrottlingException"),
    (errors.InternalError("x"), 500, "InternalServerException"),
    (errors.UpstreamError("x"), 502, "InternalServerException"),
    (errors.UnavailableError("x"), 503, "ServiceUnavailableException"),
    (errors.HoldTimeoutError("x"), 408, "ModelTimeoutException"),
    (errors.OverloadedError("x"), 503, "ServiceUnavailableException"),
    (StatusError(520, "x"), 520, "InternalServerException"),
]


@pytest.mark.parametrize(("error", "status", "name"), ERRORS, ids=lambda value: getattr(value, "status", None))
def test_every_error_raises_its_exception(
    service: Service, client: Any, error: MotiveError, status: int, name: str
) -> None:
    service.serve_error(error)

    for call in (client.converse, client.converse_stream):
        with pytest.raises(ClientError) as caught:
            call(modelId="room", messages=HELLO)
        assert type(caught.value) is getattr(client.exceptions, name)
        told = caught.value.response
        assert told["Error"] == {"Code": name, "Message": "messages: x" if error.param else "x"}
        assert (told["ResponseMetadata"]["HTTPStatusCode"], told["ResponseMetadata"]["RequestId"]) == (status, "req_1")


@pytest.mark.parametrize(
    ("error", "requests"),
    [
        (errors.HoldTimeoutError("nobody answered"), 1),
        (errors.RequestTimeoutError("x"), 1),
        (errors.BadRequestError("x"), 1),
        (errors.ConflictError("x"), 1),
        (errors.UpstreamError("x"), 2),
        (errors.OverloadedError("x"), 2),
    ],
)
def test_what_a_retry_cannot_mend_is_not_retried(service: Service, error: MotiveError, requests: int) -> None:
    service.serve_error(error)
    client = make_client(service, attempts=2)
    with pytest.raises(ClientError):
        client.converse(modelId="room", messages=HELLO)
    client.close()
    assert len(service.asked) == requests
    assert len({head.headers["amz-sdk-invocation-id"] for head, _ in service.asked}) == 1


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.OverloadedError("too much"), "serviceUnavailableException"),
        (errors.RateLimitedError("too much"), "throttlingException"),
        (errors.HoldTimeoutError("too much"), "modelStreamErrorException"),
        (errors.ConflictError("too much"), "validationException"),
        (errors.InternalError("too much"), "internalServerException"),
    ],
)
def test_an_error_in_the_stream_raises(
    service: Service, client: Any, error: MotiveError, code: str, begun: bool
) -> None:
    encoder = DIALECT.encoder(REQUEST)
    half: list[ReplyEvent] = [Started("1", "room"), PartStarted(0, 0, TextPart("")), PartDelta(0, 0, "half")]
    service.serve_stream(encoder.encode_all(half if begun else []), encoder.encode(Failed(error)))

    heard = []
    with (
        closing(client.converse_stream(modelId="room", messages=HELLO)["stream"]) as stream,
        pytest.raises(EventStreamError) as caught,
    ):
        heard.extend(stream)
    assert caught.value.response["Error"] == {"Code": code, "Message": "too much"}
    assert len(heard) == (2 if begun else 0)


def test_lists_of_models(service: Service) -> None:
    models = [ModelInfo("room-1", 1_795_230_236), ModelInfo("zimmer ü", 1_795_230_236)]
    client = make_client(service, "bedrock")

    def serve(call: Any, **arguments: Any) -> Any:
        """What the SDK makes of the reply to what it asks."""
        service.serve(200, {"content-type": "application/json"}, b"{}")
        call(**arguments)
        head = service.asked[-1][0]
        assert DIALECT.serves(head)
        assert DIALECT.speaks(head)
        reply = DIALECT.serve(SideCall(head, b"", models, lambda _: None, lambda _: False))
        service.serve(reply.status, {"content-type": reply.content_type}, reply.body)
        return call(**arguments)

    listed = serve(client.list_foundation_models)["modelSummaries"]
    assert [model["modelId"] for model in listed] == ["room-1", "zimmer ü"]
    profiles = serve(client.list_inference_profiles, maxResults=5)["inferenceProfileSummaries"]
    assert [profile["inferenceProfileId"] for profile in profiles] == ["room-1", "zimmer ü"]
    assert profiles[0]["createdAt"].year == 2026
    assert serve(client.get_foundation_model, modelIdentifier="zimmer ü")["modelDetails"]["modelId"] == "zimmer ü"
    arn = profiles[1]["inferenceProfileArn"]
    profile = serve(client.get_inference_profile, inferenceProfileIdentifier=arn)
    assert profile["models"][0]["modelArn"].rpartition("/")[2] == "zimmer ü"
    client.close()


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        ({"converse": {"messages": [{"role": "user", "content": [{"text": "x" * 40}]}]}}, 10),
        ({"invokeModel": {"body": json.dumps({"messages": [{"role": "user", "content": "x" * 40}]})}}, 10),
    ],
)
def test_a_count_of_tokens(service: Service, client: Any, given: Any, tokens: int) -> None:
    service.serve(200, {"content-type": "application/json"}, b'{"inputTokens":0}')
    client.count_tokens(modelId="room", input=given)
    head, body = service.asked[-1]
    reply = DIALECT.serve(SideCall(head, body, [], lambda _: None, lambda _: False))
    service.serve(reply.status, {"content-type": reply.content_type}, reply.body)
    assert client.count_tokens(modelId="room", input=given)["inputTokens"] == tokens


# What the SDK sends.

SENT: dict[str, dict[str, Any]] = {
    "plain": {"messages": HELLO},
    "everything": {
        "system": [{"text": "Be kind."}, {"cachePoint": {"type": "default"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": CODE},
                    {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}},
                    {"document": {"format": "pdf", "name": "Report", "source": {"bytes": b"%PDF-"}}},
                    {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/v.mp4"}}}},
                    {"guardContent": {"text": {"text": "mind", "qualifiers": ["query"]}}},
                ],
            }
        ],
        "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]},
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        "guardrailConfig": {"guardrailIdentifier": "g1", "guardrailVersion": "1"},
        "performanceConfig": {"latency": "optimized"},
        "requestMetadata": {"team": "a"},
        "outputConfig": {
            "textFormat": {
                "type": "json_schema",
                "structure": {"jsonSchema": {"name": "n", "schema": '{"type":"object"}'}},
            }
        },
    },
    "tools": {
        "toolConfig": {
            "tools": [
                {"toolSpec": {"name": "f", "description": "F.", "inputSchema": {"json": {"type": "object"}}}},
                {"cachePoint": {"type": "default"}},
            ],
            "toolChoice": {"any": {}},
        },
        "messages": [
            *HELLO,
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1.5}}}]},
            {
                "role": "user",
                "content": [
                    {
                        "toolResult": {
                            "toolUseId": "t1",
                            "status": "error",
                            "content": [{"text": "no"}, {"json": {"a": [1]}}],
                        }
                    }
                ],
            },
        ],
    },
}


@pytest.mark.parametrize("name", SENT)
@pytest.mark.parametrize("model", ["room-é ü@asker", "arn:aws:bedrock:us-east-1:1:inference-profile/us.x", "a.b-v1:0"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_sdk_sends_is_understood_and_survives(
    service: Service, client: Any, name: str, model: str, stream: bool
) -> None:
    if stream:
        service.serve_stream(*streamed(REPLIES["text"]))
        list(client.converse_stream(modelId=model, **SENT[name])["stream"])
    else:
        service.serve_reply(REPLIES["text"])
        client.converse(modelId=model, **SENT[name])

    head, body = service.asked[0]
    assert DIALECT.matches(head)
    assert DIALECT.speaks(head)
    request = DIALECT.parse_request(body, head)
    assert (request.model, request.stream) == (model, stream)
    assert head.path == DIALECT.target(request)
    rendered = DIALECT.render_request(request)
    assert DIALECT.parse_request(rendered, head) == request
    assert json.loads(rendered) == json.loads(body)


def test_what_the_sdk_sends_is_the_right_request(service: Service, client: Any) -> None:
    service.serve_reply(REPLIES["text"])
    client.converse(modelId="room", **SENT["everything"])
    client.converse(modelId="room", **SENT["tools"])

    first, second = (DIALECT.parse_request(body, head) for head, body in service.asked)
    parts = first.messages[1].parts
    assert parts[:3] == (
        TextPart(CODE),
        BlobPart("image/png", data="iVBORw=="),
        BlobPart("application/pdf", data="JVBERi0=", name="Report"),
    )
    assert first.sampling == Sampling(9, 0.5, 0.9, ("END",))
    assert first.response_format is not None
    assert first.response_format.schema == {"type": "object"}
    assert second.tools[0].name == "f"
    assert isinstance(second.tools[0], Tool)
    assert second.tool_choice == ToolChoice("required")
    assert second.messages[1].parts == (ToolCallPart("t1", "f", '{"a":1.5}'),)
    (result,) = second.messages[2].parts
    assert isinstance(result, ToolResultPart)
    assert (result.call_id, result.is_error) == ("t1", True)
    assert [part.text for part in result.content if isinstance(part, TextPart)] == ["no", '{"a":[1]}']


def test_a_reply_that_the_sdk_sends_back_is_the_same_reply(service: Service, client: Any) -> None:
    for name in ("code", "tool", "parallel", "reasoning"):
        service.serve_stream(*streamed(REPLIES[name]))
        content = Heard(client.converse_stream(modelId="room", messages=HELLO)["stream"]).content
        service.serve_reply(REPLIES["text"])
        client.converse(modelId="room", messages=[*HELLO, {"role": "assistant", "content": content}, *HELLO])

        head, body = service.asked[-1]
        sent = DIALECT.parse_request(body, head).messages[1].parts
        assert [_value(part) for part in sent] == [_value(part) for part in REPLIES[name].choices[0].parts]


def _value(part: Part) -> Any:
    """A part with its arguments as the object that they are."""
    if isinstance(part, ToolCallPart):
        return part.call_id, part.name, json.loads(part.arguments or "{}")
    return part


def test_an_error_on_an_unknown_path_has_this_envelope(service: Service, client: Any) -> None:
    service.serve_error(errors.NotFoundError("not served"))
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="not served"):
        client.apply_guardrail(guardrailIdentifier="g", guardrailVersion="1", source="INPUT", content=[])
    head = service.asked[0][0]
    assert DIALECT.speaks(RequestHead(head.method, head.host, head.port, head.path, "", head.headers))
    assert not DIALECT.matches(head)
