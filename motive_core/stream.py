"""Reply events: a reply as it is spoken, in a form that every dialect's decoder gives and every encoder takes.

Owns the event types and the two ways between them and a whole ``Reply``: ``replay`` and ``collect``, with
``collect(replay(reply)) == reply``. Knows no bytes.

The grammar of a well-formed stream::

    stream := Started (PartStarted | PartDelta | SignatureDelta | PartEnded | ChoiceEnded | UsageReported)* end
    end    := Finished | Failed

``choice`` counts from 0. ``part`` counts from 0 within its choice, in order of first appearance. Several parts may be
open at once (OpenAI interleaves parallel tool calls); a part that is still open when its choice ends is ended by that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import assert_never

from motive_core.errors import FramingError, MotiveError
from motive_core.ir import (
    NO_EXTRA,
    BlobPart,
    Choice,
    Extra,
    FinishReason,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Started:
    """The first event. ``usage`` is what is known before the first token (Anthropic tells the input tokens).
    ``dialect`` is the one that the stream was decoded from; see ``Reply``."""

    reply_id: str
    model: str
    created: int = 0
    usage: Usage | None = None
    extra: Extra = field(default=NO_EXTRA, kw_only=True)
    dialect: str = field(default="", kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class PartStarted:
    """A part begins. Text, refusal, reasoning and tool-call parts start with what is known (most often an empty text)
    and grow by deltas; blob, opaque and tool-result parts come whole."""

    choice: int
    part: int
    value: Part


@dataclass(frozen=True, slots=True)
class PartDelta:
    """More text of an open part: of a tool call, more of its ``arguments``."""

    choice: int
    part: int
    text: str


@dataclass(frozen=True, slots=True)
class SignatureDelta:
    """The signature of an open reasoning part, or more of it."""

    choice: int
    part: int
    signature: str


@dataclass(frozen=True, slots=True)
class PartEnded:
    """No more of this part. ``extra`` holds fields of it that were known only while it was spoken (Anthropic's
    citations); they replace those of the same names that it started with."""

    choice: int
    part: int
    extra: Extra = field(default=NO_EXTRA, kw_only=True)


@dataclass(frozen=True, slots=True)
class ChoiceEnded:
    """No more of this choice."""

    choice: int
    finish_reason: FinishReason
    stop_sequence: str | None = None
    extra: Extra = field(default=NO_EXTRA, kw_only=True)


@dataclass(frozen=True, slots=True)
class UsageReported:
    """Usage so far; the last one counts."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Finished:
    """The stream is complete."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream ends here, with an error after the headers were out."""

    error: MotiveError


type ReplyEvent = (
    Started | PartStarted | PartDelta | SignatureDelta | PartEnded | ChoiceEnded | UsageReported | Finished | Failed
)


def replay(reply: Reply, pieces: Callable[[str], Iterable[str]] | None = None) -> Iterator[ReplyEvent]:
    """Say a whole reply as events: one delta a part, or those that ``pieces`` splits its text into, which must join to
    it again."""
    yield Started(reply.reply_id, reply.model, reply.created, extra=reply.extra, dialect=reply.dialect)
    for number, choice in enumerate(reply.choices):
        for index, part in enumerate(choice.parts):
            yield from replay_part(number, index, part, pieces(text_of(part)) if pieces is not None else None)
        yield ChoiceEnded(number, choice.finish_reason, choice.stop_sequence, extra=choice.extra)
    if reply.usage is not None:
        yield UsageReported(reply.usage)
    yield Finished()


def text_of(part: Part) -> str:
    """What is said of a part by deltas: of a tool call, its arguments. Empty for one that comes whole."""
    match part:
        case TextPart(text) | RefusalPart(text) | ReasoningPart(text):
            return text
        case ToolCallPart():
            return part.arguments
        case BlobPart() | OpaquePart() | ToolResultPart():
            return ""
        case _:
            assert_never(part)


def replay_part(choice: int, index: int, part: Part, pieces: Iterable[str] | None = None) -> Iterator[ReplyEvent]:
    """One part as events. ``pieces`` (which must join to the part's text) are its deltas; by default one delta."""
    match part:
        case TextPart() | RefusalPart():
            yield PartStarted(choice, index, replace(part, text=""))
            text, signature = part.text, None
        case ReasoningPart():
            yield PartStarted(choice, index, replace(part, text="", signature=None))
            text, signature = part.text, part.signature
        case ToolCallPart():
            yield PartStarted(choice, index, replace(part, arguments=""))
            text, signature = part.arguments, None
        case BlobPart() | OpaquePart() | ToolResultPart():
            yield PartStarted(choice, index, part)
            text, signature = "", None
        case _:
            assert_never(part)
    for piece in pieces if pieces is not None else (text,):
        if piece:
            yield PartDelta(choice, index, piece)
    if signature is not None:
        yield SignatureDelta(choice, index, signature)
    yield PartEnded(choice, index)


@dataclass(slots=True)
class _OpenPart:
    """A part under construction: what it started as, and its pieces."""

    start: Part
    pieces: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)

    def value(self) -> Part:
        text = "".join(self.pieces)
        match self.start:
            case ReasoningPart() as part:
                signature = "".join(self.signature) if self.signature else part.signature
                return replace(part, text=part.text + text, signature=signature)
            case TextPart() | RefusalPart() as part:
                return replace(part, text=part.text + text)
            case ToolCallPart() as part:
                return replace(part, arguments=part.arguments + text)
            case BlobPart() | OpaquePart() | ToolResultPart() as part:
                return part
            case _:
                assert_never(self.start)


class Collector:
    """Builds a ``Reply`` from events, at any point: ``reply()`` gives what has been said so far."""

    def __init__(self) -> None:
        self._started = Started("", "")
        self._choices: dict[int, dict[int, _OpenPart]] = {}
        self._ended: dict[int, ChoiceEnded] = {}
        self._usage: Usage | None = None
        self.complete = False
        self.error: MotiveError | None = None

    def add(self, event: ReplyEvent) -> None:
        """Take one event. Raises ``FramingError`` for a delta of a part that was never started."""
        match event:
            case Started():
                self._started = event
                self._usage = event.usage
            case PartStarted(choice, index, value):
                self._choices.setdefault(choice, {})[index] = _OpenPart(value)
            case PartDelta(choice, index, text):
                self._open(choice, index).pieces.append(text)
            case SignatureDelta(choice, index, signature):
                self._open(choice, index).signature.append(signature)
            case PartEnded(choice, index):
                if event.extra:
                    part = self._open(choice, index)
                    if not isinstance(part.start, OpaquePart):
                        part.start = replace(part.start, extra={**part.start.extra, **event.extra})
            case ChoiceEnded(choice):
                self._choices.setdefault(choice, {})
                self._ended[choice] = event
            case UsageReported(usage):
                self._usage = usage
            case Finished():
                self.complete = True
            case Failed(error):
                self.error = error
            case _:
                assert_never(event)

    def _open(self, choice: int, index: int) -> _OpenPart:
        try:
            return self._choices[choice][index]
        except KeyError:
            raise FramingError(f"delta for part {index} of choice {choice}, which was never started") from None

    def reply(self) -> Reply:
        """What has been said so far, as a whole reply."""
        choices = []
        for number in sorted(self._choices):
            parts = self._choices[number]
            end = self._ended.get(number) or ChoiceEnded(number, "stop")
            choices.append(
                Choice(
                    tuple(parts[index].value() for index in sorted(parts)),
                    end.finish_reason,
                    end.stop_sequence,
                    extra=end.extra,
                )
            )
        start = self._started
        return Reply(
            start.reply_id,
            start.model,
            tuple(choices),
            self._usage,
            start.created,
            extra=start.extra,
            dialect=start.dialect,
        )


def collect(events: Iterable[ReplyEvent]) -> Reply:
    """Put a stream together again. Raises the stream's own error if it failed, ``FramingError`` if it was cut."""
    collector = Collector()
    for event in events:
        collector.add(event)
    if collector.error is not None:
        raise collector.error
    if not collector.complete:
        raise FramingError("the stream ended before its end event")
    return collector.reply()
