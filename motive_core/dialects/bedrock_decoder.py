"""The streamed reply of the Converse API, in: event-stream frames to reply events.

Owns what is known of the blocks that are open. Takes blocks from ``bedrock_blocks`` and the words of a reply from
``bedrock_reply``. Knows no request.

Only the blocks of tools have a start; what another block is, its deltas tell. Text, reasoning and tool calls come piece
by piece, any other block as one part when it is complete. The arguments of a tool call are its pieces as they came, and
``{}`` if there were none. The padding (``p``) that the live service puts into its events is ignored. A stream is
complete when both ``messageStop`` and ``metadata`` were told.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic_core import from_json

from motive_core.dialects.aws import stream_error
from motive_core.dialects.bedrock_blocks import NAME, parse_block, union
from motive_core.dialects.bedrock_reply import parse_end, parse_usage
from motive_core.dialects.decoding import FrameDecoder
from motive_core.dialects.exact import loads_exact
from motive_core.dialects.fields import Malformed, member, optional, rest, typed
from motive_core.framing import EventStreamDecoder, Frame
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

_PADDING: Final = "p"
_BASE64: Final = frozenset({"bytes", "redactedContent"})


@dataclass(slots=True, eq=False)
class _Block:
    """A block that is open. ``number`` is that of its part, once it has begun. ``citations`` come with the end of a
    text, ``raw`` is the whole of a block that comes at once; ``redacted`` is reasoning that nobody can read."""

    kind: Literal["text", "reasoning", "tool", "other"]
    start: TextPart | ReasoningPart | ToolCallPart | None = None
    number: int | None = None
    said: bool = False
    citations: list[Json] = field(default_factory=list)
    redacted: str = ""
    raw: Json = field(default_factory=dict)


class ConverseDecoder(FrameDecoder[Frame]):
    """The bytes of one streamed reply to reply events."""

    what = "a stream of the Converse API"
    cut = "the stream ended before its metadata"

    def __init__(self) -> None:
        super().__init__(EventStreamDecoder())
        self._started = False
        self._blocks: dict[int, _Block] = {}
        self._parts = 0
        self._stop: dict[str, Json] | None = None
        self._metadata: dict[str, Json] | None = None

    def take(self, frame: Frame, events: list[ReplyEvent]) -> None:
        if frame.kind != "event":
            self.done = True
            events.append(Failed(stream_error(frame)))
            return
        try:
            raw = typed(from_json(frame.payload, allow_inf_nan=False), dict, frame.name)
        except ValueError as error:
            if isinstance(error, Malformed):
                raise
            raise Malformed(frame.name, f"it is not JSON: {error}", "json") from None
        if frame.name == "contentBlockDelta":
            self._delta(raw, events)
            return
        match frame.name:
            case "messageStart":
                if self._started:
                    raise Malformed("messageStart", "there may be only one")
                self._started = True
                events.append(Started("", "", dialect=NAME))
            case "contentBlockStart":
                self._open(frame, events)
            case "contentBlockStop":
                block = self._blocks.pop(self._index(raw), None)
                if block is not None:
                    self._close(block, events)
            case "messageStop":
                self._stop = raw
            case "metadata":
                self._metadata = raw
            case _:
                return  # an event that is new to us
        if self._stop is not None and self._metadata is not None:
            self._finish(self._stop, self._metadata, events)

    def _index(self, raw: dict[str, Json]) -> int:
        if not self._started:
            raise Malformed("messageStart", "it must be the first event", "missing")
        return member(raw, "contentBlockIndex", int, "")

    def _open(self, frame: Frame, events: list[ReplyEvent]) -> None:
        # Read again: it may have the whole of a block, whose numbers must stay as they are.
        raw = typed(loads_exact(frame.payload), dict, "")
        index = self._index(raw)
        if (unended := self._blocks.pop(index, None)) is not None:
            self._close(unended, events)
        start = optional(raw, "start", dict, "") or {}
        if not start:
            return  # what is no tool needs no start; its deltas tell what it is
        kind, value = union(start, "start")
        if kind == "toolUse" and typed(value, dict, "start.toolUse").get("type") is None and "input" not in value:
            call = ToolCallPart(
                member(value, "toolUseId", str, "start.toolUse"),
                member(value, "name", str, "start.toolUse"),
                "",
                extra=rest(value, "toolUseId", "name", "type") or NO_EXTRA,
            )
            block = self._blocks[index] = _Block("tool", call)
            self._begin(block, events)
        else:
            self._blocks[index] = _Block("other", raw=start)

    def _delta(self, raw: dict[str, Json], events: list[ReplyEvent]) -> None:
        index = self._index(raw)
        delta = member(raw, "delta", dict, "")
        block = self._blocks.get(index)
        text = delta.get("text")
        if type(text) is str and (block is None or block.kind in ("text", "reasoning")):
            if block is None or block.kind != "text":
                block = self._turn(index, block, "text", TextPart(""), events)
            if text:
                self._say(block, text, events)
            return
        kind, value = union(delta, "delta")
        match kind:
            case "toolUse" if block is not None and block.kind == "tool":
                if piece := optional(typed(value, dict, "delta.toolUse"), "input", str, "delta.toolUse"):
                    self._say(block, piece, events)
            case "reasoningContent" if block is None or block.kind in ("text", "reasoning"):
                if block is None or block.kind != "reasoning":
                    block = self._turn(index, block, "reasoning", ReasoningPart(""), events)
                self._reason(block, typed(value, dict, "delta.reasoningContent"), events)
            case "citation" if block is None or block.kind == "text":
                if block is None:
                    block = self._turn(index, block, "text", TextPart(""), events)
                block.citations.append(value)
            case "toolUse" if block is None:
                raise Malformed("delta.toolUse", "there is no open tool call of this index")
            case _:
                if block is None or block.kind != "other":
                    block = self._turn(index, block, "other", None, events)
                # A tool result's delta is its content alone.
                more = {kind: {"content": value}} if kind == "toolResult" and isinstance(value, list) else delta
                block.raw = _grown(block.raw, more)

    def _turn(
        self,
        index: int,
        before: _Block | None,
        kind: Literal["text", "reasoning", "other"],
        start: TextPart | ReasoningPart | None,
        events: list[ReplyEvent],
    ) -> _Block:
        """A block that begins, in the place of the one that had its index."""
        if before is not None:
            self._close(before, events)
        block = self._blocks[index] = _Block(kind, start)
        return block

    def _begin(self, block: _Block, events: list[ReplyEvent]) -> int:
        if block.number is None:
            block.number = self._parts
            self._parts += 1
            events.append(PartStarted(0, block.number, block.start or TextPart("")))
        return block.number

    def _say(self, block: _Block, text: str, events: list[ReplyEvent]) -> None:
        number = block.number if block.number is not None else self._begin(block, events)
        block.said = True
        events.append(PartDelta(0, number, text))

    def _reason(self, block: _Block, told: dict[str, Json], events: list[ReplyEvent]) -> None:
        if text := optional(told, "text", str, "delta.reasoningContent"):
            self._say(block, text, events)
        if signature := optional(told, "signature", str, "delta.reasoningContent"):
            events.append(SignatureDelta(0, self._begin(block, events), signature))
        if data := optional(told, "redactedContent", str, "delta.reasoningContent"):
            block.redacted = _joined(block.redacted, data)

    def _close(self, block: _Block, events: list[ReplyEvent]) -> None:
        if block.kind == "other":
            self._whole(parse_block(_readable(block.raw), "block"), events)
            return
        if block.kind == "tool" and not block.said:
            self._say(block, "{}", events)
        if block.citations or (block.kind == "reasoning" and not block.redacted):
            self._begin(block, events)
        if block.number is not None:
            events.append(
                PartEnded(0, block.number, extra={"citations": block.citations} if block.citations else NO_EXTRA)
            )
        if block.redacted:
            self._whole(ReasoningPart("", redacted=block.redacted), events)

    def _whole(self, part: Part, events: list[ReplyEvent]) -> None:
        number = self._parts
        self._parts += 1
        events += [PartStarted(0, number, part), PartEnded(0, number)]

    def _finish(self, stop: dict[str, Json], metadata: dict[str, Json], events: list[ReplyEvent]) -> None:
        if not self._started:
            raise Malformed("messageStart", "it must be the first event", "missing")
        for block in self._blocks.values():
            self._close(block, events)
        finish, sequence, extra = parse_end(rest({**metadata, **stop}, _PADDING))
        if (usage := parse_usage(metadata.get("usage"))) is not None:
            events.append(UsageReported(usage))
        self.done = True
        events += [ChoiceEnded(0, finish, sequence, extra=extra), Finished()]


def _grown(before: Json, more: Json) -> Json:
    """A value that deltas tell piece by piece: objects, lists and texts grow, all else is replaced."""
    match before, more:
        case dict(), dict():
            grown = dict(before)
            for key, value in more.items():
                if key in _BASE64 and isinstance(grown.get(key), str) and isinstance(value, str):
                    grown[key] = _joined(grown[key], value)
                else:
                    grown[key] = _grown(grown[key], value) if key in grown else value
            return grown
        case (list(), list()) | (str(), str()):
            return before + more
        case _:
            return more


def _joined(before: str, more: str) -> str:
    """Two texts in base64 as one."""
    try:
        data = base64.b64decode(before, validate=True) + base64.b64decode(more, validate=True)
    except ValueError:
        return before + more
    return base64.b64encode(data).decode()


def _readable(raw: Json) -> Json:
    """A block with the input of a tool as the value that its pieces told."""
    match raw:
        case {"toolUse": {"input": str(pieces)}}:
            return {"toolUse": {**raw["toolUse"], "input": loads_exact(pieces.encode()) if pieces.strip() else {}}}
        case _:
            return raw
