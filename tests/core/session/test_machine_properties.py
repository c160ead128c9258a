"""The session machine among rude clients, in any order of events: see ``world`` for what is checked after each step.

``MOTIVE_HYPOTHESIS_EXAMPLES`` sets the number of examples of a machine, for a long run with other random choices each
time.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from motive_core.session import Close, Delivered, Failed, Gone, Released
from tests.core.session.room import RULES, Room
from tests.core.session.world import Call, Client, World

_EXAMPLES: Final = int(os.environ.get("MOTIVE_HYPOTHESIS_EXAMPLES", "0"))

SETTINGS: Final = settings(
    max_examples=_EXAMPLES or 250,
    stateful_step_count=50,
    derandomize=not _EXAMPLES,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

RULES_BY_NAME: Final = {
    "waiting": RULES,
    "joined": Room(on_lost="pass", on_timeout="pass", can_pass=True, when_joined=True).rules,
    "strict": Room(on_lost="error", queue_limit=3, twins="queue").rules,
    "full": Room(on_lost="pass", can_pass=True, queue_limit=2, on_full="pass", hold_timeout_s=40.0).rules,
    "fallen": Room(
        on_lost="fallback", on_timeout="fallback", on_full="fallback", queue_limit=2, hold_timeout_s=40.0
    ).rules,
    "reviewed": Room(
        can_pass=True,
        when_joined=True,
        on_timeout="pass",
        on_lost="pass",
        on_full="pass",
        queue_limit=3,
        review_timeout_s=40.0,
    ).rules,
    "kept": Room(can_pass=True, on_timeout="pass", on_lost="pass", on_full="pass", review_timeout_s=120.0).rules,
    "short": Room(handshake_timeout_s=5.0, retry_window_s=2.0, turn_timeout_s=20.0).rules,
    "person": Room(on_idle="notice", can_pass=True).rules,
    "hasty": Room(hold_timeout_s=30.0, turn_timeout_s=15.0, rejoin_window_s=1.0).rules,
}
ASKING: Final = st.sampled_from(["waiting", "joined", "strict", "full", "short", "reviewed", "kept"])
ANSWERING: Final = st.sampled_from(["waiting", "person", "hasty"])
SECONDS: Final = st.sampled_from([0.0, 0.5, 1.0, 2.0, 10.0, 30.0, 60.0, 100.0, 299.0, 1000.0])
TEXT: Final = st.sampled_from(["", "", "go on"])
"""Nothing: words that nobody said before."""
REFUSED: Final = st.sampled_from(["", "", "", "no such tool"])
PICK: Final = st.integers(0, 1000)
SOMEBODY: Final = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 4])
"""Most often the same ones, so that they get somewhere."""


class Network(RuleBasedStateMachine):
    """What happens to calls, whoever makes them."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.words = 0

    def new_words(self) -> str:
        self.words += 1
        return f"w{self.words}"

    def in_flight(self) -> list[str]:
        return [name for name, call in self.world.calls.items() if call.in_flight]

    @precondition(lambda self: self.in_flight())
    @rule(pick=PICK, arrives=st.booleans())
    def a_reply_is_handed_over(self, pick: int, *, arrives: bool) -> None:
        calls = self.in_flight()
        self.world.delivers(calls[pick % len(calls)], arrives=arrives)

    @rule()
    def all_replies_arrive(self) -> None:
        for call in self.in_flight():
            self.world.delivers(call, arrives=True)

    @precondition(lambda self: self.in_flight())
    @rule(pick=PICK, arrived=st.booleans(), hung_up=st.booleans())
    def a_reply_fails(self, pick: int, *, arrived: bool, hung_up: bool) -> None:
        calls = self.in_flight()
        self.world.fails(calls[pick % len(calls)], arrived=arrived, event=Gone if hung_up else Failed)

    @precondition(lambda self: self.world.calls)
    @rule(pick=PICK, arrived=st.booleans())
    def a_reply_fails_after_all(self, pick: int, *, arrived: bool) -> None:
        told = [name for name, call in self.world.calls.items() if call.told]
        if told:
            self.world.fails(told[pick % len(told)], arrived=arrived)

    @precondition(lambda self: self.world.calls)
    @rule(pick=PICK)
    def a_client_hangs_up(self, pick: int) -> None:
        calls = [name for name, call in self.world.calls.items() if name in self.world.held or call.told]
        if calls:
            self.world.fails(calls[pick % len(calls)], arrived=False, event=Gone)

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.world.passes(seconds)

    @rule(what=st.sampled_from(["release", "release", "restart", "close", "unknown"]), pick=PICK)
    def the_operator_does_something(self, what: str, pick: int) -> None:
        match what:
            case "release":
                if calls := sorted(self.world.held):
                    self.world.releases(calls[pick % len(calls)])
            case "restart":
                self.world.restarts()
            case "close":
                self.world.apply(Close())
            case _:
                before = self.world.state
                self.world.apply((Delivered, Failed, Gone, Released)[pick % 4]("unknown"))
                assert self.world.state == before

    @rule(pick=PICK, passes=st.booleans())
    def the_operator_answers(self, pick: int, *, passes: bool) -> None:
        prompts = [one.prompt for one in self.world.state.prompts] or ["none"]
        prompt = prompts[pick % len(prompts)]
        if passes:
            self.world.operator_passes(prompt)
        else:
            self.world.operator_answers(prompt)

    @rule(stays=st.booleans())
    def the_operator_comes(self, *, stays: bool) -> None:
        if stays:
            self.world.operator_comes()
        else:
            self.world.operator_goes()

    def teardown(self) -> None:
        self.world.ends()


class RudeClients(Network):
    """Any number of clients that keep to nothing, with different fingerprints."""

    def __init__(self) -> None:
        super().__init__()
        self.apps = [
            Client("app", "app", asks=True),
            Client("agent", "agent", asks=True, remembers=True),
            Client("forwarded", "forwarded", role="asker"),
            Client("script", "script"),
        ]
        self.people = [
            Client("chat", "chat", remembers=True),
            Client("other chat", "other chat", remembers=True, keeps=True),
            Client("console", "console", role="answerer"),
            Client("curl", "curl"),
            Client("program", "program"),
        ]

    @rule(pick=SOMEBODY, rules=ASKING, calls=st.sampled_from([1, 1, 1, 2, 5]), text=TEXT)
    def an_app_asks(self, pick: int, rules: str, calls: int, text: str) -> None:
        app = self.apps[pick % len(self.apps)]
        for _ in range(calls):
            if self.world.may_say(app, joins=False):
                self.world.says(app, text or self.new_words(), rules=RULES_BY_NAME[rules])

    @precondition(lambda self: self.world.calls)
    @rule(pick=PICK, retry=st.booleans())
    def an_app_asks_again(self, pick: int, *, retry: bool) -> None:
        said = [call for call in self.world.calls.values() if call.client in self.apps and call.event.join == "no"]
        if said and self.may_repeat(call := said[-1 - pick % min(len(said), 6)]):
            self.world.says_again(call, retry=retry)

    @rule(pick=SOMEBODY, rules=ASKING)
    def an_app_says_a_join_word(self, pick: int, rules: str) -> None:
        app = self.apps[pick % len(self.apps)]
        if self.world.may_say(app, joins=True):
            self.world.says(app, "ping", rules=RULES_BY_NAME[rules])

    @rule(pick=SOMEBODY, rules=ANSWERING, times=st.sampled_from([1, 1, 3]))
    def somebody_joins(self, pick: int, rules: str, times: int) -> None:
        person = self.people[pick % len(self.people)]
        for _ in range(times):
            if self.world.may_say(person, joins=True):
                self.world.says(person, "ping", rules=RULES_BY_NAME[rules])

    @rule(pick=SOMEBODY, rules=ANSWERING, refused=REFUSED, times=st.sampled_from([1, 1, 2]))
    def somebody_speaks(self, pick: int, rules: str, refused: str, times: int) -> None:
        person = self.people[pick % len(self.people)]
        for _ in range(times):
            if self.world.may_say(person, joins=False):
                self.world.says(person, self.new_words(), rules=RULES_BY_NAME[rules], refused=refused)

    @rule(pick=SOMEBODY, rules=ANSWERING)
    def somebody_comes_after_a_while(self, pick: int, rules: str) -> None:
        self.world.passes(RULES.turn_timeout_s)
        self.somebody_speaks(pick, rules, "", 1)
        self.somebody_joins(pick, rules, 1)

    @precondition(lambda self: self.world.state.answerer)
    @rule(rules=ANSWERING, prefix=st.sampled_from(["", "", "", "/join "]))
    def the_answerer_speaks(self, rules: str, prefix: str) -> None:
        seat = self.world.state.answerer
        for person in (*self.people, *self.apps):
            if seat is not None and seat.who == person.who and self.world.may_say(person, joins=prefix != ""):
                self.world.says(person, prefix + self.new_words(), rules=RULES_BY_NAME[rules])

    @precondition(lambda self: self.world.state.owes)
    @rule(rules=ANSWERING)
    def the_answerer_reads_and_answers(self, rules: str) -> None:
        self.all_replies_arrive()
        self.the_answerer_speaks(rules, "")

    @precondition(lambda self: self.world.state.owes)
    @rule(rules=ANSWERING)
    def the_answerer_loses_its_prompt_and_goes_on(self, rules: str) -> None:
        for call in self.in_flight():
            self.world.delivers(call, arrives=self.world.calls[call].client in self.apps)
        self.the_answerer_speaks(rules, "")

    @rule(pick=SOMEBODY, asking=ASKING, text=TEXT, answering=ANSWERING, turns=st.integers(1, 3))
    def all_goes_well(self, pick: int, asking: str, text: str, answering: str, turns: int) -> None:
        for _ in range(turns):
            self.an_app_asks(pick, asking, 1, text)
            self.all_replies_arrive()
            self.the_answerer_speaks(answering, "")

    @rule(pick=SOMEBODY, rules=ANSWERING, wish=st.sampled_from(("/leave", "/pass", "/help")))
    def somebody_wants_something(self, pick: int, rules: str, wish: str) -> None:
        person = self.people[pick % len(self.people)]
        if self.world.may_say(person, joins=False):
            self.world.says(person, wish, rules=RULES_BY_NAME[rules])

    @rule(pick=SOMEBODY, rules=ANSWERING, retry=st.booleans())
    def somebody_repeats_itself(self, pick: int, rules: str, *, retry: bool) -> None:
        person = self.people[pick % len(self.people)]
        if person.last is not None and self.world.may_say(person, joins=person.last.join != "no"):
            self.world.says(person, person.last.digest, rules=RULES_BY_NAME[rules], retry=retry)

    @rule(pick=SOMEBODY)
    def somebody_reloads_its_page(self, pick: int) -> None:
        """A chat begins anew, or a person edits what it said: the end of its history is gone."""
        person = self.people[pick % len(self.people)]
        del person.history[len(person.history) // 2 // 2 * 2 :]

    def may_repeat(self, call: Call) -> bool:
        return self.world.may_say(call.client, joins=False)


class LookAlikes(Network):
    """Two clients with one fingerprint that join with a join word, take turns, and repeat themselves when cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.asker = Client("asker", "curl")
        self.answerer = Client("answerer", "curl")
        self.prompt = ""

    @rule(remembers=st.booleans())
    def memories_differ(self, *, remembers: bool) -> None:
        if not self.world.calls:
            self.asker.remembers = self.answerer.remembers = remembers

    def calls_of(self, client: Client) -> list[str]:
        return [name for name, call in self.world.calls.items() if call.client is client and name in self.world.held]

    @rule(rules=ANSWERING)
    def the_answerer_joins(self, rules: str) -> None:
        self.world.says(self.answerer, "ping", rules=RULES_BY_NAME[rules])

    @precondition(lambda self: self.world.state.owes and self.world.state.listening is None)
    @rule(rules=ANSWERING, reads=st.sampled_from([True, True, False]))
    def the_answerer_answers(self, rules: str, *, reads: bool) -> None:
        if reads:
            self.all_replies_arrive()
        self.world.says(self.answerer, self.new_words(), rules=RULES_BY_NAME[rules])

    @rule(asking=ASKING, answering=ANSWERING, turns=st.integers(1, 3))
    def all_goes_well(self, asking: str, answering: str, turns: int) -> None:
        for _ in range(turns):
            self.the_asker_asks(asking)
            if self.world.state.owes and self.world.state.listening is None:
                self.the_answerer_answers(answering, reads=True)

    @rule(rules=ASKING)
    def the_asker_asks(self, rules: str) -> None:
        state = self.world.state
        its_turn = not state.owes or state.listening is not None
        if its_turn and not self.calls_of(self.asker):
            self.prompt = self.new_words()
            self.world.says(self.asker, self.prompt, rules=RULES_BY_NAME[rules])

    @rule(rules=ASKING, retry=st.booleans())
    def the_asker_repeats_itself(self, rules: str, *, retry: bool) -> None:
        last = self.asker.last
        if last is not None and any(p.key == last.key and p.outcome is None for p in self.world.state.prompts):
            self.world.says(self.asker, self.prompt, rules=RULES_BY_NAME[rules], retry=retry)


TestRudeClients = RudeClients.TestCase
TestRudeClients.settings = SETTINGS
TestLookAlikes = LookAlikes.TestCase
TestLookAlikes.settings = SETTINGS
