"""Drafts on the console's page, in a real browser: they survive a reload, and lose nothing on their way to the app."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chromium import CHROMIUM, Tab, chromium
from tests.e2e.clients import Link, Talker
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Gate, Received, Standin, Writer, openai_chunks, openai_reply, whole
from tests.e2e.test_console_drafts import LOOK, on_draft, signed
from tests.e2e.test_console_help import click, taken, value
from tests.e2e.test_console_page import TOOL, enter, page_of

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.xdist_group("chromium"),
]

DRAFTING = "document.querySelector('.drafting').textContent"


@pytest.fixture
async def tab(tmp_path: Path, proxy: Proxy) -> AsyncIterator[Tab]:
    async with chromium(tmp_path / "profile") as browser:
        made = await page_of(browser, f"{proxy.meeting}/console")
        await enter(made, proxy)
        await made.until("document.getElementById('count')?.textContent !== 'connecting'")
        yield made
        assert [one for one in browser.problems if "401" not in one] == []


async def reloaded(tab: Tab) -> None:
    """The page is loaded anew, and shows the call again."""
    await tab.run("window.old = true, location.reload()")
    await tab.until(f"!window.old && document.getElementById('text') && {DRAFTING} !== ''")


async def asked_for(tab: Tab) -> None:
    """The call is shown, and a draft of it is asked for."""
    await tab.until("document.getElementById('text')")
    await tab.press("d")


async def test_a_draft_goes_on_after_a_reload_and_stays_edited_after_another(
    tab: Tab, through_proxy: Link, service: Standin, session: str
) -> None:
    gate = Gate()

    def halting(_: Received, writer: Writer) -> None:
        chunks = openai_chunks("Once upon a time", session)
        writer.start(200, [("content-type", "text/event-stream")])
        for chunk in chunks[:10]:
            writer.send(chunk)
        gate.wait()
        for chunk in chunks[10:]:
            writer.send(chunk)
        writer.end()

    service.handler = on_draft(halting)
    app = Talker(through_proxy, "openai", session, streamed=True)
    await taken(tab, app, session)
    asked = app.start("Tell.")
    await asked_for(tab)
    await tab.until("document.getElementById('text').value === 'Once upon'")
    await reloaded(tab)
    assert await value(tab) == "Once upon"
    gate.open()
    await tab.until("document.getElementById('text').value === 'Once upon a time'")
    await tab.until(f"{DRAFTING}.startsWith('Drafted by')")
    await tab.press("r")
    await tab.run("document.getElementById('text').setSelectionRange(999, 999)")
    await tab.type(" ago.")
    await reloaded(tab)
    assert await value(tab) == "Once upon a time ago."
    await tab.press("Enter", ctrl=True)
    said = await asked
    assert (said.text, said.reply_id) == ("Once upon a time ago.", "chatcmpl-real")


async def test_a_second_draft_takes_the_place_of_the_first_one(
    tab: Tab, through_proxy: Link, service: Standin, session: str
) -> None:
    texts = iter(["one", "two"])
    service.handler = on_draft(lambda _, writer: whole(writer, openai_reply(next(texts), session)))
    app = Talker(through_proxy, "openai", session)
    await taken(tab, app, session)
    asked = app.start("Count.")
    await asked_for(tab)
    await tab.until("document.getElementById('text').value === 'one'")
    await tab.until(f"{DRAFTING}.startsWith('Drafted by')")
    await tab.run("document.getElementById('text').value = ''")
    await tab.press("d")
    await tab.until("document.getElementById('text').value === 'two'")
    await tab.press("Enter", ctrl=True)
    assert (await asked).text == "two"


async def test_tool_calls_lose_nothing(tab: Tab, through_proxy: Link, service: Standin, session: str) -> None:
    """One that its form can show is edited there; one that it cannot is JSON."""
    calls = ['{"to":"gate","steps":2}', '{"to":"tower","secret":{"a":[12345678901234567890]}}']

    def two(_: Received, writer: Writer) -> None:
        reply = openai_reply("Off we go.", session)
        reply["choices"][0]["finish_reason"] = "tool_calls"
        reply["choices"][0]["message"]["tool_calls"] = [
            {"id": f"call_real{number}", "type": "function", "function": {"name": "go", "arguments": arguments}}
            for number, arguments in enumerate(calls)
        ]
        whole(writer, reply)

    service.handler = on_draft(two)
    app = Talker(through_proxy, "openai", session, extra={"tools": [TOOL]})
    await taken(tab, app, session)
    asked = app.start("Go.")
    await asked_for(tab)
    await tab.until("document.querySelectorAll('.toolcall').length === 2")
    assert await tab.run("document.querySelectorAll('.toolcall textarea.json').length") == 1
    await tab.run(
        "(it => { it.value = '3'; it.dispatchEvent(new Event('input', {bubbles: true})); })"
        "(document.querySelector('.toolcall input'))"
    )
    await tab.press("Enter", ctrl=True)
    said = await asked
    assert said.text == "Off we go."
    assert said.calls == [
        ("call_real0", "go", {"to": "gate", "steps": 3}),
        ("call_real1", "go", json.loads(calls[1])),
    ]


async def test_it_is_sent_as_it_is_with_its_reasoning(
    tab: Tab, through_proxy: Link, service: Standin, session: str
) -> None:
    def thinks(_: Received, writer: Writer) -> None:
        writer.start(200, [("content-type", "text/event-stream")])
        for chunk in signed(session):
            writer.send(chunk)
        writer.end()

    service.handler = on_draft(thinks)
    app = Talker(through_proxy, "anthropic", session, streamed=True, extra={"tools": [LOOK]})
    await taken(tab, app, session)
    asked = app.start("You see something.")
    await asked_for(tab)
    await tab.until(f"{DRAFTING}.startsWith('Drafted by')")
    assert await tab.run("document.querySelector('#composer details.part').textContent") == "reasoningA troll!"
    await click(tab, "Send it as it is")
    said = await asked
    assert (said.text, said.calls, said.reply_id) == (
        "I look around.",
        [("toolu_real", "look", {"where": "north"})],
        "msg_real",
    )


async def test_it_is_said_why_there_is_none(tab: Tab, through_proxy: Link, service: Standin, session: str) -> None:
    told: dict[str, Any] = {"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}
    service.handler = on_draft(lambda _, writer: whole(writer, told, 429))
    app = Talker(through_proxy, "openai", session)
    await taken(tab, app, session)
    asked = app.start("Quick.")
    await asked_for(tab)
    await tab.until(f"{DRAFTING} === 'No draft: Slow down.'")
    await tab.press("r")
    await tab.type("Well.")
    await tab.press("Enter", ctrl=True)
    assert (await asked).text == "Well."
    await click(tab, "Transcript")
    await tab.until("document.querySelector('.turn:last-child details')?.textContent.includes('Slow down.')")
