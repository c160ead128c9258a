"""The pairing state machine: ``step(state, event, now) -> (state, commands)``.

Owns what happens when a call arrives, ends, fails or runs out of time. Pure and total: no clock, no randomness, no
I/O, and every event has a defined effect in every state (an unknown call has none). The rules are those of the design:
an asker whose calls carry prompts, any number open at once; an answerer whose call carries the answer to the prompt
that it owes and then listens for the next. After every event all that can be said is said: there is never a listening
answerer together with a prompt that it could be shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, assert_never

from motive_core.session.draft import FRESH, REMEMBERED, Draft
from motive_core.session.lasting import is_held
from motive_core.session.queries import live_calls, next_due, waits
from motive_core.session.roles import first_stays_asker, role_of
from motive_core.session.state import (
    Answer,
    Answered,
    Arrive,
    Close,
    Command,
    Delivered,
    ErrorKind,
    Event,
    Failed,
    FallBack,
    GivenBack,
    Gone,
    LiveCall,
    Passed,
    PassThrough,
    Prompt,
    Released,
    Restarted,
    Said,
    Seat,
    SendAnswer,
    SendError,
    SendNotice,
    SendPrompt,
    Session,
    TakenOver,
    Tick,
    Unsolicited,
)

_KEPT_UNSOLICITED: Final = 100
_TOO_LARGE: Final = "the session keeps as much as it may, and has no room for so long an answer"


def step(state: Session, event: Event, now: float) -> tuple[Session, tuple[Command, ...]]:
    """Apply one event at ``now`` (seconds; never going back). Gives the next state and what is to be done.

    What became due before ``now`` happens first, each thing at its own time: a late ``Tick`` ends where ticks in time
    would have ended.
    """
    commands: list[Command] = []
    while (due := next_due(state)) is not None and due <= now:
        state = _Step(state, due, commands).time_passes()
    return _Step(state, now, commands).take(event), tuple(commands)


class _Step(Draft):
    """One step under way."""

    def take(self, event: Event) -> Session:
        """Apply the event. Gives the next state."""
        match event:
            case Arrive():
                self.arrive(event)
            case Gone(call):
                self.lost(call, after_delivery=False)
            case Failed(call):
                self.lost(call, after_delivery=True)
            case Delivered(call):
                self.delivered(call)
            case Released(call):
                self.released(call)
            case Answered(prompt, answer):
                self.operator_answers(prompt, answer)
            case Said(prompt, answer):
                self.operator_has_said(prompt, answer)
            case Passed(prompt):
                self.operator_passes(prompt)
            case TakenOver(by):
                self.taken_by = by
                self.provisional = False
                self.grant_hold_time()
            case GivenBack(by):
                if by in ("", self.taken_by):
                    self.given_back()
            case Restarted():
                self.restarted()
            case Close():
                return self.close()
            case Tick():
                return self.before
            case _:
                assert_never(event)
        self.settle()
        return self.after()

    # Arrivals

    def arrive(self, event: Arrive) -> None:
        if event.call in live_calls(self.before):
            return
        verdict = role_of(self.before, event, asker_stays=self.asker_stays(), answerer_present=self.answerer_sits())
        if self.provisional and self.asker is not None and verdict in ("asker", "answerer", "first answers"):
            self.decide_first(self.asker, event, stays=first_stays_asker(self.asker, event, verdict))
        match verdict:
            case "stranger":
                self.refuse(event, "session_full")
            case "passer-by":
                self.passes_by(event)
            case "first":
                self.asker_arrives(event)
                self.provisional = self.asker is not None
            case "asker":
                self.asker_arrives(event)
            case "answerer" | "first answers":
                self.answerer_arrives(event)
            case _:
                assert_never(verdict)

    def decide_first(self, first: Seat, event: Arrive, *, stays: bool) -> None:
        """The first client's role is known now. As the asker it keeps its prompts; as the answerer its words were a
        ping, and its newest call listens."""
        self.provisional = False
        if stays:
            return
        prompts = list(self.prompts.values())
        self.prompts.clear()
        for prompt in prompts:
            for live in prompt.calls:
                self.listen(live)
        # Without a call it has gone before: what comes now waits for its return, and gets no ``on_lost``.
        away = self.listening is None
        self.asker = None
        self.answerer = replace(first, first_key=prompts[-1].key if prompts else "", until=self.now, away=away)

    def passes_by(self, event: Arrive) -> None:
        """A command of somebody who has no seat to use it from."""
        match event.wish:
            case "help":
                self.commands.append(SendNotice(event.call, "help", event.hint))
            case "pass" | "answer":
                self.commands.append(SendNotice(event.call, "unowed"))
            case _:
                self.commands.append(SendNotice(event.call, "left"))

    def refuse(self, event: Arrive, kind: ErrorKind) -> None:
        """There is no room for this call: the real service answers it if it can, else an error does."""
        policy = "pass" if kind == "session_full" else event.rules.on_full
        if policy == "pass" and event.rules.can_pass:
            self.commands.append(PassThrough(event.call))
        elif policy == "fallback":
            self.commands.append(FallBack(event.call, kind))
        else:
            self.commands.append(SendError(event.call, kind))

    def asker_arrives(self, event: Arrive) -> None:
        rules = event.rules
        present = self.answerer_is_here()
        twin = self.twin_of(event)
        drafted = event.draft is not None or (twin is not None and twin.draft is not None)
        if rules.when_joined and not present and not drafted and (twin is None or twin.answer is None):
            self.commands.append(PassThrough(event.call) if rules.can_pass else SendError(event.call, "answerer_left"))
            return
        self.seat_asker(event)
        self.settle_quoted(event)
        if event.join != "no":
            self.commands.append(SendNotice(event.call, "paired" if present else "waiting"))
            return
        timeout_s = rules.hold_timeout_s if present else rules.handshake_timeout_s
        if drafted and rules.review_timeout_s is not None:
            timeout_s = rules.review_timeout_s
        live = LiveCall(event.call, self.now, self.now + timeout_s, rules)
        if twin is not None and twin.outcome is None:
            self.set(replace(twin, calls=(*twin.calls, live), orphaned_at=None))
        elif twin is not None and twin.answer is not None:
            self.commands.append(SendAnswer(event.call, twin.prompt, twin.answer))
            self.set(replace(twin, sending=(*twin.sending, event.call)))
        elif self.is_full(event):
            self.refuse(event, "queue_full")
        else:
            prompt = f"p{self.next_prompt}"
            self.next_prompt += 1
            self.set(
                Prompt(
                    prompt=prompt,
                    who=event.who,
                    key=event.key,
                    digest=event.digest,
                    words=event.words,
                    context=event.context,
                    quotes=event.quotes,
                    rules=rules,
                    created_at=self.now,
                    terms=event.terms,
                    draft=event.draft,
                    calls=(live,),
                    size_bytes=event.size_bytes,
                )
            )

    def is_full(self, event: Arrive) -> bool:
        """Whether there is no room for one more prompt."""
        rules = event.rules
        if sum(prompt.outcome is None for prompt in self.prompts.values()) >= rules.queue_limit:
            return True
        return not self.make_room(event.size_bytes, rules.keep_limit_bytes, done=True)

    def twin_of(self, event: Arrive) -> Prompt | None:
        """The prompt that this call says again: an open one, or an answered one if the call is marked as a retry."""
        for prompt in reversed(self.prompts.values()):
            if prompt.key != event.key or (prompt.outcome is not None and _has_failed(prompt)):
                continue  # who tries again after an error asks anew
            if prompt.outcome is None:
                if event.rules.twins == "attach" or event.retry or not prompt.calls:
                    return prompt
            elif event.retry and prompt.outcome == "answered":
                return prompt
        return None

    def settle_quoted(self, event: Arrive) -> None:
        """An answer that the asker quotes has arrived. After a restart nobody else can tell."""
        for prompt in list(self.prompts.values()):
            if prompt.outcome is not None or prompt.answer is None or prompt.sending:
                continue
            if prompt.answer.digest == event.replies_to and prompt.digest in event.quotes:
                self.done(prompt, "answered")

    def seat_asker(self, event: Arrive) -> None:
        seat = self.asker
        if seat is None or (seat.who != event.who and not self.asker_stays()):
            seat = Seat(event.who, self.now, event.shape, first_key=event.key)
        self.asker = replace(
            seat,
            until=self.now + event.rules.turn_timeout_s,
            yields_at=self.now + event.rules.rejoin_window_s,
            said=(*seat.said, event.digest)[-REMEMBERED:],
            last_key=event.key,
            asks=seat.asks or event.asks,
        )

    def answerer_arrives(self, event: Arrive) -> None:
        seat = self.seat_answerer(event)
        is_first = not seat.first_key
        owed = self.prompts.get(self.owes)
        if owed is not None and not waits(owed):
            owed = None
        joins = event.join == "word" or (event.join == "first" and owed is None)
        repeats = event.key == seat.last_key and (
            event.retry or event.replies_to != "" or seat.last_key == seat.first_key
        )
        self.answerer = replace(
            seat,
            said=(*seat.said, event.digest)[-REMEMBERED:],
            first_key=seat.first_key or event.key,
            last_key=event.key,
            away=False,
        )
        if event.wish == "leave":
            self.leave(event)
            return
        if event.wish == "help":
            self.stay(event.rules.turn_timeout_s)
            self.commands.append(SendNotice(event.call, "help", event.hint))
            return
        if joins or repeats or is_first:
            if owed is not None:
                self.unshow(owed)
        elif self.commands_nothing(event, owed):
            self.stay(event.rules.turn_timeout_s)
            self.commands.append(SendNotice(event.call, "unowed"))
            return
        elif refused := self.pass_on(owed) if event.wish == "pass" and owed is not None else event.refused:
            self.stay(event.rules.turn_timeout_s)
            self.commands.append(SendNotice(event.call, "refused", refused))
            return
        elif event.wish == "pass":
            pass
        elif owed is not None and self.has_seen(event, owed):
            if not self.make_room(event.size_bytes, event.rules.keep_limit_bytes, done=True):
                self.stay(event.rules.turn_timeout_s)
                self.commands.append(SendNotice(event.call, "refused", _TOO_LARGE))
                return
            self.answer(owed, replace(event.answer, size_bytes=event.size_bytes))
        else:
            if self.make_room(event.size_bytes, event.rules.keep_limit_bytes, done=False):
                unsolicited = Unsolicited(self.now, event.words, event.size_bytes)
                self.unsolicited = (*self.unsolicited, unsolicited)[-_KEPT_UNSOLICITED:]
            if owed is not None:
                self.unshow(owed)
            elif self.owes:
                self.owes = ""
                self.stay(event.rules.turn_timeout_s)
                self.commands.append(SendNotice(event.call, "late"))
                return
        rules = event.rules
        timeout_s = rules.hold_timeout_s if self.asker_is_here() else rules.handshake_timeout_s
        self.grant_hold_time()
        self.listen(LiveCall(event.call, self.now, self.now + timeout_s, rules))

    def answer(self, owed: Prompt, answer: Answer) -> None:
        """The answerer has spoken."""
        self.send(owed, answer)
        self.answered = (*self.answered, answer.digest)[-REMEMBERED:]
        self.owes = ""
        self.turns += 1

    def let_go(self, prompt: Prompt, draft: Answer) -> None:
        """Nobody says otherwise, so the draft is the answer. It stays owed: who answers it now is told to be late."""
        self.send(prompt, draft)
        self.answered = (*self.answered, draft.digest)[-REMEMBERED:]

    def commands_nothing(self, event: Arrive, owed: Prompt | None) -> bool:
        """Whether this is a command for a prompt, and its author knows of none."""
        if event.wish == "pass":
            return owed is None or not self.has_seen(event, owed)
        return event.wish == "answer" and owed is None and not self.owes

    def pass_on(self, owed: Prompt) -> str:
        """Let the real service answer the prompt that is owed: it may have said already what it would. Gives why that
        cannot be, empty if it can."""
        if owed.draft is not None:
            self.answer(owed, owed.draft)
            return ""
        if not owed.calls:
            return "the app has gone away, and may come back for your answer"
        if not all(live.rules.can_pass for live in owed.calls):
            return "there is no real service behind this call"
        self.commands += [PassThrough(live.call) for live in owed.calls]
        self.done(replace(owed, calls=()), "passed")
        self.owes = ""
        return ""

    def seat_answerer(self, event: Arrive) -> Seat:
        """The answerer's seat, with the author in it."""
        seat = self.answerer
        if seat is not None and seat.who == event.who:
            return seat
        return Seat(event.who, self.now, event.shape, event.asks)

    def has_seen(self, event: Arrive, owed: Prompt) -> bool:
        """Whether the author of these words knew the prompt that it owes an answer to."""
        if event.replies_to == owed.digest:
            # A prompt with the words of an earlier one is not proven by a quotation of either.
            return owed.shown == "yes" or self.shown.count(owed.digest) == 1
        if event.replies_to != "" and event.replies_to in self.shown:
            return False
        return owed.shown == "yes"

    def grant_hold_time(self) -> None:
        """Who answers is here: calls that had only the handshake time until now have their hold time."""
        for prompt in list(self.prompts.values()):
            if prompt.draft is None and any(live.deadline < _hold_deadline(live) for live in prompt.calls):
                calls = tuple(replace(live, deadline=max(live.deadline, _hold_deadline(live))) for live in prompt.calls)
                self.set(replace(prompt, calls=calls))

    def listen(self, live: LiveCall) -> None:
        """This call waits for the next prompt; an older one of the same answerer ends."""
        self.supersede()
        self.listening = live

    def leave(self, event: Arrive) -> None:
        self.supersede()
        self.commands.append(SendNotice(event.call, "left"))
        self.unshow_all()
        self.stay(0.0)
        self.answerer_goes()

    # Calls that end

    def lost(self, call: str, *, after_delivery: bool) -> None:
        """A call ended without our saying so. ``after_delivery``: even if it had been counted as delivered."""
        if self.unlisten(call):
            return
        for prompt in self.prompts.values():
            if any(live.call == call for live in prompt.calls):
                calls = tuple(live for live in prompt.calls if live.call != call)
                self.set(replace(prompt, calls=calls, orphaned_at=None if calls or prompt.sending else self.now))
                return
            if prompt.shown_by == call and (
                prompt.shown == "sending" or (after_delivery and prompt.shown == "yes" and waits(prompt))
            ):
                self.unshow(prompt)
                if prompt.prompt == self.owes:
                    self.stay(prompt.rules.rejoin_window_s)
                return
            if call in prompt.sending or (after_delivery and call in prompt.delivered):
                self.answer_failed(prompt, call)
                return

    def restarted(self) -> None:
        """Every live call is gone, those included that the store did not tell of."""
        for call in live_calls(self.before):
            self.lost(call, after_delivery=False)
        for prompt in list(self.prompts.values()):
            if prompt.answer is not None and prompt.answer.live:
                # Whoever said it is gone, and so are the words: the prompt waits for others.
                changes: dict[str, Any] = {"answer": None, "outcome": None, "closed_at": 0.0, "delivered": ()}
                self.set(replace(prompt, orphaned_at=self.now, **changes))
            elif is_held(prompt):
                self.set(replace(prompt, orphaned_at=self.now))

    def answer_failed(self, prompt: Prompt, call: str) -> None:
        """An answer did not arrive after all. If it reached nobody else, it waits for a retry of its prompt."""
        sending = tuple(one for one in prompt.sending if one != call)
        delivered = tuple(one for one in prompt.delivered if one != call)
        prompt = replace(prompt, sending=sending, delivered=delivered)
        if not sending and not delivered:
            prompt = replace(prompt, outcome=None, closed_at=0.0, orphaned_at=self.now)
        self.set(prompt)

    def delivered(self, call: str) -> None:
        for prompt in self.prompts.values():
            if prompt.shown_by == call and prompt.shown == "sending":
                self.set(replace(prompt, shown="yes"))
                return
            if call in prompt.sending:
                sending = tuple(one for one in prompt.sending if one != call)
                delivered = (*prompt.delivered, call)
                if prompt.outcome is None:
                    self.done(prompt, "answered", sending=sending, delivered=delivered)
                else:
                    self.set(replace(prompt, sending=sending, delivered=delivered))
                if self.asker is not None:
                    until = max(self.asker.until, self.now + prompt.rules.turn_timeout_s)
                    yields_at = max(self.asker.yields_at, self.now + prompt.rules.rejoin_window_s)
                    self.asker = replace(self.asker, until=until, yields_at=yields_at)
                return

    def released(self, call: str) -> None:
        if self.unlisten(call):
            return
        for prompt in self.prompts.values():
            if any(live.call == call for live in prompt.calls):
                rest = replace(prompt, calls=tuple(live for live in prompt.calls if live.call != call))
                if rest.calls:
                    self.set(rest)
                else:
                    self.done(rest, "passed")
                return

    def operator_has_said(self, prompt_id: str, answer: Answer) -> None:
        prompt = self.prompts.get(prompt_id)
        if prompt is not None and prompt.answer is not None and prompt.answer.live:
            self.set(replace(prompt, answer=answer))
            self.answered = (*self.answered, answer.digest)[-REMEMBERED:]

    def operator_passes(self, prompt_id: str) -> None:
        prompt, owes = self.prompts.get(prompt_id), self.owes
        if prompt is not None and waits(prompt) and not self.pass_on(prompt):
            self.provisional = False
            self.owes = owes  # whoever was shown it is told to be late

    def given_back(self) -> None:
        self.taken_by = ""
        if not self.answerer_is_here():
            self.nobody_answers()

    def close(self) -> Session:
        """End the session: every call that is held is told so."""
        if self.listening is not None:
            self.commands.append(SendError(self.listening.call, "closed"))
        for prompt in self.prompts.values():
            for live in prompt.calls:
                if prompt.draft is not None:
                    self.commands.append(SendAnswer(live.call, prompt.prompt, prompt.draft))
                else:
                    self.pass_or_fail(live, "pass" if live.rules.when_joined else "error", "closed")
        return FRESH

    # Time

    def time_passes(self) -> Session:
        """Do everything that is due by now. Gives the next state."""
        listening = self.listening
        if listening is not None and listening.deadline <= self.now:
            self.unlisten(listening.call)
            notice = listening.rules.on_idle == "notice"
            self.commands.append(SendNotice(listening.call, "idle") if notice else SendError(listening.call, "idle"))
        for prompt in list(self.prompts.values()):
            self.expire(prompt)
        if self.answerer is not None and not self.answerer.away and not self.answerer_sits():
            self.answerer_goes()
        self.settle()
        return self.after()

    def expire(self, prompt: Prompt) -> None:
        retry_window_s = prompt.rules.retry_window_s
        if prompt.outcome is not None:
            if prompt.closed_at + retry_window_s <= self.now:
                del self.prompts[prompt.prompt]
            return
        if prompt.orphaned_at is not None and prompt.orphaned_at + retry_window_s <= self.now:
            self.done(prompt, "expired", answer=None)
            if prompt.answer is not None and prompt.answer != prompt.draft:
                self.tell_undelivered(prompt.answer)
            return
        due = [live for live in prompt.calls if live.deadline <= self.now]
        if not due:
            return
        if prompt.draft is not None:
            self.let_go(prompt, prompt.draft)
            return
        passed = [self.pass_or_fail(live, live.rules.on_timeout, "hold_timeout") for live in due]
        rest = replace(prompt, calls=tuple(live for live in prompt.calls if live.deadline > self.now))
        if rest.calls:
            self.set(rest)
        elif any(passed):
            self.done(rest, "passed")
        else:
            self.set(replace(rest, orphaned_at=self.now))

    def tell_undelivered(self, answer: Answer) -> None:
        """An answer that nobody came back for: kept, and its author is told."""
        self.undelivered = (*self.undelivered, answer)[-REMEMBERED:]
        if self.listening is not None:
            self.commands.append(SendNotice(self.listening.call, "undelivered"))
            turn_timeout_s = self.listening.rules.turn_timeout_s
            self.listening = None
            self.stay(turn_timeout_s)

    def answerer_goes(self) -> None:
        """The answerer's seat is empty."""
        assert self.answerer is not None
        self.answerer = replace(self.answerer, away=True)
        if not self.taken_by:
            self.nobody_answers()

    def nobody_answers(self) -> None:
        """Nobody is there to answer any more: each open prompt gets its ``on_lost``."""
        for prompt in list(self.prompts.values()):
            ending = [live for live in prompt.calls if live.rules.on_lost != "wait"]
            if not ending:
                continue
            if prompt.draft is not None:
                self.let_go(prompt, prompt.draft)
                continue
            passed = [self.pass_or_fail(live, live.rules.on_lost, "answerer_left") for live in ending]
            rest = replace(prompt, calls=tuple(live for live in prompt.calls if live.rules.on_lost == "wait"))
            if rest.calls:
                self.set(rest)
            else:
                self.done(rest, "passed" if all(passed) else "failed")

    # What can be said now

    def settle(self) -> None:
        """Send every answer that has a call to go to, then show the listening answerer a prompt."""
        for prompt in self.prompts.values():
            if prompt.answer is not None and prompt.calls:
                self.send(prompt, prompt.answer)
            elif prompt.draft is not None and prompt.calls and prompt.rules.when_joined and not self.answerer_is_here():
                self.let_go(prompt, prompt.draft)  # who would have looked at it left while it was made
        if self.listening is not None:
            self.show_next(self.listening)

    def show_next(self, listening: LiveCall) -> None:
        owed = self.prompts.get(self.owes)
        if owed is None or not waits(owed):
            self.owes = ""  # whoever listens is past it: its next words are no late answer
        prompt = self.to_show()
        if prompt is None:
            return
        assert self.answerer is not None
        before = self.answerer.shown
        self.commands.append(SendPrompt(listening.call, prompt, context=not before or before not in prompt.quotes))
        self.set(replace(prompt, shown="sending", shown_by=listening.call))
        if prompt.prompt != self.owes:
            self.shown = (*self.shown, prompt.digest)[-REMEMBERED:]
        self.owes = prompt.prompt
        self.listening = None
        until = self.now + listening.rules.turn_timeout_s
        self.answerer = replace(self.answerer, shown=prompt.digest, until=until, away=False)

    def to_show(self) -> Prompt | None:
        """The prompt that is owed, if it can be answered, else the oldest that was not shown and has a live call."""
        owed = self.prompts.get(self.owes)
        if owed is not None and waits(owed) and owed.calls:
            return owed
        for prompt in self.prompts.values():
            if waits(prompt) and prompt.shown == "no" and prompt.calls:
                return prompt
        return None


def _has_failed(prompt: Prompt) -> bool:
    return prompt.answer is not None and prompt.answer.failure is not None


def _hold_deadline(live: LiveCall) -> float:
    return live.arrived_at + live.rules.hold_timeout_s
