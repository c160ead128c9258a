"""The end of the process: every held client is told, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import httpx
import pytest

from tests.e2e.clients import PATHS, DialectName, Link, http_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import STOP_DEADLINE_S, Proxy
from tests.e2e.standin import Gate, Received, Standin, Writer
from tests.e2e.wire import chat

HELD = 100
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
