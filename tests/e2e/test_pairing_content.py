"""What is more than plain text: pictures, several parts, system prompts, tools, in both dialects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.e2e.clients import DIALECTS, DialectName, Link, Said, Talker, finish, openai_client
from tests.e2e.proxy import held_calls

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
WEATHER_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: dict[DialectName, list[dict[str, Any]]] = {
    "openai": [
        {
            "type": "function",
            "function": {"name": "weather", "description": "Looks out.", "parameters": WEATHER_SCHEMA},
        },
        {"type": "function", "function": {"name": "now"}},
    ],
    "anthropic": [
        {"name": "weather", "description": "Looks out.", "input_schema": WEATHER_SCHEMA},
        {"name": "now", "input_schema": {"type": "object"}},
    ],
}


class Person:
    """The answerer: says something, and is shown the next prompt."""

    def __init__(self, link: Link, session: str, dialect: DialectName) -> None:
        self.talker = Talker(link, dialect, session, api_key="sk-human")
        self._link = link
        self._waiting: asyncio.Task[Said] | None = None

    async def say(self, words: str) -> None:
        self._waiting = self.talker.start(words)

    async def shown(self) -> str:
        assert self._waiting is not None
        return (await self._waiting).text

    async def finish(self) -> None:
        assert self._waiting is not None
        await finish(self._link.proxy, self.talker.model, self._waiting)


@pytest.fixture
def session(session: str) -> str:
    """A session whose answerer is shown everything: see ``rules``."""
    return f"told-{session}"


@pytest.fixture(params=DIALECTS)
async def person(request: pytest.FixtureRequest, at_meeting: Link, session: str) -> AsyncIterator[Person]:
    one = Person(at_meeting, session, request.param)
    await one.say("/join")
    await at_meeting.proxy.until_listening(session)
    yield one
    await one.finish()


def app_of(link: Link, session: str, dialect: DialectName, **settings: Any) -> Talker:
    return Talker(link, dialect, session, api_key="sk-app", **settings)


def picture(dialect: DialectName) -> dict[str, Any]:
    if dialect == "openai":
        return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}


def linked_picture(dialect: DialectName) -> dict[str, Any]:
    url = "https://pictures.example/troll.png"
    if dialect == "openai":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "image", "source": {"type": "url", "url": url}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_pictures_and_parts_are_shown(
    at_meeting: Link, session: str, person: Person, dialect: DialectName
) -> None:
    app = app_of(at_meeting, session, dialect)
    asked = app.start([text("Look:"), picture(dialect), text("and "), text("here:"), linked_picture(dialect)])
    assert await person.shown() == (
        f"Look:\n\n![image](data:image/png;base64,{PIXEL})\n\nand here:\n\n![image](https://pictures.example/troll.png)"
    )
    await person.say("I see.")
    assert (await asked).text == "I see."


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_system_prompt_and_earlier_words_are_shown_once(
    at_meeting: Link, session: str, person: Person, dialect: DialectName
) -> None:
    earlier = [{"role": "user", "content": "earlier question"}, {"role": "assistant", "content": "earlier answer"}]
    app = app_of(at_meeting, session, dialect)
    if dialect == "openai":
        app.history = [{"role": "developer", "content": "Be a troll."}, *earlier]
    else:
        app.extra, app.history = {"system": [text("Be a troll.")]}, earlier
    asked = app.start("next question")
    shown = await person.shown()
    assert shown.endswith("\n\nnext question")
    places = [shown.index(words) for words in ("Be a troll.", "earlier question", "earlier answer", "next question")]
    assert places == sorted(places)
    await person.say("Grr.")
    assert (await asked).text == "Grr."
    asked = app.start("and then?")
    assert await person.shown() == "and then?"
    await person.say("The end.")
    assert (await asked).text == "The end."


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_tool_call_and_its_result(
    at_meeting: Link, session: str, person: Person, dialect: DialectName, *, streamed: bool
) -> None:
    app = app_of(at_meeting, session, dialect, streamed=streamed, extra={"tools": TOOLS[dialect]})
    asked = app.start("How is it outside?")
    shown = await person.shown()
    assert shown.endswith("How is it outside?")
    assert "/call weather {city, days?}  Looks out." in shown

    await person.say('One moment.\n/call weather {"city": "Köln \\"am\\" Rhein", "days": 2}\n/call now')
    said = await asked
    assert said.finish == ("tool_calls" if dialect == "openai" else "tool_use")
    assert said.text == "One moment."
    assert [(name, given) for _, name, given in said.calls] == [
        ("weather", {"city": 'Köln "am" Rhein', "days": 2}),
        ("now", {}),
    ]
    ids = [call_id for call_id, _, _ in said.calls]
    assert len(set(ids)) == 2

    if dialect == "openai":
        app.history += [
            {"role": "tool", "tool_call_id": ids[0], "content": "rain"},
            {"role": "tool", "tool_call_id": ids[1], "content": [text("noon")]},
        ]
    else:
        results = [
            {"type": "tool_result", "tool_use_id": ids[0], "content": "rain"},
            {"type": "tool_result", "tool_use_id": ids[1], "content": [text("noon")], "is_error": True},
        ]
        app.history.append({"role": "user", "content": results})
    asked = asyncio.create_task(app.send())
    mark = "" if dialect == "openai" else " (error)"
    assert await person.shown() == (f"[tool result weather {ids[0]}]\nrain\n\n[tool result now {ids[1]}{mark}]\nnoon")
    await person.say("It rains.")
    assert (await asked).text == "It rains."


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("/call wether {}", "there is no tool 'wether'"),
        ('/call weather {"city": 5}', "5 is not of type 'string'"),
        ("/call weather {}", "'city' is a required property"),
        ("/call weather {city: x}", "not JSON"),
        ("/call weather [1]", "must be a JSON object"),
    ],
)
async def test_tool_call_that_does_not_fit_goes_back_to_its_author(
    at_meeting: Link, session: str, person: Person, *, dialect: DialectName, command: str, why: str
) -> None:
    app = app_of(at_meeting, session, dialect, extra={"tools": TOOLS[dialect]})
    asked = app.start("How is it outside?")
    await person.shown()
    await person.say(command)
    notice = await person.shown()
    assert why in notice
    assert "still waits" in notice
    assert not asked.done()
    await person.say('/call weather {"city": "Köln"}')
    assert [(name, given) for _, name, given in (await asked).calls] == [("weather", {"city": "Köln"})]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_tool_call_while_the_app_is_between_two_tries(
    at_meeting: Link, session: str, person: Person, dialect: DialectName
) -> None:
    """Which tools there are does not depend on a call being held just now."""
    app = app_of(at_meeting, session, dialect, extra={"tools": TOOLS[dialect]})
    asked = app.start("How is it outside?")
    await person.shown()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await at_meeting.proxy.until(session, lambda told: not held_calls(told))
    await person.say('/call weather {"city": "Köln"}')
    await at_meeting.proxy.until_listening(session)
    assert [(name, given) for _, name, given in (await app.send()).calls] == [("weather", {"city": "Köln"})]


async def test_words_that_look_like_commands_can_be_said(at_meeting: Link, session: str, person: Person) -> None:
    app = app_of(at_meeting, session, "openai", extra={"tools": TOOLS["openai"]})
    for words in ("ping", "/call weather {}", "/say it"):
        asked = app.start("Say something odd.")
        await person.shown()
        await person.say(f"/say {words}")
        said = await asked
        assert said.text == words
        assert not said.calls


class Weather(BaseModel):
    """What the app of the next test wants to be told."""

    city: str
    degrees: int


async def test_answer_must_fit_the_response_format(at_meeting: Link, session: str, person: Person) -> None:
    async with openai_client(at_meeting) as client:
        asked = asyncio.create_task(
            client.chat.completions.parse(
                model=session, messages=[{"role": "user", "content": "Weather?"}], response_format=Weather
            )
        )
        assert (await person.shown()).endswith("Weather?")
        for words in ("It rains.", '{"city": "Köln"}'):
            await person.say(words)
            assert "still waits" in await person.shown()
            assert not asked.done()
        await person.say('{"city": "Köln", "degrees": 7}')
        assert (await asked).choices[0].message.parsed == Weather(city="Köln", degrees=7)


async def test_unusual_but_valid_requests_are_accepted(at_meeting: Link, session: str, person: Person) -> None:
    """Null content, a developer's message, roles and fields that we have no use for."""
    async with openai_client(at_meeting) as client:
        body = {
            "model": session,
            "messages": [
                {"role": "developer", "content": [text("Be brief.")]},
                {"role": "user", "content": "first", "name": "Ann"},
                {"role": "assistant", "content": None, "refusal": None},
                {"role": "user", "content": [text("second")]},
            ],
            "reasoning_effort": "low",
            "metadata": {"a": "b"},
            "unheard_of": {"nested": [None, 1.5, True]},
            "stop": "x",
            "logit_bias": {"1": 2},
        }
        raw = asyncio.create_task(client.post("/chat/completions", body=body, cast_to=openai.types.chat.ChatCompletion))
        assert (await person.shown()).endswith("second")
        await person.say("fine")
        assert (await raw).choices[0].message.content == "fine"
