"""What every store of sessions must do; each backend runs the same suite."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from motive_core.backends import Backend, MemoryBackend
from motive_core.session import Session

BACKENDS: list[Callable[[], Backend]] = [MemoryBackend]
ONE, TWO = Session(turns=1), Session(turns=2)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    made = request.param()
    assert isinstance(made, MemoryBackend)
    return made


async def test_an_unknown_session_is_fresh(backend: Backend) -> None:
    stored = await backend.load("a")
    assert (stored.state, stored.version) == (Session(), 0)
    assert await backend.all() == {}


async def test_what_is_swapped_in_is_loaded(backend: Backend) -> None:
    assert await backend.swap("a", ONE, 0)
    stored = await backend.load("a")
    assert stored.state == ONE and stored.version != 0
    assert await backend.swap("a", TWO, stored.version)
    assert await backend.all() == {"a": TWO}
    assert await backend.count() == 1


async def test_the_slower_of_two_writers_is_refused(backend: Backend) -> None:
    assert await backend.swap("a", ONE, 0)
    version = (await backend.load("a")).version
    assert await backend.swap("a", TWO, version)
    assert not await backend.swap("a", ONE, version)
    assert not await backend.swap("a", ONE, 0)
    assert (await backend.load("a")).state == TWO


async def test_a_fresh_state_removes_the_entry(backend: Backend) -> None:
    assert await backend.swap("a", ONE, 0)
    assert await backend.swap("a", Session(), (await backend.load("a")).version)
    assert await backend.count() == 0 and await backend.all() == {}


async def test_a_session_made_again_is_not_taken_for_the_old_one(backend: Backend) -> None:
    assert await backend.swap("a", ONE, 0)
    old = (await backend.load("a")).version
    assert await backend.swap("a", Session(), old)
    assert await backend.swap("a", ONE, 0)
    assert not await backend.swap("a", TWO, old)
