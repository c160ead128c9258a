"""The ``google-genai`` SDK against bytes that the dialect rendered, served by a plain HTTP server, and an incremental
client of the JSON array, which the SDK never asks for."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors as sdk_errors
from google.genai import types

from motive_core import errors
from motive_core.dialects import ModelInfo, SideCall
from motive_core.errors import MotiveError, StatusError
from motive_core.ir import (
    BlobPart,
    Json,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from motive_core.stream import Failed, PartDelta, PartStarted, ReplyEvent, Started
from tests.e2e.dialect_service import Service, serving
from tests.e2e.gemini_replies import ARRAY, DIALECT, NO_TLS, REPLIES, REQUEST, TOOL, WIRE, options, streamed


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(DIALECT, REQUEST) as server:
        yield server


@pytest.fixture
def client(service: Service) -> Iterator[genai.Client]:
    sdk = genai.Client(api_key="key", http_options=options(service.url))
    yield sdk
    sdk.close()


@pytest.fixture
async def async_client(service: Service) -> AsyncIterator[Any]:
    with httpx.Client(trust_env=False, verify=NO_TLS) as unused:
        async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
            sdk = genai.Client(
                api_key="key",
                http_options=types.HttpOptions(
                    base_url=service.url,
                    httpx_client=unused,
                    httpx_async_client=http,
                    async_client_args={"ssl": NO_TLS},
                ),
            )
            yield sdk.aio


FINISH = {"length": "MAX_TOKENS", "filtered": "SAFETY", "refusal": "SAFETY", "error": "OTHER"}


def assert_says(chunks: Iterable[types.GenerateContentResponse], name: str) -> None:
    """What the SDK gives its caller is what was replied."""
    chunks = list(chunks)
    parts: list[types.Part] = []
    for chunk in chunks:
        assert (chunk.response_id, chunk.model_version) == ("r1", "room")
        (candidate,) = chunk.candidates or []
        assert candidate.content is not None
        assert (candidate.index, candidate.content.role) == (0, "model")
        assert (candidate.finish_reason is None) == (chunk is not chunks[-1])
        assert candidate.content.parts  # SDK: chats.py takes a chunk without parts for a fault
        parts += candidate.content.parts
    last = chunks[-1]
    assert last.candidates
    assert last.candidates[0].finish_reason == types.FinishReason(FINISH.get(name, "STOP"))
    usage = last.usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count) == (11, 5, 2)
    assert (usage.cached_content_token_count, usage.total_token_count) == (4, 18)
    assert told(parts) == [one for part in REPLIES[name].choices[0].parts for one in [said(part)] if one]


def told(parts: Iterable[types.Part]) -> list[Any]:
    """What the parts of a reply tell, with texts that follow each other joined, as every client does it."""
    found: list[Any] = []
    for part in parts:
        if part.text is not None:
            kind = "thought" if part.thought else "text"
            if not part.text:
                continue
            if found and found[-1][0] == kind:
                found[-1] = (kind, found[-1][1] + part.text)
            else:
                found.append((kind, part.text))
        elif part.function_call is not None:
            call = part.function_call
            found.append(("call", call.id, call.name, call.args))
        elif part.inline_data is not None:
            data = base64.b64encode(part.inline_data.data or b"").decode()
            found.append(("blob", part.inline_data.mime_type, data))
        else:
            pytest.fail(f"no such part is replied here: {part}")
    return found


def said(part: Part) -> Any:
    match part:
        case TextPart(text) | RefusalPart(text):
            return ("text", text)
        case ReasoningPart(text):
            return ("thought", text)
        case ToolCallPart(call_id, name, arguments, custom):
            return ("call", call_id, name, {"input": arguments} if custom else json.loads(arguments or "{}"))
        case BlobPart(media_type, data):
            return ("blob", media_type, data)
        case _:
            pytest.fail(f"no such part is replied here: {part}")


@pytest.mark.parametrize("name", REPLIES)
class TestReplies:
    def test_whole(self, service: Service, client: genai.Client, name: str) -> None:
        service.serve_reply(REPLIES[name])
        assert_says([client.models.generate_content(model="room", contents="hi")], name)

    def test_streamed(self, service: Service, client: genai.Client, name: str) -> None:
        service.serve_stream(*streamed(REPLIES[name]))
        assert_says(client.models.generate_content_stream(model="room", contents="hi"), name)

    def test_streamed_byte_by_byte_with_heartbeats(self, service: Service, client: genai.Client, name: str) -> None:
        data = b"".join(streamed(REPLIES[name], heartbeats=True))
        service.serve_stream(*[data[at : at + 1] for at in range(len(data))])
        assert_says(client.models.generate_content_stream(model="room", contents="hi"), name)

    async def test_async(self, service: Service, async_client: Any, name: str) -> None:
        service.serve_reply(REPLIES[name])
        assert_says([await async_client.models.generate_content(model="room", contents="hi")], name)

        service.serve_stream(*streamed(REPLIES[name], heartbeats=True))
        chunks = await async_client.models.generate_content_stream(model="room", contents="hi")
        assert_says([chunk async for chunk in chunks], name)

    def test_the_sdks_own_models_know_every_member(self, name: str) -> None:
        assert_known(json.loads(DIALECT.render_reply(REQUEST, REPLIES[name])))
        for block in b"".join(streamed(REPLIES[name])).split(b"\r\n\r\n"):
            if block.strip():
                assert_known(json.loads(block.partition(b"data: ")[2]))

    def test_as_an_array(self, service: Service, name: str) -> None:
        """As ``llm`` and plain HTTP clients without ``alt=sse`` read it: value by value, as they come."""
        data = b"".join(streamed(REPLIES[name], heartbeats=True, request=ARRAY))
        assert json.loads(data)
        service.serve(200, {"content-type": DIALECT.content_type(ARRAY)}, *[data[n : n + 1] for n in range(len(data))])
        chunks = list(array_chunks(service.url))
        assert len(chunks) > len(REPLIES[name].choices[0].parts)
        assert_says([types.GenerateContentResponse.model_validate(one) for one in chunks], name)


def assert_known(raw: Json) -> None:
    """The SDK's model takes this strictly: it has no member more."""
    model = types.GenerateContentResponse.model_validate(raw)
    again = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert members(again) == members(raw)


def members(value: Json) -> Json:
    """The names in a JSON value, without its texts and numbers."""
    match value:
        case dict():
            return {key: members(one) for key, one in value.items() if key != "args"}
        case list():
            return [members(one) for one in value]
        case _:
            return None


def array_chunks(url: str) -> Iterator[dict[str, Any]]:
    """The values of an array, each as soon as it is complete."""
    path = f"{url}/v1beta/models/room:streamGenerateContent"
    decoder, text = json.JSONDecoder(), ""
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    with httpx.Client(trust_env=False, verify=NO_TLS) as http, http.stream("POST", path, json=body) as response:
        assert response.headers["content-type"] == "application/json"
        for piece in response.iter_text():
            text += piece
            while (rest := text.lstrip("[,] \r\n")).startswith("{"):
                try:
                    value, end = decoder.raw_decode(rest)
                except ValueError:
                    break
                yield value
                text = rest[end:]
    assert text.strip() == "]"


def test_a_function_call_is_one_chunk(service: Service, client: genai.Client) -> None:
    service.serve_stream(*streamed(REPLIES["parallel"]))

    chunks = list(client.models.generate_content_stream(model="room", contents="hi"))
    assert [len(chunk.function_calls or []) for chunk in chunks] == [1, 1, 1, 0]


def test_arguments_are_on_the_wire_as_they_were_written() -> None:
    assert TOOL.arguments.encode() in DIALECT.render_reply(REQUEST, REPLIES["tool"])
    exact = b'{"location":"M\xc3\xbcnchen","days":3,"scale":1.0,"big":123456789012345678901}'
    assert exact in b"".join(streamed(REPLIES["tool"]))


KNOWN = [path for path in sorted(WIRE.glob("*.reply.json")) if not path.name.startswith("unknown_finish")]
"""Replies without words that the SDK warns of."""


@pytest.mark.parametrize("path", KNOWN, ids=lambda path: path.name)
def test_the_sdk_gets_the_same_from_the_live_api_and_from_us(
    service: Service, client: genai.Client, path: Path
) -> None:
    (stream,) = WIRE.glob(path.name.replace(".reply.json", ".stream.*"))
    if b"\xe2\x80\xa8" in stream.read_bytes() and version("google-genai") < "3":
        pytest.skip("this SDK, which Python 3.12 gets, takes U+2028 in the live stream for the end of a line")
    decoder = DIALECT.decoder()
    ours = DIALECT.encoder(REQUEST).encode_all([*decoder.feed(stream.read_bytes()), *decoder.close()])
    wholes, streams = [], []
    for body in (path.read_bytes(), DIALECT.render_reply(REQUEST, DIALECT.parse_reply(path.read_bytes()))):
        service.serve(200, {"content-type": "application/json"}, body)
        wholes.append(summary([client.models.generate_content(model="room", contents="hi")]))
    live = stream.read_bytes()
    if stream.suffix == ".json":
        live = b"".join([b"data: %b\r\n\r\n" % json.dumps(chunk).encode() for chunk in json.loads(live)])
    for data in (live, ours):
        service.serve_stream(data)
        streams.append(summary(client.models.generate_content_stream(model="room", contents="hi")))
    assert wholes[0] == wholes[1]
    assert streams[0] == streams[1]


def summary(chunks: Iterable[types.GenerateContentResponse]) -> Any:
    """What a caller sees of a reply that does not depend on how it was cut."""
    chunks = list(chunks)
    texts, others, signatures = {True: "", False: ""}, [], []
    for chunk in chunks:
        for candidate in chunk.candidates or []:
            for part in (candidate.content.parts if candidate.content else None) or []:
                if part.text is not None:
                    texts[bool(part.thought)] += part.text
                else:
                    others.append(part.model_dump(exclude_none=True, exclude={"function_call": {"args"}}))
                    others.append((part.function_call and part.function_call.args) or {})
                signatures.append(part.thought_signature)
    last = chunks[-1]
    end = last.candidates[0] if last.candidates else None
    usage = last.usage_metadata
    return (
        texts,
        others,
        [one for one in signatures if one],
        end and (end.finish_reason, end.finish_message, end.safety_ratings, end.grounding_metadata),
        last.prompt_feedback,
        usage and {"candidates_token_count": 0, **usage.model_dump(exclude_none=True)},
        (last.model_version, last.response_id),
    )


ERRORS: list[tuple[MotiveError, type[sdk_errors.APIError], str]] = [
    (errors.BadRequestError("x", param="contents"), sdk_errors.ClientError, "INVALID_ARGUMENT"),
    (errors.AuthenticationError("x"), sdk_errors.ClientError, "UNAUTHENTICATED"),
    (StatusError(402, "x"), sdk_errors.ClientError, "INVALID_ARGUMENT"),
    (errors.PermissionDeniedError("x"), sdk_errors.ClientError, "PERMISSION_DENIED"),
    (errors.NotFoundError("x"), sdk_errors.ClientError, "NOT_FOUND"),
    (errors.RequestTimeoutError("x"), sdk_errors.ClientError, "DEADLINE_EXCEEDED"),
    (errors.ConflictError("x"), sdk_errors.ClientError, "ABORTED"),
    (errors.PayloadTooLargeError("x"), sdk_errors.ClientError, "INVALID_ARGUMENT"),
    (errors.UnprocessableError("x"), sdk_errors.ClientError, "INVALID_ARGUMENT"),
    (errors.UpgradeRequiredError("x"), sdk_errors.ClientError, "FAILED_PRECONDITION"),
    (errors.RateLimitedError("x"), sdk_errors.ClientError, "RESOURCE_EXHAUSTED"),
    (errors.InternalError("x"), sdk_errors.ServerError, "INTERNAL"),
    (errors.UpstreamError("x"), sdk_errors.ServerError, "UNAVAILABLE"),
    (errors.UnavailableError("x"), sdk_errors.ServerError, "UNAVAILABLE"),
    (errors.HoldTimeoutError("x"), sdk_errors.ServerError, "DEADLINE_EXCEEDED"),
    (errors.OverloadedError("x"), sdk_errors.ServerError, "UNAVAILABLE"),
]
"""The SDK has two classes only, and tells the rest by ``code`` and ``status``."""


each_error = pytest.mark.parametrize("case", ERRORS, ids=lambda case: f"{type(case[0]).__name__}-{case[0].status}")


@each_error
async def test_every_error_raises_its_exception(
    service: Service, client: genai.Client, async_client: Any, case: tuple[MotiveError, type[Exception], str]
) -> None:
    error, raised, status = case
    service.serve_error(error)

    for streaming in (False, True):
        with pytest.raises(sdk_errors.APIError) as caught:
            call_sync(client, streaming=streaming)
        assert type(caught.value) is raised
        assert (caught.value.code, caught.value.status, caught.value.message) == (error.status, status, "x")
        with pytest.raises(raised):
            await call_async(async_client, streaming=streaming)
    assert len(service.asked) == 4


def call_sync(client: genai.Client, *, streaming: bool) -> None:
    if streaming:
        list(client.models.generate_content_stream(model="room", contents="hi"))
    else:
        client.models.generate_content(model="room", contents="hi")


async def call_async(client: Any, *, streaming: bool) -> None:
    if streaming:
        [chunk async for chunk in await client.models.generate_content_stream(model="room", contents="hi")]
    else:
        await client.models.generate_content(model="room", contents="hi")


HALF: list[ReplyEvent] = [Started("r1", "room"), PartStarted(0, 0, TextPart("")), PartDelta(0, 0, "half")]


@each_error
async def test_an_error_in_the_stream_raises(
    service: Service, client: genai.Client, async_client: Any, case: tuple[MotiveError, type[Exception], str]
) -> None:
    error, raised, status = case
    for half in ([], HALF):
        encoder = DIALECT.encoder(REQUEST)
        begun = [encoder.heartbeat(), encoder.encode_all(half), encoder.heartbeat()]
        service.serve_stream(*begun, encoder.encode(Failed(error)))

        with pytest.raises(sdk_errors.APIError) as caught:
            call_sync(client, streaming=True)
        assert type(caught.value) is raised
        assert (caught.value.code, caught.value.status) == (error.status, status)
        with pytest.raises(raised):
            await call_async(async_client, streaming=True)


def test_an_error_ends_an_array(service: Service) -> None:
    for half in ([], HALF):
        encoder = DIALECT.encoder(ARRAY)
        data = encoder.encode_all(half) + encoder.encode(Failed(errors.OverloadedError("too much")))
        service.serve(200, {"content-type": "application/json"}, data)
        *_, last = array_chunks(service.url)
        assert (last["error"]["code"], last["error"]["message"]) == (529, "too much")


def test_the_lists_of_models(service: Service, client: genai.Client) -> None:
    models = [ModelInfo("room-1", 1_795_230_236), ModelInfo("zimmer ü", 0)]
    service.serve(200, {"content-type": "application/json"}, DIALECT.render_models(models))
    listed = list(client.models.list())
    assert [model.name for model in listed] == ["models/room-1", "models/zimmer ü"]
    assert all("generateContent" in (model.supported_actions or []) for model in listed)

    head = service.asked[0][0]
    assert DIALECT.speaks(head)
    assert DIALECT.serves(head)
    for name in ("room-1", "zimmer ü"):
        found = answered(service, models, lambda name=name: client.models.get(model=name))
        assert found.name == f"models/{name}"
    with pytest.raises(errors.NotFoundError):
        answered(service, models, lambda: client.models.get(model="room-3"))


def answered(service: Service, models: list[ModelInfo], call: Any) -> Any:
    """What the SDK makes of our answer to its call: first the call is recorded, then it is made again."""
    service.serve(404, {"content-type": "application/json"}, b"{}")
    with pytest.raises(sdk_errors.ClientError):
        call()
    head, body = service.asked[-1]
    assert DIALECT.serves(head)
    reply = DIALECT.serve(SideCall(head, body, models, kept=lambda _: None, forget=lambda _: False))
    service.serve(reply.status, {"content-type": reply.content_type}, reply.body)
    return call()


def test_a_count_of_tokens(service: Service, client: genai.Client) -> None:
    contents: Any = [types.Content(role="user", parts=[types.Part(text="1234" * 100)])]
    found = answered(service, [], lambda: client.models.count_tokens(model="my room", contents=contents))
    assert found.total_tokens == 100


def test_vertex_ai(service: Service) -> None:
    service.serve_reply(REPLIES["text"])
    sdk = genai.Client(vertexai=True, api_key="key", http_options=options(service.url))
    assert sdk.models.generate_content(model="my room", contents="hi").text == "Hello!"

    head, body = service.asked[-1]
    assert head.path == "/v1beta1/publishers/google/models/my%20room:generateContent"
    assert DIALECT.matches(head)
    request = DIALECT.parse_request(body, head)
    assert (request.model, DIALECT.target(request)) == ("my room", head.path)
    found = answered(service, [], lambda: sdk.models.count_tokens(model="my room", contents="12345678"))
    assert found.total_tokens == 2
    sdk.close()
