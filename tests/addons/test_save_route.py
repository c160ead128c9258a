"""A route that is written into the file while something else in it has changed, too."""

from __future__ import annotations

import logging

from motive_core.config import Match, Route
from tests.addons.flows import Proxy


async def test_all_that_the_file_says_by_then_is_in_force(proxy: Proxy) -> None:
    runtime = proxy.runtime
    path = runtime.config_file.path
    assert path is not None
    route = Route(name="troll", match=Match(system="troll"), session="troll")
    known = runtime.gateway.put_live(route)
    path.write_text("# mine\nlog: {level: warning}\n")
    assert runtime.gateway.save_live(known) == str(path)
    assert path.read_text().startswith("# mine\nlog: {level: warning}\n\nroutes:\n  - match:\n      system: troll\n")
    assert (runtime.config.routes[0], runtime.config.log.level) == (route, "warning")
    assert logging.getLogger("motive_core").level == logging.WARNING
    assert runtime.gateway.live() == ()
    assert runtime.config_file.poll() is None
