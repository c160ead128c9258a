"""The ``critique`` source through a real proxy and the vendors' SDKs: what the second model says is what they hear."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import Link, Talker, http_client, openai_client
from tests.e2e.critics import ARGUMENTS, critics, critics_standin, critique_proxy, model, speak, weather_call
from tests.e2e.proxy import Proxy
from tests.e2e.standin import Gate, Received, Standin, Writer, openai_chunks, stream
from tests.e2e.voices import VOICES, Picture, ToolSpec, Voice
from tests.e2e.voices.anthropic_messages import AnthropicMessagesVoice
from tests.e2e.voices.openai_chat import OpenAIChatVoice

__all__ = ["critics", "critics_standin", "critique_proxy"]

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
WEATHER = ToolSpec("weather", "Looks out.", {"type": "object", "properties": {"city": {"type": "string"}}})
HEADER = "x-motive-critique"

streamed = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def meeting(critique_proxy: Proxy) -> Link:
    return Link(critique_proxy)


@pytest.fixture
def forward(critique_proxy: Proxy, proxy_authority: Path) -> Link:
    return Link(critique_proxy, proxy_authority)


@streamed
@pytest.mark.parametrize("kind", VOICES, ids=lambda kind: kind.dialect)
async def test_every_sdk_hears_the_second_model(
    meeting: Link, service: Standin, critics: Standin, *, session: str, kind: type[Voice], streamed: bool
) -> None:
    service.handler = model(lambda asked: f"{asked['model']} says")
    voice = kind(meeting, f"refine-{session}", streamed=streamed)
    for turn in range(2):
        voice.add_user(f"Question {turn}?", *([Picture(PIXEL)] if kind.can.image_in == "native" else []))
        heard = await voice.send()
        assert heard.text == "second says"
        assert heard.finish == kind.finishes[0]
        assert (heard.input_tokens, heard.output_tokens) in ((20, 10), (None, None))
        assert heard.model in ("", f"refine-{session}")
    await voice.close()
    (first, second), (third, fourth) = ([one.json() for one in of.requests] for of in (service, critics))
    assert [one["model"] for one in (first, second, third, fourth)] == ["first", "first", "second", "second"]
    asked = fourth["messages"]
    assert asked[0] == {"role": "system", "content": "Judge it."}
    assert asked[-2] == {"role": "assistant", "content": "first says"}
    assert "Question 1?" in json.dumps(asked[:-2])
    if kind.can.image_in == "native":
        assert PIXEL in json.dumps(asked)
    assert {one.header("authorization") for one in service.requests} == {"Bearer sk-primary"}
    assert {one.header("authorization") for one in critics.requests} == {"Bearer sk-critic"}


@streamed
@pytest.mark.parametrize("kind", [OpenAIChatVoice, AnthropicMessagesVoice], ids=lambda kind: kind.dialect)
async def test_an_unmodified_app_is_answered_first_by_its_own_service(
    forward: Link, service: Standin, critics: Standin, *, session: str, kind: type[Voice], streamed: bool
) -> None:
    name = f"aside-{session}"
    voice = kind(forward, name, streamed=streamed, api_key="sk-app-secret")
    voice.add_user("Who goes there?")
    assert (await voice.send()).text == "second says"
    await voice.close()
    (real,), (critic,) = service.requests, critics.requests
    assert real.host == ("api.openai.com" if kind is OpenAIChatVoice else "api.anthropic.com")
    assert "sk-app-secret" in (real.header("authorization"), real.header("x-api-key"), *_bearer(real))
    assert real.json()["messages"] == voice.history[:1]  # type: ignore[attr-defined]  # both have one
    assert critic.header("authorization") == "Bearer sk-critic"
    assert b"sk-app-secret" not in critic.head + critic.body
    assert critic.json()["messages"][-2]["content"] == f"real {name}"


def _bearer(request: Received) -> list[str]:
    return [(request.header("authorization") or "").removeprefix("Bearer ")]


@streamed
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_a_critic_at_the_apps_own_service(
    forward: Link, service: Standin, critics: Standin, *, session: str, dialect: Any, streamed: bool
) -> None:
    app = Talker(forward, dialect, f"own-{session}", streamed=streamed, api_key="sk-app-secret")
    assert (await app.say("Who goes there?")).text == "real second"
    first, second = service.requests
    assert (first.json()["model"], second.json()["model"]) == (f"own-{session}", "second")
    for name in ("host", "authorization", "x-api-key"):
        assert first.header(name) == second.header(name)
    assert not critics.requests


@streamed
@pytest.mark.parametrize("kind", [one for one in VOICES if one.can.calls == "native"], ids=lambda kind: kind.dialect)
async def test_tool_calls_survive(
    meeting: Link, service: Standin, critics: Standin, *, session: str, kind: type[Voice], streamed: bool
) -> None:
    service.handler = model(
        lambda asked: weather_call() if asked["messages"][-1]["role"] == "user" else "It rains, first says."
    )
    voice = kind(meeting, f"refine-{session}", streamed=streamed)
    voice.offer([WEATHER])
    voice.add_user("How is it outside?")
    heard = await voice.send()
    assert heard.text == "One moment."
    assert [(call.name, call.value) for call in heard.calls] == [("weather", json.loads(ARGUMENTS))]
    assert heard.finish == kind.finishes[1]
    assert not critics.requests
    voice.add_results([(heard.calls[0], "rain")])
    assert (await voice.send()).text == "second says"
    await voice.close()
    (asked,) = [one.json() for one in critics.requests]
    assert not asked.get("tools")
    assert [one["role"] for one in asked["messages"]] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert "[tool call weather" in asked["messages"][2]["content"]
    assert "rain" in asked["messages"][3]["content"]


@streamed
async def test_with_feedback_the_primary_writes_again(
    meeting: Link, service: Standin, critics: Standin, session: str, streamed: bool
) -> None:
    service.handler = model(lambda asked: f"draft {len(asked['messages'])}")
    critics.handler = model(lambda asked: "Too short.")
    app = Talker(meeting, "anthropic", f"feedback-{session}", streamed=streamed)
    said = await app.say("Who goes there?")
    assert (said.text, said.input_tokens, said.output_tokens) == ("draft 3", 30, 15)
    asked = service.requests[1].json()["messages"]
    assert asked[1] == {"role": "assistant", "content": "draft 1"}
    assert "Too short." in asked[2]["content"]


@streamed
async def test_three_steps_at_services_of_their_own(
    meeting: Link, service: Standin, critics: Standin, session: str, streamed: bool
) -> None:
    service.handler = model(lambda asked: f"first {len(asked['messages'])}")
    async with openai_client(meeting) as client:
        raw: Any = await client.chat.completions.with_raw_response.create(
            model=f"three-{session}", messages=[{"role": "user", "content": "Hi"}], stream=streamed
        )
        assert raw.headers[HEADER] == "refined, rewritten, refined"
        reply = raw.parse()
        if streamed:
            text = "".join([one.choices[0].delta.content or "" async for one in reply if one.choices])
        else:
            text = reply.choices[0].message.content
            assert reply.usage.total_tokens == 5 * 15
    assert text == "third says"
    second, claude, third = critics.requests
    assert claude.target == "/v1/messages" and claude.header("x-api-key") == "sk-critic"
    assert second.json()["messages"][-2]["content"] == "first 1"
    assert "second says" in json.dumps(claude.json()["messages"])
    assert third.json()["messages"][-2]["content"] == "first 3"
    assert "claude says" in json.dumps(service.requests[1].json())


@streamed
async def test_without_a_critic_the_primary_is_relayed(
    meeting: Link, service: Standin, session: str, streamed: bool
) -> None:
    service.handler = model(lambda asked: "first says")
    async with http_client(meeting) as client:
        body = {"model": f"plain-{session}", "messages": [{"role": "user", "content": "Hi"}], "stream": streamed}
        reply = await client.post("/v1/chat/completions", json=body)
    assert reply.headers[HEADER] == "skipped"


async def test_the_first_token_of_the_second_model_is_here_before_its_second_one_is_sent(
    meeting: Link, service: Standin, critics: Standin, session: str
) -> None:
    gate = Gate()
    chunks = openai_chunks("ab", "second")

    def slow(request: Received, writer: Writer) -> None:
        def said() -> Any:
            yield from chunks[:2]
            gate.wait()
            yield from chunks[2:]

        stream(writer, said())

    service.handler = model(lambda asked: "draft")
    critics.handler = slow
    async with openai_client(meeting) as client:
        reply = await client.chat.completions.create(
            model=f"refine-{session}", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        async with asyncio.timeout(20):
            words = [one.choices[0].delta.content async for one in _until_word(reply)]
            gate.open()
            words += [one.choices[0].delta.content async for one in reply if one.choices]
    assert [word for word in words if word] == ["a", "b"]


async def _until_word(chunks: Any) -> Any:
    async for chunk in chunks:
        yield chunk
        if chunk.choices and chunk.choices[0].delta.content:
            return


@streamed
@pytest.mark.parametrize("kind", [OpenAIChatVoice, AnthropicMessagesVoice], ids=lambda kind: kind.dialect)
async def test_an_impatient_client_waits_for_a_primary_that_thinks(
    meeting: Link, service: Standin, critics: Standin, *, session: str, kind: type[Voice], streamed: bool
) -> None:
    """What is time here is the subject: the client waits one second for a byte, and the primary takes three."""
    gate = Gate()

    def thinks(request: Received, writer: Writer) -> None:
        gate.wait()
        speak(request.json(), "draft", writer)

    service.handler = thinks
    voice = kind(meeting, f"refine-{session}", streamed=streamed, patience_s=1.0)
    voice.add_user("Who goes there?")
    asked = asyncio.create_task(voice.send())
    await asyncio.sleep(3.0)
    assert not asked.done()
    gate.open()
    assert (await asked).text == "second says"
    await voice.close()


async def test_fifty_calls_at_once(meeting: Link, service: Standin, critics: Standin, session: str) -> None:
    service.handler = model(lambda asked: f"draft of {asked['messages'][0]['content']}")
    critics.handler = model(lambda asked: f"better {asked['messages'][-2]['content']}")
    apps = [
        Talker(meeting, "openai" if n % 2 else "anthropic", f"refine-{session}", streamed=n % 3 == 0) for n in range(50)
    ]
    said = await asyncio.gather(*[app.say(f"call {n}") for n, app in enumerate(apps)])
    assert [one.text for one in said] == [f"better draft of call {n}" for n in range(50)]
    assert {(one.input_tokens, one.output_tokens) for one in said} == {(20, 10)}
