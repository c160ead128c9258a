"""What a wire dialect is: the contract that every file in this folder keeps, and the request head it decides by.

A dialect is stateless; its decoder and encoder hold the state of one stream. None of them does I/O or reads a clock:
ids and times come in with the reply. A dialect never imports a sibling.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final
from urllib.parse import urlsplit

from motive_core.errors import Allowance, MotiveError, NotFoundError, TooManyRequestsError, whole_seconds
from motive_core.ir import ChatRequest, Message, Reply
from motive_core.stream import ReplyEvent

JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What is known of a request before its body. ``path`` has no query and is still percent-encoded; header names are
    lower-case."""

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


NO_HEAD: Final = RequestHead("POST", "", 0, "")
"""For a body that was not sent to any path: dialects that tell the model there find none."""


@dataclass(frozen=True, slots=True)
class KeptReply:
    """A reply that a client may name later, and the conversation that it ends. ``request`` has a ``previous`` only if
    that conversation began with a reply of the real service, which is not known here."""

    request: ChatRequest
    reply: Reply


@dataclass(frozen=True, slots=True)
class SideCall:
    """A request beside the chat: a list of models, a count of tokens, a reply that was kept.

    ``models`` are what there is to talk to. ``kept`` finds a reply by its id, for the client that it went to;
    ``forget`` drops it, and tells whether it was there."""

    head: RequestHead
    body: bytes
    models: Sequence[ModelInfo]
    kept: Callable[[str], KeptReply | None]
    forget: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class WireReply:
    """A reply that is ready to be sent. ``content_type`` is not among ``headers``."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)


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


def go_duration(seconds: float) -> str:
    """A duration as Go writes it, rounded up to whole milliseconds: ``12ms``, ``1.5s``, ``6m0s``, ``1h0m0s``."""
    left = math.ceil(round(seconds * 1000, 6))
    if left < 1000:
        return f"{left}ms"
    minutes, left = divmod(left, 60_000)
    hours, minutes = divmod(minutes, 60)
    told = f"{left / 1000:g}s"
    if minutes or hours:
        told = f"{minutes}m{told}"
    return f"{hours}h{told}" if hours else told


class Dialect(abc.ABC):
    """One wire format, both directions of both ends."""

    name: ClassVar[str]
    """Its name in config and logs: ``openai-chat``, ``anthropic-messages``."""
    stream_type: ClassVar[str] = "text/event-stream; charset=utf-8"
    """Content type of a streamed reply."""
    malformed_frame: ClassVar[bytes] = b'data: {"malformed\n\n'
    """What stands among the frames of such a reply and is none, but is read as one: a fault made on purpose."""
    default_service: ClassVar[str]
    """Base of the real service, scheme and host: where a call goes that came by base_url and is passed on."""

    base_path: ClassVar[str] = ""
    """What ``target`` begins with and a base URL may end with: ``/v1``."""

    base_has_path: ClassVar[bool] = False
    """Whether the vendor's SDKs count it to the base URL, so that one with any path has it, by whatever name."""

    reply_prefix: ClassVar[str] = ""
    """What the id of a reply begins with, as the vendor's own do."""

    endpoints: ClassVar[tuple[str, ...]]
    """What it answers at the meeting point, for people: ``POST /v1/chat/completions``."""

    @abc.abstractmethod
    def matches(self, head: RequestHead) -> bool:
        """Whether this request is a chat call in this dialect (by method and path; the host was checked before)."""

    @abc.abstractmethod
    def speaks(self, head: RequestHead) -> bool:
        """Whether this client seems to speak this dialect at all: chooses the envelope for model lists and errors on
        paths that belong to no dialect. By headers, such as ``anthropic-version``."""

    def for_client(self, head: RequestHead) -> Dialect:
        """This dialect as the client of a request expects its errors and lists of models, where clients differ."""
        return self

    @abc.abstractmethod
    def parse_request(self, body: bytes, head: RequestHead = NO_HEAD) -> ChatRequest:
        """``head`` is needed where the path tells the model or whether to stream. Raises ``BadRequestError`` (with
        ``param``) if the body cannot be understood; unknown fields are kept."""

    @abc.abstractmethod
    def render_request(self, request: ChatRequest) -> bytes:
        """The body that asks for this. What this dialect cannot carry degrades as its module docstring says."""

    @abc.abstractmethod
    def target(self, request: ChatRequest) -> str:
        """The path and query that such a body is sent to, from the host of the service on."""

    def asked_of(self, base_url: str, request: ChatRequest) -> ChatRequest:
        """A request as a service at this base URL wants it, whoever has made it: with a ``variant`` that is the
        service's, not the client's."""
        return replace(request, variant="")

    def url(self, base_url: str, request: ChatRequest) -> str:
        """Where a service at this base URL takes the body of a request, as ``asked_of`` gives it. A base URL is what
        the vendor's SDK is given, or a host; one that is the whole address is taken as it is."""
        return joined(base_url, self.target(request), self.base_path, has_path=self.base_has_path)

    def call_headers(self, key: str | None, base_url: str = "") -> dict[str, str]:
        """Headers of a call to a service, its content type aside. ``key`` is the API key, if there is one."""
        return {"authorization": f"Bearer {key}"} if key else {}

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

    def content_type(self, request: ChatRequest) -> str:
        """Content type of the successful reply to ``request``."""
        return self.stream_type if request.stream else JSON_TYPE

    def malformed(self, request: ChatRequest) -> bytes:
        """Bytes that make the reply to ``request`` one that cannot be read, wherever they stand in it."""
        return self.malformed_frame if self.content_type(request) == self.stream_type else b'{"malformed'

    @abc.abstractmethod
    def render_error(self, error: MotiveError, request_id: str) -> bytes:
        """The body of an error reply. The status is ``error_status``."""

    def error_status(self, error: MotiveError) -> int:
        """The status of an error reply."""
        return error.status

    def error_headers(self, error: MotiveError, request_id: str) -> dict[str, str]:
        """Headers of an error reply, in lower case."""
        headers = {"content-type": JSON_TYPE, **self.reply_headers(request_id)}
        if not error.retryable:
            # Honoured by the Stainless SDKs (openai, anthropic, groq: _base_client.py, _should_retry).
            headers["x-should-retry"] = "false"
        else:
            headers["retry-after"] = str(whole_seconds(error.retry_after_s))
            # More exact, and read first by the Stainless SDKs and cohere's (core/http_client.py).
            headers["retry-after-ms"] = str(math.ceil(error.retry_after_s * 1000))
        if isinstance(error, TooManyRequestsError) and error.allowance is not None:
            headers |= self.allowance_headers(error.allowance)
        return headers

    def allowance_headers(self, allowance: Allowance) -> dict[str, str]:
        """Headers that tell a client what it may still do: as OpenAI's, which most others have taken over. The reset is
        a duration of Go: ``6m0s``."""
        return {
            "x-ratelimit-limit-requests": str(allowance.limit),
            "x-ratelimit-remaining-requests": str(allowance.remaining),
            "x-ratelimit-reset-requests": go_duration(allowance.reset_s),
        }

    def reply_headers(self, request_id: str) -> dict[str, str]:
        """Headers that every reply of this dialect has, its content type aside."""
        return {"x-request-id": request_id}

    @abc.abstractmethod
    def render_models(self, models: Sequence[ModelInfo]) -> bytes:
        """The body of a model list."""

    def serves(self, head: RequestHead) -> bool:
        """Whether this is a call beside the chat that ``serve`` answers at the meeting point. Where a path is that of
        several vendors (``/v1/models``), the headers decide."""
        return False

    def serve(self, call: SideCall) -> WireReply:
        """Answer a call that ``serves`` is true for. Raises ``MotiveError``."""
        raise NotFoundError(f"{call.head.method} {call.head.path} is not served here.")

    def names_reply(self, head: RequestHead) -> str | None:
        """The id of the kept reply that a call beside the chat is about; None for all other calls."""
        return None

    def continued(self, request: ChatRequest, kept: KeptReply) -> ChatRequest:
        """A request with the conversation before it in the place of the id that names it (``previous``)."""
        said = Message("assistant", kept.reply.choices[0].parts if kept.reply.choices else ())
        messages = (*kept.request.messages, said, *request.messages)
        return replace(request, messages=messages, previous=kept.request.previous)

    def resolved(self, request: ChatRequest, kept: Callable[[str], KeptReply | None]) -> ChatRequest:
        """A request that says itself what it quoted of kept replies by their ids; the same one if it did not. ``kept``
        finds a reply by its id. Raises ``BadRequestError`` for quotations that the vendor refuses."""
        return request


def joined(base_url: str, target: str, base_path: str, *, has_path: bool) -> str:
    """A base URL and the target of a call, with what both have in common only once. ``has_path``: whatever the path of
    the base URL is, it stands for ``base_path``."""
    base = base_url.rstrip("/")
    path, rest = urlsplit(base).path, target.removeprefix(base_path)
    bare, mark, query = rest.partition("?")
    if path.endswith(bare):
        return f"{base}{mark}{query}"
    if path and base_path and (has_path or path.endswith(base_path)):
        return base + rest
    return base + target
