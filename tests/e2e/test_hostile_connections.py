"""Connections that mean harm: that say nothing, never come to an end, come by the thousands, or do not read.

Whatever they do, others are served meanwhile, and what they took is free afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.clients import PATHS, Link, http_client
from tests.e2e.conftest import StartProxy
from tests.e2e.proxy import DEADLINE_S, POLL_S, Proxy
from tests.e2e.standin import Received, Standin, Writer
from tests.e2e.wire import RawClient, chat, request

SLOW: Final = 200
BURST: Final = 10_000
BATCH: Final = 1000
BURST_S: Final = 90.0
MIB: Final = 1024 * 1024
HEAD_S: Final = 1.0
_SPARE_FILES: Final = 500
_HEAD: Final = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: "


def descriptors(proxy: Proxy) -> int:
    """How many files and sockets the process has open."""
    return sum(1 for _ in Path(f"/proc/{proxy.process.pid}/fd").iterdir())


def resident_bytes(proxy: Proxy) -> int:
    """Memory of the process that is in RAM."""
    lines = Path(f"/proc/{proxy.process.pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def check_health(proxy: Proxy) -> None:
    """It still answers."""
    with RawClient(proxy.meeting_address) as client:
        assert client.ask(request("GET", "/health")).status == 200


pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


# Slow and silent


def wait_for_ends(sockets: list[socket.socket], drip: bytes = b"") -> list[bytes]:
    """Wait until the other side has ended each of these, and send it a byte now and then. Gives what it said."""
    said = [b""] * len(sockets)
    open_ones = dict(enumerate(sockets))
    limit = time.monotonic() + DEADLINE_S
    while open_ones:
        assert time.monotonic() < limit, f"{len(open_ones)} connections are still open"
        for number, one in list(open_ones.items()):
            one.settimeout(0)
            try:
                if drip:
                    one.send(drip)
                while data := one.recv(65536):
                    said[number] += data
            except BlockingIOError:
                continue
            except OSError:
                pass
            del open_ones[number]
        time.sleep(POLL_S)
    return said


@contextlib.contextmanager
def connected(proxy: Proxy, count: int, *, forward: bool = False) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        address = proxy.forward_address if forward else proxy.meeting_address
        yield [stack.enter_context(socket.create_connection(address, DEADLINE_S)) for _ in range(count)]


@pytest.mark.parametrize("listener", ["meeting point", "forward proxy"])
def test_heads_that_never_end_are_cut_and_others_are_served(start_proxy: StartProxy, listener: str) -> None:
    proxy = start_proxy(config={"timing": {"head_timeout_s": HEAD_S}})
    before = descriptors(proxy)
    with connected(proxy, SLOW, forward=listener == "forward proxy") as sockets:
        for one in sockets:
            one.sendall(_HEAD)
        check_health(proxy)
        said = wait_for_ends(sockets, drip=b"x")
    # A reset may overtake the reply: who sends on when it is refused does not always hear why.
    assert any(one.startswith(b"HTTP/1.1 408 ") for one in said), said[:3]
    assert all(one == b"" or one.startswith(b"HTTP/1.1 408 ") for one in said), said[:3]
    check_health(proxy)
    proxy.wait_for(lambda: descriptors(proxy) <= before, "descriptors are left")


def test_silent_connections_are_cut(start_proxy: StartProxy) -> None:
    """Even those that begin with a piece of TLS, or of HTTP/2."""
    proxy = start_proxy(config={"timing": {"head_timeout_s": HEAD_S}})
    before = descriptors(proxy)
    with connected(proxy, SLOW) as sockets:
        for number, one in enumerate(sockets):
            one.sendall((b"", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"P")[number % 4])
        check_health(proxy)
        wait_for_ends(sockets)
    proxy.wait_for(lambda: descriptors(proxy) <= before, "descriptors are left")


def test_a_second_head_may_be_no_slower(start_proxy: StartProxy) -> None:
    proxy = start_proxy(config={"timing": {"head_timeout_s": HEAD_S}})
    with RawClient(proxy.meeting_address) as client:
        assert client.ask(request("GET", "/health")).status == 200
        client.send(_HEAD)
        reply = client.reply()
    assert (reply.status, reply.header("connection")) == (408, "close")
    assert reply.json()["error"]["message"]


async def test_a_held_call_outlives_the_time_for_its_head(start_proxy: StartProxy, session: str) -> None:
    """A head in two pieces starts a clock; what comes after it is no head, however long it takes."""
    proxy = start_proxy(config={"timing": {"head_timeout_s": HEAD_S}})
    sent = request(body=chat(session))
    with RawClient(proxy.meeting_address) as client:
        client.send(sent[:30])
        await asyncio.sleep(HEAD_S / 4)
        client.send(sent[30:-9])
        await asyncio.sleep(HEAD_S)
        client.send(sent[-9:])
        await proxy.until_held(session)
        await asyncio.sleep(HEAD_S)
        await proxy.close_session(session)
        assert (await asyncio.to_thread(client.reply)).status == 503
        # An idle connection may be used again.
        await asyncio.sleep(HEAD_S)
        assert (await asyncio.to_thread(client.ask, request("GET", "/health"))).status == 200


# Too large


@pytest.mark.parametrize("path", ["/health", "/v1/models"])
@pytest.mark.parametrize(
    "lines",
    [[f"X-Long: {'x' * 65_536}"], [f"X-{number}: y" for number in range(10_000)], ["X-Same: y"] * 10_000],
    ids=["64 kB", "10,000 fields", "10,000 of one name"],
)
def test_large_heads_are_read(proxy: Proxy, path: str, lines: list[str]) -> None:
    with RawClient(proxy.meeting_address) as client:
        assert client.ask(request("GET", path, *lines)).status == 200


def test_a_head_without_end_is_refused(start_proxy: StartProxy) -> None:
    """Before it has taken much memory, whatever it is made of."""
    proxy = start_proxy(config={})
    before = resident_bytes(proxy)
    for piece in (b"x" * 65_536, b"X-A: b\r\n" * 8192, b"\r\n x" * 16_384):
        with RawClient(proxy.meeting_address) as client:
            client.send(_HEAD)
            with contextlib.suppress(ConnectionError):
                for _ in range(1600):  # a hundred MiB
                    client.send(piece)
                raise AssertionError("all of it was taken")
            with contextlib.suppress(ConnectionResetError):
                said = client.rest()
                assert said == b"" or said.startswith(b"HTTP/1.1 431 "), said
    check_health(proxy)
    assert resident_bytes(proxy) < before + 50 * MIB


async def test_what_is_sent_while_a_call_is_held_is_bounded(start_proxy: StartProxy, session: str) -> None:
    proxy = start_proxy(config={})
    before = resident_bytes(proxy)
    with RawClient(proxy.meeting_address) as client:
        client.send(request(body=chat(session)))
        await proxy.until_held(session)

        def flood() -> None:
            piece = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2048
            for _ in range(200 * MIB // len(piece)):
                client.send(piece)

        with pytest.raises(ConnectionError):
            await asyncio.to_thread(flood)
    await proxy.until_held(session, 0)
    assert resident_bytes(proxy) < before + 150 * MIB


# Very many


@pytest.mark.timeout(240)
def test_ten_thousand_connects_in_a_burst(start_proxy: StartProxy) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < BURST + _SPARE_FILES:
        pytest.skip(f"a process may open {hard} files only")
    # Low for the proxy, which is to raise it by itself; high for this process.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        proxy = start_proxy(config={"timing": {"head_timeout_s": 600}})
        resource.setrlimit(resource.RLIMIT_NOFILE, (BURST + _SPARE_FILES, hard))
        before = descriptors(proxy)
        with contextlib.ExitStack() as stack:
            for _ in range(BURST // BATCH):
                batch = [stack.enter_context(socket.socket()) for _ in range(BATCH)]
                for one in batch:
                    one.settimeout(0)
                    with contextlib.suppress(BlockingIOError):
                        one.connect(proxy.meeting_address)
            proxy.wait_for(lambda: descriptors(proxy) >= before + BURST, "not all connections were taken", BURST_S)
            check_health(proxy)
        proxy.wait_for(lambda: descriptors(proxy) <= before, "descriptors are left", BURST_S)
        check_health(proxy)
        proxy.terminate()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Unread


async def test_a_stream_that_nobody_reads_is_not_gathered(
    start_proxy: StartProxy, proxy_authority: Path, service: Standin
) -> None:
    """A service that says a gigabyte has to wait for its reader; nobody else has to."""
    sent = 0

    def endless(_: Received, writer: Writer) -> None:
        nonlocal sent
        writer.start(200, [("content-type", "text/event-stream")])
        for sent in range(16_000):  # noqa: B007 - looked at from outside
            writer.send(b"data: " + b"x" * 65_000 + b"\n\n")

    service.handler = endless
    proxy = start_proxy(config={})
    before = resident_bytes(proxy)
    link = Link(proxy, proxy_authority)
    async with http_client(link) as client:
        url = "https://api.openai.com/v1/chat/completions"
        async with client.stream("POST", url, content=chat("m", stream=True)) as reply:
            assert reply.status_code == 200
            seen = -1
            while seen != sent:  # until nothing more is taken
                seen = sent
                await asyncio.sleep(0.5)
            assert 0 < sent < 2000
            await asyncio.to_thread(check_health, proxy)
            assert resident_bytes(proxy) < before + 100 * MIB
            await asyncio.to_thread(proxy.terminate)


async def leave_unread(proxy: Proxy, session: str, answer: str) -> socket.socket:
    """A client asks, is answered, and does not read. Gives its connection."""
    async with http_client(Link(proxy), headers={"user-agent": "person"}, timeout=60) as person:
        shown = asyncio.create_task(person.post(PATHS["openai"], content=chat(session, "/join")))
        await proxy.until_listening(session)
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(proxy.meeting_address)
        deaf.sendall(request(body=chat(session, "read it?")))
        assert "read it?" in (await shown).text
        listening = asyncio.create_task(person.post(PATHS["openai"], content=chat(session, answer)))
        await proxy.until_listening(session)
        await proxy.close_session(session)
        assert (await listening).status_code == 503
    return deaf


async def test_answers_that_nobody_reads(start_proxy: StartProxy, session: str) -> None:
    """Of clients that went deaf, the process is free in the end, and they do not keep it from ending."""
    proxy = start_proxy(config={}, options=("--set", "tcp_timeout=3"))
    before = descriptors(proxy)
    with await leave_unread(proxy, f"{session}-1", "x" * (8 * MIB)):
        await asyncio.to_thread(check_health, proxy)
        freed = "a deaf client keeps its socket"
        await asyncio.to_thread(proxy.wait_for, lambda: descriptors(proxy) <= before, freed)
    with await leave_unread(proxy, f"{session}-2", "x" * (8 * MIB)):
        await asyncio.to_thread(proxy.terminate)
