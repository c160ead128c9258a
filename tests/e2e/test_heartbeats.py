"""A slow person behind impatient clients: nobody gives up, for as long as the call is held.

What is time in these tests is their subject: how long a client waits for a byte, and how long the person takes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anthropic
import openai
import pytest

from tests.e2e.clients import Link, Talker, anthropic_client, finish, http_client, openai_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import Proxy, held_calls
from tests.e2e.standin import Gate, Received, Standin, Writer
from tests.e2e.voices import HOST_VOICES, VOICES, Voice

PATIENCE_S: Final = 2.0
"""How long a client waits for a byte."""
THINKING_S: Final = 5.0
"""How long the person takes."""
MADE_UP: Final = 1.0
ANSWER: Final = "I see\n\n\ta troll — 世界!  "

CONFIG: Final[dict[str, Any]] = {
    "timing": {"heartbeat_every_s": 0.5},
    # Clients that do not tell how long they wait; by default, they wait for longer than a test may take.
    "extra_heartbeat_clients": [
        {"name": one, "match": {"user_agent": agent}, "whole": True, "read_timeout_s": MADE_UP}
        for one, agent in {
            "boto3": r"\ABoto3/",
            "cohere": r"\Acohere/",
            "mistral": r"\Amistral-client-python/",
            "ollama": r"\Aollama-python/",
        }.items()
    ],
    "routes": [
        {"match": {"listener": "reverse", "model": "short-*"}, "hold_timeout_s": 2.0, "handshake_timeout_s": 2.0},
        {"match": {"listener": "reverse", "model": "silent-*"}, "heartbeats": "off"},
        {"match": {"listener": "reverse", "model": "streams-*"}, "heartbeats": "stream"},
        {"match": {"listener": "forward"}, "when": "joined", "hold_timeout_s": 2.0, "on_timeout": "pass"},
        {"match": {"listener": "reverse"}},
    ],
}


@pytest.fixture(scope="module")
def beating(
    tmp_path_factory: pytest.TempPathFactory, confdir: Path, upstream: dict[str, Any], shared_standin: Standin
) -> Iterator[Proxy]:
    """A proxy whose held calls soon show signs of life."""
    with Proxy(tmp_path_factory.mktemp("beating"), confdir, config=CONFIG, **upstream) as proxy:
        yield proxy


@asynccontextmanager
async def asking(proxy: Proxy, kind: type[Voice], session: str, *, streamed: bool) -> AsyncIterator[Any]:
    """An app whose call is held: its voice and the call."""
    voice = kind(Link(proxy), f"{session}@asker", streamed=streamed, patience_s=PATIENCE_S)
    voice.add_user("You see a troll.")
    call = asyncio.create_task(voice.send())
    try:
        await proxy.until_prompts(session)
        yield call
    finally:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await voice.close()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", [*VOICES, *HOST_VOICES], ids=lambda kind: kind.__name__.removesuffix("Voice"))
async def test_every_sdk_waits(beating: Proxy, session: str, kind: type[Voice], streamed: bool) -> None:
    async with asking(beating, kind, session, streamed=streamed) as call:
        [first] = held_calls((await beating.sessions())[session])
        await asyncio.sleep(THINKING_S)
        assert not call.done(), call
        [still] = held_calls((await beating.sessions())[session])
        assert still["call"] == first["call"]  # it never had to try again
        person = Talker(Link(beating), "openai", f"{session}@answerer", api_key="sk-human")
        assert (await person.say("/join")).text == "You see a troll."
        listening = person.start(ANSWER)
        assert (await call).text == ANSWER
        await finish(beating, session, listening)


async def test_without_signs_of_life_it_gives_up(beating: Proxy, session: str) -> None:
    """What the others would do."""
    async with openai_client(Link(beating), timeout=0.5) as client:
        for stream in (True, False):
            for name, model in (("silent", f"silent-{session}"), ("streams", f"streams-{session}")):
                if stream and name == "streams":
                    continue
                with pytest.raises(openai.APITimeoutError):
                    await client.chat.completions.create(
                        model=f"{model}@asker", messages=[{"role": "user", "content": "Hello?"}], stream=stream
                    )


async def test_the_answerer_waits_as_well(beating: Proxy, session: str) -> None:
    person = Talker(Link(beating), "openai", f"{session}@answerer", streamed=True, options={"timeout": PATIENCE_S})
    shown = person.start("/join")
    await beating.until_listening(session)
    await asyncio.sleep(THINKING_S)
    assert not shown.done()
    app = Talker(Link(beating), "anthropic", f"{session}@asker")
    asked = app.start("You see a troll.")
    assert (await shown).text == "You see a troll."
    listening = person.start(ANSWER)
    assert (await asked).text == ANSWER
    await finish(beating, session, listening)


class TestErrors:
    """The time is over after the head is out."""

    async def test_openai(self, beating: Proxy, session: str) -> None:
        async with openai_client(Link(beating), timeout=1.0) as client:
            stream = await client.chat.completions.create(
                model=f"short-{session}", messages=[{"role": "user", "content": "Hello?"}], stream=True
            )
            with pytest.raises(openai.APIError, match="Nobody answered in time"):
                await anext(aiter(stream))

    async def test_anthropic(self, beating: Proxy, session: str) -> None:
        async with anthropic_client(Link(beating), timeout=1.0) as client:
            stream = await client.messages.create(
                model=f"short-{session}",
                max_tokens=9,
                messages=[{"role": "user", "content": "Hello?"}],
                stream=True,
            )
            with pytest.raises(anthropic.APIStatusError, match="Nobody answered in time"):
                await anext(aiter(stream))

    @pytest.mark.parametrize("kind", [one for one in VOICES if one.dialect != "cohere-chat"])
    async def test_every_other_sdk_raises(self, beating: Proxy, session: str, kind: type[Voice]) -> None:
        voice = kind(Link(beating), f"short-{session}", streamed=True, patience_s=1.0)
        voice.add_user("Hello?")
        with pytest.raises(Exception, match="Nobody answered in time"):
            await voice.send()
        await voice.close()

    async def test_a_whole_reply_is_the_error(self, beating: Proxy, session: str) -> None:
        async with http_client(Link(beating)) as client:
            reply = await client.post(
                "/v1/chat/completions",
                json={"model": f"short-{session}", "messages": [{"role": "user", "content": "Hello?"}]},
                headers={"user-agent": "OpenAI/Python 3.52.0", "x-stainless-read-timeout": "1"},
            )
        assert reply.status_code == 200 and reply.text.startswith(" ")
        assert reply.json()["error"]["code"] == "hold_timeout"


class TestPassedOn:
    """The time is over after the head is out, and the real service answers after all."""

    async def join(self, proxy: Proxy, session: str) -> tuple[Talker, asyncio.Task[Any]]:
        person = Talker(Link(proxy), "openai", session, api_key="sk-human")
        shown = person.start("/join")
        await proxy.until_listening(session)
        return person, shown

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    async def test_to_the_app(
        self, beating: Proxy, proxy_authority: Path, service: Standin, session: str, stream: bool
    ) -> None:
        _, shown = await self.join(beating, session)
        app = Talker(
            Link(beating, proxy_authority), "openai", session, streamed=stream, options={"timeout": 1.0}, api_key="sk-1"
        )
        said = await app.say("You see a troll.")
        [request] = service.requests
        assert request.host == "api.openai.com" and request.header("authorization") == "Bearer sk-1"
        assert request.json()["messages"] == [{"role": "user", "content": "You see a troll."}]
        assert said.text and (await shown).text == "You see a troll."
        assert service.requests == [request]

    async def test_piece_by_piece(self, beating: Proxy, proxy_authority: Path, service: Standin, session: str) -> None:
        gate = Gate()

        def answer(_: Received, writer: Writer) -> None:
            writer.start(200, [("content-type", "text/event-stream")])
            for number, piece in enumerate(("One", " two")):
                chunk = {"choices": [{"index": 0, "delta": {"content": piece}}]}
                writer.send(f"data: {json.dumps(chunk)}\n\n".encode())
                if number == 0:
                    gate.wait()
            writer.send(b"data: [DONE]\n\n")
            writer.end()

        service.handler = answer
        _, shown = await self.join(beating, session)
        async with openai_client(Link(beating, proxy_authority)) as client:
            stream = await client.chat.completions.create(
                model=session,
                messages=[{"role": "user", "content": "Count."}],
                stream=True,
                extra_headers={"x-stainless-read-timeout": "1"},
            )
            pieces = aiter(stream)
            first = await anext(pieces)
            gate.open()
            rest = [chunk async for chunk in pieces]
        assert first.choices[0].delta.content == "One"
        assert [chunk.choices[0].delta.content for chunk in rest] == [" two"]
        await shown

    async def test_an_error_of_the_service(
        self, beating: Proxy, proxy_authority: Path, service: Standin, session: str
    ) -> None:
        def answer(_: Received, writer: Writer) -> None:
            writer.start(429, [("content-type", "application/json")])
            writer.send(b'{"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}')
            writer.end()

        service.handler = answer
        _, shown = await self.join(beating, session)
        async with openai_client(Link(beating, proxy_authority), timeout=1.0) as client:
            stream = await client.chat.completions.create(
                model=session, messages=[{"role": "user", "content": "Count."}], stream=True
            )
            with pytest.raises(openai.APIError, match="Slow down"):
                await anext(aiter(stream))
        await shown


async def test_a_client_that_leaves_while_it_is_kept_alive(beating: Proxy, session: str) -> None:
    async with asking(beating, VOICES[0], session, streamed=True):
        await asyncio.sleep(1.5)
    await beating.until(session, lambda told: told and not held_calls(told))
    person = Talker(Link(beating), "openai", f"{session}@answerer", api_key="sk-human")
    shown = person.start("/join")
    # Its prompt was never seen: it waits for the app's return.
    await beating.until_listening(session)
    async with asking(beating, VOICES[0], session, streamed=True) as call:
        assert (await shown).text == "You see a troll."
        listening = person.start(ANSWER)
        assert (await call).text == ANSWER
    await finish(beating, session, listening)


async def test_shutdown_tells_calls_that_are_kept_alive(start_proxy: StartProxy, session: str) -> None:
    proxy = start_proxy(config=CONFIG)
    async with openai_client(Link(proxy), timeout=1.0) as client:
        stream = await client.chat.completions.create(
            model=session, messages=[{"role": "user", "content": "Hello?"}], stream=True
        )
        ending = asyncio.create_task(asyncio.to_thread(proxy.terminate))
        with pytest.raises(openai.APIError, match="shutting down"):
            await anext(aiter(stream))
        await ending
