"""One agent of an app is answered from now on: a real proxy, real SDKs, a kill, and a file that a person wrote."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import Link, Said, Talker
from tests.e2e.conftest import StartProxy
from tests.e2e.console import Page, browser
from tests.e2e.proxy import Proxy, free_port
from tests.e2e.standin import Standin

MINE = """\
# The game.
timing: {turn_timeout_s: 60}   # seconds

routes:   # the first one decides
  # everybody
  - match: {listener: forward}
    when: joined   # nobody is there at first
"""
KEY = "sk-of-the-game-0123456789"


def agent(link: Link, model: str, words: str) -> Talker:
    role = f"You are part of a game.\n{words}"
    return Talker(link, "openai", model, api_key=KEY, history=[{"role": "system", "content": role}])


async def held(page: Page, session: str, asked: asyncio.Task[Said], answer: str) -> None:
    """A call is held, and gets this answer."""
    [prompt] = await page.waits(session)
    await page.do("answer", session=session, prompt=prompt["prompt"], text=answer)
    assert (await asked).text == answer


async def proposed(page: Page, words: str) -> dict[str, Any]:
    """What is proposed first for the agent that said this last."""
    calls = (await page.ask("calls"))["calls"]
    call = next(row["call"] for row in calls if row["title"] == words)
    found: list[dict[str, Any]] = (await page.ask("proposals", call=call))["proposals"]
    assert KEY not in str(found)
    return found[0]


@pytest.fixture
def mortal(start_proxy: StartProxy) -> Proxy:
    modes = (f"regular@127.0.0.1:{free_port()}", f"reverse:http://127.0.0.1:9@127.0.0.1:{free_port()}")
    return start_proxy(modes=modes, config=MINE)


async def test_one_agent_of_two_until_it_is_given_back(
    mortal: Proxy, proxy_authority: Path, service: Standin, session: str
) -> None:
    link = Link(mortal, proxy_authority)
    troll, baker = (agent(link, session, f"You are the {name}.") for name in ("troll", "baker"))
    real = f"real {session}"
    async with browser(mortal) as page:
        assert [(await one.say(f"{number}")).text for number, one in enumerate((baker, troll))] == [real, real]
        found = await proposed(page, "1")
        assert (found["label"], found["session"], found["caught_count"]) == (
            "a line of its system prompt",
            "you-are-the-troll",
            1,
        )

        # At once, and for this agent alone.
        reply = await page.act("put-route", match=found["match"], session="troll")
        assert reply.status_code == 200, reply.text
        await held(page, "troll", troll.start("who?"), "A troll.")
        assert (await baker.say("who?")).text == real

        # After a kill, too, and a change of the file.
        mortal.kill()
        mortal.start()
        await held(page, "troll", troll.start("still?"), "Still.")
        mortal.configure(MINE.replace("60", "61"))
        await asyncio.to_thread(mortal.wait_for_log, "configuration reloaded")
        await held(page, "troll", troll.start("and now?"), "And now.")
        [known] = (await page.ask("routes"))["routes"]

        # Into the file, where it is in force once.
        reply = await page.act("save-route", id=known["id"])
        assert reply.json() == {"saved": str(mortal.config_path)}
        comment = "  # everybody\n"
        before, after = MINE.replace("60", "61").split(comment)
        assert mortal.config_path.read_text() == (
            f"{before}  - match:\n      listener: forward\n      host: api.openai.com\n"
            f"      system: You are the troll\\.\n    name: 'console: troll'\n    session: troll\n{comment}{after}"
        )
        assert (await page.ask("routes"))["routes"] == []
        await held(page, "troll", troll.start("saved?"), "Saved.")

        # Out of it, and it is gone.
        mortal.configure(MINE)
        await asyncio.to_thread(mortal.wait_for_log, "configuration reloaded", 2)
        assert (await troll.say("free?")).text == real
        assert KEY not in mortal.log
        state = mortal.folder / "state" / "motive"
        assert all(KEY.encode() not in path.read_bytes() for path in state.iterdir())


async def test_while_it_is_saved_no_call_goes_elsewhere(
    mortal: Proxy, proxy_authority: Path, service: Standin, session: str
) -> None:
    link = Link(mortal, proxy_authority)
    async with browser(mortal) as page:
        match = {"listener": "forward", "system": "You are the troll"}
        for _ in range(5):
            [known] = [(await page.act("put-route", match=match, session="troll")).json()]
            asked = [agent(link, session, "You are the troll.").start(f"{number}") for number in range(8)]
            reply = await page.act("save-route", id=known["id"])
            assert reply.status_code == 200, reply.text
            for prompt in await page.waits("troll", len(asked)):
                await page.do("answer", session="troll", prompt=prompt["prompt"], text="mine")
            assert [(await one).text for one in asked] == ["mine"] * len(asked)
            mortal.configure(MINE)
            assert [one["id"] for one in (await page.ask("routes"))["routes"]] == []


async def test_what_cannot_be_saved_is_said(mortal: Proxy) -> None:
    async with browser(mortal) as page:
        known = (await page.act("put-route", match={"model": "x"}, session="x")).json()
        mortal.config_path.chmod(0o444)
        reply = await page.act("save-route", id=known["id"])
        assert reply.status_code == 409
        assert "is read-only" in reply.text
        assert [one["id"] for one in (await page.ask("routes"))["routes"]] == [known["id"]]
        assert mortal.config_path.read_text() == MINE
        assert mortal.config_path.stat().st_mode & 0o777 == 0o444
