"""A room for tests of the session machine: one session, a fake clock, and clients that are called by name.

Tests read as transcripts: who comes with which words, and what is to be done about it. After every step the room checks
what must hold in every state, so each transcript is also a test of those invariants.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final, assert_never

from motive_core.ir import Choice, Reply, TextPart
from motive_core.session import (
    Answer,
    Answered,
    Arrive,
    Close,
    Command,
    Delivered,
    Event,
    Failed,
    Failure,
    FallBack,
    GivenBack,
    Gone,
    Join,
    Passed,
    PassThrough,
    Prompt,
    Released,
    Restarted,
    Rules,
    SendAnswer,
    SendError,
    SendNotice,
    SendPrompt,
    Session,
    TakenOver,
    Tick,
    Wish,
    Words,
    answerer_present,
    lasting,
    live_calls,
    next_due,
    step,
    was_held,
)
from motive_core.state_json import dump_session, load_session

RULES = Rules(
    hold_timeout_s=300.0,
    handshake_timeout_s=200.0,
    turn_timeout_s=100.0,
    rejoin_window_s=10.0,
    retry_window_s=60.0,
)
"""Short enough to tell one deadline from another by the number."""


_WISHES: Final[Mapping[str, Wish]] = {"/leave": "leave", "/pass": "pass", "/help": "help"}


def words(text: str) -> Words:
    return (TextPart(text),)


def draft(text: str) -> Answer:
    """What a service would say."""
    return Answer((), f"draft {text}", reply=Reply("r1", "m", (Choice(words(text)),)))


def by_operator(text: str) -> Answer:
    """What the operator answers."""
    return Answer(words(text), f"operator: {text}")


def is_operators(answer: Answer | None) -> bool:
    """Whether ``by_operator`` made it."""
    return answer is not None and answer.digest.startswith("operator: ")


def text_of(parts: Words) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def waits(prompt: Prompt) -> bool:
    """Open, and not answered."""
    return prompt.outcome is None and prompt.answer is None


def arrival(call: str, who: str, text: str, *, history: tuple[str, ...] = (), shape: str = "", **more: Any) -> Arrive:
    """A call. ``history`` is user, assistant, user, ... and ends with the assistant. Join words are ``ping`` and
    ``/join``."""
    join: Join = "word" if text in ("ping", "/join") else "first" if text.startswith("/join ") else "no"
    event = Arrive(
        call=call,
        who=who,
        key=f"{who}|{shape}|{'|'.join(history)}|{text}",
        digest=text,
        words=words(text),
        answer=Answer(words(text), text),
        join=join,
        wish=_WISHES.get(text, "say"),
        shape=shape,
        quotes=history,
        replies_to=history[-1] if history else "",
    )
    return replace(event, **more)


def line(command: Command) -> str:
    """A command as a line of a transcript."""
    match command:
        case SendPrompt(call, prompt, context):
            return f"{call} is shown: {text_of((*prompt.context, *prompt.words) if context else prompt.words)}"
        case SendAnswer(call, _, Answer(failure=Failure(status, message))):
            return f"{call} fails: {status} {message}"
        case SendAnswer(call, _, answer):
            reply = answer.reply
            return f"{call} is answered: {text_of(answer.parts if reply is None else reply.choices[0].parts)}"
        case SendNotice(call, kind, detail):
            return f"{call} notice: {kind}{f' ({detail})' if detail else ''}"
        case SendError(call, kind):
            return f"{call} error: {kind}"
        case PassThrough(call):
            return f"{call} passes"
        case FallBack(call):
            return f"{call} falls back"
        case _:
            assert_never(command)


def check_state(state: Session, now: float) -> None:
    """What holds in every state that a step gave at ``now``, if no rule has a window of zero seconds."""
    assert load_session(json.loads(json.dumps(dump_session(state)))) == state
    calls = live_calls(state)
    assert len(set(calls)) == len(calls), f"a call is in two places: {calls}"
    showable = [p.prompt for p in state.prompts if waits(p) and p.calls and p.shown == "no"]
    assert state.listening is None or not showable, f"listening beside {showable}"
    for prompt in state.prompts:
        is_owed = state.owes == prompt.prompt and not is_operators(prompt.answer)
        is_draft = prompt.draft is not None and prompt.answer == prompt.draft
        assert prompt.answer is None or prompt.outcome is not None or not is_owed or is_draft, "it was answered"
        assert prompt.shown == "no" or not waits(prompt) or state.owes == prompt.prompt
        assert prompt.answer is None or not prompt.calls, "an answer was not sent"
        assert (prompt.orphaned_at is not None) == (
            prompt.outcome is None and not prompt.calls and not prompt.sending
        ), "an open prompt with no call must have a time limit"
    check_due(state, now)
    check_lasting(state, now)


def check_lasting(state: Session, now: float) -> None:
    """A restart makes the same of a state and of what a store keeps of it."""
    kept = lasting(state)
    assert lasting(kept) == kept
    assert not any(prompt.calls or prompt.sending for prompt in kept.prompts)
    # A retry on the way to an answer that others have got is no more than its own call.
    again = {call for prompt in state.prompts if prompt.delivered for call in prompt.sending}
    assert was_held(kept) == bool(set(live_calls(state)) - again)
    after, commands = step(state, Restarted(), now)
    kept_after, kept_commands = step(kept, Restarted(), now)
    assert (lasting(after), commands) == (kept_after, kept_commands)
    assert not live_calls(kept_after)


def check_due(state: Session, now: float) -> None:
    """Nothing changes before ``next_due``, something does then, and there is no second thing due at that time."""
    due = next_due(state)
    if due is None:
        in_flight = any(prompt.sending for prompt in state.prompts)
        assert state == Session() or in_flight or state.taken_by, "a session that no clock will ever end"
        return
    assert due > now
    before = now + (due - now) / 2
    assert step(state, Tick(), before) == (state, ())
    assert answerer_present(state, before) == answerer_present(state, now)
    later, _ = step(state, Tick(), due)
    assert later != state
    again = next_due(later)
    assert again is None or again > due


class Room:
    """One session. ``same_look``: all clients have one fingerprint. ``remembering``: these carry their history."""

    def __init__(
        self, rules: Rules = RULES, *, same_look: bool = False, remembering: Collection[str] = (), **changes: Any
    ) -> None:
        self.rules = replace(rules, **changes)
        self.same_look = same_look
        self.histories: dict[str, list[str]] = {client: [] for client in remembering}
        self.state = Session()
        self.now = 0.0
        self.held: dict[str, tuple[str, str]] = {}
        self.said: dict[str, tuple[str, str]] = {}
        self.pending: list[Command] = []
        self.numbers: dict[str, int] = {}

    # What happens

    def arrives(self, client: str, text: str, **more: Any) -> str:
        """A call of this client. Its id is the client's name and a number."""
        number = self.numbers[client] = self.numbers.get(client, 0) + 1
        call = f"{client}{number}"
        more.setdefault("history", tuple(self.histories.get(client, ())))
        more.setdefault("rules", self.rules)
        who = more.pop("who", "curl" if self.same_look else client)
        self.held[call] = self.said[call] = (client, text)
        self.step(arrival(call, who, text, **more))
        return call

    def gone(self, call: str) -> None:
        """The client hung up."""
        self.held.pop(call, None)
        self.step(Gone(call))

    def delivered(self, call: str) -> None:
        self.step(Delivered(call))

    def failed(self, call: str) -> None:
        """What was sent did not arrive, or not whole. So the client does not remember it."""
        self.held.pop(call, None)
        self.step(Failed(call))

    def released(self, call: str) -> None:
        """The operator pressed Resume."""
        self.held.pop(call, None)
        self.step(Released(call))

    def answers(self, call: str, text: str) -> None:
        """The operator answers this call."""
        self.step(Answered(self.prompt_of(call), by_operator(text)))

    def prompt_of(self, call: str) -> str:
        """The prompt that this call says; none for one that says none, or does no longer."""
        found = (one.prompt for one in self.state.prompts if any(live.call == call for live in one.calls))
        return next(found, "none")

    def lets_pass(self, call: str) -> None:
        """The operator wants the real service to answer this call."""
        self.step(Passed(self.prompt_of(call)))

    def takes_over(self) -> None:
        """The operator is there from now on."""
        self.step(TakenOver("commands"))

    def gives_back(self) -> None:
        """The operator goes."""
        self.step(GivenBack())

    def restarts(self) -> None:
        self.held.clear()
        self.step(Restarted())

    def closes(self) -> None:
        """The operator ends the session."""
        self.step(Close())

    def passes(self, seconds: float) -> None:
        """Time passes, with one tick at the end, which must come to the same as a tick whenever one is due."""
        end, state = self.now + seconds, self.state
        commands: list[Command] = []
        while (due := next_due(state)) is not None and due <= end:
            state, more = step(state, Tick(), due)
            check_state(state, due)
            commands += more
        assert step(self.state, Tick(), end) == (state, tuple(commands))
        self.now = end
        self.step(Tick())

    def step(self, event: Event) -> None:
        self.state, commands = step(self.state, event, self.now)
        for command in commands:
            assert self.held.pop(command.call, None), f"{line(command)}: it has ended before"
        self.pending += commands
        check_state(self.state, self.now)

    # What is to be done

    def sends(self, *lines: str) -> None:
        """Exactly this has been done since the last look; nothing has arrived yet."""
        commands, self.pending = self.pending, []
        assert [line(command) for command in commands] == list(lines)

    def expects(self, *lines: str) -> None:
        """Exactly this has been done since the last look, and arrives."""
        commands = list(self.pending)
        self.sends(*lines)
        for command in commands:
            client, text = self.said[command.call]
            if client in self.histories and not isinstance(command, SendError | PassThrough | FallBack):
                self.histories[client] += [text, _reply_of(command)]
            if isinstance(command, SendPrompt | SendAnswer):
                self.delivered(command.call)
        assert not self.pending, "a delivery says nothing"

    def reviews(self) -> None:
        """``A`` listens, and ``B``'s first prompt ``q1`` is shown to it, with its draft ``d1``."""
        self.arrives("A", "ping")
        self.expects()
        self.arrives("B", "q1", draft=draft("d1"))
        self.expects("A1 is shown: q1")

    def pairs(self) -> None:
        """``A`` listens, ``B``'s first prompt ``q1`` is shown to it, and it owes the answer."""
        self.arrives("A", "ping")
        self.expects()
        self.arrives("B", "q1")
        self.expects("A1 is shown: q1")


def _reply_of(command: SendPrompt | SendAnswer | SendNotice) -> str:
    match command:
        case SendPrompt(_, prompt):
            return text_of(prompt.words)
        case SendAnswer(_, _, answer):
            return text_of(answer.parts) if answer.reply is None else answer.digest
        case SendNotice(_, kind):
            return f"({kind})"
