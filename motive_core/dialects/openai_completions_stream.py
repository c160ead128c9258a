"""The streamed reply of the legacy Completions API, both ways.

Owns the chunks. The words of a reply are in ``openai_completions_reply``, what all streams of OpenAI's have in common
in ``openai_chat_decoder``: when a stream is complete, and where it may tell usage and errors.

Parts share the one text of their choice, in the order in which they began: what is said of one whose turn has not come
waits. Log probabilities, which a live service tells along the way, come with the last chunk of their choice.
"""

from __future__ import annotations

from typing import Final

from motive_core.dialects.base import Encoder
from motive_core.dialects.degrade import as_text
from motive_core.dialects.fields import dumps, optional
from motive_core.dialects.openai_chat_decoder import ChunkDecoder, OpenChoice, merge
from motive_core.dialects.openai_chat_hosts import flavour_for
from motive_core.dialects.openai_chat_reply import OF_REPLY, envelope, reply_members
from motive_core.dialects.openai_completions_reply import (
    NAME,
    Form,
    choice_extra,
    echoes,
    form_of,
    parse_finish,
    render_counts,
    render_finish,
)
from motive_core.dialects.openai_errors import render_error_event
from motive_core.dialects.openai_lines import Line
from motive_core.errors import FramingError
from motive_core.framing import sse_comment, sse_event
from motive_core.ir import NO_EXTRA, ChatRequest, Extra, FinishReason, Json, Part, TextPart, Usage
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

_COMMENT: Final = sse_comment("keep-alive")
_DONE: Final = sse_event(b"[DONE]")
_END: Final = b"}\n\n"


class _OpenChoice:
    """One choice on its way in: at most one part, its text."""

    def __init__(self, number: int) -> None:
        self.finish: str | None = None
        self._number = number
        self._begun = False
        self._extra: dict[str, Json] = {}

    def take(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        delta = optional(raw, "delta", dict, "choices") or optional(raw, "message", dict, "choices") or {}
        text = optional(raw, "text", str, "choices") or optional(delta, "content", str, "choices.delta")
        if text:
            if not self._begun:
                self._begun = True
                events.append(PartStarted(self._number, 0, TextPart("")))
            events.append(PartDelta(self._number, 0, text))
        self.finish = optional(raw, "finish_reason", str, "choices") or self.finish
        for key, value in choice_extra(raw, delta).items():
            old = self._extra.get(key)
            self._extra[key] = value if isinstance(value, str) else merge(old, value)

    def end(self, events: list[ReplyEvent], of_reply: dict[str, Json]) -> None:
        if self._begun:
            events.append(PartEnded(self._number, 0))
        finish, extra = parse_finish(self.finish)
        extra |= self._extra
        if of_reply:
            extra[OF_REPLY] = of_reply
        events.append(ChoiceEnded(self._number, finish, extra=extra or NO_EXTRA))


class CompletionsDecoder(ChunkDecoder):
    """The decoder of Completions."""

    dialect = NAME
    what = "a stream of Completions"

    def open_choice(self, number: int) -> OpenChoice:
        return _OpenChoice(number)


class _Choice:
    """One choice on its way out: the parts that are open in it."""

    def __init__(self, number: int, form: Form, head: bytes, tail: bytes, echo: str) -> None:
        self.ended = False
        self._number = number
        self._form = form
        self._head = head
        before, after = form.around(number)
        self._before, self._after = head + before, after + b"]" + tail + _END
        self._line = Line(self._before, self._after)
        self._parts: set[int] = set()
        self._echo = echo

    def begin(self, number: int, part: Part) -> bytes:
        self._parts.add(number)
        self._line.begin(number, plain=isinstance(part, TextPart))
        return self._opening() + self._line.say(number, as_text(part))

    def say(self, number: int, text: str) -> bytes:
        """More text of a part. Raises ``FramingError`` if it was never started."""
        if number not in self._parts:
            raise FramingError(f"delta for part {number} of choice {self._number}, which was never started")
        return self._line.say(number, text)

    def end_part(self, number: int) -> bytes:
        return self._line.end(number, NO_EXTRA)

    def end(self, finish: FinishReason, extra: Extra) -> tuple[bytes, bytes]:
        """The end of the choice, and of all that is open in it; then its last chunk, to which the members of the reply
        may be added."""
        self.ended = True
        said = self._opening() + b"".join([self._line.end(number, NO_EXTRA) for number in sorted(self._parts)])
        last = self._form.last(self._number, render_finish(finish, extra), extra)
        members = reply_members(extra)
        more = b"," + dumps(members)[1:-1] if members else b""
        return said, self._head + dumps(last) + b"]" + more

    def _opening(self) -> bytes:
        """What the text begins with, if it is not out yet."""
        echo, self._echo = self._echo, ""
        return self._before + dumps(echo) + self._after if echo else b""


class CompletionsEncoder(Encoder):
    """Reply events to the bytes of one streamed completion, the answer to ``request``."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._form = form_of(request)
        self._include_usage = request.include_usage and not self._form.chat
        self._envelope = "mistral" if self._form.chat else flavour_for(request).envelope
        self._usage: Usage | None = None
        self._done = False
        self._choices: dict[int, _Choice] = {}
        # The last chunk of the choice that ended last, where it may have to tell the usage.
        self._held = b""
        self._begin(Started("", request.model))

    def heartbeat(self) -> bytes:
        return _COMMENT

    def encode(self, event: ReplyEvent) -> bytes:
        if self._done:
            return b""
        match event:
            case PartDelta(number, part, text):
                choice = self._choice(number)
                return b"" if choice.ended else choice.say(part, text)
            case PartStarted(number, part, value):
                choice = self._choice(number)
                return b"" if choice.ended else choice.begin(part, value)
            case PartEnded(number, part):
                choice = self._choice(number)
                return b"" if choice.ended else choice.end_part(part)
            case ChoiceEnded(number, finish):
                choice = self._choice(number)
                return b"" if choice.ended else self._end_choice(choice, finish, event.extra if self._own else NO_EXTRA)
            case UsageReported(usage):
                self._usage = usage
            case Started():
                self._begin(event)
            case Finished():
                self._done = True
                return self._end()
            case Failed(error):
                self._done = True
                return self._flush() + sse_event(render_error_event(error, self._envelope))
            case SignatureDelta():
                pass
        return b""

    def _begin(self, event: Started) -> None:
        self._own = event.dialect == NAME
        self._usage = event.usage
        self._echoes = echoes(self._request, own=self._own)
        extra = event.extra if self._own else NO_EXTRA
        head = dumps(envelope(event.reply_id, self._form.chunk, event.created, event.model, extra))
        self._head = b'data: %b,"choices":[' % head[:-1]
        self._tail = b',"usage":null' if self._include_usage else b""

    def _choice(self, number: int) -> _Choice:
        choice = self._choices.get(number)
        if choice is None:
            echo = self._echoes[number] if number < len(self._echoes) else ""
            choice = self._choices[number] = _Choice(number, self._form, self._head, self._tail, echo)
        return choice

    def _end_choice(self, choice: _Choice, finish: FinishReason, extra: Extra) -> bytes:
        said, last = choice.end(finish, extra)
        before, self._held = self._flush(), last
        return before + said + (b"" if self._form.chat else self._flush())

    def _flush(self, more: bytes = b"") -> bytes:
        """The chunk that was held back, with ``more`` members of the reply."""
        held, self._held = self._held, b""
        return held + more + self._tail + _END if held else b""

    def _end(self) -> bytes:
        said = [self._end_choice(choice, "stop", NO_EXTRA) for choice in self._choices.values() if not choice.ended]
        usage = b"" if self._usage is None else dumps(render_counts(self._usage, own=self._own))
        if not self._choices and not (usage and self._include_usage):
            self._held = self._head + b"]"
        said.append(self._flush(b',"usage":' + usage if usage and self._form.chat else b""))
        if usage and self._include_usage:
            said.append(b'%b],"usage":%b%b' % (self._head, usage, _END))
        return b"".join([*said, _DONE])
