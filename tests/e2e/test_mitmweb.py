"""mitmweb with Motive in it: a held call is a paused flow there, and its buttons mean what they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.e2e.clients import Link, Talker
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import DEADLINE_S, Proxy, free_port
from tests.e2e.standin import Standin

PASSWORD = "a-password-for-tests"


@dataclass
class Web:
    """mitmweb's REST API, as its own pages use it."""

    proxy: Proxy
    client: httpx.AsyncClient

    async def flow_of(self, path: str) -> dict[str, Any]:
        """The one paused flow with this path, once it is there."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                flows = (await self.client.get("/flows")).raise_for_status().json()
                found = [flow for flow in flows if flow["intercepted"] and flow["request"]["path"] == path]
                if len(found) == 1:
                    return dict(found[0])
                await asyncio.sleep(0.05)

    async def press(self, button: str, flow: dict[str, Any]) -> None:
        (await self.client.post(f"/flows/{flow['id']}/{button}")).raise_for_status()

    async def is_paused(self, flow: dict[str, Any]) -> bool:
        flows = (await self.client.get("/flows")).raise_for_status().json()
        return any(one["id"] == flow["id"] and one["intercepted"] for one in flows)


@pytest.fixture
async def web(start_proxy: StartProxy) -> AsyncIterator[Web]:
    port = free_port()
    proxy = start_proxy(
        program="mitmweb",
        config={"routes": [{"match": {"listener": "forward", "model": "review-*"}, "answer": "review"}, {}]},
        options=(
            *("--set", f"web_port={port}", "--set", "web_host=127.0.0.1"),
            *("--set", "web_open_browser=false", "--set", f"web_password={PASSWORD}"),
        ),
    )
    token = "x" * 32
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        headers={"authorization": f"Bearer {PASSWORD}", "x-xsrftoken": token},
        cookies={"_mitmproxy_xsrf": token},
        trust_env=False,
    ) as client:
        yield Web(proxy, client)


async def join(web: Web, session: str) -> tuple[Talker, asyncio.Task[Any]]:
    person = Talker(Link(web.proxy), "openai", session, api_key="sk-human")
    shown = person.start("/join")
    await web.proxy.until_listening(session)
    return person, shown


async def test_resume_lets_the_real_service_answer(
    web: Web, proxy_authority: Path, service: Standin, session: str
) -> None:
    person, shown = await join(web, session)
    app = Talker(Link(web.proxy, proxy_authority), "anthropic", session)
    asked = app.start("question")
    assert (await shown).text == "question"
    flow = await web.flow_of("/v1/messages")
    assert flow["request"]["host"] == "api.anthropic.com"
    assert session in flow["comment"]
    assert not service.requests
    await web.press("resume", flow)
    assert (await asked).text == f"real {session}"
    assert not await web.is_paused(flow)
    # The person is told that its words come too late, and the session goes on.
    assert "Too late" in (await person.say("my answer")).text
    shown = person.start("/join")
    await web.proxy.until_listening(session)
    asked = app.start("another question")
    assert (await shown).text.endswith("another question")
    waiting = person.start("another answer")
    assert (await asked).text == "another answer"
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_resume_lets_a_draft_go(
    web: Web, proxy_authority: Path, service: Standin, session: str, *, streamed: bool
) -> None:
    session = f"review-{session}"
    person, shown = await join(web, session)
    app = Talker(Link(web.proxy, proxy_authority), "anthropic", session, streamed)
    for number in (1, 2):
        asked = app.start(f"question {number}")
        assert (await shown).text.endswith(f"real {session}")
        await web.press("resume", await web.flow_of("/v1/messages"))
        said = await asked
        assert (said.text, said.reply_id) == (f"real {session}", "msg_real")
        assert len(service.requests) == number
        assert "Too late" in (await person.say("my answer")).text
        shown = person.start("/join")
        await web.proxy.until_listening(session)
    shown.cancel()
    await asyncio.gather(shown, return_exceptions=True)


async def test_resume_at_the_meeting_point_is_an_error(web: Web, session: str) -> None:
    """There is no real service behind it."""
    asked = Talker(Link(web.proxy), "anthropic", session, options={"max_retries": 3}).start("question")
    flow = await web.flow_of("/v1/messages")
    await web.press("resume", flow)
    with pytest.raises(anthropic.APIStatusError, match="released") as released:
        await asked
    assert released.value.status_code == 503
    assert released.value.response.headers["x-should-retry"] == "false"


async def test_kill_ends_the_call_of_the_client(web: Web, session: str) -> None:
    asked = Talker(Link(web.proxy), "openai", session).start("question")
    flow = await web.flow_of("/v1/chat/completions")
    await web.press("kill", flow)
    with pytest.raises(openai.APIConnectionError) as ended:
        await asked
    assert not isinstance(ended.value, openai.APITimeoutError)
    await web.proxy.until(session, lambda told: not any(prompt["calls"] for prompt in told.get("prompts", ())))


async def test_kill_of_a_listening_call_frees_its_seat(web: Web, session: str) -> None:
    _, shown = await join(web, session)
    flow = await web.flow_of("/v1/chat/completions")
    await web.press("kill", flow)
    with pytest.raises(openai.APIConnectionError) as ended:
        await shown
    assert not isinstance(ended.value, openai.APITimeoutError)
    await web.proxy.until(session, lambda told: not told.get("listening"))


async def test_answered_call_is_not_paused_any_more(web: Web, session: str) -> None:
    person, shown = await join(web, session)
    asked = Talker(Link(web.proxy), "anthropic", session).start("question")
    await shown
    flow = await web.flow_of("/v1/messages")
    waiting = person.start("answer")
    assert (await asked).text == "answer"
    assert not await web.is_paused(flow)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
