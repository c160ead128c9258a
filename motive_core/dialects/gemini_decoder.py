"""The replies of the Gemini API, in: chunks to reply events. A whole reply is a stream of one chunk.

Owns what is known of the candidates that are open. Takes parts from ``gemini_parts`` and the words of a reply from
``gemini_reply``. Knows no request.

A stream is server-sent events or one JSON array: its first byte tells. It has no borders between parts: text that
follows text is more of it, and so is reasoning that follows reasoning, until a piece tells something beside its text (a
signature, most often with an empty text): that ends the part. All other parts come whole.

There is no end mark either: a stream is complete if it ends after every candidate has told its finish reason, or if it
has told that the prompt was blocked. What a candidate tells beside its parts (``groundingMetadata``) comes with its
end: later chunks replace what earlier ones told, but citations and log probabilities add to it. Unknown members of the
reply itself are those of its first chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from motive_core.dialects.decoding import FrameDecoder
from motive_core.dialects.fields import Malformed, count, optional, rest
from motive_core.dialects.gemini_parts import NAME, camel_object, inner, items, loads, parse_part
from motive_core.dialects.gemini_reply import is_blocked, parse_error, parse_finish, parse_usage
from motive_core.errors import FramingError
from motive_core.framing import JsonArrayDecoder, SseDecoder
from motive_core.ir import NO_EXTRA, Extra, Json, Part, ReasoningPart, Reply, TextPart, ToolCallPart, Usage
from motive_core.stream import (
    ChoiceEnded,
    Collector,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    ReplyEvent,
    SignatureDelta,
    Started,
    UsageReported,
)

_REPLY_FIELDS: Final = ("candidates", "usageMetadata", "modelVersion", "responseId")
_GROWING: Final = frozenset({"citationMetadata", "logprobsResult"})
_DONE: Final = b"[DONE]"
"""No part of the API; services that imitate it may end a stream with it."""
_TEXT_CHUNK: Final = frozenset({"content", "index"})
_TEXT_CONTENT: Final = frozenset({"parts", "role"})
_NO_REASON: Final = "FINISH_REASON_UNSPECIFIED"


class _Candidate:
    """One candidate: the part of text that is open in it, and what its end tells. The same part of text goes on while
    its kind does; the number of the open part is that of the last one."""

    def __init__(self, number: int) -> None:
        self.finish: str | None = None
        self._number = number
        self._parts = 0
        self._open: type[TextPart | ReasoningPart] | None = None
        self._called = False
        self._call_ids: set[str] = set()
        self._extra: dict[str, Json] = {}
        self._content: dict[str, Json] = {}

    def take(self, raw: dict[str, Json], where: str, events: list[ReplyEvent]) -> None:
        """What a chunk says of this candidate."""
        content = inner(raw, "content", where)
        for number, part in enumerate(items(content.get("parts"))):
            if isinstance(part, dict) and len(part) == 1 and isinstance(text := part.get("text"), str):
                self.say(TextPart, text, events)
            else:
                self._take_part(parse_part(part, f"{where}.content.parts[{number}]"), events)
        finish = optional(raw, "finishReason", str, where)
        if finish is not None and finish != _NO_REASON:
            self.finish = finish
        for key, value in rest(raw, "content", "finishReason", "index").items():
            grows = key in _GROWING and isinstance(value, dict)
            self._extra[key] = _grown(self._extra.get(key), value) if grows else value
        self._content |= rest(content, "parts", "role")

    def say(self, kind: type[TextPart | ReasoningPart], text: str, events: list[ReplyEvent]) -> None:
        """More text, or more reasoning."""
        if not text:
            return
        if self._open is not kind:
            self._begin(kind(""), events)
            self._open = kind
        events.append(PartDelta(self._number, self._parts - 1, text))

    def end(self, events: list[ReplyEvent], *, blocked: bool = False) -> None:
        """The end of the candidate, and of what is open in it."""
        self._close(events, NO_EXTRA)
        finish, extra = parse_finish(self.finish, called=self._called)
        extra |= self._extra
        if self._content:
            extra["content"] = self._content
        events.append(ChoiceEnded(self._number, "content_filter" if blocked else finish, extra=extra or NO_EXTRA))

    def _begin(self, part: Part, events: list[ReplyEvent]) -> int:
        self._close(events, NO_EXTRA)
        number = self._parts
        self._parts += 1
        events.append(PartStarted(self._number, number, part))
        return number

    def _close(self, events: list[ReplyEvent], extra: Extra) -> None:
        if self._open is not None:
            self._open = None
            events.append(PartEnded(self._number, self._parts - 1, extra=extra))

    def _take_part(self, part: Part, events: list[ReplyEvent]) -> None:
        match part:
            case TextPart(text) | ReasoningPart(text):
                self._take_text(part, text, events)
            case ToolCallPart(arguments=arguments):
                number = self._begin(self._named(part), events)
                self._called = True
                events += [PartDelta(self._number, number, arguments), PartEnded(self._number, number)]
            case _:
                number = self._begin(part, events)
                events.append(PartEnded(self._number, number))

    def _take_text(self, part: TextPart | ReasoningPart, text: str, events: list[ReplyEvent]) -> None:
        kind = type(part)
        signature = part.signature if isinstance(part, ReasoningPart) else None
        self.say(kind, text, events)
        if signature is None and not part.extra:
            return
        if self._open is not kind:
            self._begin(kind(""), events)
            self._open = kind
        if signature is not None:
            events.append(SignatureDelta(self._number, self._parts - 1, signature))
        self._close(events, part.extra)

    def _named(self, call: ToolCallPart) -> ToolCallPart:
        """The start of a call. One without an id, of a name that was called before, has a number behind it."""
        call_id, number = call.call_id, 1
        if "id" in call.extra.get("functionCall", NO_EXTRA):
            while call_id in self._call_ids:
                number += 1
                call_id = f"{call.name}-{number}"
        self._call_ids.add(call_id)
        return ToolCallPart(call_id, call.name, "", extra=call.extra)


def _grown(old: Json, new: dict[str, Json]) -> Json:
    """What two chunks tell of one object whose lists grow."""
    if not isinstance(old, dict):
        return new
    both = {
        key: [*before, *value]
        for key, value in new.items()
        if isinstance(value, list) and isinstance(before := old.get(key), list)
    }
    return {**old, **new, **both}


class _Chunks:
    """The chunks of one reply, to events."""

    def __init__(self) -> None:
        self._started = False
        self._blocked = False
        self._usage: Usage | None = None
        self._candidates: dict[int, _Candidate] = {}

    def take(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        """A chunk. Raises ``Malformed``."""
        extra = rest(raw, *_REPLY_FIELDS)
        self._start(raw, extra, events)
        self._blocked = self._blocked or is_blocked(extra)
        for position, one in enumerate(items(raw.get("candidates"))):
            where = f"candidates[{position}]"
            candidate = camel_object(one, where)
            number = count(candidate, "index") if "index" in candidate else position
            if number not in self._candidates:
                self._candidates[number] = _Candidate(number)
            self._candidates[number].take(candidate, where, events)
        self._take_usage(raw.get("usageMetadata"), events)

    def take_text(self, raw: Json, events: list[ReplyEvent]) -> bool:
        """A chunk that is nothing but more text of a candidate that has begun; gives whether it was one."""
        try:
            (one,) = raw["candidates"]
            content = one["content"]
            (part,) = content["parts"]
            text, candidate = part["text"], self._candidates[one.get("index", 0)]
        except (KeyError, TypeError, ValueError):
            return False
        plain = len(part) == 1 and type(text) is str and one.keys() <= _TEXT_CHUNK and content.keys() <= _TEXT_CONTENT
        if not plain or "promptFeedback" in raw or "error" in raw:
            return False
        candidate.say(TextPart, text, events)
        if "usageMetadata" in raw:
            self._take_usage(raw["usageMetadata"], events)
        return True

    def _take_usage(self, raw: Json, events: list[ReplyEvent]) -> None:
        usage = parse_usage(raw)
        if usage is not None and usage != self._usage:
            self._usage = usage
            events.append(UsageReported(usage))

    @property
    def complete(self) -> bool:
        """Whether the reply may end here."""
        told = [candidate.finish is not None for candidate in self._candidates.values()]
        return all(told) and (bool(told) or self._blocked)

    def end(self, events: list[ReplyEvent]) -> None:
        """The end of the reply."""
        if self._blocked and not self._candidates:
            _Candidate(0).end(events, blocked=True)
        for _, candidate in sorted(self._candidates.items()):
            candidate.end(events)
        events.append(Finished())

    def _start(self, raw: Mapping[str, Json], extra: dict[str, Json], events: list[ReplyEvent]) -> None:
        if self._started:
            return
        self._started = True
        reply_id, model = optional(raw, "responseId", str, "") or "", optional(raw, "modelVersion", str, "") or ""
        events.append(Started(reply_id, model, extra=extra or NO_EXTRA, dialect=NAME))


class _Frames:
    """The chunks of a stream as JSON, whichever way it is framed."""

    def __init__(self) -> None:
        self._frames: SseDecoder | JsonArrayDecoder | None = None

    def feed(self, data: bytes) -> list[bytes]:
        if self._frames is None:
            begun = data.lstrip(b" \t\r\n")
            if not begun:
                return []
            self._frames = JsonArrayDecoder() if begun.startswith((b"[", b"{")) else SseDecoder()
        if isinstance(self._frames, JsonArrayDecoder):
            return self._frames.feed(data)
        return [event.data.encode() for event in self._frames.feed(data)]

    def close(self) -> list[bytes]:
        if self._frames is None:
            return []
        if isinstance(self._frames, JsonArrayDecoder):
            return self._frames.close()
        return [event.data.encode() for event in self._frames.close()]


class GeminiDecoder(FrameDecoder[bytes]):
    """The bytes of one streamed reply to reply events."""

    what = "a stream of the Gemini API"
    cut = "the stream ended before its candidates did"

    def __init__(self) -> None:
        super().__init__(_Frames())
        self._chunks = _Chunks()

    def take(self, frame: bytes, events: list[ReplyEvent]) -> None:
        if frame == _DONE:
            return
        chunk = loads(frame)
        if self._chunks.take_text(chunk, events):
            return
        raw = camel_object(chunk, "")
        if "error" in raw:
            self.done = True
            events.append(Failed(parse_error(raw["error"])))
        else:
            self._chunks.take(raw, events)

    def end(self, events: list[ReplyEvent]) -> None:
        if self._chunks.complete:
            self._chunks.end(events)
            self.done = True


def parse_reply(body: bytes) -> Reply:
    """A whole reply. Raises ``FramingError``."""
    try:
        raw = camel_object(loads(body), "")
        if not raw.keys() & {"candidates", "promptFeedback", "usageMetadata"}:
            raise Malformed("candidates", "it is required", "missing")
        events: list[ReplyEvent] = []
        chunks = _Chunks()
        chunks.take(raw, events)
        chunks.end(events)
    except Malformed as error:
        raise FramingError(f"not a reply of the Gemini API: {error}") from None
    collector = Collector()
    for event in events:
        collector.add(event)
    return collector.reply()
