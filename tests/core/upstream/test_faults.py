"""Services that are slow, silent, gone or broken, and apps that leave: with a real server."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from motive_core.errors import MotiveError, UpstreamError
from motive_core.ir import Reply
from motive_core.upstream import Http, HttpUpstream
from tests.core.upstream.asking import body_of, endpoint, pieces_of, request, said, upstream
from tests.core.upstream.service import DEADLINE_S, Asked, Line, Service, serving

CHAT = "openai-chat"


@asynccontextmanager
async def asking(script: Any, **settings: Any) -> AsyncIterator[tuple[Service, HttpUpstream]]:
    async with serving(script) as service, upstream(service.url, **settings) as there:
        yield service, there


async def answers(asked: Asked, line: Line) -> None:
    if asked.json().get("stream"):
        await line.stream(pieces_of(CHAT))
    else:
        await line.whole(body_of(CHAT))


async def refused(there: HttpUpstream, *, streamed: bool = False) -> MotiveError:
    with pytest.raises(MotiveError) as caught:
        answered = await there.ask(request(stream=streamed))
        if not isinstance(answered, Reply):
            await said(answered)
    return caught.value


async def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with upstream(f"http://127.0.0.1:{port}") as there:
        error = await refused(there)
    assert isinstance(error, UpstreamError)
    assert error.status == 502


async def test_a_name_that_there_is_not() -> None:
    async with upstream("http://nobody.invalid") as there:
        assert isinstance(await refused(there), UpstreamError)


async def test_a_host_that_does_not_accept() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.settimeout(0)
            one.connect_ex(full.getsockname())
        async with upstream(f"http://127.0.0.1:{full.getsockname()[1]}", connect_timeout_s=0.05) as there:
            assert isinstance(await refused(there), UpstreamError)
        for one in waiting:
            one.close()


async def silence(asked: Asked, line: Line) -> None:
    await line.closed()


async def slow_head(asked: Asked, line: Line) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n" + b"x: y\r\n" * 10_000
    for at in range(len(head)):
        await line.raw(head[at : at + 1])
        await asyncio.sleep(0.01)


async def head_only(asked: Asked, line: Line) -> None:
    await line.begin()
    await line.closed()


async def no_words(asked: Asked, line: Line) -> None:
    """Everything that stands before the first token, and signs of life."""
    await line.begin()
    await line.say(pieces_of(CHAT)[0])
    while True:
        await line.say(b": ping\n\n")
        await asyncio.sleep(0.01)


async def half_a_body(asked: Asked, line: Line) -> None:
    await line.raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{")
    await line.closed()


@pytest.mark.parametrize(
    ("script", "streamed"),
    [
        (silence, False),
        (silence, True),
        (slow_head, True),
        (head_only, True),
        (no_words, True),
        (half_a_body, False),
    ],
)
async def test_the_first_words_have_a_deadline_whatever_is_slow(script: Any, streamed: bool) -> None:
    async with asking(script, first_token_timeout_s=0.2) as (service, there):
        error = await refused(there, streamed=streamed)
        assert (type(error), error.code) == (UpstreamError, "upstream_timeout")
        await service.until_open(0)


async def test_a_slow_error_keeps_its_status() -> None:
    async def script(asked: Asked, line: Line) -> None:
        await line.raw(b"HTTP/1.1 429 No\r\nretry-after: 3\r\ncontent-length: 99\r\n\r\n{")
        line.writer.write_eof()

    async with asking(script) as (_, there):
        error = await refused(there)
        assert (error.status, error.retry_after_s) == (429, 3.0)


async def test_a_stream_that_falls_silent() -> None:
    async def script(asked: Asked, line: Line) -> None:
        await line.begin()
        for piece in pieces_of(CHAT)[:-2]:
            await line.say(piece)
        await line.closed()

    async with asking(script, idle_timeout_s=0.2) as (service, there):
        answered = await there.ask(request(stream=True))
        assert not isinstance(answered, Reply)
        with pytest.raises(UpstreamError) as caught:
            await said(answered)
        assert caught.value.code == "upstream_timeout"
        await service.until_open(0)


@pytest.mark.parametrize("politely", [False, True])
async def test_a_stream_that_is_cut(politely: bool) -> None:
    async def script(asked: Asked, line: Line) -> None:
        await line.begin()
        for piece in pieces_of(CHAT)[:-2]:
            await line.say(piece)
        if politely:
            await line.end()
        else:
            line.hang_up()

    async with asking(script) as (_, there):
        answered = await there.ask(request(stream=True))
        assert not isinstance(answered, Reply)
        with pytest.raises(MotiveError):
            await said(answered)


@pytest.mark.parametrize("after", range(len(pieces_of(CHAT)) - 1))
async def test_a_stream_that_is_cut_anywhere_is_never_whole(after: int) -> None:
    """Wherever it is cut, it fails: before there is a reply, or within it."""

    async def script(asked: Asked, line: Line) -> None:
        await line.begin()
        for piece in pieces_of(CHAT)[:after]:
            await line.say(piece)
        line.hang_up()

    async with asking(script) as (_, there):
        if after < len(pieces_of(CHAT)) - 2:
            await refused(there, streamed=True)


@pytest.mark.parametrize(
    "garbage",
    [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", b"\0" * 200_000, b"HTTP/1.1 99999\r\n\r\n"],
)
async def test_what_is_no_http(garbage: bytes) -> None:
    async def script(asked: Asked, line: Line) -> None:
        await line.raw(garbage)
        line.writer.write_eof()

    async with asking(script) as (_, there):
        error = await refused(there)
        assert isinstance(error, UpstreamError)


async def test_connections_are_used_again() -> None:
    async with asking(answers) as (service, there):
        for streamed in (True, False, True, False):
            answered = await there.ask(request(stream=streamed))
            if not isinstance(answered, Reply):
                await said(answered)
        assert (len(service.asked), service.connections) == (4, 1)


async def test_what_a_service_leaves_open_behind_its_last_word_is_not_waited_for() -> None:
    async def script(asked: Asked, line: Line) -> None:
        await line.begin()
        for piece in pieces_of(CHAT):
            await line.say(piece)
        await line.closed()

    async with asking(script) as (service, there), asyncio.timeout(5):
        answered = await there.ask(request(stream=True))
        assert not isinstance(answered, Reply)
        assert await said(answered) == "Hello there."
        await service.until_open(0)


async def test_a_kept_connection_that_closes_at_the_moment_of_its_reuse_costs_nothing() -> None:
    """The service closes it when it has read the request: as if the two had crossed on the way."""

    async def script(asked: Asked, line: Line) -> None:
        if len(service.asked) == 2:
            line.hang_up()
        else:
            await answers(asked, line)

    async with asking(script) as (service, there):
        await there.ask(request())
        assert isinstance(await there.ask(request()), Reply)
        assert [one.connection for one in service.asked] == [1, 1, 2]


async def test_a_new_connection_that_closes_is_not_asked_again() -> None:
    """Then the service has read the request, and may have acted upon it."""

    async def script(asked: Asked, line: Line) -> None:
        line.hang_up()

    async with asking(script) as (service, there):
        assert isinstance(await refused(there), UpstreamError)
        assert len(service.asked) == 1


async def test_kept_connections_that_all_close_are_not_tried_one_by_one() -> None:
    gate, here = asyncio.Event(), asyncio.Event()

    async def script(asked: Asked, line: Line) -> None:
        if len(service.asked) == 10:
            here.set()
        await gate.wait()
        await answers(asked, line)

    async with asking(script) as (service, there):
        calls = [asyncio.create_task(there.ask(request())) for _ in range(10)]
        await here.wait()
        gate.set()
        await asyncio.gather(*calls)
        for line in service.lines:
            line.writer.close()
        await service.until_open(0)
        assert isinstance(await there.ask(request()), Reply)


@pytest.mark.parametrize("streamed", [False, True])
async def test_who_is_cancelled_hangs_up(streamed: bool) -> None:
    arrived = asyncio.Event()

    async def script(asked: Asked, line: Line) -> None:
        arrived.set()
        await line.closed()

    async with asking(script) as (service, there):
        call = asyncio.create_task(there.ask(request(stream=streamed)))
        await arrived.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await service.until_open(0)


async def test_who_is_cancelled_at_any_moment_leaves_no_connection_behind() -> None:
    async with asking(silence) as (service, there):
        for moments in range(60):
            call = asyncio.create_task(there.ask(request()))
            for _ in range(moments % 30):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        await service.until_open(0)


@pytest.mark.parametrize("read", [0, 1])
async def test_events_that_are_closed_hang_up_even_if_none_was_read(read: int) -> None:
    async def script(asked: Asked, line: Line) -> None:
        await line.begin()
        for piece in pieces_of(CHAT)[:-2]:
            await line.say(piece)
        await line.closed()

    async with asking(script) as (service, there):
        answered = await there.ask(request(stream=True))
        assert not isinstance(answered, Reply)
        for _ in range(read):
            await anext(answered)
        await answered.aclose()
        await answered.aclose()
        await service.until_open(0)


async def test_events_that_are_forgotten_leave_nothing_behind() -> None:
    """Whoever drops them without a word: the loop closes them, and nothing warns."""

    async def script(asked: Asked, line: Line) -> None:
        await line.begin()
        for piece in pieces_of(CHAT)[:-2]:
            await line.say(piece)
        await line.closed()

    async with asking(script) as (service, there):
        answered = await there.ask(request(stream=True))
        assert not isinstance(answered, Reply)
        await anext(answered)
        del answered
        gc.collect()
        await service.until_open(0)


@pytest.mark.parametrize("count", [50, 500])
async def test_many_calls_at_once(count: int) -> None:
    """All of them are on their way before the first is answered."""
    gate = asyncio.Event()

    async def script(asked: Asked, line: Line) -> None:
        if len(service.asked) == count:
            gate.set()
        await gate.wait()
        await line.stream(pieces_of(CHAT))

    async def call(there: HttpUpstream) -> str:
        answered = await there.ask(request(stream=True))
        return await said(answered)

    async with asking(script) as (service, there), asyncio.timeout(DEADLINE_S):
        assert await asyncio.gather(*[call(there) for _ in range(count)]) == ["Hello there."] * count
        assert service.connections == count


async def test_closing_closes_what_is_kept_and_what_is_read() -> None:
    async def script(asked: Asked, line: Line) -> None:
        await line.begin()
        for piece in pieces_of(CHAT)[:-2]:
            await line.say(piece)
        await line.closed()

    async with serving(answers) as kept, serving(script) as read:
        http = Http()
        await HttpUpstream(endpoint(kept.url), http).ask(request())
        answered = await HttpUpstream(endpoint(read.url), http).ask(request(stream=True))
        await http.close()
        await kept.until_open(0)
        assert not isinstance(answered, Reply)
        await answered.aclose()
        await read.until_open(0)
        await http.close()


async def test_authorities_are_loaded_ahead_for_those_who_need_them() -> None:
    http = Http()
    HttpUpstream(endpoint("http://127.0.0.1:1"), http)
    before = http.loads
    HttpUpstream(endpoint("https://127.0.0.1:1"), http)
    assert (before, http.loads) == (False, True)
    with pytest.raises(httpx.ConnectError):
        await http.handle_async_request(httpx.Request("GET", "https://127.0.0.1:1"))
    await http.close()
