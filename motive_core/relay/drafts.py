"""A draft, as the person who reviews it reads and writes it: what a service would answer, before it does.

Owns how a draft is written in the words of commands, and what becomes of it where the person wrote something else. What
was left as it was stays what the service said, with all that an app's next call may have to show: ids, signatures,
citations. Knows no session.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from pydantic_core import from_json

from motive_core.config import Commands
from motive_core.dialects.degrade import as_text, parts_as_text
from motive_core.ir import NO_EXTRA, Choice, FinishReason, Part, ReasoningPart, Reply, ToolCallPart
from motive_core.relay.words import quotable, text_digest
from motive_core.session import Answer, Words

_OF_ITS_WORDS: Final[frozenset[FinishReason]] = frozenset({"refusal", "content_filter", "error", "pause"})
"""Why a reply ended that says something about its words, and nothing about others."""


def drafted(reply: Reply) -> Answer:
    """A service's reply, as the answer that it is if nobody says otherwise."""
    return Answer((), text_digest(quotable(parts_of(reply))), reply=reply)


def parts_of(reply: Reply) -> Words:
    """What is shown of a draft, and edited: its first choice."""
    return reply.choices[0].parts if reply.choices else ()


def written(parts: Words, commands: Commands) -> str:
    """The parts of a reply as an answerer writes them: reasoning, then text, then the tool calls, a line each. What
    there is no command for is the text that stands for it elsewhere."""
    lines = [_thoughts(parts, commands.think), text_of(parts, commands)]
    if commands.call is not None:
        lines += [f"{commands.call} {call.name} {call.arguments}" for call in calls_of(parts)]
    return "\n".join(filter(None, lines))


def text_of(parts: Words, commands: Commands) -> str:
    """What of a draft is text, or stands there as such."""
    calls_apart = commands.call is not None
    return parts_as_text(
        [
            part
            for part in parts
            if not isinstance(part, ReasoningPart) and not (calls_apart and isinstance(part, ToolCallPart))
        ]
    )


def calls_of(parts: Iterable[Part]) -> list[ToolCallPart]:
    """The tool calls among the parts."""
    return [part for part in parts if isinstance(part, ToolCallPart)]


def same_words(one: str, other: str) -> bool:
    """Whether a text was left as it was. White space at the ends of lines does not count: chat UIs take it away."""
    return _plain(one) == _plain(other)


def same_call(call: ToolCallPart, name: str, arguments: str) -> bool:
    """Whether these are the name and the arguments of this call."""
    if call.name != name:
        return False
    mine, other = call.arguments.strip() or "{}", arguments.strip() or "{}"
    if mine == other:
        return True
    try:
        return bool(from_json(mine) == from_json(other))
    except ValueError:
        return False


def edited(reply: Reply, parts: Words, commands: Commands) -> Reply:
    """The draft, with these parts in its first choice. Ids, model, times and usage stay the service's, and so do
    reasoning that no other one takes the place of, text and calls that are as they were, and the ids of calls whose
    arguments alone are others; each stays where it was. The reply itself if nothing is new."""
    choice = reply.choices[0] if reply.choices else Choice(())
    text = tuple([part for part in parts if not isinstance(part, ReasoningPart | ToolCallPart)])
    keeps_text = same_words(text_of(choice.parts, commands), parts_as_text(text))
    reasoning = [part for part in parts if isinstance(part, ReasoningPart)]
    thoughts = _joined([part for part in choice.parts if isinstance(part, ReasoningPart)])
    keeps_reasoning = not reasoning or same_words(thoughts, _joined(reasoning))
    calls = list(calls_of(choice.parts)) if commands.call is None and keeps_text else calls_of(parts)
    said, more = _calls(calls_of(choice.parts), calls)
    new: list[Part] = [] if keeps_reasoning else [part for part in reasoning if part.text]
    has_text = keeps_text
    for part in choice.parts:
        if not has_text and not isinstance(part, ReasoningPart):
            new += text
            has_text = True
        match part:
            case ReasoningPart():
                new += [part] if keeps_reasoning else []
            case ToolCallPart():
                new += said.get(id(part), ())
            case _:
                new += [part] if keeps_text else []
    new += more if has_text else (*text, *more)
    if len(new) == len(choice.parts) and all(one is other for one, other in zip(new, choice.parts, strict=True)):
        return reply
    finish = _finish(choice, new, keeps_text=keeps_text)
    first = replace(
        choice,
        parts=tuple(new),
        finish_reason=finish,
        stop_sequence=choice.stop_sequence if finish == choice.finish_reason else None,
        extra=NO_EXTRA,  # it tells of the words that were: how likely each was, where it is from
    )
    return replace(reply, choices=(first, *reply.choices[1:]))


def _calls(before: Sequence[ToolCallPart], after: Sequence[ToolCallPart]) -> tuple[dict[int, Words], Words]:
    """What becomes of each earlier call, by ``id``, and the calls beyond these. A call that was there already stays as
    it was; one with other arguments takes the id of one of its name."""
    said: dict[int, Words] = {}
    changed = []
    for call in after:
        found = next((one for one in before if id(one) not in said and same_call(one, call.name, call.arguments)), None)
        if found is None:
            changed.append(call)
        else:
            said[id(found)] = (found,)
    more = []
    for call in changed:
        found = next((one for one in before if id(one) not in said and one.name == call.name), None)
        if found is None:
            more.append(call)
        else:
            said[id(found)] = (replace(call, call_id=found.call_id),)
    return said, tuple(more)


def _finish(choice: Choice, new: Sequence[Part], *, keeps_text: bool) -> FinishReason:
    """Why the reply ended, as far as that is true of what it says now."""
    calls = any(isinstance(part, ToolCallPart) for part in new)
    if calls != any(isinstance(part, ToolCallPart) for part in choice.parts):
        return "tool_calls" if calls else "stop"
    return "stop" if choice.finish_reason in _OF_ITS_WORDS and not keeps_text else choice.finish_reason


def _thoughts(parts: Words, word: str | None) -> str:
    text = _joined([part for part in parts if isinstance(part, ReasoningPart)])
    if word is None or not text.strip():
        return ""
    return "\n".join([f"{word} {line}".rstrip() for line in text.splitlines()])


def _joined(parts: Sequence[Part]) -> str:
    return "\n\n".join(filter(None, map(as_text, parts)))


def _plain(text: str) -> str:
    return "\n".join([line.rstrip() for line in text.splitlines()]).strip()
