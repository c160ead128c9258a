"""What the person who plays the model can write beside an answer, and what happens when it writes nothing at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import anthropic
import pytest

from tests.e2e.clients import Link, Said, Talker, finish
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import STOP_DEADLINE_S, Proxy, held_calls
from tests.e2e.standin import Standin
from tests.e2e.voices import VOICES, Voice

CONFIG: Final[dict[str, Any]] = {
    "commands": {"call": "!tool", "help": None},
    "routes": [
        {"match": {"listener": "forward"}, "when": "joined"},
        {
            "match": {"listener": "reverse", "model": "fall-*"},
            "on_timeout": "fallback",
            "on_lost": "fallback",
            "on_full": "fallback",
            "queue_limit": 1,
            "fallback": "The guard says nothing.",
            "hold_timeout_s": 1.0,
            "handshake_timeout_s": 1.0,
        },
        {"match": {"listener": "reverse", "model": "leave-*"}, "on_lost": "fallback", "fallback": "Nobody is here."},
        {"match": {"listener": "reverse"}},
    ],
}


@pytest.fixture(scope="module")
def other_words(
    tmp_path_factory: pytest.TempPathFactory, confdir: Path, upstream: dict[str, Any], shared_standin: Standin
) -> Iterator[Proxy]:
    """A proxy whose commands have other names, and whose routes have a fallback."""
    with Proxy(tmp_path_factory.mktemp("commands"), confdir, config=CONFIG, **upstream) as proxy:
        yield proxy


async def join(link: Link, session: str) -> tuple[Talker, asyncio.Task[Said]]:
    person = Talker(link, "openai", session, api_key="sk-human")
    shown = person.start("/join")
    await link.proxy.until_listening(session)
    return person, shown


class TestFail:
    @pytest.mark.parametrize("kind", VOICES, ids=lambda kind: kind.__name__.removesuffix("Voice"))
    async def test_every_sdk_raises(self, at_meeting: Link, session: str, kind: type[Voice]) -> None:
        person, shown = await join(at_meeting, session)
        app = kind(at_meeting, session, streamed=False)
        app.add_user("You see a troll.")
        asked = asyncio.create_task(app.send())
        await shown
        listening = person.start("/fail 429 Too many trolls.")
        with pytest.raises(Exception, match=r"Too many trolls\.") as failed:
            await asked
        assert "429" in repr(failed.value) or getattr(failed.value, "status_code", 429) == 429
        await app.close()
        await finish(at_meeting.proxy, session, listening)

    async def test_an_sdk_that_tries_again_asks_the_person_again(self, at_meeting: Link, session: str) -> None:
        person, shown = await join(at_meeting, session)
        app = Talker(at_meeting, "openai", session, options={"max_retries": 1})
        asked = app.start("You see a troll.")
        assert (await shown).text == "You see a troll."
        shown = person.start("/fail 503 Asleep.")
        assert (await shown).text == "You see a troll."  # the SDK's second try
        listening = person.start("I am awake.")
        assert (await asked).text == "I am awake."
        await finish(at_meeting.proxy, session, listening)

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, anthropic.AuthenticationError),
            (429, anthropic.RateLimitError),
            (529, anthropic.APIStatusError),
        ],
    )
    async def test_as_the_vendor_says_it(
        self, at_meeting: Link, session: str, status: int, error: type[anthropic.APIStatusError]
    ) -> None:
        person, shown = await join(at_meeting, session)
        app = Talker(at_meeting, "anthropic", session, streamed=True)
        asked = app.start("You see a troll.")
        await shown
        listening = person.start(f"/fail {status}")
        with pytest.raises(error) as failed:
            await asked
        assert failed.value.status_code == status
        assert ("retry-after" in failed.value.response.headers) == (status != 401)
        await finish(at_meeting.proxy, session, listening)

    async def test_a_status_that_is_none_goes_back_to_its_author(self, at_meeting: Link, session: str) -> None:
        person, shown = await join(at_meeting, session)
        app = Talker(at_meeting, "openai", session)
        asked = app.start("You see a troll.")
        await shown
        assert "must be one of an error, 400 to 599" in (await person.say("/fail 200 fine")).text
        listening = person.start("I fight.")
        assert (await asked).text == "I fight."
        await finish(at_meeting.proxy, session, listening)


class TestPass:
    async def test_the_real_service_answers_this_one(
        self, at_meeting: Link, through_proxy: Link, service: Standin, session: str
    ) -> None:
        person, shown = await join(at_meeting, session)
        app = Talker(through_proxy, "anthropic", session)
        asked = app.start("one")
        assert (await shown).text == "one"
        shown = person.start("/pass")
        assert (await asked).text == f"real {session}"
        assert len(service.requests) == 1
        asked = app.start("two")
        assert "two" in (await shown).text
        listening = person.start("2")
        assert (await asked).text == "2" and len(service.requests) == 1
        await finish(at_meeting.proxy, session, listening)

    async def test_where_there_is_none(self, at_meeting: Link, session: str) -> None:
        person, shown = await join(at_meeting, session)
        app = Talker(at_meeting, "openai", session)
        asked = app.start("one")
        await shown
        assert "no real service behind this call" in (await person.say("/pass")).text
        listening = person.start("1")
        assert (await asked).text == "1"
        await finish(at_meeting.proxy, session, listening)


class TestHelp:
    async def test_it_tells_the_tools_of_the_call(self, at_meeting: Link, session: str) -> None:
        tool = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA}}
        person, shown = await join(at_meeting, session)
        app = Talker(at_meeting, "openai", session, extra={"tools": [tool]})
        asked = app.start("You hear something.")
        await shown
        told = (await person.say("/help")).text
        assert "/call look {where, how?}  Looks." in told and "/fail 429 TEXT" in told
        listening = person.start('/call look {"where": "north"}\n/call look {"where": "south"}')
        assert [call[1:] for call in (await asked).calls] == [
            ("look", {"where": "north"}),
            ("look", {"where": "south"}),
        ]
        await finish(at_meeting.proxy, session, listening)

    async def test_before_anybody_is_there(self, at_meeting: Link, session: str) -> None:
        person = Talker(at_meeting, "openai", session)
        assert "/leave" in (await person.say("/help")).text
        assert session not in await at_meeting.proxy.sessions()


SCHEMA: Final = {
    "type": "object",
    "properties": {"where": {"type": "string"}, "how": {"type": "string"}},
    "required": ["where"],
}


async def test_a_reply_of_another_shape_goes_back_to_its_author_while_the_app_waits(
    at_meeting: Link, session: str
) -> None:
    person, shown = await join(at_meeting, session)
    app = Talker(
        at_meeting,
        "anthropic",
        session,
        extra={
            "output_config": {"format": {"type": "json_schema", "schema": {**SCHEMA, "additionalProperties": False}}}
        },
    )
    asked = app.start("Where do you look?")
    await shown
    assert "is a required property" in (await person.say('{"how": "closely"}')).text
    assert "this is none" in (await person.say("north")).text
    assert len(held_calls((await at_meeting.proxy.sessions())[session])) == 1
    listening = person.start('{"where": "north"}')
    assert json.loads((await asked).text) == {"where": "north"}
    await finish(at_meeting.proxy, session, listening)


class TestOtherWords:
    async def test_a_tool_is_called_by_them(self, other_words: Proxy, session: str) -> None:
        link = Link(other_words)
        tool = {"name": "look", "input_schema": SCHEMA}
        person, shown = await join(link, session)
        app = Talker(link, "anthropic", session, extra={"tools": [tool]})
        asked = app.start("You hear something.")
        await shown
        listening = person.start('!tool look {"where": "north"}')
        assert [call[1:] for call in (await asked).calls] == [("look", {"where": "north"})]
        await finish(other_words, session, listening)

    async def test_what_is_off_is_an_answer(self, other_words: Proxy, session: str) -> None:
        link = Link(other_words)
        person, shown = await join(link, session)
        app = Talker(link, "openai", session)
        for text in ("/help", '/call look {"where": "north"}'):
            asked = app.start("Say it.")
            await shown
            shown = person.start(text)
            assert (await asked).text == text
        await finish(other_words, session, shown)


class TestFallback:
    async def test_in_time(self, other_words: Proxy, session: str) -> None:
        session = f"fall-{session}"
        for dialect in ("openai", "anthropic"):
            app = Talker(Link(other_words), dialect, f"{session}@asker", streamed=dialect == "openai")
            assert (await app.say("Who goes there?")).text == "The guard says nothing."

    async def test_in_a_full_queue(self, other_words: Proxy, session: str) -> None:
        session = f"fall-{session}"
        app = Talker(Link(other_words), "openai", f"{session}@asker")
        waiting = app.start("one")
        await other_words.until_prompts(session)
        other = Talker(Link(other_words), "openai", f"{session}@asker")
        assert (await other.say("two")).text == "The guard says nothing."
        assert (await waiting).text == "The guard says nothing."

    async def test_when_the_person_leaves(self, other_words: Proxy, session: str) -> None:
        session = f"leave-{session}"
        person, shown = await join(Link(other_words), session)
        app = Talker(Link(other_words), "openai", session)
        asked = app.start("Are you there?")
        await shown
        await person.say("/leave")
        assert (await asked).text == "Nobody is here."


async def test_calls_are_passed_at_exit_where_the_route_says_so(
    start_proxy: StartProxy, proxy_authority: Path, service: Standin, session: str
) -> None:
    proxy = start_proxy(config={"routes": [{"match": {"listener": "forward"}, "on_exit": "pass"}, {}]})
    _, shown = await join(Link(proxy), session)
    app = Talker(Link(proxy, proxy_authority), "openai", session)
    asked = app.start("one")
    await shown
    ending = asyncio.create_task(asyncio.to_thread(proxy.terminate))
    assert (await asked).text == f"real {session}"
    assert await ending < STOP_DEADLINE_S
