"""The ``model`` source with real services: which is asked, when another one is, and what of the app goes along."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from motive_core.dialects.base import RequestHead
from motive_core.errors import MotiveError
from motive_core.ir import Reply
from motive_core.sources import Call, Source, World
from motive_core.sources.model import Model
from motive_core.upstream import Http
from tests.core.upstream.asking import KEY, body_of, pieces_of, request, said
from tests.core.upstream.service import Asked, Line, Service, serving

CHAT = "openai-chat"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Room:
    """A source and its services."""

    def __init__(self, source: Source, services: list[Service], clock: Clock) -> None:
        self.source = source
        self.services = services
        self.clock = clock

    def call(self, headers: Mapping[str, str] | None = None, *, streamed: bool = False, query: str = "") -> Call:
        fields = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        head = RequestHead("POST", "127.0.0.1", 1, "/v1/chat/completions", query, fields)
        return Call(request(stream=streamed), head, "e-1", "s", 0.0)

    @property
    def asked(self) -> list[int]:
        return [len(service.asked) for service in self.services]


@asynccontextmanager
async def room(*scripts: Any, of_each: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[Room]:
    """The first script is the service's, the others are those of its fallbacks."""
    async with AsyncExitStack() as stack:
        services = [await stack.enter_async_context(serving(script)) for script in scripts]
        first, *others = [
            {"base_url": service.url, "model": f"m{n}", **(of_each or {})} for n, service in enumerate(services)
        ]
        http, clock = Http(), Clock()
        stack.push_async_callback(http.close)
        model = Model.model_validate({**first, "fallbacks": others, **settings})
        source = model.make(World(http, clock))
        yield Room(source, services, clock)
        await source.close()


async def good(asked: Asked, line: Line) -> None:
    if asked.json().get("stream"):
        await line.stream(pieces_of(CHAT))
    else:
        await line.whole(body_of(CHAT))


def bad(status: int, **headers: str) -> Any:
    async def script(asked: Asked, line: Line) -> None:
        await line.whole({"error": {"message": f"Status {status}."}}, status, **headers)

    return script


async def hang_up(asked: Asked, line: Line) -> None:
    line.hang_up()


async def silence(asked: Asked, line: Line) -> None:
    await line.closed()


async def empty(asked: Asked, line: Line) -> None:
    await line.whole(b"")


async def cut_before_words(asked: Asked, line: Line) -> None:
    await line.begin()
    await line.say(pieces_of(CHAT)[0])
    line.hang_up()


async def fails_in_stream(asked: Asked, line: Line) -> None:
    await line.begin()
    await line.say(b'data: {"error": {"message": "Overloaded", "code": 503}}\n\n')
    await line.end()


async def cut_after_words(asked: Asked, line: Line) -> None:
    await line.begin()
    for piece in pieces_of(CHAT)[:-2]:
        await line.say(piece)
    line.hang_up()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "fault",
    [bad(429), bad(500), bad(503), bad(529), hang_up, silence, empty],
    ids=["429", "500", "503", "529", "hang-up", "silence", "empty"],
)
async def test_another_service_is_asked_while_nothing_was_said(fault: Any, *, streamed: bool) -> None:
    async with room(fault, fault, good, of_each={"first_token_timeout_s": 0.3}) as there:
        call = there.call(streamed=streamed)
        answered = await there.source.answer(call)
        if not isinstance(answered, Reply):
            assert await said(answered) == "Hello there."
        assert there.asked == [1, 1, 1]
        assert there.services[2].asked[0].json()["model"] == "m2"
        assert call.headers == {"x-motive-model": "answered; fallback=2"}


@pytest.mark.parametrize("fault", [cut_before_words, fails_in_stream])
async def test_another_service_is_asked_if_a_stream_fails_before_its_first_words(fault: Any) -> None:
    async with room(fault, good) as there:
        answered = await there.source.answer(there.call(streamed=True))
        assert not isinstance(answered, Reply)
        assert await said(answered) == "Hello there."


async def test_another_service_is_asked_if_one_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
    async with room(good) as there:
        fallback = {"base_url": there.services[0].url}
        http = Http()
        source = Model.model_validate({"base_url": nowhere, "fallbacks": [fallback]}).make(World(http, there.clock))
        assert isinstance(await source.answer(there.call()), Reply)
        await http.close()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422])
async def test_what_is_wrong_with_the_request_is_told(status: int) -> None:
    async with room(bad(status), good) as there:
        with pytest.raises(MotiveError) as caught:
            await there.source.answer(there.call())
        assert caught.value.status == status
        assert there.asked == [1, 0]


async def test_nobody_else_is_asked_once_words_have_gone_out() -> None:
    async with room(cut_after_words, good) as there:
        answered = await there.source.answer(there.call(streamed=True))
        assert not isinstance(answered, Reply)
        with pytest.raises(MotiveError):
            await said(answered)
        assert there.asked == [1, 0]


async def test_when_all_fail_the_last_one_is_told() -> None:
    async with room(bad(500), bad(429, retry_after="9")) as there:
        with pytest.raises(MotiveError) as caught:
            await there.source.answer(there.call())
        assert (caught.value.status, caught.value.message, caught.value.retry_after_s) == (429, "Status 429.", 9.0)


async def test_a_service_cools_down() -> None:
    async with room(bad(500), good, cool_down_s=10) as there:
        for _ in range(3):
            await there.source.answer(there.call())
        assert there.asked == [1, 3]
        there.clock.now += 10
        await there.source.answer(there.call())
        assert there.asked == [2, 4]


async def test_a_service_that_says_how_long_is_left_alone_so_long() -> None:
    async with room(bad(429, retry_after="60"), good, cool_down_s=10) as there:
        await there.source.answer(there.call())
        there.clock.now += 59
        await there.source.answer(there.call())
        assert there.asked == [1, 2]


async def test_services_that_all_cool_down_are_all_asked() -> None:
    async with room(bad(500), bad(500), cool_down_s=10) as there:
        for _ in range(2):
            with pytest.raises(MotiveError):
                await there.source.answer(there.call())
        assert there.asked == [2, 2]


async def test_who_is_cancelled_asks_nobody_else() -> None:
    async with room(silence, good) as there:
        call = asyncio.create_task(there.source.answer(there.call()))
        await there.services[0].until_open(1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await there.services[0].until_open(0)
        assert there.asked[1] == 0


async def test_the_model_that_answered_is_told_whatever_its_name() -> None:
    async with room(good) as there:
        call = there.call()
        await there.source.answer(call)
        assert call.headers == {"x-motive-model": "answered"}

    async def nameless(asked: Asked, line: Line) -> None:
        await line.whole(body_of(CHAT).replace(b'"model":"asked"', b'"model":""').replace(b'"answered"', b'""'))

    async with room(nameless, model="größer") as there:
        call = there.call()
        await there.source.answer(call)
        assert call.headers == {"x-motive-model": "gr%C3%B6%C3%9Fer"}


APP = {
    "authorization": "Bearer sk-app",
    "x_api_key": "sk-app",
    "cookie": "a=b",
    "anthropic_beta": "tools",
    "x_trace_id": "7",
    "x_auth_token": "sk-app",
    "idempotency_key": "i-1",
    "x_forwarded_for": "10.0.0.1",
    "x_motive_role": "asker",
    "content_length": "999",
    "accept_encoding": "gzip",
    "x_amz_security_token": "sk-app",
    "host": "api.openai.com",
}


async def test_nothing_of_the_app_s_head_goes_along_by_itself() -> None:
    async with room(good) as there:
        await there.source.answer(there.call(APP, query="key=sk-app"))
        asked = there.services[0].asked[0]
        assert "sk-app" not in str(asked)
        assert not {"anthropic-beta", "x-trace-id", "cookie", "idempotency-key"} & asked.headers.keys()


@pytest.mark.parametrize("streamed", [False, True])
async def test_headers_go_along_if_told_and_credentials_never(*, streamed: bool) -> None:
    async with room(good, pass_headers=["*"], key=KEY) as there:
        await there.source.answer(there.call(APP, streamed=streamed, query="key=sk-app"))
        asked = there.services[0].asked[0]
        assert "sk-app" not in str(asked)
        passed = {"anthropic-beta": "tools", "x-trace-id": "7", "idempotency-key": "i-1"}
        assert passed.items() <= asked.headers.items()
        assert not {"cookie", "x-forwarded-for", "x-motive-role"} & asked.headers.keys()
        assert asked.headers["authorization"] == f"Bearer {KEY}"
        assert asked.headers["host"] == f"127.0.0.1:{there.services[0].port}"


@pytest.mark.parametrize(
    ("shown", "query"),
    [
        ({"authorization": "Bearer sk-app"}, ""),
        ({"x_api_key": "sk-app"}, ""),
        ({"api_key": "sk-app"}, ""),
        ({"x_goog_api_key": "sk-app"}, ""),
        ({}, "alt=sse&key=sk-app"),
    ],
)
@pytest.mark.parametrize(
    ("dialect", "name", "value"),
    [
        (CHAT, "authorization", "Bearer sk-app"),
        ("anthropic-messages", "x-api-key", "sk-app"),
        ("gemini", "x-goog-api-key", "sk-app"),
    ],
)
async def test_the_app_s_key_goes_along_if_told_in_the_header_of_the_target(
    shown: dict[str, str], query: str, dialect: str, name: str, value: str
) -> None:
    async def script(asked: Asked, line: Line) -> None:
        await line.whole(body_of(dialect))

    async with room(script, pass_key=True, key=KEY, dialect=dialect) as there:
        await there.source.answer(there.call(shown, query=query))
        asked = there.services[0].asked[0]
        assert asked.headers[name] == value
        assert str(asked).count("sk-app") == 1
        assert KEY not in str(asked)


@pytest.mark.parametrize(
    "shown", [{}, {"authorization": "Basic YTpi"}, {"authorization": "AWS4-HMAC-SHA256 Credential=A/b"}]
)
async def test_without_a_key_that_others_could_use_its_own_is_sent(shown: dict[str, str]) -> None:
    async with room(good, pass_key=True, key=KEY) as there:
        await there.source.answer(there.call(shown))
        assert there.services[0].asked[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_fallback_gets_the_app_s_key_only_if_that_is_said_of_it() -> None:
    async with room(bad(500), good, pass_key=True, pass_headers=["x-trace-id"]) as there:
        await there.source.answer(there.call(APP))
        assert there.services[0].asked[0].headers["authorization"] == "Bearer sk-app"
        assert "sk-app" not in str(there.services[1].asked[0])
        assert "x-trace-id" not in there.services[1].asked[0].headers


@pytest.mark.parametrize(
    "settings",
    [
        {"pass_headers": ["Authorization"]},
        {"pass_headers": ["cookie"]},
        {"pass_headers": ["x-api-key"]},
        {"pass_headers": ["X-Amz-Security-Token"]},
        {"pass_headers": ["x-motive-role"]},
        {"cool_down_s": 3},
        {"fallbacks": [{"base_url": "http://y", "fallbacks": []}]},
        {"fallbacks": [{"base_url": "y"}]},
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Model.model_validate({"base_url": "http://x", **settings})
