"""Gathered writes: the same bytes in the same order, in fewer pieces, and never too late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.test import taddons, tflow

from motive_shell.fast_writes import GatheringWriter, gather_writes


class Wire(asyncio.Transport):
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data))

    def write_eof(self) -> None:
        self.done.append("eof")

    def close(self) -> None:
        self.done.append("close")

    def is_closing(self) -> bool:
        return "close" in self.done


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.fixture
async def writer(wire: Wire) -> AsyncIterator[GatheringWriter]:
    loop = asyncio.get_running_loop()
    protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
    protocol.connection_made(wire)
    yield GatheringWriter(asyncio.StreamWriter(wire, protocol, None, loop))
    protocol.connection_lost(None)
    wire.close()


async def test_pieces_leave_together_when_the_loop_comes_round(writer: GatheringWriter, wire: Wire) -> None:
    writer.write(b"head ")
    writer.write(b"body")
    assert wire.done == []
    await asyncio.sleep(0)
    assert wire.done == [b"head body"]
    writer.write(b"next")
    await asyncio.sleep(0)
    assert wire.done == [b"head body", b"next"]


async def test_nothing_is_sent_twice_or_without_need(writer: GatheringWriter, wire: Wire) -> None:
    writer.write(b"all")
    await writer.drain()
    assert wire.done == [b"all"]
    await writer.drain()
    await asyncio.sleep(0)
    assert wire.done == [b"all"]


async def test_the_end_comes_last(writer: GatheringWriter, wire: Wire) -> None:
    writer.write(b"head ")
    writer.write(b"body")
    writer.write_eof()
    assert wire.done == [b"head body", "eof"]
    writer.write(b"more")
    writer.close()
    assert wire.done == [b"head body", "eof", b"more", "close"]
    assert writer.is_closing()
    await asyncio.sleep(0)
    assert len(wire.done) == 4


async def test_only_a_live_tcp_connection_is_gathered() -> None:
    class Handler:
        def __init__(self) -> None:
            self.transports: dict[object, Io] = {}

    class Io:
        def __init__(self, writer: object) -> None:
            self.writer = writer

    proxyserver = Proxyserver()
    with taddons.context(proxyserver) as context:
        client, datagrams = tflow.tclient_conn(), tflow.tserver_conn()
        gather_writes(context.master, client, client)
        handler = Handler()
        proxyserver.connections[client.id] = handler  # type: ignore[assignment]
        loop, wire = asyncio.get_running_loop(), Wire()
        protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader())
        handler.transports[client] = Io(asyncio.StreamWriter(wire, protocol, None, loop))
        handler.transports[datagrams] = Io(proxyserver)
        gather_writes(context.master, client, client)
        gather_writes(context.master, client, datagrams)
        gather_writes(context.master, client, tflow.tserver_conn())
        assert isinstance(handler.transports[client].writer, GatheringWriter)
        assert handler.transports[datagrams].writer is proxyserver
        wire.close()
