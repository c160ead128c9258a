"""The ``openai`` SDK's Responses client against bytes that the dialect rendered, served by a plain HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from motive_core import errors
from motive_core.dialects import ModelInfo
from motive_core.errors import MotiveError, StatusError
from motive_core.ir import (
    TextPart,
    ToolCallPart,
)
from motive_core.stream import Failed, PartDelta, PartStarted, ReplyEvent, Started, replay
from tests.e2e.dialect_service import Service, serving
from tests.e2e.openai_responses_replies import (
    DIALECT,
    HELLO,
    INCOMPLETE,
    REPLIES,
    REQUEST,
    TOOL,
    WIRE,
    asked_of,
    assert_says,
    client_of,
    reply_of,
    said,
    streamed,
)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(DIALECT, REQUEST) as server:
        yield server


@pytest.fixture
def client(service: Service) -> Iterator[openai.OpenAI]:
    with client_of(service, strict=True) as sdk:
        yield sdk


@pytest.fixture
def lenient(service: Service) -> Iterator[openai.OpenAI]:
    with client_of(service, strict=False) as sdk:
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


@pytest.mark.parametrize("name", REPLIES)
class TestReplies:
    def test_whole(self, service: Service, client: openai.OpenAI, name: str) -> None:
        service.serve_reply(REPLIES[name])

        response = client.responses.create(model="room", input=HELLO)
        assert_says(response, name)
        assert response._request_id == "req_1"

    @pytest.mark.parametrize("side_by_side", [False, True])
    def test_streamed(self, service: Service, client: openai.OpenAI, name: str, *, side_by_side: bool) -> None:
        service.serve_stream(*streamed(REPLIES[name], side_by_side=side_by_side))

        events = list(client.responses.create(model="room", input=HELLO, stream=True))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
        last = events[-1]
        assert last.type == ("response.incomplete" if name in INCOMPLETE else "response.completed")
        assert_says(last.response, name)
        assert_told(events, last.response)

    def test_the_stream_helper(self, service: Service, client: openai.OpenAI, name: str) -> None:
        service.serve_stream(*streamed(REPLIES[name]))
        with client.responses.stream(model="room", input=HELLO) as stream:
            events = list(stream)
            if name in INCOMPLETE:  # as with the live API
                with pytest.raises(RuntimeError, match=r"response\.completed"):
                    stream.get_final_response()
            else:
                assert_says(stream.get_final_response(), name)
        pieces = "".join([event.delta for event in events if event.type == "response.output_text.delta"])
        if name != "degraded":
            assert pieces == said(REPLIES[name].choices[0], TextPart)

    def test_streamed_byte_by_byte_with_heartbeats(self, service: Service, client: openai.OpenAI, name: str) -> None:
        data = b"".join(streamed(REPLIES[name], heartbeats=True, side_by_side=True))
        service.serve_stream(*[data[at : at + 1] for at in range(len(data))])

        *_, last = client.responses.create(model="room", input=HELLO, stream=True)
        assert last.type in ("response.completed", "response.incomplete")
        assert_says(last.response, name)

    async def test_async(self, service: Service, async_client: openai.AsyncOpenAI, name: str) -> None:
        service.serve_reply(REPLIES[name])
        assert_says(await async_client.responses.create(model="room", input=HELLO), name)

        service.serve_stream(*streamed(REPLIES[name], heartbeats=True))
        async with async_client.responses.stream(model="room", input=HELLO) as stream:
            events = [event async for event in stream]
        last = events[-1]
        assert last.type in ("response.completed", "response.incomplete")
        assert_says(last.response, name)

    def test_the_sdks_own_models_accept_every_byte(self, name: str) -> None:
        Response.model_validate_json(DIALECT.render_reply(REQUEST, REPLIES[name]), strict=True)
        assert_events_valid(b"".join(streamed(REPLIES[name], side_by_side=True)))


EVENT: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ResponseStreamEvent)


def assert_events_valid(stream: bytes) -> None:
    for number, frame in enumerate(stream.removesuffix(b"\n\n").split(b"\n\n")):
        name, data = frame.split(b"\n")
        event = EVENT.validate_json(data.removeprefix(b"data: "), strict=True)
        assert name.decode() == f"event: {event.type}"
        assert event.sequence_number == number
        assert not type(event).__pydantic_root_model__


def assert_told(events: list[Any], response: Response) -> None:
    """Each item begins, is said and ends in this order, and its deltas are all of it."""
    by_item: dict[int, list[Any]] = {}
    for event in events:
        if hasattr(event, "output_index"):
            by_item.setdefault(event.output_index, []).append(event)
    assert sorted(by_item) == list(range(len(response.output)))
    assert list(by_item) == sorted(by_item)
    for index, item in enumerate(response.output):
        first, *told, last = by_item[index]
        assert (first.type, last.type) == ("response.output_item.added", "response.output_item.done")
        assert last.item.to_dict() == item.to_dict()
        assert first.item.id == item.id
        assert {event.item_id for event in told} <= {item.id}
        deltas = "".join([event.delta for event in told if event.type.endswith(".delta")])
        match item.type:
            case "message":
                for place, part in enumerate(item.content):
                    mine = [event for event in told if event.content_index == place]
                    pieces = "".join([event.delta for event in mine if event.type.endswith(".delta")])
                    assert pieces == (part.text if part.type == "output_text" else part.refusal)
                done = [event.part.to_dict() for event in told if event.type == "response.content_part.done"]
                assert done == [part.to_dict() for part in item.content]
            case "reasoning":
                assert deltas == "".join([part.text for part in item.summary])
            case "function_call":
                assert deltas == item.arguments
            case "custom_tool_call":
                assert deltas == item.input


def test_pieces_of_a_tool_call_arrive_as_they_are_said(service: Service, client: openai.OpenAI) -> None:
    service.serve_stream(*streamed(REPLIES["parallel"], side_by_side=True))

    with client.responses.stream(model="room", input=HELLO) as stream:
        pieces = [event for event in stream if event.type == "response.function_call_arguments.delta"]
    first = [piece.delta for piece in pieces if piece.output_index == 0]
    assert len(first) > 10
    assert "".join(first) == TOOL.arguments
    assert {piece.output_index for piece in pieces[:3]} == {0, 1, 2}


class Place(pydantic.BaseModel):
    city: str


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_becomes_the_model_that_was_asked_for(service: Service, client: openai.OpenAI, stream: bool) -> None:
    reply = reply_of(TextPart('{"city": "Köln"}'))
    if stream:
        service.serve_stream(*streamed(reply))
        with client.responses.stream(model="room", input=HELLO, text_format=Place) as events:
            parsed = events.get_final_response().output_parsed
    else:
        service.serve_reply(reply)
        parsed = client.responses.parse(model="room", input=HELLO, text_format=Place).output_parsed
    assert parsed == Place(city="Köln")
    wanted = asked_of(service).response_format
    assert wanted is not None
    assert (wanted.kind, wanted.name, wanted.strict) == ("json_schema", "Place", True)


def test_arguments_become_the_model_of_the_tool(service: Service, client: openai.OpenAI) -> None:
    call = ToolCallPart("call_1", "Place", '{"city": "Köln"}')
    for arguments in (call.arguments, ""):
        service.serve_stream(*streamed(reply_of(replace(call, arguments=arguments), finish_reason="tool_calls")))
        with client.responses.stream(
            model="room", input=HELLO, tools=[openai.pydantic_function_tool(Place)] if arguments else []
        ) as stream:
            (item,) = stream.get_final_response().output
        assert item.type == "function_call"
        assert item.arguments == (arguments or "{}")
        assert item.parsed_arguments == (Place(city="Köln") if arguments else None)


@pytest.mark.parametrize("path", sorted(WIRE.glob("*.reply.json")), ids=lambda path: path.name)
def test_replies_of_services_are_rendered_as_the_sdk_wants_them(path: Path) -> None:
    reply = DIALECT.parse_reply(path.read_bytes())

    Response.model_validate_json(DIALECT.render_reply(REQUEST, reply), strict=True)
    assert_events_valid(DIALECT.encoder(REQUEST).encode_all(replay(reply)))


@pytest.mark.parametrize("path", sorted(WIRE.glob("*.stream.sse")), ids=lambda path: path.name.split(".")[0])
def test_the_stream_of_a_service_gives_the_sdk_the_same_response_as_ours(
    service: Service, lenient: openai.OpenAI, path: Path
) -> None:
    data = path.read_bytes()
    decoder = DIALECT.decoder()
    events = [*decoder.feed(data), *decoder.close()]
    outputs = []
    for stream in (data, DIALECT.encoder(REQUEST).encode_all(events)):
        service.serve_stream(stream)
        *_, last = lenient.responses.create(model="room", input=HELLO, stream=True)
        assert last.type in ("response.completed", "response.incomplete")
        outputs.append([item.to_dict() for item in last.response.output])
    assert outputs[0] == outputs[1]


ERRORS: list[tuple[MotiveError, type[openai.APIStatusError], str]] = [
    (errors.BadRequestError("x", param="input"), openai.BadRequestError, "invalid_request_error"),
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
"""The SDK has no class of its own for 402, 408, 413 and 426."""


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
            client.responses.create(model="room", input=HELLO, stream=stream)
        assert type(caught.value) is raised
        assert (caught.value.status_code, caught.value.request_id) == (error.status, "req_1")
        assert caught.value.body == {"message": "x", "type": kind, "param": error.param, "code": error.code}


def test_an_error_that_no_retry_can_mend_is_not_retried(service: Service, client: openai.OpenAI) -> None:
    service.serve_error(errors.HoldTimeoutError("nobody answered"))

    with pytest.raises(openai.APIStatusError):
        client.with_options(max_retries=2).responses.create(model="room", input=HELLO)
    assert len(service.asked) == 1


BEGUN: list[ReplyEvent] = [Started("resp_1", "room"), PartStarted(0, 0, TextPart("")), PartDelta(0, 0, "half")]


@pytest.mark.parametrize("begun", [0, 1, 3])
@pytest.mark.parametrize("helper", [False, True])
def test_an_error_in_the_stream_raises(service: Service, client: openai.OpenAI, begun: int, helper: bool) -> None:
    encoder = DIALECT.encoder(REQUEST)
    chunks = [encoder.heartbeat(), encoder.encode_all(BEGUN[:begun]), encoder.heartbeat()]
    service.serve_stream(*chunks, encoder.encode(Failed(errors.OverloadedError("too much", param="input"))))

    seen: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        if helper:
            with client.responses.stream(model="room", input=HELLO) as events:
                seen += [event.delta for event in events if event.type == "response.output_text.delta"]
        else:
            for event in client.responses.create(model="room", input=HELLO, stream=True):
                seen += [event.delta] if event.type == "response.output_text.delta" else []
    assert type(caught.value) is openai.APIError
    error = caught.value
    assert (error.message, error.type, error.code, error.param) == ("too much", "server_error", "overloaded", "input")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.OverloadedError("x"), "server_error"),
        (errors.RateLimitedError("x"), "rate_limit_exceeded"),
        (errors.HoldTimeoutError("x"), "invalid_prompt"),
    ],
)
def test_clients_that_go_on_after_an_error_are_told_of_the_failure(error: MotiveError, code: str) -> None:
    encoder = DIALECT.encoder(REQUEST)
    encoder.encode_all(BEGUN)
    first, last = encoder.encode(Failed(error)).removesuffix(b"\n\n").split(b"\n\n")
    flat = EVENT.validate_json(first.partition(b"\ndata: ")[2], strict=True)
    assert (flat.type, flat.code, flat.message) == ("error", error.code, "x")
    failed = EVENT.validate_json(last.partition(b"\ndata: ")[2], strict=True)
    assert failed.type == "response.failed"
    assert (failed.response.id, failed.response.status, failed.response.output) == ("resp_1", "failed", [])
    assert (failed.response.error.code, failed.response.error.message) == (code, "x")
    assert failed.sequence_number == flat.sequence_number + 1


def test_the_list_of_models(service: Service, client: openai.OpenAI) -> None:
    models = [ModelInfo("room-1", 1_795_230_236), ModelInfo("room-2", 1_795_230_236)]
    service.serve(200, {"content-type": "application/json"}, DIALECT.render_models(models))

    assert [(model.id, model.owned_by) for model in client.models.list()] == [
        ("room-1", "motive"),
        ("room-2", "motive"),
    ]
