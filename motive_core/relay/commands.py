"""What an answerer may write beside an answer: commands, and an answer in another form than words.

Owns how they are written and read, and the words of ``/help``. What becomes of them is the session machine's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from pydantic_core import from_json

from motive_core.config import Commands
from motive_core.dialects.degrade import parts_as_text
from motive_core.dialects.exact import exact, loads_exact
from motive_core.fit import format_misfit, misfit, wants_json
from motive_core.ir import ReasoningPart, Reply, ResponseFormat, TextPart, Tool, ToolCallPart
from motive_core.relay.drafts import calls_of, drafted, edited, parts_of, same_call, same_words, text_of, written
from motive_core.relay.words import join_of, signatures, text_digest
from motive_core.session import NO_TERMS, Answer, Failure, Terms, Wish, Words

_DEFAULT_STATUS: Final = 500
_DEFAULT_MESSAGE: Final = "The model failed."


class CommandError(ValueError):
    """A command of the answerer cannot be carried out; the message says why, for its author."""


class CommandReader:
    """Reads what an answerer wrote, by the words of a configuration."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        # Who has another way to write tool calls does not find them in the text, whatever the words are.
        self._calls_apart = commands if commands.call is not None else commands.model_copy(update={"call": "/call"})
        self._call = _line_start(commands.call)
        self._thoughts = _thoughts(commands.think)
        self._think = len(commands.think or "")

    @property
    def call_word(self) -> str | None:
        """What tools are called by; None if they cannot be."""
        return self._commands.call

    def wish(self, words: Words) -> Wish:
        """What the author of a message wants: to say something, most of the time. A command that is written in other
        letters is none, but who writes it means one."""
        commands = self._commands
        text = parts_as_text(words).strip().lower()
        wishes: tuple[tuple[str | None, Wish], ...] = (
            (commands.leave, "leave"),
            (commands.pass_on, "pass"),
            (commands.help, "help"),
            (commands.send, "answer"),
        )
        wish = next((wish for word, wish in wishes if word is not None and text == word.lower()), None)
        if wish is not None:
            return wish
        first = text.split(maxsplit=1)[0] if text else ""
        answers = (commands.call, commands.think, commands.say, commands.fail)
        return "answer" if any(word is not None and first == word.lower() for word in answers) else "say"

    def answer(self, words: Words, terms: Terms, call_ids: Iterable[str], draft: Reply | None = None) -> Answer:
        """The words of the answerer as a reply.

        Lines that begin with ``/call NAME {json}`` become tool calls, checked against the tool's JSON Schema (the JSON
        may go on over several lines); what follows ``/say`` is taken literally. Lines ``/think TEXT`` before all others
        are the reasoning that the reply begins with. ``/fail STATUS TEXT`` is an error in the place of a reply. A reply
        in words must fit the response format, if the app asked for one. Raises ``CommandError``.

        Where there is a ``draft``, the answer is that, edited: what was left as it was needs to fit nothing. ``/send``
        is the draft itself.
        """
        if self.sends(parts_as_text(words)):
            if draft is None:
                raise CommandError(
                    f"there is no draft that {self._commands.send} could let go; what you write is the answer"
                )
            return drafted(draft)
        reasoning, words = self._reasoning(words)
        answer = self._answer(words, terms, call_ids, parts_of(draft) if draft is not None else None)
        if answer.failure is not None:
            return answer
        parts = (*reasoning, *answer.parts)
        return drafted(edited(draft, parts, self._commands)) if draft is not None else replace(answer, parts=parts)

    def edited(self, draft: Reply, parts: Words) -> Answer:
        """A draft, edited: what of these parts is as it was stays the service's."""
        return drafted(edited(draft, parts, self._calls_apart))

    def text_of(self, draft: Reply) -> str:
        """What of a draft is text, for somebody who writes its tool calls in another way."""
        return text_of(parts_of(draft), self._calls_apart)

    def sends(self, text: str) -> bool:
        """Whether this is the word that lets a draft go."""
        send = self._commands.send
        return send is not None and text.strip().lower() == send.lower()

    def leaves(self, draft: Reply, text: str) -> bool:
        """Whether this is the text of a draft as it was."""
        return same_words(text, self.text_of(draft))

    def draft(self, reply: Reply, join_words: Sequence[str]) -> str:
        """What stands behind the mark of a draft: how it is let go, and what it is, as an answerer would write it."""
        commands, parts = self._commands, parts_of(reply)
        text = written(parts, commands)
        if commands.say is not None and not calls_of(parts):
            words = (TextPart(text_of(parts, commands)),)
            is_command = self.wish(words) != "say" or join_of(words, join_words) == "word"
            if is_command or (self._call is not None and self._call.search(words[0].text) is not None):
                thoughts = text.removesuffix(words[0].text)
                text = f"{thoughts}{commands.say} {words[0].text}"
        word = commands.send or commands.pass_on
        hint = f" {word} lets it go, other words take its place" if word is not None else ""
        return f"{hint}\n\n{text or '(an empty reply)'}"

    def help(self, terms: Terms = NO_TERMS) -> str:
        """What can be written, for a person; with the tools of the call that waits for them."""
        commands = self._commands
        lines = [
            (commands.call, " NAME {json}", "calls one of the app's tools; several lines make parallel calls"),
            (commands.think, " TEXT", "before the answer, on lines of its own: the model's reasoning"),
            (commands.say, " TEXT", "answers with TEXT as it stands, even if it looks like one of these"),
            (commands.fail, " 429 TEXT", "answers with an error of that status"),
            (commands.pass_on, "", "lets the real service answer this call"),
            (commands.send, "", "lets the draft that you were shown go as it is"),
            (commands.leave, "", "gives the seat up: calls go on without you"),
            (commands.help, "", "shows this"),
        ]
        shown = [(f"{word}{rest}", what) for word, rest, what in lines if word is not None]
        width = max((len(form) for form, _ in shown), default=0)
        told = "\n".join(f"  {form:<{width}}  {what}" for form, what in shown)
        tools = "".join(f"\n  {line}" for line in signatures(terms.tools, commands.call))
        return (
            "Whatever you write answers the call that you were shown last, word for word."
            + (f" Beside that:\n\n{told}" if told else "")
            + (f"\n\nTools of the call that waits for you:\n{tools}" if tools else "")
            + ("\n\nThe app wants JSON, so the answer must be that." if wants_json(terms.response_format) else "")
        )

    def _reasoning(self, words: Words) -> tuple[Words, Words]:
        """The reasoning that an answer begins with, if it does, and the words after it."""
        if self._thoughts is None or not words or not isinstance(words[0], TextPart):
            return (), words
        found = self._thoughts.match(words[0].text)
        if found is None:
            return (), words
        thoughts = [line[self._think :].removeprefix(" ") for line in found[0].splitlines()]
        rest = words[0].text[found.end() :]
        if not rest.strip() and len(words) == 1:
            raise CommandError(f"an answer must follow what {self._commands.think} says")
        return (ReasoningPart("\n".join(thoughts)),), ((TextPart(rest),) if rest else ()) + words[1:]

    def _answer(self, words: Words, terms: Terms, call_ids: Iterable[str], draft: Words | None) -> Answer:
        text = parts_as_text(words)
        say, fail = self._commands.say, self._commands.fail
        if say is not None and text.startswith(f"{say} "):
            text = text.removeprefix(f"{say} ")
            words = (TextPart(text),)
        elif self._call is not None and self._call.search(text) is not None:
            return self._tool_calls(self._call, text, terms.tools, call_ids, calls_of(draft or ()))
        elif fail is not None and text.split(maxsplit=1)[:1] == [fail]:
            return Answer((), text_digest(text), _failure(fail, text.strip().removeprefix(fail)))
        is_old = draft is not None and same_words(text, text_of(draft, self._commands))
        if not is_old and (why := format_misfit(text, terms.response_format)) is not None:
            raise CommandError(why)
        return Answer(words, text_digest(text))

    @staticmethod
    def _tool_calls(
        mark: re.Pattern[str],
        text: str,
        tools: Sequence[Tool],
        call_ids: Iterable[str],
        known: Sequence[ToolCallPart],
    ) -> Answer:
        before, *calls = mark.split(text)
        named = list(zip(calls, call_ids, strict=False))
        if len(named) < len(calls):
            raise CommandError(f"an answer can make {len(named)} tool calls at once, not {len(calls)}")
        parts: list[TextPart | ToolCallPart] = [TextPart(before.rstrip())] if before.strip() else []
        parts += [_tool_call(call, tools, call_id, known) for call, call_id in named]
        return Answer(tuple(parts), text_digest(parts_as_text(parts)))


def _line_start(word: str | None) -> re.Pattern[str] | None:
    return re.compile(rf"^{re.escape(word)}(?:[^\S\n]+|$)", re.MULTILINE) if word is not None else None


def _thoughts(word: str | None) -> re.Pattern[str] | None:
    """Lines of thought at the beginning of a text."""
    return re.compile(rf"(?:{re.escape(word)}(?:[ \t][^\n]*)?(?:\n|\Z))+") if word is not None else None


def _failure(command: str, text: str) -> Failure:
    status, _, message = text.strip().partition(" ")
    if not status.isascii() or not status.isdecimal():
        return Failure(_DEFAULT_STATUS, text.strip() or _DEFAULT_MESSAGE)
    if len(status) != 3 or not 400 <= int(status) <= 599:
        raise CommandError(f"the status after {command} must be one of an error, 400 to 599, not {status[:9]}")
    return Failure(int(status), message.strip() or _DEFAULT_MESSAGE)


def checked_failure(status: int, message: str) -> Failure:
    """An error of this status. Raises ``CommandError`` if it is none of an error."""
    if not 400 <= status <= 599:
        raise CommandError(f"the status must be one of an error, 400 to 599, not {status}")
    return Failure(status, message.strip() or _DEFAULT_MESSAGE)


def _tool_call(command: str, tools: Sequence[Tool], call_id: str, known: Sequence[ToolCallPart]) -> ToolCallPart:
    name, _, arguments = command.strip().partition(" ")
    name, _, rest = name.partition("\n")
    arguments = f"{rest}\n{arguments}" if rest else arguments
    return checked_tool_call(name, arguments, tools, call_id, known)


def checked_tool_call(
    name: str, arguments: str, tools: Sequence[Tool], call_id: str, known: Sequence[ToolCallPart] = ()
) -> ToolCallPart:
    """A call of one of these tools, no arguments being an empty object. A call of a draft, ``known``, is what the
    service made of it: it need not fit. Raises ``CommandError`` for what does not fit."""
    arguments = arguments.strip() or "{}"
    for call in known:
        if call.custom and call.name == name:
            return ToolCallPart(call_id, name, arguments, custom=True)
        if same_call(call, name, arguments):
            return ToolCallPart(call_id, name, call.arguments)
    tool = next((one for one in tools if one.name == name), None)
    if tool is None:
        offered = ", ".join(one.name for one in tools) or "none"
        raise CommandError(f"there is no tool {name!r} in this call; it offers: {offered}")
    try:
        value = from_json(arguments, allow_inf_nan=False)
    except ValueError as error:
        raise CommandError(f"the arguments of {name} are not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CommandError(f"the arguments of {name} must be a JSON object")
    if (why := misfit(value, tool.schema)) is not None:
        raise CommandError(f"the arguments of {name} do not fit its schema: {why}")
    return ToolCallPart(call_id, name, exact(loads_exact(arguments.encode())) if "\n" in arguments else arguments)


def checked_text(text: str, response_format: ResponseFormat | None) -> str:
    """The text. Raises ``CommandError`` if it is not what the app asked for."""
    if (why := format_misfit(text, response_format)) is not None:
        raise CommandError(why)
    return text
