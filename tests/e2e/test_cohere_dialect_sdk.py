"""The ``cohere`` SDK against bytes that the dialect rendered, served by a plain HTTP server."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cohere
import cohere.core.api_error
import httpx
import pytest
from cohere.base_client import BaseCohere
from cohere.types import GetModelResponse, ListModelsResponse
from cohere.v2.types import V2ChatResponse, V2ChatStreamResponse
from pydantic import TypeAdapter

from motive_core import errors
from motive_core.dialects import ModelInfo, SideCall
from motive_core.dialects.cohere_chat import CohereChat
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
from motive_core.stream import ChoiceEnded, Failed, PartDelta, PartStarted, ReplyEvent, Started, replay, replay_part
from tests.e2e.dialect_service import Service, serving

DIALECT = CohereChat()
WIRE = Path(__file__).parents[1] / "wire" / "cohere-chat"
REQUEST = ChatRequest("cohere-chat", "room", (Message("user", (TextPart("hi"),)),), stream=True)
HELLO: Any = [{"role": "user", "content": "hi"}]

CODE = 'Grüße — 你好 👩‍👩‍👧\n\n```python\ndef f(x):\n\treturn "\\t" + x\u2028\n```\r\n\x7f</script>\n\ndata: [DONE]\n\n'
EVENTS: TypeAdapter[Any] = TypeAdapter(V2ChatStreamResponse)


@pytest.fixture(autouse=True)
def nothing_is_skipped(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The SDK skips an event that it does not understand, with a warning."""
    yield
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING and record.name != "httpx"]


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(DIALECT, REQUEST) as server:
        yield server


@pytest.fixture
def client(service: Service) -> Iterator[cohere.ClientV2]:
    with httpx.Client(trust_env=False) as http:
        yield cohere.ClientV2("co-test", base_url=service.url, max_retries=0, timeout=30, httpx_client=http)


def async_client(service: Service, http: httpx.AsyncClient) -> cohere.AsyncClientV2:
    return cohere.AsyncClientV2("co-test", base_url=service.url, max_retries=0, timeout=30, httpx_client=http)


def reply_of(*parts: Part, finish_reason: FinishReason = "stop", stop_sequence: str | None = None) -> Reply:
    return Reply("uuid-1", "room", (Choice(parts, finish_reason, stop_sequence),), Usage(11, 7, cached_tokens=4))


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
    "call_1", "get_weather", '{"location": "München", "days": 3, "scale": 1.0, "big": 12345678901234567}'
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
    "thinking": reply_of(ReasoningPart("27 × 453\n= 12231"), TextPart("12231")),
    "thinking_tool": reply_of(ReasoningPart("A tool."), TOOL, finish_reason="tool_calls"),
    "length": reply_of(TextPart("and so"), finish_reason="length"),
    "stop_sequence": reply_of(TextPart("1, 2, "), stop_sequence="3"),
    "error": reply_of(TextPart("half"), finish_reason="error"),
    "empty": reply_of(),
}
FINISHES = {
    "tool": "TOOL_CALL",
    "parallel": "TOOL_CALL",
    "thinking_tool": "TOOL_CALL",
    "length": "MAX_TOKENS",
    "stop_sequence": "STOP_SEQUENCE",
    "error": "ERROR",
}


def gathered(events: Any) -> dict[str, Any]:
    """A stream put together: the SDK leaves that to its callers. Each event must come where it belongs."""
    content: dict[int, dict[str, Any]] = {}
    calls: dict[int, dict[str, Any]] = {}
    said: dict[str, Any] = {"role": "assistant"}
    reply: dict[str, Any] = {}
    opened: set[tuple[str, int]] = set()
    for number, event in enumerate(events):
        assert "message" not in reply, "an event after the end"
        assert (event.type == "message-start") == (number == 0)
        match event.type:
            case "message-start":
                reply["id"] = event.id
                assert event.delta.message.role == "assistant"
            case "content-start":
                assert not opened
                opened.add(("content", event.index))
                assert event.index == len(content)
                content[event.index] = event.delta.message.content.model_dump(exclude_none=True)
            case "content-delta":
                assert opened == {("content", event.index)}
                (key,) = event.delta.message.content.model_dump(exclude_none=True)
                content[event.index][key] += getattr(event.delta.message.content, key)
            case "content-end":
                opened.remove(("content", event.index))
            case "tool-plan-delta":
                said["tool_plan"] = said.get("tool_plan", "") + event.delta.message.tool_plan
            case "tool-call-start":
                assert not opened
                opened.add(("call", event.index))
                assert event.index == len(calls)
                calls[event.index] = event.delta.message.tool_calls.model_dump()
            case "tool-call-delta":
                assert opened == {("call", event.index)}
                calls[event.index]["function"]["arguments"] += event.delta.message.tool_calls.function.arguments
            case "tool-call-end":
                opened.remove(("call", event.index))
            case "citation-start":
                said.setdefault("citations", []).append(event.delta.message.citations.model_dump(exclude_none=True))
            case "citation-end":
                assert event.index == len(said["citations"]) - 1
            case "message-end":
                assert not opened
                said |= {
                    key: list(found.values()) for key, found in (("content", content), ("tool_calls", calls)) if found
                }
                reply["finish_reason"] = event.delta.finish_reason
                if event.delta.usage is not None:
                    reply["usage"] = event.delta.usage.model_dump(exclude_none=True)
                reply["message"] = said
            case other:
                pytest.fail(f"unknown event: {other}")
    assert "message" in reply, "the stream has no end"
    return reply


def assert_says(told: V2ChatResponse, name: str) -> None:
    """What the SDK gives its caller is what was replied."""
    parts = REPLIES[name].choices[0].parts
    assert told.id == "uuid-1"
    assert told.finish_reason == FINISHES.get(name, "COMPLETE")
    assert told.message.role == "assistant"
    assert told.usage is not None
    for counts in (told.usage.tokens, told.usage.billed_units):
        assert counts is not None
        assert (counts.input_tokens, counts.output_tokens) == (11, 7)
    assert told.usage.cached_tokens == 4
    content = [(item.type, getattr(item, item.type)) for item in told.message.content or ()]
    expected = [
        ("thinking" if isinstance(part, ReasoningPart) else "text", part.text)
        for part in parts
        if isinstance(part, TextPart | ReasoningPart)
    ]
    assert content == (expected or ([] if told.message.tool_calls else [("text", "")]))
    calls = [
        (call.id, call.type, call.function.name, call.function.arguments)
        for call in told.message.tool_calls or ()
        if call.function is not None
    ]
    assert calls == [
        (part.call_id, "function", part.name, part.arguments or "{}")
        for part in parts
        if isinstance(part, ToolCallPart)
    ]


@pytest.mark.parametrize("name", REPLIES)
class TestReplies:
    def test_whole(self, service: Service, client: cohere.ClientV2, name: str) -> None:
        service.serve_reply(REPLIES[name])

        assert_says(client.chat(model="room", messages=HELLO), name)

    def test_streamed(self, service: Service, client: cohere.ClientV2, name: str) -> None:
        service.serve_stream(*streamed(REPLIES[name]))

        assert_says(V2ChatResponse(**gathered(client.chat_stream(model="room", messages=HELLO))), name)

    def test_streamed_byte_by_byte_with_heartbeats(self, service: Service, client: cohere.ClientV2, name: str) -> None:
        data = b"".join(streamed(REPLIES[name], heartbeats=True))
        service.serve_stream(*[data[at : at + 1] for at in range(len(data))])

        assert_says(V2ChatResponse(**gathered(client.chat_stream(model="room", messages=HELLO))), name)

    async def test_async(self, service: Service, name: str) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            client = async_client(service, http)
            service.serve_reply(REPLIES[name])
            assert_says(await client.chat(model="room", messages=HELLO), name)

            service.serve_stream(*streamed(REPLIES[name], heartbeats=True))
            events = [event async for event in client.chat_stream(model="room", messages=HELLO)]
        assert_says(V2ChatResponse(**gathered(events)), name)

    def test_the_sdks_own_models_accept_every_byte(self, name: str) -> None:
        """The SDK does not validate what it reads; pydantic does here."""
        V2ChatResponse.model_validate_json(DIALECT.render_reply(REQUEST, REPLIES[name]), strict=True)
        for event in events_of(b"".join(streamed(REPLIES[name]))):
            EVENTS.validate_json(event, strict=True)


def events_of(data: bytes) -> list[bytes]:
    """The data of the events of a stream, its end mark aside, which must be there."""
    *events, done, rest = data.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    for event in events:
        name, _, told = event.partition(b"\ndata: ")
        assert name == b"event: " + json.loads(told)["type"].encode()
    return [event.partition(b"\ndata: ")[2] for event in events]


def test_pieces_of_a_tool_call_arrive_as_they_are_said(service: Service, client: cohere.ClientV2) -> None:
    service.serve_stream(*streamed(REPLIES["tool"]))

    stream: Any = client.chat_stream(model="room", messages=HELLO)
    pieces = [one.delta.message.tool_calls.function.arguments for one in stream if one.type == "tool-call-delta"]
    assert len(pieces) > 10
    assert "".join(pieces) == TOOL.arguments


def test_a_text_of_megabytes_in_one_delta_arrives(service: Service, client: cohere.ClientV2) -> None:
    """The SDK refuses lines of more than a MiB."""
    text = "\x00é" * 1_000_000
    arguments = json.dumps({"a": text}, ensure_ascii=False)
    reply = reply_of(TextPart(text), ToolCallPart("c", "f", arguments))
    service.serve_stream(DIALECT.encoder(REQUEST).encode_all(replay(reply)))

    message = gathered(client.chat_stream(model="room", messages=HELLO))["message"]
    assert message["content"] == [{"type": "text", "text": text}]
    assert message["tool_calls"][0]["function"]["arguments"] == arguments


@pytest.mark.parametrize("path", sorted(WIRE.glob("*.reply.json")), ids=lambda path: path.name.split(".")[0])
def test_replies_of_the_live_api_are_rendered_as_the_sdk_wants_them(
    service: Service, client: cohere.ClientV2, path: Path
) -> None:
    reply = DIALECT.parse_reply(path.read_bytes())
    whole = DIALECT.render_reply(REQUEST, reply)
    service.serve(200, {"content-type": "application/json"}, whole)
    told = client.chat(model="room", messages=HELLO)

    if "tomorrow" not in path.name:
        V2ChatResponse.model_validate_json(path.read_bytes(), strict=True)
        V2ChatResponse.model_validate_json(whole, strict=True)
        service.serve_stream(DIALECT.encoder(REQUEST).encode_all(replay(reply)))
        again = gathered(client.chat_stream(model="room", messages=HELLO))
        assert again["message"] == told.message.model_dump(exclude_none=True)


@pytest.mark.parametrize(
    "path",
    # Those of a host are no events of the API, and the SDK does not know an item of tomorrow.
    [path for path in sorted(WIRE.glob("*.stream.sse")) if not path.name.startswith(("host", "item_of_tomorrow"))],
    ids=lambda path: path.name.split(".")[0],
)
def test_the_stream_of_the_live_api_gives_the_sdk_the_same_reply_as_ours(
    service: Service, client: cohere.ClientV2, path: Path
) -> None:
    decoder = DIALECT.decoder()
    events = [*decoder.feed(path.read_bytes()), *decoder.close()]
    replies = []
    for data in (path.read_bytes(), DIALECT.encoder(REQUEST).encode_all(events)):
        service.serve_stream(data)
        replies.append(gathered(client.chat_stream(model="room", messages=HELLO)))
    for reply in replies:
        # What follows from the others, or what a model meant by it.
        reply.get("usage", {}).setdefault("cached_tokens", 0)
        for call in reply["message"].get("tool_calls", ()):
            call["function"]["arguments"] = call["function"]["arguments"].replace("null", "{}")
    assert replies[0] == replies[1]


ERRORS: list[tuple[MotiveError, type[cohere.core.api_error.ApiError]]] = [
    (errors.BadRequestError("x", param="messages"), cohere.BadRequestError),
    (errors.AuthenticationError("x"), cohere.UnauthorizedError),
    (errors.PermissionDeniedError("x"), cohere.ForbiddenError),
    (errors.NotFoundError("x"), cohere.NotFoundError),
    (errors.UnprocessableError("x"), cohere.UnprocessableEntityError),
    (errors.RateLimitedError("x"), cohere.TooManyRequestsError),
    (StatusError(498, "x"), cohere.InvalidTokenError),
    (StatusError(499, "x"), cohere.ClientClosedRequestError),
    (errors.InternalError("x"), cohere.InternalServerError),
    (StatusError(501, "x"), cohere.NotImplementedError),
    (errors.UnavailableError("x"), cohere.ServiceUnavailableError),
    (errors.HoldTimeoutError("x"), cohere.GatewayTimeoutError),
    # The SDK has no class of its own for these.
    (StatusError(402, "x"), cohere.core.api_error.ApiError),
    (errors.RequestTimeoutError("x"), cohere.core.api_error.ApiError),
    (errors.ConflictError("x"), cohere.core.api_error.ApiError),
    (errors.PayloadTooLargeError("x"), cohere.core.api_error.ApiError),
    (errors.UpgradeRequiredError("x"), cohere.core.api_error.ApiError),
    (errors.UpstreamError("x"), cohere.core.api_error.ApiError),
    (errors.OverloadedError("x"), cohere.core.api_error.ApiError),
]


@pytest.mark.parametrize(("error", "raised"), ERRORS, ids=lambda value: getattr(value, "status", None))
def test_every_error_raises_its_exception(
    service: Service, client: cohere.ClientV2, error: MotiveError, raised: type[cohere.core.api_error.ApiError]
) -> None:
    service.serve_error(error)

    def whole() -> None:
        client.chat(model="room", messages=HELLO)

    def stream() -> None:
        list(client.chat_stream(model="room", messages=HELLO))

    for call in (whole, stream):
        with pytest.raises(cohere.core.api_error.ApiError) as caught:
            call()
        assert type(caught.value) is raised
        assert caught.value.status_code == error.status
        assert caught.value.body == {"id": "req_1", "message": "messages: x" if error.param else "x"}


@pytest.mark.parametrize("begun", [False, True])
def test_an_error_in_the_stream_is_told_by_its_end(service: Service, client: cohere.ClientV2, begun: bool) -> None:
    """The SDK has no exception for it."""
    encoder = DIALECT.encoder(REQUEST)
    half: list[ReplyEvent] = (
        [Started("uuid-1", "room"), PartStarted(0, 0, TextPart("")), PartDelta(0, 0, "half")] if begun else []
    )
    said = [encoder.heartbeat(), encoder.encode_all(half), encoder.heartbeat()]
    service.serve_stream(*said, encoder.encode(Failed(errors.OverloadedError("too much"))), encoder.heartbeat())

    stream: Any = client.chat_stream(model="room", messages=HELLO)
    events = list(stream)
    assert events[-1].type == "message-end"
    assert (events[-1].delta.finish_reason, events[-1].delta.error) == ("ERROR", "too much")
    assert len(events) == (4 if begun else 1)


# Beside the chat.

MODELS = [ModelInfo("room-1", 1), ModelInfo("zimmer ü/2@asker", 2), ModelInfo("room-3", 3)]


def serve_side(service: Service, method: Any) -> Any:
    """What a method of the SDK gives, with the dialect's own answer to the call that it makes."""
    service.serve(500, {"content-type": "application/json"}, b'{"message":"not yet"}')
    with pytest.raises(cohere.InternalServerError):
        method()
    head, body = service.asked[-1]
    assert DIALECT.serves(head)
    assert not DIALECT.matches(head)
    try:
        reply = DIALECT.serve(SideCall(head, body, MODELS, lambda _: None, lambda _: False))
    except MotiveError as error:
        service.serve_error(error)
    else:
        service.serve(reply.status, {"content-type": reply.content_type}, reply.body)
    return method()


def test_the_list_of_models(service: Service, client: cohere.ClientV2) -> None:
    listed: ListModelsResponse = serve_side(service, client.models.list)
    assert [model.name for model in listed.models] == [model.model for model in MODELS]
    assert listed.next_page_token is None
    for model in listed.models:
        GetModelResponse.model_validate(model.model_dump(), strict=True)
        assert model.endpoints == ["chat"]
        assert model.context_length
    assert DIALECT.speaks(service.asked[0][0])


def test_the_list_of_models_in_pages(service: Service, client: cohere.ClientV2) -> None:
    names: list[str | None] = []
    token: str | None = None
    while True:
        page: ListModelsResponse = serve_side(
            service, lambda token=token: client.models.list(page_size=2.0, page_token=token, endpoint="chat")
        )
        names += [model.name for model in page.models]
        token = page.next_page_token
        if token is None:
            break
    assert names == [model.model for model in MODELS]
    assert serve_side(service, lambda: client.models.list(endpoint="embed")).models == []
    with pytest.raises(cohere.BadRequestError):
        serve_side(service, lambda: client.models.list(page_size=1.5))


def test_one_model(service: Service, client: cohere.ClientV2) -> None:
    for model in MODELS:
        assert serve_side(service, lambda model=model: client.models.get(model.model)).name == model.model
    with pytest.raises(cohere.NotFoundError) as caught:
        serve_side(service, lambda: client.models.get("nobody"))
    assert "nobody" in caught.value.body["message"]


def test_a_key_is_valid(service: Service, client: cohere.ClientV2) -> None:
    assert serve_side(service, lambda: BaseCohere.check_api_key(client)).valid


def test_what_is_not_spoken_is_refused_in_words(service: Service, client: cohere.ClientV2) -> None:
    with httpx.Client(trust_env=False) as http:
        first = cohere.Client("co-test", base_url=service.url, max_retries=0, httpx_client=http)
        for method, why in (
            (lambda: first.chat(model="room", message="hi"), "version 1 of the Chat API is not spoken here"),
            (lambda: list(first.chat_stream(model="room", message="hi")), "cohere.ClientV2"),
            (lambda: client.tokenize(text="hi", model="room", offline=False), "there is no tokenizer here"),
            (lambda: client.detokenize(tokens=[1], model="room", offline=False), "there is no tokenizer here"),
        ):
            with pytest.raises(cohere.NotFoundError) as caught:
                serve_side(service, method)
            assert why in caught.value.body["message"]


# What the SDK sends.


def sent(service: Service) -> ChatRequest:
    """The request that the SDK makes of this, which must survive its rendering."""
    head, body = service.asked[-1]
    assert DIALECT.matches(head)
    assert DIALECT.speaks(head)
    request = DIALECT.parse_request(body, head)
    rendered = DIALECT.render_request(request)
    assert DIALECT.parse_request(rendered) == request
    assert json.loads(rendered) == {key: value for key, value in json.loads(body).items() if value is not False}
    return request


def test_a_plain_request(service: Service, client: cohere.ClientV2) -> None:
    service.serve_reply(REPLIES["text"])
    call: Any = {
        "model": "room-é",
        "messages": [{"role": "system", "content": "Be kind."}, *HELLO],
        "max_tokens": 5,
        "temperature": 0.25,
        "p": 0.5,
        "k": 3,
        "seed": 7,
        "stop_sequences": ["END"],
        "safety_mode": "STRICT",
        "thinking": {"type": "enabled", "token_budget": 9},
        "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
    }
    client.chat(**call)

    request = sent(service)
    assert (request.model, request.stream) == ("room-é", False)
    assert request.messages == (Message("system", (TextPart("Be kind."),)), Message("user", (TextPart("hi"),)))
    assert request.sampling == Sampling(5, 0.25, 0.5, ("END",), 7)
    assert request.response_format == ResponseFormat("json_schema", schema={"type": "object"})
    assert request.extra == {"k": 3, "safety_mode": "STRICT", "thinking": {"type": "enabled", "token_budget": 9}}


def test_a_request_with_everything(service: Service, client: cohere.ClientV2) -> None:
    service.serve_stream(*streamed(REPLIES["text"]))
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{ "a": 1.0 }'}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages: Any = [
        {"role": "user", "content": [{"type": "text", "text": CODE}, image]},
        {"role": "assistant", "tool_plan": "I will.", "tool_calls": [call]},
        {
            "role": "tool",
            "tool_call_id": "c1",
            "content": [{"type": "document", "document": {"data": {"x": 1}, "id": "d"}}, {"type": "text", "text": "3"}],
        },
    ]
    function = {"name": "f", "description": "F.", "parameters": {"type": "object", "properties": {}}}
    tools: Any = [{"type": "function", "function": function}]
    documents: Any = ["A text.", {"id": "doc-1", "data": {"title": "T"}}]
    list(
        client.chat_stream(
            model="room",
            messages=messages,
            tools=tools,
            tool_choice="REQUIRED",
            strict_tools=True,
            documents=documents,
            citation_options=cohere.CitationOptions(mode="FAST"),
        )
    )

    request = sent(service)
    assert request.stream
    assert request.include_usage
    assert request.messages == (
        Message("system", (OpaquePart("cohere-chat", {"documents": documents}),)),
        Message("user", (TextPart(CODE), BlobPart("image/png", data="AAAA"))),
        Message(
            "assistant",
            (TextPart("I will.", extra={"tool_plan": True}), ToolCallPart("c1", "f", '{ "a": 1.0 }')),
        ),
        Message(
            "tool",
            (ToolResultPart("c1", (OpaquePart("cohere-chat", messages[2]["content"][0]), TextPart("3"))),),
        ),
    )
    assert request.tools == (Tool("f", "F.", function["parameters"]),)
    assert request.tool_choice == ToolChoice("required")
    assert request.extra == {"strict_tools": True, "citation_options": {"mode": "FAST"}}


def test_a_reply_that_the_sdk_sends_back_is_the_same_reply(service: Service, client: cohere.ClientV2) -> None:
    for name in ("code", "tool", "parallel", "thinking", "thinking_tool"):
        service.serve_reply(REPLIES[name])
        message: Any = client.chat(model="room", messages=HELLO).message
        client.chat(model="room", messages=[*HELLO, message, *HELLO])

        parts = DIALECT.parse_request(service.asked[-1][1]).messages[1].parts
        said = REPLIES[name].choices[0].parts
        assert parts == tuple(
            [
                ToolCallPart(part.call_id, part.name, "{}") if part == ToolCallPart("call_2", "now", "") else part
                for part in said
                if isinstance(part, ToolCallPart | TextPart | ReasoningPart)
            ]
        )
