"""InvokeModel with Anthropic's bodies: what stands around a message, both ways."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from motive_core import errors
from motive_core.dialects.anthropic_bedrock import VERSION, AnthropicBedrock
from motive_core.dialects.base import RequestHead
from motive_core.errors import BadRequestError, FramingError, MotiveError
from motive_core.framing import EventStreamDecoder, event_frame, exception_frame
from motive_core.ir import (
    ChatRequest,
    Choice,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    Reply,
    ResponseFormat,
    Sampling,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    Usage,
)
from motive_core.stream import (
    ChoiceEnded,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    ReplyEvent,
    Started,
    UsageReported,
    collect,
    replay,
)
from tests.core.dialects.bedrock_wire import error_frame, events_of

DIALECT = AnthropicBedrock()
NAME = "bedrock-invoke"
REQUEST = ChatRequest(NAME, "room", (Message("user", (TextPart("hi"),)),), stream=True)
HELLO = {"anthropic_version": VERSION, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
METRICS = "amazon-bedrock-invocationMetrics"


def head(path: str = "/model/room/invoke") -> RequestHead:
    return RequestHead("POST", "bedrock-runtime.us-east-1.amazonaws.com", 443, path)


def parse(body: Any, path: str = "/model/room/invoke") -> ChatRequest:
    return DIALECT.parse_request(body if isinstance(body, bytes) else json.dumps(body).encode(), head(path))


def rendered(request: ChatRequest) -> Any:
    return json.loads(DIALECT.render_request(request))


def chunk(event: Any, **more: Any) -> bytes:
    told = event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode()
    return event_frame("chunk", json.dumps({"bytes": base64.b64encode(told).decode(), "p": "abc", **more}).encode())


def chunks_of(data: bytes) -> list[Any]:
    """What is in the chunks of a stream; an exception as it is."""
    return [
        json.loads(base64.b64decode(told["bytes"], validate=True)) if name == "chunk" else (name, told)
        for name, told in events_of(data)
    ]


# Requests.


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/model/room/invoke", "room", False),
        ("/model/room/invoke-with-response-stream", "room", True),
        ("/model/us.anthropic.claude-v1:0/invoke", "us.anthropic.claude-v1:0", False),
        ("/model/us.anthropic.claude-v1%3A0/invoke", "us.anthropic.claude-v1:0", False),
        ("/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ax%2Fy/invoke", "arn:aws:bedrock:us-east-1:1:x/y", False),
        ("/model/zimmer%20%C3%BC%40asker/invoke", "zimmer ü@asker", False),
    ],
)
def test_the_path_tells_the_model_and_whether_to_stream(path: str, model: str, stream: bool) -> None:
    assert DIALECT.matches(head(path))
    request = parse(HELLO, path)
    assert (request.dialect, request.model, request.stream) == (NAME, model, stream)
    assert request.raw == json.dumps(HELLO).encode()
    assert request.extra == {"anthropic_version": VERSION}
    assert parse(HELLO, DIALECT.target(request)) == request
    assert rendered(request) == HELLO


def test_what_the_path_tells_counts_even_if_the_body_tells_it_too() -> None:
    body = b'{"model":"other","stream":true,' + json.dumps(HELLO).encode()[1:] + b" \n"
    assert (parse(body).model, parse(body).stream) == ("room", False)


@pytest.mark.parametrize(
    "path", ["/model/room/converse", "/model/room/invoke-with-bidirectional-stream", "/invoke", "/v1/messages"]
)
def test_other_paths_are_not_ours(path: str) -> None:
    assert not DIALECT.matches(head(path))


def test_numbers_and_blocks_stay_as_they_were() -> None:
    body = (
        b'{"anthropic_version":"%b","max_tokens":9,"temperature":0.50,"messages":[{"role":"assistant","content":[{"type":'
        b'"tool_use","id":"t","name":"f","input":{"a":1.0,"b":12345678901234567890}}]},{"role":"user","content":'
        b'[{"type":"tomorrow","x":1}]}]}' % VERSION.encode()
    )
    request = parse(body)
    assert request.messages[0].parts == (ToolCallPart("t", "f", '{"a":1.0,"b":12345678901234567890}'),)
    assert b'{"a":1.0,"b":12345678901234567890}' in DIALECT.render_request(request)
    assert rendered(request) == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        {"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 5}},
        {"prompt": "hi", "max_gen_len": 5},
        {"schemaVersion": "messages-v1", "messages": [{"role": "user", "content": [{"text": "hi"}]}]},
        {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5},
        {**HELLO, "anthropic_version": None},
        {},
    ],
)
def test_bodies_of_other_vendors_are_refused_clearly(body: Any) -> None:
    with pytest.raises(BadRequestError, match="only those of Anthropic's models are spoken here") as caught:
        parse(body)
    assert caught.value.param == "anthropic_version"


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b"", None, "not valid JSON"),
        (b"{", None, "not valid JSON"),
        (b'{"a":1,}', None, "not valid JSON"),
        (b'{"a":"}', None, "not valid JSON"),
        (b"[]", None, "valid dictionary"),
        (b"}", None, "not valid JSON"),
        ({**HELLO, "messages": []}, "messages", "at least one message"),
        ({**HELLO, "messages": [{"role": "user"}]}, "messages.0.content", "Field required"),
        ({**HELLO, "max_tokens": "9"}, "max_tokens", "valid integer"),
    ],
)
def test_what_is_wrong_is_named(body: Any, param: str | None, message: str) -> None:
    with pytest.raises(BadRequestError, match=message) as caught:
        parse(body)
    assert caught.value.param == param


def test_a_request_of_another_dialect() -> None:
    request = ChatRequest(
        "other",
        "room",
        (
            Message("system", (TextPart("Be kind."),)),
            Message("user", (TextPart("go"), OpaquePart("other", {"x": 1}))),
            Message("assistant", (ReasoningPart("hm", "s"), ToolCallPart("c.1", "f", '{ "a": 1.0 }'))),
            Message("tool", (ToolResultPart("c.1", (TextPart("ok"),)),)),
        ),
        stream=True,
        tools=(Tool("f"),),
        tool_choice=ToolChoice("required"),
        response_format=ResponseFormat("json_schema", schema={"type": "object"}),
        sampling=Sampling(temperature=0.5),
        extra={"service_tier": "flex"},
    )
    assert rendered(request) == {
        "anthropic_version": VERSION,
        "max_tokens": 4096,
        "system": "Be kind.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "go"}, {"type": "text", "text": '\n\n{"x":1}'}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c_1", "name": "f", "input": {"a": 1.0}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c_1", "content": "ok"}]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "any"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    }
    assert b'{ "a": 1.0 }' in DIALECT.render_request(request)


def test_fields_of_anthropics_own_service_stay_there() -> None:
    request = replace(parse(HELLO), dialect="anthropic-messages", extra={"service_tier": "auto"})
    assert rendered(request) == HELLO


# Replies.


def reply_of(*parts: Part, dialect: str = "", **fields: Any) -> Reply:
    return Reply("msg_bdrk_1", "room", (Choice(parts, **fields),), Usage(11, 7, cached_tokens=4), dialect=dialect)


def test_a_whole_reply_is_a_message() -> None:
    body = json.loads(DIALECT.render_reply(REQUEST, reply_of(TextPart("é"))))
    assert (body["id"], body["model"], body["content"]) == ("msg_bdrk_1", "room", [{"type": "text", "text": "é"}])
    reply = DIALECT.parse_reply(json.dumps({**body, "tomorrow": 1}).encode())
    assert (reply.dialect, reply.extra) == (NAME, {"tomorrow": 1})
    assert json.loads(DIALECT.render_reply(REQUEST, reply))["tomorrow"] == 1
    assert "tomorrow" not in json.loads(DIALECT.render_reply(REQUEST, replace(reply, dialect="anthropic-messages")))


def test_a_block_that_only_anthropic_knows_stays_one() -> None:
    block = {"type": "server_tool_use", "id": "s", "name": "n", "input": {}}
    body = json.loads(DIALECT.render_reply(REQUEST, reply_of(OpaquePart("anthropic-messages", block))))
    assert body["content"] == [block]


def test_the_headers_of_a_stream() -> None:
    assert DIALECT.content_type(REQUEST) == "application/vnd.amazon.eventstream"
    assert DIALECT.reply_headers("r")["x-amzn-bedrock-content-type"] == "application/json"
    assert DIALECT.reply_headers("r")["x-amzn-requestid"] == "r"


def test_the_events_of_a_stream() -> None:
    events = chunks_of(DIALECT.encoder(REQUEST).encode_all(replay(reply_of(TextPart("a\n\ndata: é\u2028")))))
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[2]["delta"] == {"type": "text_delta", "text": "a\n\ndata: é\u2028"}
    assert events[4]["usage"]["output_tokens"] == 7
    assert events[5] == {
        "type": "message_stop",
        METRICS: {"inputTokenCount": 7, "outputTokenCount": 7, "invocationLatency": 0, "firstByteLatency": 0},
    }


def test_what_bedrock_measured_survives_in_this_dialect_only() -> None:
    metrics = {"inputTokenCount": 1, "outputTokenCount": 2, "invocationLatency": 9, "firstByteLatency": 3}
    start = {"type": "message_start", "message": {"id": "m", "model": "x", "content": [], "usage": {}}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
    decoder = DIALECT.decoder()
    events = decoder.feed(chunk(start) + chunk(end) + chunk({"type": "message_stop", METRICS: metrics}))
    assert events == [
        Started("m", "x", dialect=NAME),
        UsageReported(Usage(0, 2)),
        ChoiceEnded(0, "stop", extra={METRICS: metrics}),
        Finished(),
    ]
    assert isinstance(events[0], Started)
    assert events[0].dialect == NAME
    assert chunks_of(DIALECT.encoder(REQUEST).encode_all(events))[-1][METRICS] == metrics
    events[0] = replace(events[0], dialect="anthropic-messages")
    told = chunks_of(DIALECT.encoder(REQUEST).encode_all(events))
    assert told[-1][METRICS]["invocationLatency"] == 0
    assert METRICS not in told[-2]["delta"]


def test_pieces_come_as_they_are_said() -> None:
    encoder = DIALECT.encoder(REQUEST)
    assert encoder.encode(Started("m", "room"))
    encoder.encode(PartStarted(0, 0, ToolCallPart("t", "f", "")))
    said = [chunks_of(encoder.encode(PartDelta(0, 0, piece))) for piece in ('{ "a"', ": 1.0}", "")]
    assert [[event["delta"]["partial_json"] for event in events] for events in said] == [['{ "a"'], [": 1.0}"], []]
    [frame] = EventStreamDecoder().feed(encoder.heartbeat())
    assert (frame.kind, frame.name) == ("event", "ping")


def test_frames_that_are_new_to_us_are_passed_over() -> None:
    decoder = DIALECT.decoder()
    start = {"type": "message_start", "message": {"id": "m", "model": "x"}}
    assert decoder.feed(event_frame("tomorrow", b"{}") + chunk({"type": "ping"}) + chunk(start)) == [Started("m", "x")]


@pytest.mark.parametrize(
    "frame",
    [
        event_frame("chunk", b"{"),
        event_frame("chunk", b"[]"),
        event_frame("chunk", b"{}"),
        event_frame("chunk", b'{"bytes":1}'),
        event_frame("chunk", b'{"bytes":"%"}'),
        event_frame("chunk", '{"bytes":"é"}'.encode()),
        chunk(b"\xff"),
        chunk(b"{"),
        chunk(b"[]"),
        chunk({"type": "message_stop"}),
        chunk(b'{"type":"message_stop","amazon-bedrock-invocationMetrics"'),
        b"data: {}\n\n" * 9,
    ],
)
def test_what_is_no_stream_of_ours(frame: bytes) -> None:
    with pytest.raises(FramingError, match="not a stream of InvokeModel"):
        DIALECT.decoder().feed(frame)


@pytest.mark.parametrize(
    ("frame", "status", "message"),
    [
        (exception_frame("throttlingException", b'{"message":"Slow."}'), 429, "Slow."),
        (exception_frame("modelTimeoutException", b'{"message":"x"}'), 408, "x"),
        (exception_frame("modelStreamErrorException", b'{"message":"x","originalStatusCode":500}'), 500, "x"),
        (error_frame("Code", "Broken."), 500, "Broken."),
        (chunk({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}), 529, "x"),
    ],
)
def test_exceptions_in_a_stream(frame: bytes, status: int, message: str) -> None:
    decoder = DIALECT.decoder()
    start = chunk({"type": "message_start", "message": {"id": "m", "model": "x"}})
    *_, last = [*decoder.feed(start + frame + start), *decoder.close()]
    assert isinstance(last, Failed)
    assert (last.error.status, last.error.message) == (status, message)


def test_a_stream_that_is_cut_fails() -> None:
    data = DIALECT.encoder(REQUEST).encode_all(list(replay(reply_of(TextPart("a"))))[:-1])
    decoder = DIALECT.decoder()
    *_, last = [*decoder.feed(data), *decoder.close()]
    assert isinstance(last, Failed)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (errors.BadRequestError("x"), "validationException"),
        (errors.RateLimitedError("x"), "throttlingException"),
        (errors.HoldTimeoutError("x"), "modelTimeoutException"),
        (errors.InternalError("x"), "internalServerException"),
        (errors.UnavailableError("x"), "serviceUnavailableException"),
        (errors.OverloadedError("x"), "serviceUnavailableException"),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_a_failure_is_an_exception(error: MotiveError, name: str, begun: bool) -> None:
    half: list[ReplyEvent] = [Started("m", "room"), PartStarted(0, 0, TextPart("a"))] if begun else []
    encoder = DIALECT.encoder(REQUEST)
    *before, last = chunks_of(encoder.encode_all([*half, Failed(error), PartEnded(0, 0), Finished(), Failed(error)]))
    assert last == (name, {"message": "x"})
    assert len(before) == (3 if begun else 0)


def test_a_refused_reply_survives() -> None:
    reply = reply_of(dialect=NAME, finish_reason="refusal")
    decoder = DIALECT.decoder()
    data = DIALECT.encoder(REQUEST).encode_all(replay(reply))
    assert collect([*decoder.feed(data), *decoder.close()]) == reply
