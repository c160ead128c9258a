"""When the first words of a passed stream come: noted in its flow, for views.

Owns the watching only. What passes is not changed, and after the first words not looked at.
"""

from __future__ import annotations

import time
from typing import Final

from mitmproxy import http

from motive_core.dialects import Decoder, dialect_of, is_stream_type
from motive_core.errors import FramingError
from motive_core.stream import Failed, Finished, PartDelta
from motive_shell.heads import head_of

FIRST_TOKEN: Final = "motive.first_token_s"
"""Metadata of a flow: seconds from the request to the first words of the reply."""


class FirstWords:
    """To be a response's ``stream``: gives each piece as it came."""

    def __init__(self, flow: http.HTTPFlow, decoder: Decoder) -> None:
        self._flow = flow
        self._decoder: Decoder | None = decoder

    def __call__(self, data: bytes) -> bytes:
        if self._decoder is not None and data:
            self._look(self._decoder, data)
        return data

    def _look(self, decoder: Decoder, data: bytes) -> None:
        try:
            events = decoder.feed(data)
        except FramingError:
            self._decoder = None
            return
        if any(isinstance(event, PartDelta) for event in events):
            request = self._flow.request
            self._flow.metadata[FIRST_TOKEN] = time.time() - (request.timestamp_end or request.timestamp_start)
            self._decoder = None
        elif any(isinstance(event, Finished | Failed) for event in events):
            self._decoder = None


def watched(flow: http.HTTPFlow) -> FirstWords | bool:
    """What the ``stream`` of a passed reply is to be: one that watches, if this is a stream of a known dialect."""
    response = flow.response
    if (
        response is None
        or response.status_code != 200
        or response.headers.get("content-encoding", "identity") != "identity"
    ):
        return True
    dialect = dialect_of(head_of(flow.request)) if is_stream_type(response.headers.get("content-type", "")) else None
    return FirstWords(flow, dialect.decoder()) if dialect is not None else True
