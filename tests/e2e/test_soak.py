"""The soak, short: rude clients in all dialects for half a minute, and a proxy that is killed twice meanwhile.

``python -m bench.soak`` is the long one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.soak.run import Plan, Soak

SEED = 4
_MEMORY = "memory: "


@pytest.mark.timeout(240)
async def test_every_word_arrives_once_and_nothing_is_left(tmp_path: Path) -> None:
    said: list[str] = []
    plan = Plan(minutes=0.3, sessions=24, seed=SEED, warm_up_s=5.0, think_s=0.4, kills=2)
    outcome = await Soak(plan, tmp_path, said.append).run()
    assert outcome.faults == [], said
    # So short a warm-up says nothing of memory.
    assert [one for one in outcome.left if not one.startswith(_MEMORY)] == [], said
    assert outcome.kills == 1 + 2  # the one in the warm-up
    assert outcome.turns > 100
    assert outcome.counts["lost calls"] > 50
