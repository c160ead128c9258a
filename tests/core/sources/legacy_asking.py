"""The search API's source at a search API of the test's own: what all of its tests begin with."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

from motive_core.dialects import RequestHead
from motive_core.exchange import Events
from motive_core.ir import ChatRequest, Message, Reply, TextPart
from motive_core.sources import Call, World
from motive_core.sources.legacy_sse import LegacySse
from motive_core.stream import Collector
from motive_core.upstream import Http
from tests.core.sources.legacy_api import HEAD, Line, Script, SearchApi, event, search_api

WORDS: Final = (event("response", "The "), event("response", "guard"))


def says(*events: bytes) -> Script:
    """Events one by one, then the end."""

    async def script(line: Line) -> None:
        await line.send(HEAD)
        await line.say(*events, end=True)

    return script


def sends(*pieces: bytes) -> Script:
    """Bytes as they are, then the end of the connection."""

    async def script(line: Line) -> None:
        for data in pieces:
            await line.send(data)
        line.writer.close()

    return script


def asked(*messages: Message, dialect: str = "openai-chat") -> ChatRequest:
    return ChatRequest(dialect, "m", messages or (Message("user", (TextPart("Who?"),)),), stream=True)


def call_of(request: ChatRequest, session: str = "s-1") -> Call:
    return Call(request, RequestHead("POST", "h", 80, "/v1/chat/completions"), "x-1", session, 1.0)


@asynccontextmanager
async def asking(script: Script, **settings: Any) -> AsyncIterator[tuple[SearchApi, Callable[..., Any]]]:
    """The API, and what asks the source about it."""
    http = Http()
    try:
        async with search_api(script) as api:
            query = settings.pop("query", "")
            source = LegacySse(url=api.url + query, **settings).make(World(http, time.time))

            async def ask(request: ChatRequest | None = None, **more: Any) -> Events:
                answered = await source.answer(call_of(request or asked(), **more))
                assert not isinstance(answered, Reply)
                return answered

            yield api, ask
    finally:
        await http.close()


async def whole(events: Events) -> Reply:
    collector = Collector()
    async with aclosing(events):
        async for batch in events:
            for one in batch:
                collector.add(one)  # type: ignore[arg-type]
    assert collector.complete
    return collector.reply()


def texts(reply: Reply) -> list[str]:
    (choice,) = reply.choices
    assert choice.finish_reason == "stop"
    return [part.text for part in choice.parts if isinstance(part, TextPart)]


async def told(*events: bytes, request: ChatRequest | None = None, **settings: Any) -> list[str]:
    async with asking(says(*events), **settings) as (_, ask):
        return texts(await whole(await ask(request)))
