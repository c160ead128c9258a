"""Content views for LLM traffic: a call as a conversation, a reply as the message that it carries.

Owns which messages these are, and how a stream is put together again. Needs nothing of Motive's but the dialects: the
views work in any mitmproxy.
"""

from __future__ import annotations

import contextlib
from typing import Final

from mitmproxy import contentviews, http

from motive_core.dialects import Dialect, dialect_of, is_stream_type, put_together
from motive_core.errors import FramingError, MotiveError
from motive_core.readable import reply_as_text, request_as_text
from motive_shell.first_words import FIRST_TOKEN
from motive_shell.heads import head_of

_PRIORITY: Final = 10.0
"""mitmproxy's own views of JSON and of text have 1 or less."""


class LLM(contentviews.Contentview):
    """See the module. Shown for a call in any known dialect, and for its successful reply."""

    name = "LLM"
    syntax_highlight = "none"

    def render_priority(self, data: bytes, metadata: contentviews.Metadata) -> float:
        """Whether this is what is shown unless the user chooses."""
        message, dialect = metadata.http_message, dialect_for(metadata)
        if dialect is None or not data:
            return -1.0
        if isinstance(message, http.Response) and message.status_code != 200:
            return -1.0  # as JSON it is more readable
        return _PRIORITY

    def prettify(self, data: bytes, metadata: contentviews.Metadata) -> str:
        """The text. Raises ``ValueError`` for what is none of these; mitmproxy shows it as it is then."""
        dialect = dialect_for(metadata)
        flow = metadata.flow
        if dialect is None or not isinstance(flow, http.HTTPFlow):
            raise ValueError("no LLM call")
        try:
            if isinstance(metadata.http_message, http.Request):
                return request_as_text(dialect.parse_request(data, head_of(flow.request)))
            return reply_text(dialect, data, flow)
        except (MotiveError, FramingError) as error:
            raise ValueError(str(error)) from error


def dialect_for(metadata: contentviews.Metadata) -> Dialect | None:
    """The dialect of the call that a message belongs to."""
    flow = metadata.flow
    if not isinstance(flow, http.HTTPFlow) or metadata.http_message is None:
        return None
    return dialect_of(head_of(flow.request))


def reply_text(dialect: Dialect, data: bytes, flow: http.HTTPFlow) -> str:
    """A reply, whole or streamed, as text. Raises ``FramingError``."""
    notes = _times(flow)
    if not _is_stream(dialect, data, flow):
        return reply_as_text(dialect.parse_reply(data.lstrip()), notes=notes)
    found = put_together(dialect, data)
    text = reply_as_text(found.reply, notes=[*notes, f"{found.pieces:,} pieces"])
    return f"{text}\n✗ {found.problem}\n" if found.problem else text


def _is_stream(dialect: Dialect, data: bytes, flow: http.HTTPFlow) -> bool:
    if flow.response is not None and is_stream_type(flow.response.headers.get("content-type", "")):
        return True
    # Gemini's array, Ollama's lines and what a server forgot to name: as the call asked for it.
    with contextlib.suppress(MotiveError):
        return dialect.parse_request(flow.request.get_content(strict=False) or b"", head_of(flow.request)).stream
    return not data.lstrip().startswith(b"{")


def _times(flow: http.HTTPFlow) -> list[str]:
    """How long it took, as far as it is known."""
    request, response = flow.request, flow.response
    notes = []
    asked_at = request.timestamp_end or request.timestamp_start
    first = flow.metadata.get(FIRST_TOKEN)
    if isinstance(first, float):
        notes.append(f"first words after {first:.2f} s")
    elif response is not None and response.timestamp_start and response.timestamp_start >= asked_at:
        notes.append(f"first byte after {response.timestamp_start - asked_at:.2f} s")
    if response is not None and response.timestamp_end and response.timestamp_end >= asked_at:
        notes.append(f"whole after {response.timestamp_end - asked_at:.2f} s")
    return notes


class LLMViews:
    """The addon: the views, for as long as it is loaded."""

    name = "llm_views"

    def load(self, loader: object) -> None:
        """Make the views known. Loaded twice, they are there once."""
        contentviews.add(LLM())
