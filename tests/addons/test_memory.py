"""Memory that is given back: garbage in cycles is collected, but not while many would wait for it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from motive_shell.runtime import give_memory_back
from tests.addons.flows import Proxy


class Ended:
    """A call that ended: its parts refer to each other."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()
    gc.collect()


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize(("busy", "is_kept"), [(0, False), (100, False), (101, True), (10_000, True)])
def test_what_ended_is_collected_in_quiet_times(busy: int, *, is_kept: bool) -> None:
    ended = weakref.ref(Ended())
    give_memory_back(busy)
    assert (ended() is not None) == is_kept


async def test_what_is_there_from_the_start_is_not_looked_at(proxy: Proxy) -> None:
    gc.unfreeze()
    await proxy.runtime.start()
    try:
        assert gc.get_freeze_count() > 10_000
        assert not any(one is proxy.runtime for one in gc.get_objects())
    finally:
        await proxy.runtime.stop()
        gc.unfreeze()
