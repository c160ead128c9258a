"""Two ordinary SDK clients meet in a session: every pair of dialects, streamed or not, and what they say is exact."""

from __future__ import annotations

import asyncio
import itertools
import re

import pytest

from tests.e2e.clients import (
    CODE,
    DIALECTS,
    UNICODE,
    DialectName,
    Link,
    Said,
    Talker,
    anthropic_client,
    finish,
    openai_client,
)

TRICKY = 'data: [DONE]\n\nevent: ping\n\n{"a": "\\u0000"} <|im_end|> </s>\n: comment\n\n  leading and trailing  '
LONG = "lorem ipsum dolor — sit amet\n" * 4000

FINISH = {"openai": "stop", "anthropic": "end_turn"}


@pytest.mark.parametrize("app_streams", [False, True], ids=["app-whole", "app-streams"])
@pytest.mark.parametrize("person_streams", [False, True], ids=["person-whole", "person-streams"])
@pytest.mark.parametrize(("person", "app"), list(itertools.product(DIALECTS, DIALECTS)))
async def test_conversation(
    at_meeting: Link,
    session: str,
    person: DialectName,
    app: DialectName,
    *,
    person_streams: bool,
    app_streams: bool,
) -> None:
    proxy = at_meeting.proxy
    # Half of the pairs use the synchronous SDK at one end, the other half at the other.
    human = Talker(at_meeting, person, session, person_streams, sync=person_streams, api_key="sk-human")
    program = Talker(at_meeting, app, session, app_streams, sync=not app_streams, api_key="sk-program")

    shown = human.start("/join")
    await proxy.until_listening(session)
    for prompt, answer in [("hello", CODE), (CODE, UNICODE), (UNICODE, TRICKY), (TRICKY, "ok"), (LONG, LONG)]:
        asked = program.start(prompt)
        prompted = await shown
        assert prompted.text == prompt
        check_shape(prompted, person, session)
        shown = human.start(answer)
        answered = await asked
        assert answered.text == answer
        check_shape(answered, app, session)
    await finish(proxy, session, shown)


def check_shape(said: Said, dialect: DialectName, model: str) -> None:
    assert said.finish == FINISH[dialect]
    assert said.model == model
    assert not said.calls
    assert said.input_tokens > 0
    assert said.output_tokens > 0
    assert re.fullmatch(r"chatcmpl-\w+" if dialect == "openai" else r"msg_\w+", said.reply_id)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_two_clients_that_look_the_same(at_meeting: Link, session: str, dialect: DialectName) -> None:
    """Same machine, same SDK, same key, both with a history, and the game first."""
    proxy = at_meeting.proxy
    game, player = Talker(at_meeting, dialect, session), Talker(at_meeting, dialect, session)
    asked = game.start("turn 0")
    await proxy.until_held(session)
    shown = player.start("ping")
    for turn in range(6):
        if turn:
            asked = game.start(f"turn {turn}")
        assert (await shown).text == f"turn {turn}"
        shown = player.start(f"action {turn}")
        assert (await asked).text == f"action {turn}"
    await finish(proxy, session, shown)


async def test_first_requests_at_the_same_time(at_meeting: Link, session: str) -> None:
    """Nothing is lost when both begin at once: the one with a system prompt asks."""
    app = Talker(at_meeting, "openai", session, history=[{"role": "system", "content": "You are a guard."}])
    person = Talker(at_meeting, "anthropic", session)
    asked, shown = app.start("Who goes there?"), person.start("hi")
    assert (await shown).text.endswith("Who goes there?")
    waiting = person.start("A friend.")
    assert (await asked).text == "A friend."
    await finish(at_meeting.proxy, session, waiting)


async def test_ids_and_headers(at_meeting: Link, session: str) -> None:
    """Each reply carries an id of its own, and the session's."""
    proxy, ids = at_meeting.proxy, set[str]()
    async with openai_client(at_meeting) as app, anthropic_client(at_meeting) as person:

        async def ask(number: int) -> tuple[str | None, str | None, str]:
            raw = await app.chat.completions.with_raw_response.create(
                model=session, messages=[{"role": "user", "content": f"{number}"}]
            )
            reply = raw.parse()
            return raw.headers.get("x-request-id"), raw.headers.get("x-motive-session"), reply.id

        async def answer(words: str) -> tuple[str | None, str | None, str]:
            raw = await person.messages.with_raw_response.create(
                model=session, max_tokens=9, messages=[{"role": "user", "content": words}]
            )
            reply = await raw.parse()
            return raw.headers.get("request-id"), raw.headers.get("x-motive-session"), reply.id

        shown = asyncio.create_task(answer("/join"))
        for number in range(5):
            await proxy.until_listening(session)
            asked = asyncio.create_task(ask(number))
            request_id, name, reply_id = await shown
            assert name == session
            assert request_id
            ids |= {request_id, reply_id}
            shown = asyncio.create_task(answer(f"answer {number}"))
            request_id, name, reply_id = await asked
            assert name == session
            assert request_id
            ids |= {request_id, reply_id}
        assert len(ids) == 20
        await proxy.close_session(session)
        with pytest.raises(Exception, match="ended by the operator"):
            await shown


async def test_choices_are_as_many_as_asked_for(at_meeting: Link, session: str) -> None:
    person = Talker(at_meeting, "openai", session, api_key="sk-human")
    shown = person.start("/join")
    await at_meeting.proxy.until_listening(session)
    async with openai_client(at_meeting) as app:
        whole = asyncio.create_task(
            app.chat.completions.create(model=session, n=2, messages=[{"role": "user", "content": "two, please"}])
        )
        assert (await shown).text == "two, please"
        shown = person.start("the same")
        assert [(c.index, c.message.content) for c in (await whole).choices] == [(0, "the same"), (1, "the same")]

        await at_meeting.proxy.until_listening(session)
        streamed = asyncio.create_task(
            app.chat.completions.create(
                model=session, n=3, stream=True, messages=[{"role": "user", "content": "three, please"}]
            )
        )
        assert (await shown).text == "three, please"
        shown = person.start("all the same")
        texts, finishes = {0: "", 1: "", 2: ""}, {}
        async for chunk in await streamed:
            assert chunk.usage is None
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                finishes[choice.index] = choice.finish_reason
    assert texts == dict.fromkeys(range(3), "all the same")
    assert finishes == dict.fromkeys(range(3), "stop")
    await finish(at_meeting.proxy, session, shown)
