"""What an agent cites, in the words of each dialect.

Owns the reading of an agent's attribution, and where each dialect tells citations: with the text, or with the choice.
Dialects that have no place for them get a list of sources under the answer. Sources: botocore's model ``Attribution``,
1.44, and the types of the vendors' SDKs (``openai`` ``Annotation``, ``anthropic`` ``CitationsSearchResultLocation``,
``google-genai`` ``GroundingMetadata``, ``cohere`` ``Citation``, botocore's ``bedrock-runtime`` ``Citation``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from motive_core.ir import BlobPart, ChatRequest, Json, Message


@dataclass(frozen=True, slots=True)
class Cited:
    """Something that an answer was taken from. ``where`` is a URI or another name of it; ``text`` the passage."""

    where: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A piece of the answer, from ``start`` to ``end`` in characters, and what it was taken from. ``start_byte`` is the
    same in UTF-8."""

    start: int
    end: int
    text: str
    sources: tuple[Cited, ...]
    start_byte: int

    @property
    def end_byte(self) -> int:
        """The end in UTF-8."""
        return self.start_byte + len(self.text.encode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Form:
    """How a dialect tells citations: members of the text's ``extra``, or of the choice's."""

    of_text: Callable[[Sequence[Citation]], dict[str, Json]] | None = None
    of_choice: Callable[[Sequence[Citation]], dict[str, Json]] | None = None


@dataclass(slots=True)
class Attributions:
    """The citations of a reply, as its chunks tell them."""

    _raw: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, attribution: Mapping[str, Any] | None) -> None:
        """What a chunk tells."""
        self._raw += _mappings((attribution or {}).get("citations"))

    def of(self, answer: str) -> list[Citation]:
        """All of them, in the whole answer."""
        found: list[Citation] = []
        behind = 0
        for raw in self._raw:
            sources = tuple(
                cited for one in _mappings(raw.get("retrievedReferences")) if (cited := _cited(one)) is not None
            )
            part = (raw.get("generatedResponsePart") or {}).get("textResponsePart") or {}
            if not sources:
                continue
            start, end = _span(answer, str(part.get("text") or ""), part.get("span") or {}, behind)
            behind = end
            start_byte = len(answer[:start].encode("utf-8", "replace"))
            found.append(Citation(start, end, answer[start:end], sources, start_byte))
        return found


def _mappings(values: Any) -> Iterator[Mapping[str, Any]]:
    """Those of a list that are some; null may stand in it."""
    return (one for one in values or () if isinstance(one, Mapping))


def _span(answer: str, text: str, span: Mapping[str, Any], behind: int) -> tuple[int, int]:
    """Where a cited text stands. The service counts from its own beginning, and names the last character or the one
    behind it: the text itself says which; without one, the span is believed."""
    if text:
        told: Any = span.get("start")
        for start in (told if isinstance(told, int) else -1, answer.find(text, behind), answer.find(text)):
            if start >= 0 and answer.startswith(text, start):
                return start, start + len(text)
        return 0, len(answer)
    first, last = span.get("start"), span.get("end")
    if isinstance(first, int) and isinstance(last, int) and 0 <= first <= last <= len(answer):
        return first, min(last + 1, len(answer))
    return 0, len(answer)


def _cited(reference: Mapping[str, Any]) -> Cited | None:
    content = reference.get("content") or {}
    text = content.get("text")
    where = ""
    for place in (reference.get("location") or {}).values():
        if isinstance(place, Mapping):
            where = next((str(place[one]) for one in ("uri", "url", "id", "query") if place.get(one)), "")
    metadata = reference.get("metadata") or {}
    title = metadata.get("title") or unquote(urlsplit(where).path.rstrip("/").rpartition("/")[2]) if where else ""
    if not (where or text):
        return None
    return Cited(where, str(title or where), str(text or ""))


# The dialects


def _annotations(citations: Sequence[Citation]) -> list[Json]:
    return [
        {"start_index": one.start, "end_index": one.end, "title": cited.title, "url": cited.where}
        for one in citations
        for cited in one.sources
    ]


def _openai_chat(citations: Sequence[Citation]) -> dict[str, Json]:
    told = [{"type": "url_citation", "url_citation": one} for one in _annotations(citations)]
    return {"message": {"annotations": told}}


def _openai_responses(citations: Sequence[Citation]) -> dict[str, Json]:
    return {"annotations": [{"type": "url_citation", **one} for one in _annotations(citations)]}


def _anthropic(citations: Sequence[Citation]) -> dict[str, Json]:
    known = _numbered(citations)
    return {
        "citations": [
            {
                "type": "search_result_location",
                "cited_text": cited.text,
                "source": cited.where,
                "title": cited.title,
                "search_result_index": known[cited],
                "start_block_index": 0,
                "end_block_index": 1,
            }
            for one in citations
            for cited in one.sources
        ]
    }


def _converse(citations: Sequence[Citation]) -> dict[str, Json]:
    return {
        "citations": [
            {
                "title": cited.title,
                "source": cited.where,
                "sourceContent": [{"text": cited.text}],
                **({"location": {"web": {"url": cited.where}}} if cited.where.startswith(("http:", "https:")) else {}),
            }
            for one in citations
            for cited in one.sources
        ]
    }


def _gemini(citations: Sequence[Citation]) -> dict[str, Json]:
    known = _numbered(citations)
    return {
        "groundingMetadata": {
            "groundingChunks": [
                {"retrievedContext": {"uri": cited.where, "title": cited.title, "text": cited.text}} for cited in known
            ],
            "groundingSupports": [
                {
                    "segment": {"startIndex": one.start_byte, "endIndex": one.end_byte, "text": one.text},
                    "groundingChunkIndices": [known[cited] for cited in one.sources],
                }
                for one in citations
            ],
        }
    }


def _cohere(citations: Sequence[Citation]) -> dict[str, Json]:
    known = _numbered(citations)
    return {
        "citations": [
            {
                "start": one.start,
                "end": one.end,
                "text": one.text,
                "type": "TEXT_CONTENT",
                "sources": [
                    {
                        "type": "document",
                        "id": f"doc:{known[cited]}",
                        "document": {
                            "id": f"doc:{known[cited]}",
                            "title": cited.title,
                            "url": cited.where,
                            "snippet": cited.text,
                        },
                    }
                    for cited in one.sources
                ],
            }
            for one in citations
        ]
    }


_FORMS: Final[Mapping[str, Form]] = {
    "openai-chat": Form(of_choice=_openai_chat),
    "openai-responses": Form(of_text=_openai_responses),
    "anthropic-messages": Form(of_text=_anthropic),
    "bedrock-invoke": Form(of_text=_anthropic),
    "bedrock-converse": Form(of_text=_converse),
    "gemini": Form(of_choice=_gemini),
    "cohere-chat": Form(of_choice=_cohere),
}
"""By dialect; the others have none."""


def form_of(request: ChatRequest) -> Form | None:
    """How citations are told to the caller; None if its dialect has no place for them. Converse has another block in
    the place of the text's for them, which an app that has not asked for citations would not look into."""
    if request.dialect == "bedrock-converse" and not any(map(_wants_citations, request.messages)):
        return None
    return _FORMS.get(request.dialect)


def _wants_citations(message: Message) -> bool:
    for part in message.parts:
        document = part.extra.get("document") if isinstance(part, BlobPart) else None
        citations = document.get("citations") if isinstance(document, Mapping) else None
        if isinstance(citations, Mapping) and citations.get("enabled") is True:
            return True
    return False


def as_list(citations: Iterable[Citation]) -> str:
    """The sources as text under the answer."""
    known = _numbered(citations)
    lines = []
    for cited, number in known.items():
        where = f": {cited.where}" if cited.where and cited.where != cited.title else ""
        lines.append(f"[{number + 1}] {cited.title}{where}")
    return "\n\n" + "\n".join(lines) if lines else ""


def _numbered(citations: Iterable[Citation]) -> dict[Cited, int]:
    known: dict[Cited, int] = {}
    for one in citations:
        for cited in one.sources:
            known.setdefault(cited, len(known))
    return known
