"""The end of the process: every held client is told, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import httpx
import pytest

from motive_core.dialects import DIALECTS
from motive_core.ir import ChatRequest, Message, Sampling, TextPart
from motive_core.stream import Failed
from tests.e2e.clients import PATHS, DialectName, Link, http_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import STOP_DEADLINE_S, Proxy
from tests.e2e.standin import Gate, Received, Standin, Writer
from tests.e2e.wire import chat

HELD = 100
CROWD = 500
UNLIMITED = httpx.Limits(max_connections=None)


async def held(proxy: Proxy) -> int:
    async with http_client(Link(proxy)) as client:
        return int((await client.get("/health")).json()["held"])


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
async def test_held_calls_get_an_error_of_their_dialect(start_proxy: StartProxy, stop: signal.Signals) -> None:
    """A hundred of them: streamed and not, both dialects, prompts and listeners."""
    proxy = start_proxy(config={})
    async with http_client(Link(proxy), limits=UNLIMITED) as client:

        async def call(number: int) -> tuple[DialectName, int, str, str]:
            dialect: DialectName = "openai" if number % 2 else "anthropic"
            body = chat(f"session-{number}", "/join" if number % 5 == 0 else "hello", stream=number % 3 == 0)
            reply = await client.post(PATHS[dialect], content=body)
            return dialect, reply.status_code, reply.headers.get("retry-after", ""), reply.text

        calls = [asyncio.create_task(call(number)) for number in range(HELD)]
        while await held(proxy) < HELD:
            assert proxy.process.poll() is None
        proxy.process.send_signal(stop)
        replies = await asyncio.wait_for(asyncio.gather(*calls), STOP_DEADLINE_S)
    for dialect, status, retry_after, body in replies:
        assert (status, retry_after) == (503, "2")
        told = json.loads(body)
        assert "shutting down" in told["error"]["message"]
        assert told.get("type") == ("error" if dialect == "anthropic" else None)
    assert await asyncio.to_thread(proxy.process.wait, STOP_DEADLINE_S) == 0


async def test_five_hundred_calls_in_every_dialect(start_proxy: StartProxy) -> None:
    """Every other one streams, and is being kept alive already: its error comes within the stream."""
    proxy = start_proxy(config={"timing": {"heartbeat_after_s": 0.1, "heartbeat_every_s": 0.5}})
    speaking = 0

    async def call(client: httpx.AsyncClient, number: int) -> None:
        nonlocal speaking
        dialect, stream = DIALECTS[number % len(DIALECTS)], number // len(DIALECTS) % 2 == 0
        words = (Message("user", (TextPart("/join" if number % 7 == 0 else "hello"),)),)
        request = ChatRequest(dialect.name, f"session-{number}", words, sampling=Sampling(max_tokens=9), stream=stream)
        body = b""
        # InvokeModel must be told this version; to the others it is a field that they don't know.
        content = dialect.render_request(request).replace(b"{", b'{"anthropic_version":"bedrock-2023-05-31",', 1)
        async with client.stream("POST", dialect.target(request), content=content) as reply:
            async for data in reply.aiter_raw():
                speaking += not body
                body += data
        if stream:
            assert reply.status_code == 200, body
            decoder = dialect.decoder()
            last = [*decoder.feed(body), *decoder.close()][-1]
            assert isinstance(last, Failed) and "shutting down" in str(last.error), body
        else:
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
            assert b"shutting down" in body and json.loads(body)

    async with http_client(Link(proxy), limits=UNLIMITED) as client:
        calls = [asyncio.create_task(call(client, number)) for number in range(CROWD)]
        while speaking < CROWD // 2:
            assert proxy.process.poll() is None
            await asyncio.sleep(0.05)
        assert await held(proxy) == CROWD
        took_s = await asyncio.to_thread(proxy.terminate)
        await asyncio.wait_for(asyncio.gather(*calls), STOP_DEADLINE_S)
    assert took_s < STOP_DEADLINE_S
    assert "calls left behind" not in proxy.log


async def test_a_pair_in_mid_turn_is_told(start_proxy: StartProxy) -> None:
    proxy = start_proxy(config={})
    async with http_client(Link(proxy)) as client:
        shown = asyncio.create_task(client.post(PATHS["openai"], content=chat("s", "/join")))
        await proxy.until_listening("s")
        asked = asyncio.create_task(client.post(PATHS["anthropic"], content=chat("s", "question")))
        assert "question" in (await shown).text
        proxy.terminate()
        assert (await asked).status_code == 503


def test_end_without_calls(start_proxy: StartProxy, confdir: Path) -> None:
    proxy = start_proxy(config={})
    proxy.terminate()
    assert "calls left behind" not in proxy.log


async def test_calls_that_pass_do_not_keep_the_process(
    start_proxy: StartProxy, proxy_authority: Path, service: Standin
) -> None:
    """A service that is slow to answer is no reason to stay."""
    gate = Gate()

    def slowly(_: Received, writer: Writer) -> None:
        writer.start(200, [("content-type", "text/event-stream")])
        writer.send(b"data: first\n\n")
        gate.wait()

    service.handler = slowly
    proxy = start_proxy(config={})
    async with http_client(Link(proxy, proxy_authority)) as client:
        url = "https://api.openai.com/v1/chat/completions"
        async with client.stream("POST", url, content=chat("m", stream=True)) as reply:
            assert await anext(reply.aiter_raw()) == b"data: first\n\n"
            await asyncio.to_thread(proxy.terminate)
    gate.open()
