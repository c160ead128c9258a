"""Requests of clients that mean harm, or have bad luck: in every dialect each gets one clear reply in its own words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.e2e.clients import Link, http_client
from tests.e2e.wire import RawClient

ANTHROPIC = {"anthropic-version": "2023-06-01"}
GOOGLE = {"x-goog-api-key": "AIzaTest"}
AWS = {"user-agent": "Boto3/1.44 md/Botocore#1.44"}
OLLAMA = {"user-agent": "ollama-python/0.6"}
COHERE = {"user-agent": "cohere/5", "x-client-name": "test"}


@pytest.fixture
async def site(at_meeting: Link) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(at_meeting) as client:
        yield client


def message_of(told: Any) -> str:
    """What an error says, in whichever envelope."""
    told = told.get("error", told)
    return str(told if isinstance(told, str) else told["message"])


@pytest.mark.parametrize("path", ["/%61dmin/sessions", "/admin%2Fsessions", "/%61%64%6D%69%6E/sessions"])
async def test_the_operators_paths_are_guarded_however_they_are_written(site: httpx.AsyncClient, path: str) -> None:
    rebound = {"host": "evil.example"}
    assert (await site.get(path, headers=rebound)).status_code == 403
    assert (await site.delete(f"{path}/x", headers=rebound)).status_code == 403
    page = {"origin": "http://localhost:3000", "access-control-request-method": "DELETE"}
    assert "access-control-allow-origin" not in (await site.options(f"{path}/x", headers=page)).headers
    reply = await site.get(path, headers={"origin": "http://localhost:3000"})
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("headers", [{}, ANTHROPIC, GOOGLE, AWS, OLLAMA, COHERE], ids=str)
@pytest.mark.parametrize("target", ["/" + "x" * 100_000, "/x?" + "y" * 100_000, "/model/" * 400_000 + "!"], ids=len)
async def test_a_target_that_is_too_long(at_meeting: Link, target: str, headers: dict[str, str]) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with RawClient(at_meeting.proxy.meeting_address) as client:
        reply = await asyncio.to_thread(client.ask, f"GET {target} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
    assert (reply.status, reply.header("content-type")) == (414, "application/json")
    assert "is not served here" in message_of(json.loads(reply.body))
    assert len(reply.body) < 3_000


@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\x0b", b"\r", b"\x7f", b"\xff"])
async def test_headers_that_http_forbids_change_no_envelope(at_meeting: Link, byte: bytes) -> None:
    for path, status in ((b"/nix", 404), (b"/health", 200), (b"/v1/chat/completions", 405)):
        request = b"GET %b HTTP/1.1\r\nHost: x\r\nAccept: a%bb\r\nUser-Agent: a%bb\r\n\r\n" % (path, byte, byte)
        with RawClient(at_meeting.proxy.meeting_address) as client:
            reply = await asyncio.to_thread(client.ask, request)
        assert (reply.status, reply.header("content-type")) == (status, "application/json")


async def test_a_header_that_is_repeated_many_times(site: httpx.AsyncClient) -> None:
    reply = await site.post("/api/chat", content=b"{}", headers=[("x-many", "v")] * 20_000, timeout=10)
    assert (reply.status_code, message_of(reply.json())) == (400, "model is required")


async def test_an_answer_that_is_sent_again_is_no_prompt(
    site: httpx.AsyncClient, at_meeting: Link, session: str
) -> None:
    """Two clients that look the same, in a dialect whose calls carry no history and whose SDK marks no retry."""

    def say(text: str) -> asyncio.Task[httpx.Response]:
        body = {"model": session, "prompt": text, "stream": False}
        return asyncio.create_task(site.post("/api/generate", json=body, headers=OLLAMA))

    proxy = at_meeting.proxy
    listening = say("/join")
    await proxy.until_listening(session)
    asked = say("one")
    assert (await listening).json()["response"] == "one"
    lost = say("first")
    assert (await asked).json()["response"] == "first"
    await proxy.until_listening(session)
    lost.cancel()
    await proxy.until(session, lambda told: not told["listening"])
    listening = say("first")
    await proxy.until_listening(session)
    asked = say("two")
    assert (await listening).json()["response"] == "two"
    listening = say("second")
    assert (await asked).json()["response"] == "second"
    assert json.loads((await site.get("/health")).text)["status"] == "ok"
    await proxy.close_session(session)
    await listening
