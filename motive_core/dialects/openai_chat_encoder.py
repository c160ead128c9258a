"""The streamed reply of Chat Completions, out: reply events to server-sent events.

Owns the chunks and their order. Takes parts from ``openai_chat_parts`` and the words of a reply from
``openai_chat_reply``; what degrades is said there.

A choice begins with its role and ends with its finish reason; usage comes in a chunk of its own after the last choice,
if the request wants it and if it is known. Texts that share one string come one after the other, in the order in which
they began: what is said of one whose turn has not come waits. Tool calls interleave as they come. Unknown members of a
choice and of its message, which a live service tells along the way, come with its last chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from motive_core.dialects.base import Encoder
from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.fields import dumps, rest
from motive_core.dialects.openai_chat_parts import NAME, render_call, render_function_call, unknown_call
from motive_core.dialects.openai_chat_reply import envelope, error_object, finish_reason, is_legacy, render_usage
from motive_core.errors import FramingError
from motive_core.framing import sse_comment, sse_event
from motive_core.ir import (
    NO_EXTRA,
    ChatRequest,
    Extra,
    FinishReason,
    Json,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    Usage,
)
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
_OBJECT: Final = "chat.completion.chunk"


@dataclass(slots=True, eq=False)
class _Turn:
    """A part that shares a string: ``waiting`` is what was said of it before its turn came."""

    plain: bool
    waiting: list[str] = field(default_factory=list)
    ended: bool = False


class _Line:
    """One string of a delta, which several parts may share: one of them has the word at a time."""

    def __init__(self, head: bytes, tail: bytes) -> None:
        self._head = head
        self._tail = tail
        self._joiner = TextJoiner()
        self._turns: dict[int, _Turn] = {}
        self._current: int | None = None

    def begin(self, part: int, *, plain: bool) -> None:
        self._turns[part] = _Turn(plain)
        if self._current is None:
            self._current = part

    def say(self, part: int, text: str) -> bytes:
        """The chunk with more text of a part, if it is its turn."""
        turn = self._turns.get(part)
        if turn is None:
            return b""
        if part != self._current:
            turn.waiting.append(text)
            return b""
        piece = self._joiner.piece(part, text, plain=turn.plain)
        return self._head + dumps(piece) + self._tail if piece else b""

    def end(self, part: int, extra: Extra) -> bytes:
        """No more of a part: what the next ones said in the meantime."""
        if part in self._turns:
            self._turns[part].ended = True
        said = b""
        while self._current is not None and self._turns[self._current].ended:
            del self._turns[self._current]
            self._current = next(iter(self._turns), None)
            if self._current is not None:
                said += self.say(self._current, "".join(self._turns[self._current].waiting))
        return said


class _Call:
    """A tool call that is being said. ``head`` and ``tail`` are what stands around a piece of its arguments."""

    def __init__(self, head: bytes, tail: bytes, late: Callable[[Extra], bytes]) -> None:
        self._head = head
        self._tail = tail
        self._late = late

    def say(self, part: int, text: str) -> bytes:
        return self._head + dumps(text) + self._tail if text else b""

    def end(self, part: int, extra: Extra) -> bytes:
        return self._late(extra) if extra else b""


class _Choice:
    """One choice: its chunks, and the parts that are open in it."""

    def __init__(self, number: int, head: bytes, tail: bytes, *, own: bool, legacy: bool) -> None:
        self.ended = False
        self._number = number
        self._own = own
        self._legacy = legacy
        self._chunk_head = head
        self._chunk_tail = b"]" + tail
        # What stands around a delta.
        self._head = b'%b{"index":%d,"delta":' % (head, number)
        self._tail = b',"logprobs":null,"finish_reason":null}]' + tail
        self._began = False
        self._calls = 0
        self._function_called = False
        self._parts: dict[int, _Line | _Call] = {}
        self._content = self._line("content")
        self._reasoning = self._line("reasoning_content")
        self._refusal = self._line("refusal")

    def _line(self, key: str) -> _Line:
        return _Line(b'%b{"%b":' % (self._head, key.encode()), b"}" + self._tail)

    def begin(self, number: int, part: Part) -> bytes:
        """The start of a part, and what is known of it by then."""
        match part:
            case ReasoningPart():
                return self._begin_text(self._reasoning, number, part)
            case RefusalPart():
                return self._begin_text(self._refusal, number, part)
            case ToolCallPart() if self._legacy and not self._function_called:
                self._function_called = True
                start = render_function_call(replace(part, arguments=""), own=self._own)
                head, tail = b'%b{"function_call":{"arguments":' % self._head, b"}}" + self._tail
                call = self._parts[number] = _Call(head, tail, lambda extra: b"")
                return self._role(None) + self._delta({"function_call": start}) + call.say(number, part.arguments)
            case ToolCallPart() if not self._legacy:
                return self._begin_call(number, part)
            case _ if self._own and (raw := unknown_call(part)) is not None:
                self._calls += 1
                return self._role(None) + self._delta({"tool_calls": [{"index": self._calls - 1, **raw}]})
            case _:
                return self._begin_text(self._content, number, part)

    def say(self, number: int, text: str) -> bytes:
        """More text of a part. Raises ``FramingError`` if it was never started."""
        part = self._parts.get(number)
        if part is None:
            raise FramingError(f"delta for part {number} of choice {self._number}, which was never started")
        return part.say(number, text)

    def end_part(self, number: int, extra: Extra) -> bytes:
        part = self._parts.get(number)
        return b"" if part is None else part.end(number, extra)

    def end(self, finish: FinishReason | None, extra: Extra) -> bytes:
        """The end of the choice, and of all that is open in it. ``finish`` is None if nobody told it."""
        self.ended = True
        said = self._role("") + b"".join([part.end(number, NO_EXTRA) for number, part in self._parts.items()])
        if finish is None:
            finish = "tool_calls" if self._calls or self._function_called else "stop"
        extra = extra if self._own else NO_EXTRA
        choice = {
            "index": self._number,
            "delta": extra.get("message", {}),
            "logprobs": None,
            "finish_reason": finish_reason(finish, extra, legacy=self._legacy),
            **rest(extra, "message", "finish_reason"),
        }
        return said + self._chunk_head + dumps(choice) + self._chunk_tail

    def _role(self, content: str | None) -> bytes:
        """The first chunk of the choice, if it is not out yet."""
        if self._began:
            return b""
        self._began = True
        role: dict[str, Json] = {"role": "assistant", "content": content}
        return self._delta(role if content is None else {**role, "refusal": None})

    def _delta(self, delta: dict[str, Json]) -> bytes:
        return self._head + dumps(delta) + self._tail

    def _begin_text(self, line: _Line, number: int, part: Part) -> bytes:
        self._parts[number] = line
        line.begin(number, plain=isinstance(part, TextPart))
        return self._role("") + line.say(number, as_text(part))

    def _begin_call(self, number: int, part: ToolCallPart) -> bytes:
        index = self._calls
        self._calls += 1
        kind, key = ("custom", "input") if part.custom else ("function", "arguments")
        head = f'{{"tool_calls":[{{"index":{index},"{kind}":{{"{key}":'.encode()

        def late(extra: Extra) -> bytes:
            return self._delta({"tool_calls": [{"index": index, **rest(extra, "function_call")}]}) if self._own else b""

        call = self._parts[number] = _Call(self._head + head, b"}}]}" + self._tail, late)
        start = {"index": index, **render_call(replace(part, arguments=""), own=self._own)}
        return self._role(None) + self._delta({"tool_calls": [start]}) + call.say(number, part.arguments)


class ChatEncoder(Encoder):
    """Reply events to the bytes of one streamed completion, the answer to ``request``."""

    def __init__(self, request: ChatRequest) -> None:
        self._legacy = is_legacy(request)
        self._include_usage = request.include_usage
        self._usage: Usage | None = None
        self._done = False
        self._choices: dict[int, _Choice] = {}
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
                return b"" if choice.ended else choice.end_part(part, event.extra)
            case ChoiceEnded(number, finish):
                choice = self._choice(number)
                return b"" if choice.ended else choice.end(finish, event.extra)
            case UsageReported(usage):
                self._usage = usage
            case Started():
                self._begin(event)
            case Finished():
                self._done = True
                return self._end()
            case Failed(error):
                self._done = True
                return sse_event(dumps({"error": error_object(error)}))
            case SignatureDelta():
                pass
        return b""

    def _begin(self, event: Started) -> None:
        self._own = event.dialect == NAME
        self._usage = event.usage
        extra = event.extra if self._own else NO_EXTRA
        head = dumps(envelope(event.reply_id, _OBJECT, event.created, event.model, extra))
        self._head = b'data: %b,"choices":[' % head[:-1]
        self._tail = (b',"usage":null' if self._include_usage else b"") + b"}\n\n"

    def _choice(self, number: int) -> _Choice:
        choice = self._choices.get(number)
        if choice is None:
            choice = _Choice(number, self._head, self._tail, own=self._own, legacy=self._legacy)
            self._choices[number] = choice
        return choice

    def _end(self) -> bytes:
        said = [choice.end(None, NO_EXTRA) for choice in self._choices.values() if not choice.ended]
        if self._include_usage and self._usage is not None:
            usage = dumps(render_usage(self._usage, own=self._own))
            said.append(b'%b],"usage":%b}\n\n' % (self._head, usage))
        elif not self._choices:
            said.append(b"%b]%b" % (self._head, self._tail))
        return b"".join([*said, _DONE])
