"""One call of a critique: a draft, the steps that make it better, and the answer that its client gets.

Owns the order of things: who is asked when, when a step counts as late or failed, what is relayed as it is said, and
what all of it cost. A draft is never lost: whatever a step does before its first words, the client gets what there was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final, Literal

from motive_core.dialects import dialect_named
from motive_core.errors import MotiveError, StatusError, UnprocessableError, UpstreamError
from motive_core.estimate import estimate_usage
from motive_core.exchange import Answered, ReplyEvents
from motive_core.fit import format_misfit, wants_json
from motive_core.ir import (
    NO_EXTRA,
    ChatRequest,
    Choice,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Reply,
    TextPart,
    Usage,
)
from motive_core.log_lines import LogLine
from motive_core.sources.base import Call
from motive_core.sources.critique_words import at_own_service, for_author, for_critic
from motive_core.stream import (
    ChoiceEnded,
    Collector,
    Finished,
    PartDelta,
    PartStarted,
    ReplyEvent,
    Started,
    UsageReported,
    replay_part,
)
from motive_core.upstream import Upstream, whole

logger = logging.getLogger(__name__)

HEADER: Final = "x-motive-critique"
"""Tells what became of each step, in their order."""

_MARGIN_S: Final = 0.5
"""So long before the call is taken away, what there is is given."""

type Outcome = Literal["refined", "rewritten", "kept-tools", "skipped", "failed", "late"]


@dataclass(frozen=True, slots=True)
class Critic:
    """Who judges, and how. Without an ``upstream`` it is asked at the app's own service."""

    mode: Literal["refine", "feedback"]
    prompt: str
    timeout_s: float
    upstream: Upstream | None
    model: str | None


class Run:
    """See the module. ``clock`` is that of ``call.answer_by``."""

    def __init__(self, call: Call, primary: Upstream, critics: Sequence[Critic], clock: Callable[[], float]) -> None:
        self._call = call
        self._primary = primary
        self._critics = critics
        self._clock = clock
        self._usage = Usage()
        self._step_usage: Usage | None = None
        self._outcomes: list[Outcome] = []
        is_own = primary is call.own
        self._request = call.request if is_own else replace(call.request, previous=None)

    async def answer(self) -> Answered:
        """The answer. Raises ``MotiveError`` if the primary model gives none."""
        if not self._critics:
            self._call.headers[HEADER] = "skipped"
            return await self._primary.ask(self._request)
        began = self._clock()
        draft = await _drafted(await self._primary.ask(self._request))
        if not isinstance(draft, Reply):
            for number, critic in enumerate(self._critics, 1):
                self._ended(number, critic, "kept-tools", began)
            return draft
        used = self._count(self._request, draft)
        self._log("draft", began, used)
        for number, critic in enumerate(self._critics, 1):
            began, self._step_usage = self._clock(), None
            if (kept := self._kept(draft)) is not None:
                self._ended(number, critic, kept, began)
                continue
            live = number == len(self._critics) and self._request.stream
            live = live and not wants_json(self._request.response_format)
            try:
                async with asyncio.timeout(self._timeout_s(critic)):
                    better = await self._step(critic, draft, live=live)
            except TimeoutError:
                self._ended(number, critic, "late", began)
                continue
            except MotiveError as error:
                late = error.code == "upstream_timeout"
                self._ended(number, critic, "late" if late else "failed", began, error)
                continue
            self._ended(number, critic, "refined" if critic.mode == "refine" else "rewritten", began)
            if not isinstance(better, Reply):
                return better
            draft = better
        return replace(draft, usage=self._usage)

    def _timeout_s(self, critic: Critic) -> float:
        if self._call.answer_by is None:
            return critic.timeout_s
        return max(0.0, min(critic.timeout_s, self._call.answer_by - _MARGIN_S - self._clock()))

    def _kept(self, draft: Reply) -> Outcome | None:
        """Why a draft is given as it is; None if it is one that can be made better. Words alone can: a critic would
        drop calls of tools, pictures and a vendor's own items, and talk a refusal away."""
        if not draft.choices or self._continues_prefill():
            return "skipped"
        choice = draft.choices[0]
        if not all(map(_is_word, choice.parts)):
            return "kept-tools"
        if choice.finish_reason not in ("stop", "length") or not _text(choice).strip():
            return "skipped"
        return "skipped" if any(isinstance(part, RefusalPart) for part in choice.parts) else None

    def _continues_prefill(self) -> bool:
        """Whether the app has put the first words of the answer into the model's mouth: then these are not in it."""
        messages = self._request.messages
        return bool(messages) and messages[-1].role == "assistant"

    # Steps

    async def _step(self, critic: Critic, draft: Reply, *, live: bool) -> Reply | ReplyEvents:
        """What is better than the draft. Raises ``MotiveError`` if nothing is."""
        choice = draft.choices[0]
        if critic.mode == "refine":
            asked, answered = await self._ask(critic, choice, refines=True, stream=live)
            return await self._taken(asked, answered, draft, live=live, tools=False)
        asked, answered = await self._ask(critic, choice, refines=False, stream=False)
        comments = await whole(answered)
        self._count(asked, comments)
        said = _text(comments.choices[0]) if comments.choices else ""
        if not said.strip():
            raise UpstreamError("The critic said nothing.")
        again = for_author(self._request, choice, said)
        if self._primary is self._call.own:
            self._check_own(again)
        return await self._taken(again, await self._primary.ask(again), draft, live=live, tools=True)

    async def _ask(
        self, critic: Critic, choice: Choice, *, refines: bool, stream: bool
    ) -> tuple[ChatRequest, Reply | ReplyEvents]:
        request = self._call.request
        asked = for_critic(request, choice, critic.prompt, refines=refines, stream=stream)
        upstream = critic.upstream
        if upstream is None:
            assert self._call.own is not None
            upstream = self._call.own
            asked = at_own_service(asked, request, critic.model)
            self._check_own(asked)
        return asked, await upstream.ask(asked)

    def _check_own(self, asked: ChatRequest) -> None:
        """Raises ``UnprocessableError`` if the app's own service would not take this with the app's credentials."""
        head = self._call.head
        if head.headers.get("authorization", "").startswith("AWS4-") or "x-amz-signature=" in head.query.lower():
            raise UnprocessableError("The app's signature is for its own words alone.", code="request_is_signed")
        if asked.model == self._call.request.model:
            return
        dialect = dialect_named(asked.dialect)
        if dialect.parse_request(dialect.render_request(asked), head).model != asked.model:
            raise UnprocessableError("The path of the app's call names its model.", code="path_names_model")

    async def _taken(
        self, asked: ChatRequest, answered: Reply | ReplyEvents, draft: Reply, *, live: bool, tools: bool
    ) -> Reply | ReplyEvents:
        """What was said in the place of the draft, once it is certain that it will do. ``tools``: calls of them will,
        too."""
        others = draft.choices[1:]
        if live and not isinstance(answered, Reply):
            said = await _begun(answered, tools=tools)
            if self._usage.estimated:
                self._call.headers["x-motive-usage"] = "estimated"
            return self._live(asked, said, answered, others, draft.dialect)
        reply = await whole(answered)
        self._count(asked, reply)
        kept = self._kept(reply)
        if kept is not None and not (tools and kept == "kept-tools"):
            raise UpstreamError("The model said nothing that could be given.")
        choice = reply.choices[0]
        if kept is None and format_misfit(_text(choice), asked.response_format) is not None:
            # Why is not told: it would have the model's words in it.
            raise UpstreamError("The model's answer is not of the shape that the app demands.", code="misfit")
        return replace(reply, choices=(choice, *_of_dialect(others, draft.dialect, reply.dialect)))

    async def _live(
        self,
        asked: ChatRequest,
        said: Sequence[ReplyEvent],
        events: ReplyEvents,
        others: Sequence[Choice],
        others_dialect: str,
    ) -> ReplyEvents:
        """The last step's words as they come; with its first ones, the choices that nobody has judged."""
        began, before, collector = self._clock(), self._usage, Collector()
        reported: Usage | None = None

        def told(batch: Sequence[ReplyEvent]) -> list[ReplyEvent]:
            nonlocal reported
            changed: list[ReplyEvent] = []
            for event in batch:
                collector.add(event)
                match event:
                    case Started(usage=usage) if usage is not None:
                        reported = usage
                        changed.append(replace(event, usage=_sum(before, usage)))
                    case UsageReported(usage):
                        reported = usage
                    case Finished():
                        used = reported or estimate_usage(asked, collector.reply().choices)
                        self._log("relayed", began, used)
                        changed += (UsageReported(_sum(before, used)), event)
                    case _:
                        changed.append(event)
            return changed

        async with aclosing(events):
            first = told(said)
            started = next((event.dialect for event in said if isinstance(event, Started)), "")
            for number, choice in enumerate(_of_dialect(others, others_dialect, started), 1):
                first += _replayed(number, choice)
            yield first
            async for batch in events:
                if changed := told(batch):
                    yield changed

    # What it costs, and what is said of it

    def _count(self, asked: ChatRequest, reply: Reply) -> Usage:
        used = reply.usage or estimate_usage(asked, reply.choices)
        self._usage = _sum(self._usage, used)
        self._step_usage = _sum(self._step_usage, used) if self._step_usage is not None else used
        return used

    def _ended(
        self, number: int, critic: Critic, outcome: Outcome, began: float, error: MotiveError | None = None
    ) -> None:
        self._outcomes.append(outcome)
        self._call.headers[HEADER] = ", ".join(self._outcomes)
        self._log(
            "step",
            began,
            self._step_usage,
            level=logging.WARNING if isinstance(error, UnprocessableError) else logging.INFO,
            step=number,
            mode=critic.mode,
            outcome=outcome,
            error=error.code if error is not None else None,
            status=error.status if isinstance(error, StatusError) else None,
        )

    def _log(
        self, what: str, began: float, used: Usage | None, *, level: int = logging.INFO, **fields: str | int | None
    ) -> None:
        line = LogLine(
            f"critique {what}",
            exchange=self._call.exchange,
            took_s=self._clock() - began,
            input_tokens=used.input_tokens if used is not None else None,
            output_tokens=used.output_tokens if used is not None else None,
            estimated=(used is not None and used.estimated) or None,
            **fields,
        )
        logger.log(level, line)


def _text(choice: Choice) -> str:
    return "".join(part.text for part in choice.parts if isinstance(part, TextPart))


def _sum(one: Usage, other: Usage) -> Usage:
    """Both together. What only a vendor counts cannot be added up."""
    return Usage(
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cached_tokens + other.cached_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
        estimated=one.estimated or other.estimated,
    )


def _of_dialect(choices: Sequence[Choice], theirs: str, reply: str) -> tuple[Choice, ...]:
    """Choices as those of a reply of another dialect, which owns the unknown fields in it."""
    if theirs == reply:
        return tuple(choices)
    return tuple(
        replace(
            choice,
            parts=tuple(
                part if isinstance(part, OpaquePart) else replace(part, extra=NO_EXTRA) for part in choice.parts
            ),
            extra=NO_EXTRA,
        )
        for choice in choices
    )


def _replayed(number: int, choice: Choice) -> Iterator[ReplyEvent]:
    """A whole choice as events."""
    for index, part in enumerate(choice.parts):
        yield from replay_part(number, index, part)
    yield ChoiceEnded(number, choice.finish_reason, choice.stop_sequence, extra=choice.extra)


async def _drafted(answered: Reply | ReplyEvents) -> Reply | ReplyEvents:
    """A draft, once it is whole; what calls a tool is none, and is relayed from there on. Raises ``MotiveError``."""
    if isinstance(answered, Reply):
        return answered
    said, collector, relays = list[ReplyEvent](), Collector(), False
    try:
        async for batch in answered:
            said += batch
            for event in batch:
                collector.add(event)
            relays = any(isinstance(event, PartStarted) and not _is_word(event.value) for event in batch)
            if relays:
                return _with(said, answered)
    finally:
        if not relays:
            await answered.aclose()
    if not collector.complete:
        raise UpstreamError("The service's reply was cut off.")
    return collector.reply()


async def _with(said: Sequence[ReplyEvent], events: ReplyEvents) -> ReplyEvents:
    async with aclosing(events):
        yield said
        async for batch in events:
            yield batch


def _is_word(part: Part) -> bool:
    return isinstance(part, TextPart | ReasoningPart | RefusalPart)


async def _begun(events: ReplyEvents, *, tools: bool) -> list[ReplyEvent]:
    """What a reply begins with, up to the first words that are not thoughts: a model may think until its bound of
    tokens is reached. The rest is still in ``events``. ``tools``: a call of one will do as well. Raises ``MotiveError``
    if there is no such beginning, and closes the events then."""
    said: list[ReplyEvent] = []
    thoughts: set[tuple[int, int]] = set()
    begins = False
    try:
        while not begins:
            batch = await anext(events, None)
            if batch is None:
                raise UpstreamError("The model said nothing.")
            said += batch
            for event in batch:
                match event:
                    case PartStarted(choice, part, ReasoningPart()):
                        thoughts.add((choice, part))
                    case PartStarted(value=TextPart(text)):
                        begins = begins or bool(text.strip())
                    case PartStarted() if not (begins or tools):
                        raise UpstreamError("The model said something else than words.")
                    case PartStarted():
                        begins = True
                    case PartDelta(choice, part, text) if (choice, part) not in thoughts:
                        begins = begins or bool(text.strip())
                    case _:
                        pass
    finally:
        if not begins:
            await events.aclose()
    return said
