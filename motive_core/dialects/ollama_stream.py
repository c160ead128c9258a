"""The streamed reply of Ollama's API, in and out: a JSON object a line.

Owns the lines and their order. Takes parts and the words of a reply from ``ollama_reply``; what degrades is said there.
Knows no request but what its reply is called.

In: a part of the reply ends when a part of another kind begins. Lines that say nothing (the empty ones by which a
connection is kept alive) are no events. What lines tell that the IR has no field for comes with the end of the choice;
lists of it (``logprobs``) grow, else the newest counts. A stream is complete with its line that is ``done``.

Out: one part is said at a time, in the order in which they began; what is said of another one waits. A tool call is
said whole, when it is complete. Never a blank line: the SDK for Python fails on it (``_client.py``, ``_request``). That
SDK splits lines as ``str.splitlines`` does, so characters that end one there are escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from motive_core.dialects.base import Encoder
from motive_core.dialects.decoding import FrameDecoder
from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.fields import dumps, json_object, optional, rest, typed
from motive_core.dialects.ollama_parts import loads_calls, parse_time, render_call, render_image
from motive_core.dialects.ollama_reply import (
    Place,
    Shape,
    end_of,
    error_object,
    head_of,
    parse_error,
    parse_finish,
    parse_usage,
)
from motive_core.errors import FramingError
from motive_core.framing import JsonLinesDecoder
from motive_core.ir import NO_EXTRA, BlobPart, ChatRequest, Json, Part, ReasoningPart, TextPart, ToolCallPart, Usage
from motive_core.stream import (
    ChoiceEnded,
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

_LINE_ENDS: Final = ("\x85", "\u2028", "\u2029")
_ESCAPES: Final = tuple([(end.encode(), f"\\u{ord(end):04x}".encode()) for end in _LINE_ENDS])
"""What JSON may hold as it is, and still ends a line to ``str.splitlines``."""


def _escaped(data: bytes) -> bytes:
    """JSON without such characters: they stand in its strings only."""
    if not data.isascii():
        for end, escape in _ESCAPES:
            data = data.replace(end, escape)
    return data


class LinesDecoder(FrameDecoder[bytes]):
    """The lines of one reply to reply events."""

    what = "a stream of Ollama"
    cut = "the stream ended before its line that is done"

    def __init__(self, shape: Shape) -> None:
        super().__init__(JsonLinesDecoder())
        self._shape = shape
        self._started = False
        self._count = 0
        self._calls = 0
        # The kind of the text that is open: it is then the part that began last.
        self._open: type[Part] | None = None
        self._extra: dict[str, Json] = {}

    def take(self, frame: bytes, events: list[ReplyEvent]) -> None:
        raw = typed(loads_calls(frame), dict, "")
        if raw.get("error"):
            self.done = True
            events.append(Failed(parse_error(raw["error"])))
            return
        parts = self._shape.parts(self._shape.spoken(raw), self._calls)
        done = optional(raw, "done", bool, "") or False
        if not self._started and (parts or done):
            self._started = True
            model = optional(raw, "model", str, "") or ""
            events.append(Started("", model, parse_time(raw.get("created_at")), dialect=self._shape.dialect))
        for part in parts:
            self._say(part, events)
        for key, value in self._shape.unknown(raw).items():
            self._extra[key] = _merged(self._extra.get(key), value)
        if done:
            self._finish(raw, events)

    def _say(self, part: Part, events: list[ReplyEvent]) -> None:
        if isinstance(part, TextPart | ReasoningPart):
            if self._open is not type(part):
                self._end_text(events)
                self._open = type(part)
                self._start(replace(part, text=""), events)
            events.append(PartDelta(0, self._count - 1, part.text))
            return
        self._end_text(events)
        if isinstance(part, ToolCallPart):
            self._calls += 1
            number = self._start(replace(part, arguments=""), events)
            events.append(PartDelta(0, number, part.arguments))
        else:
            number = self._start(part, events)
        events.append(PartEnded(0, number))

    def _start(self, part: Part, events: list[ReplyEvent]) -> int:
        self._count += 1
        events.append(PartStarted(0, self._count - 1, part))
        return self._count - 1

    def _end_text(self, events: list[ReplyEvent]) -> None:
        if self._open is not None:
            self._open = None
            events.append(PartEnded(0, self._count - 1))

    def _finish(self, raw: Mapping[str, Json], events: list[ReplyEvent]) -> None:
        self.done = True
        self._end_text(events)
        finish, extra = parse_finish(raw, called=self._calls > 0)
        events.append(ChoiceEnded(0, finish, extra={**extra, **self._extra} or NO_EXTRA))
        if (usage := parse_usage(raw)) is not None:
            events.append(UsageReported(usage))
        events.append(Finished())


def _merged(old: Json, new: Json) -> Json:
    match old, new:
        case (list(), list()):
            return old + new
        case (dict(), dict()):
            return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
        case _:
            return new


@dataclass(slots=True)
class _Open:
    """A part that is being said. ``pieces`` is what was said of it and is not out yet."""

    value: Part
    place: Place
    pieces: list[str]
    ended: bool = False


class LinesEncoder(Encoder):
    """Reply events to the lines of one reply, the answer to ``request``. Choices after the first are left out."""

    def __init__(self, shape: Shape, request: ChatRequest) -> None:
        self._shape = shape
        self._request = request
        self._done = False
        self._calls = 0
        self._parts: dict[int, _Open] = {}
        self._current: int | None = None
        self._closed = False
        self._joiners = {"text": TextJoiner(), "thinking": TextJoiner()}
        self._end = ChoiceEnded(0, "stop")
        self._usage: Usage | None = None
        self._begin(Started("", request.model))

    def heartbeat(self) -> bytes:
        return b"" if self._done else self._line(self._shape.say(""))

    def encode(self, event: ReplyEvent) -> bytes:
        if self._done:
            return b""
        match event:
            case PartDelta(choice, number, text):
                return b"" if choice or self._closed else self._say(number, text)
            case PartStarted(choice, number, value):
                return b"" if choice or self._closed else self._open(number, value)
            case PartEnded(choice, number):
                if choice or self._closed or number not in self._parts:
                    return b""
                self._parts[number].ended = True
                return self._go_on()
            case ChoiceEnded(choice):
                if choice or self._closed:
                    return b""
                self._end = event
                return self._close()
            case UsageReported(usage):
                self._usage = usage
            case Started():
                self._begin(event)
            case Finished():
                return self._finish()
            case Failed(error):
                self._done = True
                return _escaped(dumps(error_object(error))) + b"\n"
            case SignatureDelta():
                pass
        return b""

    def _begin(self, event: Started) -> None:
        self._own = event.dialect == self._shape.dialect
        self._usage = event.usage
        self._head = _escaped(dumps(head_of(self._request, event.model, event.created)))[:-1] + b","
        # What stands around the text of a line.
        self._around = {place: self._frame(place) for place in self._joiners}

    def _frame(self, place: str) -> tuple[bytes, bytes]:
        members = {"thinking": b"\0"} if place == "thinking" else {}
        said = self._shape.say("", members)
        if place == "text":
            mark = b'"%b":""' % self._shape.text.encode()
            said = said.replace(mark, mark[:-2] + b"\0")
        head, _, tail = self._line(said).partition(b"\0")
        return head, tail

    def _line(self, said: bytes) -> bytes:
        return b'%b%b,"done":false}\n' % (self._head, said)

    def _open(self, number: int, value: Part) -> bytes:
        place = self._shape.place(value, own=self._own)
        if isinstance(value, ToolCallPart) and place == "call":
            text = value.arguments
        else:
            text = "" if place == "image" else as_text(value)
        self._parts[number] = _Open(value, place, [text] if text else [])
        if self._current is not None:
            return b""
        self._current = number
        return self._go_on()

    def _say(self, number: int, text: str) -> bytes:
        part = self._parts.get(number)
        if part is None:
            raise FramingError(f"delta for part {number} of choice 0, which is not open")
        if number != self._current or part.place == "call":
            part.pieces.append(text)
            return b""
        return self._text(number, part, text)

    def _text(self, number: int, part: _Open, text: str) -> bytes:
        piece = self._joiners[part.place].piece(number, text, plain=isinstance(part.value, TextPart))
        if not piece:
            return b""
        head, tail = self._around[part.place]
        return head + _escaped(dumps(piece)) + tail

    def _go_on(self) -> bytes:
        """Say what waits, up to a part that is still open."""
        said = []
        while self._current is not None:
            part = self._parts[self._current]
            if part.place in self._joiners:
                said.append(self._text(self._current, part, "".join(part.pieces)))
                part.pieces.clear()
            if not part.ended:
                break
            if part.place not in self._joiners:
                said.append(self._whole(part))
            del self._parts[self._current]
            self._current = next(iter(self._parts), None)
        return b"".join(said)

    def _whole(self, part: _Open) -> bytes:
        """The line of a part that is said at once."""
        members: dict[str, bytes] = {}
        if isinstance(part.value, ToolCallPart):
            call = replace(part.value, arguments="".join(part.pieces))
            members["tool_calls"] = b"[%b]" % render_call(call, own=self._own, position=self._calls)
            self._calls += 1
        elif isinstance(part.value, BlobPart):
            members = self._shape.images([render_image(part.value, own=True) or ""])
        return _escaped(self._line(self._shape.say("", members)))

    def _close(self) -> bytes:
        """No more of the reply but its end: end all that is open."""
        self._closed = True
        for part in self._parts.values():
            part.ended = True
        return self._go_on()

    def _finish(self) -> bytes:
        said = self._close()
        self._done = True
        extra = self._end.extra if self._own else NO_EXTRA
        end = end_of(self._end.finish_reason, self._usage, extra, own=self._own)
        more = extra.get(self._shape.nested) if self._shape.nested else None
        last = b"%b%b,%b" % (
            self._head,
            self._shape.say("", extra=more if isinstance(more, Mapping) else NO_EXTRA),
            json_object(end, {}, rest(extra, "done_reason", self._shape.nested))[1:],
        )
        return said + _escaped(last) + b"\n"
