"""The streamed reply of Cohere's Chat API, in: server-sent events to reply events.

Owns what is known of the content and the tool calls that are open. Takes parts from ``cohere_parts`` and the words of a
reply from ``cohere_reply``. Knows no request.

A stream is complete with its ``message-end``; ``[DONE]`` alone ends nothing. A ``message-end`` that tells an error is a
failure; one with the finish reason ``ERROR`` and no message ends the choice with that. Citations and log probabilities,
which a stream tells along the way, come with the end of the choice. Events that say nothing of the reply are ignored
(``debug``, and those that are new to us).

Taken as they are meant: content without its ``content-start``, text and thinking that share an index, events without an
index, and a tool call in a list of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from pydantic_core import from_json

from motive_core.dialects.cohere_parts import NAME, PLAN, is_blank, parse_call_start, parse_said
from motive_core.dialects.cohere_reply import MESSAGE_FIELDS, kept, parse_finish, parse_usage
from motive_core.dialects.decoding import FrameDecoder
from motive_core.dialects.fields import Malformed, optional, rest, typed
from motive_core.errors import UpstreamError
from motive_core.framing import SseDecoder, SseEvent
from motive_core.ir import NO_EXTRA, Json, OpaquePart, Part, ReasoningPart, TextPart, ToolCallPart
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

_DONE: Final = "[DONE]"
_NULL: Final = "null"

type _Kind = Literal["text", "thinking", ""]


@dataclass(slots=True, eq=False)
class _Content:
    """A content item that is open. One of text or thinking has a ``start``, the part without its text, and a ``number``
    once it has said anything; of any other, ``raw`` grows to the whole item."""

    kind: _Kind
    start: TextPart | ReasoningPart | None = None
    number: int | None = None
    raw: dict[str, Json] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Call:
    """A tool call that is open. ``held`` is the beginning of its arguments while they may still be ``null``; of a call
    of an unknown type, which has no ``number``, ``raw`` grows to the whole call."""

    number: int | None
    held: str | None = ""
    raw: dict[str, Json] = field(default_factory=dict)


def _grow(old: Json, new: Json) -> Json:
    """What two pieces tell of one member: texts grow, objects do so member by member, else the newer counts."""
    match old, new:
        case (str(), str()):
            return old + new
        case (dict(), dict()):
            grown = {key: _grow(old.get(key), value) for key, value in new.items()}
            return {**old, **grown, **{key: new[key] for key in ("type", "id") if key in new}}
        case _:
            return new


class ChatDecoder(FrameDecoder[SseEvent]):
    """The bytes of one streamed reply to reply events."""

    what = "a stream of Cohere's Chat API"
    cut = "the stream ended before message-end"

    def __init__(self) -> None:
        super().__init__(SseDecoder())
        self._started = False
        self._parts = 0
        self._contents: dict[int, _Content] = {}
        self._calls: dict[int, _Call] = {}
        self._called = False
        self._plan: int | None = None
        self._citations: list[Json] = []
        self._logprobs: list[Json] = []
        self._message: dict[str, Json] = {}

    def take(self, frame: SseEvent, events: list[ReplyEvent]) -> None:
        if frame.data == _DONE:
            return
        try:
            raw = typed(from_json(frame.data, allow_inf_nan=False), dict, "")
        except ValueError as error:
            if frame.event != "error":
                raise Malformed("", f"an event is no JSON object: {error}") from None
            raw = {"message": frame.data}
        match raw.get("type", frame.event):
            case "content-delta":
                self._take_content(raw, events)
            case "tool-call-delta":
                self._take_call(raw, events)
            case "tool-plan-delta":
                self._take_plan(raw, events)
            case "content-start":
                self._open_content(raw, events)
            case "content-end":
                if (content := self._contents.pop(_index(raw, self._contents), None)) is not None:
                    self._end_content(content, events)
            case "tool-call-start":
                self._open_call(raw, events)
            case "tool-call-end":
                if (call := self._calls.pop(_index(raw, self._calls), None)) is not None:
                    self._end_call(call, events)
            case "citation-start":
                found = _told(raw).get("citations")
                self._citations += found if isinstance(found, list) else [] if found is None else [found]
            case "message-start":
                self._begin(raw, events)
            case "message-end":
                self._take_end(raw, events)
            case "error" | None:
                self._take_error(raw, events)
            case _:
                pass

    def _begin(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        if self._started:
            raise Malformed("message-start", "there may be only one")
        self._started = True
        self._message = kept(rest(_told(raw), *MESSAGE_FIELDS))
        extra = kept(rest(raw, "id", "type", "delta"))
        events.append(Started(optional(raw, "id", str, "") or "", "", extra=extra or NO_EXTRA, dialect=NAME))

    def _start(self, part: Part, events: list[ReplyEvent]) -> int:
        if not self._started:
            self._begin({}, events)
        number = self._parts
        self._parts += 1
        events.append(PartStarted(0, number, part))
        return number

    # Content

    def _open_content(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        self._end_plan(events)
        index = optional(raw, "index", int, "")
        index = len(self._contents) if index is None else index
        if (unended := self._contents.pop(index, None)) is not None:
            self._end_content(unended, events)
        item = typed(_told(raw).get("content") or {}, dict, "delta.message.content")
        kind = optional(item, "type", str, "delta.message.content") or ("thinking" if "thinking" in item else "text")
        if kind not in ("text", "thinking"):
            self._contents[index] = _Content("", raw=item)
            return
        # Either may be left out or null at the start.
        part = parse_said({**item, "type": kind, kind: item.get(kind) or ""}, "delta.message.content")
        content = self._contents[index] = _new_content("text" if kind == "text" else "thinking")
        if isinstance(part, TextPart | ReasoningPart):
            unused = "thinking" if kind == "text" else "text"
            content.start = replace(part, text="", extra=kept(rest(part.extra, unused)) or NO_EXTRA)
            self._say(content, part.text, events)

    def _take_content(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        item = _told(raw).get("content")
        index = _index(raw, self._contents)
        content = self._contents.get(index)
        if (logprobs := raw.get("logprobs")) is not None:
            self._logprobs += logprobs if isinstance(logprobs, list) else [logprobs]
        if not isinstance(item, dict):
            if item is not None:
                typed(item, dict, "delta.message.content")
            return
        if content is not None and content.kind == "":
            content.raw = _grow(content.raw, item)
            return
        for kind in ("thinking", "text"):
            text = item.get(kind)
            if not text:
                continue
            if content is None or content.kind != kind:
                if content is not None:
                    self._end_content(content, events)
                self._end_plan(events)
                content = self._contents[index] = _new_content(kind)
            self._say(content, typed(text, str, f"delta.message.content.{kind}"), events)

    def _say(self, content: _Content, text: str, events: list[ReplyEvent]) -> None:
        if not text or content.start is None:
            return
        if content.number is None:
            content.number = self._start(content.start, events)
        events.append(PartDelta(0, content.number, text))

    def _end_content(self, content: _Content, events: list[ReplyEvent]) -> None:
        if content.start is None:
            part = parse_said(content.raw, "content")
            content.number = self._start(part, events)
        elif content.number is None and not is_blank(content.start, own=True):
            content.number = self._start(content.start, events)
        if content.number is not None:
            events.append(PartEnded(0, content.number))

    # The plan and the tool calls

    def _take_plan(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        text = optional(_told(raw), "tool_plan", str, "delta.message")
        if not text:
            return
        if self._plan is None:
            self._plan = self._start(TextPart("", extra=PLAN), events)
        events.append(PartDelta(0, self._plan, text))

    def _end_plan(self, events: list[ReplyEvent]) -> None:
        if self._plan is not None:
            events.append(PartEnded(0, self._plan))
            self._plan = None

    def _open_call(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        self._end_plan(events)
        index = optional(raw, "index", int, "")
        index = len(self._calls) if index is None else index
        if (unended := self._calls.pop(index, None)) is not None:
            self._end_call(unended, events)
        told = typed(_one(_told(raw).get("tool_calls")) or {}, dict, "delta.message.tool_calls")
        start, arguments = parse_call_start(told, "delta.message.tool_calls")
        self._called = True
        if isinstance(start, ToolCallPart):
            self._calls[index] = call = _Call(self._start(start, events))
            self._say_call(call, arguments, events)
        else:
            self._calls[index] = _Call(None, raw=told)

    def _take_call(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        call = self._calls.get(_index(raw, self._calls))
        if call is None:
            raise Malformed("index", "there is no open tool call of this index")
        told = _one(_told(raw).get("tool_calls"))
        if not isinstance(told, dict):
            return
        if call.number is None:
            call.raw = _grow(call.raw, told)
            return
        function = optional(told, "function", dict, "delta.message.tool_calls") or {}
        self._say_call(call, optional(function, "arguments", str, "delta.message.tool_calls.function") or "", events)

    def _say_call(self, call: _Call, text: str, events: list[ReplyEvent]) -> None:
        if call.number is None or not text:
            return
        if call.held is not None:
            text = call.held + text
            call.held = text if _NULL.startswith(text) else None
            if call.held is not None:
                return
        events.append(PartDelta(0, call.number, text))

    def _end_call(self, call: _Call, events: list[ReplyEvent]) -> None:
        if call.number is None:
            call.number = self._start(OpaquePart(NAME, {"tool_calls": call.raw}), events)
        elif call.held:
            events.append(PartDelta(0, call.number, "{}" if call.held == _NULL else call.held))
        events.append(PartEnded(0, call.number))

    # The end

    def _take_end(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        delta = optional(raw, "delta", dict, "") or {}
        if not self._started:
            self._begin({"id": raw.get("id")}, events)
        if error := optional(delta, "error", str, "delta"):
            self._fail(error, events)
            return
        finish, extra = parse_finish(optional(delta, "finish_reason", str, "delta"), called=self._called)
        self._end_plan(events)
        for content in self._contents.values():
            self._end_content(content, events)
        for call in self._calls.values():
            self._end_call(call, events)
        if self._logprobs:
            extra["logprobs"] = self._logprobs
        if self._citations:
            extra["citations"] = self._citations
        self._message |= kept(rest(_told(raw), *MESSAGE_FIELDS))
        if self._message:
            extra["message"] = self._message
        extra |= kept(rest(delta, "error", "finish_reason", "usage", "message"))
        if (usage := parse_usage(delta.get("usage"))) is not None:
            events.append(UsageReported(usage))
        self.done = True
        events += [ChoiceEnded(0, finish, extra=extra or NO_EXTRA), Finished()]

    def _take_error(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        """An error that is no event of the API: a gateway's, or the body of an error reply."""
        told = raw.get("error")
        found = told if isinstance(told, dict) else {**raw, "message": raw.get("message") or told}
        if isinstance(message := found.get("message"), str) and message:
            self._fail(message, events)

    def _fail(self, message: str, events: list[ReplyEvent]) -> None:
        self.done = True
        events.append(Failed(UpstreamError(message)))


def _new_content(kind: Literal["text", "thinking"]) -> _Content:
    return _Content(kind, TextPart("") if kind == "text" else ReasoningPart(""))


def _told(raw: Mapping[str, Json]) -> dict[str, Json]:
    """The message in the delta of an event."""
    delta = optional(raw, "delta", dict, "") or {}
    return optional(delta, "message", dict, "delta") or {}


def _one(value: Json) -> Json:
    """What the API tells as an object, and some hosts as a list of one."""
    return value[0] if isinstance(value, list) and value else value


def _index(raw: dict[str, Json], opened: Mapping[int, object]) -> int:
    """The index that an event is about; the newest open one where it tells none."""
    index = raw.get("index")
    if index is None:
        return next(reversed(opened), 0) if isinstance(opened, dict) else 0
    return typed(index, int, "index")
