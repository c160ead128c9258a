"""What a wire dialect is: the contract that every file in this folder keeps, and the request head it decides by.

A dialect is stateless; its decoder and encoder hold the state of one stream. None of them does I/O or reads a clock:
ids and times come in with the reply. A dialect never imports a sibling.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from motive_core.errors import MotiveError
from motive_core.ir import ChatRequest, Reply
from motive_core.stream import ReplyEvent

JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What is known of a request before its body. ``path`` has no query; header names are lower-case."""

    method: str
    host: str
    port: int
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model to list. ``created`` is in Unix seconds."""

    model: str
    created: int
    owned_by: str = "motive"


class Decoder(abc.ABC):
    """Stream bytes in, reply events out. Any split of the bytes gives the same events (deltas may be finer)."""

    @abc.abstractmethod
    def feed(self, data: bytes) -> list[ReplyEvent]:
        """Take more bytes. Raises ``FramingError`` for bytes that are not this dialect."""

    @abc.abstractmethod
    def close(self) -> list[ReplyEvent]:
        """End of input. Gives ``Failed`` if the stream was cut before its end."""


class Encoder(abc.ABC):
    """Reply events in, stream bytes out; one an exchange, synchronous.

    It closes what is open: on ``Finished`` and on ``Failed`` it ends parts that were left open in the way that its
    clients expect. Bytes may be held back until the dialect can say them (a part that may not interleave).
    """

    @abc.abstractmethod
    def encode(self, event: ReplyEvent) -> bytes:
        """The bytes of one event; may be empty."""

    def encode_all(self, events: Iterable[ReplyEvent]) -> bytes:
        """The bytes of several events, joined."""
        return b"".join([self.encode(event) for event in events])

    @abc.abstractmethod
    def heartbeat(self) -> bytes:
        """Bytes that keep the connection alive and change nothing for the client; empty if the dialect has none."""


class Dialect(abc.ABC):
    """One wire format, both directions of both ends."""

    name: ClassVar[str]
    """Its name in config and logs: ``openai-chat``, ``anthropic-messages``."""
    stream_type: ClassVar[str]
    """Content type of a streamed reply."""
    default_service: ClassVar[str]
    """Base of the real service, scheme and host: where a call goes that came by base_url and is passed on."""

    reply_prefix: ClassVar[str] = ""
    """What the id of a reply begins with, as the vendor's own do."""

    @abc.abstractmethod
    def matches(self, head: RequestHead) -> bool:
        """Whether this request is a chat call in this dialect (by method and path; the host was checked before)."""

    @abc.abstractmethod
    def speaks(self, head: RequestHead) -> bool:
        """Whether this client seems to speak this dialect at all: chooses the envelope for model lists and errors on
        paths that belong to no dialect. By headers, such as ``anthropic-version``."""

    @abc.abstractmethod
    def parse_request(self, body: bytes) -> ChatRequest:
        """Raises ``BadRequestError`` (with ``param``) if the body cannot be understood; unknown fields are kept."""

    @abc.abstractmethod
    def render_request(self, request: ChatRequest) -> bytes:
        """The body that asks for this. What this dialect cannot carry degrades as its module docstring says."""

    @abc.abstractmethod
    def parse_reply(self, body: bytes) -> Reply:
        """Parse a whole, successful reply. Raises ``FramingError``."""

    @abc.abstractmethod
    def render_reply(self, request: ChatRequest, reply: Reply) -> bytes:
        """The whole reply to ``request``. ``reply.model`` is what the caller asked for."""

    @abc.abstractmethod
    def decoder(self) -> Decoder:
        """A decoder for one streamed reply."""

    @abc.abstractmethod
    def encoder(self, request: ChatRequest) -> Encoder:
        """An encoder for the streamed reply to ``request``."""

    @abc.abstractmethod
    def render_error(self, error: MotiveError, request_id: str) -> bytes:
        """The body of an error reply. The status is ``error.status``."""

    def error_headers(self, error: MotiveError, request_id: str) -> dict[str, str]:
        """Headers of an error reply, in lower case."""
        headers = {"content-type": JSON_TYPE, **self.reply_headers(request_id)}
        if not error.retryable:
            # Honoured by the Stainless SDKs (openai, anthropic, groq: _base_client.py, _should_retry).
            headers["x-should-retry"] = "false"
        elif error.retry_after_s is not None:
            headers["retry-after"] = str(max(1, round(error.retry_after_s)))
        return headers

    def reply_headers(self, request_id: str) -> dict[str, str]:
        """Headers that every reply of this dialect has, its content type aside."""
        return {"x-request-id": request_id}

    @abc.abstractmethod
    def render_models(self, models: Sequence[ModelInfo]) -> bytes:
        """The body of a model list."""
