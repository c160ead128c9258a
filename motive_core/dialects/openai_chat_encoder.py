"""The streamed reply of Chat Completions, out: reply events to server-sent events.

Owns the chunks and their order. Takes parts from ``openai_chat_parts`` and the words of a reply from
``openai_chat_reply``; what degrades is said there.

A choice begins with its role and ends with its finish reason; usage comes in a chunk of its own after the last choice,
if the request wants it and if it is known. A flavour may have it in the last chunk of the last choice, which then waits
for it, and may have each tool call in one delta, which then waits for its end.

Texts that share one string come one after the other, in the order in which they began: what is said of one whose turn
has not come waits. Tool calls interleave as they come. Unknown members of a choice and of its message, which a live
service tells along the way, come with its last chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from motive_core.dialects.base import Encoder
from motive_core.dialects.degrade import as_text
from motive_core.dialects.fields import dumps, json_object, rest
from motive_core.dialects.openai_chat_hosts import Flavour
from motive_core.dialects.openai_chat_parts import (
    NAME,
    THINKING,
    render_call,
    render_function_call,
    render_thinking,
    unknown_call,
)
from motive_core.dialects.openai_chat_reply import (
    OF_CHOICE,
    content_part,
    envelope,
    finish_reason,
    groq_id,
    in_content,
    is_legacy,
    render_usage,
    reply_members,
)
from motive_core.dialects.openai_errors import render_error_event
from motive_core.dialects.openai_lines import Line
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
_END: Final = b"}\n\n"
_OBJECT: Final = "chat.completion.chunk"


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


class _WholeCall:
    """A tool call that is said at once, when all of it is known. ``tell`` gives its chunk."""

    def __init__(self, call: ToolCallPart, tell: Callable[[ToolCallPart], bytes]) -> None:
        self._call = call
        self._tell = tell
        self._pieces = [call.arguments]
        self._told = False

    def say(self, part: int, text: str) -> bytes:
        self._pieces.append(text)
        return b""

    def end(self, part: int, extra: Extra) -> bytes:
        if self._told:
            return b""
        self._told = True
        merged = {**self._call.extra, **extra}
        return self._tell(replace(self._call, arguments="".join(self._pieces), extra=merged))


class _Choice:
    """One choice: its chunks, and the parts that are open in it."""

    def __init__(self, number: int, head: bytes, tail: bytes, flavour: Flavour, *, own: bool, legacy: bool) -> None:
        self.ended = False
        self._flavour = flavour
        self._number = number
        self._own = own
        self._legacy = legacy
        self._chunk_head = head
        self._chunk_tail = b"]" + tail + _END
        # What stands around a delta.
        self._head = b'%b{"index":%d,"delta":' % (head, number)
        self._tail = b',"logprobs":null,"finish_reason":null}' + self._chunk_tail
        self._began = False
        self._calls = 0
        self._function_called = False
        self._parts: dict[int, Line | _Call | _WholeCall] = {}
        self._content = self._line("content")
        self._reasoning = self._line("reasoning" if flavour.reasoning == "reasoning" else "reasoning_content")
        self._refusal = self._line("refusal")
        thinking = b'{"content":[{"type":"thinking","thinking":[{"type":"text","text":'
        self._thinking = Line(self._head + thinking, b"}]}]}" + self._tail)

    def _line(self, key: str) -> Line:
        return Line(b'%b{"%b":' % (self._head, key.encode()), b"}" + self._tail)

    def begin(self, number: int, part: Part) -> bytes:
        """The start of a part, and what is known of it by then."""
        match part:
            case ReasoningPart() if in_content(part, self._flavour, own=self._own):
                came_so = self._own and THINKING in part.extra
                if came_so:
                    self._content.skip(number)
                    self._thinking.skip(number - 1)
                return (
                    self._role("")
                    + self._think(part.extra)
                    + self._begin_text(self._thinking, number, part, plain=came_so)
                )
            case ReasoningPart():
                return self._begin_text(self._reasoning, number, part)
            case RefusalPart() if self._flavour.refusal:
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
            case _ if self._own and (raw := content_part(part)) is not None:
                self._content.skip(number)
                return self._role("") + self._delta({"content": [raw]})
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
        return b"" if part is None else self._think(extra) + part.end(number, extra)

    def end(self, finish: FinishReason | None, extra: Extra) -> tuple[bytes, bytes]:
        """The end of the choice, and of all that is open in it; then its last chunk, to which the members of the reply
        may be added. ``finish`` is None if nobody told it."""
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
            **rest(extra, *OF_CHOICE),
        }
        members = reply_members(extra)
        more = b"," + dumps(members)[1:-1] if members else b""
        return said, self._chunk_head + dumps(choice) + b"]" + more

    def _think(self, extra: Extra) -> bytes:
        """What a chunk of reasoning has beside its text."""
        more = extra.get(THINKING) if self._own else None
        return self._delta({"content": [render_thinking("", extra)]}) if more else b""

    def _role(self, content: str | None) -> bytes:
        """The first chunk of the choice, if it is not out yet."""
        if self._began:
            return b""
        self._began = True
        role: dict[str, Json] = {"role": "assistant", "content": content}
        return self._delta(role if content is None else {**role, "refusal": None})

    def _delta(self, delta: dict[str, Json]) -> bytes:
        return self._head + dumps(delta) + self._tail

    def _begin_text(self, line: Line, number: int, part: Part, *, plain: bool = False) -> bytes:
        self._parts[number] = line
        line.begin(number, plain=plain or isinstance(part, TextPart))
        return self._role("") + line.say(number, as_text(part))

    def _begin_call(self, number: int, part: ToolCallPart) -> bytes:
        index = self._calls
        self._calls += 1
        if self._flavour.whole_calls:

            def tell(call: ToolCallPart) -> bytes:
                return self._delta({"tool_calls": [{"index": index, **render_call(call, own=self._own)}]})

            self._parts[number] = _WholeCall(part, tell)
            return self._role("")
        kind, key = ("custom", "input") if part.custom else ("function", "arguments")
        head = f'{{"tool_calls":[{{"index":{index},"{kind}":{{"{key}":'.encode()

        def late(extra: Extra) -> bytes:
            return self._delta({"tool_calls": [{"index": index, **rest(extra, "function_call")}]}) if self._own else b""

        call = self._parts[number] = _Call(self._head + head, b"}}]}" + self._tail, late)
        start = {"index": index, **render_call(replace(part, arguments=""), own=self._own)}
        return self._role(None) + self._delta({"tool_calls": [start]}) + call.say(number, part.arguments)


class ChatEncoder(Encoder):
    """Reply events to the bytes of one streamed completion, the answer to ``request``, in this flavour."""

    def __init__(self, request: ChatRequest, flavour: Flavour) -> None:
        self._legacy = is_legacy(request)
        self._include_usage = request.include_usage and flavour.usage != "last"
        self._flavour = flavour
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
                return b"" if choice.ended else choice.end_part(part, event.extra)
            case ChoiceEnded(number, finish):
                choice = self._choice(number)
                return b"" if choice.ended else self._end_choice(choice, finish, event.extra)
            case UsageReported(usage):
                self._usage = usage
            case Started():
                self._begin(event)
            case Finished():
                self._done = True
                return self._end()
            case Failed(error):
                self._done = True
                return self._flush() + sse_event(render_error_event(error, self._flavour.envelope))
            case SignatureDelta():
                pass
        return b""

    def _begin(self, event: Started) -> None:
        self._own = event.dialect == NAME
        self._usage = event.usage
        self._id = event.reply_id
        extra = event.extra if self._own else NO_EXTRA
        head = dumps(envelope(event.reply_id, _OBJECT, event.created, event.model, {**self._flavour.head, **extra}))
        self._head = b'data: %b,"choices":[' % head[:-1]
        self._tail = b',"usage":null' if self._include_usage else b""

    def _choice(self, number: int) -> _Choice:
        choice = self._choices.get(number)
        if choice is None:
            choice = _Choice(number, self._head, self._tail, self._flavour, own=self._own, legacy=self._legacy)
            self._choices[number] = choice
        return choice

    def _end_choice(self, choice: _Choice, finish: FinishReason | None, extra: Extra) -> bytes:
        said, last = choice.end(finish, extra)
        before, self._held = self._flush(), last
        return before + said + (self._flush() if self._flavour.usage == "chunk" else b"")

    def _flush(self, more: bytes = b"") -> bytes:
        """The chunk that was held back, with ``more`` members of the reply."""
        held, self._held = self._held, b""
        return held + more + self._tail + _END if held else b""

    def _end(self) -> bytes:
        said = [self._end_choice(choice, None, NO_EXTRA) for choice in self._choices.values() if not choice.ended]
        if not self._choices:
            self._held = self._head + b"]"
        usage = b"" if self._usage is None else dumps(render_usage(self._usage, own=self._own))
        match self._flavour.usage:
            case "last":
                said.append(self._flush(b',"usage":' + usage if usage else b""))
            case "x_groq":
                groq = {"id": groq_id(self._id)}
                said.append(self._flush(b',"x_groq":' + json_object(groq, {"usage": usage} if usage else {})))
            case "chunk":
                # A stream that has no choices tells what it is by the chunk of its usage, if there is one.
                said.append(b"" if usage and self._include_usage else self._flush())
        if usage and self._include_usage:
            said.append(b'%b],"usage":%b%b' % (self._head, usage, _END))
        return b"".join([*said, _DONE])
