"""How a part that a dialect cannot carry becomes text: one way, shared by all dialects, so that nothing is dropped.

Owns the text forms and the blank line that sets them apart. Knows the IR only, no dialect.

===============  ====================================================================================
BlobPart         Markdown: ``![name](url or data URL)`` for an image, ``[name](...)`` for anything else
ToolCallPart     ``[tool call NAME CALL_ID]``, then the arguments from the next line on
ToolResultPart   ``[tool result NAME CALL_ID (error)]``, then the content as text; the name and the mark if any
ReasoningPart    its text; ``[redacted reasoning]`` where there is only the encrypted form
OpaquePart       its JSON, compact
===============  ====================================================================================

Where several parts share one string, text parts that follow each other directly are joined without a separator (they
are fragments of one text), and a blank line stands between all others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

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


def as_text(part: Part) -> str:
    """The text that stands for a part. Total: text and refusals are themselves."""
    match part:
        case TextPart(text) | RefusalPart(text):
            return text
        case ReasoningPart(text, _, redacted):
            return text or ("[redacted reasoning]" if redacted else "")
        case BlobPart():
            return _link(part)
        case ToolCallPart(call_id, name, arguments):
            return f"[{_words('tool call', name, call_id)}]\n{arguments}"
        case ToolResultPart(call_id, content, name, is_error):
            mark = "(error)" if is_error else None
            return f"[{_words('tool result', name, call_id, mark)}]\n{parts_as_text(content)}"
        case OpaquePart(_, raw):
            return to_json(raw, inf_nan_mode="null").decode()
        case _:
            assert_never(part)


def parts_as_text(parts: Iterable[Part]) -> str:
    """Several parts as one text, with the separators that the module describes."""
    joiner = TextJoiner()
    return "".join([joiner.piece(n, as_text(part), plain=isinstance(part, TextPart)) for n, part in enumerate(parts)])


class TextJoiner:
    """Puts the separators between the parts that share one string, piece by piece, as a stream says them.

    The pieces of one part must come together: whole parts in their order, never two parts in turns.
    """

    def __init__(self) -> None:
        self._index: int | None = None
        self._plain = True

    def piece(self, index: int, text: str, *, plain: bool) -> str:
        """The next piece of part ``index``, with what must stand before it. ``plain``: it is a text part."""
        if not text:
            return ""
        last, last_plain = self._index, self._plain
        self._index, self._plain = index, plain
        if last is None or last == index or (plain and last_plain and index == last + 1):
            return text
        return "\n\n" + text


def _words(*words: str | None) -> str:
    return " ".join([word for word in words if word])


def _link(part: BlobPart) -> str:
    # A URL that does not tell its type is an image's: other files by URL have one, and file ids are no URLs.
    untold = not part.media_type and part.url is not None and not part.url.startswith("file-id:")
    image = untold or part.media_type.lower().startswith("image/")
    name = " ".join((part.name or ("image" if image else "file")).split())
    for mark in "\\[]":
        name = name.replace(mark, "\\" + mark)
    if part.data is not None:
        url = f"data:{part.media_type or 'application/octet-stream'};base64,{part.data}"
    else:
        # A blank or a bracket would end the link early.
        url = (part.url or "").replace(" ", "%20").replace("(", "%28").replace(")", "%29")
    return f"{'!' if image else ''}[{name}]({url})"
