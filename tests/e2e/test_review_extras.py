"""Reviews of what a reply is beside its words: named later, of several choices, at a pace, one of many."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from openai.types.responses import Response

from motive_core.ir import Choice, TextPart
from tests.e2e.clients import Link, Said, Talker, openai_client
from tests.e2e.proxy import Proxy
from tests.e2e.reviewing import Speaker, reply_of, reviewer
from tests.e2e.standin import Standin

CALLS: Final = 50
CONFIG: Final[dict[str, Any]] = {
    "routes": [
        {"match": {"listener": "forward", "model": "paced-*"}, "answer": "review", "pace_tokens_per_s": 50},
        {"match": {"listener": "forward"}, "answer": "review"},
        {"answer": "pair", "relay_context": False},
    ]
}


@pytest.fixture(scope="module")
def shared_reviewing(
    tmp_path_factory: pytest.TempPathFactory, confdir: Path, upstream: dict[str, Any]
) -> Iterator[Proxy]:
    """A proxy whose forward proxy lets people review."""
    with Proxy(tmp_path_factory.mktemp("review"), confdir, config=CONFIG, **upstream) as proxy:
        yield proxy


@pytest.fixture
def meeting(shared_reviewing: Proxy, service: Standin) -> Link:
    """Where the person is."""
    return Link(shared_reviewing)


@pytest.fixture
def forward(shared_reviewing: Proxy, service: Standin, proxy_authority: Path) -> Link:
    """Where the app is."""
    return Link(shared_reviewing, proxy_authority)


async def ask(client: Any, *, streamed: bool, **call: Any) -> Response:
    if not streamed:
        response: Response = await client.responses.create(**call)
        return response
    async with client.responses.stream(**call) as stream:
        async for _ in stream:
            pass
        final: Response = await stream.get_final_response()
        return final


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_an_edited_response_is_the_one_that_is_gone_on_from(
    meeting: Link, forward: Link, service: Standin, session: str, *, streamed: bool
) -> None:
    """The service knows nothing of the edit, so it is told the conversation; of what was let go it is not."""
    Speaker(service, reply_of(TextPart("I attack.")))
    async with reviewer(meeting, session) as person, openai_client(forward) as client:

        async def turn(answer: str, **call: Any) -> Response:
            asked = asyncio.create_task(ask(client, streamed=streamed, model=session, store=True, **call))
            await person.shown()
            person.say(answer)
            return await asked

        first = await turn("I flee.", input="What now?")
        assert (first.id, first.output_text) == ("resp_real1", "I flee.")
        second = await turn("/send", input="And then?", previous_response_id=first.id)
        assert second.output_text == "I attack."
        asked = service.requests[-1].json()
        assert "previous_response_id" not in asked and "I flee." in str(asked["input"]) and "What now?" in str(asked)
    service.requests.clear()
    async with openai_client(forward) as client:
        await ask(client, streamed=streamed, model=session, store=True, input="More.", previous_response_id=second.id)
    assert len(service.requests) == 1


async def test_what_was_let_go_the_service_remembers_itself(
    meeting: Link, forward: Link, service: Standin, session: str
) -> None:
    speaker = Speaker(service, reply_of(TextPart("I attack.")))
    speaker.reply_id = session
    async with reviewer(meeting, session) as person, openai_client(forward) as client:
        for number, more in enumerate([{}, {"previous_response_id": f"resp_{session}"}]):
            call = ask(client, streamed=False, model=session, store=True, input=f"{number}?", **more)
            asked = asyncio.create_task(call)
            await person.shown()
            person.say("/send")
            assert (await asked).id == f"resp_{session}"
        assert service.requests[-1].json()["previous_response_id"] == f"resp_{session}"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_other_choices_are_the_services(
    meeting: Link, forward: Link, service: Standin, session: str, *, streamed: bool
) -> None:
    reply = reply_of(TextPart("one"))
    Speaker(service, replace(reply, choices=(*reply.choices, Choice((TextPart("two"),), "length"))))
    async with reviewer(meeting, session) as person, openai_client(forward) as client:
        for answer, first in (("/send", "one"), ("uno", "uno")):
            messages: Any = [{"role": "user", "content": answer}]
            create: Any = client.chat.completions.create
            asked = asyncio.create_task(create(model=session, messages=messages, n=2, stream=streamed))
            await person.shown()
            person.say(answer)
            texts, finishes = ["", ""], ["", ""]
            if streamed:
                async for chunk in await asked:
                    for choice in chunk.choices:
                        texts[choice.index] += choice.delta.content or ""
                        finishes[choice.index] = choice.finish_reason or finishes[choice.index]
            else:
                for choice in (await asked).choices:
                    texts[choice.index], finishes[choice.index] = choice.message.content, choice.finish_reason
            assert (texts, finishes) == ([first, "two"], ["stop", "length"])


async def test_a_pace_is_kept(meeting: Link, forward: Link, service: Standin, session: str) -> None:
    session = f"paced-{session}"
    text = "I attack the troll with my club, and then I run away as fast as I can."
    Speaker(service, reply_of(TextPart(text)))
    async with reviewer(meeting, session) as person, openai_client(forward) as client:
        messages: Any = [{"role": "user", "content": "What now?"}]
        asked = asyncio.create_task(client.chat.completions.create(model=session, messages=messages, stream=True))
        await person.shown()
        person.say("/send")
        pieces = [chunk.choices[0].delta.content async for chunk in await asked if chunk.choices]
        assert "".join(filter(None, pieces)) == text and len(list(filter(None, pieces))) > 10


async def test_many_at_once(meeting: Link, forward: Link, service: Standin, session: str) -> None:
    """Each is drafted by itself, and shown to the person in turn."""
    speaker = Speaker(service, reply_of(TextPart("I attack.")))
    async with reviewer(meeting, session) as person:
        apps = [Talker(forward, "openai" if n % 2 else "anthropic", session, streamed=n % 3 == 0) for n in range(CALLS)]
        asked: list[asyncio.Task[Said]] = [app.start(f"question {n}") for n, app in enumerate(apps)]
        expected: dict[str, str] = {}
        for turn in range(CALLS):
            prompt, draft = await person.shown()
            assert draft == "I attack."
            answer = f"answer {turn}" if turn % 2 else "/send"
            expected[prompt.rpartition("\n")[2]] = "I attack." if answer == "/send" else answer
            person.say(answer)
        heard = await asyncio.gather(*asked)
        assert {f"question {n}": said.text for n, said in enumerate(heard)} == expected
        assert speaker.asked == CALLS
