"""Citations of a search API as objects of the app's dialect, read by the vendors' SDKs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from google.genai import types

from tests.e2e.clients import Link
from tests.e2e.legacy_search import LIST, QUESTION, SAID, SearchProcess
from tests.e2e.proxy import Proxy
from tests.e2e.voices.anthropic_messages import AnthropicMessagesVoice
from tests.e2e.voices.bedrock import BedrockConverseVoice, BedrockInvokeVoice
from tests.e2e.voices.cohere import CohereVoice
from tests.e2e.voices.gemini import GeminiVoice
from tests.e2e.voices.ollama import OllamaChatVoice, OllamaGenerateVoice
from tests.e2e.voices.openai_chat import OpenAIChatVoice
from tests.e2e.voices.openai_completions import OpenAICompletionsVoice
from tests.e2e.voices.openai_responses import OpenAIResponsesVoice

URL: Final = "https://docs.example/gates.md"
MESSAGES: Final[list[Any]] = [{"role": "user", "content": QUESTION}]

either_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory, confdir: Path, upstream: dict[str, Any]) -> Iterator[Link]:
    with SearchProcess(tmp_path_factory.mktemp("search")) as search:
        folder = tmp_path_factory.mktemp("citing")
        with Proxy(folder, confdir, config=search.config(), **upstream) as proxy:
            yield Link(proxy)


@either_way
async def test_openai_chat(link: Link, *, streamed: bool) -> None:
    voice = OpenAIChatVoice(link, "linked", streamed=streamed)
    if streamed:
        chunks = [one async for one in await voice.client.chat.completions.create(
            model="linked", messages=MESSAGES, stream=True
        )]  # fmt: skip
        deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
        text = "".join(delta.content or "" for delta in deltas)
        (told,) = [delta.annotations for delta in deltas if "annotations" in (delta.model_extra or {})]
    else:
        reply = await voice.client.chat.completions.create(model="linked", messages=MESSAGES)
        text = reply.choices[0].message.content
        told = [one.model_dump() for one in reply.choices[0].message.annotations]
    citation = {"url": URL, "title": "gates.md", "start_index": len(SAID), "end_index": len(SAID)}
    assert (text, told) == (SAID, [{"type": "url_citation", "url_citation": citation}])
    await voice.close()


@either_way
@pytest.mark.parametrize("model", ["native", "linked"])
async def test_openai_responses(link: Link, model: str, *, streamed: bool) -> None:
    voice = OpenAIResponsesVoice(link, model, streamed=streamed)
    if streamed:
        async with voice.client.responses.stream(model=model, input=QUESTION) as stream:
            reply: Any = await stream.get_final_response()
    else:
        reply = await voice.client.responses.create(model=model, input=QUESTION)
    assert reply.output_text == SAID
    (told,) = reply.output[0].content[0].annotations
    if model == "linked":
        assert (told.type, told.url, told.title, told.start_index) == ("url_citation", URL, "gates.md", len(SAID))
    else:
        assert (told.type, told.file_id, told.filename, told.index) == (
            "file_citation",
            "gates.md",
            "gates.md",
            len(SAID),
        )
    await voice.close()


@either_way
@pytest.mark.parametrize("kind", [AnthropicMessagesVoice, BedrockInvokeVoice])
@pytest.mark.parametrize(("model", "source"), [("native", "gates.md"), ("linked", URL)])
async def test_anthropic(
    link: Link, kind: type[AnthropicMessagesVoice], model: str, source: str, *, streamed: bool
) -> None:
    voice = kind(link, model, streamed=streamed)
    call: dict[str, Any] = {"model": model, "messages": MESSAGES, "max_tokens": 100}
    if streamed and kind is AnthropicMessagesVoice:
        async with voice.client.messages.stream(**call) as stream:
            content: Any = (await stream.get_final_message()).content
        (block,) = content
        text, (told,) = block.text, block.citations
    elif streamed:
        events = [one async for one in await voice.client.messages.create(**call, stream=True)]
        deltas = [one.delta for one in events if one.type == "content_block_delta"]
        text = "".join(delta.text for delta in deltas if delta.type == "text_delta")
        (told,) = [delta.citation for delta in deltas if delta.type == "citations_delta"]
    else:
        (block,) = (await voice.client.messages.create(**call)).content
        text, (told,) = block.text, block.citations
    assert text == SAID
    assert (told.type, told.source, told.search_result_index) == ("search_result_location", source, 0)
    await voice.close()


@either_way
@pytest.mark.parametrize("model", ["native", "linked"])
async def test_gemini(link: Link, model: str, *, streamed: bool) -> None:
    voice = GeminiVoice(link, model, streamed=streamed)
    models = voice.client.aio.models
    if streamed:
        replies = [one async for one in await models.generate_content_stream(model=model, contents=QUESTION)]
    else:
        replies = [await models.generate_content(model=model, contents=QUESTION)]
    assert "".join(reply.text or "" for reply in replies) == SAID
    assert replies[-1].candidates is not None
    told = replies[-1].candidates[0].grounding_metadata
    assert told is not None
    if model == "linked":
        chunk = types.GroundingChunk(web=types.GroundingChunkWeb(uri=URL, title="gates.md"))
    else:
        context = types.GroundingChunkRetrievedContext(uri="gates.md", title="gates.md")
        chunk = types.GroundingChunk(retrieved_context=context)
    assert told.grounding_chunks == [chunk]
    await voice.close()


@either_way
@pytest.mark.parametrize("model", ["native", "linked"])
async def test_cohere(link: Link, model: str, *, streamed: bool) -> None:
    voice = CohereVoice(link, model, streamed=streamed)
    text = ""
    if streamed:
        citations: list[Any] = []
        event: Any
        async for event in voice.client.chat_stream(model=model, messages=MESSAGES):
            if event.type == "content-delta":
                text += event.delta.message.content.text
            elif event.type == "citation-start":
                citations.append(event.delta.message.citations)
    else:
        message: Any = (await voice.client.chat(model=model, messages=MESSAGES)).message
        text, citations = message.content[0].text, message.citations
    (told,) = citations
    assert text == SAID
    assert (told.start, told.end, told.text, told.type) == (0, len(SAID), SAID, "TEXT_CONTENT")
    ((kind, document, members),) = [(source.type, source.id, source.document) for source in told.sources]
    assert (kind, document) == ("document", "gates.md")
    assert members == {"id": "gates.md", **({"url": URL} if model == "linked" else {})}
    await voice.close()


@either_way
@pytest.mark.parametrize(("model", "source"), [("native", "gates.md"), ("linked", URL)])
async def test_bedrock_converse(link: Link, model: str, source: str, *, streamed: bool) -> None:
    voice = BedrockConverseVoice(link, model, streamed=streamed)
    call = {"modelId": model, "messages": [{"role": "user", "content": [{"text": QUESTION}]}]}

    def ask() -> tuple[str, list[Any]]:
        if not streamed:
            (block,) = voice.client.converse(**call)["output"]["message"]["content"]
            (said,) = block["citationsContent"]["content"]
            return said["text"], block["citationsContent"]["citations"]
        with closing(voice.client.converse_stream(**call)["stream"]) as stream:
            deltas = [one["contentBlockDelta"]["delta"] for one in stream if "contentBlockDelta" in one]
        return "".join(one.get("text", "") for one in deltas), [one["citation"] for one in deltas if "citation" in one]

    text, (told,) = await asyncio.to_thread(ask)
    assert (text, told["title"], told["source"]) == (SAID, "gates.md", source)
    if model == "linked":
        assert told["location"] == {"web": {"url": URL, "domain": "docs.example"}}
    await voice.close()


@either_way
@pytest.mark.parametrize(
    "kind",
    [OpenAIChatVoice, OpenAICompletionsVoice, OllamaChatVoice, OllamaGenerateVoice],
    ids=lambda kind: kind.dialect,
)
async def test_a_dialect_without_such_objects_has_a_list(link: Link, kind: Any, *, streamed: bool) -> None:
    """And so has OpenAI Chat for citations without a URL."""
    voice = kind(link, "native", streamed=streamed)
    voice.add_user(QUESTION)
    assert (await voice.send()).text == SAID + LIST
    await voice.close()
