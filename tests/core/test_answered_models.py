"""Lists of models: the open sessions, and what sources answer at the meeting point."""

from __future__ import annotations

import pytest

from motive_core.config import Config
from motive_core.gateway import Gateway


@pytest.mark.parametrize(
    ("routes", "listed"),
    [
        ([{"answer": "mock"}], ("mock",)),
        ([{"match": {"model": "parrot"}, "answer": "mock"}, {"answer": "pair"}], ("parrot",)),
        ([{"match": {"model": "gpt-*"}, "answer": "mock"}], ()),
        ([{"match": {"listener": "forward"}, "answer": "mock"}], ()),
        ([{"match": {"listener": "reverse", "model": "a"}, "answer": "other"}, {"answer": "mock"}], ("a", "mock")),
        ([{"answer": "pair"}, {"answer": "reject"}], ()),
    ],
)
async def test_what_a_route_names(routes: list[dict[str, object]], listed: tuple[str, ...]) -> None:
    config = Config.model_validate({"sources": {"mock": {"kind": "mock"}, "other": {"kind": "mock"}}, "routes": routes})
    assert config.answered_models == listed
    gateway = Gateway(config)
    assert [one.model for one in await gateway._models()] == sorted(listed)
    await gateway.close()
