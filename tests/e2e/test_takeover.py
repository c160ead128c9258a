"""Transparent takeover: an app that knows only a proxy and a certificate, and a person who sits down in its session."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import (
    DIALECTS,
    MAX_TOKENS,
    DialectName,
    Link,
    Said,
    Talker,
    anthropic_client,
    finish,
    hang_up,
    openai_client,
)
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy, held_calls
from tests.e2e.standin import Standin

GUARD = "You are {name}, a guard of the castle."


@pytest.fixture
def model(session: str) -> str:
    """A model whose sessions forget a person that hangs up within a moment: see ``rules``."""
    return f"hasty-{session}"


async def join(
    link: Link, model: str, dialect: DialectName = "openai", **settings: Any
) -> tuple[Talker, asyncio.Task[Said]]:
    """A person sits down in a session at the meeting point."""
    person = Talker(link, dialect, model, api_key="sk-human", **settings)
    waiting = person.start("/join")
    await link.proxy.until_listening(model)
    return person, waiting


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_person_takes_over_and_gives_back(
    at_meeting: Link, through_proxy: Link, service: Standin, model: str, dialect: DialectName, *, streamed: bool
) -> None:
    app = Talker(through_proxy, dialect, model, streamed, sync=streamed)
    assert (await app.say("one")).text == f"real {model}"

    person, shown = await join(at_meeting, model, dialect="anthropic" if dialect == "openai" else "openai")
    passed = len(service.requests)
    asked = app.start("two")
    assert (await shown).text.endswith("two")
    shown = person.start("I am no machine.\n\tReally.")
    answered = await asked
    assert answered.text == "I am no machine.\n\tReally."
    assert answered.model == model
    asked = app.start("three")
    assert (await shown).text == "three"
    shown = person.start("Not at all.")
    assert (await asked).text == "Not at all."
    await at_meeting.proxy.until_listening(model)
    assert len(service.requests) == passed

    await hang_up(at_meeting.proxy, model, shown)
    await at_meeting.proxy.until(model, lambda told: not any(one["present"] for one in answerers(told)))
    assert (await app.say("four")).text == f"real {model}"
    last = service.requests[-1].json()["messages"]
    assert [message["content"] for message in last if message["role"] == "assistant"] == [
        f"real {model}",
        "I am no machine.\n\tReally.",
        "Not at all.",
    ]

    person, shown = await join(at_meeting, model)
    asked = app.start("five")
    assert (await shown).text.endswith("five")
    shown = person.start("Here again.")
    assert (await asked).text == "Here again."
    await finish(at_meeting.proxy, model, shown)


def answerers(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in told.get("participants", ()) if one["role"] == "answerer"]


async def test_a_person_who_says_goodbye_is_gone_at_once(at_meeting: Link, through_proxy: Link, session: str) -> None:
    person, shown = await join(at_meeting, session)
    app = Talker(through_proxy, "openai", session)
    asked = app.start("hello?")
    await shown
    goodbye = await person.say("/leave")
    assert "left" in goodbye.text
    assert (await asked).text == f"real {session}"
    assert (await app.say("still there?")).text == f"real {session}"


async def test_another_agent_with_the_same_model_is_not_disturbed(
    at_meeting: Link, through_proxy: Link, session: str
) -> None:
    """Told apart by their system prompts, by a route of the configuration; the route names the session."""
    name = f"N{session[2:]}"
    guard = {"role": "system", "content": GUARD.format(name=name)}
    other = {"role": "system", "content": GUARD.format(name=f"{name}x")}
    taken = Talker(through_proxy, "openai", "gpt-4o", history=[guard])
    passing = Talker(through_proxy, "openai", "gpt-4o", history=[other])
    assert (await taken.say("hello")).text == "real gpt-4o"

    person, shown = await join(at_meeting, f"npc-{name}")
    asked = taken.start("who are you?")
    assert (await shown).text.endswith("who are you?")
    assert (await passing.say("who are you?")).text == "real gpt-4o"
    shown = person.start(f"I am {name}.")
    answered = await asked
    assert (answered.text, answered.model) == (f"I am {name}.", "gpt-4o")
    assert (await passing.say("and now?")).text == "real gpt-4o"
    await finish(at_meeting.proxy, f"npc-{name}", shown)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("dialect", "http2"), [("openai", False), ("openai", True), ("anthropic", True)])
async def test_parallel_calls_are_answered_one_by_one(
    at_meeting: Link,
    proxy: Proxy,
    proxy_authority: Path,
    session: str,
    dialect: DialectName,
    *,
    http2: bool,
    streamed: bool,
) -> None:
    person, shown = await join(at_meeting, session)
    link = Link(proxy, proxy_authority, http2=http2)
    async with parallel_calls(link, dialect, session, streamed=streamed) as calls:
        await proxy.until(session, lambda told: len(held_calls(told)) == calls.count)
        seen = []
        for _ in range(calls.count):
            prompt = (await shown).text
            seen.append(prompt.rpartition(" ")[2])
            shown = person.start(f"answer to {seen[-1]}")
        assert sorted(seen, key=int) == [str(number) for number in range(calls.count)]
        assert await calls.texts() == [f"answer to {number}" for number in range(calls.count)]
    await finish(proxy, session, shown)


class parallel_calls:  # a context, used as one
    """Twenty calls at once by one client; over HTTP/2 it has one connection."""

    count = 20

    def __init__(self, link: Link, dialect: DialectName, model: str, *, streamed: bool) -> None:
        self._link, self._dialect, self._model, self._streamed = link, dialect, model, streamed
        self._tasks: list[asyncio.Task[str]] = []

    async def __aenter__(self) -> parallel_calls:
        self._client: Any = (openai_client if self._dialect == "openai" else anthropic_client)(self._link)
        client = await self._client.__aenter__()
        if self._link.http2:
            await client.models.list()  # so that there is a connection to share
        self._tasks = [asyncio.create_task(self._call(client, number)) for number in range(self.count)]
        return self

    async def __aexit__(self, *error: Any) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.__aexit__(*error)

    async def texts(self) -> list[str]:
        return await asyncio.gather(*self._tasks)

    async def _call(self, client: Any, number: int) -> str:
        call = {"model": self._model, "messages": [{"role": "user", "content": f"question {number}"}]}
        if self._dialect == "openai":
            reply = await client.chat.completions.create(stream=self._streamed, **call)
            if not self._streamed:
                return str(reply.choices[0].message.content)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in reply])
        if not self._streamed:
            return str((await client.messages.create(max_tokens=MAX_TOKENS, **call)).content[0].text)
        async with client.messages.stream(max_tokens=MAX_TOKENS, **call) as events:
            return "".join([piece async for piece in events.text_stream])


APP = """
import sys, openai, anthropic
call = {"model": sys.argv[1], "messages": [{"role": "user", "content": "hi"}]}
for _ in sys.stdin:
    reply = openai.OpenAI().chat.completions.create(**call)
    print(reply.choices[0].message.content, flush=True)
    message = anthropic.Anthropic().messages.create(max_tokens=9, **call)
    print(message.content[0].text, flush=True)
"""


async def test_app_that_has_only_environment_variables(
    at_meeting: Link, proxy: Proxy, proxy_authority: Path, session: str
) -> None:
    """Its code knows nothing of a proxy: neither before nor after somebody takes over."""
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env |= {"HTTPS_PROXY": proxy.forward, "SSL_CERT_FILE": str(proxy_authority)}
    env |= {"OPENAI_API_KEY": "sk-app", "ANTHROPIC_API_KEY": "sk-ant-app", "PYTHONUNBUFFERED": "1"}
    with started([sys.executable, "-c", APP, session], env) as app:
        assert app.stdin is not None
        assert app.stdout is not None
        try:
            app.stdin.write(b"go\n")
            app.stdin.flush()
            for _ in range(2):
                assert await asyncio.to_thread(app.stdout.readline) == f"real {session}\n".encode()
            person, shown = await join(at_meeting, session)
            app.stdin.write(b"go\n")
            app.stdin.flush()
            for number in range(2):
                assert (await shown).text == "hi"
                shown = person.start(f"answer {number}")
                assert await asyncio.to_thread(app.stdout.readline) == f"answer {number}\n".encode()
            app.stdin.close()
            assert await asyncio.to_thread(app.wait) == 0
        finally:
            app.kill()
    await finish(proxy, session, shown)


def started(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


async def test_two_people_in_one_session(at_meeting: Link, through_proxy: Link, session: str) -> None:
    """The second one is told that the seat is taken, and disturbs nobody."""
    person, shown = await join(at_meeting, session)
    app = Talker(through_proxy, "openai", session)
    asked = app.start("hello?")
    assert (await shown).text == "hello?"
    late = Talker(at_meeting, "anthropic", session, api_key="sk-late")
    with pytest.raises(Exception, match="has both its clients") as refused:
        await late.say("/join")
    assert getattr(refused.value, "status_code", None) == 409
    shown = person.start("hello!")
    assert (await asked).text == "hello!"
    await finish(at_meeting.proxy, session, shown)


async def test_real_service_behind_the_meeting_point(start_proxy: StartProxy, service: Standin, session: str) -> None:
    """An app that has a base URL only is taken over in the same way, if the configuration names its service."""
    services = {"openai-chat": "https://api.openai.com/base/", "anthropic-messages": "http://example.org:8080"}
    proxy = start_proxy(config={"services": services, "routes": [{"when": "joined"}]})
    link = Link(proxy)
    app, other = Talker(link, "openai", session, streamed=True), Talker(link, "anthropic", session)
    assert (await app.say("one")).text == f"real {session}"
    assert (await other.say("one")).text == f"real {session}"
    first, second = service.requests
    assert (first.target, first.host, first.header("host")) == (
        "/base/v1/chat/completions",
        "api.openai.com",
        "api.openai.com",
    )
    assert (second.target, second.header("host")) == ("/v1/messages", "example.org:8080")
    assert first.header("authorization") == "Bearer sk-test"

    person = Talker(link, "anthropic", session, api_key="sk-human")
    shown = person.start("/join")
    await proxy.until_listening(session)
    asked = app.start("two")
    assert (await shown).text.endswith("two")
    goodbye = person.start("/leave")
    assert (await asked).text == f"real {session}"
    assert "left" in (await goodbye).text
    assert (await app.say("three")).text == f"real {session}"
