"""The load generator: many keep-alive connections that say the next thing as soon as they were answered.

Runs as a process of its own, ``python -m bench.load JSON``, whose argument holds the fields of a ``Repeat`` or a
``Converse`` and their name as ``work``; prints the ``Measured`` as JSON. A reply that is not the expected one ends it
with an error: a figure of failures is worth nothing.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench import calls
from bench.process import processor_s, resident_kib
from bench.wire import Messages, status_of

_CONNECT_AT_ONCE: Final = 64
_STALLED_S: Final = 30.0


class LoadError(Exception):
    """Something else came than the expected reply, or nothing."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Each connection sends the same call again and again.

    ``port`` is where it connects: a server, or a forward proxy. ``target`` is the ``host:port`` of the server behind a
    forward proxy, empty if there is none; ``tls`` reaches it through CONNECT and TLS. ``pid`` is the process whose
    processor time is measured.
    """

    port: int
    pid: int
    connections: int
    warm_up_s: float
    measure_s: float
    expected: str
    target: str = ""
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Converse:
    """Pairs of connections at the meeting point talk to each other, each pair in a session of its own; in each, one
    call is on its way while the other one is held. Ends after ``measure_s``, or after ``turns`` in all, whichever is
    set; ``sample_at`` are numbers of turns at which the memory of ``pid`` is sampled."""

    port: int
    pid: int
    pairs: int
    sessions: str
    warm_up_s: float = 0.0
    measure_s: float = 0.0
    turns: int = 0
    sample_at: tuple[int, ...] = ()


@dataclass(slots=True)
class Measured:
    """``replies`` in ``seconds``; a latency is from a call until the reply that it causes, in milliseconds.
    ``processor_us`` is what one reply cost the measured process, ``generator_share`` how busy the generator was
    (1 is a whole processor). ``resident_kib`` are the samples of memory."""

    replies: int
    seconds: float
    p50_ms: float
    p99_ms: float
    processor_us: float
    generator_share: float
    resident_kib: list[int] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Replies per second."""
        return self.replies / self.seconds


class _Window:
    """The time in which replies count."""

    def __init__(self, pid: int) -> None:
        self.latencies: list[float] = []
        self._pid = pid
        self._began = self._ended = (0.0, 0.0, 0.0)
        self.open = False

    def start(self) -> None:
        self._began = self._clocks()
        self.open = True

    def stop(self) -> None:
        self.open = False
        self._ended = self._clocks()

    def _clocks(self) -> tuple[float, float, float]:
        return time.perf_counter(), processor_s(self._pid), time.process_time()

    def measured(self, resident: list[int]) -> Measured:
        seconds, processor, own = (after - before for before, after in zip(self._began, self._ended, strict=True))
        taken = sorted(self.latencies)
        if not taken:
            raise LoadError("no reply came within the time of measurement")
        return Measured(
            len(taken),
            seconds,
            taken[len(taken) // 2] * 1e3,
            taken[len(taken) * 99 // 100] * 1e3,
            processor / len(taken) * 1e6,
            own / seconds,
            resident,
        )


async def connect(port: int, on_message: Callable[[Messages, bytes, bytes], None]) -> Messages:
    """A plain connection to a port of this machine."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Messages(on_message), "127.0.0.1", port)
    return connection


async def connect_all(
    count: int, port: int, on_message: Callable[[Messages, bytes, bytes], None], tunnel_to: str = ""
) -> list[Messages]:
    """Many connections; through TLS in a CONNECT tunnel, if it leads somewhere."""
    connections: list[Messages] = []
    while len(connections) < count:
        batch = min(_CONNECT_AT_ONCE, count - len(connections))
        if tunnel_to:
            connections += await asyncio.gather(*[_tunnel(port, on_message, tunnel_to) for _ in range(batch)])
        else:
            connections += await asyncio.gather(*[connect(port, on_message) for _ in range(batch)])
    return connections


async def _tunnel(port: int, on_message: Callable[[Messages, bytes, bytes], None], target: str) -> Messages:
    loop = asyncio.get_running_loop()
    opened = loop.create_future()
    plain, _ = await loop.create_connection(lambda: _ConnectReply(opened), "127.0.0.1", port)
    plain.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    await opened
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    secure = Messages(on_message)
    transport = await loop.start_tls(plain, secure, context)
    if transport is None:
        raise LoadError("the connection was closed during the TLS handshake")
    secure.connection_made(transport)
    return secure


class _ConnectReply(asyncio.Protocol):
    """The reply to CONNECT has no body and no Content-Length, so it is no message of ``wire``."""

    def __init__(self, opened: asyncio.Future[None]) -> None:
        self._opened = opened
        self._got = b""

    def data_received(self, data: bytes) -> None:
        self._got += data
        if b"\r\n\r\n" in self._got and not self._opened.done():
            if b" 200 " in self._got[:16]:
                self._opened.set_result(None)
            else:
                self._opened.set_exception(LoadError(f"CONNECT was refused: {self._got!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_exception(LoadError("the connection was closed before CONNECT was answered"))


async def _wait(connections: list[Messages], failed: asyncio.Future[None], seconds: float) -> None:
    """Let the connections work for so long. Raises ``LoadError`` as soon as one ends or gets a wrong reply."""
    await asyncio.wait(
        [failed, *(connection.lost for connection in connections)],
        timeout=seconds,
        return_when=asyncio.FIRST_COMPLETED,
    )
    if failed.done():
        failed.result()
    if any(connection.lost.done() for connection in connections):
        raise LoadError("a connection was closed")


def _check(status: int, body: bytes, expected: bytes) -> str:
    return "" if status == 200 and expected in body else f"got {status} {body[:400]!r}, expected {expected!r}"


async def repeat(work: Repeat) -> Measured:
    """See ``Repeat``."""
    target = work.target or f"127.0.0.1:{work.port}"
    where = f"http://{target}{calls.PATH}" if work.target and not work.tls else calls.PATH
    request = calls.Turns(where, target, "gpt-4o", "asker").request(7)
    expected = work.expected.encode()
    window = _Window(work.pid)
    failed = asyncio.get_running_loop().create_future()

    def on_reply(connection: Messages, line: bytes, body: bytes) -> None:
        now = time.perf_counter()
        if window.open:
            window.latencies.append(now - connection.sent_at)
        if (wrong := _check(status_of(line), body, expected)) and not failed.done():
            failed.set_exception(LoadError(wrong))
            return
        connection.sent_at = now
        connection.transport.write(request)

    connections = await connect_all(work.connections, work.port, on_reply, work.target if work.tls else "")
    for connection in connections:
        connection.sent_at = time.perf_counter()
        connection.transport.write(request)
    await _wait(connections, failed, work.warm_up_s)
    window.start()
    await _wait(connections, failed, work.measure_s)
    window.stop()
    for connection in connections:
        connection.transport.abort()
    return window.measured([])


class _Pair:
    """Two connections in lockstep: what one says reaches the other, which answers at once."""

    def __init__(self, asker: Messages, answerer: Messages, session: str, port: int) -> None:
        host = f"127.0.0.1:{port}"
        self.asker, self.answerer = asker, answerer
        self.asks = calls.Turns(calls.PATH, host, session, "asker")
        self.answers = calls.Turns(calls.PATH, host, session, "answerer")
        self.joins = calls.join(calls.PATH, host, session)
        self.number = 1

    def begin(self) -> None:
        self.answerer.transport.write(self.joins)
        self.asker.sent_at = time.perf_counter()
        self.asker.transport.write(self.asks.request(1))

    def take(self, connection: Messages, status: int, body: bytes) -> tuple[float, str]:
        """A reply came: say the next thing. Gives when what caused it was sent, and what is wrong with it, if so."""
        if connection is self.answerer:
            caused_at = self.asker.sent_at
            wrong = _check(status, body, self.answers.heard(self.number))
            request = self.answers.request(self.number)
        else:
            caused_at = self.answerer.sent_at
            wrong = _check(status, body, self.asks.heard(self.number))
            self.number += 1
            request = self.asks.request(self.number)
        if not wrong:
            connection.sent_at = time.perf_counter()
            connection.transport.write(request)
        return caused_at, wrong


async def converse(work: Converse) -> Measured:
    """See ``Converse``."""
    window = _Window(work.pid)
    failed = asyncio.get_running_loop().create_future()
    pair_of: dict[Messages, _Pair] = {}
    replies = 0
    resident: list[int] = []
    sample_at = [2 * turns for turns in work.sample_at]
    last = 2 * work.turns

    def on_reply(connection: Messages, line: bytes, body: bytes) -> None:
        nonlocal replies
        now = time.perf_counter()
        caused_at, wrong = pair_of[connection].take(connection, status_of(line), body)
        if window.open:
            window.latencies.append(now - caused_at)
        replies += 1
        if sample_at and replies == sample_at[0]:
            del sample_at[0]
            resident.append(resident_kib(work.pid))
        if failed.done():
            return
        if wrong:
            failed.set_exception(LoadError(wrong))
        elif replies == last:
            window.stop()
            failed.set_result(None)

    connections = await connect_all(2 * work.pairs, work.port, on_reply)
    for number in range(work.pairs):
        asker, answerer = connections[2 * number : 2 * number + 2]
        pair_of[asker] = pair_of[answerer] = _Pair(asker, answerer, f"{work.sessions}-{number}", work.port)
    if work.turns:
        window.start()
    for pair in dict.fromkeys(pair_of.values()):
        pair.begin()
    if work.turns:
        before = -1
        while not failed.done():
            if replies == before:
                raise LoadError(f"no reply within {_STALLED_S:g} s")
            before = replies
            await _wait(connections, failed, _STALLED_S)
    else:
        await _wait(connections, failed, work.warm_up_s)
        window.start()
        await _wait(connections, failed, work.measure_s)
        window.stop()
    for connection in connections:
        connection.transport.abort()
    return window.measured(resident)


def main(argument: str) -> None:
    """Do the work that the argument describes, and print what was measured."""
    fields: dict[str, Any] = json.loads(argument)
    match fields.pop("work"):
        case "Repeat":
            measured = asyncio.run(repeat(Repeat(**fields)))
        case "Converse":
            measured = asyncio.run(converse(Converse(**fields)))
        case other:
            raise ValueError(other)
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    main(sys.argv[1])
