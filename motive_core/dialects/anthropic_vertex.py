"""The paths of Anthropic's models on Vertex AI: ``.../publishers/anthropic/models/{model}:rawPredict``.

Owns the two ways between a path and what it names. Knows no body: that is the one of the Messages API without
``model``, and with ``anthropic_version``, which tells that it is one of Anthropic's.

A path may have another one before it (a gateway's), which is not kept, and may come without a version, as by the SDK
that is given a base URL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from motive_core.dialects.base import RequestHead

VERSION: Final = "vertex-2023-10-16"
"""What a body has as its ``anthropic_version``."""

_WHOLE: Final = "rawPredict"
_STREAMED: Final = "streamRawPredict"
_COUNT: Final = "count-tokens"
"""What stands in the place of a model where tokens are counted (SDK: ``lib/vertex/_client.py``)."""

_CALL: Final = re.compile(
    r"(?P<models>/(?:v\d[a-z\d]*/)?(?:projects/[^/]+/locations/[^/]+/)?publishers/anthropic/models)"
    r"/(?P<model>.+)"
)


_MODELS: Final = re.compile(r"/publishers/anthropic(?:/models)?\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names. ``models`` is where the models are, still percent-encoded; ``model`` is not."""

    models: str
    model: str
    stream: bool


def _place_of(head: RequestHead) -> Place | None:
    # The method apart from the rest: one regex would try each beginning with each end.
    before, _, method = head.path.rpartition(":")
    found = _CALL.search(before) if head.method == "POST" and method in (_WHOLE, _STREAMED) else None
    if found is None:
        return None
    models = found["models"] if found["models"].startswith("/v") else f"/v1{found['models']}"
    return Place(models, unquote(found["model"]), method == _STREAMED)


def call_of(head: RequestHead) -> Place | None:
    """The model that a path calls; None if it is no such path."""
    place = _place_of(head)
    return None if place is None or place.model == _COUNT else place


def is_count(head: RequestHead) -> bool:
    """Whether a path counts the tokens of a request, whose body names the model."""
    place = _place_of(head)
    return place is not None and place.model == _COUNT


def target_of(models: str, model: str, *, stream: bool) -> str:
    """The path of a call."""
    return f"{models}/{quote(model, safe='@')}:{_STREAMED if stream else _WHOLE}"


def models_at(base_url: str) -> str:
    """Where the models are of a base URL that is one of Vertex AI, ``.../publishers/anthropic`` with or without
    ``/models``; empty for any other."""
    path = urlsplit(base_url).path.rstrip("/")
    return f"{path.removesuffix('/models')}/models" if _MODELS.search(path) else ""


def is_place(variant: str) -> bool:
    """Whether a ``variant`` is one of ``models_at``, and not that of another dialect."""
    return _MODELS.search(variant) is not None


def vertex_url(base_url: str, model: str, *, stream: bool) -> str | None:
    """Where a call goes by such a base URL; None for any other."""
    models = models_at(base_url)
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}{target_of(models, model, stream=stream)}" if models else None
