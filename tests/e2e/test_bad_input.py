"""Calls at the meeting point that cannot be understood: each gets the right error of its own dialect."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import brotli
import httpx
import openai
import pytest
import zstandard

from tests.e2e.clients import DIALECTS, PATHS, DialectName, Link, Talker, anthropic_client, http_client, openai_client
from tests.e2e.proxy import Proxy
from tests.e2e.rules import BODY_LIMIT_BYTES
from tests.e2e.wire import UPGRADE, RawClient, chat, chunked, request

both_dialects = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture
async def client(at_meeting: Link) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(at_meeting) as one:
        yield one


@asynccontextmanager
async def undisturbed(link: Link, session: str) -> AsyncIterator[None]:
    """A pair is in the middle of a turn before, and ends it well after."""
    person = Talker(link, "openai", session, api_key="sk-human")
    app = Talker(link, "anthropic", session, api_key="sk-app")
    shown = person.start("/join")
    await link.proxy.until_listening(session)
    asked = app.start("before")
    assert (await shown).text == "before"
    yield
    assert not asked.done()
    waiting = person.start("after")
    assert (await asked).text == "after"
    await link.proxy.close_session(session)
    await asyncio.gather(waiting, return_exceptions=True)


def check_error(reply: httpx.Response, dialect: DialectName, status: int) -> dict[str, Any]:
    """The envelope of the dialect, and no reason to try again. Gives the error."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["x-request-id" if dialect == "openai" else "request-id"]
    told = reply.json()
    error: dict[str, Any] = told["error"]
    assert error["message"]
    assert error["type"]
    if dialect == "openai":
        assert {"param", "code"} <= set(error)
    else:
        assert told["type"] == "error"
    return error


@both_dialects
@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"not json", None),
        (b"[]", None),
        (b'"text"', None),
        (b"null", None),
        (b"\xff\xfe{}", None),
        (b'{"model": "\xff"}', None),
        (b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 9}', "model"),
        (b'{"model": "", "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}', "model"),
        (b'{"model": 5, "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}', "model"),
        (b'{"model": null, "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}', "model"),
        (b'{"model": ["a"], "messages": [{"role": "user", "content": "x"}], "max_tokens": 9}', "model"),
        (b'{"model": "m", "max_tokens": 9}', "messages"),
        (b'{"model": "m", "messages": [], "max_tokens": 9}', "messages"),
        (b'{"model": "m", "messages": "hi", "max_tokens": 9}', "messages"),
        (b'{"model": "m", "messages": ["hi"], "max_tokens": 9}', "messages"),
        (b'{"model": "m", "messages": [{"role": "user", "content": 5}], "max_tokens": 9}', "messages"),
        (b'{"model": "m", "messages": [{"role": 5, "content": "x"}], "max_tokens": 9}', "messages"),
        # A lone surrogate is JSON's grammar, but no text that could be sent on.
        (b'{"model": "m", "messages": [{"role": "user", "content": "\\ud83d"}], "max_tokens": 9}', None),
        (b"[" * 100_000, None),
        (b'{"model": "m", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", None),
    ],
)
async def test_body_that_is_no_call(
    client: httpx.AsyncClient, dialect: DialectName, body: bytes, param: str | None
) -> None:
    error = check_error(await client.post(PATHS[dialect], content=body), dialect, 400)
    if param is not None:
        assert param in (error["param"] or "") if dialect == "openai" else param in error["message"]


@both_dialects
@pytest.mark.parametrize("model", ["m\r\nX-Evil: 1", "m\x00", "m" * 10_000], ids=["lines", "nul", "long"])
async def test_model_that_cannot_name_a_session(client: httpx.AsyncClient, dialect: DialectName, model: str) -> None:
    reply = await client.post(PATHS[dialect], content=chat(model))
    check_error(reply, dialect, 400)
    assert "x-evil" not in reply.headers


@both_dialects
async def test_bad_calls_disturb_nobody(
    at_meeting: Link, client: httpx.AsyncClient, session: str, dialect: DialectName
) -> None:
    async with undisturbed(at_meeting, session):
        check_error(await client.post(PATHS[dialect], content=b"{"), dialect, 400)
        bad = {"model": session, "messages": [], "max_tokens": 9}
        check_error(await client.post(PATHS[dialect], json=bad), dialect, 400)
        check_error(await client.post(PATHS[dialect], content=b"x" * (BODY_LIMIT_BYTES + 1)), dialect, 413)


async def test_sdks_raise_their_own_errors_and_do_not_retry(at_meeting: Link, proxy: Proxy) -> None:
    async with openai_client(at_meeting, max_retries=3) as app:
        with pytest.raises(openai.BadRequestError) as bad:
            await app.chat.completions.create(model="", messages=[{"role": "user", "content": "x"}])
        assert bad.value.param == "model"
    async with anthropic_client(at_meeting, max_retries=3) as person:
        with pytest.raises(anthropic.BadRequestError) as bad_message:
            await person.messages.create(model="", max_tokens=9, messages=[{"role": "user", "content": "x"}])
        assert bad_message.value.request_id


# Size


@both_dialects
def test_body_over_the_limit(proxy: Proxy, dialect: DialectName) -> None:
    big = chat("m", "x" * BODY_LIMIT_BYTES)
    with RawClient(proxy.meeting_address) as client:
        reply = client.ask(request("POST", PATHS[dialect], body=big))
        assert (reply.status, "error" in reply.json()) == (413, True)
        assert reply.header("x-should-retry") == "false"
        assert client.rest() == b""
    with RawClient(proxy.meeting_address) as client:
        pieces = [big[start : start + 50_000] for start in range(0, len(big), 50_000)]
        sent = request("POST", PATHS[dialect], "Transfer-Encoding: chunked", body=chunked(*pieces))
        reply = client.ask(sent)
        assert (reply.status, "error" in reply.json()) == (413, True)


async def test_body_within_the_limit(at_meeting: Link, session: str) -> None:
    app = Talker(at_meeting, "openai", session)
    asked = app.start("x" * (BODY_LIMIT_BYTES - 200))
    await at_meeting.proxy.until_held(session)
    await at_meeting.proxy.close_session(session)
    with pytest.raises(openai.APIStatusError):
        await asked


# Content encodings


def deflate_raw(data: bytes) -> bytes:
    """Deflate without zlib's header, as some clients send it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", deflate_raw),
    "identity": ("identity", bytes),
    "two": ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
}


@both_dialects
@pytest.mark.parametrize("name", list(ENCODERS))
async def test_compressed_body_is_understood(
    at_meeting: Link, client: httpx.AsyncClient, session: str, dialect: DialectName, name: str
) -> None:
    header, encode = ENCODERS[name]
    body = encode(chat(session, "Grüße"))
    asked = asyncio.create_task(client.post(PATHS[dialect], content=body, headers={"content-encoding": header}))
    await at_meeting.proxy.until_held(session)
    person = Talker(at_meeting, "openai", session, api_key="sk-human")
    assert (await person.say("/join")).text == "Grüße"
    waiting = person.start("hello")
    assert "hello" in (await asked).text
    await at_meeting.proxy.close_session(session)
    await asyncio.gather(waiting, return_exceptions=True)


BROKEN: dict[str, tuple[str, bytes]] = {
    "gzip, other bytes": ("gzip", b"not gzip"),
    "gzip, cut": ("gzip", gzip.compress(chat("m"))[:-12]),
    "gzip, empty": ("gzip", b""),
    "br, other bytes": ("br", b"\xff\xff\xff"),
    "br, cut": ("br", brotli.compress(chat("m"))[:-3]),
    "zstd, other bytes": ("zstd", b"not zstd"),
    "zstd, cut": ("zstd", zstandard.compress(chat("m"))[:-3]),
    "deflate, other bytes": ("deflate", b"\x00\x01\x02"),
    "unknown": ("unheard-of", b"{}"),
    "known and unknown": ("gzip, unheard-of", gzip.compress(chat("m"))),
}


@both_dialects
@pytest.mark.parametrize("name", list(BROKEN))
async def test_body_that_is_not_what_its_encoding_says(
    client: httpx.AsyncClient, dialect: DialectName, name: str
) -> None:
    header, body = BROKEN[name]
    reply = await client.post(PATHS[dialect], content=body, headers={"content-encoding": header})
    check_error(reply, dialect, 400)


@both_dialects
@pytest.mark.parametrize("name", ["gzip", "br", "zstd", "deflate", "two"])
async def test_body_that_unpacks_to_too_much(client: httpx.AsyncClient, dialect: DialectName, name: str) -> None:
    header, encode = ENCODERS[name]
    body = encode(b" " * (20 * BODY_LIMIT_BYTES))
    assert len(body) < BODY_LIMIT_BYTES
    reply = await client.post(PATHS[dialect], content=body, headers={"content-encoding": header})
    check_error(reply, dialect, 413)


# WebSocket


@pytest.mark.parametrize("path", [*PATHS.values(), "/v1/responses"])
@pytest.mark.parametrize("headers", [(), ("anthropic-version: 2023-06-01",)], ids=["openai", "anthropic"])
def test_websocket_upgrade_is_answered_426(proxy: Proxy, path: str, headers: tuple[str, ...]) -> None:
    with RawClient(proxy.meeting_address) as client:
        reply = client.ask(request("GET", path, *UPGRADE, *headers))
        assert reply.status == 426
        assert reply.json()["error"]["message"]
        assert reply.header("x-should-retry") == "false"
        # Codex goes on with HTTP on the same connection.
        assert client.ask(request("GET", "/health")).status == 200
