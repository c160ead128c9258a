"""The feed: what changed, in order, and how far back."""

from __future__ import annotations

import asyncio

from motive_core.console.feed import Feed


def test_each_thing_is_told_once_in_the_order_of_its_last_change() -> None:
    feed = Feed("e")
    for name in ("a", "b", "a", "c"):
        feed.touch("session", name)
    feed.touch("call", "a")
    assert feed.since(0) == [("session", "b"), ("session", "a"), ("session", "c"), ("call", "a")]
    assert feed.since(4) == [("call", "a")]
    assert feed.since(5) == []


def test_who_missed_too_much_or_comes_from_elsewhere_starts_anew() -> None:
    feed = Feed("e", most=3)
    for number in range(5):
        feed.touch("call", str(number))
    assert feed.since(1) is None
    assert feed.since(2) == [("call", "2"), ("call", "3"), ("call", "4")]
    assert feed.since(6) is None


async def test_who_waits_is_woken_by_a_change_and_by_the_end() -> None:
    feed = Feed("e")
    assert not await feed.changed(0, 0.001)
    waiting = asyncio.create_task(feed.changed(0, 10))
    await asyncio.sleep(0)
    feed.touch("call", "a")
    assert await waiting
    assert await feed.changed(0, 10)
    waiting = asyncio.create_task(feed.changed(1, 10))
    await asyncio.sleep(0)
    feed.close()
    assert await waiting
    assert feed.closed
