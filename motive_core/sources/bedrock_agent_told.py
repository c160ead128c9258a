"""An agent's events as a reply.

Owns the order of its parts: what the agent thought, its answer, the files and the calls that it hands over. Knows no
SDK and no dialect but the places that some have for citations and for the session's id.
"""

from __future__ import annotations

import base64
import codecs
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import to_json

from motive_core.ir import (
    NO_EXTRA,
    UNTOLD_USAGE,
    BlobPart,
    FinishReason,
    Json,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from motive_core.log_lines import LogLine
from motive_core.sources.bedrock_agent_calls import calls_of
from motive_core.sources.bedrock_agent_citations import Attributions, Form, as_list
from motive_core.sources.bedrock_agent_errors import nothing_said
from motive_core.sources.bedrock_agent_session import FIELD
from motive_core.sources.bedrock_agent_trace import blocks, failure, kind_of, spent, thought
from motive_core.stream import (
    ChoiceEnded,
    Finished,
    PartDelta,
    PartEnded,
    PartStarted,
    ReplyEvent,
    Started,
    UsageReported,
    replay_part,
)

logger = logging.getLogger(__name__)

_BODIES: Final = frozenset({"openai-chat", "openai-completions", "openai-responses", "anthropic-messages"})
"""Dialects whose clients take a member of the reply that they don't know."""
_WORD: Final = re.compile(r"\s*\S+|\s+\Z")
_DELTAS: Final = 1000
"""How many deltas a chunk becomes at most: a whole book word by word would be many times its own size."""
_BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Telling:
    """How a reply is to be told. ``dialect`` is the caller's; ``offered`` the names of its tools. ``cites`` is whether
    citations are told at all, ``form`` how, or None for a list under the answer."""

    exchange: str
    session: str
    dialect: str
    offered: Sequence[str]
    word_by_word: bool
    thoughts: bool
    cites: bool
    form: Form | None


class Told:
    """Turns the events of one turn into those of a reply."""

    def __init__(self, how: Telling) -> None:
        self._how = how
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parts = 0
        self._open: type[Part] | None = None
        self._answer: list[str] = []
        self._has_answer = False
        self._calls: list[ToolCallPart] = []
        self._files: list[BlobPart] = []
        self._attributions = Attributions()
        self._usage: Usage | None = None
        self._blocked = False
        self._thought = ""
        self.spoken = False
        """Whether anything of the reply has been said."""

    def started(self) -> Started:
        """The first event."""
        owned = self._how.form is not None or self._how.dialect in _BODIES
        return Started(
            "",
            "",
            extra={FIELD: self._how.session} if self._how.dialect in _BODIES else NO_EXTRA,
            dialect=self._how.dialect if owned else "",
        )

    def take(self, event: Mapping[str, Any]) -> Iterator[ReplyEvent]:
        """What an event of the agent's says."""
        match event:
            case {"chunk": chunk}:
                self._attributions.add(chunk.get("attribution"))
                self._has_answer = True
                yield from self._say(self._decoder.decode(chunk.get("bytes") or b""))
            case {"trace": part}:
                yield from self._trace(part)
            case {"returnControl": payload}:
                self._calls += calls_of(payload, self._how.session, self._how.offered)
            case {"files": part}:
                self._files += [_file(one) for one in part.get("files") or () if one]
            case _:
                logger.info(LogLine("an agent said something of no known kind", kind=next(iter(event), "")))

    def end(self) -> Iterator[ReplyEvent]:
        """What is left to say when the agent has ended. Raises ``MotiveError`` if it gave no answer."""
        if not (self._has_answer or self._calls or self._files):
            raise nothing_said()
        yield from self._say(self._decoder.decode(b"", final=True))
        citations = self._attributions.of("".join(self._answer)) if self._how.cites else []
        of_text: dict[str, Json] = {}
        of_choice: dict[str, Json] = {}
        form = self._how.form
        if citations and form is None:
            yield from self._say(as_list(citations))
        elif citations and form is not None:
            of_text = form.of_text(citations) if form.of_text is not None else {}
            of_choice = form.of_choice(citations) if form.of_choice is not None else {}
        yield from self._close(of_text)
        handed_over: tuple[Part, ...] = (*self._files, *self._calls)
        for part in handed_over:
            yield from replay_part(0, self._parts, part)
            self._parts += 1
        yield ChoiceEnded(0, self._finish(), extra=of_choice)
        yield UsageReported(self._usage or UNTOLD_USAGE)
        yield Finished()

    def _finish(self) -> FinishReason:
        if self._calls:
            return "tool_calls"
        return "content_filter" if self._blocked else "stop"

    def _say(self, text: str) -> Iterator[ReplyEvent]:
        if not text:
            return
        self._answer.append(text)
        yield from self._in(TextPart(""))
        for piece in self._pieces(text):
            yield PartDelta(0, self._parts, piece)

    def _pieces(self, text: str) -> Sequence[str]:
        if not self._how.word_by_word:
            return (text,)
        words = _WORD.findall(text)
        if len(words) <= _DELTAS:
            return words
        each = -(-len(words) // _DELTAS)
        return ["".join(words[at : at + each]) for at in range(0, len(words), each)]

    def _trace(self, part: Mapping[str, Any]) -> Iterator[ReplyEvent]:
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(LogLine("agent trace", exchange=self._how.exchange, kind=kind_of(part), trace=_as_json(part)))
        if why := failure(part):
            logger.warning(LogLine("a step of an agent failed", exchange=self._how.exchange, why=why))
        if (usage := spent(part)) is not None:
            before = self._usage or Usage()
            self._usage = Usage(before.input_tokens + usage.input_tokens, before.output_tokens + usage.output_tokens)
        self._blocked = self._blocked or blocks(part)
        # A thought in the middle of the answer would cut that in two.
        if self._how.thoughts and not self._answer and (text := thought(part)) and text != self._thought:
            self._thought = text  # a model's reasoning comes again as the rationale of its step
            before_it = "\n" if self._open is ReasoningPart else ""
            yield from self._in(ReasoningPart(""))
            yield PartDelta(0, self._parts, before_it + text)

    def _in(self, part: TextPart | ReasoningPart) -> Iterator[ReplyEvent]:
        """What comes next is more of such a part."""
        self.spoken = True
        if self._open is not type(part):
            yield from self._close({})
            self._open = type(part)
            yield PartStarted(0, self._parts, part)

    def _close(self, extra: dict[str, Json]) -> Iterator[ReplyEvent]:
        if self._open is not None:
            self._open = None
            yield PartEnded(0, self._parts, extra=extra or NO_EXTRA)
            self._parts += 1


def batches(events: Iterator[ReplyEvent]) -> Iterator[Sequence[ReplyEvent]]:
    """In pieces that are not too large for one write."""
    batch: list[ReplyEvent] = []
    for event in events:
        batch.append(event)
        if len(batch) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _file(raw: Mapping[str, Any]) -> BlobPart:
    data = base64.b64encode(raw.get("bytes") or b"").decode()
    return BlobPart(str(raw.get("type") or "application/octet-stream"), data, name=raw.get("name"))


def _as_json(part: Mapping[str, Any]) -> str:
    return to_json(part.get("trace"), fallback=str, bytes_mode="base64", inf_nan_mode="null").decode()
