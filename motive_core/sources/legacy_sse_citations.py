"""Citations as a reply tells them: a list in its text, or objects of the dialect's own.

Owns what a citation is in the words of each dialect that has any. Knows no stream.

The API tells which documents an answer rests on, and not where in the answer: so each citation is one of the whole
text, or stands at its end where the dialect wants a place.

==================== ===============================================================================================
openai-chat          ``annotations`` of the message: ``url_citation``, so all of them must have a URL
openai-responses     ``annotations`` of the text: ``url_citation``, or ``file_citation`` where there is no URL
anthropic-messages   ``citations`` of the text: ``search_result_location``, whose index is the place in
                     the order in which the API told them; bedrock-invoke, too
gemini               ``groundingMetadata`` of the candidate: ``groundingChunks``
cohere-chat          ``citations`` of the message: one, with all documents as its sources
bedrock-converse     ``citations`` of the text
==================== ===============================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from motive_core.ir import NO_EXTRA, Extra, Json
from motive_core.sources.legacy_sse_events import Citation

NATIVE: Final = frozenset(
    {
        "openai-chat",
        "openai-responses",
        "anthropic-messages",
        "bedrock-invoke",
        "gemini",
        "cohere-chat",
        "bedrock-converse",
    }
)
"""Dialects that have citations."""


def as_list(citations: Sequence[Citation]) -> str:
    """A Markdown list, one line a citation."""
    return "\n".join([f"- {_line(one)}" for one in citations])


def _line(one: Citation) -> str:
    name = " ".join((one.title or one.document).split())
    if not is_link(one.url) or name == one.url:
        return name
    for mark in "\\[]":
        name = name.replace(mark, "\\" + mark)
    return f"[{name}]({one.url.replace('(', '%28').replace(')', '%29')})"


def as_objects(dialect: str, citations: Sequence[Citation], text: str) -> tuple[Extra, Extra] | None:
    """The same as members of the part that holds the text, and of the choice: see ``extra`` of the IR. None if this
    dialect cannot tell them."""
    if not text:  # there is nothing to tell them of
        return None
    match dialect:
        case "openai-chat":
            if not all(is_link(one.url) for one in citations):
                return None
            told = [{"type": "url_citation", "url_citation": _url_citation(one, text)} for one in citations]
            return NO_EXTRA, {"message": {"annotations": told}}
        case "openai-responses":
            return {"annotations": [_annotation(one, text) for one in citations]}, NO_EXTRA
        case "anthropic-messages" | "bedrock-invoke":
            return {"citations": [_search_result(number, one) for number, one in enumerate(citations)]}, NO_EXTRA
        case "gemini":
            return NO_EXTRA, {"groundingMetadata": {"groundingChunks": [_grounding(one) for one in citations]}}
        case "cohere-chat":
            sources = [_cohere_source(one) for one in citations]
            whole = {"start": 0, "end": len(text), "text": text, "sources": sources, "type": "TEXT_CONTENT"}
            return NO_EXTRA, {"citations": [whole]}
        case "bedrock-converse":
            return {"citations": [_converse(one) for one in citations]}, NO_EXTRA
    return None


def is_link(url: str) -> bool:
    """Whether it is an address on the Web that a list may link to: an API's word for one could be any text."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and not any(c.isspace() or c in "<>" for c in url)


def _url_citation(one: Citation, text: str) -> dict[str, Json]:
    return {"url": one.url, "title": one.title or one.document, "start_index": len(text), "end_index": len(text)}


def _annotation(one: Citation, text: str) -> dict[str, Json]:
    if is_link(one.url):
        return {"type": "url_citation", **_url_citation(one, text)}
    return {
        "type": "file_citation",
        "file_id": one.document,
        "filename": one.title or one.document,
        "index": len(text),
    }


def _search_result(number: int, one: Citation) -> dict[str, Json]:
    return {
        "type": "search_result_location",
        "cited_text": one.text,
        "source": one.url or one.document,
        "title": one.title or None,
        "search_result_index": number,
        "start_block_index": 0,
        "end_block_index": 1,
    }


def _grounding(one: Citation) -> dict[str, Json]:
    if is_link(one.url):
        return {"web": {"uri": one.url, "title": one.title or one.document}}
    told = {"title": one.title or one.document, "uri": one.document}
    return {"retrievedContext": {**told, **({"text": one.text} if one.text else {})}}


def _cohere_source(one: Citation) -> dict[str, Json]:
    known = {"title": one.title, "url": one.url, "snippet": one.text}
    document = {"id": one.document, **{name: value for name, value in known.items() if value}}
    return {"type": "document", "id": one.document, "document": document}


def _converse(one: Citation) -> dict[str, Json]:
    told: dict[str, Json] = {"title": one.title or one.document, "source": one.url or one.document}
    if one.text:
        told["sourceContent"] = [{"text": one.text}]
    if is_link(one.url):
        told["location"] = {"web": {"url": one.url, "domain": urlsplit(one.url).hostname or ""}}
    return told
