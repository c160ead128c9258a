"""The console: a person sits down and plays the model.

Owns what a person may do there, and that of several people the first one to answer wins and the others are told. How a
page looks, and who may open it, are not known here.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from weakref import WeakValueDictionary

from motive_core.console.agents import Agents, Routes
from motive_core.console.archive import Archive
from motive_core.console.calls import CallLog, CallRecord, id_of
from motive_core.console.feed import Feed
from motive_core.console.inbox import Inbox
from motive_core.console.presence import Presence
from motive_core.console.shown import reply_as_json
from motive_core.console.suggestions import AskService, Fate, Suggestion, Suggestions
from motive_core.console.transcript import as_fine_tuning, as_markdown, compared, turns_of
from motive_core.dialects.degrade import parts_as_text
from motive_core.errors import (
    BadRequestError,
    ConflictError,
    MotiveError,
    NotFoundError,
    PayloadTooLargeError,
    UnprocessableError,
)
from motive_core.exchange import Exchange
from motive_core.ir import FinishReason, Part, ReasoningPart, RefusalPart, Reply, TextPart
from motive_core.operating import OPERATOR, Operator, has_service
from motive_core.pairing import MOST_CHARACTERS, HeldCalls, LiveAnswer, Pairing, Spawn
from motive_core.relay import CommandError, calls_of, checked_tool_call, parts_of, text_digest
from motive_core.session import CUT, Answer, Command, Event, Failure, Prompt, Session, Terms, waits

logger = logging.getLogger(__name__)

_NAME_CHARACTERS: Final = 60
_ANSWERS: Final = 500
"""How many answers are remembered by who gave them."""
_TYPED: Final = 20
"""How many live answers are, after their end: each may have a million characters."""
_MEETING: Final = ("pair", "review")
"""What a route must say for a person to answer its calls."""
_CALLS_AT_ONCE: Final = 64
_SHADOWED: Final = 1000
"""How many sessions are shadowed at once."""
_WRITING_S: Final = 15.0
"""How long somebody counts as writing after the last sign of it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tool call that a person filled in. ``arguments`` is JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Written:
    """What a person wrote: words, in which the commands of any answerer may stand, tool calls, or both; ``reasoning``
    that goes before them; why the reply ends, if not for the usual reason. A ``refusal`` is words only."""

    text: str
    calls: Sequence[Wanted] = ()
    refusal: bool = False
    reasoning: str = ""
    finish: FinishReason | None = None
    from_draft: bool = False
    """Whether it was made of what the real service said: what was left as it was keeps its ids and signatures."""


@dataclass(frozen=True, slots=True)
class _Given:
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class _Typed:
    live: LiveAnswer
    by: str


class Console:
    """See the module. ``clock`` gives seconds that never go back, ``spawn`` runs a coroutine in the background,
    ``new_id`` gives an id for a call."""

    def __init__(
        self,
        pairing: Pairing,
        operator: Operator,
        held: HeldCalls,
        *,
        clock: Callable[[], float],
        spawn: Spawn,
        new_id: Callable[[], str],
        ask_service: AskService,
        routes: Routes,
        archive: Archive,
    ) -> None:
        self._pairing = pairing
        self._operator = operator
        self._held = held
        self._clock = clock
        self._new_id = new_id
        self.feed = Feed(secrets.token_hex(6))
        self.log = CallLog(self.feed, clock)
        self._archive = archive
        self.log.ended_call = self._archived
        self.presence = Presence(
            operator, pairing, clock=clock, spawn=spawn, changed=lambda name: self.feed.touch("session", name)
        )
        self.inbox = Inbox(self.log, pairing, held, clock)
        self.agents = Agents(self.log, routes, self.presence)
        self.suggestions = Suggestions(
            ask_service,
            clock=clock,
            spawn=spawn,
            changed=lambda key: self.feed.touch("draft", "\n".join(key)),
            ended=self._suggested,
        )
        self._shadowed: dict[str, None] = {}
        self._answered: dict[tuple[str, str], _Given] = {}
        self._writing: dict[tuple[str, str], _Given] = {}
        self._typed: dict[tuple[str, str], _Typed] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        pairing.watch = self._stepped

    def _stepped(self, session: str, state: Session, event: Event, commands: tuple[Command, ...]) -> None:
        self.log.stepped(state, event, commands)
        self.presence.stepped(session, state)
        is_shadowed = session in self._shadowed
        self.suggestions.settle(session, lambda prompt: _fate(state, prompt), shadowed=is_shadowed)
        if is_shadowed:
            self._shadow(session, state)
        self.feed.touch("session", session)

    @property
    def now(self) -> float:
        """By the clock of all times that are told."""
        return self._clock()

    async def restore(self) -> None:
        """Go on with what the last process had taken over."""
        self.log.restore(self._archive.read())
        await self.presence.restore()

    def _archived(self, record: CallRecord) -> None:
        """Keep a call of the app in a session that a person has taken over."""
        if record.role != "answerer" and (record.source == OPERATOR or self.presence.has(record.session)):
            self.log.read(record)
            self._archive.write(record)

    def close(self) -> None:
        """The process ends."""
        self.suggestions.close()
        self.feed.close()

    # What a person does

    async def take(self, session: str) -> None:
        """Answer this session from now on. Raises ``MotiveError``."""
        if session not in self.log.sessions and await self._pairing.state(session) == Session():
            raise NotFoundError("There is no such session (any more).")
        known = self.log.sessions.get(session)
        if known is not None and (answered_by := known.latest.answered_by) not in _MEETING:
            raise ConflictError(
                f"The route of its calls says 'answer: {answered_by}': with 'pair' there, a person can answer them.",
                code="not_paired",
            )
        async with self._turn(session):
            await self.presence.take(session)

    async def hand_back(self, session: str) -> None:
        """Let its app be answered as before."""
        async with self._turn(session):
            await self.presence.hand_back(session)

    async def answer(self, session: str, prompt_id: str, written: Written, by: str) -> None:
        """Answer a prompt. Raises ``ConflictError`` if somebody was faster, ``UnprocessableError`` if the app could not
        take the answer."""
        words = (TextPart(written.text),)
        wish = self._pairing.commands.wish(words) if not written.calls and not written.refusal else "say"
        if written.from_draft and self._is_drafts(session, prompt_id, written.text):
            wish = "say"  # the model's words, whatever they look like
        match wish:
            case "help":
                state = await self._pairing.state(session)
                terms = next((one.terms for one in state.prompts if id_of(one) == prompt_id), Terms())
                raise UnprocessableError(self._pairing.commands.help(terms), code="help")
            case "leave":
                await self.hand_back(session)
                return
            case "pass":
                await self.pass_on(session, prompt_id)
                return
        async with self._turn(session):
            prompt = await self._open(session, prompt_id)
            await self._give(session, prompt, self._read(session, prompt, written), by)

    async def check(self, session: str, prompt_id: str, written: Written) -> str:
        """Why this could not be sent as it is, empty if it could, or if it is too late for anything."""
        try:
            prompt = await self._open(session, prompt_id)
        except ConflictError:
            return ""
        words = (TextPart(written.text),)
        if not written.calls and not written.refusal and self._pairing.commands.wish(words) != "say":
            return ""
        try:
            self._read(session, prompt, written)
        except UnprocessableError as error:
            return error.message
        return ""

    async def cut(self, session: str, prompt_id: str, text: str, by: str) -> None:
        """End the connection of a prompt's app in the middle of this text. Raises as ``answer`` does."""
        async with self._turn(session):
            prompt = await self._open(session, prompt_id)
            await self._give(session, prompt, Answer((), text_digest(text), Failure(CUT, text)), by)

    async def type(self, session: str, prompt_id: str, at: int, text: str, by: str, *, is_all: bool) -> str:
        """Say the words of an answer as they are written: ``text`` stands at this place of it. What was said already is
        not said again, and not changed. The first words take the prompt; ``is_all`` ends it. Gives all that was said.
        What is refused changes nothing, and takes nothing. Raises as ``answer`` does; ``ConflictError`` with the code
        ``gap`` if words before these are missing, ``said`` if others were said in their place, ``over`` if it has
        ended before them; ``PayloadTooLargeError``."""
        key = (session, prompt_id)
        async with self._turn(session):
            typed = self._typed.get(key)
            said = typed.live.text if typed is not None else ""
            prompt = await self._open(session, prompt_id) if typed is None else None
            if typed is not None and typed.by != _named(by):
                raise ConflictError(f"{typed.by} is answering this call.", code="answered")
            if at > len(said):
                raise ConflictError("Words before these are missing.", code="gap")
            if not text.startswith(said[at : at + len(text)]):
                raise ConflictError("What was said already cannot be changed.", code="said")
            more = text[len(said) - at :]
            if len(said) + len(more) > MOST_CHARACTERS:
                raise PayloadTooLargeError("The answer is too long.")
            if typed is not None and typed.live.is_over and more:
                raise ConflictError("This answer has ended: the app hears no more of it.", code="over")
            if is_all and not (said + more).strip():
                raise UnprocessableError("An answer needs words.", code="empty")
            if prompt is not None:
                if not more:
                    return ""
                live = await self._operator.speak(session, prompt, _named(by))
                typed = self._typed[key] = _Typed(live, _named(by))
                self._forget_typed()
                self._answer_given(key, by)
                await self.presence.take(session)
            assert typed is not None
            typed.live.write(more)
            if is_all:
                typed.live.end()
            return typed.live.text

    def _forget_typed(self) -> None:
        """Of answers that have ended, the last few are remembered, for a page that has not heard yet."""
        over = [key for key, one in self._typed.items() if one.live.is_over]
        for key in over[:-_TYPED]:
            del self._typed[key]

    async def fail(self, session: str, prompt_id: str, status: int, message: str, by: str) -> None:
        """Answer a prompt with an error of this status. Raises as ``answer`` does."""
        if not 400 <= status <= 599:
            raise BadRequestError("The status must be one of an error, 400 to 599.", param="status")
        async with self._turn(session):
            prompt = await self._open(session, prompt_id)
            failure = Failure(status, message.strip() or "The model failed.")
            await self._give(session, prompt, Answer((), text_digest(message), failure), by)

    async def pass_on(self, session: str, prompt_id: str) -> None:
        """Let the real service answer this prompt. Raises ``ConflictError`` if it cannot, or somebody was faster."""
        async with self._turn(session):
            prompt = await self._open(session, prompt_id)
            await self._operator.let_prompt_pass(session, prompt)

    async def draft(self, session: str, prompt_id: str) -> None:
        """Ask the real service what it would say to a prompt: the page is told as it comes. Raises ``MotiveError``."""
        prompt = await self._open(session, prompt_id)
        exchange = self._live(prompt)
        if exchange is None:
            raise ConflictError("The app has gone away, and its service cannot be asked without it.", code="gone")
        if not has_service(exchange):
            raise ConflictError("There is no real service behind this call.", code="no_service")
        self.suggestions.ask((session, prompt_id), exchange, _calls_of(prompt), "draft")

    def stop_draft(self, session: str, prompt_id: str) -> None:
        """What was drafted so far is enough."""
        self.suggestions.stop((session, prompt_id))

    async def shadow(self, session: str, *, on: bool) -> None:
        """Ask the real service of a session what it would say, too, to each call that a person answers from now on.
        Raises ``NotFoundError``."""
        state = await self._pairing.state(session)
        if on and session not in self.log.sessions and state == Session():
            raise NotFoundError("There is no such session (any more).")
        if on:
            self._shadowed[session] = None
            if len(self._shadowed) > _SHADOWED:
                del self._shadowed[next(iter(self._shadowed))]
            self._shadow(session, state)
        else:
            self._shadowed.pop(session, None)
        self.feed.touch("session", session)

    def draft_as_json(self, session: str, prompt_id: str) -> dict[str, Any] | None:
        """What is known of the draft that somebody asked for; None if nobody has."""
        made = self.suggestions.get((session, prompt_id))
        if made is None or made.purpose != "draft":
            return None
        said = made.so_far
        return {
            "session": session,
            "prompt": prompt_id,
            "began_at": made.began_at,
            "parts": reply_as_json(said),
            "text": self._pairing.commands.text_of(said),
            "done": made.done,
            "stopped": made.stopped,
            "error": "" if made.stopped else made.why,
            "status": made.status,
        }

    def is_shadowed(self, session: str) -> bool:
        """Whether its service is asked, too."""
        return session in self._shadowed

    def _shadow(self, session: str, state: Session) -> None:
        if session not in self.log.sessions and state == Session():
            self._shadowed.pop(session, None)
            return
        for prompt in state.prompts:
            key = (session, id_of(prompt))
            exchange = self._live(prompt) if waits(prompt) and prompt.draft is None else None
            if exchange is None or self.suggestions.get(key) is not None or not has_service(exchange):
                continue
            try:
                self.suggestions.ask(key, exchange, _calls_of(prompt), "shadow")
            except MotiveError as error:
                why = f"It was not asked: {error.message}"
                news = [self.log.drafted(call, None, "shadow", why) for call in _calls_of(prompt)]
                if any(news):
                    logger.info("no shadow session=%r code=%s", session, error.code)

    def _suggested(self, made: Suggestion) -> None:
        for call in made.calls:
            self.log.drafted(call, made.reply, made.purpose, made.why)

    def _live(self, prompt: Prompt) -> Exchange | None:
        """A call that says it, if it has one."""
        return next((self._held[live.call] for live in prompt.calls if live.call in self._held), None)

    def writing(self, session: str, prompt_id: str, by: str) -> None:
        """Somebody writes an answer: the others may see it."""
        known = self._writing.get((session, prompt_id))
        self._writing = {key: one for key, one in self._writing.items() if self.now - one.at < _WRITING_S}
        self._writing[session, prompt_id] = _Given(_named(by), self.now)
        if known is None or known.by != _named(by):
            self.feed.touch("session", session)

    def writers(self, session: str) -> dict[str, str]:
        """Who writes an answer to which prompt of a session."""
        return {
            prompt: one.by
            for (name, prompt), one in self._writing.items()
            if name == session and self.now - one.at < _WRITING_S
        }

    async def read(self, session: str) -> None:
        """Get ready what a transcript reads and compares: that takes a moment for each turn, and others are to have
        theirs in between."""
        for record in list(self.log.of(session)):
            was_read = self.log.read(record)
            if was_read or (record.diff is None and compared(record) is not None):
                await asyncio.sleep(0)

    def transcript(self, session: str, form: str) -> tuple[str, Any]:
        """What was said in a session: as text for ``markdown``, as bytes for ``jsonl``, else as values. Raises
        ``NotFoundError``."""
        records = list(self.log.of(session))[::-1]
        if not records:
            raise NotFoundError("Nothing is kept of this session.")
        if form == "markdown":
            return "markdown", as_markdown(session, records)
        if form == "jsonl":
            return "jsonl", as_fine_tuning(records)
        return "json", {"session": session, "turns": turns_of(records)}

    # How

    def _turn(self, session: str) -> asyncio.Lock:
        """One at a time does something in a session."""
        turn = self._turns.get(session)
        if turn is None:
            turn = self._turns[session] = asyncio.Lock()
        return turn

    async def _open(self, session: str, prompt_id: str) -> Prompt:
        """A prompt that waits. Raises ``ConflictError`` if it does not, with who was faster."""
        state = await self._pairing.state(session)
        prompt = next((one for one in state.prompts if id_of(one) == prompt_id), None)
        if prompt is not None and waits(prompt):
            return prompt
        given = self._answered.get((session, prompt_id))
        if given is not None:
            ago = max(0, round(self.now - given.at))
            raise ConflictError(f"{given.by} answered this call {ago} s ago.", code="answered")
        raise ConflictError("This call does not wait any more.", code="over")

    async def _give(self, session: str, prompt: Prompt, answer: Answer, by: str) -> None:
        await self._operator.answer(session, prompt, answer, _named(by))
        self._answer_given((session, id_of(prompt)), by)
        await self.presence.take(session)

    def _answer_given(self, key: tuple[str, str], by: str) -> None:
        self._answered[key] = _Given(_named(by), self.now)
        while len(self._answered) > _ANSWERS:
            del self._answered[next(iter(self._answered))]
        self._writing.pop(key, None)

    def _is_drafts(self, session: str, prompt_id: str, text: str) -> bool:
        made = self.suggestions.get((session, prompt_id))
        return made is not None and made.base is not None and self._pairing.commands.leaves(made.base, text)

    def _base_of(self, session: str, prompt: Prompt) -> Reply | None:
        """What the real service said to a prompt, as far as a person may have seen it."""
        if prompt.draft is not None:
            return prompt.draft.reply
        made = self.suggestions.get((session, id_of(prompt)))
        return made.base if made is not None and made.purpose == "draft" else None

    def _read(self, session: str, prompt: Prompt, written: Written) -> Answer:
        text, calls, terms, reader = written.text, written.calls, prompt.terms, self._pairing.commands
        base = self._base_of(session, prompt)
        draft = base if prompt.draft is not None or written.from_draft else None
        known = calls_of(parts_of(draft)) if draft is not None else ()
        if written.refusal:
            return Answer((RefusalPart(text),), text_digest(text))
        if len(calls) > _CALLS_AT_ONCE:
            raise UnprocessableError(f"An answer can make {_CALLS_AT_ONCE} tool calls at once.", code="too_many_calls")
        ids = [f"call_{self._new_id()}" for _ in range(_CALLS_AT_ONCE)]
        parts: tuple[Part, ...] = (ReasoningPart(written.reasoning),) if written.reasoning.strip() else ()
        try:
            if draft is not None and text.strip() and reader.leaves(draft, text):
                parts += (TextPart(text),)  # as the service has it, whether it fits or not
            elif text.strip():
                answer = reader.answer(
                    (TextPart(text),), terms, ids[len(calls) :], base if reader.sends(text) else None
                )
                if answer.failure is not None or answer.reply is not None:
                    return answer
                parts += answer.parts
            elif not calls:
                raise UnprocessableError("An answer needs words or a tool call.", code="empty")
            parts += tuple(
                checked_tool_call(call.name, call.arguments, terms.tools, ids[at], known)
                for at, call in enumerate(calls)
            )
        except CommandError as error:
            raise UnprocessableError(str(error), code="misfit") from None
        if draft is None:
            return Answer(parts, text_digest(parts_as_text(parts)), finish=written.finish)
        answer = reader.edited(draft, parts)
        return replace(answer, reply=_ending(answer.reply, written.finish)) if answer.reply is not None else answer


def _ending(reply: Reply, finish: FinishReason | None) -> Reply:
    if finish is None or not reply.choices:
        return reply
    return replace(reply, choices=(replace(reply.choices[0], finish_reason=finish), *reply.choices[1:]))


def _fate(state: Session, prompt_id: str) -> Fate:
    prompt = next((one for one in state.prompts if id_of(one) == prompt_id), None)
    if prompt is not None and waits(prompt):
        return "waits"
    return "answered" if prompt is not None and prompt.answer is not None else "over"


def _calls_of(prompt: Prompt) -> tuple[str, ...]:
    return tuple(live.call for live in prompt.calls)


def _named(by: str) -> str:
    return " ".join(by.split())[:_NAME_CHARACTERS] or "somebody"
