"""The streamed reply of Chat Completions, in: server-sent events to reply events.

Owns what is known of the choices that are open. Takes parts from ``openai_chat_parts`` and the words of a reply from
``openai_chat_reply``. Knows no request.

A part of a choice ends when a part of another kind begins, so that whoever says one part at a time can go on; tool
calls, which may interleave, end with their choice. Reasoning, text, refusal and tool calls in this order, as they come
from all known hosts, give the same parts as the whole reply; a host that returns to its text after something else gives
one text more. A choice ends with the stream, since some hosts tell more of it after its finish reason.

What deltas tell that the IR has no event for comes with the end: of a call or a chunk of reasoning with that of its
part, of a choice or a message with that of the choice. Unknown members of the stream itself are those of its first
chunks; what its last ones tell beyond them comes with the end of the last choice.

A stream is complete after ``[DONE]``, or if it ends once every choice has told its finish reason. Quirks that are taken
as they are meant:

* pieces of tool calls without an index (Ollama): their id tells which call, or else they are of the last one;
* parallel tool calls that all have the index 0 (Gemini's compatible endpoint): another id and a name are a new call;
* a first chunk without choices (Azure, with what its filter says of the prompt), whose id and model are empty;
* usage on every chunk (vLLM), on the last one with choices (DeepSeek), or under ``x_groq``;
* an error beside choices (OpenRouter), as text (xAI), or as the whole event (Mistral, vLLM);
* reasoning as chunks of the content (Mistral), which are one part until something else is said;
* the text once more beside its delta (Together), or all of it so far (Perplexity).
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar, Final, Literal, Protocol

from motive_core.dialects.decoding import FrameDecoder
from motive_core.dialects.fields import Malformed, loads, optional, rest, typed
from motive_core.dialects.openai_chat_parts import NAME, THINKING, parse_content, split_reasoning
from motive_core.dialects.openai_chat_reply import (
    CHOICE_FIELDS,
    MESSAGE_FIELDS,
    OF_REPLY,
    REPLY_FIELDS,
    kept,
    parse_error,
    parse_finish,
    parse_usage,
)
from motive_core.framing import SseDecoder, SseEvent
from motive_core.ir import NO_EXTRA, Json, OpaquePart, Part, ReasoningPart, RefusalPart, TextPart, ToolCallPart
from motive_core.stream import (
    ChoiceEnded,
    Failed,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    ReplyEvent,
    Started,
    UsageReported,
)

DONE: Final = "[DONE]"
_REPLY_FIELDS: Final = frozenset(REPLY_FIELDS)

type _Kind = Literal["reasoning", "text", "refusal", "thinking"]

_PARTS: Final[Mapping[_Kind, Part]] = {
    "reasoning": ReasoningPart(""),
    "text": TextPart(""),
    "refusal": RefusalPart(""),
    "thinking": ReasoningPart("", extra={THINKING: {}}),
}


def merge(old: Json, new: Json) -> Json:
    """What two chunks tell of one member: lists and texts grow, objects do so member by member, else the newer counts.
    As the SDK does it (``lib/streaming/_deltas.py``), but for numbers, which it adds."""
    match old, new:
        case (_, None):
            return old
        case (list(), list()) | (str(), str()):
            return old + new
        case (dict(), dict()):
            return {**old, **{key: merge(old.get(key), value) for key, value in new.items()}, **_constant(new)}
        case _:
            return new


def _constant(new: dict[str, Json]) -> dict[str, Json]:
    """Members that each chunk repeats."""
    return {key: new[key] for key in ("index", "type", "id", "channel") if new.get(key) is not None}


class _Call:
    """A tool call. ``part`` is its number once it has begun; ``unknown`` is all of one whose type we don't know."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.call_id = ""
        self.part: int | None = None
        self.extra: dict[str, Json] = {}
        self.extra_at_start: dict[str, Json] = {}
        self.unknown: dict[str, Json] | None = None

    def begin(self, part: int, name: str) -> ToolCallPart:
        """The part that it begins as."""
        self.part, self.extra_at_start = part, self.extra
        call_id = name if self.kind == "function_call" else self.call_id
        return ToolCallPart(call_id, name, "", custom=self.kind == "custom", extra=self.extra or NO_EXTRA)

    def tell(self, outer: dict[str, Json], inner: dict[str, Json]) -> None:
        """Take what the IR has no field for."""
        if inner or self.kind == "function_call":
            outer = {**outer, self.kind: inner}
        if outer:
            self.extra = merge(self.extra, outer)


class _Choice:
    """One choice: the parts that are open in it, and what its end tells."""

    def __init__(self, number: int) -> None:
        self.finish: str | None = None
        self._number = number
        self._count = 0
        # The kind of the text that is open: it is then the part that began last.
        self._kind: _Kind | None = None
        self._thinking: dict[str, Json] = {}
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._extra: dict[str, Json] = {}
        self._message: dict[str, Json] = {}

    def take(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        """Take what a chunk says of this choice."""
        delta = optional(raw, "delta", dict, "choices")
        text: Json = None
        if delta:
            text = delta.get("content")
            if len(delta) == 1 and isinstance(text, str):
                self._say("text", text, events)
            else:
                self._take_delta(delta, events)
        self.finish = optional(raw, "finish_reason", str, "choices") or self.finish
        for key, value in kept(rest(raw, *CHOICE_FIELDS)).items():
            old = self._extra.get(key)
            if key != "text" or value != text:
                self._extra[key] = value if isinstance(value, str) else merge(old, value)

    def end(self, events: list[ReplyEvent], of_reply: dict[str, Json]) -> None:
        """The end of the choice, and of all that is open in it. ``of_reply`` is what else the stream told."""
        self._end_text(events)
        for call in self._calls:
            if call.unknown is not None:
                number = self._start(OpaquePart(NAME, {"tool_calls": call.unknown}), events)
                events.append(PartEnded(self._number, number))
                continue
            number = self._begin_call(call, "", events) if call.part is None else call.part
            late = {key: value for key, value in call.extra.items() if call.extra_at_start.get(key) != value}
            events.append(PartEnded(self._number, number, extra=late or NO_EXTRA))
        finish, extra = parse_finish(self.finish, called=bool(self._calls))
        extra |= self._extra
        if self._message:
            extra["message"] = self._message
        if of_reply:
            extra[OF_REPLY] = of_reply
        events.append(ChoiceEnded(self._number, finish, extra=extra or NO_EXTRA))

    def _take_delta(self, delta: dict[str, Json], events: list[ReplyEvent]) -> None:
        reasoning, others = split_reasoning(delta)
        self._say("reasoning", reasoning, events)
        content = delta.get("content")
        if isinstance(content, str):
            self._say("text", content, events)
        else:
            self._take_list(parse_content(content, "delta.content", by_assistant=True), events)
        self._say("refusal", optional(delta, "refusal", str, "delta") or "", events)
        for piece in optional(delta, "tool_calls", list, "delta") or ():
            self._take_call(typed(piece, dict, "delta.tool_calls"), events)
        if (piece := optional(delta, "function_call", dict, "delta")) is not None:
            self._take_function_call(piece, events)
        if unknown := kept({**others, **rest(delta, *MESSAGE_FIELDS)}):
            self._message = merge(self._message, unknown)

    def _take_list(self, parts: tuple[Part, ...], events: list[ReplyEvent]) -> None:
        for part in parts:
            match part:
                case TextPart(text):
                    self._say("text", text, events)
                case RefusalPart(text):
                    self._say("refusal", text, events)
                case ReasoningPart(text):
                    self._think(text, part.extra[THINKING], events)
                case _:
                    self._end_text(events)
                    events.append(PartEnded(self._number, self._start(part, events)))

    def _say(self, kind: _Kind, text: str, events: list[ReplyEvent]) -> None:
        if not text:
            return
        if self._kind != kind:
            self._open(kind, events)
        events.append(PartDelta(self._number, self._count - 1, text))

    def _think(self, text: str, more: dict[str, Json], events: list[ReplyEvent]) -> None:
        """A chunk of reasoning, with what it has beside its text."""
        if more and self._kind != "thinking":
            self._open("thinking", events)
        self._say("thinking", text, events)
        self._thinking = merge(self._thinking, more)

    def _open(self, kind: _Kind, events: list[ReplyEvent]) -> None:
        self._end_text(events)
        self._start(_PARTS[kind], events)
        self._kind = kind

    def _start(self, part: Part, events: list[ReplyEvent]) -> int:
        number = self._count
        self._count += 1
        events.append(PartStarted(self._number, number, part))
        return number

    def _end_text(self, events: list[ReplyEvent]) -> None:
        if self._kind is not None:
            extra = {THINKING: self._thinking} if self._thinking else NO_EXTRA
            self._kind, self._thinking = None, {}
            events.append(PartEnded(self._number, self._count - 1, extra=extra))

    def _take_call(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        call = self._call_of(raw)
        if call.kind not in {"function", "custom"}:
            call.unknown = merge(call.unknown or {}, rest(raw, "index"))
            return
        call.call_id = call.call_id or optional(raw, "id", str, "delta.tool_calls") or ""
        body = optional(raw, call.kind, dict, "delta.tool_calls") or {}
        key = "arguments" if call.kind == "function" else "input"
        call.tell(kept(rest(raw, "index", "id", "type", "function_call", call.kind)), rest(body, "name", key))
        self._say_call(call, body, key, events)

    def _take_function_call(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        call = next((one for one in self._calls if one.kind == "function_call"), None)
        if call is None:
            call = _Call("function_call")
            self._calls.append(call)
        call.tell({}, rest(raw, "name", "arguments"))
        self._say_call(call, raw, "arguments", events)

    def _say_call(self, call: _Call, body: dict[str, Json], key: str, events: list[ReplyEvent]) -> None:
        text = optional(body, key, str, "delta.tool_calls") or ""
        number = call.part
        if number is None:
            name = optional(body, "name", str, "delta.tool_calls") or ""
            if not (name or text):
                return
            number = self._begin_call(call, name, events)
        if text:
            events.append(PartDelta(self._number, number, text))

    def _begin_call(self, call: _Call, name: str, events: list[ReplyEvent]) -> int:
        self._end_text(events)
        return self._start(call.begin(self._count, name), events)

    def _call_of(self, raw: dict[str, Json]) -> _Call:
        """The call that a piece is of, which may be new."""
        index = optional(raw, "index", int, "delta.tool_calls")
        call_id = optional(raw, "id", str, "delta.tool_calls")
        call: _Call | None
        if index is not None:
            call = self._by_index.get(index)
            if call is not None and call_id and call.call_id and call_id != call.call_id and _names(raw):
                call = None
        elif call_id:
            call = next((one for one in self._calls if one.call_id == call_id), None)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None:
            call = _Call(
                optional(raw, "type", str, "delta.tool_calls") or ("custom" if "custom" in raw else "function")
            )
            self._calls.append(call)
            if index is not None:
                self._by_index[index] = call
        return call


def _names(raw: dict[str, Json]) -> bool:
    """Whether a piece tells the name of a call, as its first one does."""
    return any(isinstance(body, dict) and body.get("name") for body in (raw.get("function"), raw.get("custom")))


class OpenChoice(Protocol):
    """A choice of a stream that has not ended. ``finish`` is its finish reason, once it was told."""

    finish: str | None

    def take(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        """What a chunk says of it. Raises ``Malformed``."""
        ...

    def end(self, events: list[ReplyEvent], of_reply: dict[str, Json]) -> None:
        """No more of it. ``of_reply`` is what the end of the stream told of the reply itself."""
        ...


class ChunkDecoder(FrameDecoder[SseEvent]):
    """The bytes of one streamed completion to reply events; what a choice says is the subclass's business."""

    dialect: ClassVar[str]
    cut = "the stream ended before its choices did"

    def __init__(self) -> None:
        super().__init__(SseDecoder())
        self._started = False
        self._head: dict[str, Json] = {}
        self._extra: dict[str, Json] = {}
        self._late: dict[str, Json] = {}
        self._choices: dict[int, OpenChoice] = {}

    @abc.abstractmethod
    def open_choice(self, number: int) -> OpenChoice:
        """A choice that begins."""

    def take_last(self, frame: SseEvent, events: list[ReplyEvent]) -> None:
        # The end of the stream may be cut as well: all that it says is that there is no more.
        if not DONE.startswith(frame.data):
            self.take(frame, events)

    def end(self, events: list[ReplyEvent]) -> None:
        if self._choices and all(choice.finish is not None for choice in self._choices.values()):
            self._finish(events)

    def take(self, frame: SseEvent, events: list[ReplyEvent]) -> None:
        if frame.data.startswith(DONE):
            self._finish(events)
            return
        try:
            raw = typed(loads(frame.data), dict, "")
        except Malformed:
            if frame.event != "error":
                raise
            raw = {"error": frame.data}
        if raw.get("error") or raw.get("object") == "error":
            self.done = True
            events.append(Failed(parse_error(raw.get("error") or raw)))
            return
        choices = optional(raw, "choices", list, "") or ()
        usage = raw.get("usage")
        if usage is None and isinstance(groq := raw.get("x_groq"), dict):
            usage = groq.get("usage")
        if not self._started:
            if "choices" in raw:
                self._read_head(raw)
            if choices or usage:
                self._start(events)
        elif "choices" in raw:
            self._read_late(raw)
        for position, one in enumerate(choices):
            index = optional(typed(one, dict, "choices"), "index", int, "choices")
            number = position if index is None else index
            choice = self._choices.get(number)
            if choice is None:
                choice = self._choices[number] = self.open_choice(number)
            choice.take(one, events)
        if usage and (counts := parse_usage(usage)) is not None:
            events.append(UsageReported(counts))

    def _read_head(self, raw: dict[str, Json]) -> None:
        for key, kind in (("id", str), ("model", str), ("created", int)):
            self._head[key] = self._head.get(key) or optional(raw, key, kind, "")
        self._extra |= kept(rest(raw, *REPLY_FIELDS))

    def _read_late(self, raw: dict[str, Json]) -> None:
        """What a chunk tells of the reply that its first chunks did not."""
        for key, told in raw.items():
            if key in _REPLY_FIELDS:
                continue
            value = told
            if key == "x_groq" and isinstance(told, dict):
                # Its first chunk has the same id, and what we said ourselves stands in every chunk.
                first = self._extra.get(key)
                value = {
                    name: item
                    for name, item in rest(told, "id", "usage").items()
                    if not isinstance(first, dict) or first.get(name) != item
                } or None
            if value != self._extra.get(key):
                self._late |= kept({key: value})

    def _start(self, events: list[ReplyEvent]) -> None:
        self._started = True
        events.append(
            Started(
                self._head.get("id") or "",
                self._head.get("model") or "",
                self._head.get("created") or 0,
                extra=self._extra or NO_EXTRA,
                dialect=self.dialect,
            )
        )

    def _finish(self, events: list[ReplyEvent]) -> None:
        if not self._started:
            self._start(events)
        self.done = True
        last = max(self._choices, default=0)
        for number, choice in sorted(self._choices.items()):
            choice.end(events, self._late if number == last else {})
        events.append(Finished())


class ChatDecoder(ChunkDecoder):
    """The decoder of Chat Completions."""

    dialect = NAME
    what = "a stream of Chat Completions"

    def open_choice(self, number: int) -> OpenChoice:
        return _Choice(number)
