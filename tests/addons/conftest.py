"""The addon in mitmproxy's own test context."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.test import taddons

from motive_shell.addon import Motive
from motive_shell.logs import LOGGERS
from tests.addons.flows import CONFIG, Proxy


@pytest.fixture(autouse=True)
def _no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here leaves no file behind."""
    monkeypatch.setenv("MOTIVE_PROXY_STORE_KIND", "memory")


@pytest.fixture(autouse=True)
def _levels_as_before() -> Iterator[None]:
    """What a configuration says of logs is in force in the whole process, other tests' too."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [one.level for one in loggers]
    yield
    for one, level in zip(loggers, before, strict=True):
        one.setLevel(level)


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    addon = Motive()
    with taddons.context(Proxyserver(), addon) as context:
        context.configure(addon, motive_config=str(path))
        made = Proxy(addon, context)
        yield made
        made.runtime.gateway.shut_down()
