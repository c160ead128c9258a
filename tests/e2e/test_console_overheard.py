"""What the console shows of calls that pass: what their real services said, whatever way it came."""

from __future__ import annotations

import gzip
import json
from typing import Any

import openai
import pytest

from tests.e2e.clients import Link, Talker, openai_client
from tests.e2e.console import Page, browser
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Received, Standin, Writer, openai_chunks, openai_reply, whole


async def over(page: Page, session: str, calls: int = 1) -> dict[str, Any]:
    """The latest call of a session, once its reply is known."""
    told = await page.until(session, lambda told: told["calls"] == calls and told["latest_took_s"] is not None)
    call: dict[str, Any] = await page.ask("call", id=told["latest"])
    return call


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_what_the_real_service_said(
    proxy: Proxy, through_proxy: Link, session: str, dialect: Any, streamed: bool
) -> None:
    app = Talker(through_proxy, dialect, session, streamed=streamed)
    async with browser(proxy) as page:
        await app.say("one")
        call = await over(page, session)
        assert (call["state"], call["status"], call["problem"]) == ("passed", 200, "")
        assert call["reply"] == [{"kind": "text", "text": f"real {session}"}]
        [turn] = (await page.ask("transcript", session=session))["turns"]
        assert (turn["answer"], turn["answered_by"]) == (call["reply"], "the real service")
        assert turn["took_s"] >= 0


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_in_a_content_encoding(
    proxy: Proxy, through_proxy: Link, service: Standin, session: str, streamed: bool
) -> None:
    def zipped(request: Received, writer: Writer) -> None:
        assert "gzip" in (request.header("accept-encoding") or "")
        pieces = openai_chunks("Hi.", session) if streamed else [json.dumps(openai_reply("Hi.", session)).encode()]
        kind = "text/event-stream" if streamed else "application/json"
        writer.start(200, [("Content-Type", kind), ("Content-Encoding", "gzip")])
        writer.send(gzip.compress(b"".join(pieces)))
        writer.end()

    service.handler = zipped
    app = Talker(through_proxy, "openai", session, streamed=streamed)
    async with browser(proxy) as page:
        assert (await app.say("one")).text == "Hi."
        assert (await over(page, session))["reply"] == [{"kind": "text", "text": "Hi."}]


async def test_an_error_of_the_real_service(proxy: Proxy, through_proxy: Link, service: Standin, session: str) -> None:
    def refuse(request: Received, writer: Writer) -> None:
        whole(writer, {"error": {"message": "Slow down.", "type": "rate_limit_error"}}, 429)

    service.handler = refuse
    async with browser(proxy) as page, openai_client(through_proxy) as client:
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model=session, messages=[{"role": "user", "content": "one"}])
        call = await over(page, session)
        assert (call["state"], call["status"], call["reply"], call["problem"]) == ("passed", 429, None, "Slow down.")
        text = (await page.client.get("/console/api/transcript", params={"session": session, "form": "markdown"})).text
        assert "> (Slow down.)" in text


@pytest.mark.parametrize("after_the_head", [False, True])
async def test_a_service_that_hangs_up(
    proxy: Proxy, through_proxy: Link, service: Standin, session: str, after_the_head: bool
) -> None:
    def hang_up(request: Received, writer: Writer) -> None:
        if after_the_head:
            writer.start(200, [("Content-Type", "application/json"), ("Content-Length", "1000")])
            writer.send(b'{"id": ')
        raise ConnectionAbortedError

    service.handler = hang_up
    async with browser(proxy) as page, openai_client(through_proxy) as client:
        with pytest.raises(openai.APIError):
            await client.chat.completions.create(model=session, messages=[{"role": "user", "content": "one"}])
        call = await over(page, session)
        assert (call["state"], call["reply"]) == ("passed", None)
        assert call["problem"].startswith("It was cut off" if after_the_head else "The real service did not answer")


async def test_a_held_call_that_is_let_go(proxy: Proxy, through_proxy: Link, session: str) -> None:
    app = Talker(through_proxy, "openai", session, streamed=True)
    async with browser(proxy) as page:
        await app.say("one")
        await page.do("take", session=session)
        asked = app.start("two")
        [prompt] = await page.waits(session)
        await page.do("pass", session=session, prompt=prompt["prompt"])
        assert (await asked).text == f"real {session}"
        call = await over(page, session, 2)
        assert (call["state"], call["reply"]) == ("passed", [{"kind": "text", "text": f"real {session}"}])
        await page.do("hand-back", session=session)
