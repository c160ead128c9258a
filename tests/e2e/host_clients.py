"""Clients of the hosts that are compatible with OpenAI, by their own SDKs, with one face for the tests of single bytes.

Owns how each is made and called, whole and streamed, synchronous and not, and ``Told``: what a reply was, in the same
words for all of them. Knows nothing of the product.
"""

from __future__ import annotations

import abc
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import groq
import httpx
import openai
from mistralai.client import Mistral

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loading the usual authorities for each client takes longer than its test."""

HELLO: Any = [{"role": "user", "content": "hi"}]


@dataclass
class Heard:
    """One choice, as an SDK gave it."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: dict[int, list[str]] = field(default_factory=dict)
    finish: str | None = None

    def call(self, index: int, one: Any) -> None:
        if one.function.name:
            self.calls[index] = [one.id, one.function.name, ""]
        self.calls[index][2] += one.function.arguments or ""


@dataclass
class Told:
    """A reply, as an SDK gave it."""

    reply_id: str = ""
    model: str = ""
    usage: tuple[int, int] | None = None
    choices: dict[int, Heard] = field(default_factory=dict)

    def take(self, completion: Any, usage: Any, reasoning: str) -> None:
        """What a completion or a chunk says."""
        self.reply_id, self.model = completion.id, completion.model
        if usage:
            assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
            self.usage = (usage.prompt_tokens, usage.completion_tokens)
        for choice in completion.choices:
            heard = self.choices.setdefault(choice.index, Heard())
            said = choice.delta if hasattr(choice, "delta") else choice.message
            for item in [said.content] if isinstance(said.content, str) else said.content or ():
                if isinstance(item, str):
                    heard.text += item
                elif item.type == "thinking":
                    heard.reasoning += "".join([one.text for one in item.thinking])
                else:
                    heard.text += item.text
            heard.reasoning += getattr(said, reasoning, None) or ""
            heard.refusal += getattr(said, "refusal", None) or ""
            for position, one in enumerate(said.tool_calls or ()):
                index = getattr(one, "index", None)
                heard.call(position if index is None or not hasattr(choice, "delta") else index, one)
            heard.finish = choice.finish_reason or heard.finish


class Host(abc.ABC):
    """An SDK, as a client of one service."""

    variant: ClassVar[str]
    reasoning = "reasoning_content"
    pieces = True
    """Whether a stream tells a tool call in pieces."""

    def __init__(self, url: str) -> None:
        self.http = openai.DefaultHttpxClient(trust_env=False, verify=NO_TLS)
        self.async_http = openai.DefaultAsyncHttpxClient(trust_env=False, verify=NO_TLS)
        self.sync, self.asynchronous = self.make(url)

    @abc.abstractmethod
    def make(self, url: str) -> tuple[Any, Any]:
        """The clients."""

    def whole(self, **call: Any) -> Any:
        return self.sync.chat.completions.create(model="room", messages=HELLO, **call)

    def stream(self, **call: Any) -> Iterator[Any]:
        yield from self.sync.chat.completions.create(model="room", messages=HELLO, stream=True, **call)

    async def async_whole(self) -> Any:
        return await self.asynchronous.chat.completions.create(model="room", messages=HELLO)

    async def async_stream(self) -> AsyncIterator[Any]:
        async for chunk in await self.asynchronous.chat.completions.create(model="room", messages=HELLO, stream=True):
            yield chunk

    def models(self) -> list[Any]:
        return list(self.sync.models.list().data)

    def told(self, *chunks: Any) -> Told:
        told = Told()
        for chunk in chunks:
            told.take(chunk, self.usage_of(chunk), self.reasoning)
        return told

    def usage_of(self, chunk: Any) -> Any:
        return chunk.usage

    async def close(self) -> None:
        self.http.close()
        await self.async_http.aclose()


class Azure(Host):
    variant = "azure"

    def make(self, url: str) -> tuple[Any, Any]:
        options: dict[str, Any] = {
            "azure_endpoint": url,
            "api_key": "k",
            "api_version": "2024-10-21",
            "max_retries": 0,
            "_strict_response_validation": True,
        }
        return (
            openai.AzureOpenAI(http_client=self.http, **options),
            openai.AsyncAzureOpenAI(http_client=self.async_http, **options),
        )


class Groq(Host):
    variant = "groq"
    reasoning = "reasoning"

    def make(self, url: str) -> tuple[Any, Any]:
        options: dict[str, Any] = {
            "base_url": url,
            "api_key": "k",
            "max_retries": 0,
            "_strict_response_validation": True,
        }
        self.groq_http = httpx.Client(trust_env=False, verify=NO_TLS)
        self.async_groq_http = httpx.AsyncClient(trust_env=False, verify=NO_TLS)
        return (
            groq.Groq(http_client=self.groq_http, **options),
            groq.AsyncGroq(http_client=self.async_groq_http, **options),
        )

    def usage_of(self, chunk: Any) -> Any:
        under = getattr(chunk, "x_groq", None)
        return chunk.usage or getattr(under, "usage", None)

    async def close(self) -> None:
        await super().close()
        self.groq_http.close()
        await self.async_groq_http.aclose()


class MistralAI(Host):
    variant = "mistral"
    pieces = False

    def make(self, url: str) -> tuple[Any, Any]:
        client = Mistral(api_key="k", server_url=url, client=self.http, async_client=self.async_http)
        return client, client

    def whole(self, **call: Any) -> Any:
        return self.sync.chat.complete(model="room", messages=HELLO, **call)

    def stream(self, **call: Any) -> Iterator[Any]:
        with self.sync.chat.stream(model="room", messages=HELLO, **call) as events:
            for event in events:
                yield event.data

    async def async_whole(self) -> Any:
        return await self.sync.chat.complete_async(model="room", messages=HELLO)

    async def async_stream(self) -> AsyncIterator[Any]:
        async with await self.sync.chat.stream_async(model="room", messages=HELLO) as events:
            async for event in events:
                yield event.data


HOSTS: dict[str, type[Host]] = {kind.variant: kind for kind in (Azure, Groq, MistralAI)}
