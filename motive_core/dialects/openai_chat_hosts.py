"""The hosts that are compatible with OpenAI, and where their wire differs from its own.

Owns ``Flavour``, the table of them, and how the flavour of a client is found: by the host that it calls, or at the
meeting point by its User-Agent. Hosts that are not in the table (DeepSeek, Fireworks, Perplexity and most others)
differ in what they say only, and that is kept in ``extra``. Knows no message and no event.

Sources: ``mistralai`` for Python 3.7, ``groq`` 1.7 and ``openai`` 3.52 (``lib/azure.py``); the providers of the AI SDK
6.0 (``@ai-sdk/mistral`` reads the first choice of every chunk, so usage must not come in one without choices).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from motive_core.dialects.base import RequestHead
from motive_core.ir import ChatRequest, Json

type Envelope = Literal["openai", "azure", "mistral", "openrouter", "xai"]
"""The shape of an error."""

_OPENAI_HEAD: Final[Mapping[str, Json]] = {"service_tier": "default", "system_fingerprint": None}


@dataclass(frozen=True, slots=True)
class Flavour:
    """How a host says what OpenAI says otherwise.

    ``reasoning`` is the member of a message that tells it, or ``thinking`` for chunks in its content. ``refusal``: a
    message has a member for one; where it has none, refusals are content, or nobody would see them. ``whole_calls``: a
    stream tells each tool call in one delta, with its name. ``usage`` is where a stream tells it: in a ``chunk`` of
    its own, if that is wanted; always in the ``last`` chunk of a choice; or there under ``x_groq``, and in a chunk of
    its own if that is wanted. ``limit`` is the name of the bound on tokens that it takes. ``head`` is what a reply and
    each chunk have beside id, model and time."""

    name: str
    reasoning: Literal["reasoning_content", "reasoning", "thinking"] = "reasoning_content"
    refusal: bool = True
    whole_calls: bool = False
    usage: Literal["chunk", "last", "x_groq"] = "chunk"
    envelope: Envelope = "openai"
    limit: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"
    head: Mapping[str, Json] = field(default_factory=lambda: _OPENAI_HEAD)


OPENAI: Final = Flavour("", limit="max_completion_tokens")
AZURE: Final = Flavour("azure", envelope="azure", limit="max_completion_tokens")
MISTRAL: Final = Flavour(
    "mistral", reasoning="thinking", refusal=False, whole_calls=True, usage="last", envelope="mistral", head={}
)
GROQ: Final = Flavour(
    "groq",
    reasoning="reasoning",
    refusal=False,
    usage="x_groq",
    head={"service_tier": "on_demand", "system_fingerprint": None},
)
OPENROUTER: Final = Flavour("openrouter", reasoning="reasoning", envelope="openrouter")
XAI: Final = Flavour("xai", envelope="xai")
REASONING: Final = Flavour("reasoning", reasoning="reasoning")
"""Hosts that differ in the name of the reasoning alone."""
COMPATIBLE: Final = Flavour("compatible")
"""What a service is asked in whose host is not known: all of them take OpenAI's first names, few the newer ones."""

_HOSTS: Final[Mapping[str, Flavour]] = {
    ".openai.azure.com": AZURE,
    ".cognitiveservices.azure.com": AZURE,
    ".services.ai.azure.com": AZURE,
    ".mistral.ai": MISTRAL,
    ".groq.com": GROQ,
    ".openrouter.ai": OPENROUTER,
    ".x.ai": XAI,
    ".cerebras.ai": REASONING,
    ".together.ai": REASONING,
    ".together.xyz": REASONING,
}
"""By the end of the host's name, with a dot before it."""

_AGENTS: Final[Mapping[str, Flavour]] = {
    "azureopenai": AZURE,
    "mistral": MISTRAL,
    "groq": GROQ,
    "openrouter": OPENROUTER,
    "ai-sdk/xai": XAI,
    "cerebras": REASONING,
    "together": REASONING,
}
"""By what a User-Agent has in it: ``speakeasy-sdk/python ... mistralai``, ``ai-sdk/mistral``, ``AsyncGroq/Python``."""

_FLAVOURS: Final = {one.name: one for one in (OPENAI, AZURE, MISTRAL, GROQ, OPENROUTER, XAI, REASONING, COMPATIBLE)}


def _flavour_at(host: str) -> Flavour | None:
    host = f".{host.lower().rstrip('.')}"
    return next((flavour for end, flavour in _HOSTS.items() if host.endswith(end)), None)


def flavour_of(head: RequestHead) -> Flavour:
    """The flavour that this client expects."""
    if (flavour := _flavour_at(head.host)) is not None:
        return flavour
    agent = head.headers.get("user-agent", "").lower()
    for mark, flavour in _AGENTS.items():
        if mark in agent:
            return flavour
    return AZURE if "api-key" in head.headers or "/openai/deployments" in head.path else OPENAI


def flavour_of_service(base_url: str) -> Flavour:
    """The flavour that a service at this base URL speaks."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if (flavour := _flavour_at(host)) is not None:
        return flavour
    if "/openai/deployments" in parts.path:
        return AZURE
    return OPENAI if host.endswith(".openai.com") else COMPATIBLE


def service_headers(key: str | None, base_url: str) -> dict[str, str]:
    """Headers of a call to a service at this base URL."""
    if not key:
        return {}
    return {"api-key": key} if flavour_of_service(base_url) is AZURE else {"authorization": f"Bearer {key}"}


def flavour_for(request: ChatRequest) -> Flavour:
    """The flavour of the reply to a request: its ``variant``."""
    return _FLAVOURS.get(request.variant, OPENAI)
