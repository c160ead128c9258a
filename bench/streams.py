"""The load generator of streams: keep-alive connections that ask for the next streamed reply when one is complete.

Runs as a process of its own, ``python -m bench.streams JSON``, whose argument holds the fields of an ``Ask``; prints
the ``Timed`` as JSON. A stream that is cut, or is not one, ends it with an error: a figure of failures is worth
nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

from bench import calls
from bench.load import LoadError

_STALLED_S: Final = 60.0
_END: Final = b"\r\n0\r\n\r\n"
"""The last chunk of a body (RFC 9112, section 7.1), behind the end of the one before."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked: ``model`` tells the stand-in how many deltas it says, and how fast. ``port`` is where it connects,
    ``target`` the ``host:port`` of the server behind a forward proxy, empty if there is none. Each of ``connections``
    makes ``calls`` calls that count, after ``warm_up`` that do not."""

    port: int
    model: str
    connections: int
    calls: int
    warm_up: int
    target: str = ""


@dataclass(slots=True)
class Timed:
    """Medians and 99th percentiles, from the call on: until the first token, and until the end of the reply.
    ``deltas_per_s`` is of one connection from its first token to its end: the median."""

    calls: int
    first_ms: float
    first_p99_ms: float
    last_ms: float
    last_p99_ms: float
    deltas_per_s: float


class _Connection(asyncio.Protocol):
    """One connection. ``first``, ``last`` and ``rates`` grow by an item a call."""

    def __init__(self, request: bytes, calls_left: int, done: asyncio.Future[None]) -> None:
        self._transport = cast("asyncio.Transport", None)
        self._request = request
        self._left = calls_left
        self._done = done
        self.first: list[float] = []
        self.last: list[float] = []
        self.rates: list[float] = []
        self._began = self._first_at = 0.0
        self._deltas = 0
        self._tail = b""
        self._head_seen = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self._deltas, self._first_at, self._tail, self._head_seen = 0, 0.0, b"", False
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        now = time.perf_counter()
        seen = self._tail + data
        if not self._head_seen:
            if not seen.startswith(b"HTTP/1.1 200"[: len(seen)]):
                self._fail(f"no stream: {seen[:400]!r}")
                return
            self._head_seen = b"\r\n\r\n" in seen
        # What stood in the tail was counted, unless it is whole only now.
        found = seen.count(calls.TOKEN) - self._tail.count(calls.TOKEN)
        if found and not self._deltas:
            self._first_at = now
        self._deltas += found
        if seen.endswith(_END):
            self._ended(now)
        else:
            self._tail = seen[-max(len(_END), len(calls.TOKEN)) :] if self._head_seen else seen

    def _ended(self, now: float) -> None:
        if self._deltas < 2:
            self._fail(f"a stream of {self._deltas} deltas")
            return
        self.first.append(self._first_at - self._began)
        self.last.append(now - self._began)
        self.rates.append((self._deltas - 1) / max(now - self._first_at, 1e-9))
        self._left -= 1
        if self._left:
            self._ask()
        elif not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._fail("a connection was closed")

    def _fail(self, why: str) -> None:
        if not self._done.done():
            self._done.set_exception(LoadError(why))

    def close(self) -> None:
        """Close it."""
        self._transport.abort()


async def ask(work: Ask) -> Timed:
    """See ``Ask``."""
    loop = asyncio.get_running_loop()
    target = work.target or f"127.0.0.1:{work.port}"
    where = f"http://{target}{calls.PATH}" if work.target else calls.PATH
    request = calls.chat(where, target, calls.streamed(work.model), "asker")
    connections = []
    for _ in range(work.connections):
        done = loop.create_future()
        _, connection = await loop.create_connection(
            lambda done=done: _Connection(request, work.warm_up + work.calls, done),  # type: ignore[misc]  # mypy infers no lambda with a default
            "127.0.0.1",
            work.port,
        )
        connections.append((connection, done))
    async with asyncio.timeout(_STALLED_S):
        await asyncio.gather(*[done for _, done in connections])
    for connection, _ in connections:
        connection.close()

    def counted(name: str) -> list[float]:
        return sorted(value for one, _ in connections for value in getattr(one, name)[work.warm_up :])

    first, last, rates = counted("first"), counted("last"), counted("rates")
    return Timed(
        len(first),
        _at(first, 0.5) * 1e3,
        _at(first, 0.99) * 1e3,
        _at(last, 0.5) * 1e3,
        _at(last, 0.99) * 1e3,
        _at(rates, 0.5),
    )


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main(argument: str) -> None:
    """Do the work that the argument describes, and print what was measured."""
    fields: dict[str, Any] = json.loads(argument)
    print(json.dumps(asdict(asyncio.run(ask(Ask(**fields))))))


if __name__ == "__main__":
    main(sys.argv[1])
