"""What the tests of several sources need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.core.sources.bedrock_agents import Agents, asking
from tests.e2e.bedrock_agent_service import BedrockAgentService


@pytest.fixture
def agent() -> Iterator[BedrockAgentService]:
    with BedrockAgentService() as service:
        yield service
    assert service.refused == []


@pytest.fixture
async def agents(agent: BedrockAgentService, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Agents]:
    async with asking(agent, monkeypatch) as app:
        yield app
