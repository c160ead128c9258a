"""The streamed reply of the Messages API, in: server-sent events to reply events.

Owns what is known of the blocks that are open. Takes blocks from ``anthropic_blocks`` and the words of a reply from
``anthropic_reply``. Knows no request.

The arguments of a tool call are its ``partial_json`` pieces as they came. The live service puts blanks after ``:`` and
``,`` there, which whole replies, read as compact JSON, do not have: the two differ in white space only. Text, thinking
and tool calls come piece by piece, any other block as one part when it is complete. What deltas tell of a part that
the IR has no event for (citations) comes with its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic_core import from_json

from motive_core.dialects.anthropic_blocks import NAME, loads, parse_block, rest
from motive_core.dialects.anthropic_reply import (
    END_FIELDS,
    MESSAGE_FIELDS,
    is_blank,
    parse_error,
    parse_stop,
    parse_usage,
)
from motive_core.dialects.decoding import FrameDecoder
from motive_core.dialects.fields import Malformed, member, optional, typed
from motive_core.framing import SseDecoder, SseEvent
from motive_core.ir import NO_EXTRA, Json, Part, ReasoningPart, TextPart, ToolCallPart
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

_DELTA_FIELDS: Final[Mapping[tuple[type[Part], str], str]] = {
    (TextPart, "text_delta"): "text",
    (ReasoningPart, "thinking_delta"): "thinking",
    (ToolCallPart, "input_json_delta"): "partial_json",
}
"""Where the text of a delta is that says more of a part."""

_LEFT_OUT: Final[Mapping[str, dict[str, Json]]] = {
    "text": {"text": ""},
    "thinking": {"thinking": ""},
    "tool_use": {"input": {}},
}
"""What the start of a block may leave out, since its deltas tell it."""


@dataclass(slots=True, eq=False)
class _Block:
    """A block that is open.

    A block that comes piece by piece has a ``start``, the part without its text, and a ``number`` once that is said;
    ``arguments`` are those of a tool call whose start told them. ``told`` collects what deltas add that is not said at
    once: for a block without ``start`` that is its whole content.
    """

    raw: dict[str, Json]
    start: TextPart | ReasoningPart | ToolCallPart | None = None
    number: int | None = None
    arguments: str = ""
    told: dict[str, Json] = field(default_factory=dict)
    input_pieces: list[str] = field(default_factory=list)

    def tell(self, delta: Mapping[str, Json]) -> None:
        """Take a delta that is not said at once, of whatever type: strings grow, lists grow, citations are listed."""
        for key, value in delta.items():
            before = self.told.get(key, self.raw.get(key))
            if key == "type":
                continue
            if key == "partial_json" and isinstance(value, str):
                self.input_pieces.append(value)
            elif key == "citation":
                citations = self.told.get("citations", self.raw.get("citations"))
                self.told["citations"] = [*(citations if isinstance(citations, list) else []), value]
            else:
                grows = isinstance(before, str | list) and type(before) is type(value)
                self.told[key] = before + value if grows else value

    def whole(self) -> Part:
        """The part of a block without ``start``."""
        raw = {**self.raw, **self.told}
        if data := "".join(self.input_pieces).strip():
            raw["input"] = loads(data.encode())
        return parse_block(raw, "content_block")


class MessagesDecoder(FrameDecoder[SseEvent]):
    """The bytes of one streamed message to reply events."""

    what = "a stream of the Messages API"
    cut = "the stream ended before message_stop"

    def __init__(self) -> None:
        super().__init__(SseDecoder())
        self._started = False
        self._blocks: dict[int, _Block] = {}
        self._parts = 0
        self._usage: dict[str, Json] = {}
        self._stop: dict[str, Json] = {}
        self._end: dict[str, Json] = {}

    def take(self, frame: SseEvent, events: list[ReplyEvent]) -> None:
        try:
            raw = from_json(frame.data, allow_inf_nan=False)
        except ValueError as error:
            if frame.event != "error":
                raise Malformed("", f"an event is not JSON: {error}") from None
            raw = {"type": "error", "error": {"message": frame.data}}
        raw = typed(raw, dict, "")
        match raw.get("type", frame.event):
            case "content_block_delta":
                self._delta(self._block(raw), member(raw, "delta", dict, ""), events)
            case "content_block_start":
                self._open(frame.data, events)
            case "content_block_stop":
                block = self._block(raw)
                del self._blocks[raw["index"]]
                self._close(block, events)
            case "message_start":
                self._begin(member(raw, "message", dict, ""), events)
            case "message_delta":
                self._take_end(raw, events)
            case "message_stop":
                self._finish(events)
            case "error":
                self.done = True
                events.append(Failed(parse_error(raw)))
            case _:
                pass  # a ping, or an event that is new to us

    def _begin(self, message: dict[str, Json], events: list[ReplyEvent]) -> None:
        if self._started:
            raise Malformed("message_start", "There may be only one")
        self._started = True
        self._usage = dict(optional(message, "usage", dict, "message") or {})
        unknown = {key: value for key, value in rest(message, *MESSAGE_FIELDS).items() if value is not None}
        self._end = {key: unknown.pop(key) for key in END_FIELDS if key in unknown}
        events.append(
            Started(
                optional(message, "id", str, "message") or "",
                optional(message, "model", str, "message") or "",
                usage=parse_usage(self._usage),
                extra=unknown or NO_EXTRA,
                dialect=NAME,
            )
        )

    def _block(self, raw: dict[str, Json]) -> _Block:
        block = self._blocks.get(member(raw, "index", int, ""))
        if block is None:
            raise Malformed("index", "There is no open block of this index")
        return block

    def _open(self, data: str, events: list[ReplyEvent]) -> None:
        if not self._started:
            raise Malformed("content_block_start", "It comes before message_start")
        # Read again: the start of a tool call may tell its whole input, whose numbers must stay as they are.
        raw = loads(data.encode())
        index = member(raw, "index", int, "")
        if (unended := self._blocks.pop(index, None)) is not None:
            self._close(unended, events)
        start = member(raw, "content_block", dict, "")
        block = self._blocks[index] = _Block(_LEFT_OUT.get(member(start, "type", str, "content_block"), {}) | start)
        match part := block.whole() if start["type"] in _LEFT_OUT else None:
            case TextPart(text):
                block.start = replace(part, text="")
                if not is_blank(part, own=True):
                    self._speak(block, text, events)
            case ReasoningPart(text, signature):
                block.start = replace(part, text="", signature=None)
                number = self._speak(block, text, events)
                if signature:
                    events.append(SignatureDelta(0, number, signature))
            case ToolCallPart(arguments=arguments):
                block.start = replace(part, arguments="")
                block.arguments = arguments
                self._speak(block, "", events)
            case _:
                pass

    def _speak(self, block: _Block, text: str, events: list[ReplyEvent]) -> int:
        """More of a part, which begins with that if it has not; gives its number."""
        number = block.number
        if number is None:
            number = block.number = self._parts
            self._parts += 1
            events.append(PartStarted(0, number, block.start or TextPart("")))
        if text:
            block.arguments = ""
            events.append(PartDelta(0, number, text))
        return number

    def _delta(self, block: _Block, delta: dict[str, Json], events: list[ReplyEvent]) -> None:
        kind = member(delta, "type", str, "delta")
        name = _DELTA_FIELDS.get((type(block.start), kind)) if block.start is not None else None
        if name is not None:
            if text := member(delta, name, str, "delta"):
                self._speak(block, text, events)
        elif kind == "signature_delta" and block.number is not None and isinstance(block.start, ReasoningPart):
            if signature := member(delta, "signature", str, "delta"):
                events.append(SignatureDelta(0, block.number, signature))
        else:
            block.tell(delta)

    def _close(self, block: _Block, events: list[ReplyEvent]) -> None:
        if block.start is None:
            number = self._parts
            self._parts += 1
            events += [PartStarted(0, number, block.whole()), PartEnded(0, number)]
            return
        if block.arguments or any(block.told.values()):
            self._speak(block, block.arguments, events)
        if block.number is not None:
            events.append(PartEnded(0, block.number, extra=block.told or NO_EXTRA))

    def _take_end(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        if not self._started:
            raise Malformed("message_delta", "It comes before message_start")
        delta = member(raw, "delta", dict, "")
        self._stop |= {key: delta[key] for key in ("stop_reason", "stop_sequence") if key in delta}
        for source, known in ((delta, ("stop_reason", "stop_sequence")), (raw, ("type", "delta", "usage"))):
            self._end |= {key: value for key, value in rest(source, *known).items() if value is not None}
        counts = optional(raw, "usage", dict, "") or {}
        self._usage |= {key: value for key, value in counts.items() if value is not None}
        if (usage := parse_usage(self._usage)) is not None:
            events.append(UsageReported(usage))

    def _finish(self, events: list[ReplyEvent]) -> None:
        if not self._started:
            raise Malformed("message_stop", "It comes before message_start")
        for block in self._blocks.values():
            self._close(block, events)
        finish, sequence, kept = parse_stop(self._stop, "delta")
        self.done = True
        events += [ChoiceEnded(0, finish, sequence, extra=kept | self._end or NO_EXTRA), Finished()]
