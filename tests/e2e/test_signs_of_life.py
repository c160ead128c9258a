"""What each vendor's SDK stands in a reply while it waits: why every dialect has the sign of life that it has.

The SDKs read from a plain server here: nothing but them is tested. If one of these fails with a new version of an SDK,
a sign of life may have to change, or could.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

import pytest

from motive_core.dialects import DIALECTS, Dialect
from motive_core.ir import ChatRequest, Choice, Message, Reply, TextPart, Usage
from motive_core.stream import ChoiceEnded, ReplyEvent, replay, replay_part
from tests.e2e.clients import Link
from tests.e2e.dialect_service import serving
from tests.e2e.voices import HOST_VOICES, VOICES, Voice
from tests.e2e.voices.hosts import AzureOpenAIVoice

TEXT: Final = "I see\n\n\ta troll."
SDKS: Final = tuple(kind for kind in (*VOICES, *HOST_VOICES) if kind is not AzureOpenAIVoice)

FORMS: Final[dict[str, bytes]] = {
    "comment": b": keep-alive\n\n",
    "comment without a blank line": b": keep-alive\n",
    "blank line": b"\r\n",
    "empty data": b"data:\n\n",
    "foreign event": b'event: ping\ndata: {"type":"ping"}\n\n',
    "id": b"id: 7\n\n",
}

_EVENTS: Final = frozenset({"empty data", "foreign event"})
BREAKS: Final[dict[str, frozenset[str]]] = {
    "OpenAIChat": _EVENTS | {"id"},
    "OpenAIResponses": _EVENTS | {"id"},
    "OpenAICompletions": _EVENTS | {"id"},
    "Groq": _EVENTS | {"id"},
    "Mistral": _EVENTS,
    "Gemini": frozenset(FORMS) - {"blank line"},
    "OllamaChat": frozenset(FORMS),
    "OllamaGenerate": frozenset(FORMS),
}
"""Which of these an SDK breaks at: it raises, or loses words. The others stand all of them."""


def name_of(kind: type[Voice]) -> str:
    return kind.__name__.removesuffix("Voice")


def dialect_of(kind: type[Voice]) -> Dialect:
    return next(dialect for dialect in DIALECTS if dialect.name == kind.dialect)


def said(dialect: Dialect, request: ChatRequest, between: bytes | None) -> list[bytes]:
    """A streamed reply with a sign of life before each event; by default the dialect's own."""
    encoder = dialect.encoder(request)
    start, *_, usage, end = replay(REPLY)
    pieces = [TEXT[at : at + 4] for at in range(0, len(TEXT), 4)]
    events: list[ReplyEvent] = [start, *replay_part(0, 0, TextPart(TEXT), pieces), ChoiceEnded(0, "stop"), usage, end]
    chunks = []
    for event in events:
        chunks += [encoder.heartbeat() if between is None else between, encoder.encode(event)]
    return chunks


REPLY: Final = Reply("id_1", "npc", (Choice((TextPart(TEXT),), "stop"),), Usage(3, 7), created=1)


async def heard(kind: type[Voice], *, streamed: bool, between: bytes | None) -> str:
    """What an SDK makes of a reply."""
    dialect = dialect_of(kind)
    variant = {"Groq": "groq", "Mistral": "mistral"}.get(name_of(kind), "")
    words = (Message("user", (TextPart("hi"),)),)
    request = ChatRequest(dialect.name, "npc", words, stream=streamed, variant=variant)
    with serving(dialect, request) as service:
        proxy: Any = SimpleNamespace(meeting=service.url)
        voice = kind(Link(proxy), "npc", streamed=streamed)
        try:
            voice.add_user("hi")
            if streamed:
                service.serve_stream(*said(dialect, request, between))
            else:
                body = dialect.render_reply(request, REPLY)
                service.serve(200, {"content-type": "application/json"}, b" ", b" ", body)
            return (await voice.send()).text
        finally:
            await voice.close()


@pytest.mark.parametrize("kind", SDKS, ids=name_of)
async def test_our_sign_of_life_changes_nothing(kind: type[Voice]) -> None:
    assert await heard(kind, streamed=True, between=None) == TEXT


@pytest.mark.parametrize("kind", SDKS, ids=name_of)
async def test_white_space_before_a_whole_reply_changes_nothing(kind: type[Voice]) -> None:
    assert await heard(kind, streamed=False, between=None) == TEXT


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [one for one in SDKS if not one.dialect.startswith("bedrock")], ids=name_of)
async def test_what_others_would_do(kind: type[Voice], form: str) -> None:
    try:
        text = await heard(kind, streamed=True, between=FORMS[form])
    except Exception:  # noqa: BLE001  # each SDK raises its own
        text = ""
    assert (text != TEXT) == (form in BREAKS.get(name_of(kind), ()))
