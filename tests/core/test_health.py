"""What ``/health`` tells, and since when."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from motive_core.gateway import Gateway
from motive_core.health import Health
from tests.core.test_gateway import Client, Clock, config


def test_since_when_something_is_wrong() -> None:
    clock = Clock()
    health, wrong = Health(clock), list[str]()
    health.watch("store", lambda: wrong[0] if wrong else None)
    assert health.told() == []
    wrong.append("disk full")
    clock.now += 5
    health.look()
    clock.now += 7
    assert health.told() == [{"what": "store", "why": "disk full", "for_s": 7.0}]
    wrong.clear()
    assert health.told() == []
    wrong.append("disk full again")
    assert health.told() == [{"what": "store", "why": "disk full again", "for_s": 0.0}]


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway(config(limits={"max_held": 10, "max_sessions": 100}), clock=Clock())
    yield made
    made.shut_down()


async def test_all_is_well(gateway: Gateway) -> None:
    told = await gateway.health()
    assert (told["status"], told["reasons"], told["held"], told["max_held"]) == ("ok", [], 0, 10)


async def test_near_a_limit(gateway: Gateway) -> None:
    for number in range(9):
        await Client(gateway, "game").say("hello", f"npc-{number}")
    told = await gateway.health()
    assert (told["status"], told["held"], told["sessions"]) == ("degraded", 9, 9)
    (reason,) = told["reasons"]
    assert reason["what"] == "held" and "9 held calls of 10" in reason["why"]
    gateway.configure(config(limits={"max_held": 1000, "max_sessions": 10}))
    (reason,) = (await gateway.health())["reasons"]
    assert reason["what"] == "sessions" and "9 sessions of 10" in reason["why"]


async def test_closing_comes_first(gateway: Gateway) -> None:
    gateway.health_checks.watch("store", lambda: "disk full")
    assert (await gateway.health())["status"] == "degraded"
    gateway.shut_down()
    told = await gateway.health()
    assert told["status"] == "closing" and [one["what"] for one in told["reasons"]] == ["store"]
