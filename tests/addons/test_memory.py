"""Memory that is given back: garbage in cycles is collected, but not while many would wait for it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any, cast

import pytest
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.test import taddons

from motive_shell.addon import Motive
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


@pytest.fixture
def nothing_kept() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("connections", [0, 1])
async def test_what_was_loaded_is_not_looked_at(connections: int) -> None:
    """But for what belongs to clients, who may come while the proxy starts, or even before."""
    addon, proxyserver = Motive(), Proxyserver()
    proxyserver.connections = cast(Any, dict.fromkeys(map(str, range(connections))))
    with taddons.context(proxyserver, addon) as context:
        context.configure(addon)
        runtime = Proxy(addon, context).runtime
        assert (gc.get_freeze_count() > 10_000) == (connections == 0)
        ended = Ended()
        kept = gc.get_freeze_count()
        await runtime.start()
        assert gc.get_freeze_count() <= kept
        assert any(one is ended for one in gc.get_objects())
        runtime.gateway.shut_down()
        await runtime.stop()
