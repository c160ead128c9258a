"""Many calls held at once: what each of them takes of memory, and how long it takes to end all of them by one event.

Owns the clients of this measurement, which run in the process that calls ``hold``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import dataclass
from typing import Final, Literal

from bench import calls
from bench.load import LoadError, connect, connect_all
from bench.process import resident_kib
from bench.wire import Messages, status_of

type Ending = Literal["answer", "close", "exit"]
"""``answer``: all calls carry one prompt, which is answered. ``close``: each carries a prompt of its own, in one
session, which is ended by the operator. ``exit``: each is in a session of its own, and the proxy is told to exit."""

_WARM_UP_CALLS: Final = 32
_DEADLINE_S: Final = 120.0
_POLL_S: Final = 0.02
_POLLS: Final = 3000


@dataclass(frozen=True, slots=True)
class Held:
    """``idle_kib`` is the memory of a client connection without a call, ``held_kib`` that of a connection with its
    held call; ``hold_s`` is from the first call until the last one was held, ``end_s`` from the event until the last
    client had its reply."""

    ending: Ending
    count: int
    idle_kib: float
    held_kib: float
    hold_s: float
    end_s: float


_FINAL_STATUS: Final[dict[Ending, int]] = {"answer": 200, "close": 503, "exit": 503}


class _Client:
    """A client that says one thing after another."""

    def __init__(self, connection: Messages) -> None:
        self._connection = connection
        self._reply: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        connection.on_message = self._on_reply

    @classmethod
    async def open(cls, port: int) -> _Client:
        return cls(await connect(port, lambda *_: None))

    def _on_reply(self, _: Messages, line: bytes, body: bytes) -> None:
        self._reply.set_result((status_of(line), body))

    def send(self, request: bytes) -> None:
        self._reply = asyncio.get_running_loop().create_future()
        self._connection.transport.write(request)

    async def reply(self) -> bytes:
        status, body = await asyncio.wait_for(self._reply, _DEADLINE_S)
        if status != 200:
            raise LoadError(f"got {status} {body[:400]!r}")
        return body

    async def call(self, request: bytes) -> bytes:
        self.send(request)
        return await self.reply()

    def close(self) -> None:
        self._connection.transport.abort()


class _Crowd:
    """Clients that each have one call, and wait for its reply."""

    def __init__(self, count: int, status: int) -> None:
        self._missing = count
        self._status = status
        self._wrong = b""
        self._done = asyncio.Event()

    def on_reply(self, _: Messages, line: bytes, body: bytes) -> None:
        if status_of(line) != self._status:
            self._wrong = line + b" " + body[:400]
        self._missing -= 1
        if not self._missing or self._wrong:
            self._done.set()

    async def all_replied(self) -> None:
        await asyncio.wait_for(self._done.wait(), _DEADLINE_S)
        if self._wrong:
            raise LoadError(f"got {self._wrong!r}")


async def hold(port: int, pid: int, count: int, ending: Ending) -> Held:
    """Hold ``count`` calls at the meeting point on port ``port`` of process ``pid``, and end them. After ``exit``, the
    process is about to end."""
    admin = await _Client.open(port)
    # What a process takes once, at its first calls, is not counted.
    await _hold(port, pid, admin, _WARM_UP_CALLS, "close")
    held = await _hold(port, pid, admin, count, ending)
    admin.close()
    return held


async def _hold(port: int, pid: int, admin: _Client, count: int, ending: Ending) -> Held:
    host = f"127.0.0.1:{port}"
    before = resident_kib(pid)
    crowd = _Crowd(count, _FINAL_STATUS[ending])
    connections = await connect_all(count, port, crowd.on_reply)
    await _until_accepted(port, admin, host)
    idle = resident_kib(pid)
    began = time.perf_counter()
    for number, connection in enumerate(connections):
        session = f"held-{number}" if ending == "exit" else "held"
        prompt = number + 1 if ending == "close" else 1
        connection.transport.write(calls.Turns(calls.PATH, host, session, "asker").request(prompt))
    await _until_held(admin, host, count)
    hold_s = time.perf_counter() - began
    held = resident_kib(pid)
    answerer = await _Client.open(port)
    if ending == "answer":
        await answerer.call(calls.join(calls.PATH, host, "held"))
    began = time.perf_counter()
    match ending:
        case "answer":
            answerer.send(calls.Turns(calls.PATH, host, "held", "answerer").request(1))
        case "close":
            admin.send(calls.get("/admin/sessions/held", host, "DELETE"))
        case "exit":
            os.kill(pid, signal.SIGTERM)
    await crowd.all_replied()
    end_s = time.perf_counter() - began
    for connection in connections:
        connection.transport.abort()
    answerer.close()
    if ending == "close":
        await admin.reply()
    return Held(ending, count, (idle - before) / count, (held - before) / count, hold_s, end_s)


async def _until_held(admin: _Client, host: str, count: int) -> None:
    """Until the proxy holds so many calls."""
    held = -1
    for _ in range(_POLLS):
        held = json.loads(await admin.call(calls.get("/health", host)))["held"]
        if held == count:
            return
        await asyncio.sleep(_POLL_S)
    raise LoadError(f"{held} calls are held, not {count}")


async def _until_accepted(port: int, admin: _Client, host: str) -> None:
    """Until the proxy has taken all connections that were opened: it takes them in order, and one more after them."""
    probe = await _Client.open(port)
    await probe.call(calls.get("/health", host))
    probe.close()
    await _until_held(admin, host, 0)
