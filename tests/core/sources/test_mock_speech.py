"""How a mock says a reply: in words, at a pace that a seed decides, with faults at their places."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from motive_core.dialects import DIALECTS
from motive_core.exchange import Garbage, Severed
from motive_core.ir import Choice, ReasoningPart, Reply, TextPart, ToolCallPart, Usage
from motive_core.sources.mock_calls import facts_of
from motive_core.sources.mock_settings import MockFault, MockPace
from motive_core.sources.mock_speech import Script, Stall, Waits, pieces, scripted, spoken
from motive_core.stream import Failed, Finished, PartDelta, Started, collect
from tests.core.sources.mocked import asked

CALL = ToolCallPart("c1", "f", '{"city": "Rome"}')
REPLY = Reply(
    "",
    "",
    (Choice((ReasoningPart("Let me see."), TextPart("One two three"), CALL), "tool_calls"),),
    Usage(3, 9, reasoning_tokens=3),
)


def script_of(
    reply: Reply = REPLY,
    *,
    number: int = 1,
    seed: int = 0,
    dialect: str = "openai-chat",
    fault: Any = None,
    **pace: Any,
) -> Script:
    call = asked("hi", dialect=dialect, stream=True)
    waits = Waits(MockPace(**pace), facts_of(call.request, number, seed))
    return scripted(reply, waits, MockFault(**fault) if fault is not None else None, call.request)


def waits_of(script: Script) -> list[float]:
    return [step.wait_s for step in script.steps if isinstance(step.said, PartDelta)]


def said_before(script: Script, kind: type) -> list[str]:
    """The deltas before what is said of this kind."""
    place = next(place for place, step in enumerate(script.steps) if isinstance(step.said, kind))
    return [step.said.text for step in script.steps[:place] if isinstance(step.said, PartDelta)]


@pytest.mark.parametrize(
    "text", ["", " ", "a", "\n\n", "one two  three\n", "x" * 100, "日本語" * 30, "Grüße,\n\n\tdef f()"]
)
def test_words_join_to_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert all(len(piece.strip()) <= 24 for piece in pieces(text))


@pytest.mark.parametrize("text", ["a " * 10**6, "a" * 10**6, " " * 10**6])
def test_a_long_text_is_said_in_few_pieces(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert len(pieces(text)) <= 5000
    script = script_of(Reply("", "", (Choice((ToolCallPart("c", "f", text),)),)))
    assert len(script.steps) <= 5010


def test_what_is_said_is_the_reply() -> None:
    said = [step.said for step in script_of().steps if not isinstance(step.said, Garbage | Severed | Stall)]
    assert collect(said) == REPLY
    assert isinstance(said[0], Started) and said[0].usage is not None and said[0].usage.input_tokens == 3
    assert [one.text for one in said if isinstance(one, PartDelta)] == [
        *("Let", " me", " see.", "One", " two", " three"),
        *('{"ci', 'ty":', ' "Ro', 'me"}'),
    ]


class TestPace:
    def test_without_one_all_is_said_at_once(self) -> None:
        script = script_of()
        assert script.is_at_once and script.first_s == 0

    def test_a_token_is_four_characters(self) -> None:
        script = script_of(
            Reply("", "", (Choice((TextPart("One twoooooo three"),)),)), tokens_per_s=10, first_token_ms=250
        )
        assert script.first_s == 0.25 and not script.is_at_once
        assert waits_of(script) == pytest.approx([0, 0.225, 0.15])

    def test_the_first_words_alone_may_take_time(self) -> None:
        script = script_of(first_token_ms=50)
        assert script.first_s == 0.05 and script.is_at_once

    def test_jitter_keeps_within_its_share_and_repeats(self) -> None:
        plain = script_of(tokens_per_s=10, first_token_ms=100)
        script = script_of(tokens_per_s=10, first_token_ms=100, jitter=0.5, seed=7)
        assert script == script_of(tokens_per_s=10, first_token_ms=100, jitter=0.5, seed=7)
        assert script != script_of(tokens_per_s=10, first_token_ms=100, jitter=0.5, seed=8)
        assert script != script_of(tokens_per_s=10, first_token_ms=100, jitter=0.5, seed=7, number=2)
        pairs = list(zip(waits_of(script), waits_of(plain), strict=True))
        assert all(0.5 * exact <= wait <= 1.5 * exact for wait, exact in pairs)
        assert len({wait / exact for wait, exact in pairs if exact}) > 5
        assert 0.05 <= script.first_s <= 0.15

    async def test_it_is_kept(self) -> None:
        script = script_of(Reply("", "", (Choice((TextPart("aaa bbb ccc ddd"),)),)), tokens_per_s=100)
        began = time.monotonic()
        said = [event async for batch in spoken(script, lambda: None) for event in batch]
        assert time.monotonic() - began >= sum(waits_of(script)) == pytest.approx(0.03)
        assert said == [step.said for step in script.steps]

    async def test_what_is_due_does_not_wait_for_the_rest(self) -> None:
        script = script_of(Reply("", "", (Choice((TextPart("aaa bbb"),)),)), tokens_per_s=0.001)
        events = spoken(script, lambda: None)
        said = await anext(events)
        assert isinstance(said[-1], PartDelta) and said[-1].text == "aaa"
        await events.aclose()


class TestFaultsWithin:
    @pytest.mark.parametrize(
        ("fault", "before"),
        [
            ({"kind": "cut"}, 5),
            ({"kind": "cut", "after_events": 0}, 0),
            ({"kind": "cut", "after_events": 1}, 1),
            ({"kind": "cut", "after_events": 99}, 10),
            ({"kind": "cut", "within": "reasoning"}, 1),
            ({"kind": "cut", "within": "text"}, 4),
            ({"kind": "cut", "within": "tool_call"}, 8),
            ({"kind": "cut", "within": "tool_call", "after_events": 0}, 6),
            ({"kind": "cut", "within": "tool_call", "after_events": 3}, 9),
            ({"kind": "cut", "within": "text", "after_events": 99}, 6),
            ({"kind": "reset", "after_events": 2}, 2),
        ],
    )
    def test_the_place_of_a_cut(self, fault: dict[str, Any], before: int) -> None:
        script = script_of(fault=fault)
        assert len(said_before(script, Severed)) == before
        assert script.steps[-1].said == Severed(fault["kind"] == "reset")
        assert not script.is_at_once

    def test_a_short_tool_call_is_cut_in_the_middle(self) -> None:
        reply = Reply("", "", (Choice((ToolCallPart("c", "f", "{}"),), "tool_calls"),))
        assert said_before(script_of(reply, fault={"kind": "cut", "within": "tool_call"}), Severed) == ["{"]

    def test_what_is_not_said_is_not_cut(self) -> None:
        reply = Reply("", "", (Choice((TextPart("a b"),)),))
        assert script_of(reply, fault={"kind": "cut", "within": "tool_call"}).is_at_once

    def test_an_empty_reply_is_cut_after_its_start(self) -> None:
        script = script_of(Reply("", "", (Choice((TextPart(""),)),)), fault={"kind": "cut"})
        assert [type(step.said) for step in script.steps] == [Started, Severed]

    def test_an_error_ends_it(self) -> None:
        script = script_of(fault={"status": 529, "after_events": 1})
        last = script.steps[-1].said
        assert said_before(script, Failed) == ["Let"]
        assert isinstance(last, Failed) and (last.error.status, last.error.code) == (529, "mock_fault")

    @pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
    def test_a_malformed_frame_stands_among_the_others(self, dialect: Any) -> None:
        script = script_of(fault={"kind": "malformed", "after_events": 2}, dialect=dialect.name)
        (garbage,) = [step.said for step in script.steps if isinstance(step.said, Garbage)]
        assert len(said_before(script, Garbage)) == 2 and isinstance(script.steps[-1].said, Finished)
        call = asked("hi", dialect=dialect.name, stream=True)
        encoder, decoder = dialect.encoder(call.request), dialect.decoder()
        events = []
        with pytest.raises(Exception, match=r"\w"):
            for step in script.steps:
                assert not isinstance(step.said, Severed | Stall)
                data = garbage.data if isinstance(step.said, Garbage) else encoder.encode(step.said)
                events += decoder.feed(data)
            collect([*events, *decoder.close()])

    def test_ones_own_bytes(self) -> None:
        script = script_of(fault={"kind": "malformed", "data": "data: ü\n\n"})
        assert Garbage("data: ü\n\n".encode()) in [step.said for step in script.steps]

    async def test_a_stall_falls_silent_and_goes_on(self) -> None:
        silent: list[int] = []
        script = script_of(fault={"kind": "stall", "after_events": 3, "duration_s": 0.01})
        heard: list[int] = []
        events = spoken(script, lambda: silent.append(len(heard)))
        heard.append(len(await anext(events)))
        heard.append(len(await anext(events)))
        assert silent == [1] and await anext(events, None) is None

    async def test_a_stall_without_end(self) -> None:
        script = script_of(fault={"kind": "stall", "within": "tool_call"})
        silent = asyncio.Event()
        events = spoken(script, silent.set)
        said = await anext(events)
        assert isinstance(said[-1], PartDelta)
        following = asyncio.ensure_future(anext(events))
        await asyncio.wait_for(silent.wait(), 5)
        assert not following.done()
        following.cancel()
        await asyncio.wait((following,))
        await events.aclose()
