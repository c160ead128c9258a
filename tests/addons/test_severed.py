"""Flows whose connection a source ends: by the error upon which mitmproxy closes it, held or not."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client
from mitmproxy.flow import Error
from mitmproxy.test import taddons, tflow

from motive_shell.addon import Motive
from motive_shell.connections import Connections
from tests.addons.flows import Proxy

CONFIG = """
sources:
  reset: {kind: mock, faults: [{kind: reset}]}
  late: {kind: mock, faults: [{kind: delay, duration_s: 0.01}, {kind: reset}]}
  cut: {kind: mock, faults: [{kind: cut}]}
routes:
  - {match: {model: reset}, answer: reset}
  - {match: {model: late}, answer: late}
  - {match: {model: cut}, answer: cut}
"""


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


async def test_before_it_is_held(proxy: Proxy) -> None:
    flow = await proxy.call("hello", model="reset")
    assert not flow.intercepted and flow.response is None
    assert flow.error is not None and flow.error.msg == Error.KILLED_MESSAGE
    await proxy.addon.error(flow)
    assert len(proxy.runtime.holds) == 0 and len(proxy.runtime.gateway.held) == 0


async def test_while_it_is_held(proxy: Proxy) -> None:
    flow = await proxy.call("hello", model="late")
    assert flow.intercepted
    async with asyncio.timeout(5):
        await flow.wait_for_resume()
    assert flow.response is None and flow.error is not None and flow.error.msg == Error.KILLED_MESSAGE
    await proxy.addon.error(flow)
    assert len(proxy.runtime.holds) == 0 and len(proxy.runtime.gateway.held) == 0


async def test_where_nothing_can_be_streamed(proxy: Proxy) -> None:
    """The origin of this proxy does not serve: a part of a reply cannot be sent."""
    flow = await proxy.call("hello", model="cut")
    assert flow.error is not None and flow.response is None


class _Writer:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def get_extra_info(self, name: str) -> Any:
        return {"socket": self._sock}.get(name)


@pytest.mark.parametrize(("alpn", "reset"), [(None, True), (b"http/1.1", True), (b"h2", False)])
def test_a_connection_that_others_share_is_not_reset(alpn: bytes | None, reset: bool) -> None:
    connections = Connections(30.0)
    client: Client = tflow.tclient_conn()
    client.alpn = alpn
    connections.reset_at_end(client)  # of which nothing is known
    with socket.socket() as sock:
        connections._writers[client.id] = _Writer(sock)
        connections.reset_at_end(client)
        lingers, seconds = struct.unpack("ii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
    assert (bool(lingers), seconds) == (reset, 0)
