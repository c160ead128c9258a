"""Which faults a mock makes, in which calls; and that a run of one seed repeats."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from motive_core.errors import MotiveError
from motive_core.exchange import Severed, SeveredError
from motive_core.ir import Reply, TextPart
from motive_core.sources import Source
from tests.core.sources.mocked import asked, mock, reply_of, spoken, text_of


async def outcome(source: Source, **fields: Any) -> str:
    """What becomes of a call: the words of its reply, the status of its error, or what else."""
    try:
        answered = await source.answer(asked("hi", **fields))
    except MotiveError as error:
        return str(error.status)
    except SeveredError as severed:
        return "reset" if severed.reset else "end"
    if isinstance(answered, Reply):
        (part,) = answered.choices[0].parts
        assert isinstance(part, TextPart)
        return part.text
    return "cut" if Severed() in await spoken(answered) else "said"


async def outcomes(count: int, **settings: Any) -> list[str]:
    source = mock(text="ok", **settings)
    return [await outcome(source) for _ in range(count)]


class TestWhen:
    async def test_each_call(self) -> None:
        assert await outcomes(3, faults=[{"status": 503}]) == ["503"] * 3

    async def test_the_nth(self) -> None:
        assert await outcomes(4, faults=[{"nth": 2}]) == ["ok", "500", "ok", "ok"]
        assert await outcomes(4, faults=[{"nth": [1, 3], "kind": "reset"}]) == ["reset", "ok", "reset", "ok"]

    async def test_every_nth(self) -> None:
        assert await outcomes(6, faults=[{"every": 3, "kind": "cut"}]) == ["ok", "ok", "cut"] * 2

    async def test_by_chance(self) -> None:
        assert await outcomes(5, faults=[{"probability": 0}]) == ["ok"] * 5
        assert await outcomes(5, faults=[{"probability": 1}]) == ["500"] * 5
        some = await outcomes(400, faults=[{"probability": 0.25}], seed=1)
        assert 60 < some.count("500") < 140

    async def test_only_the_calls_that_it_takes_are_counted(self) -> None:
        source = mock(text="ok", faults=[{"nth": 2, "when": {"model": "x"}}])
        said = [await outcome(source, model=name) for name in ("x", "m", "m", "x", "x")]
        assert said == ["ok", "ok", "ok", "500", "ok"]

    async def test_the_first_of_two_counts_and_both_count_calls(self) -> None:
        said = await outcomes(4, faults=[{"status": 429, "nth": 1}, {"status": 503, "every": 2}, {"nth": 4}])
        assert said == ["429", "503", "ok", "503"]

    async def test_delays_add_up_and_hide_no_error(self) -> None:
        delay = {"kind": "delay", "duration_s": 0.02}
        began = asyncio.get_running_loop().time()
        assert await outcomes(1, faults=[delay, {"status": 429}, delay]) == ["429"]
        assert asyncio.get_running_loop().time() - began >= 0.04


class TestChance:
    async def test_a_run_repeats(self) -> None:
        faults = [{"probability": 0.3}, {"kind": "reset", "probability": 0.3}]
        first = await outcomes(60, faults=faults, seed=5)
        assert first == await outcomes(60, faults=faults, seed=5)
        assert first != await outcomes(60, faults=faults, seed=6)
        assert set(first) == {"ok", "500", "reset"}

    async def test_calls_at_once_change_nothing(self) -> None:
        settings: dict[str, Any] = {
            "faults": [{"probability": 0.4}, {"kind": "delay", "duration_s": 0.001, "probability": 0.5}],
            "seed": 9,
        }
        one_by_one = await outcomes(50, **settings)
        source = mock(text="ok", **settings)
        assert await asyncio.gather(*(outcome(source) for _ in range(50))) == one_by_one

    async def test_another_fault_does_not_change_the_chance_of_the_first(self) -> None:
        alone = await outcomes(40, faults=[{"probability": 0.5}], seed=2)
        both = await outcomes(40, faults=[{"probability": 0.5}, {"kind": "reset", "probability": 0.5}], seed=2)
        assert [one == "500" for one in alone] == [one == "500" for one in both]


class TestErrors:
    @pytest.mark.parametrize("status", [400, 408, 429, 500, 503, 529, 599])
    async def test_the_status(self, status: int) -> None:
        with pytest.raises(MotiveError) as raised:
            await mock(faults=[{"status": status}]).answer(asked("hi"))
        error = raised.value
        assert (error.status, error.code, error.retryable) == (status, "mock_fault", status != 400)
        assert str(status) in error.message

    async def test_its_words(self) -> None:
        fault = {"status": 429, "message": "Slow down.", "code": "rate_limit_exceeded", "retry_after_s": 7.5}
        with pytest.raises(MotiveError, match=r"Slow down\.") as raised:
            await mock(faults=[fault]).answer(asked("hi"))
        assert (raised.value.code, raised.value.retry_after_s) == ("rate_limit_exceeded", 7.5)

    async def test_an_error_takes_no_turn_of_a_list(self) -> None:
        source = mock(texts=["a", "b"], faults=[{"nth": [1, 3]}, {"nth": 4, "kind": "reset"}])
        assert [await outcome(source) for _ in range(5)] == ["500", "a", "500", "reset", "b"]

    async def test_n_counts_them(self) -> None:
        source = mock(template="{n}", faults=[{"nth": 1}])
        assert [await outcome(source) for _ in range(3)] == ["500", "2", "3"]


class TestStall:
    async def test_it_is_silent_and_goes_on(self) -> None:
        call, hushed = asked("hi"), []
        call.hush = lambda: hushed.append(True)
        source = mock(text="ok", faults=[{"kind": "stall", "duration_s": 0.01}])
        assert (await reply_of(source, call)).choices[0].parts == (TextPart("ok"),)
        assert hushed == [True]

    async def test_without_end(self) -> None:
        call, hushed = asked("hi"), asyncio.Event()
        call.hush = hushed.set
        answering = asyncio.ensure_future(mock(faults=[{"kind": "stall"}]).answer(call))
        await asyncio.wait_for(hushed.wait(), 5)
        done, _ = await asyncio.wait((answering,), timeout=0.02)
        assert not done
        answering.cancel()
        await asyncio.wait((answering,))


async def test_a_fault_that_has_no_place_leaves_the_reply() -> None:
    source = mock(text="ok", faults=[{"kind": "cut", "within": "tool_call"}])
    assert await text_of(source, "hi") == "ok"
