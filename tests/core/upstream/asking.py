"""Asking a service in tests: a request, an upstream at its address, and what it says in its dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from motive_core.dialects import dialect_named
from motive_core.ir import ChatRequest, Choice, Message, Part, Reply, TextPart, Usage
from motive_core.stream import PartDelta, ReplyEvent, replay
from motive_core.upstream import Endpoint, Http, HttpUpstream

KEY: Final = "sk-" + "secret"


def request(text: str = "Hi", *, stream: bool = False, dialect: str = "", **fields: Any) -> ChatRequest:
    return ChatRequest(dialect, "asked", (Message("user", (TextPart(text),)),), stream=stream, **fields)


def reply(*parts: Part) -> Reply:
    return Reply("id-1", "answered", (Choice(parts or (TextPart("Hello there."),)),), Usage(3, 4), 1)


def body_of(dialect: str, said: Reply | None = None) -> bytes:
    return dialect_named(dialect).render_reply(request(dialect=dialect), said or reply())


def pieces_of(dialect: str, said: Reply | None = None) -> list[bytes]:
    """A streamed reply, in one piece an event."""
    encoder = dialect_named(dialect).encoder(request(dialect=dialect, stream=True, include_usage=True))
    return [piece for event in replay(said or reply()) if (piece := encoder.encode(event))]


def endpoint(url: str, **settings: Any) -> Endpoint:
    return Endpoint.model_validate({"base_url": url, **settings})


@asynccontextmanager
async def upstream(url: str, **settings: Any) -> AsyncIterator[HttpUpstream]:
    """An upstream with connections of its own."""
    http = Http()
    try:
        yield HttpUpstream(endpoint(url, **settings), http)
    finally:
        await http.close()


async def said(answered: Any) -> str:
    """The text of events, read to their end."""
    found: list[ReplyEvent] = [event async for batch in answered for event in batch]
    return "".join([event.text for event in found if isinstance(event, PartDelta)])
