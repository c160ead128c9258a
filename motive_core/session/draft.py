"""A session's state while a step changes it.

Owns the fields under change, what the session machine does to them in many places, and the making of the next state.
Knows no event: which change is due when is the machine's business.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, Literal

from motive_core.session.queries import answerer_sits, asker_sits, waits
from motive_core.session.state import (
    Answer,
    Command,
    ErrorKind,
    FallBack,
    LiveCall,
    Outcome,
    PassThrough,
    Prompt,
    SendAnswer,
    SendError,
    Session,
)

REMEMBERED: Final = 32
"""How many digests of words, prompts and answers a session remembers for telling clients apart; also how many done
prompts it keeps for retries, since every step looks at all prompts."""

FRESH: Final = Session()


class Draft:
    """The state so far, field by field, and the commands so far. ``before`` is the state that the step began with."""

    def __init__(self, before: Session, now: float, commands: list[Command]) -> None:
        self.before = before
        self.now = now
        self.commands = commands
        self.asker = before.asker
        self.answerer = before.answerer
        self.provisional = before.provisional
        self.prompts = {prompt.prompt: prompt for prompt in before.prompts}
        self.listening = before.listening
        self.owes = before.owes
        self.shown = before.shown
        self.answered = before.answered
        self.unsolicited = before.unsolicited
        self.undelivered = before.undelivered
        self.turns = before.turns
        self.next_prompt = before.next_prompt
        self.taken_by = before.taken_by

    def after(self) -> Session:
        """The next state; a fresh one if the session is over."""
        if not self.prompts and not self.answerer_is_here() and not self.asker_is_here():
            return FRESH
        return Session(
            asker=self.asker,
            answerer=self.answerer,
            provisional=self.provisional,
            prompts=tuple(self.prompts.values()),
            listening=self.listening,
            owes=self.owes,
            shown=self.shown,
            answered=self.answered,
            unsolicited=self.unsolicited,
            undelivered=self.undelivered,
            turns=self.turns,
            next_prompt=self.next_prompt,
            taken_by=self.taken_by,
        )

    def answerer_is_here(self) -> bool:
        return bool(self.taken_by) or self.answerer_sits()

    def answerer_sits(self) -> bool:
        return answerer_sits(self.answerer, self.listening, self.now)

    def asker_is_here(self) -> bool:
        return asker_sits(self.asker, self.prompts.values(), self.now)

    def asker_stays(self) -> bool:
        """Whether the asker keeps its seat if somebody else wants it."""
        if self.asker is None:
            return False
        return self.now < self.asker.yields_at or any(p.calls for p in self.prompts.values() if p.outcome is None)

    def set(self, prompt: Prompt) -> None:
        self.prompts[prompt.prompt] = prompt

    def make_room(self, size_bytes: int, limit_bytes: int, *, done: bool) -> bool:
        """Make room for so much more: unsolicited words go first, then answers that nobody fetched, then (``done``)
        prompts that are kept for a retry only; the oldest first. Gives False, and drops nothing, if that is not enough.
        """
        over = self.kept_bytes() + size_bytes - limit_bytes
        if over <= 0:
            return True
        closed = [one for one in self.prompts.values() if one.outcome is not None and not one.sending] if done else []
        if over > self.words_bytes() + sum(map(prompt_bytes, closed)):
            return False
        while over > 0 and self.unsolicited:
            over -= self.unsolicited[0].size_bytes
            self.unsolicited = self.unsolicited[1:]
        while over > 0 and self.undelivered:
            over -= self.undelivered[0].size_bytes
            self.undelivered = self.undelivered[1:]
        for prompt in sorted(closed, key=_closed_at):
            if over > 0:
                over -= prompt_bytes(prompt)
                del self.prompts[prompt.prompt]
        return True

    def kept_bytes(self) -> int:
        """What the session keeps of what was said."""
        size = self.words_bytes()
        for prompt in self.prompts.values():  # a plain loop, since it is run for each call
            size += prompt.size_bytes
            if prompt.answer is not None:
                size += prompt.answer.size_bytes
        return size

    def words_bytes(self) -> int:
        """What of it belongs to no prompt."""
        return sum(one.size_bytes for one in self.unsolicited) + sum(one.size_bytes for one in self.undelivered)

    def unshow(self, prompt: Prompt) -> None:
        """The answerer does not know this prompt, or not any more: it may be shown again."""
        self.set(replace(prompt, shown="no", shown_by=""))

    def unshow_all(self) -> None:
        self.owes = ""
        for prompt in list(self.prompts.values()):
            if waits(prompt) and prompt.shown != "no":
                self.unshow(prompt)

    def done(self, prompt: Prompt, outcome: Outcome, **changes: Any) -> None:
        """This prompt is closed. It is kept for a while, for retries; only the latest few are."""
        self.set(replace(prompt, outcome=outcome, closed_at=self.now, orphaned_at=None, **changes))
        kept = [one for one in self.prompts.values() if one.outcome is not None and not one.sending]
        if len(kept) > REMEMBERED:
            del self.prompts[min(kept, key=_closed_at).prompt]

    def stay(self, seconds: float) -> None:
        """The answerer counts as present for so long from now, live call or not."""
        assert self.answerer is not None
        self.answerer = replace(self.answerer, until=self.now + seconds, away=False)

    def supersede(self) -> None:
        if self.listening is not None:
            self.commands.append(SendError(self.listening.call, "superseded"))
            self.listening = None

    def unlisten(self, call: str) -> bool:
        """Take this call away from the answerer, if it is the one that listens."""
        if self.listening is None or self.listening.call != call:
            return False
        rejoin_window_s = self.listening.rules.rejoin_window_s
        self.listening = None
        self.stay(rejoin_window_s)
        return True

    def send(self, prompt: Prompt, answer: Answer) -> None:
        """Give this answer to every live call of its prompt; with none it waits on the prompt."""
        calls = tuple(live.call for live in prompt.calls)
        self.commands += [SendAnswer(call, prompt.prompt, answer) for call in calls]
        self.set(replace(prompt, answer=answer, calls=(), sending=(*prompt.sending, *calls)))

    def operator_answers(self, prompt_id: str, answer: Answer) -> None:
        """Give this prompt the operator's answer, if it waits for one. It stays owed, if it was: who answers it now is
        told to be late. If its app is away, that finds the answer when it comes back."""
        prompt = self.prompts.get(prompt_id)
        if prompt is None or not waits(prompt):
            return
        if not self.make_room(answer.size_bytes, prompt.rules.keep_limit_bytes, done=True):
            return
        self.provisional = False
        self.send(prompt, answer)
        if not answer.live:
            self.answered = (*self.answered, answer.digest)[-REMEMBERED:]
        self.turns += 1

    def pass_or_fail(
        self, live: LiveCall, policy: Literal["pass", "fallback", "error", "wait"], kind: ErrorKind
    ) -> bool:
        """End one call of the asker by policy. Gives whether it got a reply, from the real service or its route."""
        if policy == "pass" and live.rules.can_pass:
            self.commands.append(PassThrough(live.call))
            return True
        if policy == "fallback":
            self.commands.append(FallBack(live.call, kind))
            return True
        self.commands.append(SendError(live.call, kind))
        return False


def prompt_bytes(prompt: Prompt) -> int:
    """What a prompt takes, with its answer."""
    return prompt.size_bytes + (prompt.answer.size_bytes if prompt.answer is not None else 0)


def _closed_at(prompt: Prompt) -> float:
    return prompt.closed_at
