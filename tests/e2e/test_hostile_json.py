"""JSON that means harm, in every dialect: each gets one clear reply in its own words, and keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from bench.soak.wires import WIRES, Wire
from tests.e2e.clients import PATHS, Link, http_client
from tests.e2e.proxy import Proxy
from tests.e2e.wire import RawClient, chat

DEPTH: Final = 10_000
MILLION: Final = 1_000_000
_MARK: Final = "@@@"
_TICK_S: Final = 0.01
_FAIR_SHARE: Final = 0.5
"""Of the time that it takes to read a bomb, the most that one other client may wait for one reply, see there."""

wires = pytest.mark.parametrize("wire", WIRES, ids=[wire.name for wire in WIRES])

BOMBS: Final[dict[str, bytes]] = {
    "deep arrays": b"[" * DEPTH + b"]" * DEPTH,
    "deep objects": b'{"a":' * DEPTH + b"1" + b"}" * DEPTH,
    "arrays that never end": b"[" * 90_000,
    "a million keys": b"{" + b",".join(b'"k%d":1' % number for number in range(MILLION)) + b"}",
    "one key a million times": b"{" + b",".join([b'"k":1'] * MILLION) + b"}",
    "a million numbers": b"[" + b",".join([b"1"] * MILLION) + b"]",
    "a million texts": b"[" + b",".join([b'""'] * MILLION) + b"]",
    "a million objects": b"[" + b",".join([b"{}"] * MILLION) + b"]",
    "a long integer": b"9" * MILLION,
    "a large exponent": b"1e" + b"9" * 1000,
    "not a number": b"NaN",
}
"""Each is more than a reader may take, or no JSON at all."""

ODD: Final[dict[str, bytes]] = {
    "lone surrogate": b'"\\ud800"',
    "surrogates the wrong way round": b'"\\udc00\\ud800"',
    "raw NUL": b'"\x00"',
    "bytes that are not UTF-8": b'"\xff\xfe"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "UTF-8 of a surrogate": b'"\xed\xa0\x80"',
}
"""Texts that nobody could send on."""


def call(wire: Wire, session: str, place: str, value: bytes) -> bytes:
    """A call's body with this value in a field. ``place`` is ``words``, ``extra``, or ``body`` for the value alone."""
    if place == "body":
        return value
    words = _MARK if place == "words" else "hello"
    body = wire.body(session, [], words, streamed=False)
    if place == "extra":
        body["extra"] = _MARK
    return json.dumps(body).encode().replace(json.dumps(_MARK).encode(), value)


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory, confdir: Path, upstream: dict[str, Any]) -> Iterator[Proxy]:
    """A proxy that takes large bodies, as by default."""
    with Proxy(tmp_path_factory.mktemp("roomy"), confdir, config={}, **upstream) as proxy:
        yield proxy


@pytest.fixture
async def site(roomy: Proxy) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(Link(roomy), timeout=60) as client:
        yield client


async def post(client: httpx.AsyncClient, wire: Wire, session: str, body: bytes) -> httpx.Response:
    headers = wire.headers("key", wire.agent, 0)
    return await client.post(wire.target(session, streamed=False), content=body, headers=headers)


def check_refusal(wire: Wire, reply: httpx.Response) -> None:
    """An error of the client's making, in the dialect's envelope."""
    assert reply.status_code in (400, 413), reply.text[:400]
    assert reply.headers["content-type"] == "application/json"
    assert wire.message(reply.content)
    assert len(reply.content) < 3000


async def test_no_bomb_blocks_the_others(roomy: Proxy) -> None:
    """A second client ticks: what it waits for one reply, at most, is a part of what a bomb would take to read."""
    slowest = 0.0

    async def tick(client: httpx.AsyncClient) -> None:
        nonlocal slowest
        while True:
            began = time.perf_counter()
            assert (await client.get("/health")).status_code == 200
            slowest = max(slowest, time.perf_counter() - began)
            await asyncio.sleep(_TICK_S)

    # What the largest bomb takes this machine, at this load: the client's own reader is as good a yardstick as any.
    bomb = b"[" + b",".join([b'{"role":"user","content":"x","extra":[{},{}]}'] * (MILLION // 5)) + b"]"
    began = time.perf_counter()
    for _ in range(5):
        json.loads(bomb)
    yardstick = time.perf_counter() - began
    async with http_client(Link(roomy)) as client, http_client(Link(roomy), timeout=60) as attacker:
        ticking = asyncio.create_task(tick(client))
        for wire in WIRES:
            body = wire.body("s", [], "hello", streamed=False)
            for field in body:
                sent = json.dumps({**body, field: _MARK}).encode().replace(json.dumps(_MARK).encode(), bomb)
                check_refusal(wire, await post(attacker, wire, "s", sent))
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
    assert slowest < _FAIR_SHARE * yardstick, (slowest, yardstick)


@wires
@pytest.mark.parametrize("name", list(BOMBS))
async def test_a_body_that_is_a_bomb(site: httpx.AsyncClient, session: str, wire: Wire, name: str) -> None:
    check_refusal(wire, await post(site, wire, session, BOMBS[name]))


@wires
@pytest.mark.parametrize("name", list(BOMBS))
async def test_words_that_are_a_bomb(site: httpx.AsyncClient, session: str, wire: Wire, name: str) -> None:
    reply = await post(site, wire, session, call(wire, session, "words", BOMBS[name]))
    check_refusal(wire, reply)


@wires
@pytest.mark.parametrize("name", list(ODD))
async def test_words_that_are_no_text(site: httpx.AsyncClient, session: str, wire: Wire, name: str) -> None:
    reply = await post(site, wire, session, call(wire, session, "words", ODD[name]))
    check_refusal(wire, reply)


@wires
@pytest.mark.parametrize(
    "words", ["a\0b", "\x01\x7f\x85\u2028", "\ufeff\ufffe\uffff", "\U0010ffff", "e\u0301 \u202e"], ids=ascii
)
async def test_odd_words_arrive(site: httpx.AsyncClient, roomy: Proxy, session: str, wire: Wire, words: str) -> None:
    """What is text by Unicode and JSON is text, however odd; and of a key that comes twice, the last one counts."""
    body = call(wire, session, "words", json.dumps(words).encode())
    if b'"model"' in body:
        body = b'{"model": "another", ' + body[1:]
    asked = asyncio.create_task(post(site, wire, session, body))
    await roomy.until_held(session)
    shown = await site.post(PATHS["openai"], content=chat(session, "/join"))
    assert shown.json()["choices"][0]["message"]["content"] == words
    listening = asyncio.create_task(site.post(PATHS["openai"], content=chat(session, f"{words}!")))
    reply = await asked
    assert wire.read(reply.headers, reply.content, streamed=False) == f"{words}!"
    await roomy.until_listening(session)
    await roomy.close_session(session)
    assert (await listening).status_code == 503


BAD_HEADS: Final[dict[str, bytes]] = {
    "path": b"POST /v1/\xff\xfe\xed\xa0\x80/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "query": b"POST /v1/messages?\xff=\xc0\xaf HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "encoded path": b"POST /model/%ff%fe%00/converse HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    "key": b"POST /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
    "agent": b"POST /v2/chat HTTP/1.1\r\nHost: x\r\nUser-Agent: \xed\xa0\x80\r\nContent-Length: 2\r\n\r\n{}",
    "host": b"POST /v1/completions HTTP/1.1\r\nHost: \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
    "role": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Motive-Role: \xff\r\nContent-Length: 2\r\n\r\n{}",
    "mark": b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nX-Stainless-Retry-Count: \xb2\r\nContent-Length: 2\r\n\r\n{}",
    "encoding": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Encoding: \xff\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("name", list(BAD_HEADS))
def test_bytes_that_are_not_utf_8_in_a_head(roomy: Proxy, name: str) -> None:
    with RawClient(roomy.meeting_address) as client:
        reply = client.ask(BAD_HEADS[name])
        assert (reply.status in (400, 404), reply.header("content-type")) == (True, "application/json")
        assert json.loads(reply.body.decode("utf-8"))
        assert client.ask(BAD_HEADS[name]).status == reply.status
