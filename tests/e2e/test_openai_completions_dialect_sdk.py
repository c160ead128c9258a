"""The ``openai`` SDK's legacy completions against bytes that the dialect rendered, served by a plain HTTP server.

The SDK's own model of a choice wants a finish reason in every chunk, which the API has in the last one only: so streams
are read as the SDK reads them by default. Each chunk is checked by its models all the same, but for that.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest
from openai.types import Completion

from motive_core import errors
from motive_core.dialects import ModelInfo, RequestHead
from motive_core.dialects.degrade import parts_as_text
from motive_core.dialects.openai_completions import OpenAICompletions
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
    Sampling,
    TextPart,
    ToolCallPart,
    Usage,
)
from motive_core.stream import Failed, PartDelta, PartStarted, ReplyEvent, Started, replay
from tests.e2e.dialect_service import Service, serving

DIALECT = OpenAICompletions()
NAME = "openai-completions"
REQUEST = ChatRequest(NAME, "room", (Message("user", (TextPart("hi"),)),), stream=True, include_usage=True)
USAGE: Any = {"include_usage": True}
CREATED = 1_795_230_236
CODE = 'Grüße — 你好 👩‍👩‍👧\n\n```python\ndef f(x):\n\treturn "\\t" + x\u2028\n```\r\n\x7f</script>\n\ndata: [DONE]\n\n'


def client_of(service: Service, *, strict: bool) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{service.url}/v1",
        api_key="sk-test",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
        _strict_response_validation=strict,
    )


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(DIALECT, REQUEST) as server:
        yield server


@pytest.fixture
def client(service: Service) -> Iterator[openai.OpenAI]:
    """In its strict way."""
    with client_of(service, strict=True) as sdk:
        yield sdk


@pytest.fixture
def lenient(service: Service) -> Iterator[openai.OpenAI]:
    """For streams: see the module."""
    with client_of(service, strict=False) as sdk:
        yield sdk


@pytest.fixture
async def async_client(service: Service) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{service.url}/v1",
        api_key="sk-test",
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    ) as sdk:
        yield sdk


def reply_of(*parts: Part, finish_reason: FinishReason = "stop") -> Reply:
    return Reply("cmpl-1", "room", (Choice(parts, finish_reason),), Usage(11, 7, 4, 3), CREATED)


REPLIES = {
    "text": reply_of(TextPart("Hello!")),
    "code": reply_of(TextPart(CODE)),
    "length": reply_of(TextPart("and so"), finish_reason="length"),
    "filtered": reply_of(TextPart("I will"), finish_reason="content_filter"),
    "refusal": reply_of(RefusalPart("I can't. Nö."), finish_reason="refusal"),
    "tool": reply_of(TextPart("Look.\n\t"), ToolCallPart("c1", "f", '{"x": 1.0}'), finish_reason="tool_calls"),
    "reasoning": reply_of(ReasoningPart("27 × 453\n= 12231"), TextPart("12231")),
    "degraded": reply_of(
        TextPart("See"), BlobPart("image/png", data="AAAA"), OpaquePart("elsewhere", {"a": 1}), TextPart("that.")
    ),
    "two_choices": replace(
        reply_of(), choices=(Choice((TextPart("Heads."),)), Choice((TextPart("Tails, and"),), "length"))
    ),
    "empty": reply_of(),
}
FINISHES = {"refusal": "content_filter", "tool_calls": "stop"}


def streamed(reply: Reply, *, heartbeats: bool = False, request: ChatRequest = REQUEST) -> list[bytes]:
    """A reply as a stream, each part in pieces of three characters."""
    encoder = DIALECT.encoder(request)
    events: list[ReplyEvent] = []
    for event in replay(reply):
        if isinstance(event, PartDelta):
            text = event.text
            events += [PartDelta(event.choice, event.part, text[at : at + 3]) for at in range(0, len(text), 3)]
        else:
            events.append(event)
    return [piece for event in events for piece in (encoder.heartbeat() if heartbeats else b"", encoder.encode(event))]


def assert_says(completion: Completion, name: str) -> None:
    """What the SDK gives its caller is what was replied."""
    assert (completion.id, completion.model, completion.created) == ("cmpl-1", "room", CREATED)
    assert completion.object == "text_completion"
    assert [(choice.index, choice.text, choice.finish_reason) for choice in completion.choices] == expected(name)
    assert_usage(completion)


def expected(name: str) -> list[tuple[int, str, str]]:
    return [
        (number, parts_as_text(choice.parts), FINISHES.get(choice.finish_reason, choice.finish_reason))
        for number, choice in enumerate(REPLIES[name].choices)
    ]


def assert_usage(completion: Completion) -> None:
    usage = completion.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (11, 7, 18)
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 4
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 3


def assert_streams(chunks: list[Completion], name: str) -> None:
    assert {(chunk.id, chunk.model, chunk.created) for chunk in chunks} == {("cmpl-1", "room", CREATED)}
    *before, last = chunks
    assert last.choices == []
    assert_usage(last)
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in before)
    told = []
    for number, _ in enumerate(REPLIES[name].choices):
        own = [choice for chunk in before for choice in chunk.choices if choice.index == number]
        told.append((number, "".join([choice.text for choice in own]), own[-1].finish_reason))
        assert not any(choice.finish_reason for choice in own[:-1])
    assert told == expected(name)


@pytest.mark.parametrize("name", REPLIES)
class TestReplies:
    def test_whole(self, service: Service, client: openai.OpenAI, name: str) -> None:
        service.serve_reply(REPLIES[name])

        completion = client.completions.create(model="room", prompt="hi")
        assert_says(completion, name)
        assert completion._request_id == "req_1"

    def test_streamed(self, service: Service, lenient: openai.OpenAI, name: str) -> None:
        service.serve_stream(*streamed(REPLIES[name]))

        chunks = lenient.completions.create(model="room", prompt="hi", stream=True, stream_options=USAGE)
        assert_streams(list(chunks), name)

    def test_streamed_byte_by_byte_with_heartbeats(self, service: Service, lenient: openai.OpenAI, name: str) -> None:
        data = b"".join(streamed(REPLIES[name], heartbeats=True))
        assert data.count(b": keep-alive\n\n") > 3
        service.serve_stream(*[data[at : at + 1] for at in range(len(data))])

        assert_streams(list(lenient.completions.create(model="room", prompt="hi", stream=True)), name)

    async def test_async(self, service: Service, async_client: openai.AsyncOpenAI, name: str) -> None:
        service.serve_reply(REPLIES[name])
        assert_says(await async_client.completions.create(model="room", prompt="hi"), name)

        service.serve_stream(*streamed(REPLIES[name], heartbeats=True))
        chunks = await async_client.completions.create(model="room", prompt="hi", stream=True)
        assert_streams([chunk async for chunk in chunks], name)

    def test_the_sdks_own_models_accept_every_byte(self, name: str) -> None:
        Completion.model_validate_json(DIALECT.render_reply(REQUEST, REPLIES[name]), strict=True)
        *chunks, done = b"".join(streamed(REPLIES[name])).removesuffix(b"\n\n").split(b"\n\n")
        assert done == b"data: [DONE]"
        for chunk in chunks:
            told = json.loads(chunk.removeprefix(b"data: "))
            for choice in told["choices"]:
                choice["finish_reason"] = choice["finish_reason"] or "stop"
            Completion.model_validate(told, strict=True)


def test_a_strict_client_takes_no_stream_not_even_a_real_one(service: Service, client: openai.OpenAI) -> None:
    service.serve_stream(
        b'data: {"id":"cmpl-1","object":"text_completion","created":7,"model":"m",'
        b'"choices":[{"text":"x","index":0,"logprobs":null,"finish_reason":null}]}\n\n'
    )
    with pytest.raises(openai.APIResponseValidationError):
        list(client.completions.create(model="room", prompt="hi", stream=True))


def test_without_include_usage_no_chunk_has_usage(service: Service, lenient: openai.OpenAI) -> None:
    service.serve_stream(*streamed(REPLIES["text"], request=replace(REQUEST, include_usage=False)))

    chunks = list(lenient.completions.create(model="room", prompt="hi", stream=True))
    assert not any("usage" in chunk.model_fields_set for chunk in chunks)
    assert all(chunk.choices for chunk in chunks)


def test_an_echo(service: Service, client: openai.OpenAI) -> None:
    service.serve_reply(REPLIES["text"])
    client.completions.create(model="room", prompt="hi: ", echo=True)
    service.request = asked_of(service)
    service.serve_reply(REPLIES["text"])

    assert client.completions.create(model="room", prompt="hi: ", echo=True).choices[0].text == "hi: Hello!"


def test_log_probabilities_of_a_service(service: Service, client: openai.OpenAI) -> None:
    told = {"tokens": ["x"], "token_logprobs": [-0.5], "top_logprobs": [{"x": -0.5}], "text_offset": [0]}
    body = {"text": "x", "index": 0, "finish_reason": "stop", "logprobs": told}
    whole = {"id": "c", "object": "text_completion", "created": 7, "model": "m", "choices": [body]}
    service.serve_reply(DIALECT.parse_reply(json.dumps(whole).encode()))

    logprobs = client.completions.create(model="room", prompt="hi").choices[0].logprobs
    assert logprobs is not None
    assert logprobs.to_dict() == told


ERRORS: list[tuple[MotiveError, type[openai.APIStatusError], str]] = [
    (errors.BadRequestError("x", param="prompt"), openai.BadRequestError, "invalid_request_error"),
    (errors.AuthenticationError("x"), openai.AuthenticationError, "invalid_request_error"),
    (StatusError(402, "x"), openai.APIStatusError, "invalid_request_error"),
    (errors.PermissionDeniedError("x"), openai.PermissionDeniedError, "invalid_request_error"),
    (errors.NotFoundError("x"), openai.NotFoundError, "invalid_request_error"),
    (errors.RequestTimeoutError("x"), openai.APIStatusError, "timeout"),
    (errors.ConflictError("x"), openai.ConflictError, "invalid_request_error"),
    (errors.PayloadTooLargeError("x"), openai.APIStatusError, "invalid_request_error"),
    (errors.UnprocessableError("x"), openai.UnprocessableEntityError, "invalid_request_error"),
    (errors.RateLimitedError("x"), openai.RateLimitError, "requests"),
    (errors.InternalError("x"), openai.InternalServerError, "server_error"),
    (errors.UpstreamError("x"), openai.InternalServerError, "server_error"),
    (errors.UnavailableError("x"), openai.InternalServerError, "server_error"),
    (errors.HoldTimeoutError("x"), openai.InternalServerError, "server_error"),
    (errors.OverloadedError("x"), openai.InternalServerError, "server_error"),
]
"""The SDK has no class of its own for 402, 408 and 413."""


@pytest.mark.parametrize(("error", "raised", "kind"), ERRORS, ids=[str(error.status) for error, _, _ in ERRORS])
def test_every_error_raises_its_exception(
    service: Service, client: openai.OpenAI, error: MotiveError, raised: type[openai.APIStatusError], kind: str
) -> None:
    service.serve_error(error)

    for stream in (False, True):
        with pytest.raises(raised) as caught:
            client.completions.create(model="room", prompt="hi", stream=stream)
        assert type(caught.value) is raised
        assert (caught.value.status_code, caught.value.request_id) == (error.status, "req_1")
        assert caught.value.body == {"message": "x", "type": kind, "param": error.param, "code": error.code}


@pytest.mark.parametrize("begun", [False, True])
async def test_an_error_in_the_stream_raises(
    service: Service, lenient: openai.OpenAI, async_client: openai.AsyncOpenAI, begun: bool
) -> None:
    encoder = DIALECT.encoder(REQUEST)
    half: list[ReplyEvent] = (
        [Started("cmpl-1", "room"), PartStarted(0, 0, TextPart("")), PartDelta(0, 0, "half")] if begun else []
    )
    chunks = [encoder.heartbeat(), encoder.encode_all(half), encoder.heartbeat()]
    service.serve_stream(*chunks, encoder.encode(Failed(errors.OverloadedError("too much"))))

    heard = []
    with pytest.raises(openai.APIError) as caught:
        heard += [chunk.choices[0].text for chunk in lenient.completions.create(model="m", prompt="x", stream=True)]
    assert type(caught.value) is openai.APIError
    assert (caught.value.message, caught.value.type, caught.value.code) == ("too much", "server_error", "overloaded")
    with pytest.raises(openai.APIError, match="too much"):
        async for chunk in await async_client.completions.create(model="m", prompt="x", stream=True):
            heard.append(chunk.choices[0].text)
    assert heard == (["half"] if begun else [])


def test_the_list_of_models(service: Service, client: openai.OpenAI) -> None:
    body = DIALECT.render_models([ModelInfo("room-1", CREATED), ModelInfo("zimmer ü", CREATED)])
    service.serve(200, {"content-type": "application/json"}, body)

    assert [(model.id, model.created) for model in client.models.list()] == [("room-1", CREATED), ("zimmer ü", CREATED)]


# What the SDK sends.


def asked_of(service: Service) -> ChatRequest:
    """The last request that the SDK sent, parsed; it must survive its rendering."""
    head, body = service.asked[-1]
    assert DIALECT.matches(head)
    request = DIALECT.parse_request(body, head)
    assert DIALECT.parse_request(DIALECT.render_request(request), head) == request
    return request


def users(*texts: str) -> tuple[Message, ...]:
    return tuple([Message("user", (TextPart(text),)) for text in texts])


SENT: dict[str, tuple[dict[str, Any], ChatRequest]] = {
    "plain": ({"prompt": "hi"}, ChatRequest(NAME, "room", users("hi"))),
    "code": ({"prompt": CODE}, ChatRequest(NAME, "room", users(CODE))),
    "list": ({"prompt": ["a", "b"], "n": 2}, ChatRequest(NAME, "room", users("a", "b"), n=4)),
    "none": ({"prompt": None}, ChatRequest(NAME, "room", users("<|endoftext|>"))),
    "suffix": (
        {"prompt": "a", "suffix": "z"},
        ChatRequest(NAME, "room", (Message("user", (TextPart("a"), OpaquePart(NAME, {"suffix": "z"}))),)),
    ),
    "knobs": (
        {
            "prompt": "hi",
            "best_of": 2,
            "echo": True,
            "frequency_penalty": 0.5,
            "logit_bias": {"50256": -100},
            "logprobs": 3,
            "max_tokens": 9,
            "presence_penalty": -0.5,
            "seed": 7,
            "stop": ["a", "b"],
            "temperature": 0,
            "top_p": 0.5,
            "user": "u",
            "extra_body": {"min_p": 0.1},
        },
        ChatRequest(
            NAME,
            "room",
            users("hi"),
            sampling=Sampling(9, 0, 0.5, ("a", "b"), 7),
            extra={
                "best_of": 2,
                "echo": True,
                "frequency_penalty": 0.5,
                "logit_bias": {"50256": -100},
                "logprobs": 3,
                "presence_penalty": -0.5,
                "user": "u",
                "min_p": 0.1,
            },
        ),
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", SENT)
def test_requests_of_the_sdk_are_understood(service: Service, lenient: openai.OpenAI, name: str, stream: bool) -> None:
    sent, expected_request = SENT[name]
    if stream:
        service.serve_stream(*streamed(REPLIES["text"]))
        list(lenient.completions.create(model="room", stream=True, stream_options=USAGE, **sent))
    else:
        service.serve_reply(REPLIES["text"])
        lenient.completions.create(model="room", **sent)

    assert asked_of(service) == replace(expected_request, stream=stream, include_usage=stream)


@pytest.mark.parametrize("model", ["room", "zimmer ü/1 @asker", "m" * 200])
def test_any_session_may_be_a_model(service: Service, client: openai.OpenAI, model: str) -> None:
    service.serve_reply(REPLIES["text"])
    client.completions.create(model=model, prompt="hi")

    assert asked_of(service).model == model


def test_a_client_of_azure_names_a_deployment_in_the_path(service: Service) -> None:
    service.serve_reply(REPLIES["code"])
    with openai.AzureOpenAI(
        azure_endpoint=service.url,
        api_key="k",
        api_version="2024-10-21",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
        _strict_response_validation=True,
    ) as azure:
        assert azure.completions.create(model="my room/ü", prompt="hi").choices[0].text == CODE

        request = asked_of(service)
        assert (request.model, request.variant) == ("my room/ü", "azure")
        head: RequestHead = service.asked[-1][0]
        service.dialect = DIALECT.for_client(head)
        service.serve_error(errors.NotFoundError("no", code="model_not_found"))
        with pytest.raises(openai.NotFoundError) as caught:
            azure.completions.create(model="nobody", prompt="hi")
        assert caught.value.code == "DeploymentNotFound"


def test_tokens_are_refused_with_the_fields_name(service: Service, client: openai.OpenAI) -> None:
    service.serve_reply(REPLIES["text"])
    client.completions.create(model="room", prompt=[1, 2])
    with pytest.raises(errors.BadRequestError) as refused:
        DIALECT.parse_request(service.asked[-1][1], service.asked[-1][0])

    service.serve_error(refused.value)
    with pytest.raises(openai.BadRequestError, match="no tokenizer") as caught:
        client.completions.create(model="room", prompt=[1, 2])
    assert (caught.value.param, caught.value.code) == ("prompt", "invalid_type")
