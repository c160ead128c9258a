"""What happens to a turn when clients hang up, lose patience, come back, or are too many."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.e2e.clients import (
    DIALECTS,
    DialectName,
    Link,
    Said,
    Talker,
    anthropic_client,
    finish,
    hang_up,
    openai_client,
)
from tests.e2e.proxy import Proxy, held_calls
from tests.e2e.wire import RawClient, chat, request


async def join(link: Link, session: str, **settings: Any) -> tuple[Talker, asyncio.Task[Said]]:
    person = Talker(link, "openai", session, api_key="sk-human", **settings)
    shown = person.start("/join")
    await link.proxy.until_listening(session)
    return person, shown


async def give_up(call: asyncio.Task[Any]) -> None:
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


@pytest.mark.parametrize("half", [False, True], ids=["close", "half-close"])
def test_person_who_hangs_up_listens_no_more(proxy: Proxy, session: str, *, half: bool) -> None:
    with RawClient(proxy.meeting_address) as client:
        client.send(request(body=chat(session, "/join")))
        asyncio.run(proxy.until_listening(session))
        if half:
            client.half_close()
            asyncio.run(proxy.until(session, lambda told: not told.get("listening")))
    asyncio.run(proxy.until(session, lambda told: not told.get("listening")))


async def test_prompt_waits_for_the_person_to_return(at_meeting: Link, session: str) -> None:
    person, shown = await join(at_meeting, session)
    await hang_up(at_meeting.proxy, session, shown)
    asked = Talker(at_meeting, "anthropic", session).start("are you there?")
    await at_meeting.proxy.until_prompts(session)
    assert (await person.say("/join")).text == "are you there?"
    waiting = person.start("I am.")
    assert (await asked).text == "I am."
    await finish(at_meeting.proxy, session, waiting)


async def test_app_that_hangs_up_keeps_its_place(at_meeting: Link, session: str) -> None:
    """Its prompt is not shown while nobody waits for an answer, and shown when it comes again."""
    app = Talker(at_meeting, "anthropic", session)
    asked = app.start("first try")
    await at_meeting.proxy.until_held(session)
    await give_up(asked)
    told = await at_meeting.proxy.until(session, lambda told: told and not held_calls(told))
    assert [prompt["state"] for prompt in told["prompts"]] == ["open"]
    person, shown = await join(at_meeting, session)
    app.history.clear()
    asked = app.start("first try")
    assert (await shown).text == "first try"
    shown = person.start("second time lucky")
    assert (await asked).text == "second time lucky"
    await finish(at_meeting.proxy, session, shown)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_prompt_is_shown_once_however_often_the_sdk_tries(
    at_meeting: Link, session: str, dialect: DialectName, *, streamed: bool
) -> None:
    """The client's limit is far below what a person needs, and it may be told nothing in between."""
    session = f"silent-{session}"
    person, shown = await join(at_meeting, session)
    app = Talker(at_meeting, dialect, session, streamed, options={"timeout": 1.0, "max_retries": 20})
    asked = app.start("take your time")
    assert (await shown).text == "take your time"
    first = held_calls(await at_meeting.proxy.until_prompts(session))[0]["call"]
    later = await at_meeting.proxy.until(
        session, lambda told: [one for one in held_calls(told) if one["call"] != first]
    )
    assert len(later["prompts"]) == 1
    shown = person.start("I did.")
    assert (await asked).text == "I did."
    asked = app.start("the next one")
    assert (await shown).text == "the next one"
    shown = person.start("right")
    assert (await asked).text == "right"
    await finish(at_meeting.proxy, session, shown)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_late_answer_is_for_the_retry_alone(at_meeting: Link, session: str, dialect: DialectName) -> None:
    """Who asks again gets the answer that came too late; who asks something else never does."""
    proxy = at_meeting.proxy
    person, shown = await join(at_meeting, session)
    app = Talker(at_meeting, dialect, session)
    asked = app.start("question")
    assert (await shown).text == "question"
    await give_up(asked)
    await proxy.until(session, lambda told: not held_calls(told))
    shown = person.start("late answer")
    await proxy.until_listening(session)

    app.history = []
    asked = app.start("another question")
    assert (await shown).text == "another question"
    shown = person.start("another answer")
    assert (await asked).text == "another answer"

    app.history = []
    assert (await app.say("question")).text == "late answer"
    await finish(proxy, session, shown)


async def test_author_of_an_answer_that_nobody_fetched_is_told(at_meeting: Link, session: str) -> None:
    """In sessions called ``hasty`` an app has a moment to come back: see ``rules``."""
    session = f"hasty-{session}"
    person, shown = await join(at_meeting, session)
    asked = Talker(at_meeting, "openai", session).start("question")
    await shown
    await give_up(asked)
    await at_meeting.proxy.until(session, lambda told: not held_calls(told))
    assert "not delivered" in (await person.say("too late")).text


async def test_second_call_of_a_listening_person_ends_the_first(at_meeting: Link, session: str) -> None:
    """Nobody hears an echo."""
    _, shown = await join(at_meeting, session)
    again = Talker(at_meeting, "openai", session, api_key="sk-human", options={"max_retries": 3})
    shown_again = again.start("/join")
    with pytest.raises(openai.ConflictError, match="newer call") as ended:
        await shown
    assert ended.value.response.headers["x-should-retry"] == "false"
    asked = Talker(at_meeting, "anthropic", session).start("hello?")
    assert (await shown_again).text == "hello?"
    shown = again.start("hello!")
    assert (await asked).text == "hello!"
    await finish(at_meeting.proxy, session, shown)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_third_client_is_refused(at_meeting: Link, session: str, dialect: DialectName) -> None:
    person, shown = await join(at_meeting, session)
    asked = Talker(at_meeting, "openai", session, api_key="sk-app").start("question")
    await shown
    third = Talker(at_meeting, dialect, session, api_key="sk-third", options={"max_retries": 3})
    with pytest.raises((openai.ConflictError, anthropic.ConflictError), match="both its clients"):
        await third.say("let me in")
    waiting = person.start("answer")
    assert (await asked).text == "answer"
    await finish(at_meeting.proxy, session, waiting)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_nobody_answers_in_time(at_meeting: Link, session: str, dialect: DialectName, *, streamed: bool) -> None:
    """One clear error, which the SDK does not take for a reason to try again. In sessions called
    ``short`` a call is held for a moment: see ``rules``."""
    sent: list[httpx.Request] = []

    async def count(request: Any) -> None:
        sent.append(request)

    link_options = at_meeting.http_options() | {"event_hooks": {"request": [count]}}
    call: dict[str, Any] = {"model": f"short-{session}", "messages": [{"role": "user", "content": "anybody?"}]}
    settings: dict[str, Any] = {"api_key": "x", "max_retries": 5, "base_url": at_meeting.base_url(dialect)}
    told: Any
    if dialect == "openai":
        http = openai.DefaultAsyncHttpxClient(**link_options)
        async with openai.AsyncOpenAI(http_client=http, **settings) as client:
            with pytest.raises(openai.InternalServerError) as timeout:
                await client.chat.completions.create(stream=streamed, **call)
        told = timeout.value
        assert told.code == "hold_timeout"
    else:
        other_http = anthropic.DefaultAsyncHttpxClient(**link_options)
        async with anthropic.AsyncAnthropic(http_client=other_http, **settings) as other_client:
            with pytest.raises(anthropic.InternalServerError) as slow:
                await other_client.messages.create(stream=streamed, max_tokens=9, **call)
        told = slow.value
        assert told.body["type"] == "error"
    assert told.status_code == 504
    assert len(sent) == 1


async def test_nothing_to_answer_in_time(at_meeting: Link, session: str) -> None:
    async with anthropic_client(at_meeting, max_retries=5) as client:
        with pytest.raises(anthropic.InternalServerError, match="No prompt came in time"):
            await client.messages.create(
                model=f"short-{session}", max_tokens=9, messages=[{"role": "user", "content": "/join"}]
            )


async def test_finished_session_starts_afresh(at_meeting: Link, session: str) -> None:
    for _ in range(2):
        person, shown = await join(at_meeting, session)
        app = Talker(at_meeting, "anthropic", session)
        asked = app.start("question")
        assert (await shown).text == "question"
        waiting = person.start("answer")
        assert (await asked).text == "answer"
        asked = app.start("unanswered")
        assert (await waiting).text == "unanswered"
        await at_meeting.proxy.close_session(session)
        with pytest.raises(anthropic.APIStatusError):
            await asked
        assert session not in await at_meeting.proxy.sessions()


async def test_queue_that_is_full(at_meeting: Link, session: str) -> None:
    """Sessions called ``brief`` let two prompts wait: see ``rules``."""
    session = f"brief-{session}"
    async with openai_client(at_meeting, max_retries=0) as app:

        async def ask(words: str) -> str | None:
            reply = await app.chat.completions.create(
                model=session,
                messages=[{"role": "system", "content": "You answer."}, {"role": "user", "content": words}],
            )
            return reply.choices[0].message.content

        waiting = [asyncio.create_task(ask(words)) for words in ("one", "two")]
        await at_meeting.proxy.until_prompts(session, 2)
        with pytest.raises(openai.RateLimitError) as full:
            await ask("three")
        headers = full.value.response.headers
        assert headers["retry-after"] == "5" and "x-should-retry" not in headers
        await at_meeting.proxy.close_session(session)
        for call in waiting:
            with pytest.raises(openai.APIStatusError):
                await call
