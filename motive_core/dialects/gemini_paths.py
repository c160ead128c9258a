"""The paths of the Gemini API and of Vertex AI, which tell the model and the method of a call.

Owns the two ways between a path and what it names. Knows no body.

A path may have another one before it (a gateway's), which is not kept. The model of a tuned model or of an endpoint is
its bare id, since a model is a session here; the whole collection before it is kept for ``target``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from motive_core.dialects.base import RequestHead

DEFAULT_COLLECTION: Final = "/v1beta/models"
"""Where models are, for requests that came from another dialect."""

ARRAY: Final = "array"
"""``ChatRequest.variant`` of a stream that is one JSON array: what the API sends without ``alt=sse``."""

GENERATE: Final = "generateContent"
STREAM: Final = "streamGenerateContent"

# Bounded, and no two repetitions in a row that could share characters: a path may be as long as its sender likes.
_VERSION: Final = r"(?:\A|/v\d{1,3}(?:(?:alpha|beta)\d{0,3})?)"
_COLLECTION: Final = (
    rf"{_VERSION}/(?:models|tunedModels|publishers/google/models"
    r"|projects/[^/]+/locations/[^/]+/(?:publishers/google/models|models|endpoints))"
)
_CALLED: Final = re.compile(rf"(?P<collection>{_COLLECTION})/(?P<model>.+)")
_METHOD: Final = re.compile(r"[A-Za-z]+")
_LIST: Final = re.compile(rf"(?P<collection>{_COLLECTION})(?:/(?P<model>.+))?/?\Z")
_VERSIONED: Final = re.compile(r"/v\d{1,3}(?:(?:alpha|beta)\d{0,3})?(?:/|\Z)")
_COLLECTIONS: Final = ("models/", "tunedModels/")
_METHOD_OF: Final = {False: GENERATE, True: f"{STREAM}?alt=sse"}
_GOOGLE_ONLY: Final = re.compile(r"/v\d+(?:alpha|beta)\d*/(?!openai/)")
_GOOGLE_AGENT: Final = re.compile(r"google-genai-sdk/|genai-js/|GeminiCLI")


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names. ``collection`` is still percent-encoded (``/v1beta/models``), ``model`` is not; it is empty
    for the collection itself, and so is ``method`` for a path without one."""

    collection: str
    model: str
    method: str


def call_of(head: RequestHead) -> Place | None:
    """The model and the method that a path calls; None if it is no such path."""
    before, _, method = head.path.rpartition(":")
    found = _CALLED.search(before) if _METHOD.fullmatch(method) is not None else None
    return None if found is None else Place(found["collection"], unquote(found["model"]), method)


def listed_of(head: RequestHead) -> Place | None:
    """The model, or all of them, that a path without a method names; None if it is no such path."""
    found = _LIST.search(head.path)
    return None if found is None else Place(found["collection"], unquote(found["model"] or "").rstrip("/"), "")


def variant_of(head: RequestHead) -> str:
    """How the reply to a streaming call is said: ``alt=sse`` asks for server-sent events. ``$alt`` is the name that
    Google's older clients use, with more behind a semicolon."""
    wanted = ""
    for name, value in parse_qsl(head.query):
        if name in ("alt", "$alt"):
            wanted = value.partition(";")[0]
    return "" if wanted.lower() == "sse" else ARRAY


def target_of(collection: str, model: str, *, stream: bool, variant: str) -> str:
    """The path and query of a call."""
    if not stream:
        return f"{collection}/{quote(model, safe='@')}:{GENERATE}"
    return f"{collection}/{quote(model, safe='@')}:{STREAM}{'' if variant == ARRAY else '?alt=sse'}"


def url_at(base_url: str, model: str, *, stream: bool) -> str:
    """Where a call goes by a base URL: a host or a gateway, to which the SDKs add a version; one with a version; or one
    of Vertex AI, ``.../publishers/google``. A model may have its collection before it: ``tunedModels/x``."""
    base = base_url.rstrip("/").removesuffix("/models")
    path = urlsplit(base).path
    before = "" if _VERSIONED.search(path) else DEFAULT_COLLECTION.removesuffix("/models")
    if model.startswith(_COLLECTIONS):
        return f"{base}{before}/{quote(model, safe='@/')}:{_METHOD_OF[stream]}"
    return f"{base}{before}/models/{quote(model, safe='@')}:{_METHOD_OF[stream]}"


def is_google(head: RequestHead) -> bool:
    """Whether the client seems to be one of the Gemini API: by its headers, by the key in its query, or because only
    Google has such versions in its paths."""
    headers = head.headers
    return (
        "x-goog-api-key" in headers
        or "x-goog-api-client" in headers
        or _GOOGLE_AGENT.search(headers.get("user-agent", "")) is not None
        or any(name == "key" for name, _ in parse_qsl(head.query))
        or _GOOGLE_ONLY.match(head.path) is not None
    )
