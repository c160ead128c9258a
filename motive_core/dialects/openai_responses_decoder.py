"""The streamed reply of the Responses API, in: server-sent events to reply events.

Owns what is known of the items that are open. Takes parts from ``openai_responses_items`` and the words of a reply from
``openai_responses_reply``. Knows no request.

Text, refusals, reasoning and arguments come by their deltas; all else of a part comes with the end of its item, and of
the reply with its last event. What an item says in the end and its deltas did not, is said then, so a service may leave
out any event of an item but one. Items that we don't know come when they end; how the service gets on with them
(``response.web_search_call.searching``) is not told.

A stream is complete with ``response.completed`` or ``response.incomplete``. Quirks that are taken as they are meant:

* events that tell no ``type``: the name of the event is it;
* an item that was never added, or an output that only the last event tells;
* ``[DONE]`` at the end, which says nothing;
* an error as text, flat as it is documented, or as an object as the live API has it; ``response.failed`` without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from motive_core.dialects.decoding import FrameDecoder
from motive_core.dialects.fields import Malformed, loads, optional, typed
from motive_core.dialects.openai_responses_contents import NAME, SAID, parse_part
from motive_core.dialects.openai_responses_items import item_type, marked, parse_call, reply_members
from motive_core.dialects.openai_responses_reply import (
    created_at,
    parse_failure,
    parse_finish,
    parse_item,
    parse_usage,
    reply_extra,
    said_members,
)
from motive_core.framing import SseDecoder, SseEvent
from motive_core.ir import NO_EXTRA, Extra, Json, OpaquePart, Part, ReasoningPart, RefusalPart, TextPart, ToolCallPart
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

_DONE: Final = "[DONE]"
_TEXT: Final = "response.output_text.delta"
_OWN_WORDS: Final = "response.reasoning_text.delta"
_CONTENT_ADDED: Final = "response.content_part.added"

_DELTAS: Final[Mapping[str, str]] = {
    _TEXT: "message",
    "response.refusal.delta": "message",
    "response.function_call_arguments.delta": "function_call",
    "response.custom_tool_call_input.delta": "custom_tool_call",
    "response.reasoning_summary_text.delta": "reasoning",
    _OWN_WORDS: "reasoning",
}
"""The events with more of a text, and the type of the item that they are of."""


class _Said:
    """A part that is being said: its number, what it began as, and its text so far."""

    __slots__ = ("ended", "number", "pieces", "start")

    def __init__(self, number: int, start: Part) -> None:
        self.number = number
        self.start = start
        self.pieces: list[str] = []
        self.ended = False


class _Parts:
    """The parts of the reply, numbered as they begin."""

    def __init__(self) -> None:
        self.called = False
        self._count = 0

    def begin(self, start: Part, events: list[ReplyEvent]) -> _Said:
        said = _Said(self._count, start)
        self._count += 1
        self.called = self.called or isinstance(start, ToolCallPart)
        events.append(PartStarted(0, said.number, start))
        return said

    def say(self, said: _Said, text: str, events: list[ReplyEvent]) -> None:
        if text and not said.ended:
            said.pieces.append(text)
            events.append(PartDelta(0, said.number, text))

    def end(self, said: _Said, final: Part | None, events: list[ReplyEvent]) -> None:
        """The end of a part. ``final`` is all of it, if the service told that."""
        if said.ended:
            return
        extra: Extra = NO_EXTRA
        match final:
            case TextPart(text) | RefusalPart(text) | ReasoningPart(text) | ToolCallPart(arguments=text):
                spoken = "".join(said.pieces)
                if text.startswith(spoken):
                    self.say(said, text[len(spoken) :], events)
                begun = NO_EXTRA if isinstance(said.start, OpaquePart) else said.start.extra
                extra = {key: value for key, value in final.extra.items() if begun.get(key, ...) != value}
            case _:
                pass
        if isinstance(final, ReasoningPart) and final.signature is not None:
            events.append(SignatureDelta(0, said.number, final.signature))
        events.append(PartEnded(0, said.number, extra=extra or NO_EXTRA))
        said.ended = True

    def whole(self, part: Part, events: list[ReplyEvent]) -> None:
        """A part of which nothing was said before its end."""
        self.end(self.begin(_unsaid(part), events), part, events)


def _unsaid(part: Part) -> Part:
    """A part as it begins."""
    match part:
        case TextPart() | RefusalPart():
            return replace(part, text="")
        case ReasoningPart():
            return replace(part, text="", signature=None)
        case ToolCallPart():
            return replace(part, arguments="")
        case _:
            return part


class _Item:
    """An item of the output. One that we don't know comes when it ends; other kinds build on it.

    ``raw`` is what is known of it by now, ``after_message`` tells that the item before it is a message."""

    def __init__(self, raw: dict[str, Json], index: int, reply_id: str, parts: _Parts, *, after_message: bool) -> None:
        self._raw = raw
        self._index = index
        self._reply_id = reply_id
        self._parts = parts
        self._after_message = after_message
        self.ended = False

    @property
    def item_id(self) -> Json:
        """Its id, if it has one."""
        return self._raw.get("id")

    def begin(self, events: list[ReplyEvent]) -> None:
        """The item was added. Raises ``Malformed``, as all of these do."""

    def keep_place(self, events: list[ReplyEvent]) -> None:
        """Another item begins: a part of this one that has not begun must, so that it stays before that."""

    def say(self, event: dict[str, Json], kind: str, text: str, events: list[ReplyEvent]) -> None:
        """More text of it. ``kind`` is the type of the event."""

    def content(self, event: dict[str, Json], kind: str, events: list[ReplyEvent]) -> None:
        """A part of its content begins or ends."""

    def end(self, raw: dict[str, Json] | None, events: list[ReplyEvent]) -> None:
        """The end of it. ``raw`` is all of it, if the service told that."""
        if not self.ended:
            self.ended = True
            self._settle([] if raw is None else self._parsed(raw), events)

    def _settle(self, final: list[Part], events: list[ReplyEvent]) -> None:
        """Say of these parts what was not said, and end them. There are none if nobody told them."""
        for part in final or self._parsed(self._raw):
            self._parts.whole(part, events)

    def _parsed(self, raw: dict[str, Json]) -> list[Part]:
        where = f"output[{self._index}]"
        return parse_item(raw, self._reply_id, self._index, where, after_message=self._after_message)

    def _id(self) -> dict[str, Json]:
        """The id that a part of it begins with."""
        kind = item_type(self._raw, "item")
        return {
            key: value
            for key, value in reply_members(self._raw, kind, self._reply_id, self._index).items()
            if key == "id"
        }


class _Call(_Item):
    """A tool call. One that was not added with its name comes when it ends."""

    _said: _Said | None = None

    def begin(self, events: list[ReplyEvent]) -> None:
        if "call_id" in self._raw and "name" in self._raw:
            call = parse_call(self._raw, self._id(), "item")
            self._said = self._parts.begin(_unsaid(call), events)
            self._parts.say(self._said, call.arguments, events)

    def say(self, event: dict[str, Json], kind: str, text: str, events: list[ReplyEvent]) -> None:
        if self._said is not None:
            self._parts.say(self._said, text, events)

    def _settle(self, final: list[Part], events: list[ReplyEvent]) -> None:
        if self._said is not None:
            self._parts.end(self._said, final[0] if final else None, events)
        elif final:
            self._parts.whole(final[0], events)


class _Reasoning(_Item):
    """Reasoning: a summary in one or more parts, or what the model thought in its own words, whichever is said
    first."""

    _said: _Said | None = None
    _kind = ""
    _place: int | None = None

    def keep_place(self, events: list[ReplyEvent]) -> None:
        if self._said is None and not self.ended:
            self._begin("", events)

    def _begin(self, kind: str, events: list[ReplyEvent]) -> None:
        own_words: dict[str, Json] = {"summary": []} if kind == _OWN_WORDS else {}
        self._said = self._parts.begin(ReasoningPart("", extra={**self._id(), **own_words} or NO_EXTRA), events)

    def say(self, event: dict[str, Json], kind: str, text: str, events: list[ReplyEvent]) -> None:
        if self._said is None:
            self._begin(kind, events)
        self._kind = self._kind or kind
        if self._said is None or kind != self._kind or not text:
            return
        place = optional(event, "content_index" if kind == _OWN_WORDS else "summary_index", int, kind)
        if self._said.pieces and place != self._place:
            text = "\n\n" + text
        self._place = place
        self._parts.say(self._said, text, events)

    def _settle(self, final: list[Part], events: list[ReplyEvent]) -> None:
        if self._said is not None:
            self._parts.end(self._said, final[0] if final else None, events)
        elif final:
            self._parts.whole(final[0], events)


class _Message(_Item):
    """A message, and the parts of its content. One ends when the next one begins, if all of it was told by then."""

    def __init__(self, raw: dict[str, Json], index: int, reply_id: str, parts: _Parts, *, after_message: bool) -> None:
        super().__init__(raw, index, reply_id, parts, after_message=after_message)
        self._contents: dict[int, _Said] = {}
        self._finals: dict[int, Part] = {}

    def say(self, event: dict[str, Json], kind: str, text: str, events: list[ReplyEvent]) -> None:
        place = optional(event, "content_index", int, kind) or 0
        said = self._contents.get(place)
        if said is None:
            said = self._begin_content(place, TextPart("") if kind == _TEXT else RefusalPart(""), events)
        self._parts.say(said, text, events)

    def content(self, event: dict[str, Json], kind: str, events: list[ReplyEvent]) -> None:
        place = optional(event, "content_index", int, kind) or 0
        part = parse_part(event.get("part"), f"{kind}.part", SAID)
        if isinstance(part, TextPart):
            part = replace(part, extra=said_members(part.extra))
        if kind == _CONTENT_ADDED:
            if place not in self._contents and isinstance(part, TextPart | RefusalPart):
                self._parts.say(self._begin_content(place, _unsaid(part), events), part.text, events)
        else:
            self._finals[place] = part

    def _begin_content(self, place: int, start: Part, events: list[ReplyEvent]) -> _Said:
        for other, said in self._contents.items():
            if other in self._finals:
                self._parts.end(said, self._finals[other], events)
        if not self._contents:
            members = reply_members(self._raw, "message", self._reply_id, self._index, "role", "content", "status")
            if members or self._after_message:
                start = marked(start, members)
        said = self._contents[place] = self._parts.begin(start, events)
        return said

    def _settle(self, final: list[Part], events: list[ReplyEvent]) -> None:
        for place, part in enumerate(final or [self._finals[place] for place in sorted(self._finals)]):
            if place in self._contents:
                self._parts.end(self._contents[place], part, events)
            elif final:
                self._parts.whole(part, events)
        for said in self._contents.values():
            self._parts.end(said, None, events)


_KINDS: Final[Mapping[str, type[_Item]]] = {
    "message": _Message,
    "reasoning": _Reasoning,
    "function_call": _Call,
    "custom_tool_call": _Call,
}


class ResponsesDecoder(FrameDecoder[SseEvent]):
    """The bytes of one streamed response to reply events."""

    what = "a stream of the Responses API"
    cut = "the stream ended before its response did"

    def __init__(self) -> None:
        super().__init__(SseDecoder())
        self._start: Started | None = None
        self._parts = _Parts()
        self._items: list[_Item] = []
        self._by_index: dict[int, _Item] = {}

    def take(self, frame: SseEvent, events: list[ReplyEvent]) -> None:
        if frame.data.startswith(_DONE):
            return
        try:
            raw = typed(loads(frame.data), dict, "")
        except Malformed:
            if frame.event != "error":
                raise
            raw = {"type": "error", "error": frame.data}
        kind = optional(raw, "type", str, "") or frame.event or ""
        if raw.get("error") or kind == "error":
            self._fail(raw.get("error") or raw, events)
        elif kind in _DELTAS:
            text = optional(raw, "delta", str, kind) or ""
            item = self._item(raw, {"type": _DELTAS[kind]}, events)
            if not item.ended:
                item.say(raw, kind, text, events)
        else:
            self._take(raw, kind, events)

    def take_last(self, frame: SseEvent, events: list[ReplyEvent]) -> None:
        if not _DONE.startswith(frame.data):
            self.take(frame, events)

    def _take(self, raw: dict[str, Json], kind: str, events: list[ReplyEvent]) -> None:
        match kind:
            case "response.output_item.added":
                if (told := optional(raw, "item", dict, kind)) is not None:
                    self._add(raw, told, events).begin(events)
            case "response.output_item.done":
                if (told := optional(raw, "item", dict, kind)) is not None:
                    item = self._item(raw, told, events)
                    if item.ended and item.item_id != told.get("id"):
                        item = self._add(raw, told, events)
                    item.end(told, events)
            case "response.content_part.added" | "response.content_part.done":
                item = self._item(raw, {"type": "message"}, events)
                if not item.ended:
                    item.content(raw, kind, events)
            case "response.created" | "response.in_progress" | "response.queued":
                self._begin(optional(raw, "response", dict, kind) or {}, events)
            case "response.completed" | "response.incomplete":
                response = optional(raw, "response", dict, kind) or {}
                self._finish({"status": kind.removeprefix("response."), **response}, events)
            case "response.failed":
                response = optional(raw, "response", dict, kind) or {}
                self._fail(response.get("error") or {}, events)
            case _:
                pass  # how the service gets on, or what the end of an item tells again

    def _begin(self, response: dict[str, Json], events: list[ReplyEvent]) -> Started:
        """The start of the reply, if it was not told yet."""
        if self._start is None:
            self._start = Started(
                optional(response, "id", str, "response") or "",
                optional(response, "model", str, "response") or "",
                created_at(response),
                extra=reply_extra(response) or NO_EXTRA,
                dialect=NAME,
            )
            events.append(self._start)
        return self._start

    def _item(self, raw: dict[str, Json], unknown: dict[str, Json], events: list[ReplyEvent]) -> _Item:
        """The item that an event is of; ``unknown`` is one that was never added."""
        index = optional(raw, "output_index", int, "")
        found = self._by_index.get(len(self._items) - 1 if index is None else index)
        return self._add(raw, unknown, events) if found is None else found

    def _add(self, raw: dict[str, Json], told: dict[str, Json], events: list[ReplyEvent]) -> _Item:
        reply_id = self._begin({}, events).reply_id
        index = optional(raw, "output_index", int, "")
        index = len(self._items) if index is None else index
        if (other := self._by_index.get(index)) is not None:
            other.end(None, events)
        if self._items:
            self._items[-1].keep_place(events)
        after_message = bool(self._items) and isinstance(self._items[-1], _Message)
        make = _KINDS.get(item_type(told, "item"), _Item)
        item = make(told, index, reply_id, self._parts, after_message=after_message)
        self._items.append(item)
        self._by_index[index] = item
        return item

    def _finish(self, response: dict[str, Json], events: list[ReplyEvent]) -> None:
        start = self._begin(response, events)
        output = optional(response, "output", list, "response") or ()
        output = [typed(one, dict, f"output[{index}]") for index, one in enumerate(output)]
        for index, item in self._by_index.items():
            known = 0 <= index < len(output) and type(item) is _KINDS.get(item_type(output[index], "item"), _Item)
            item.end(output[index] if known else None, events)
        for index in range(len(self._items), len(output)):
            self._add({"output_index": index}, output[index], events).end(output[index], events)
        finish, extra = parse_finish(response, called=self._parts.called)
        told = reply_extra(response)
        gone = {key: response.get(key) for key in start.extra if key not in told}
        if late := {key: value for key, value in {**told, **gone}.items() if start.extra.get(key) != value}:
            extra["response"] = late
        events.append(ChoiceEnded(0, finish, extra=extra or NO_EXTRA))
        if (usage := parse_usage(response.get("usage"))) is not None:
            events.append(UsageReported(usage))
        self.done = True
        events.append(Finished())

    def _fail(self, error: Json, events: list[ReplyEvent]) -> None:
        self.done = True
        events.append(Failed(parse_failure(error)))
