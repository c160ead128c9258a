"""The streamed reply of the Gemini API, out: reply events to chunks.

Owns the chunks and their framing: server-sent events, or one JSON array for a client that did not ask for those. Takes
parts from ``gemini_parts`` and the words of a reply from ``gemini_reply``; what degrades is said there.

The parts of a candidate come one after the other, in the order in which they began: what is said of one whose turn has
not come waits. A function call is one chunk, so it waits for its end. What a part of text tells beside its text comes
with an empty piece of it at its end. Finish reasons, usage and unknown members of the candidates come with the last
chunk, which has an empty text in each candidate, as the live service has: clients take one without parts for a fault.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, assert_never

from motive_core.dialects.base import Encoder
from motive_core.dialects.degrade import as_text
from motive_core.dialects.fields import dumps, json_object
from motive_core.dialects.gemini_parts import NAME, text_part, thought_part
from motive_core.dialects.gemini_paths import ARRAY
from motive_core.dialects.gemini_reply import (
    Texts,
    error_object,
    finish_reason,
    is_blocked,
    is_text,
    render_usage,
    split_choice,
    told_beside,
    whole_part,
)
from motive_core.ir import NO_EXTRA, ChatRequest, Extra, OpaquePart, Part, ReasoningPart, ToolCallPart, Usage
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

type _PartEvent = PartStarted | PartDelta | SignatureDelta | PartEnded

_BLANK_LINE: Final = b"\r\n"
"""What keeps a connection alive: SDKs take any other line for JSON (``_api_client.py``, ``_iter_response_stream``)."""
_COMMA: Final = b",\r\n"
_LINE_ENDS: Final = tuple([(end.encode(), f"\\u{ord(end):04x}".encode()) for end in "\x85\u2028\u2029"])
"""Line ends to Python: SDKs before version 3 cut the lines of a stream there (httpx: ``iter_lines``)."""


def _one_line(data: bytes) -> bytes:
    """JSON with these escaped."""
    if not data.isascii():
        for end, escaped in _LINE_ENDS:
            data = data.replace(end, escaped)
    return data


class _Candidate:
    """One candidate: what is open in it. ``said`` gets the parts of it that can be said, each as JSON.

    ``flowing`` is the part whose deltas are nothing but text around which the same stands; -1 if there is none."""

    def __init__(self, *, own: bool) -> None:
        self.flowing = -1
        self.thought = False
        self.end: ChoiceEnded | None = None
        self.said: list[bytes] = []
        self._own = own
        self._texts = Texts(own=own)
        # Parts that wait for their turn: what was said of them.
        self._waiting: dict[int, list[_PartEvent]] = {}
        self._part: int | None = None
        self._value: Part = ReasoningPart("")
        self._pieces: list[str] = []
        self._signature: list[str] = []

    def take(self, event: _PartEvent) -> None:
        """Take what is said of a part, and say what waited for its end."""
        self._take(event)
        self._go_on()

    def end_parts(self) -> None:
        """End all parts: the open one and those that wait."""
        while self._part is not None:
            self._close(NO_EXTRA)
            self._go_on()

    def _go_on(self) -> None:
        while self._part is None and self._waiting:
            for event in self._waiting.pop(next(iter(self._waiting))):
                self._take(event)

    def _take(self, event: _PartEvent) -> None:
        if self._part is None and isinstance(event, PartStarted):
            self._open(event)
            return
        if event.part != self._part:
            if isinstance(event, PartStarted) or event.part in self._waiting:
                self._waiting.setdefault(event.part, []).append(event)
            return
        match event:
            case PartDelta(text=text):
                self._say(text)
            case SignatureDelta(signature=signature):
                self._signature.append(signature)
            case PartEnded(extra=late):
                self._close(late)
            case PartStarted():
                pass
            case _:
                assert_never(event)

    def _open(self, event: PartStarted) -> None:
        self._part, self._value = event.part, event.value
        self._pieces.clear()
        self._signature.clear()
        if is_text(event.value, own=self._own):
            self.thought = isinstance(event.value, ReasoningPart)
            self._say(as_text(event.value))

    def _say(self, text: str) -> None:
        if not text:
            return
        if not is_text(self._value, own=self._own):
            self._pieces.append(text)
            return
        assert self._part is not None  # there is no other part to say more of
        piece = self._texts.piece(self._part, self._value, text)
        self.said.append(thought_part(piece, None) if self.thought else text_part(piece))
        self.flowing = self._part

    def _close(self, late: Extra) -> None:
        value = self._value
        if late and self._own and not isinstance(value, OpaquePart):
            value = replace(value, extra={**value.extra, **late})
        if isinstance(value, ReasoningPart) and self._signature:
            value = replace(value, signature="".join(self._signature))
        if isinstance(value, ToolCallPart):
            value = replace(value, arguments=value.arguments + "".join(self._pieces))
        if not is_text(value, own=self._own):
            self.said.append(whole_part(value, own=self._own, one_line=True))
        elif beside := told_beside(value, own=self._own):
            self.said.append(thought_part("", None, beside) if self.thought else text_part("", beside))
        self._part, self.flowing = None, -1


class GeminiEncoder(Encoder):
    """Reply events to the bytes of one streamed reply, the answer to ``request``."""

    def __init__(self, request: ChatRequest) -> None:
        self._array = request.variant == ARRAY
        self._before, self._after = (_COMMA, b"") if self._array else (b"data: ", b"\r\n\r\n")
        self._done = False
        self._began = False
        self._usage: Usage | None = None
        self._candidates: dict[int, _Candidate] = {}
        # The part that flows, and what stands around a delta of it: the fast way through ``encode``.
        self._choice = self._part = -1
        self._head = self._tail = b""
        self._begin(Started("", request.model))

    def encode(self, event: ReplyEvent) -> bytes:
        if type(event) is PartDelta and event.part == self._part and event.choice == self._choice:
            return self._head + _one_line(dumps(event.text)) + self._tail if event.text else b""
        if self._done:
            return b""
        match event:
            case PartStarted() | PartDelta() | SignatureDelta() | PartEnded():
                return self._take(event)
            case Started():
                self._begin(event)
                return b""
            case ChoiceEnded(number):
                candidate = self._candidate(number)
                if candidate.end is not None:
                    return b""
                candidate.end_parts()
                candidate.end = event
                return self._flush(number, candidate)
            case UsageReported(usage):
                self._usage = usage
                return b""
            case Finished():
                return self._finish()
            case Failed(error):
                return self._last(dumps({"error": error_object(error)}))
            case _:
                assert_never(event)

    def heartbeat(self) -> bytes:
        return b"" if self._done else _BLANK_LINE

    def _begin(self, event: Started) -> None:
        self._own = event.dialect == NAME
        self._usage = event.usage
        self._named = _one_line(b'"modelVersion":%b,"responseId":%b' % (dumps(event.model), dumps(event.reply_id)))
        self._extra = dict(event.extra) if self._own else {}

    def _candidate(self, number: int) -> _Candidate:
        candidate = self._candidates.get(number)
        if candidate is None:
            candidate = self._candidates[number] = _Candidate(own=self._own)
        return candidate

    def _take(self, event: _PartEvent) -> bytes:
        candidate = self._candidate(event.choice)
        if candidate.end is not None:
            return b""
        candidate.take(event)
        return self._flush(event.choice, candidate)

    def _flush(self, number: int, candidate: _Candidate) -> bytes:
        """The chunks of what a candidate has to say."""
        chunks = []
        for part in candidate.said:
            content = b'{"content":{"parts":[%b],"role":"model"},"index":%d}' % (part, number)
            chunks.append(self._framed(b'{"candidates":[%b],%b' % (content, self._rest())))
        candidate.said.clear()
        if candidate.flowing < 0:
            if number == self._choice:
                self._part = self._choice = -1
        elif (number, candidate.flowing) != (self._choice, self._part):
            self._choice, self._part = number, candidate.flowing
            self._head = self._before + b'{"candidates":[{"content":{"parts":[{"text":'
            thought = b',"thought":true' if candidate.thought else b""
            self._tail = b'%b}],"role":"model"},"index":%d}],%b}%b' % (thought, number, self._named, self._after)
        return b"".join(chunks)

    def _rest(self) -> bytes:
        """What stands behind the candidates, and the end of the chunk: what only the first one tells, too."""
        extra, self._extra = self._extra, {}
        return self._named + (b"," + dumps(extra)[1:] if extra else b"}")

    def _framed(self, chunk: bytes) -> bytes:
        before = self._before if self._began or not self._array else b"["
        self._began = True
        return before + _one_line(chunk) + self._after

    def _finish(self) -> bytes:
        said = []
        blocked = is_blocked(self._extra) and not self._began
        if not self._candidates:
            self._candidate(0)
        ends = []
        for number, candidate in sorted(self._candidates.items()):
            if candidate.end is None:
                candidate.end_parts()
                said.append(self._flush(number, candidate))
            ends.append(self._end(number, candidate.end or ChoiceEnded(number, "stop")))
        usage = b""
        if self._usage is not None:
            usage = b'"usageMetadata":%b,' % dumps(render_usage(self._usage, own=self._own))
        candidates = b"" if blocked else b'"candidates":[%b],' % b",".join(ends)
        return b"".join([*said, self._last(b"{%b%b%b" % (candidates, usage, self._rest()))])

    def _end(self, number: int, end: ChoiceEnded) -> bytes:
        extra = end.extra if self._own else NO_EXTRA
        more, content = split_choice(extra)
        said = {
            "content": json_object({"parts": [{"text": ""}], "role": "model"}, {}, content),
            "finishReason": dumps(finish_reason(end.finish_reason, extra)),
            "index": b"%d" % number,
        }
        return json_object({}, said, more)

    def _last(self, chunk: bytes) -> bytes:
        self._done, self._choice, self._part = True, -1, -1
        return self._framed(chunk) + (b"]" if self._array else b"")
