"""What a service is asked, and what of its answers is one, with a real server."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from dataclasses import replace
from typing import Any

import brotli
import pytest
import zstandard
from pydantic import ValidationError

from motive_core.dialects import DIALECTS, dialect_named
from motive_core.dialects.base import RequestHead
from motive_core.errors import BadRequestError, MotiveError, StatusError, UpstreamError
from motive_core.ir import Message, ReasoningPart, Reply, Sampling, TextPart, ToolCallPart
from motive_core.upstream import Endpoint
from tests.core.upstream.asking import KEY, body_of, endpoint, pieces_of, reply, request, said, upstream
from tests.core.upstream.service import Asked, Line, Service, serving

NAMES = [dialect.name for dialect in DIALECTS]
CHAT = "openai-chat"


def whole(body: Any, status: int = 200, **headers: str) -> Any:
    async def script(asked: Asked, line: Line) -> None:
        await line.whole(body, status, **headers)

    return script


def stream(pieces: list[bytes], **headers: str) -> Any:
    async def script(asked: Asked, line: Line) -> None:
        await line.stream(pieces, **headers)

    return script


async def failed(service: Service, *, streamed: bool = False, **settings: Any) -> MotiveError:
    async with upstream(service.url, **settings) as there:
        with pytest.raises(MotiveError) as caught:
            await said(await there.ask(request(stream=streamed)))
        return caught.value


@pytest.mark.parametrize("dialect", NAMES)
async def test_asks_and_answers_in_each_dialect(dialect: str) -> None:
    speaks = dialect_named(dialect)
    async with serving(whole(body_of(dialect))) as service, upstream(service.url, dialect=dialect) as there:
        answered = await there.ask(request())
        assert isinstance(answered, Reply)
        assert [one.text for one in answered.choices[0].parts if isinstance(one, TextPart)] == ["Hello there."]
        asked = service.asked[0]
        path, _, query = asked.target.partition("?")
        head = RequestHead("POST", "127.0.0.1", service.port, path, query, asked.headers)
        assert speaks.matches(head)
        assert speaks.parse_request(asked.body, head).messages[-1].text == "Hi"
        assert asked.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("dialect", NAMES)
async def test_streams_in_each_dialect(dialect: str) -> None:
    kind = dialect_named(dialect).stream_type
    async with (
        serving(stream(pieces_of(dialect), content_type=kind)) as service,
        upstream(service.url, dialect=dialect) as there,
    ):
        answered = await there.ask(request(stream=True))
        assert not isinstance(answered, Reply)
        assert await said(answered) == "Hello there."


@pytest.mark.parametrize("dialect", NAMES)
async def test_a_whole_reply_where_a_stream_was_asked_and_the_reverse(dialect: str) -> None:
    kind = dialect_named(dialect).stream_type
    async with serving(whole(body_of(dialect))) as service, upstream(service.url, dialect=dialect) as there:
        answered = await there.ask(request(stream=True))
        assert isinstance(answered, Reply)
        assert answered.choices[0].parts[0] == TextPart("Hello there.")
        service.script = stream(pieces_of(dialect), content_type=kind)
        answered = await there.ask(request())
        assert isinstance(answered, Reply)
        assert answered.choices[0].parts[0] == TextPart("Hello there.")


async def test_what_is_asked_is_the_app_s_but_for_what_is_not_its_own() -> None:
    sent = {"model": "asked", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "x_new": [1.0, None]}
    sent |= {
        "stream": True,
        "store": True,
        "n": 2,
        "logit_bias": {"1": 2},
        "stream_options": {"include_obfuscation": False},
    }
    asked = dialect_named(CHAT).parse_request(json.dumps(sent).encode())
    async with serving(stream(pieces_of(CHAT))) as service, upstream(service.url, model="real") as there:
        await said(await there.ask(asked))
        got = service.asked[0].json()
    options = {"include_obfuscation": False, "include_usage": True}
    assert got == {**sent, "model": "real", "stream_options": options}


@pytest.mark.parametrize(
    ("base", "limit", "role"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens", "developer"),
        ("http://localhost:1", "max_tokens", "system"),
    ],
)
def test_hosts_that_are_compatible_are_asked_by_the_older_names(base: str, limit: str, role: str) -> None:
    """Few of them know ``max_completion_tokens`` and the role of a developer."""
    chat = dialect_named(CHAT)
    spoken = (Message("developer", (TextPart("Be brief."),)), Message("user", (TextPart("Hi"),)))
    asked = chat.asked_of(base, request(sampling=Sampling(max_tokens=7)))
    body = json.loads(chat.render_request(chat.asked_of(base, replace(asked, messages=spoken))))
    assert body[limit] == 7
    assert body["messages"][0]["role"] == role
    assert len({"max_tokens", "max_completion_tokens"} & body.keys()) == 1


def test_mistral_is_not_asked_for_usage_that_it_tells_anyway() -> None:
    chat = dialect_named(CHAT)
    asked = chat.asked_of("https://api.mistral.ai/v1", request(stream=True, include_usage=True))
    assert "stream_options" not in json.loads(chat.render_request(asked))


async def test_models_are_mapped_and_headers_and_parameters_added() -> None:
    settings = {
        "models": {"gpt-*-mini": "small", "gpt-*": "large"},
        "model": "other",
        "key": f" {KEY}\n",
        "headers": {"X-Title": "Motive"},
        "query": {"api-version": "preview", "a b": "c&d"},
    }
    async with serving(whole(body_of(CHAT))) as service, upstream(service.url, **settings) as there:
        for name in ("gpt-4-mini", "gpt-4", "claude"):
            await there.ask(replace(request(), model=name))
        assert [one.json()["model"] for one in service.asked] == ["small", "large", "other"]
        asked = service.asked[0]
        assert asked.target == "/v1/chat/completions?api-version=preview&a+b=c%26d"
        assert asked.headers["authorization"] == f"Bearer {KEY}"
        assert asked.headers["x-title"] == "Motive"


async def test_a_reply_that_only_another_service_knows_cannot_be_continued() -> None:
    async with serving(whole(body_of(CHAT))) as service, upstream(service.url) as there:
        with pytest.raises(BadRequestError) as caught:
            await there.ask(request(previous="resp_1"))
        assert caught.value.code == "previous_response_not_found"
        assert not service.asked


async def test_thoughts_that_another_vendor_signed_are_kept_from_anthropic() -> None:
    parts = (ReasoningPart("Hm.", "signed elsewhere"), TextPart("Yes."), ToolCallPart("c/1", "look", "{}"))
    spoken = (Message("user", (TextPart("Hi"),)), Message("assistant", parts), Message("user", (TextPart("Go on"),)))
    dialect = "anthropic-messages"
    async with serving(whole(body_of(dialect))) as service, upstream(service.url, dialect=dialect) as there:
        await there.ask(replace(request(dialect=CHAT), messages=spoken))
        content = service.asked[0].json()["messages"][1]["content"]
        assert [one["type"] for one in content] == ["text", "tool_use"]
        assert "signed elsewhere" not in service.asked[0].body.decode()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
    ],
)
async def test_a_compressed_reply_is_read_although_none_was_asked_for(encoding: str, pack: Any, streamed: bool) -> None:
    async def script(asked: Asked, line: Line) -> None:
        if streamed:
            data = pack(b"".join(pieces_of(CHAT)))
            await line.stream([data[:7], data[7:]], content_encoding=encoding)
        else:
            await line.whole(pack(body_of(CHAT)), content_encoding=encoding)

    async with serving(script) as service, upstream(service.url) as there:
        answered = await there.ask(request(stream=streamed))
        if isinstance(answered, Reply):
            assert answered.choices[0].parts[0] == TextPart("Hello there.")
        else:
            assert await said(answered) == "Hello there."


@pytest.mark.parametrize("streamed", [False, True])
async def test_errors_keep_their_status_words_and_time_to_wait(streamed: bool) -> None:
    told = {"error": {"message": "Slow down.", "type": "requests", "code": "rate_limit_exceeded", "param": "model"}}
    async with serving(whole(told, 429, retry_after="7")) as service:
        error = await failed(service, streamed=streamed)
    assert isinstance(error, StatusError)
    assert (error.status, error.message, error.code, error.param) == (429, "Slow down.", "rate_limit_exceeded", "model")
    assert (error.retryable, error.retry_after_s) == (True, 7.0)


async def test_a_key_that_an_error_repeats_is_not_told() -> None:
    async with serving(whole({"error": {"message": f"Incorrect API key provided: {KEY}."}}, 401)) as service:
        error = await failed(service, key=KEY)
    assert error.message == "Incorrect API key provided: ***."
    assert KEY not in repr(error)


async def test_a_redirect_is_told_and_not_followed() -> None:
    async with serving(whole(b"", 307, location="https://elsewhere.example/v1?secret=1")) as service:
        error = await failed(service, key=KEY)
        assert len(service.asked) == 1
    assert isinstance(error, UpstreamError)
    assert "307" in error.message
    assert "https://elsewhere.example/v1," in error.message


async def test_an_endless_error_is_read_to_a_bound() -> None:
    async def script(asked: Asked, line: Line) -> None:
        await line.raw(b"HTTP/1.1 500 No\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await line.say(b"x" * 65536)

    async with serving(script) as service:
        error = await failed(service)
        assert (error.status, error.message) == (500, "The service answered with status 500.")


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_error_with_status_200_is_one(streamed: bool) -> None:
    async with serving(whole({"error": {"message": "Provider is down.", "code": 503}})) as service:
        error = await failed(service, streamed=streamed)
    assert (error.status, error.message) == (503, "Provider is down.")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices": []}', b"null"])
async def test_a_reply_that_is_none_is_an_upstream_error(body: bytes, streamed: bool) -> None:
    async with serving(whole(body)) as service:
        error = await failed(service, streamed=streamed)
    assert isinstance(error, UpstreamError)
    assert error.status == 502


async def test_an_error_before_the_first_words_is_raised_before_there_is_a_stream() -> None:
    """Anthropic tells that it is overloaded after ``message_start``: another service may still be asked."""
    pieces = pieces_of("anthropic-messages")
    told = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    async with (
        serving(stream([pieces[0], b"event: ping\ndata: {}\n\n", told])) as service,
        upstream(service.url, dialect="anthropic-messages") as there,
    ):
        with pytest.raises(MotiveError, match="Overloaded") as caught:
            await there.ask(request(stream=True))
        assert caught.value.status == 529


async def test_words_come_as_they_are_said() -> None:
    heard = asyncio.Event()
    pieces = pieces_of(CHAT, reply(TextPart("One.")))

    async def script(asked: Asked, line: Line) -> None:
        await line.begin()
        for piece in pieces[:-1]:
            await line.say(piece)
        await heard.wait()
        await line.say(pieces[-1])
        await line.end()

    async with serving(script) as service, upstream(service.url) as there:
        answered = await there.ask(request(stream=True))
        assert not isinstance(answered, Reply)
        text = ""
        async for batch in answered:
            text += "".join([getattr(event, "text", "") for event in batch])
            if "One." in text:
                heard.set()
        assert text == "One."


@pytest.mark.parametrize(
    "settings",
    [
        {"key": "sk\nx"},
        {"key": " "},
        {"key": "schlüssel"},
        {"headers": {"content-length": "3"}},
        {"headers": {"x y": "z"}},
        {"headers": {"x": "a\r\nb: c"}},
    ],
)
def test_what_the_transport_would_refuse_is_refused_at_the_start(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        endpoint("http://x", **settings)


def test_a_key_is_not_shown() -> None:
    assert KEY not in repr(endpoint("http://x", key=KEY))
    assert isinstance(endpoint("http://x", key=KEY), Endpoint)
