"""The search API's source: how it fails, and what it lets go of."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from motive_core.errors import MotiveError, UpstreamError
from motive_core.ir import ChatRequest, Message, TextPart
from motive_core.sources import World
from motive_core.sources.legacy_sse import LegacySse
from motive_core.stream import PartDelta
from motive_core.upstream import Http
from tests.core.sources.legacy_api import HEAD, LAST, Line, Script, chunk, event
from tests.core.sources.legacy_asking import WORDS, asked, asking, call_of, says, sends, texts, whole


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (says(), "is empty"),
        (says(b": alive\n\n"), "is empty"),
        (sends(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>"), "is empty"),
        (sends(HEAD), "was cut off"),
        (sends(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"), "was cut off"),
        (sends(b""), "cannot be reached"),
        (sends(b"nonsense\r\n\r\n"), "cannot be reached"),
        (says(event("error", "no index")), "failed: no index"),
        (says(b"data: {'type': 'response', 'data': 'wor\n\n"), "cannot be read"),
        (says(b"data: \xff\n\n"), "cannot be read: the event stream is not UTF-8"),
        (says(b"data: " + b"x" * 1024 * 1024), "cannot be read: an event of the stream is over"),
        (sends(HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n"), chunk(b"no"), LAST), "was cut off"),
    ],
)  # fmt: skip
async def test_what_fails_before_the_first_word_is_an_error(script: Script, why: str) -> None:
    async with asking(script) as (_, ask):
        with pytest.raises(UpstreamError, match=why) as raised:
            await ask()
        assert raised.value.status == 502
        assert raised.value.retryable


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ([], "was cut off"),
        ([chunk(event("response", "nods")[:20])], "was cut off"),
        ([chunk(event("response", " nods") + event("error", "no") + event("response", "never"))], "failed: no"),
        ([chunk(event("response", " nods") + b"data: {'type':\n\n" + event("response", "never"))], "cannot be read"),
    ],
)  # fmt: skip
async def test_what_fails_in_the_middle_is_an_error_after_what_was_said(after: list[bytes], why: str) -> None:
    said: list[str] = []
    async with asking(sends(HEAD, *map(chunk, WORDS), *after)) as (_, ask):
        with pytest.raises(UpstreamError, match=why):
            async with aclosing(await ask()) as events:
                async for batch in events:
                    said += [one.text for one in batch if isinstance(one, PartDelta)]
    assert "".join(said) == "The guard" + (" nods" if "was cut" not in why else "")


@pytest.mark.parametrize(
    ("reply", "status", "message", "retryable"),
    [
        (b'429 Slow\r\nretry-after: 7\r\ncontent-length: 24\r\n\r\n{"message": "Too many"}\n', 429, "Too many", True),
        (b"503 Down\r\ncontent-length: 4\r\n\r\noops", 503, "status 503", True),
        (b'401 No\r\ncontent-length: 36\r\n\r\n{"error": {"message": "who was it"}}', 401, "who was", False),
        (b"302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n", 502, "status 302", False),
        (b"204 None\r\n\r\n", 502, "status 204", False),
    ],
)  # fmt: skip
async def test_another_status_is_told(reply: bytes, status: int, message: str, *, retryable: bool) -> None:
    async with asking(sends(b"HTTP/1.1 " + reply)) as (_, ask):
        with pytest.raises(MotiveError, match=message) as raised:
            await ask()
        assert (raised.value.status, raised.value.retryable) == (status, retryable)


async def test_nobody_listens() -> None:
    http = Http()
    source = LegacySse(url="http://127.0.0.1:9/search?key=sesame-seed").make(World(http, time.time))
    with pytest.raises(UpstreamError, match="cannot be reached") as raised:
        await source.answer(call_of(asked()))
    assert "sesame" not in str(raised.value)
    await http.close()


async def test_a_connection_that_takes_too_long() -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # what stands in the queue; nobody ever accepts it
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(server.getsockname())
        http = Http()
        settings = LegacySse(url=f"http://127.0.0.1:{server.getsockname()[1]}/", connect_timeout_s=0.2)
        with pytest.raises(UpstreamError, match="cannot be reached: ConnectTimeout"):
            await settings.make(World(http, time.time)).answer(call_of(asked()))
        await http.close()


async def test_a_kept_connection_that_the_service_has_closed_is_made_anew() -> None:
    connections: list[object] = []

    async def script(line: Line) -> None:
        again = line.writer in connections
        connections.append(line.writer)
        if again:
            line.writer.close()
            return
        await line.send(HEAD)
        await line.say(*WORDS, end=True)

    async with asking(script) as (_, ask):
        for _ in range(2):
            assert texts(await whole(await ask())) == ["The guard"]
    assert len(connections) == 3
    async with asking(sends(b"")) as (api, ask):
        with pytest.raises(UpstreamError):
            await ask()
        assert len(api.calls) == 1  # a new one is not tried twice


async def test_silence_is_bounded() -> None:
    async def silent(line: Line) -> None:
        await line.send(HEAD)
        while True:  # signs of life are no words
            await line.say(b": alive\n\n")
            await asyncio.sleep(0.01)

    async with asking(silent, first_token_timeout_s=1) as (api, ask):
        with pytest.raises(UpstreamError, match="did not answer in time") as raised:
            await ask()
        assert raised.value.code == "upstream_timeout"
        async with asyncio.timeout(5):
            for line in api.calls:  # a slow machine may not have got there
                await line.gone.wait()

    async def stuck(line: Line) -> None:
        await line.send(HEAD)
        await line.say(WORDS[0])
        await line.gone.wait()

    async with asking(stuck, idle_timeout_s=0.2) as (api, ask):
        with pytest.raises(UpstreamError, match="fell silent") as raised:
            await whole(await ask())
        assert raised.value.code == "upstream_timeout"
        async with asyncio.timeout(5):
            await api.calls[0].gone.wait()


@pytest.mark.parametrize("begun", [False, True])
async def test_who_lets_go_ends_the_call(*, begun: bool) -> None:
    async def endless(line: Line) -> None:
        await line.send(HEAD)
        await line.say(WORDS[0])
        await line.gone.wait()

    async with asking(endless) as (api, ask):
        events = await ask()
        if begun:
            assert await anext(events)
        await events.aclose()
        async with asyncio.timeout(5):
            await api.calls[0].gone.wait()


async def test_who_is_cancelled_before_the_first_word_ends_the_call() -> None:
    came = asyncio.Event()

    async def endless(line: Line) -> None:
        came.set()
        await line.gone.wait()

    async with asking(endless) as (api, ask):
        task = asyncio.ensure_future(ask())
        await came.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5):
            await api.calls[0].gone.wait()


async def test_connections_are_used_again_and_cookies_are_not() -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nset-cookie: who=somebody; Path=/\r\n\r\n")

    async def script(line: Line) -> None:
        await line.send(head)
        await line.say(*WORDS, end=True)

    async with asking(script) as (api, ask):
        for _ in range(3):
            await whole(await ask())
        assert len({id(line.writer) for line in api.calls}) == 1
        assert all(line.header("cookie") is None for line in api.calls)


async def test_no_secret_is_told() -> None:
    async def script(line: Line) -> None:
        body = f'{{"message": "no access: {line.target} {line.header("authorization")} {line.header("x-more")}"}}'
        await line.send(f"HTTP/1.1 403 No\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())

    async def in_stream(line: Line) -> None:
        await line.send(HEAD)
        await line.say(event("error", f"no access: {line.target} pass%20word pass word {line.header('authorization')}"))

    settings: dict[str, Any] = {"query": "?key=pass%20word&n=1", "key": "k-secret", "headers": {"x-more": "h-secret"}}
    for one in (script, in_stream):
        async with asking(one, **settings) as (_, ask):
            with pytest.raises(MotiveError, match="no access") as raised:
                await ask()
            for words in (str(raised.value), raised.value.message):
                assert not any(secret in words for secret in ("pass%20word", "pass word", "k-secret", "h-secret"))


async def test_many_calls_at_once() -> None:
    at_once = asyncio.Barrier(50)

    async def script(line: Line) -> None:
        await at_once.wait()
        await line.send(HEAD)
        question = dict(parse_qsl(urlsplit(line.target).query))["search_query"]
        for word in question.split():
            await line.say(event("response", f"{word} "))
        await line.say(end=True)

    async with asking(script) as (api, ask):
        requests = [asked(Message("user", (TextPart(f"call {n} of fifty"),))) for n in range(50)]

        async def one(request: ChatRequest) -> list[str]:
            return texts(await whole(await ask(request)))

        said = await asyncio.gather(*map(one, requests))
        assert said == [[f"call {n} of fifty "] for n in range(50)]
        assert len(api.calls) == 50
