"""A mock source without a proxy: what it is asked, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from motive_core.dialects import RequestHead
from motive_core.exchange import Events, Spoken
from motive_core.ir import (
    ChatRequest,
    Message,
    Reply,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from motive_core.sources import Call, Source, World
from motive_core.sources.mock import Mock
from motive_core.upstream import Http

CITY = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}}, "required": ["city"]}


def mock(clock: Any = lambda: 1_000.0, **settings: Any) -> Source:
    """A mock of these settings, as the file has them."""
    return Mock.model_validate({"kind": "mock", **settings}).make(World(Http(), clock))


def user(text: str) -> Message:
    return Message("user", (TextPart(text),))


def tool_turn(name: str, result: str, call_id: str = "c1") -> tuple[Message, Message]:
    """A tool that was called, and what it gave back."""
    return (
        Message("assistant", (ToolCallPart(call_id, name, "{}"),)),
        Message("tool", (ToolResultPart(call_id, (TextPart(result),)),)),
    )


def asked(
    *messages: Message | str,
    model: str = "m",
    dialect: str = "openai-chat",
    tools: Mapping[str, Any] | None = None,
    schema: Any = None,
    head: RequestHead | None = None,
    **fields: Any,
) -> Call:
    """A call. ``tools`` are schemas by name, ``schema`` that of the reply."""
    said = tuple(one if isinstance(one, Message) else user(one) for one in messages)
    request = ChatRequest(
        dialect,
        model,
        said,
        tools=tuple(Tool(name, schema=given) for name, given in (tools or {}).items()),
        response_format=ResponseFormat("json_schema", "reply", schema) if schema is not None else None,
        **fields,
    )
    return Call(request, head or RequestHead("POST", "127.0.0.1", 8888, "/v1/x"), "ex1", "s", 1_000.0)


def forced(name: str) -> ToolChoice:
    return ToolChoice("tool", name)


async def reply_of(source: Source, call: Call) -> Reply:
    """What a source says at once."""
    answered = await source.answer(call)
    assert isinstance(answered, Reply)
    return answered


async def text_of(source: Source, *messages: Message | str, **fields: Any) -> str:
    """The words of such a reply."""
    (part,) = (await reply_of(source, asked(*messages, **fields))).choices[0].parts
    assert isinstance(part, TextPart)
    return part.text


async def calls_of(source: Source, *messages: Message | str, **fields: Any) -> list[tuple[str, str]]:
    """The tools that are called in such a reply, and their arguments."""
    parts = (await reply_of(source, asked(*messages, **fields))).choices[0].parts
    return [(part.name, part.arguments) for part in parts if isinstance(part, ToolCallPart)]


async def spoken(events: Events) -> list[Spoken]:
    """All that is said over time."""
    return [event async for batch in events for event in batch]
