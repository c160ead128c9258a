"""The ``model`` source behind a real proxy: keys, fallbacks, and an app that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import trustme

from tests.e2e.clients import Link, openai_client
from tests.e2e.model_service import BUSY, cuts, refuses, speaks
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Received, Standin, Writer

OURS, ADMIN, APP = "sk-motive-0123456789", "admin-0123456789abcdef", "sk-of-the-app"


@pytest.fixture(scope="module")
def first(authority: trustme.CA) -> Iterator[Standin]:
    with Standin(authority) as standin:
        yield standin


@pytest.fixture(scope="module")
def second(authority: trustme.CA) -> Iterator[Standin]:
    with Standin(authority) as standin:
        yield standin


@pytest.fixture(autouse=True)
def working(first: Standin, second: Standin) -> None:
    for standin in (first, second):
        standin.requests.clear()
        standin.handler = speaks


def _url(standin: Standin) -> str:
    return f"http://127.0.0.1:{standin.env['STANDIN_PLAIN_PORT']}"


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, confdir: Path, first: Standin, second: Standin
) -> Iterator[Proxy]:
    """A proxy that asks for a key, with sources that pass keys and headers on."""
    passing = {"kind": "model", "base_url": _url(first), "pass_key": True, "pass_headers": ["*"], "model": "real"}
    fallback = {"base_url": _url(second), "dialect": "anthropic-messages", "model": "second"}
    config: dict[str, Any] = {
        "access": {"valid_keys": OURS},
        "sources": {"passing": passing, "twofold": {"kind": "model", "base_url": _url(first), "fallbacks": [fallback]}},
        "routes": [
            {"match": {"model": "passing*"}, "answer": "passing"},
            {"match": {"model": "twofold*"}, "answer": "twofold"},
        ],
    }
    env = {"MOTIVE_PROXY_ADMIN_TOKEN": ADMIN}
    with Proxy(tmp_path_factory.mktemp("guarded"), confdir, config=config, env=env) as proxy:
        yield proxy


def _message(text: str) -> Any:
    return {"messages": [{"role": "user", "content": text}]}


async def post(proxy: Proxy, headers: dict[str, str], path: str = "/v1/chat/completions") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=20, base_url=proxy.meeting) as client:
        return await client.post(path, json={"model": "passing", **_message("Hi")}, headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {OURS}"},
        {"x-api-key": OURS},
        {"api-key": OURS, "x-goog-api-key": OURS},
        {"x-motive-key": OURS},
        {"x-motive-key": OURS, "x-admin-token": ADMIN, "x-motive-role": "asker"},
    ],
)
async def test_a_key_of_ours_goes_to_no_service(guarded: Proxy, first: Standin, headers: dict[str, str]) -> None:
    """Even though the source sends keys and all headers on."""
    reply = await post(guarded, {**headers, "x-trace": "7"})
    assert reply.status_code == 200, reply.text
    (received,) = first.requests
    assert OURS.encode() not in received.head
    assert ADMIN.encode() not in received.head
    assert received.header("authorization") is None
    assert received.header("x-trace") == "7"
    assert not [name for name, _ in received.headers if name.lower().startswith("x-motive")]


async def test_the_app_s_own_key_beside_ours_goes_on(guarded: Proxy, first: Standin) -> None:
    reply = await post(guarded, {"x-motive-key": OURS, "x-api-key": APP})
    assert reply.status_code == 200
    assert first.requests[0].header("authorization") == f"Bearer {APP}"
    assert first.requests[0].header("x-api-key") is None
    reply = await post(guarded, {"x-motive-key": OURS}, f"/v1/chat/completions?key={APP}")
    assert first.requests[1].header("authorization") == f"Bearer {APP}"
    assert APP not in first.requests[1].target


async def test_an_app_behind_the_forward_proxy(guarded: Proxy, proxy_authority: Path, first: Standin) -> None:
    async with openai_client(Link(guarded, proxy_authority), api_key=APP) as client:
        reply = await client.chat.completions.create(model="passing", **_message("Hi #there"))
    assert reply.choices[0].message.content == "You said there, my friend."
    assert first.requests[0].header("authorization") == f"Bearer {APP}"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_fallback_of_another_dialect_answers(
    guarded: Proxy, first: Standin, second: Standin, *, streamed: bool
) -> None:
    first.handler = refuses(BUSY)
    async with openai_client(Link(guarded), api_key=OURS) as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="twofold", stream=streamed, **_message("Hi #there")
        )
        assert raw.headers["x-motive-model"] == "second; fallback=1"
        said: Any = raw.parse()
        if streamed:
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in said if chunk.choices])
        else:
            text = said.choices[0].message.content
    assert text == "You said there, my friend."
    assert [len(first.requests), len(second.requests)] == [1, 1]


async def test_the_last_error_is_told_with_its_time_to_wait(guarded: Proxy, first: Standin, second: Standin) -> None:
    first.handler = cuts(lambda writer: writer.end(), after=1)
    second.handler = refuses(BUSY)
    async with openai_client(Link(guarded), api_key=OURS) as client:
        with pytest.raises(openai.RateLimitError, match="I am busy") as caught:
            await client.chat.completions.create(model="twofold", stream=True, **_message("Hi"))
    assert caught.value.response.headers["retry-after"] == "7"


async def test_an_app_that_leaves_ends_the_call_to_the_service(guarded: Proxy, first: Standin) -> None:
    """Before the first word, and in the middle."""
    left, arrived = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(received: Received, writer: Writer) -> None:
        loop.call_soon_threadsafe(arrived.set)
        writer.start(200, [("Content-Type", "text/event-stream")])
        word = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
        try:
            while True:
                writer.send(word if b'"many"' in received.body else b": nothing\n\n")
        except OSError:
            loop.call_soon_threadsafe(left.set)
            raise

    first.handler = endless
    for text in ("many", "none"):
        left.clear()
        arrived.clear()
        async with openai_client(Link(guarded), api_key=OURS) as client:
            call = asyncio.create_task(_read_one(client, text))
            if text == "many":
                await call
            else:
                await arrived.wait()
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
        async with asyncio.timeout(20):
            await left.wait()


async def _read_one(client: openai.AsyncOpenAI, text: str) -> None:
    chunks = await client.chat.completions.create(model="passing", stream=True, **_message(text))
    await anext(aiter(chunks))
    await chunks.close()
