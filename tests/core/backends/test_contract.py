"""What every store of sessions must do; each backend runs the same suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from motive_core.backends import Backend, MemoryBackend, open_sqlite
from motive_core.session import Session

ONE, TWO = Session(turns=1), Session(turns=2)


@pytest.fixture(params=["memory", "sqlite"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "memory":
        yield MemoryBackend()
        return
    store = open_sqlite(tmp_path / "store.sqlite", lambda: 0.0, 3600.0)
    yield store.backend
    store.close()


async def test_an_unknown_session_is_fresh(backend: Backend) -> None:
    stored = await backend.load("a")
    assert (stored.state, stored.version) == (Session(), 0)
    assert await backend.all() == {}


@pytest.mark.parametrize("lazy", [False, True])
async def test_what_is_swapped_in_is_loaded(backend: Backend, *, lazy: bool) -> None:
    assert await backend.swap("a", ONE, 0, lazy=lazy)
    stored = await backend.load("a")
    assert stored.state == ONE and stored.version != 0
    assert await backend.swap("a", TWO, stored.version, lazy=lazy)
    assert await backend.all() == {"a": TWO}
    assert await backend.count() == 1


async def test_the_slower_of_two_writers_is_refused(backend: Backend) -> None:
    assert await backend.swap("a", ONE, 0)
    version = (await backend.load("a")).version
    assert await backend.swap("a", TWO, version)
    assert not await backend.swap("a", ONE, version)
    assert not await backend.swap("a", ONE, 0)
    assert (await backend.load("a")).state == TWO


@pytest.mark.parametrize("lazy", [False, True])
async def test_a_fresh_state_removes_the_entry(backend: Backend, *, lazy: bool) -> None:
    assert await backend.swap("a", ONE, 0)
    assert await backend.swap("a", Session(), (await backend.load("a")).version, lazy=lazy)
    assert await backend.count() == 0 and await backend.all() == {}
    assert await backend.swap("a", Session(), 0)
    assert await backend.count() == 0


async def test_a_session_made_again_is_not_taken_for_the_old_one(backend: Backend) -> None:
    assert await backend.swap("a", ONE, 0)
    old = (await backend.load("a")).version
    assert await backend.swap("a", Session(), old)
    assert await backend.swap("a", ONE, 0)
    assert not await backend.swap("a", TWO, old)


async def test_all_is_well(backend: Backend) -> None:
    assert await backend.swap("a", ONE, 0, lazy=True)
    await backend.flush()
    assert backend.problem is None
