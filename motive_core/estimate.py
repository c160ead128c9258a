"""Token counts of our own, where nothing better is known: 4 characters a token; pictures and the like do not count."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_core import to_json

from motive_core.ir import (
    BlobPart,
    ChatRequest,
    Choice,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

_CHARACTERS_A_TOKEN = 4


def estimate_usage(request: ChatRequest, choices: Iterable[Choice]) -> Usage:
    """The usage of a reply."""
    reply = sum(_characters(choice.parts) for choice in choices)
    return Usage(input_tokens(request), _tokens(reply), estimated=True)


def input_tokens(request: ChatRequest) -> int:
    """The tokens of a request's messages."""
    return _tokens(sum(_characters(message.parts) for message in request.messages))


def text_tokens(text: str) -> int:
    """The tokens of a text."""
    return _tokens(len(text))


def _tokens(characters: int) -> int:
    return -(-characters // _CHARACTERS_A_TOKEN)


def _characters(parts: tuple[Part, ...]) -> int:
    count = 0
    for part in parts:
        match part:
            case TextPart(text) | RefusalPart(text) | ReasoningPart(text):
                count += len(text)
            case ToolCallPart():
                count += len(part.name) + len(part.arguments)
            case ToolResultPart():
                count += _characters(part.content)
            case OpaquePart():
                count += len(to_json(part.raw, inf_nan_mode="null"))
            case BlobPart():
                pass
    return count
