"""What helps a person at the console, in a real browser: drafts, routes, checks, previews, snippets, notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.chromium import CHROMIUM, Browser, Tab, chromium
from tests.e2e.clients import Link, Talker, openai_client
from tests.e2e.conftest import StartProxy
from tests.e2e.console import browser
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Gate, Received, Standin, Writer, openai_chunks, real_service
from tests.e2e.test_console_page import TOOL, enter, opened, page_of

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.xdist_group("chromium"),
]

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text("utf-8")
BUTTON = "[...document.querySelectorAll('button')].find((it) => it.checkVisibility() && it.textContent.startsWith({}))"


@pytest.fixture
async def own_browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with chromium(tmp_path / "profile") as made:
        yield made
        assert [one for one in made.problems if not any(status in one for status in ("401", "409", "422"))] == []


@pytest.fixture
async def tab(own_browser: Browser, proxy: Proxy) -> Tab:
    """The console of the shared proxy."""
    made = await page_of(own_browser, f"{proxy.meeting}/console")
    await enter(made, proxy)
    await made.until("(it => it && it.textContent !== 'connecting')(document.getElementById('count'))")
    return made


async def click(tab: Tab, label: str) -> None:
    button = BUTTON.format(json.dumps(label))
    await tab.until(button)
    await tab.run(f"{button}.click()")


async def taken(tab: Tab, app: Talker, session: str) -> None:
    """The app has called once, and is taken over."""
    await app.say("Hello.")
    await opened(tab, session)
    await tab.press("t")
    await tab.until("document.getElementById('take').textContent.startsWith('Hand back')")


async def value(tab: Tab, where: str = "text") -> str:
    return str(await tab.run(f"document.getElementById('{where}').value"))


async def test_a_draft_is_edited_and_sent_and_both_are_kept(
    tab: Tab, through_proxy: Link, service: Standin, session: str
) -> None:
    app = Talker(through_proxy, "openai", session, streamed=True)
    await taken(tab, app, session)
    asked = app.start("Who are you?")
    await tab.until("document.getElementById('text')")
    await tab.press("d")
    await tab.until("document.querySelector('.drafting').textContent.startsWith('Drafted by')")
    drafted = await value(tab)
    assert drafted
    assert service.requests[-1].json()["messages"][-1]["content"] == "Who are you?"
    await tab.press("r")
    await tab.run("document.getElementById('text').setSelectionRange(999, 999)")
    await tab.type(" I think.")
    await tab.press("Enter", ctrl=True)
    assert (await asked).text == f"{drafted} I think."
    await click(tab, "Transcript")
    await tab.until("document.querySelector('.diff ins')")
    assert await tab.run("document.querySelector('.diff ins').textContent") == " I think."
    assert await tab.run("document.querySelectorAll('.diff del').length") == 0


async def test_a_draft_shows_as_it_comes_and_may_be_stopped(
    tab: Tab, through_proxy: Link, service: Standin, session: str
) -> None:
    app = Talker(through_proxy, "openai", session, streamed=True)
    await taken(tab, app, session)

    def endless(request: Received, writer: Writer) -> None:
        if "slowly" not in json.dumps(request.json()):
            real_service(request, writer)
            return
        writer.start(200, [("content-type", "text/event-stream")])
        for chunk in openai_chunks("Once upon", session)[:-2]:
            writer.send(chunk)
        gone.wait()

    gone = Gate()
    service.handler = endless
    try:
        asked = app.start("Tell it slowly.")
        await tab.until("document.getElementById('text')")
        await tab.press("d")
        await tab.until("document.getElementById('text').value.startsWith('Once')")
        await click(tab, "Stop")
        await tab.until("document.querySelector('.drafting').textContent.startsWith('Drafted by')")
    finally:
        gone.open()
    await tab.press("r")
    await tab.type("!")
    await tab.press("Enter", ctrl=True)
    assert (await asked).text.startswith("Once")


async def test_a_shadow_is_shown_beside_what_was_sent(tab: Tab, through_proxy: Link, session: str) -> None:
    app = Talker(through_proxy, "openai", session)
    await taken(tab, app, session)
    await click(tab, "Shadow off")
    await tab.until(BUTTON.format("'Shadow on'"))
    asked = app.start("Who are you?")
    await tab.until("document.getElementById('text')")
    assert await value(tab) == ""
    await tab.press("r")
    await tab.type("Nobody.")
    await tab.press("Enter", ctrl=True)
    assert (await asked).text == "Nobody."
    await click(tab, "Transcript")
    await tab.until("document.querySelector('.diff')")
    assert (
        await tab.run("[...document.querySelectorAll('.diff ins')].map((it) => it.textContent).join('')") == "Nobody."
    )
    assert "would have said" in await tab.run("document.querySelector('.turn:last-child summary').textContent")


async def test_an_agent_is_answered_from_now_on_and_the_route_is_saved(
    start_proxy: StartProxy, own_browser: Browser, proxy_authority: Path
) -> None:
    """Two agents share a model and a key; one of them is told from the other by its system prompt."""
    written = "# mine\nroutes:\n  - match: {listener: forward}  # whoever\n  - answer: pair\n"
    proxy = start_proxy(config=written)
    path = proxy.config_path
    link = Link(proxy, proxy_authority)
    troll = Talker(link, "openai", "gpt-4o", history=[{"role": "system", "content": "You are Grok, a troll."}])
    narrator = Talker(link, "openai", "gpt-4o", history=[{"role": "system", "content": "You tell stories."}])
    await narrator.say("Go on.")
    await troll.say("Let me pass.")
    tab = await page_of(own_browser, f"{proxy.meeting}/console")
    await enter(tab, proxy)
    await opened(tab, "gpt-4o")
    await click(tab, "Answer this agent from now on")
    await tab.until("document.querySelector('#agents[open] .caught li')")
    assert "takes 1:" in await tab.run("document.querySelector('#agents .caught p').textContent")
    assert await value(tab, "agent-session") == "you-are-grok-a-troll"
    await click(tab, "Answer it from now on")
    await tab.until("document.querySelector('#agents .routes li')")
    await click(tab, "Save to config")
    await tab.until("document.querySelector('#agents .none')")
    await tab.press("Escape")

    asked = troll.start("Please?")
    await tab.until("document.getElementById('text')")
    await tab.press("r")
    await tab.type("Never.")
    await tab.press("Enter", ctrl=True)
    assert (await asked).text == "Never."
    assert (await narrator.say("And then?")).text == "real gpt-4o"
    saved = path.read_text("utf-8")
    assert "      system: You are Grok, a troll\\.\n" in saved
    assert saved.endswith(written.removeprefix("# mine\nroutes:\n"))


async def test_what_is_written_is_checked_and_previewed(tab: Tab, proxy: Proxy, at_meeting: Link, session: str) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    app = Talker(at_meeting, "openai", session, extra={"response_format": form})
    asked = app.start("How many?")
    await opened(tab, session)
    await tab.until("document.getElementById('text')")
    await tab.press("r")
    await tab.type('{"n": "one"}')
    await tab.until("document.querySelector('.fits.wrong')?.textContent.includes('integer')")
    assert not asked.done()
    await tab.run("document.getElementById('text').select()")
    await tab.type('{"n": 1}')
    await tab.until("document.querySelector('.fits:not(.wrong)')?.textContent.startsWith('It is what')")
    await tab.press("Enter", ctrl=True)
    assert (await asked).text == '{"n": 1}'


HOSTILE_MARKDOWN = (
    "# Head\n\n- **one**\n- `two`\n\n> quoted\n\n[a](javascript:alert(1)) [b](https://example.org/x) "
    "<img src=x onerror=\"document.title='owned'\">\n\n![i](https://example.org/i.png)\n\n```\n<b>code</b>\n```\n"
)


async def test_markdown_is_shown_and_is_harmless(tab: Tab, at_meeting: Link, session: str) -> None:
    app = Talker(at_meeting, "openai", session)
    asked = app.start("Write.")
    await opened(tab, session)
    await tab.until("document.getElementById('text')")
    await click(tab, "Preview")
    await tab.press("r")
    await tab.type(HOSTILE_MARKDOWN)
    await tab.until("document.querySelector('.preview blockquote')")
    shown = await tab.run(
        "(({children}) => [...children].map((it) => it.tagName).join())(document.querySelector('.preview'))"
    )
    assert shown == "P,UL,BLOCKQUOTE,P,P,PRE"
    links = await tab.run("[...document.querySelectorAll('.preview a')].map((it) => it.href + ' ' + it.rel)")
    assert links == ["https://example.org/x noopener noreferrer", "https://example.org/i.png noopener noreferrer"]
    assert await tab.run("document.querySelectorAll('.preview img, .preview script, .preview b').length") == 0
    assert await tab.run("document.querySelector('.preview pre').textContent") == "<b>code</b>"
    await tab.press("Enter", ctrl=True)
    assert (await asked).text == HOSTILE_MARKDOWN


async def test_reasoning_the_end_and_a_cut(tab: Tab, at_meeting: Link, session: str) -> None:
    app = Talker(at_meeting, "anthropic", session)
    asked = app.start("Think.")
    await opened(tab, session)
    await tab.until("document.getElementById('reasoning')")
    await tab.run("document.querySelector('.more').open = true")
    await tab.run("document.getElementById('reasoning').focus()")
    await tab.type("Hm.")
    await tab.run(
        "(it => { it.value = 'length'; it.dispatchEvent(new Event('change')); })"
        "(document.querySelector('select[aria-label=\"Why the reply ends\"]'))"
    )
    await tab.press("Escape")
    await tab.press("r")
    await tab.type("Half")
    await tab.press("Enter", ctrl=True)
    said = await asked
    assert said.text == "Half"
    streamed = Talker(at_meeting, "openai", session + "-2", streamed=True)
    asked = streamed.start("Say.")
    await opened(tab, session + "-2")
    await tab.until("document.getElementById('text')")
    await tab.press("r")
    await tab.type("only half of these words arrive")
    await tab.run(
        "(it => { it.value = 'cut'; it.dispatchEvent(new Event('change')); })"
        "(document.querySelector('select[aria-label=\"Fail with\"]'))"
    )
    with pytest.raises(Exception, match=r"(?i)incomplete|closed|peer|connection"):
        await asked


async def test_the_app_hears_words_as_they_are_written(tab: Tab, at_meeting: Link, session: str) -> None:
    heard, begun = "", asyncio.Event()

    async def listen() -> None:
        nonlocal heard
        messages: list[Any] = [{"role": "user", "content": "Tell me."}]
        async with openai_client(at_meeting) as client:
            async for chunk in await client.chat.completions.create(model=session, messages=messages, stream=True):
                heard += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                if heard == "Once upon a ":
                    begun.set()

    listening = asyncio.create_task(listen())
    await opened(tab, session)
    await tab.until("document.getElementById('text')")
    await click(tab, "Live off")
    await tab.press("r")
    await tab.type("Once upon a ti")
    async with asyncio.timeout(10):
        await begun.wait()
    assert not listening.done()
    changed = "(it => { it.value = 'Never'; it.dispatchEvent(new Event('input')); })(document.getElementById('text'))"
    await tab.run(changed)
    assert await value(tab) == "Once upon a "
    await tab.type("time.")
    await tab.press("Enter", ctrl=True)
    await listening
    assert heard == "Once upon a time."
    await tab.until("document.querySelector('.answer .none')")


async def test_live_words_that_go_nowhere_are_said_so_and_the_next_call_is_shown(
    tab: Tab, proxy: Proxy, at_meeting: Link, session: str
) -> None:
    """Whatever ended it: one try, no loop of them, and the page goes on."""
    first = Talker(at_meeting, "openai", session, streamed=True).start("Tell me.")
    await opened(tab, session)
    await tab.until("document.getElementById('text')")
    await tab.run("document.querySelector('.more').open = true")
    await click(tab, "Live off")
    assert not await tab.run("document.querySelector('.more').checkVisibility()")  # nothing of that goes out
    await tab.press("r")
    await tab.press("Enter", ctrl=True)
    await tab.until("document.getElementById('why').textContent === 'An answer needs words.'")
    await tab.type("Once upon a time")
    await tab.until("performance.getEntriesByType('resource').some((it) => it.name.endsWith('/type'))")
    await asyncio.sleep(0.5)
    await proxy.close_session(session)
    with pytest.raises(openai.APIError, match="ended by the operator"):
        await first
    typed = "performance.getEntriesByType('resource').filter((it) => it.name.endsWith('/type')).length"
    before = await tab.run(typed)
    await tab.type(" there was ")
    await tab.until("!document.getElementById('toast').hidden")
    assert "no more of it" in await tab.run("document.getElementById('toast').textContent")
    await asyncio.sleep(0.5)
    assert await tab.run(typed) - before <= 2

    second = Talker(at_meeting, "openai", session).start("And now?")
    await tab.until(
        "document.getElementById('text') && document.querySelector('.view').textContent.includes('And now?')"
    )
    await tab.press("Escape")
    await tab.press("r")
    await tab.type("Now this.")
    await tab.press("Enter", ctrl=True)
    assert (await second).text == "Now this."


@pytest.mark.parametrize("words", ["[", "__a ", "![", "**", "`", "*a", "# ", " # a"])
async def test_no_text_freezes_the_preview(tab: Tab, words: str) -> None:
    seconds = await tab.run(
        "import('/console/static/markdown.js').then(({rendered}) => {"
        f"const one = {json.dumps(words)}; const began = performance.now();"
        "for (const end of ['', ' '.repeat(100000) + 'b', 'b'])"
        "  { rendered(one.repeat(190000 / one.length) + end); rendered('# a' + ' '.repeat(100000) + one); }"
        "return (performance.now() - began) / 1000; })"
    )
    assert seconds < 10  # it was most of a minute for some


async def test_who_has_no_name_is_not_told_of_their_own_writing(tab: Tab, at_meeting: Link, session: str) -> None:
    app = Talker(at_meeting, "openai", session)
    asked = app.start("Who?")
    await opened(tab, session)
    await tab.until("document.getElementById('text')")
    await tab.run("(it => { it.value = ''; it.dispatchEvent(new Event('input')); })(document.getElementById('by'))")
    await tab.press("r")
    await tab.type("Me")
    await tab.until("performance.getEntriesByType('resource').some((it) => it.name.endsWith('/writing'))")
    await asyncio.sleep(0.5)  # the feed has told of it by then
    assert "writ" not in await tab.run("document.querySelector('.answer .writes').textContent")
    assert await tab.run("document.querySelectorAll('#rows .writes').length") == 0
    await tab.press("Enter", ctrl=True)
    assert (await asked).text == "Me"


async def test_snippets_and_notices(tab: Tab, own_browser: Browser, at_meeting: Link, session: str) -> None:
    await tab.run("window.told = []; document.hasFocus = () => false;")
    await tab.run(
        "window.Notification = class extends EventTarget { constructor(title, options) { super(); "
        "told.push(title + ': ' + options.body); } }; Notification.permission = 'granted'"
    )
    await click(tab, "Notices off")
    await tab.until(BUTTON.format("'Notices on'"))
    app = Talker(at_meeting, "openai", session)
    asked = app.start("Anybody?")
    await tab.until("told.length")
    assert await tab.run("told") == [f"{session} waits for you: Anybody?"]
    await opened(tab, session)
    await tab.until("document.getElementById('text')")
    await tab.press("r")
    await tab.type("Well met, traveller.")
    for name in ("greeting", "other"):
        await click(tab, "Snippets")
        await tab.run("document.getElementById('snippet-name').select()")
        await tab.type(name)
        await tab.press("Enter")
        await tab.until(f"document.querySelector('[aria-label=\"Insert {name}\"]')")
        await click(tab, "Close")
    await tab.run("document.getElementById('text').value = 'Ho! '")
    await click(tab, "Snippets")
    await tab.run("document.querySelector('[aria-label=\"Remove other\"]').click()")
    names = "[...document.querySelectorAll('#snippets strong')].map((it) => it.textContent)"
    assert await tab.run(names) == ["greeting"]
    await tab.run("document.querySelector('[aria-label=\"Insert greeting\"]').click()")
    assert await value(tab) == "Ho! Well met, traveller."
    await tab.press("Enter", ctrl=True)
    assert (await asked).text == "Ho! Well met, traveller."
    assert await tab.run("told.length") == 1


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
async def test_everybody_can_use_it(
    proxy: Proxy, through_proxy: Link, session: str, own_browser: Browser, *, width: int, dark: bool
) -> None:
    """By axe-core's rules: names, roles, contrast, focus, on each part of the page."""
    app = Talker(through_proxy, "openai", session, extra={"tools": [TOOL]})
    tab = await page_of(own_browser, f"{proxy.meeting}/console")
    await tab.look(width, 800, dark=dark)

    async def sound(where: str) -> None:
        await tab.run(AXE + ";0")
        told = await tab.run(
            "axe.run({resultTypes: ['violations']}).then((it) => it.violations.map((one) => one.id + ': ' + "
            "one.nodes.map((node) => node.html + ' ' + node.failureSummary).join(' | ')))"
        )
        assert told == [], where

    await tab.until("document.getElementById('token')")
    await sound("the door")
    await enter(tab, proxy)
    await app.say("Hello.")
    await opened(tab, session)
    await sound("a passing call")
    await click(tab, "Answer this agent from now on")
    await tab.until("document.querySelector('#agents[open] .caught li')")
    await sound("the dialog of routes")
    await click(tab, "Close")
    await click(tab, "Take over")
    await tab.until("document.getElementById('take').textContent.startsWith('Hand back')")
    asked = app.start("Go on.")
    await tab.until("document.getElementById('text')")
    pick = "document.querySelector('select[aria-label=\"Add a tool call\"]')"
    await tab.run(f"{pick}.value = 'go', {pick}.dispatchEvent(new Event('change'))")
    await tab.until("document.querySelector('.toolcall')")
    await click(tab, "Draft")
    await tab.until("document.querySelector('.drafting').textContent.startsWith('Drafted by')")
    await click(tab, "Preview")
    await tab.run("document.querySelector('.more').open = true")
    await sound("an answer with a tool call")
    await click(tab, "Snippets")
    await tab.until("document.getElementById('snippet-name')")
    await tab.run("document.getElementById('snippet-name').focus()")
    await tab.press("Enter")
    await tab.until("document.querySelector('#snippets li')")
    await sound("the snippets")
    await click(tab, "Close")
    async with browser(proxy) as page:
        [prompt] = await page.waits(session)
        await page.do("answer", session=session, prompt=prompt["prompt"], text="done")
    assert (await asked).text == "done"
    for view in ("Transcript", "Raw JSON", "Tools"):
        await click(tab, view)
        await tab.until(
            f"[...document.querySelectorAll('#tabs button')].some((it) => it.textContent === {json.dumps(view)})"
        )
        await tab.until("document.querySelector('#view').childElementCount")
        await sound(view)
    if width > 600:
        await click(tab, "Keys")
        await tab.until("document.querySelector('#keys[open]')")
        await sound("the keys")
