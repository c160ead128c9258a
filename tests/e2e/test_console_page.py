"""The console's page in a real browser, against a real proxy and real SDKs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chromium import CHROMIUM, Browser, Tab, chromium
from tests.e2e.clients import Link, Said, Talker
from tests.e2e.conftest import StartProxy
from tests.e2e.console import browser, link_of
from tests.e2e.proxy import Proxy, free_port

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.xdist_group("chromium"),
]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "go",
        "parameters": {
            "type": "object",
            "properties": {
                "to": {"type": "string", "enum": ["gate", "tower"]},
                "why": {"type": "string"},
                "steps": {"type": "integer"},
            },
            "required": ["to"],
        },
    },
}


@pytest.fixture
async def own_browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with chromium(tmp_path / "profile") as made:
        yield made
        assert made.problems == []


async def page_of(browser: Browser, url: str) -> Tab:
    tab = await browser.tab()
    await tab.look(1280, 800)
    await tab.open(url)
    return tab


async def enter(tab: Tab, proxy: Proxy) -> None:
    """Give the admin token at the door."""
    await tab.until("document.readyState === 'complete' && document.getElementById('token')")
    await tab.run(f"document.getElementById('token').value = {json.dumps(proxy.admin['x-admin-token'])}")
    await tab.run("document.querySelector('#login button').click()")


async def opened(tab: Tab, session: str) -> None:
    """Open a session from the list."""
    row = f"[...document.querySelectorAll('#rows li')].find((it) => it.dataset.key === {json.dumps(session)})"
    await tab.until(row)
    await tab.run(f"{row}.querySelector('button').click()")
    await tab.until(f"document.querySelector('#head h2')?.textContent.startsWith({json.dumps(session)})")


class Played:
    """An app behind the proxy, and the page on which a person plays its model."""

    def __init__(self, tab: Tab, app: Talker) -> None:
        self.tab = tab
        self.app = app

    async def asks(self, text: str) -> asyncio.Task[Said]:
        """The app asks, and the page shows it."""
        asked = self.app.start(text)
        await self.tab.until(f"document.querySelector('.message.new:last-of-type')?.textContent.includes('{text}')")
        await self.tab.until("document.getElementById('text')")
        return asked

    async def answers(self, text: str) -> None:
        """The person goes on to write, and sends it."""
        await self.tab.press("r")
        await self.tab.run("document.getElementById('text').setSelectionRange(999, 999)")
        await self.tab.type(text)
        await self.tab.press("Enter", ctrl=True)

    async def calls_a_tool(self) -> None:
        """By the form: what does not fit is said, and nothing is sent."""
        asked = await self.asks("Go on.")
        pick = "document.querySelector('select[aria-label=\"Add a tool call\"]')"
        await self.tab.run(f"{pick}.value = 'go', {pick}.dispatchEvent(new Event('change'))")
        await self.tab.run("document.querySelector('.toolcall input').value = '1.5'")
        await self.tab.run(
            "[...document.querySelectorAll('button')].find((it) => it.textContent.startsWith('Send')).click()"
        )
        await self.tab.until("document.getElementById('why').textContent.includes('steps')")
        assert not asked.done()
        await self.tab.run("document.querySelector('.toolcall input').value = '2'")
        await self.tab.press("Enter", ctrl=True)
        said = await asked
        assert [call[1:] for call in said.calls] == [("go", {"to": "gate", "steps": 2})]
        self.app.history.append({"role": "tool", "tool_call_id": said.calls[0][0], "content": "done"})


async def test_a_person_plays_the_model_with_the_keyboard(
    start_proxy: StartProxy, own_browser: Browser, proxy_authority: Path
) -> None:
    modes = (f"regular@127.0.0.1:{free_port()}", f"reverse:http://127.0.0.1:9@127.0.0.1:{free_port()}")
    proxy = start_proxy(modes=modes)
    app = Talker(
        Link(proxy, proxy_authority),
        "openai",
        "agent",
        history=[{"role": "system", "content": HOSTILE}],
        extra={"tools": [TOOL]},
        options={"max_retries": 8},
    )
    await app.say(HOSTILE)
    tab = await page_of(own_browser, link_of(proxy))
    played = Played(tab, app)
    await tab.until("location.pathname === '/console' && document.querySelector('#rows li')")
    assert await tab.run("location.search + document.cookie") == ""
    await tab.press("j")
    await tab.press("Enter")
    await tab.until("document.querySelector('.message')")
    assert HOSTILE in await tab.run("document.querySelector('.system .text').textContent")
    assert await tab.run("document.querySelectorAll('main img, main script').length") == 0

    await tab.press("t")
    await tab.until("document.getElementById('take').textContent.startsWith('Hand back')")
    asked = await played.asks("Where are you?")
    await tab.until("document.title === '(1) Motive'")
    await played.answers("Behind the mirror.")
    assert (await asked).text == "Behind the mirror."
    await tab.until("document.title === 'Motive'")
    await played.calls_a_tool()
    own_browser.problems.clear()  # that the form did not fit: 422

    # A draft outlives a reload, and a restart of the proxy.
    asked = await played.asks("And now?")
    await tab.press("r")
    await tab.type("Half a tho")
    await tab.call("Page.reload")
    await tab.until("document.querySelector('#text')?.value === 'Half a tho'")
    proxy.terminate()
    await tab.until("!document.getElementById('link').hidden")
    proxy.start()
    await tab.until("document.getElementById('link').hidden")
    await tab.until("document.querySelector('#text')?.value === 'Half a tho'")
    await played.answers("ught.")
    assert (await asked).text == "Half a thought."
    own_browser.problems.clear()  # that the proxy was away

    await tab.until("document.querySelector('.answer .none')")
    await tab.press("t")
    await tab.until("document.getElementById('take').textContent.startsWith('Take over')")
    assert (await app.say("Bye.")).text == "real agent"
    assert await tab.run("document.title") == "Motive"


async def test_two_people_and_what_the_slower_one_is_told(
    proxy: Proxy, at_meeting: Link, session: str, own_browser: Browser
) -> None:
    app = Talker(at_meeting, "openai", session)
    asked = app.start("Who?")
    async with browser(proxy, "Bob") as bob:
        [prompt] = await bob.waits(session)
        tab = await page_of(own_browser, f"{proxy.meeting}/console")
        await enter(tab, proxy)
        await opened(tab, session)
        await tab.until("document.getElementById('text')")
        await bob.do("writing", session=session, prompt=prompt["prompt"])
        await tab.until("document.querySelector('.answer .writes').textContent.startsWith('Bob is writing')")
        await tab.press("r")
        await tab.type("I, Ann.")
        # Sent in the moment in which Bob's answer has arrived and the page has not heard of it.
        send = (
            "fetch('/console/api/answer', {method: 'POST', headers: {'content-type': 'application/json'}, body: "
            f"JSON.stringify({{session: {json.dumps(session)}, prompt: {json.dumps(prompt['prompt'])}, "
            "text: 'I, Bob.', by: 'Bob'})}).then(() => true)"
        )
        both = asyncio.create_task(tab.run(send))
        await tab.press("Enter", ctrl=True)
        await both
        assert (await asked).text in ("I, Bob.", "I, Ann.")
        if (await asked).text == "I, Bob.":
            await tab.until("document.getElementById('toast').textContent.includes('Bob answered this call')")
    own_browser.problems.clear()  # 401 of the door, 409 of the slower one


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
async def test_nothing_is_cut_off(
    proxy: Proxy, at_meeting: Link, session: str, own_browser: Browser, *, width: int, dark: bool
) -> None:
    app = Talker(at_meeting, "openai", session, extra={"tools": [TOOL]})
    asked = app.start("x" * 3000 + " " + "word " * 200)
    async with browser(proxy) as page:
        [prompt] = await page.waits(session)
        tab = await page_of(own_browser, f"{proxy.meeting}/console")
        await tab.look(width, 800, dark=dark)
        await enter(tab, proxy)
        await opened(tab, session)
        await tab.until("document.querySelector('.message.new') && document.getElementById('text')")
        assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
        unnamed = (
            "[...document.querySelectorAll('input, textarea, select, button')].filter((it) => it.checkVisibility() && "
            "!(it.labels?.length || it.ariaLabel || it.textContent.trim())).map((it) => it.outerHTML)"
        )
        assert await tab.run(unnamed) == []
        await page.do("answer", session=session, prompt=prompt["prompt"], text="done")
        assert (await asked).text == "done"
    own_browser.problems.clear()  # 401 of the door
