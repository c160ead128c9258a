"""A search API as the answerer of every dialect, through a real proxy and the vendors' SDKs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import anthropic
import openai
import pytest

from tests.e2e.clients import Link, http_client
from tests.e2e.conftest import StartProxy
from tests.e2e.legacy_search import LIST, QUESTION, SAID, SECRET, WORDS, SearchProcess
from tests.e2e.proxy import Proxy
from tests.e2e.voices import VOICES, Heard, Voice
from tests.e2e.voices.anthropic_messages import AnthropicMessagesVoice
from tests.e2e.voices.cohere import CohereVoice
from tests.e2e.voices.gemini import GeminiVoice
from tests.e2e.voices.ollama import OllamaChatVoice
from tests.e2e.voices.openai_chat import OpenAIChatVoice

type Pieces = AsyncIterator[str]

either_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchProcess]:
    with SearchProcess(tmp_path_factory.mktemp("search")) as process:
        yield process


@pytest.fixture(scope="module")
def searching(
    tmp_path_factory: pytest.TempPathFactory, confdir: Path, upstream: dict[str, Any], search: SearchProcess
) -> Iterator[Proxy]:
    with Proxy(tmp_path_factory.mktemp("searching"), confdir, config=search.config(), **upstream) as proxy:
        yield proxy


async def ask(voice: Voice, question: str = QUESTION) -> Heard:
    voice.add_user(question)
    return await voice.send()


@either_way
@pytest.mark.parametrize("behind", ["meeting", "forward"])
@pytest.mark.parametrize("kind", VOICES, ids=lambda voice: voice.dialect)
async def test_every_dialect_is_answered(
    searching: Proxy, proxy_authority: Path, kind: type[Voice], behind: str, *, streamed: bool
) -> None:
    link = Link(searching) if behind == "meeting" else Link(searching, proxy_authority)
    voice = kind(link, "docs", streamed=streamed)
    try:
        heard = await ask(voice)
        assert heard.text == SAID + LIST
        assert heard.finish == voice.finishes[0]
        assert heard.model in ("", "docs")
        assert not heard.calls
        assert heard.output_tokens is None or heard.output_tokens > 0
        assert (await ask(voice, "Who?")).text.startswith("Trolls ")  # a conversation goes on
    finally:
        await voice.close()


async def test_json_is_read_as_well(searching: Proxy) -> None:
    voice = OpenAIChatVoice(Link(searching), "json", streamed=True)
    assert (await ask(voice)).text == SAID + LIST
    await voice.close()


# Words as they come, by what each SDK gives


async def _openai(client: Any, model: str) -> Pieces:
    messages = [{"role": "user", "content": QUESTION}]
    async with await client.chat.completions.create(model=model, messages=messages, stream=True) as chunks:
        async for chunk in chunks:
            yield (chunk.choices[0].delta.content or "") if chunk.choices else ""


async def _anthropic(client: Any, model: str) -> Pieces:
    messages = [{"role": "user", "content": QUESTION}]
    async with client.messages.stream(model=model, messages=messages, max_tokens=100) as stream:
        async for text in stream.text_stream:
            yield text


async def _cohere(client: Any, model: str) -> Pieces:
    messages = [{"role": "user", "content": QUESTION}]
    async with aclosing(client.chat_stream(model=model, messages=messages)) as events:
        async for event in events:
            if event.type == "message-end" and event.delta.error is not None:
                raise RuntimeError(event.delta.error)
            yield event.delta.message.content.text if event.type == "content-delta" else ""


async def _gemini(client: Any, model: str) -> Pieces:
    async for chunk in await client.aio.models.generate_content_stream(model=model, contents=QUESTION):
        yield chunk.text or ""


async def _ollama(client: Any, model: str) -> Pieces:
    messages = [{"role": "user", "content": QUESTION}]
    async for part in await client.chat(model=model, messages=messages, stream=True):
        yield part.message.content or ""


LIVE: Final[dict[type[Voice], Callable[[Any, str], Pieces]]] = {
    OpenAIChatVoice: _openai,
    AnthropicMessagesVoice: _anthropic,
    CohereVoice: _cohere,
    GeminiVoice: _gemini,
    OllamaChatVoice: _ollama,
}


@pytest.mark.parametrize("kind", LIVE, ids=lambda voice: voice.dialect)
async def test_each_word_arrives_before_the_next_is_sent(
    searching: Proxy, search: SearchProcess, kind: type[Voice]
) -> None:
    """The API sends a word only when the client has said that it has the one before."""
    model = f"acked-{uuid4().hex[:8]}"
    voice = kind(Link(searching), model, streamed=True)
    said: list[str] = []
    try:
        async with asyncio.timeout(20):
            async for text in LIVE[kind](voice.client, model):  # type: ignore[attr-defined]
                if text:
                    said.append(text)
                    await search.received(model)
    finally:
        await voice.close()
    assert [*said[: len(WORDS)], "".join(said[len(WORDS) :])] == [*WORDS, LIST]


@pytest.mark.parametrize("kind", LIVE, ids=lambda voice: voice.dialect)
async def test_who_hangs_up_ends_the_call_of_the_api(
    searching: Proxy, search: SearchProcess, kind: type[Voice]
) -> None:
    model = f"acked-{uuid4().hex[:8]}"
    voice = kind(Link(searching), model, streamed=True, patience_s=10)

    async def listen() -> None:
        async for text in LIVE[kind](voice.client, model):  # type: ignore[attr-defined]
            if text:
                heard.set()

    heard = asyncio.Event()
    await search.until_open(0)
    listening = asyncio.create_task(listen())
    async with asyncio.timeout(20):
        await heard.wait()
    await search.until_open(1)
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening
    await voice.close()
    await search.until_open(0)


async def test_who_hangs_up_on_a_whole_reply_ends_the_call_of_the_api(searching: Proxy, search: SearchProcess) -> None:
    await search.until_open(0)
    model = f"acked-{uuid4().hex[:8]}"
    voice = OpenAIChatVoice(Link(searching), model, streamed=False)
    asking = asyncio.create_task(ask(voice))
    await search.until_open(1)
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    await voice.close()
    await search.until_open(0)


@either_way
@pytest.mark.parametrize("kind", [OpenAIChatVoice, AnthropicMessagesVoice])
async def test_fifty_at_once(searching: Proxy, search: SearchProcess, kind: type[Voice], *, streamed: bool) -> None:
    """All of them are open before any gets a second word."""
    models = [f"acked-{uuid4().hex[:8]}" for _ in range(50)]
    voices = [kind(Link(searching), model, streamed=streamed) for model in models]
    await search.until_open(0)
    asking = [asyncio.create_task(ask(voice)) for voice in voices]
    try:
        await search.until_open(50)
        for model in models:
            await search.received(model, len(WORDS))
        heard = await asyncio.gather(*asking)
        assert [one.text for one in heard] == [SAID + LIST] * 50
    finally:
        for task in asking:
            task.cancel()
        for voice in voices:
            await voice.close()


# Errors


@either_way
@pytest.mark.parametrize("kind", LIVE, ids=lambda voice: voice.dialect)
async def test_an_error_of_the_api_is_one_of_the_dialect(
    searching: Proxy, kind: type[Voice], *, streamed: bool
) -> None:
    voice = kind(Link(searching), "docs", streamed=streamed)
    with pytest.raises(Exception, match="the index is closed"):
        await ask(voice, "fail")
    await voice.close()


async def test_a_call_without_a_question_is_a_bad_request(searching: Proxy) -> None:
    async with http_client(Link(searching)) as client:
        body = {"model": "docs", "messages": [{"role": "system", "content": "Hi"}]}
        reply = await client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    assert "no question" in reply.json()["error"]["message"]


async def test_a_stream_that_is_cut_ends_in_an_error(start_proxy: StartProxy, tmp_path: Path) -> None:
    """In each of these dialects; and a call after that, for which nobody is there."""
    search = SearchProcess(tmp_path)
    proxy = start_proxy(config=search.config())
    for kind, pieces in LIVE.items():
        voice = kind(Link(proxy), "acked-1", streamed=True)
        said: list[str] = []
        with search, pytest.raises(Exception, match="cut off"):
            async for text in pieces(voice.client, "acked-1"):  # type: ignore[attr-defined]
                if text:
                    said.append(text)
                    search.kill()
        assert said == [WORDS[0]], kind
        with pytest.raises(Exception, match="cannot be reached"):
            await ask(voice, "And now?")
        await voice.close()


async def test_whole_replies_are_not_half_ones(start_proxy: StartProxy, tmp_path: Path) -> None:
    with SearchProcess(tmp_path) as search:
        proxy = start_proxy(config=search.config())
        apps: list[tuple[Voice, type[Exception]]] = [
            (OpenAIChatVoice(Link(proxy), "acked-1", streamed=False), openai.InternalServerError),
            (AnthropicMessagesVoice(Link(proxy), "acked-2", streamed=False), anthropic.InternalServerError),
        ]
        asking = [asyncio.create_task(ask(voice)) for voice, _ in apps]
        await search.until_open(2)
        search.kill()
        for task, (voice, error) in zip(asking, apps, strict=True):
            with pytest.raises(error, match="cut off"):
                await task
            await voice.close()


async def test_no_log_has_the_key_or_the_question(start_proxy: StartProxy, search: SearchProcess) -> None:
    """Not even with everything logged (``log.debug``)."""
    proxy = start_proxy(config=search.config())
    for model, question in (("docs", QUESTION), ("docs", "fail")):
        voice = OpenAIChatVoice(Link(proxy), model, streamed=True)
        with suppress(openai.APIError):
            await ask(voice, question)
        await voice.close()
    proxy.terminate()
    assert "call ended" in proxy.log
    assert SECRET not in proxy.log
    assert "guards" not in proxy.log


def test_the_url_may_stand_in_the_environment(start_proxy: StartProxy, search: SearchProcess) -> None:
    config = {"routes": [{"match": {"model": "*"}, "answer": "legacy_sse"}]}
    env = {"STREAM_URL": f"{search.url}/search?topNDocuments=1&sessionID=12345"}
    proxy = start_proxy(config=config, env=env)
    with openai.OpenAI(base_url=f"{proxy.meeting}/v1", api_key="sk", max_retries=0) as client:
        reply = client.chat.completions.create(model="any", messages=[{"role": "user", "content": QUESTION}])
    assert reply.choices[0].message.content == SAID + LIST
