"""A reply that is spoken over time, as if a model typed it: the call is promoted to the origin."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from mitmproxy import http, io

from tests.e2e.clients import (
    CODE,
    DIALECTS,
    MAX_TOKENS,
    UNICODE,
    DialectName,
    Link,
    Said,
    Talker,
    anthropic_client,
    finish,
    hang_up,
    http_client,
    openai_client,
)
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import DEADLINE_S, Proxy, held_calls
from tests.e2e.wire import chat

SPOKEN = "Once upon a time,\n\n\tthere was a troll — 世界!  \n"
ENDLESS = "word " * 5000


async def join(link: Link, session: str) -> tuple[Talker, asyncio.Task[Said]]:
    person = Talker(link, "openai", session, api_key="sk-human")
    shown = person.start("/join")
    await link.proxy.until_listening(session)
    return person, shown


async def calls_in_hand(proxy: Proxy) -> int:
    async with http_client(Link(proxy)) as client:
        return int((await client.get("/health")).json()["held"])


class App:
    """An app that reads its stream word by word."""

    def __init__(self, client: Any, dialect: DialectName, model: str) -> None:
        self._client, self._dialect, self._model = client, dialect, model
        self.stream: Any = None

    async def ask(self, words: str) -> None:
        call: dict[str, Any] = {"model": self._model, "messages": [{"role": "user", "content": words}], "stream": True}
        if self._dialect == "openai":
            self.stream = await self._client.chat.completions.create(**call)
        else:
            self.stream = await self._client.messages.create(max_tokens=MAX_TOKENS, **call)

    async def word(self) -> str | None:
        """The next piece of text; None at the end."""
        async for event in self.stream:
            if self._dialect == "openai":
                if event.choices and event.choices[0].delta.content:
                    return str(event.choices[0].delta.content)
            elif event.type == "content_block_delta":
                return str(event.delta.text)
        return None


def sdk(dialect: DialectName, link: Link) -> Any:
    return openai_client(link) if dialect == "openai" else anthropic_client(link)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_words_come_one_by_one(at_meeting: Link, session: str, dialect: DialectName) -> None:
    proxy, session = at_meeting.proxy, f"paced-{session}"
    person, shown = await join(at_meeting, session)
    async with sdk(dialect, at_meeting) as client:
        app = App(client, dialect, session)
        asked = asyncio.create_task(app.ask("Tell me a story."))
        await shown
        waiting = person.start(SPOKEN)
        await asked
        words = [await app.word()]
        # The first word is here, and the reply is still under way: it and the listening person are in hand.
        assert await calls_in_hand(proxy) == 2
        while (word := await app.word()) is not None:
            words.append(word)
    assert len(words) > 5
    assert "".join(filter(None, words)) == SPOKEN
    await proxy.until(session, lambda told: told["turns"] == 1 and told["prompts"][0]["state"] == "answered")
    await hang_up(proxy, session, waiting)
    assert await calls_in_hand(proxy) == 0


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "text", [CODE, UNICODE, " ", "\n\n", "\t", "one"], ids=["code", "unicode", "blank", "lines", "tab", "word"]
)
async def test_text_is_exact(at_meeting: Link, session: str, dialect: DialectName, text: str) -> None:
    session = f"brisk-{session}"
    person, shown = await join(at_meeting, session)
    app = Talker(at_meeting, dialect, session, streamed=True)
    asked = app.start("Say it.")
    await shown
    waiting = person.start(text)
    said = await asked
    assert said.text == text
    assert said.finish in ("stop", "end_turn")
    assert said.output_tokens > 0
    assert said.model == session
    await finish(at_meeting.proxy, session, waiting)


async def test_reply_that_is_not_streamed_is_not_paced(at_meeting: Link, session: str) -> None:
    session = f"paced-{session}"
    person, shown = await join(at_meeting, session)
    app = Talker(at_meeting, "openai", session)
    asked = app.start("All at once, please.")
    await shown
    waiting = person.start(ENDLESS)
    assert (await asked).text == ENDLESS
    await finish(at_meeting.proxy, session, waiting)


async def test_tool_calls_are_spoken_too(at_meeting: Link, session: str) -> None:
    session = f"brisk-{session}"
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    person, shown = await join(at_meeting, session)
    app = Talker(at_meeting, "openai", session, streamed=True, extra={"tools": tools})
    asked = app.start("What is there?")
    await shown
    waiting = person.start('Let me see.\n/call look {"where": "up"}')
    said = await asked
    assert (said.text, said.finish) == ("Let me see.", "tool_calls")
    assert [(name, given) for _, name, given in said.calls] == [("look", {"where": "up"})]
    await finish(at_meeting.proxy, session, waiting)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_listener_who_leaves_in_the_middle_may_come_back(
    at_meeting: Link, session: str, dialect: DialectName
) -> None:
    """Its half reply does not count: the answer stays, and is spoken again from the start."""
    proxy, session = at_meeting.proxy, f"paced-{session}"
    person, shown = await join(at_meeting, session)
    async with sdk(dialect, at_meeting) as client:
        app = App(client, dialect, session)
        asked = asyncio.create_task(app.ask("Tell me everything."))
        await shown
        waiting = person.start(ENDLESS)
        await asked
        assert "word" in (await app.word() or "")
        await app.stream.close()
        told = await proxy.until(session, lambda told: told["prompts"] and not held_calls(told))
        await until_in_hand(proxy, 1)
        assert [prompt["state"] for prompt in told["prompts"]] == ["answered"]
        again = App(client, dialect, session)
        await again.ask("Tell me everything.")
        first = "".join([await again.word() or "" for _ in range(3)])
        assert ENDLESS.startswith(first)
        assert first
        await again.stream.close()
    await until_in_hand(proxy, 1)
    await hang_up(proxy, session, waiting)
    await proxy.close_session(session)


async def until_in_hand(proxy: Proxy, count: int) -> None:
    """Wait until so many calls are held, or answered and not yet known to be delivered."""
    async with asyncio.timeout(DEADLINE_S):
        while await calls_in_hand(proxy) != count:
            pass


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_stream_under_way_at_the_end_of_the_process(start_proxy: StartProxy, dialect: DialectName) -> None:
    """It ends with an error that the SDK understands, and the process does not wait for the rest."""
    proxy = start_proxy(config=PACED)
    link = Link(proxy)
    person, shown = await join(link, "s")
    async with sdk(dialect, link) as client:
        app = App(client, dialect, "s")
        asked = asyncio.create_task(app.ask("Tell me everything."))
        await shown
        waiting = person.start(ENDLESS)
        await asked
        await app.word()
        ending = asyncio.create_task(asyncio.to_thread(proxy.terminate))
        with pytest.raises((openai.APIError, anthropic.APIError), match="shutting down"):
            while await app.word() is not None:
                pass
        await ending
    assert "left behind" not in proxy.log
    with pytest.raises(openai.InternalServerError, match="shutting down"):
        await waiting


PACED: dict[str, Any] = {
    "routes": [{"match": {"listener": "reverse"}, "answer": "pair", "pace_tokens_per_s": 30}],
}


async def test_saved_flows_hold_what_the_app_sent_and_got(start_proxy: StartProxy, tmp_path: Path) -> None:
    """A promoted call is saved with its own request, not with that to the origin."""
    saved = tmp_path / "flows"
    proxy = start_proxy(config=PACED, options=("-w", str(saved)))
    person, shown = await join(Link(proxy), "s")
    body = chat("s", "Tell me a story.", stream=True)
    async with http_client(Link(proxy), headers={"x-mine": "1", "user-agent": "app"}) as client:
        asked = asyncio.create_task(client.post("/v1/chat/completions?x=1", content=body))
        await shown
        waiting = person.start(SPOKEN)
        got = (await asked).content
        assert (await client.get("/v1/models")).status_code == 200
    await hang_up(proxy, "s", waiting)
    await asyncio.to_thread(proxy.terminate)

    with saved.open("rb") as file:
        flows = [flow for flow in io.FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]
    (promoted,) = [flow for flow in flows if flow.request.headers.get("x-mine") and flow.request.method == "POST"]
    assert promoted.request.path == "/v1/chat/completions?x=1"
    assert promoted.request.content == body
    assert promoted.error is None
    assert promoted.response is not None
    assert promoted.response.content == got
    assert promoted.response.status_code == 200
    text = [json.loads(line[6:]) for line in got.decode().split("\n\n") if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in text if chunk["choices"]) == SPOKEN
    (listed,) = [flow for flow in flows if flow.request.path == "/v1/models"]
    assert listed.request.headers.get("x-mine") == "1"
    for flow in flows:
        assert "x-motive-origin" not in flow.request.headers
        assert not flow.request.path.startswith("/p/")
