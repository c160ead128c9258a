"""Proposals: which matches take an agent's calls, and that each takes the call that it was made from."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motive_core.config import Match
from motive_core.routing import CallFacts, Proposal, propose, takes
from tests.core.strategies import EXACT
from tests.core.test_routing import facts, say

SHARED = "You are a helpful assistant."


def told(system: str, **fields: Any) -> CallFacts:
    return facts(say("system", system), say("user", "hi"), **fields)


def by_label(call: CallFacts, *recent: CallFacts) -> dict[str, Proposal]:
    return {one.label: one for one in propose(call, recent)}


def test_the_closest_comes_first() -> None:
    call = told(
        "You are the troll.\nGuard the bridge.",
        listener="forward",
        host="API.example.com",
        port=443,
        headers={"user-agent": "game/1.0 (troll)", "x-agent-name": "Grok", "cookie": "secret"},
        credential="bearer:123456789abc",
    )
    where = {"listener": "forward", "host": "api.example.com"}
    assert [(one.label, one.session, one.match.model_dump(exclude_defaults=True)) for one in propose(call)] == [
        ("its system prompt", "you-are-the-troll", {**where, "system": r"You are the troll\."}),
        ("its x-agent-name header", "grok", {**where, "header": {"x-agent-name": "^Grok$"}}),
        ("its user-agent header", "game-1.0-troll", {**where, "header": {"user-agent": r"^game/1\.0 \(troll\)$"}}),
        ("its key", "bearer-123456789abc", {**where, "credential": "bearer:123456789abc"}),
        ("its model", "npc", {**where, "model": "npc"}),
        ("its address", "api.example.com-v1-chat-completions", {**where, "path": "/v1/chat/completions"}),
    ]


class TestPromptsThatBeginAlike:
    troll, baker = (
        f"{SHARED}\nToday is 2026-11-26.\nPlay the troll.",
        f"{SHARED}\nToday is 2026-11-26.\nPlay the baker.",
    )

    def test_a_line_that_others_lack(self) -> None:
        call, other = told(self.troll), told(self.baker)
        found = propose(call, [call, other])
        assert [one.label for one in found[:2]] == ["a line of its system prompt", "its system prompt"]
        assert found[0].session == "play-the-troll"
        assert takes(found[0].match, [call, other]) == [True, False]
        assert takes(found[1].match, [call, other]) == [True, True]

    def test_none_that_will_be_another_one_tomorrow(self) -> None:
        tomorrow = told(self.troll.replace("26", "27"))
        assert "a line of its system prompt" not in by_label(told(self.troll), tomorrow)

    def test_none_where_the_first_line_is_enough(self) -> None:
        others = [told("You are the baker."), told(""), told("You are the troll.")]
        assert "a line of its system prompt" not in by_label(told("You are the troll."), *others)

    def test_many_long_ones(self) -> None:
        lines = "\n".join(f"line {'x' * 900} {number}" for number in range(100))
        others = [told(f"{SHARED}\n{lines}\n{number}") for number in range(300)]
        call = told(f"{SHARED}\nPlay the troll.\n{lines}")
        assert by_label(call, *others)["a line of its system prompt"].session == "play-the-troll"


@pytest.mark.parametrize(
    ("host", "port", "named"),
    [
        ("[::1]", 443, "::1"),
        ("::1", 11434, "[::1]:11434"),
        ("127.0.0.1", 11434, "127.0.0.1:11434"),
        ("api.example.com", 80, "api.example.com"),
        ("a/b", 443, None),
        ("a@b", 443, None),
        ("", 443, None),
        ("*", 443, None),
    ],
)
def test_the_host(host: str, port: int, named: str | None) -> None:
    call = told(SHARED, listener="forward", host=host, port=port)
    assert {one.match.host for one in propose(call)} == {named}
    assert all(takes(one.match, [call]) == [True] for one in propose(call))


@pytest.mark.parametrize("model", ["a*b", "a?b", "[x]", "ft:gpt[1]*", "${x}", "npc@asker"])
def test_the_model(model: str) -> None:
    call = facts(model=model)
    proposal = by_label(call)["its model"]
    assert takes(proposal.match, [call, facts(model="other")]) == [True, False]


def test_what_no_match_can_say_is_left_out() -> None:
    call = facts(model="\ud800", path="", headers={"user-agent": "a\x00b", "x-title": "t" * 1000})
    assert propose(call) == []


TEXT = st.text(
    st.one_of(st.sampled_from("\\^$.|?*+()[]{}#&-~ \t\n\r\u2028\x85\ufeff\ud800é"), st.characters()), max_size=200
)


@given(system=TEXT, model=TEXT, agent=TEXT, path=TEXT, host=TEXT, others=st.lists(TEXT, max_size=3))
@EXACT
def test_each_takes_the_call_that_it_was_made_from(
    *, system: str, model: str, agent: str, path: str, host: str, others: list[str]
) -> None:
    fields: dict[str, Any] = {"model": model, "path": path, "listener": "forward", "host": host, "port": 443}
    call = told(system, headers={"user-agent": agent}, credential="sigv4:AKIA1234", **fields)
    found = propose(call, [call, *map(told, others)])
    assert "its key" in {one.label for one in found}
    for one in found:
        assert takes(one.match, [call]) == [True], one
        assert 0 < len(one.session) <= 40 and one.session.isprintable()
        assert Match.model_validate(one.match.model_dump(mode="json", exclude_defaults=True)) == one.match
