"""Items of the Responses API as they are said: what a stream tells of each, from its start to its end.

Owns the events of one item and their numbers. Knows no response. What an item looks like is the business of
``openai_responses_items`` and ``openai_responses_reply``.

Each event names the item and the part of it that it is of, so several may be open side by side. Parts of another
dialect that share one text come one after the other: what is said of one whose turn has not come waits.
"""

from __future__ import annotations

from dataclasses import replace

from motive_core.dialects.degrade import TextJoiner, as_text
from motive_core.dialects.fields import dumps, rest
from motive_core.dialects.openai_responses_items import (
    CALL_TEXTS,
    begins_message,
    call_type,
    is_content,
    no_arguments,
)
from motive_core.dialects.openai_responses_reply import render_item, render_said
from motive_core.ir import (
    NO_EXTRA,
    Extra,
    Json,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)


class Writer:
    """The events of one stream, numbered from 0."""

    def __init__(self) -> None:
        self._number = 0

    def event(self, kind: str, members: dict[str, Json]) -> bytes:
        """One event."""
        return self.numbered(b"%b%b" % (_start(kind), dumps(members)[1:-1]))

    def numbered(self, said: bytes) -> bytes:
        """One event that is complete but for its number."""
        number = self._number
        self._number = number + 1
        return b'%b,"sequence_number":%d}\n\n' % (said, number)


def _start(kind: str) -> bytes:
    return f'event: {kind}\ndata: {{"type":"{kind}",'.encode()


class Deltas:
    """The pieces of one string, as events. ``where`` names it, ``more`` is what else each delta has."""

    def __init__(self, writer: Writer, kind: str, where: dict[str, Json], more: bytes = b"") -> None:
        self.where = where
        self._writer = writer
        self._kind = kind
        self._head = _start(f"{kind}.delta") + dumps(where)[1:-1] + b',"delta":'
        self._more = more
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """All pieces so far."""
        return "".join(self._pieces)

    def say(self, piece: str) -> bytes:
        """One more."""
        if not piece:
            return b""
        self._pieces.append(piece)
        return self._writer.numbered(self._head + dumps(piece) + self._more)

    def done(self, members: dict[str, Json]) -> bytes:
        """The string as a whole, which ``members`` tell."""
        return self._writer.event(f"{self._kind}.done", {**self.where, **members})


class Item:
    """An item that comes at once: a part that only this dialect knows. Other kinds build on it.

    ``final`` is the item as it ended, once it is ``closed``; ``followed`` tells that another item has begun after it.
    """

    def __init__(self, writer: Writer, reply_id: str, index: int, value: Part, *, own: bool) -> None:
        self.closed = False
        self.followed = False
        self.final: dict[str, Json] = {}
        self._writer = writer
        self._reply_id = reply_id
        self._index = index
        self._own = own
        self._value = value

    def begin(self) -> bytes:
        """The start of the item."""
        return self._event("added", self._begun())

    def take(self, part: int, value: Part) -> bytes:
        """A part of it begins: what is known of it by then."""
        return b""

    def say(self, part: int, text: str) -> bytes:
        """More text of a part of it."""
        return b""

    def sign(self, signature: str) -> None:
        """The signature, or more of it."""

    def end(self, part: int, extra: Extra) -> bytes:
        """No more of a part of it. ``extra`` is what came with that end."""
        return self.close("completed")

    def follow(self) -> bytes:
        """Another item begins. One in which nothing is open ends by that."""
        self.followed = True
        return b""

    def close(self, status: str) -> bytes:
        """The end of the item, and of all that is open in it."""
        if self.closed:
            return b""
        self.closed = True
        said = self._last_words()
        self.final = self._rendered(self._whole(), status)
        return said + self._event("done", self.final)

    def _where(self) -> dict[str, Json]:
        return {"item_id": self._begun()["id"], "output_index": self._index}

    def _begun(self) -> dict[str, Json]:
        """The item as it begins."""
        return self._rendered([self._value], "in_progress")

    def _whole(self) -> list[Part]:
        """The parts that it is made of in the end."""
        return [self._value]

    def _last_words(self) -> bytes:
        """What is said right before the end."""
        return b""

    def _rendered(self, parts: list[Part], status: str) -> dict[str, Json]:
        return render_item(parts, self._reply_id, self._index, status, own=self._own)

    def _event(self, what: str, item: dict[str, Json]) -> bytes:
        return self._writer.event(f"response.output_item.{what}", {"output_index": self._index, "item": item})


class _Turn:
    """A part that shares a text: ``waiting`` is what was said of it before its turn came."""

    __slots__ = ("ended", "plain", "waiting")

    def __init__(self, *, plain: bool) -> None:
        self.plain = plain
        self.waiting: list[str] = []
        self.ended = False


class _Content:
    """A text or a refusal of a message. Several parts may share it: one of them has the word at a time."""

    def __init__(self, writer: Writer, where: dict[str, Json], start: TextPart | RefusalPart, *, own: bool) -> None:
        self.start = start
        self.closed = False
        self._writer = writer
        self._own = own
        self._is_text = isinstance(start, TextPart)
        kind, more = ("output_text", b',"logprobs":[]') if self._is_text else ("refusal", b"")
        self._deltas = Deltas(writer, f"response.{kind}", where, more)
        self._joiner = TextJoiner()
        self._turns: dict[int, _Turn] = {}
        self._current: int | None = None

    @property
    def idle(self) -> bool:
        """Whether all parts of it have ended."""
        return self._current is None

    def begin(self) -> bytes:
        return self._writer.event("response.content_part.added", {**self._deltas.where, "part": self._part()})

    def take(self, part: int, *, plain: bool) -> None:
        self._turns[part] = _Turn(plain=plain)
        if self._current is None:
            self._current = part

    def say(self, part: int, text: str) -> bytes:
        turn = self._turns.get(part)
        if turn is None:
            return b""
        if part != self._current:
            turn.waiting.append(text)
            return b""
        return self._deltas.say(self._joiner.piece(part, text, plain=turn.plain))

    def end(self, part: int, extra: Extra) -> bytes:
        """No more of a part: what the next ones said in the meantime."""
        if extra:
            self.start = replace(self.start, extra={**self.start.extra, **extra})
        if part in self._turns:
            self._turns[part].ended = True
        said = b""
        while self._current is not None and self._turns[self._current].ended:
            del self._turns[self._current]
            self._current = next(iter(self._turns), None)
            if self._current is not None:
                said += self.say(self._current, "".join(self._turns[self._current].waiting))
        return said

    def close(self) -> bytes:
        """The end of it, and of all parts that are open in it."""
        if self.closed:
            return b""
        self.closed = True
        said = b"".join([self.end(part, NO_EXTRA) for part in list(self._turns)])
        part = self._part()
        told = {"text": self._deltas.text, "logprobs": part.get("logprobs", [])}
        said += self._deltas.done(told if self._is_text else {"refusal": self._deltas.text})
        return said + self._writer.event("response.content_part.done", {**self._deltas.where, "part": part})

    def value(self) -> Part:
        """The part that it is."""
        return replace(self.start, text=self._deltas.text)

    def _part(self) -> dict[str, Json]:
        return render_said(self.value(), own=self._own)


class _Known:
    """A part of a message that only this dialect knows; it comes at once."""

    idle = True

    def __init__(self, writer: Writer, where: dict[str, Json], value: OpaquePart) -> None:
        self._closed = False
        self._writer = writer
        self._where = where
        self._value = value

    def begin(self) -> bytes:
        return self._event("added")

    def take(self, part: int, *, plain: bool) -> None:
        pass

    def say(self, part: int, text: str) -> bytes:
        return b""

    def end(self, part: int, extra: Extra) -> bytes:
        return b""

    def close(self) -> bytes:
        if self._closed:
            return b""
        self._closed = True
        return self._event("done")

    def value(self) -> Part:
        return self._value

    def _event(self, what: str) -> bytes:
        part = render_said(self._value, own=True)
        return self._writer.event(f"response.content_part.{what}", {**self._where, "part": part})


class Message(Item):
    """A message. Parts of another dialect that are of one kind and follow each other share a text."""

    def __init__(self, writer: Writer, reply_id: str, index: int, value: Part, *, own: bool) -> None:
        super().__init__(writer, reply_id, index, value, own=own)
        self._contents: list[_Content | _Known] = []
        self._by_part: dict[int, _Content | _Known] = {}

    def take(self, part: int, value: Part) -> bytes:
        if "content" in (begins_message(value, own=self._own) or ()):
            return b""  # it says so because there is none
        last = self._contents[-1] if self._contents else None
        said = b""
        if last is None or self._own or not _share(last, value):
            if last is not None and last.idle:
                said += last.close()
            last = self._content_of(value)
            self._contents.append(last)
            said += last.begin()
        self._by_part[part] = last
        last.take(part, plain=isinstance(value, TextPart))
        return said + last.say(part, as_text(value))

    def say(self, part: int, text: str) -> bytes:
        content = self._by_part.get(part)
        return content.say(part, text) if content is not None else b""

    def end(self, part: int, extra: Extra) -> bytes:
        content = self._by_part.get(part)
        said = b"" if content is None else content.end(part, extra if self._own else NO_EXTRA)
        return said + self._close_if_over()

    def follow(self) -> bytes:
        self.followed = True
        return self._close_if_over()

    def _close_if_over(self) -> bytes:
        over = self.followed and all(content.idle for content in self._contents)
        return self.close("completed") if over else b""

    def _content_of(self, value: Part) -> _Content | _Known:
        where = {**self._where(), "content_index": len(self._contents)}
        match value:
            case OpaquePart("openai-responses", {"content": dict()}) if self._own:
                return _Known(self._writer, where, value)
            case RefusalPart(extra=extra):
                return _Content(
                    self._writer, where, RefusalPart("", extra=extra if self._own else NO_EXTRA), own=self._own
                )
            case TextPart(extra=extra) if self._own:
                return _Content(self._writer, where, TextPart("", extra=extra), own=True)
            case _:
                return _Content(self._writer, where, TextPart(""), own=self._own)

    def _begun(self) -> dict[str, Json]:
        return {**super()._begun(), "content": []}

    def _whole(self) -> list[Part]:
        return [content.value() for content in self._contents] or [self._value]

    def _last_words(self) -> bytes:
        return b"".join([content.close() for content in self._contents])


def _share(content: _Content | _Known, value: Part) -> bool:
    """Whether a part of another dialect goes on in this content."""
    return isinstance(content, _Content) and isinstance(content.start, RefusalPart) is isinstance(value, RefusalPart)


class Call(Item):
    """A tool call."""

    def __init__(self, writer: Writer, reply_id: str, index: int, value: ToolCallPart, *, own: bool) -> None:
        super().__init__(writer, reply_id, index, value, own=own)
        self._call = value
        kind = "custom_tool_call_input" if value.custom else "function_call_arguments"
        self._deltas = Deltas(writer, f"response.{kind}", self._where())

    def take(self, part: int, value: Part) -> bytes:
        return self._deltas.say(self._call.arguments)

    def say(self, part: int, text: str) -> bytes:
        return self._deltas.say(text)

    def end(self, part: int, extra: Extra) -> bytes:
        if extra:
            self._call = replace(self._call, extra={**self._call.extra, **extra})
        return super().end(part, extra)

    def _begun(self) -> dict[str, Json]:
        return {**super()._begun(), CALL_TEXTS[call_type(self._call)]: ""}

    def _whole(self) -> list[Part]:
        return [replace(self._call, arguments=self._deltas.text)]

    def _last_words(self) -> bytes:
        said = b"" if self._own or self._deltas.text else self._deltas.say(no_arguments(self._call))
        return said + self._deltas.done({CALL_TEXTS[call_type(self._call)]: self._deltas.text, "name": self._call.name})


class Reasoning(Item):
    """Reasoning: a summary, or what the model thought in its own words."""

    def __init__(self, writer: Writer, reply_id: str, index: int, value: ReasoningPart, *, own: bool) -> None:
        super().__init__(writer, reply_id, index, value, own=own)
        self._thought = value
        self._signature = value.signature or ""
        self._is_content = own and is_content(value)
        self._outer = "response.content_part" if self._is_content else "response.reasoning_summary_part"
        where = {**self._where(), "content_index" if self._is_content else "summary_index": 0}
        kind = "reasoning_text" if self._is_content else "reasoning_summary_text"
        self._deltas = Deltas(writer, f"response.{kind}", where)
        self._began = False

    def take(self, part: int, value: Part) -> bytes:
        return self.say(part, as_text(value))

    def say(self, part: int, text: str) -> bytes:
        if not text:
            return b""
        said = b"" if self._began else self._part("added", "")
        self._began = True
        return said + self._deltas.say(text)

    def sign(self, signature: str) -> None:
        self._signature += signature

    def end(self, part: int, extra: Extra) -> bytes:
        if extra:
            self._thought = replace(self._thought, extra={**self._thought.extra, **extra})
        return super().end(part, extra)

    def _begun(self) -> dict[str, Json]:
        return {**rest(super()._begun(), "content", "encrypted_content"), "summary": []}

    def _whole(self) -> list[Part]:
        return [replace(self._thought, text=self._deltas.text, signature=self._signature or None, redacted=None)]

    def _last_words(self) -> bytes:
        text = self._deltas.text
        return self._deltas.done({"text": text}) + self._part("done", text) if self._began else b""

    def _part(self, what: str, text: str) -> bytes:
        kind = "reasoning_text" if self._is_content else "summary_text"
        part = {"type": kind, "text": text}
        return self._writer.event(f"{self._outer}.{what}", {**self._deltas.where, "part": part})


def item_of(writer: Writer, reply_id: str, index: int, value: Part, *, alone: bool, own: bool) -> Item:
    """The item that begins with a part. ``alone``: it is an item by itself."""
    match value:
        case ToolCallPart():
            return Call(writer, reply_id, index, value, own=own)
        case ReasoningPart():
            return Reasoning(writer, reply_id, index, value, own=own)
        case _:
            return (Item if alone else Message)(writer, reply_id, index, value, own=own)
