"""A world around one session, for the property tests: clients with a true identity that only the test knows.

The world plays the network and the clients' memories, and checks after every step what a client may rely on. It looks
into the machine's state only to keep clients from doing what no machine could tell from another client's doing: see
``may_say``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal, assert_never

from motive_core.session import (
    Answered,
    Arrive,
    Command,
    Delivered,
    Event,
    Failed,
    FallBack,
    GivenBack,
    Gone,
    Passed,
    PassThrough,
    Prompt,
    Released,
    Restarted,
    Rules,
    Seat,
    SendAnswer,
    SendError,
    SendNotice,
    SendPrompt,
    Session,
    TakenOver,
    Tick,
    answerer_present,
    draft_of,
    live_calls,
    next_due,
    step,
)
from tests.core.session.room import arrival, by_operator, check_state, draft, line, waits

OPERATOR: Final = "the operator"

type Key = tuple[str, float]
"""A prompt: its id, which the next session uses again, and its time."""


def key_of(prompt: Prompt) -> Key:
    return (prompt.prompt, prompt.created_at)


@dataclass(eq=False)
class Client:
    """Who calls. ``history`` is what its screen shows, where it has one: author, text, and the prompt, if it is one.
    ``keeps``: what it said is part of it though there was no reply.
    """

    name: str
    who: str
    remembers: bool = False
    keeps: bool = False
    asks: bool = False
    role: Literal["asker", "answerer"] | None = None
    history: list[tuple[Literal["user", "assistant"], str, Key | None]] = field(default_factory=list)
    last: Arrive | None = None

    def replies_to(self) -> tuple[str, Key | None]:
        """The last assistant message of its history, and the prompt that it is."""
        return next(((text, prompt) for who, text, prompt in reversed(self.history) if who == "assistant"), ("", None))


@dataclass(eq=False)
class Call:
    """One call of a client. ``told``: the reply was reported as delivered, and not as failed since."""

    client: Client
    event: Arrive
    reply: SendPrompt | SendAnswer | None = None
    told: bool = False
    in_flight: bool = False
    got: bool = False


class World:
    """See the module."""

    def __init__(self) -> None:
        self.now = 0.0
        self.state = Session()
        self.count = 0
        self.before = Session()
        self.calls: dict[str, Call] = {}
        self.held: set[str] = set()
        self.authors: dict[Key, Client] = {}
        self.words: dict[Key, str] = {}
        self.of_this_session: set[Key] = set()
        self.answered_by: dict[Key, Client] = {}
        self.operator = Client(OPERATOR, OPERATOR)
        self.showings: dict[Key, tuple[str, bool]] = {}
        """Of each prompt, the call that it was last shown to, and whether something justifies to show it again."""

    # What clients do

    def says(self, client: Client, text: str, *, rules: Rules, retry: bool = False, refused: str = "") -> None:
        """A new message, or the last one again if the text is the same."""
        if client.last is not None and client.last.digest == text:
            event = replace(client.last, retry=retry, rules=rules, call=self.new_call())
        else:
            event = arrival(
                self.new_call(),
                client.who,
                text,
                history=tuple(text for _, text, _ in client.history),
                shape=client.name if client.asks else "",
                replies_to=client.replies_to()[0],
                asks=client.asks,
                role=client.role,
                rules=rules,
                retry=retry,
                refused=refused,
            )
        event = self.drafted(event)
        said_before = client.last is not None and client.last.key == event.key
        self.arrives(client, event)
        if client.keeps and not said_before:
            client.history.append(("user", text, None))

    def says_again(self, earlier: Call, *, retry: bool) -> None:
        """An earlier call once more: a retry, a hedge or a twin."""
        self.arrives(earlier.client, self.drafted(replace(earlier.event, call=self.new_call(), retry=retry)))

    def drafted(self, event: Arrive) -> Arrive:
        """The call with the draft that its service made, where its route wants one and it is a new prompt. Who would
        have looked at it may have left meanwhile."""
        event = replace(event, draft=None)
        after, _ = step(self.state, event, self.now)
        if event.rules.review_timeout_s is None or after.provisional:
            return event
        is_new = any(
            live.call == event.call
            for prompt in after.prompts
            if key_of(prompt) not in map(key_of, self.state.prompts)
            for live in prompt.calls
        )
        left = self.count % 5 == 0
        return replace(event, draft=draft(f"for {event.digest}")) if is_new or left else event

    def new_call(self) -> str:
        self.count += 1
        return f"c{self.count}"

    def arrives(self, client: Client, event: Arrive) -> None:
        repeats = client.last is not None and client.last.key == event.key
        for key, (call, _) in self.showings.items():
            shown = self.calls[call]
            excused = repeats or event.join != "no" or event.wish == "leave" or not shown.told
            if shown.client is client and (excused or self.quotes_another(event, key)):
                self.showings[key] = (call, True)
        self.calls[event.call] = Call(client, event)
        self.held.add(event.call)
        client.last = event
        self.apply(event, client)

    def quotes_another(self, event: Arrive, key: Key) -> bool:
        """Whether the history shows that its author has an earlier prompt of this session before its eyes."""
        return event.replies_to in self.state.shown and event.replies_to != self.words[key]

    def may_say(self, client: Client, *, joins: bool) -> bool:
        """Whether the machine can know who says this.

        A client with nothing to tell it by (no role of its own, no visible prompt, no history) that speaks alone in a
        room, or says a join word while it asks and nobody answers, is the same to any observer as a look-alike of it
        that came in.
        """
        if client.role is not None:
            return True
        asker, answerer = self.state.asker, self.state.answerer
        if asker is not None and asker.who == client.who:
            if self.recognised(client, asker):
                return True
            if self.state.provisional:
                return not any(prompt.calls for prompt in self.state.prompts) or (client.asks and not joins)
            return client.asks or not joins or answerer_present(self.state, self.now)
        if asker is None and answerer is not None and answerer.who == client.who:
            return joins or self.recognised(client, answerer)
        return True

    def recognised(self, client: Client, seat: Seat) -> bool:
        return any(text in seat.said for _, text, _ in client.history)

    # What the network does

    def delivers(self, call: str, *, arrives: bool) -> None:
        """A reply was handed over; whether it ``arrives`` is another matter."""
        sent = self.calls[call]
        sent.told, sent.in_flight = True, False
        if arrives:
            self.remember(sent)
        self.apply(Delivered(call))

    def fails(self, call: str, *, arrived: bool, event: type[Failed | Gone] = Failed) -> None:
        """A delivery is reported as failed. It may have arrived nevertheless."""
        sent = self.calls[call]
        self.held.discard(call)
        if event is Failed or sent.in_flight:
            self.excuse(call)
            sent.told = sent.in_flight = False
            if arrived:
                self.remember(sent)
        self.apply(event(call))

    def restarts(self) -> None:
        self.held.clear()
        for call, sent in self.calls.items():
            if sent.in_flight:
                sent.in_flight = False
                self.excuse(call)
        self.apply(Restarted())

    def releases(self, call: str) -> None:
        self.held.discard(call)
        self.apply(Released(call))

    # What the operator does

    def operator_answers(self, prompt: str) -> None:
        """Whoever else was shown the prompt: what it holds is answered, and nothing else happens. If its app is away,
        the answer waits for it."""
        before = self.state
        waiting = next((p for p in before.prompts if p.prompt == prompt and waits(p)), None)
        self.apply(Answered(prompt, by_operator(f"to {prompt}")))
        if waiting is None:
            assert self.state == before
            return
        after = next(p for p in self.state.prompts if p.prompt == prompt)
        assert after.answer == by_operator(f"to {prompt}")
        assert all(live.call not in self.held for live in waiting.calls)
        assert before.listening == self.state.listening
        assert before.owes == self.state.owes or before.listening is not None

    def operator_passes(self, prompt: str) -> None:
        """All calls of the prompt pass, or none; or they get its draft."""
        before = self.state
        waiting = next((p for p in before.prompts if p.prompt == prompt and waits(p)), None)
        self.apply(Passed(prompt))
        can_pass = waiting is not None and (
            waiting.draft is not None or (waiting.calls and all(live.rules.can_pass for live in waiting.calls))
        )
        if waiting is None or not can_pass:
            assert self.state == before
        else:
            assert all(live.call not in self.held for live in waiting.calls)

    def operator_comes(self) -> None:
        self.apply(TakenOver("commands"))
        assert answerer_present(self.state, self.now)

    def operator_goes(self) -> None:
        self.apply(GivenBack())
        assert not self.state.taken_by

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.apply(Tick())

    def excuse(self, call: str) -> None:
        """What was shown to this call may be shown again."""
        for key, (shown_by, _) in self.showings.items():
            if shown_by == call:
                self.showings[key] = (call, True)

    def remember(self, call: Call) -> None:
        if call.got or call.reply is None or not call.client.remembers:
            return
        call.got = True
        history = call.client.history
        if not call.client.keeps:
            history.append(("user", call.event.digest, None))
        match call.reply:
            case SendPrompt(_, prompt):
                history.append(("assistant", prompt.digest, key_of(prompt)))
            case SendAnswer(_, _, answer):
                history.append(("assistant", answer.digest, None))
            case _:
                assert_never(call.reply)

    # What must hold

    def apply(self, event: Event, author: Client | None = None) -> None:
        before = {key_of(prompt): prompt for prompt in self.state.prompts}
        self.before = self.state
        sat = self.state.answerer
        self.state, commands = step(self.state, event, self.now)
        for prompt in self.state.prompts:
            key = key_of(prompt)
            if key not in before:
                assert author is not None, "a prompt out of nothing"
                self.authors[key] = author
                self.words[key] = prompt.digest
                self.of_this_session.add(key)
            elif prompt.answer is not None and before[key].answer is None and prompt.answer != prompt.draft:
                if isinstance(event, Answered):
                    assert prompt.answer == event.answer
                    self.answered_by[key] = self.operator
                    continue
                assert isinstance(event, Arrive)
                assert author is not None
                self.check_seen(author, event, prompt)
                self.answered_by[key] = author
        if self.state.answerer is None or sat is None or self.state.answerer.who != sat.who:
            self.showings = {key: (call, True) for key, (call, _) in self.showings.items()}
        for command in commands:
            self.check_command(command)
        if any(isinstance(one, SendError) and one.kind == "session_full" for one in commands):
            assert isinstance(event, Arrive)
            assert commands[-1].call == event.call, "a stranger disturbs somebody"
        waiting = [live.call for prompt in self.state.prompts for live in prompt.calls]
        listening = [self.state.listening.call] if self.state.listening is not None else []
        assert sorted(waiting + listening) == sorted(self.held), "a call is held and nobody knows it, or is not held"
        assert all(call in self.held or self.calls[call].in_flight for call in live_calls(self.state))
        check_state(self.state, self.now)
        if self.state == Session():
            self.of_this_session.clear()

    def check_seen(self, author: Client, event: Arrive, prompt: Prompt) -> None:
        """Who wrote this answer knew the prompt: it was delivered to it, or its history shows it."""
        key = key_of(prompt)
        quoted = author.replies_to()[1]
        # The same words in an earlier session are a quotation that nobody can tell from this one.
        quotes_it = event.replies_to == prompt.digest and (quoted == key or quoted not in self.of_this_session)
        told = any(
            call.client is author
            and call.told
            and isinstance(call.reply, SendPrompt)
            and key_of(call.reply.prompt) == key
            for call in self.calls.values()
        )
        assert quotes_it or (told and not self.quotes_another(event, key)), f"{author.name} has not seen {key}"
        assert not event.refused
        assert event.join != "word"
        assert prompt.answer == event.answer

    def check_command(self, command: Command) -> None:
        call = self.calls[command.call]
        assert command.call in self.held, f"{line(command)}: it has ended before"
        self.held.discard(command.call)
        if isinstance(command, SendError | FallBack | PassThrough):
            assert draft_of(self.before, command.call) is None, "a draft is lost"
            listened = self.before.listening is not None and self.before.listening.call == command.call
            is_passed = isinstance(command, PassThrough)
            assert call.event.draft is None or is_passed or listened, "a draft is lost as it comes"
        match command:
            case SendPrompt(_, prompt):
                key = key_of(prompt)
                assert waits(prompt)
                assert prompt.calls, "an orphan is shown"
                assert self.authors[key] is not call.client, f"{call.client.name} gets its own words"
                shown_by, may_again = self.showings.get(key, ("", True))
                assert may_again or self.calls[shown_by].client is not call.client, "shown again for no reason"
                self.showings[key] = (command.call, False)
                call.reply, call.in_flight = command, True
            case SendAnswer(_, prompt_id, answer):
                states = [one for state in (self.state, self.before) for one in state.prompts]
                prompt = next(one for one in states if one.prompt == prompt_id)
                assert answer in (prompt.answer, prompt.draft)
                assert call.event.key == prompt.key, "an answer to another prompt"
                if answer != prompt.draft:
                    author = self.answered_by[key_of(prompt)]
                    assert author is not call.client, f"{call.client.name} gets its own words"
                call.reply, call.in_flight = command, True
            case SendError(_, "superseded"):
                seat = self.state.answerer
                assert seat is None or seat.who == call.client.who, "one client's call ends for another's"
            case SendNotice() | SendError():
                pass
            case PassThrough():
                assert call.event.rules.can_pass
            case FallBack():
                assert "fallback" in (call.event.rules.on_timeout, call.event.rules.on_lost, call.event.rules.on_full)
            case _:
                assert_never(command)

    def ends(self) -> None:
        """Everything that is under way arrives and everybody goes: then nothing is left, and no call was forgotten."""
        self.operator_goes()
        for _ in range(10_000):
            for call, sent in self.calls.items():
                if sent.in_flight:
                    self.delivers(call, arrives=True)
            due = next_due(self.state)
            if due is None:
                break
            self.passes(due - self.now)
        assert not live_calls(self.state)
        assert not self.held
        assert self.state == Session()
