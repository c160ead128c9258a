"""How much memory the parts of a message take, by estimate: for what is kept, and must not be kept without limit."""

from __future__ import annotations

import sys
from typing import Final

from pydantic_core import to_json

from motive_core.ir import (
    BlobPart,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

_MESSAGE_BYTES: Final = 200
"""What a message takes beside its parts: the object and its tuple."""


def bytes_of(parts: tuple[Part, ...]) -> int:
    """The size of a message with these parts."""
    return _MESSAGE_BYTES + sum(map(_bytes_of_part, parts))


def _bytes_of_part(part: Part) -> int:
    size = sys.getsizeof(part)
    match part:
        case TextPart(text) | RefusalPart(text):
            size += sys.getsizeof(text)
        case ReasoningPart(text, signature, redacted):
            size += sum(sys.getsizeof(one) for one in (text, signature, redacted) if one)
        case BlobPart(_, data, url):
            size += sum(sys.getsizeof(one) for one in (data, url) if one)
        case ToolCallPart(_, _, arguments):
            size += sys.getsizeof(arguments)
        case ToolResultPart(_, content):
            size += bytes_of(content)
        case OpaquePart():
            pass
    told = part.raw if isinstance(part, OpaquePart) else dict(part.extra)
    # As objects, JSON takes several times what it takes as text.
    return size + (4 * len(to_json(told, inf_nan_mode="null")) if told else 0)
