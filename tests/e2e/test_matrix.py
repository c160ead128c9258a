"""Every dialect meets every other: an app in one, its partner in the other, through a real proxy and the vendors' SDKs.

Three turns of each kind of content, streamed and not, arrive exact. What a dialect has no place for (``Can``, beside
its voice) arrives as text, in the form that ``degrade`` documents; that is checked too, so the README's table, which is
made from ``Can``, tells what these tests saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import product
from typing import Any, Final

import pytest

from tests.e2e.clients import Link
from tests.e2e.voices import VOICES, Call, Heard, Picture, ToolSpec, Voice
from tests.e2e.voices.openai_chat import OpenAIChatVoice

PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
MARKDOWN_PIXEL: Final = f"![image](data:image/png;base64,{PIXEL})"
CODE: Final = (
    'Grüße — 你好 👩‍👩‍👧\n\n```python\ndef f(x):\n\treturn "\\t\\u00e9" + x  # \u2028\n```\r\n  {"a": [1, 2]}\n'
    "data: [DONE]\n\nevent: ping\n\n</script>\x7f"
)
WEATHER: Final = ToolSpec(
    "weather",
    "Looks out.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "scale": {"type": "number"},
            "big": {"type": "integer"},
        },
        "required": ["city"],
    },
)
NOW: Final = ToolSpec("now", "Tells the time.", {"type": "object", "properties": {}})
ARGUMENTS: Final = '{"city": "Köln \\"am\\" Rhein\\n\\t", "days": 2, "scale": 1.0, "big": 9007199254740993}'
VALUE: Final = {"city": 'Köln "am" Rhein\n\t', "days": 2, "scale": 1.0, "big": 9007199254740993}


class Meeting:
    """An app and its partner, who has joined and listens."""

    def __init__(self, link: Link, session: str, app: Voice, partner: Voice) -> None:
        self.app = app
        self.partner = partner
        self._link = link
        self._session = session
        self._listening: asyncio.Task[Heard] | None = None

    async def join(self) -> None:
        self.say("/join")
        await self._link.proxy.until_listening(self._session)

    def say(self, *parts: str | Picture) -> None:
        self.partner.add_user(*parts)
        self._listening = asyncio.create_task(self.partner.send())

    async def turn(self, *answer: str | Picture) -> tuple[Heard, Heard]:
        """The app sends what was added to its history, the partner is shown it and says ``answer``. Gives what the
        partner was shown and what the app heard."""
        asked = asyncio.create_task(self.app.send())
        try:
            shown = await self.shown()
            self.say(*answer)
            heard = await asked
        finally:
            asked.cancel()
        assert heard.model in ("", self._session)
        for one in (shown, heard):
            assert one.input_tokens is None or one.input_tokens > 0
            assert one.output_tokens is None or one.output_tokens > 0
        assert shown.finish == self.partner.finishes[0]
        return shown, heard

    async def shown(self) -> Heard:
        assert self._listening is not None
        return await self._listening

    async def refused(self, words: str, why: str) -> None:
        """The partner says something that is refused, and is told why."""
        self.say(words)
        assert why in (await self.shown()).text

    async def end(self) -> None:
        """End the session; the partner, who listens, is told so by an error of its SDK."""
        assert self._listening is not None
        await self._link.proxy.until_listening(self._session)
        await self._link.proxy.close_session(self._session)
        with pytest.raises(Exception, match="ended by the operator"):
            await self._listening

    async def close(self) -> None:
        if self._listening is not None and not self._listening.done():
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self.app.close()
        await self.partner.close()


@asynccontextmanager
async def meeting(
    link: Link, session: str, app: type[Voice], partner: type[Voice], *, streamed: bool
) -> AsyncIterator[Meeting]:
    """A session with an app that has not said anything yet, and a partner who listens."""
    room = Meeting(
        link,
        session,
        app(link, session, streamed=streamed, api_key="sk-app"),
        partner(link, session, streamed=streamed, api_key="sk-partner"),
    )
    try:
        await room.join()
        yield room
        await room.end()
    finally:
        await room.close()


async def words(room: Meeting) -> None:
    for turn in range(3):
        question, answer = f"Question {turn}: who goes there?", f"Answer {turn}: a friend."
        room.app.add_user(question)
        shown, heard = await room.turn(answer)
        assert shown.text == question
        assert heard.text == answer
        assert heard.finish == room.app.finishes[0]
        assert not heard.calls
        assert not heard.reasoning


async def code(room: Meeting) -> None:
    for turn in range(3):
        room.app.add_user(f"{turn} {CODE}")
        shown, heard = await room.turn(f"{CODE} {turn}")
        assert shown.text == f"{turn} {CODE}"
        assert heard.text == f"{CODE} {turn}"


async def pictures(room: Meeting) -> None:
    """One of the app and one of the partner, where they can send any; each is seen by the other side."""
    app, partner = room.app, room.partner
    sends = app.can.image_in == "native"
    app.add_user("Look:", *([Picture(PIXEL)] if sends else []))
    shown, heard = await room.turn("I see.")
    assert_pictured(shown, "Look:", partner, sent=sends)
    assert heard.text == "I see."

    sends = partner.can.image_in == "native"
    app.add_user("Draw it.")
    shown, heard = await room.turn("Here:", *([Picture(PIXEL)] if sends else []))
    assert shown.text == "Draw it."
    assert_pictured(heard, "Here:", app, sent=sends)

    app.add_user("Thanks.")
    shown, heard = await room.turn("Welcome.")
    assert (shown.text, heard.text) == ("Thanks.", "Welcome.")


def assert_pictured(got: Heard, text: str, voice: Voice, *, sent: bool) -> None:
    if not sent:
        assert (got.text, got.pictures) == (text, [])
    elif voice.can.image_out == "native":
        assert (got.text, got.pictures) == (text, [PIXEL])
    else:
        assert (got.text, got.pictures) == (f"{text}\n\n{MARKDOWN_PIXEL}", [])


async def tools(room: Meeting) -> None:
    app = room.app
    if app.can.tools == "none":
        app.add_user("How is it outside?")
        asked = asyncio.create_task(app.send())
        await room.shown()
        await room.refused("/call weather {}", "there is no tool 'weather' in this call")
        room.say("Rain.")
        assert (await asked).text == "Rain."
        for turn in range(2):
            app.add_user(f"And {turn}?")
            assert (await room.turn("Rain."))[1].text == "Rain."
        return
    app.offer([WEATHER, NOW])
    app.add_user("How is it outside?")
    shown, heard = await room.turn(f"One moment.\n/call weather {ARGUMENTS}\n/call now\n/call weather {ARGUMENTS}")
    assert shown.text == "How is it outside?"
    assert heard.text == "One moment."
    assert heard.finish == app.finishes[1]
    assert [call.name for call in heard.calls] == ["weather", "now", "weather"]
    assert [call.value for call in heard.calls] == [VALUE, {}, VALUE]
    for call in heard.calls:
        if isinstance(call.arguments, str) and call.name == "weather" and app.dialect.startswith(EXACT):
            assert call.arguments == ARGUMENTS
    if app.can.call_ids:
        assert len({call.call_id for call in heard.calls}) == 3

    results = list(zip(heard.calls, ["rain\n\tand wind", "noon", "fog"], strict=True))
    app.add_results(results)
    shown, heard = await room.turn("It rains.")
    assert shown.text == "\n\n".join(
        [f"[tool result {call.name} {call_id(app, call)}]\n{text}" for call, text in results]
    )
    assert (heard.text, heard.finish, heard.calls) == ("It rains.", app.finishes[0], [])

    app.add_user("Thanks.")
    shown, heard = await room.turn("Welcome.")
    assert (shown.text, heard.text) == ("Thanks.", "Welcome.")


def call_id(app: Voice, call: Call) -> str:
    """The id of a call as the partner is shown it: where there is none, the name stands for it."""
    return call.call_id if app.can.call_ids else call.name


async def reasoning(room: Meeting) -> None:
    for turn in range(3):
        room.app.add_user(f"Why {turn}?")
        shown, heard = await room.turn(f"/think Let me\n/think \tsee: {turn}.\nBecause {turn}.")
        assert shown.text == f"Why {turn}?"
        if room.app.can.reasoning == "native":
            assert heard.reasoning == f"Let me\n\tsee: {turn}."
            assert heard.text == f"Because {turn}."
        else:
            assert heard.text == f"Let me\n\tsee: {turn}.\n\nBecause {turn}."
        assert heard.finish == room.app.finishes[0]


async def several(room: Meeting) -> None:
    """More than one message since the last turn."""
    for turn in range(3):
        for number in range(3):
            room.app.add_user(f"{turn}.{number}\n\tmore")
        shown, heard = await room.turn(f"All {turn}.")
        assert shown.text == "\n\n".join([f"{turn}.{number}\n\tmore" for number in range(3)])
        assert heard.text == f"All {turn}."


CONTENTS: Final[dict[str, Callable[[Meeting], Coroutine[Any, Any, None]]]] = {
    "text": words,
    "code": code,
    "image": pictures,
    "tools": tools,
    "reasoning": reasoning,
    "several": several,
}
EXACT: Final = ("openai-", "cohere-")
"""Dialects on whose wire the arguments of a tool call are text, and whose SDKs give it as it is."""


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("app", "partner"), list(product(VOICES, VOICES)), ids=lambda voice: voice.dialect)
async def test_any_two_dialects_meet(
    at_meeting: Link, session: str, app: type[Voice], partner: type[Voice], *, streamed: bool, content: str
) -> None:
    async with meeting(at_meeting, session, app, partner, streamed=streamed) as room:
        await CONTENTS[content](room)


REPLY_SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}

each_app = pytest.mark.parametrize("app", VOICES, ids=lambda voice: voice.dialect)


@each_app
async def test_system_prompt_is_shown(at_meeting: Link, session: str, app: type[Voice]) -> None:
    """To a partner who is to be told everything: see ``rules``."""
    if app.can.system == "none":
        pytest.skip("the dialect has no system prompt")
    async with meeting(at_meeting, f"told-{session}", app, OpenAIChatVoice, streamed=False) as room:
        room.app.set_system("You are a guard.")
        room.app.add_user("Who goes there?")
        shown, heard = await room.turn("A friend.")
        assert shown.text == "[system]\nYou are a guard.\n\n——— new message ———\n\nWho goes there?"
        assert heard.text == "A friend."


@each_app
async def test_reply_must_fit_the_schema_that_the_app_demands(at_meeting: Link, session: str, app: type[Voice]) -> None:
    if app.can.json_schema == "none":
        pytest.skip("the dialect has no schema for a reply")
    async with meeting(at_meeting, session, app, OpenAIChatVoice, streamed=False) as room:
        room.app.demand(REPLY_SCHEMA)
        room.app.add_user("How is it outside?")
        asked = asyncio.create_task(room.app.send())
        assert (await room.shown()).text == "How is it outside?"
        await room.refused('{"city": "Köln"}', "'degrees' is a required property")
        room.say('{"city": "Köln", "degrees": 7}')
        assert (await asked).text == '{"city": "Köln", "degrees": 7}'


@each_app
async def test_open_sessions_are_models_and_tokens_are_counted(
    at_meeting: Link, session: str, app: type[Voice]
) -> None:
    async with meeting(at_meeting, session, app, OpenAIChatVoice, streamed=False) as room:
        if app.can.models:
            assert session in await room.app.models()
        if app.can.count:
            room.app.add_user("1234" * 100)
            assert await room.app.count() == 100
