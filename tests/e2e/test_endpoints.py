"""What the meeting point serves besides LLM calls, there and under ``motive.internal`` behind the forward proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import openai
import pytest

from tests.e2e.clients import Link, Talker, anthropic_client, http_client, openai_client
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Standin
from tests.e2e.wire import chat

ANTHROPIC = {"anthropic-version": "2023-06-01"}
BROWSER = "http://localhost:3000"


@pytest.fixture(params=["meeting", "internal"])
async def site(request: pytest.FixtureRequest, proxy: Proxy) -> AsyncIterator[httpx.AsyncClient]:
    """A client at either place where the endpoints are."""
    link = Link(proxy)
    options: dict[str, Any] = {"headers": proxy.admin}
    if request.param == "internal":
        options |= {"proxy": proxy.forward, "base_url": "http://motive.internal"}
    async with http_client(link, **options) as client:
        yield client


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
async def test_health(site: httpx.AsyncClient, service: Standin, path: str) -> None:
    reply = await site.get(path)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    told = reply.json()
    assert told["status"] == "ok"
    assert told["version"]
    assert told["uptime_s"] >= 0
    assert told["held"] >= 0
    head = await site.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert not service.requests


async def test_held_calls_are_counted(at_meeting: Link, session: str) -> None:
    async with http_client(at_meeting) as client:
        before = (await client.get("/health")).json()["held"]
        waiting = Talker(at_meeting, "openai", session).start("/join")
        await at_meeting.proxy.until_listening(session)
        assert (await client.get("/health")).json()["held"] == before + 1
        await at_meeting.proxy.close_session(session)
        with pytest.raises(openai.APIStatusError):
            await waiting
        assert (await client.get("/health")).json()["held"] == before


async def test_models_are_the_open_sessions(at_meeting: Link, session: str) -> None:
    """In the dialect of the caller: both SDKs can list them."""
    waiting = Talker(at_meeting, "openai", session).start("/join")
    await at_meeting.proxy.until_listening(session)
    async with openai_client(at_meeting) as client:
        listed = [model async for model in client.models.list()]
        assert session in [model.id for model in listed]
        assert {model.object for model in listed} == {"model"}
    async with anthropic_client(at_meeting) as client:
        found = [model async for model in client.models.list()]
        assert session in [model.id for model in found]
        assert {model.type for model in found} == {"model"}
    await at_meeting.proxy.close_session(session)
    with pytest.raises(openai.APIStatusError):
        await waiting
    async with openai_client(at_meeting) as client:
        assert session not in [model.id async for model in client.models.list()]


async def test_sessions_tell_their_state(at_meeting: Link, session: str, site: httpx.AsyncClient) -> None:
    person = Talker(at_meeting, "anthropic", session, api_key="sk-secret-human")
    shown = person.start("/join")
    await at_meeting.proxy.until_listening(session)
    told = await described(site, session)
    assert [(one["role"], one["present"]) for one in told["participants"]] == [("answerer", True)]
    listening = told["listening"]
    assert (listening["dialect"], listening["listener"], listening["stream"]) == (
        "anthropic-messages",
        "reverse",
        False,
    )
    assert listening["client"] == "127.0.0.1"
    assert "Anthropic" in listening["user_agent"]
    assert listening["held_for_s"] >= 0
    assert listening["deadline_in_s"] > 60
    assert told["prompts"] == []

    app = Talker(at_meeting, "openai", session, streamed=True, api_key="sk-secret-app")
    asked = app.start("the secret prompt")
    await shown
    told = await at_meeting.proxy.until(session, lambda told: told["prompts"] and told["prompts"][0]["shown"] == "yes")
    assert {(one["role"], one["present"]) for one in told["participants"]} == {("answerer", True), ("asker", True)}
    (prompt,) = told["prompts"]
    assert (prompt["state"], told["listening"], told["turns"]) == ("open", None, 0)
    (call,) = prompt["calls"]
    assert (call["dialect"], call["stream"]) == ("openai-chat", True)
    assert prompt["waiting_for_s"] >= 0

    shown = person.start("the secret answer")
    await asked
    told = await at_meeting.proxy.until_listening(session)
    assert told["turns"] == 1
    body = (await site.get("/admin/sessions")).text
    assert "secret" not in body
    await at_meeting.proxy.close_session(session)
    await asyncio.gather(shown, return_exceptions=True)


async def described(site: httpx.AsyncClient, session: str) -> dict[str, Any]:
    reply = await site.get("/admin/sessions")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    (told,) = [one for one in reply.json()["sessions"] if one["session"] == session]
    return dict(told)


@pytest.mark.parametrize(
    "name",
    [
        "{}",
        "a/b/{}",
        "{} with spaces",
        "Größe-{}-世界",
        "{}?x=1#y",
        "{}%2Fz",
        "../{}",
        "{}/",
        "{}@x+y&z",
    ],
)
async def test_session_with_any_name_can_be_ended(
    at_meeting: Link, session: str, site: httpx.AsyncClient, name: str
) -> None:
    model = name.format(session)
    app = Talker(at_meeting, "openai", model)
    asked = app.start("anybody there?")
    await at_meeting.proxy.until_held(model)
    reply = await site.delete(f"/admin/sessions/{quote(model, safe='')}")
    assert (reply.status_code, reply.json()) == (200, {"closed": model})
    with pytest.raises(openai.APIStatusError, match="ended by the operator") as ended:
        await asked
    assert ended.value.response.headers["x-should-retry"] == "false"
    assert model not in await at_meeting.proxy.sessions()
    reply = await site.delete(f"/admin/sessions/{quote(model, safe='')}")
    assert reply.status_code == 404
    assert "error" in reply.json()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/p/token", 404),
        ("GET", "/admin", 404),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/health", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/admin/sessions", 405),
        ("GET", "/admin/sessions/x", 405),
    ],
)
@pytest.mark.parametrize("headers", [{}, ANTHROPIC], ids=["openai", "anthropic"])
async def test_anything_else_is_refused_helpfully(
    site: httpx.AsyncClient, service: Standin, *, method: str, path: str, status: int, headers: dict[str, str]
) -> None:
    reply = await site.request(method, path, headers=headers)
    assert reply.status_code == status
    told = reply.json()
    assert told.get("type") == ("error" if headers else None)
    assert "/v1/chat/completions" in told["error"]["message"]
    assert f"{method} {path}" in told["error"]["message"]
    assert bool(reply.headers.get("allow")) == (status == 405)
    assert reply.headers["x-should-retry"] == "false"
    assert not service.requests


async def test_root_is_not_served_to_who_does_not_look_for_ollama(site: httpx.AsyncClient) -> None:
    reply = await site.get("/", headers=ANTHROPIC)
    assert reply.status_code == 404
    assert reply.json()["type"] == "error"
    assert "GET / is not served here" in reply.json()["error"]["message"]


async def test_root_leads_a_browser_to_the_console(site: httpx.AsyncClient) -> None:
    reply = await site.get("/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (reply.status_code, reply.headers["location"]) == (303, "/console")


async def test_sdk_on_a_path_that_is_not_served(at_meeting: Link) -> None:
    async with openai_client(at_meeting, max_retries=2) as client:
        with pytest.raises(openai.NotFoundError, match="is not served here"):
            await client.embeddings.create(model="m", input="x")


# Browsers


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/models"])
async def test_preflight_of_a_browser_sdk(site: httpx.AsyncClient, path: str) -> None:
    wanted = "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-retry-count,x-api-key"
    headers = {
        "origin": BROWSER,
        "access-control-request-method": "POST",
        "access-control-request-headers": wanted,
        "access-control-request-private-network": "true",
    }
    reply = await site.options(path, headers=headers)
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-origin"] in ("*", BROWSER)
    assert set(wanted.split(",")) <= set(reply.headers["access-control-allow-headers"].replace(" ", "").split(","))
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert reply.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-credentials" not in reply.headers


async def test_browser_may_read_replies(at_meeting: Link, session: str) -> None:
    async with http_client(at_meeting, headers={"origin": BROWSER}) as page:
        models = await page.get("/v1/models")
        assert models.headers["access-control-allow-origin"] in ("*", BROWSER)
        bad = await page.post("/v1/chat/completions", content=b"{")
        assert bad.status_code == 400
        assert bad.headers["access-control-allow-origin"] in ("*", BROWSER)
        missing = await page.get("/v1/nothing")
        assert missing.headers["access-control-allow-origin"] in ("*", BROWSER)
        asked = asyncio.create_task(page.post("/v1/chat/completions", content=chat(session)))
        await at_meeting.proxy.until_held(session)
        person = Talker(at_meeting, "openai", session, api_key="sk-human")
        shown = person.start("/join")
        await shown
        waiting = person.start("hello, page")
        answered = await asked
        assert answered.headers["access-control-allow-origin"] in ("*", BROWSER)
        assert "x-motive-session" in answered.headers["access-control-expose-headers"]
        await at_meeting.proxy.close_session(session)
        await asyncio.gather(waiting, return_exceptions=True)


async def test_administration_is_not_for_pages(site: httpx.AsyncClient, session: str) -> None:
    """A page that a person happens to visit must not read or end sessions."""
    preflight = {"origin": BROWSER, "access-control-request-method": "DELETE"}
    for reply in [
        await site.options(f"/admin/sessions/{session}", headers=preflight),
        await site.get("/admin/sessions", headers={"origin": BROWSER}),
    ]:
        assert not [name for name in reply.headers if name.startswith("access-control-")]
