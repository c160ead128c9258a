"""A client's connection, and the rude ways in which a call can go.

Owns sockets and HTTP/1.1 framing on the client's side, read strictly. Knows no dialect and no session. Everything is
done by hand on a non-blocking socket, for nothing may be read, sent or closed behind the back of a client that wants to
read a byte at a time, or to be gone at an exact place.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

type Manner = Literal[
    "plain",
    "timeout",
    "reset",
    "close",
    "half-close",
    "cut sending",
    "trickle",
    "cut reading",
    "slow reading",
    "garbage",
]
"""How a call goes.

=============  ======================================================================================================
timeout        the client waits for a moment only, then closes
reset          it sends its request, and some time later resets the connection (``SO_LINGER`` 0)
close          the same, but it closes in an orderly way
half-close     it says that it sends nothing more, and goes on to read
cut sending    it goes in the middle of its request
trickle        it sends its request a byte at a time
cut reading    it goes in the middle of the reply
slow reading   it reads the reply a few bytes at a time, with a small buffer
garbage        what it sends is no request; on the next connection it is
=============  ======================================================================================================
"""

RUDE: Final[tuple[Manner, ...]] = (
    "timeout",
    "reset",
    "close",
    "half-close",
    "cut sending",
    "trickle",
    "cut reading",
    "slow reading",
    "garbage",
)
HUNG_S: Final = 90.0
"""A call that has not ended by then never will: every call of the soak is held for a few seconds at most."""

_READ_BYTES: Final = 65536
_LATEST_BYTES: Final = 1500
_LINGER_0: Final = struct.pack("ii", 1, 0)
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t\x20-\x7e\x80-\xff]*)")
_SIZE: Final = re.compile(rb"[0-9a-fA-F]{1,8}")


class LostError(Exception):
    """The call ended without a whole reply."""


class HungError(Exception):
    """The call did not end."""


class ProtocolError(Exception):
    """What came is no HTTP."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def request_bytes(target: str, host: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A request as it goes out."""
    fields = {"host": host, "accept": "*/*", **headers, "content-length": str(len(body))}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Caller:
    """One client: it keeps its connection for the next call if the last one ended well."""

    def __init__(self, address: tuple[str, int], random: Random) -> None:
        self._address = address
        self._random = random
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._latest_at = 0.0
        self._latest = b""
        """The last bytes that came, for the message of an error."""

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._buffer = b""

    def _reset(self) -> None:
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        self.close()

    async def call(self, request: bytes, manner: Manner) -> Reply:
        """Send a request in this manner, and read its reply. Raises ``LostError``, ``HungError``, ``ProtocolError``."""
        try:
            async with asyncio.timeout(HUNG_S):
                try:
                    return await self._call(request, manner)
                except OSError as error:
                    raise LostError(f"{manner}: {error}") from error
        except TimeoutError as error:
            self.close()
            ago_s = time.monotonic() - self._latest_at
            raise HungError(
                f"no end of a call after {HUNG_S:g} s: {manner}, latest bytes {ago_s:.1f} s ago: {self._latest!r}"
            ) from error
        except BaseException:
            self.close()
            raise

    async def _call(self, request: bytes, manner: Manner) -> Reply:
        random, loop = self._random, asyncio.get_running_loop()
        self._latest = b""
        if manner == "garbage":
            await self._garbage()
        if manner == "slow reading":
            self.close()
        connection = await self._connected(small=manner == "slow reading")
        if manner == "cut sending":
            await loop.sock_sendall(connection, request[: random.randrange(len(request))])
            await self._leave()
        if manner == "trickle":
            for at in range(len(request)):
                await loop.sock_sendall(connection, request[at : at + 1])
                if random.random() < 0.02:
                    await asyncio.sleep(0.005)
        else:
            await loop.sock_sendall(connection, request)
        if manner == "half-close":
            connection.shutdown(socket.SHUT_WR)
        if manner in ("reset", "close"):
            await asyncio.sleep(random.random() ** 2)
            if manner == "reset":
                self._reset()
            raise LostError(manner)
        if manner == "timeout":
            try:
                async with asyncio.timeout(0.05 + random.random()):
                    reply = await self._reply(manner)
            except TimeoutError:
                raise LostError(manner) from None
        else:
            reply = await self._reply(manner)
        if manner != "plain" or reply.headers.get("connection", "").lower() == "close":
            self.close()
        return reply

    async def _leave(self) -> None:
        await asyncio.sleep(self._random.random() / 4)
        if self._random.random() < 0.5:
            self._reset()
        self.close()
        raise LostError("left")

    async def _garbage(self) -> None:
        """What is no request, on a connection of its own. An answer, if there is one, is nobody's."""
        self.close()
        random, loop = self._random, asyncio.get_running_loop()
        connection = await self._connected()
        what = random.choice(
            (
                random.randbytes(random.randrange(1, 2000)),
                b"\r\n" * random.randrange(1, 50) + b"GET\r\n\r\n",
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{",
                b'POST /api/chat HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\n{"model": "\xff}',
                b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(200),
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + random.randbytes(100),
                b"CONNECT api.openai.com:443 HTTP/1.1\r\n\r\n" + random.randbytes(50),
            )
        )
        with contextlib.suppress(OSError, TimeoutError):
            await loop.sock_sendall(connection, what)
            async with asyncio.timeout(random.random()):
                await loop.sock_recv(connection, _READ_BYTES)
        if random.random() < 0.5:
            self._reset()
        self.close()

    async def _connected(self, *, small: bool = False) -> socket.socket:
        if self._socket is not None and self._is_stale(self._socket):
            self.close()
        if self._socket is None:
            connection = socket.socket()
            self._socket = connection
            connection.settimeout(0)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if small:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            await asyncio.get_running_loop().sock_connect(connection, self._address)
        return self._socket

    @staticmethod
    def _is_stale(connection: socket.socket) -> bool:
        """Whether the other side closed a connection that was kept: HTTP libraries look before they use it again."""
        try:
            connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    # Reading

    async def _reply(self, manner: Manner) -> Reply:
        if manner == "cut reading":
            await self._more(1 + int(self._random.random() ** 3 * 3000))
            await self._leave()
        count = 1 + self._random.randrange(40) if manner == "slow reading" else _READ_BYTES
        head = (await self._until(b"\r\n\r\n", count))[:-4]
        line, *fields = head.split(b"\r\n")
        if not re.fullmatch(rb"HTTP/1\.1 [1-5]\d\d [^\r\n]*", line):
            raise ProtocolError(f"status line {line!r}; latest bytes {self._latest!r}")
        headers: dict[str, str] = {}
        for one in fields:
            found = _HEADER.fullmatch(one)
            if found is None or found[1].lower().decode() in headers:
                raise ProtocolError(f"header line {one!r} in {head!r}")
            headers[found[1].lower().decode()] = found[2].decode("utf-8")
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if (length is None) == (coding is None) or coding not in (None, "chunked"):
            raise ProtocolError(f"no one framing: {head!r}")
        body = await self._chunks(count) if length is None else await self._exactly(int(length), count)
        if self._buffer:
            raise ProtocolError(f"more than a reply: {self._buffer[:200]!r}")
        return Reply(int(line[9:12]), headers, body)

    async def _chunks(self, count: int) -> bytes:
        body = b""
        while True:
            size = (await self._until(b"\r\n", count))[:-2]
            if not _SIZE.fullmatch(size):
                raise ProtocolError(f"chunk size {size!r}")
            data = await self._exactly(int(size, 16) + 2, count)
            if not data.endswith(b"\r\n"):
                raise ProtocolError(f"end of a chunk {data[-20:]!r}")
            if len(data) == 2:
                return body
            body += data[:-2]

    async def _until(self, mark: bytes, count: int) -> bytes:
        while mark not in self._buffer:
            await self._more(count)
        found, _, self._buffer = self._buffer.partition(mark)
        return found + mark

    async def _exactly(self, wanted: int, count: int) -> bytes:
        while len(self._buffer) < wanted:
            await self._more(count)
        found, self._buffer = self._buffer[:wanted], self._buffer[wanted:]
        return found

    async def _more(self, count: int) -> None:
        assert self._socket is not None
        data = await asyncio.get_running_loop().sock_recv(self._socket, count)
        if not data:
            raise LostError(f"the connection ended after {self._buffer[:200]!r}")
        self._buffer += data
        self._latest = (self._latest + data)[-_LATEST_BYTES:]
        self._latest_at = time.monotonic()
