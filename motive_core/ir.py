"""The intermediate representation that any two wire dialects meet in.

Owns: frozen values for a request, its messages and their parts, and a reply. Knows no dialect, no clock and no I/O.
What a dialect says and we have no field for rides in ``extra`` (re-emitted only to the dialect that it came from) or
in an ``OpaquePart``; nothing is dropped. Tool arguments stay the text that was sent: re-serialising them would change
bytes that an app may compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

type Json = Any
"""A decoded JSON value. ``Any``: a recursive alias costs mypy more than it tells a reader."""

type Extra = Mapping[str, Json]
"""Fields of a vendor's object that the IR has no name for, by their wire names."""

NO_EXTRA: Final[Extra] = MappingProxyType({})

type Role = Literal["system", "developer", "user", "assistant", "tool"]
"""``tool`` messages hold ``ToolResultPart``s only. A user message may hold them too (Anthropic, Gemini)."""

type FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "error", "pause"]
"""Why a reply ended. ``error`` is a vendor's own failed generation, ``pause`` Anthropic's ``pause_turn``."""


@dataclass(frozen=True, slots=True)
class TextPart:
    """Plain text."""

    text: str
    extra: Extra = field(default=NO_EXTRA, kw_only=True)


@dataclass(frozen=True, slots=True)
class BlobPart:
    """An image, a sound or a file: ``data`` is base64 text, or ``url`` points at it (``https:``, or a vendor's own
    file id as ``file-id:<id>``). Exactly one of the two is set. ``media_type`` is empty where a URL does not tell."""

    media_type: str
    data: str | None = None
    url: str | None = None
    name: str | None = None
    extra: Extra = field(default=NO_EXTRA, kw_only=True)


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """What a model thought. ``signature`` proves it to the vendor; ``redacted`` is its encrypted form."""

    text: str
    signature: str | None = None
    redacted: str | None = None
    extra: Extra = field(default=NO_EXTRA, kw_only=True)


@dataclass(frozen=True, slots=True)
class RefusalPart:
    """A model's refusal, where the dialect keeps it apart from text."""

    text: str
    extra: Extra = field(default=NO_EXTRA, kw_only=True)


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A model asks for a tool. ``arguments`` is verbatim text: JSON, unless ``custom`` (then free-form input)."""

    call_id: str
    name: str
    arguments: str
    custom: bool = False
    extra: Extra = field(default=NO_EXTRA, kw_only=True)


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """What a tool gave back. ``content`` holds text, blob or opaque parts. ``name`` only where the wire tells it."""

    call_id: str
    content: tuple[Part, ...]
    name: str | None = None
    is_error: bool = False
    extra: Extra = field(default=NO_EXTRA, kw_only=True)


@dataclass(frozen=True, slots=True)
class OpaquePart:
    """A part that we don't know, as ``dialect`` sent it: verbatim to that dialect, as JSON text to others."""

    dialect: str
    raw: Json


type Part = TextPart | BlobPart | ReasoningPart | RefusalPart | ToolCallPart | ToolResultPart | OpaquePart


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. ``name`` is the author's, where a dialect has one."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    extra: Extra = field(default=NO_EXTRA, kw_only=True)

    @property
    def text(self) -> str:
        """The text parts, joined without a separator."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that a request offers. ``schema`` is its JSON Schema; a vendor's own tool (a server tool, a custom one)
    has ``raw`` instead, kept verbatim."""

    name: str
    description: str | None = None
    schema: Json = None
    raw: Json = None
    extra: Extra = field(default=NO_EXTRA, kw_only=True)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """``name`` is set if and only if ``mode`` is ``tool``. ``parallel`` is None where the request does not say."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None
    raw: Json = None


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The shape that a reply must have. ``schema`` is a JSON Schema, for ``json_schema`` only."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: Json = None
    strict: bool | None = None
    extra: Extra = field(default=NO_EXTRA, kw_only=True)


@dataclass(frozen=True, slots=True)
class Sampling:
    """The knobs that most dialects share; None where the request does not say."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call to a model.

    ``messages`` includes system messages, first where the dialect keeps them apart. ``n`` is how many choices are
    wanted. ``include_usage`` is whether a stream ends with usage. ``previous`` is the id of the reply that this request
    continues, where a dialect names it rather than repeat the conversation; ``store`` whether the reply may be named so
    later. ``variant`` is how the client wants the reply said where its dialect has more than one way, in the dialect's
    own words. ``raw`` is the body as it came, which a pass-through forwards. The last two take no part in equality."""

    dialect: str
    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    sampling: Sampling = Sampling()
    n: int = 1
    include_usage: bool = False
    previous: str | None = None
    store: bool = False
    extra: Extra = field(default=NO_EXTRA, kw_only=True)
    variant: str = field(default="", kw_only=True, compare=False)
    raw: bytes = field(default=b"", kw_only=True, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts. ``input_tokens`` includes ``cached_tokens``, ``output_tokens`` includes ``reasoning_tokens``; -1 is
    a count that a service does not tell. ``estimated`` marks our own count (4 characters a token); it is never put on
    the wire."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    extra: Extra = field(default=NO_EXTRA, kw_only=True)

    @property
    def total_tokens(self) -> int:
        """Input and output; -1 where one of them is not known."""
        return -1 if self.input_tokens < 0 or self.output_tokens < 0 else self.input_tokens + self.output_tokens


UNTOLD_USAGE: Final = Usage(-1, -1)
"""That of a service that counts, and does not tell."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One alternative of a reply. ``stop_sequence`` is the one that was hit, if any."""

    parts: tuple[Part, ...]
    finish_reason: FinishReason = "stop"
    stop_sequence: str | None = None
    extra: Extra = field(default=NO_EXTRA, kw_only=True)


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's whole reply. ``created`` is in Unix seconds, 0 if the dialect does not tell. ``dialect`` is where it
    was parsed from, and so the owner of the ``extra`` fields in it; empty if it was made here. It takes no part in
    equality."""

    reply_id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    created: int = 0
    extra: Extra = field(default=NO_EXTRA, kw_only=True)
    dialect: str = field(default="", kw_only=True, compare=False)
