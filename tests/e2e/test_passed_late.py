"""Calls that are passed to their real service after the head of their reply is out: what the service says, and does not
say, must reach the app as if it had been asked at once."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import brotli
import httpx
import pytest
import zstandard

from tests.e2e.clients import Link, Talker, http_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import REVERSE, Proxy
from tests.e2e.standin import Gate, Received, Standin, Writer, openai_reply

CONFIG: Final[dict[str, Any]] = {
    "timing": {"heartbeat_after_s": 0.2, "heartbeat_every_s": 0.2},
    "services": {"openai-chat": "https://api.openai.com"},
    "routes": [{"match": {"listener": "forward"}, "when": "joined"}, {"match": {"listener": "reverse"}}],
}
URL: Final = "https://api.openai.com/v1/chat/completions"
PATIENT: Final = {"user-agent": "OpenAI/Python 3.52.0", "x-stainless-read-timeout": "0.5"}


@asynccontextmanager
async def passed_late(
    proxy: Proxy, authority: Path | None, session: str, *, stream: bool = False, http2: bool = False
) -> AsyncIterator[httpx.Response]:
    """A call whose head is out already, and that the person has passed on."""
    person = Talker(Link(proxy), "openai", session, api_key="sk-human")
    shown = person.start("/join")
    await proxy.until_listening(session)
    call = {"model": session, "stream": stream, "messages": [{"role": "user", "content": "You see a troll."}]}
    url = URL if authority is not None else "/v1/chat/completions"
    link = Link(proxy, authority, http2=http2)
    async with http_client(link) as client, client.stream("POST", url, json=call, headers=PATIENT) as reply:
        assert reply.status_code == 200
        await shown
        listening = person.start("/pass")
        yield reply
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


@pytest.fixture(scope="module")
def beating(
    tmp_path_factory: pytest.TempPathFactory, confdir: Path, upstream: dict[str, Any], shared_standin: Standin
) -> Iterator[Proxy]:
    """A proxy whose held calls soon show signs of life."""
    with Proxy(tmp_path_factory.mktemp("passing"), confdir, config=CONFIG, **upstream) as proxy:
        yield proxy


ENCODINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.mark.parametrize("http2", [False, True], ids=["h1", "h2"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ENCODINGS)
async def test_an_encoding_that_was_not_asked_for(  # noqa: PLR0917  # each is a fixture or a case
    beating: Proxy,
    proxy_authority: Path,
    service: Standin,
    session: str,
    name: str,
    stream: bool,
    http2: bool,
) -> None:
    body = json.dumps(openai_reply("Run!", "npc")).encode()
    body = b"data: " + body + b"\n\ndata: [DONE]\n\n" if stream else body

    def answer(_: Received, writer: Writer) -> None:
        writer.start(200, [("content-type", "application/json"), ("content-encoding", name)])
        data = ENCODINGS[name](body)
        writer.send(data[:20])
        writer.send(data[20:])
        writer.end()

    service.handler = answer
    async with passed_late(beating, proxy_authority, session, stream=stream, http2=http2) as reply:
        said = await reply.aread()
    assert said.endswith(body)


async def test_an_encoding_that_nobody_knows(
    beating: Proxy, proxy_authority: Path, service: Standin, session: str
) -> None:
    def answer(_: Received, writer: Writer) -> None:
        writer.start(200, [("content-encoding", "pack200")])
        writer.send(b"?")
        writer.end()

    service.handler = answer
    async with passed_late(beating, proxy_authority, session) as reply:
        with pytest.raises(httpx.RemoteProtocolError):
            await reply.aread()


async def test_a_service_that_breaks_off(beating: Proxy, proxy_authority: Path, service: Standin, session: str) -> None:
    """Its client sees that. To the log, it is no failure of the proxy's."""

    def answer(_: Received, writer: Writer) -> None:
        writer.start(200, [("content-type", "text/event-stream")])
        writer.send(b"data: {}\n\n")
        raise ConnectionResetError

    service.handler = answer
    async with passed_late(beating, proxy_authority, session, stream=True) as reply:
        with pytest.raises(httpx.RemoteProtocolError):
            await reply.aread()
    assert "Traceback" not in beating.log


async def test_a_reply_that_comes_faster_than_it_is_read(
    beating: Proxy, proxy_authority: Path, service: Standin, session: str
) -> None:
    """It arrives whole, however large it is."""
    pieces = 100

    def answer(_: Received, writer: Writer) -> None:
        writer.start(200, [("content-type", "text/event-stream")])
        for number in range(pieces):
            writer.send(b"%c" % (0x30 + number % 10) * 1024 * 1024)
        writer.end()

    service.handler = answer
    async with passed_late(beating, proxy_authority, session, stream=True) as reply:
        size, digits = 0, b""
        async for data in reply.aiter_raw():
            said = data.strip(b": keep-alive\n") if not size else data
            size += len(said)
            for digit in said[:1] + said[-1:]:
                if digits[-1:] != b"%c" % digit:
                    digits += b"%c" % digit
    assert size == pieces * 1024 * 1024
    assert digits == b"0123456789" * (pieces // 10)


async def test_shutdown_while_the_service_is_silent(
    start_proxy: StartProxy, proxy_authority: Path, service: Standin, session: str
) -> None:
    gate = Gate()

    def answer(_: Received, writer: Writer) -> None:
        writer.start(200, [("content-type", "text/event-stream")])
        writer.send(b"data: {}\n\n")
        gate.wait()

    service.handler = answer
    proxy = start_proxy(config=CONFIG)
    async with passed_late(proxy, proxy_authority, session, stream=True) as reply:
        pieces = reply.aiter_raw()
        while b"data: {}" not in await anext(pieces):
            pass
        ending = asyncio.create_task(asyncio.to_thread(proxy.terminate))
        with pytest.raises(httpx.RemoteProtocolError):
            while True:
                await anext(pieces)
        await ending
    gate.open()
    assert "left behind" not in proxy.log and "Cancel" not in proxy.log


async def test_shutdown_in_the_middle_of_an_error_of_the_service(
    start_proxy: StartProxy, proxy_authority: Path, service: Standin, session: str
) -> None:
    gate, begun = Gate(), threading.Event()

    def answer(_: Received, writer: Writer) -> None:
        writer.start(500, [("content-type", "application/json")])
        writer.send(b'{"error": ')
        begun.set()
        gate.wait()

    service.handler = answer
    proxy = start_proxy(config=CONFIG)
    async with passed_late(proxy, proxy_authority, session, stream=True) as reply:
        await asyncio.to_thread(begun.wait)
        proxy.wait_for_log("Streaming response")
        ending = asyncio.create_task(asyncio.to_thread(proxy.terminate))
        assert b"The service answered with status 500." in await reply.aread()
        await ending
    gate.open()


@pytest.mark.parametrize(
    ("listener", "first"),
    [(listener, first) for listener in ("forward", "reverse") for first in ("upstream", "reverse")],
)
async def test_a_next_proxy(  # noqa: PLR0917  # each is a fixture or a case
    start_proxy: StartProxy, proxy_authority: Path, service: Standin, session: str, listener: str, first: str
) -> None:
    """A late call goes where one that is passed at once goes: by the next proxy, if its listener has one."""
    next_proxy = start_proxy(config={"hosts": [], "log": {"debug": True}})
    modes = (f"upstream:{next_proxy.forward}@127.0.0.1:0", REVERSE)
    proxy = start_proxy(config=CONFIG, modes=modes if first == "upstream" else modes[::-1])
    authority = proxy_authority if listener == "forward" else None
    async with passed_late(proxy, authority, session) as reply:
        said = json.loads(await reply.aread())
    assert said["choices"][0]["message"]["content"] == f"real {session}"
    assert len(service.requests) == 1
    assert ("server connect api.openai.com" in next_proxy.log) == (listener == "forward")
