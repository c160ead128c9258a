"""Clients that know nothing but Ollama: what they ask before they chat, and how a person joins a session by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import ollama
import openai
import pytest

from tests.e2e.clients import Link, Talker, http_client
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Standin


@pytest.fixture
async def ui(at_meeting: Link) -> AsyncIterator[ollama.AsyncClient]:
    """A chat UI whose only setting is where Ollama is."""
    options = at_meeting.http_options()
    async with ollama.AsyncClient(at_meeting.proxy.meeting, timeout=30.0, **options) as client:
        yield client


@pytest.fixture(params=["meeting", "internal"])
async def site(request: pytest.FixtureRequest, proxy: Proxy) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client at either place where the endpoints are."""
    options = {"proxy": proxy.forward, "base_url": "http://motive.internal"} if request.param == "internal" else {}
    async with http_client(Link(proxy), **options) as client:
        yield client


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


async def heard(chunks: AsyncIterator[ollama.ChatResponse]) -> str:
    """What a stream says."""
    said = [chunk async for chunk in chunks]
    assert [chunk.done for chunk in said] == [False] * (len(said) - 1) + [True]
    return "".join([chunk.message.content or "" for chunk in said])


async def chat(ui: ollama.AsyncClient, model: str, history: list[Any]) -> str:
    """Stream the reply to a history, and add it to that."""
    text = await heard(await ui.chat(model, list(history), stream=True))
    history.append({"role": "assistant", "content": text})
    return text


async def test_a_ui_joins_the_session_of_a_waiting_app(at_meeting: Link, ui: ollama.AsyncClient, session: str) -> None:
    """List, show, load, chat, as UIs do it; the app is OpenAI's."""
    app = Talker(at_meeting, "openai", session)
    asked = app.start("Who goes there?")
    await at_meeting.proxy.until_held(session)

    listed = [model.model for model in (await ui.list()).models]
    name = f"{session}:latest"
    assert name in listed
    shown = await ui.show(name)
    assert shown.capabilities is not None and "completion" in shown.capabilities
    loaded = await ui.chat(name, [])
    assert (loaded.done_reason, loaded.model) == ("load", name)
    assert name in [model.name for model in (await ui.ps()).models]

    history: list[Any] = [user("/join")]
    assert await chat(ui, name, history) == "Who goes there?"
    for turn in range(3):
        history.append(user(f"Answer {turn}.\n\tMore."))
        listening = asyncio.create_task(chat(ui, name, history))
        assert (await asked).text == f"Answer {turn}.\n\tMore."
        await ui.generate(name, keep_alive=0)  # a UI that frees its memory says nothing by that
        asked = app.start(f"Question {turn}?")
        assert await listening == f"Question {turn}?"
    history.append(user("Bye."))
    listening = asyncio.create_task(chat(ui, session, history))  # without the tag it is the same session
    assert (await asked).text == "Bye."

    await at_meeting.proxy.until_listening(session)
    await at_meeting.proxy.close_session(session)
    with pytest.raises(ollama.ResponseError, match="ended by the operator"):
        await listening


async def test_a_ui_comes_before_its_app(at_meeting: Link, ui: ollama.AsyncClient, session: str) -> None:
    """A name that nobody has called yet is shown and pulled, and opens no session by that."""
    name = f"{session}:latest"
    assert (await ui.show(session)).details is not None
    assert [one.status async for one in await ui.pull(session, stream=True)][-1] == "success"
    assert (await ui.pull(session)).status == "success"
    assert (await ui.generate(session)).done_reason == "load"
    assert (await ui.chat(session, [], keep_alive="0s")).done_reason == "unload"
    assert session not in await at_meeting.proxy.sessions()
    assert name not in [model.model for model in (await ui.list()).models]

    history: list[Any] = [user("/join")]
    joined = asyncio.create_task(chat(ui, name, history))
    await at_meeting.proxy.until_listening(session)
    assert name in [model.model for model in (await ui.list()).models]
    asked = Talker(at_meeting, "anthropic", session).start("Anybody there?")
    assert await joined == "Anybody there?"
    history.append(user("I am."))
    listening = asyncio.create_task(chat(ui, name, history))
    assert (await asked).text == "I am."
    await at_meeting.proxy.until_listening(session)
    await at_meeting.proxy.close_session(session)
    with pytest.raises(ollama.ResponseError):
        await listening


async def test_words_come_as_they_are_spoken(at_meeting: Link, ui: ollama.AsyncClient, session: str) -> None:
    session = f"brisk-{session}"
    asked = asyncio.create_task(heard(await ui.chat(session, [user("hi")], stream=True)))
    person = Talker(at_meeting, "openai", session, api_key="sk-person")
    assert (await person.say("/join")).text == "hi"
    answer = "Grüße \u2028 und \x85 so weiter, Wort für Wort."
    listening = person.start(answer)
    assert await asked == answer
    await at_meeting.proxy.until_listening(session)
    await at_meeting.proxy.close_session(session)
    with pytest.raises(openai.APIStatusError):
        await listening


async def test_a_raw_call_streams_if_it_does_not_say(at_meeting: Link, session: str) -> None:
    async with http_client(at_meeting) as client:
        body = {"model": session, "messages": [user("hi")]}
        asked = asyncio.create_task(client.post("/api/chat", json=body))
        person = Talker(at_meeting, "openai", session, api_key="sk-person")
        await at_meeting.proxy.until_held(session)
        await person.say("/join")
        listening = person.start("hello")
        reply = await asked
        assert reply.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in reply.content.splitlines()]
        assert [line["done"] for line in lines] == [False, True]
        await at_meeting.proxy.until_listening(session)
        await at_meeting.proxy.close_session(session)
        with pytest.raises(openai.APIStatusError):
            await listening


class TestBesideTheChat:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_ollama_is_running(self, site: httpx.AsyncClient, service: Standin, method: str) -> None:
        reply = await site.request(method, "/")
        assert (reply.status_code, reply.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert reply.text == ("Ollama is running" if method == "GET" else "")
        assert not service.requests

    async def test_version(self, site: httpx.AsyncClient) -> None:
        assert (await site.get("/api/version")).json()["version"]

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("POST", "/api/embed", 400),
            ("POST", "/api/embeddings", 400),
            ("POST", "/api/create", 403),
            ("POST", "/api/copy", 403),
            ("POST", "/api/push", 403),
            ("DELETE", "/api/delete", 403),
            ("POST", "/api/chat", 400),
            ("POST", "/api/nothing", 404),
            ("GET", "/api/chat", 405),
            ("POST", "/api/tags", 405),
        ],
    )
    async def test_refusals_have_ollamas_envelope(
        self, site: httpx.AsyncClient, method: str, path: str, status: int
    ) -> None:
        reply = await site.request(method, path, json={})
        assert reply.status_code == status
        (error,) = reply.json().values()
        assert isinstance(error, str)

    async def test_the_sdk_is_told_why(self, ui: ollama.AsyncClient, session: str) -> None:
        with pytest.raises(ollama.ResponseError, match="does not support embeddings") as caught:
            await ui.embed(session, "x")
        assert caught.value.status_code == 400
        with pytest.raises(ollama.ResponseError, match="models are sessions here") as caught:
            await ui.delete(session)
        assert caught.value.status_code == 403

    async def test_a_page_of_this_machine_may_ask(self, site: httpx.AsyncClient) -> None:
        page = {"origin": "http://localhost:3000"}
        assert (await site.get("/api/tags", headers=page)).headers["access-control-allow-origin"]
        assert (await site.get("/api/tags", headers={"origin": "https://evil.example"})).status_code == 403
