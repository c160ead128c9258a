"""The teller: says the replies that are spoken over time to the flows that fetch them.

Owns these connections: on each of them requests of the proxy's own, one after the other, and a reply in chunks to each.
A connection is kept as long as the proxy keeps it, which is as long as that of its client: to make another one for each
reply would take longer than to say it. It is no web server: between a word and the client that waits for it stand a
proxy and this, so it does nothing that is not needed. Knows no flow and no dialect.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from collections.abc import AsyncGenerator, Mapping
from typing import Final, cast

from motive_core.errors import UpstreamError
from motive_core.exchange import SeveredError
from motive_core.origin.app import RANK_HEADER, SECRET_HEADER
from motive_core.origin.streams import PromotedReply, Streams

logger = logging.getLogger(__name__)

PATH: Final = "/p/"
"""What stands before the token."""
_HEAD_BYTES: Final = 8192
_HEAD_S: Final = 30.0
_BACKLOG: Final = 4096
_END: Final = b"\r\n\r\n"


class Teller:
    """Listens on a free port of 127.0.0.1. Who does not know ``secret`` gets nothing."""

    def __init__(self, streams: Streams, secret: str) -> None:
        self._streams = streams
        self._secret = secret.encode()
        self._server: asyncio.Server | None = None
        self._open: set[_Telling] = set()
        self.address: tuple[str, int] | None = None

    async def start(self) -> None:
        """Listen. Raises ``OSError`` if no port is free."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Telling(self), "127.0.0.1", 0, family=socket.AF_INET, backlog=_BACKLOG
        )
        address = self._server.sockets[0].getsockname()
        self.address = (address[0], address[1])

    async def stop(self, timeout_s: float) -> None:
        """Let open replies end for a while, then cut them."""
        if self._server is None:
            return
        server, self._server, self.address = self._server, None, None
        server.close()
        for one in [one for one in self._open if one.task is None]:
            one.cut()
        if tasks := [one.task for one in self._open if one.task is not None]:
            await asyncio.wait(tasks, timeout=timeout_s)
        for one in list(self._open):
            one.cut()

    def take(self, head: bytes) -> PromotedReply | None:
        """The reply that a request is for; None if it is not the proxy's own, or there is none."""
        line, *fields = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
        if not hmac.compare_digest(headers.get(SECRET_HEADER, "").encode(), self._secret):
            return None
        method, _, target = line.partition(" ")
        # Who asks is not said of a flow that fetches its own reply: nobody else is to have it.
        if method != "GET" or RANK_HEADER in headers or not target.startswith(PATH):
            return None
        return self._streams.take(target.removeprefix(PATH).partition(" ")[0])

    def opened(self, one: _Telling) -> None:
        """A connection is here."""
        self._open.add(one)

    def closed(self, one: _Telling) -> None:
        """It is gone."""
        self._open.discard(one)


class _Telling(asyncio.Protocol):
    """One connection."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", None)
        self._asked = b""
        self._pieces: list[bytes] = []
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._teller.opened(self)
        self._timer = self._loop.call_later(_HEAD_S, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._teller.closed(self)
        self._may_write.set()
        if self._timer is not None:
            self._timer.cancel()
        if self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        self._asked += data
        if self.task is None:
            self._answer()

    def _answer(self) -> None:
        """Answer the request that is here, if one is."""
        head, end, rest = self._asked.partition(_END)
        if not end:
            if len(head) > _HEAD_BYTES:
                self._transport.abort()
            return
        self._asked = rest
        if self._timer is not None:
            self._timer.cancel()
        reply = self._teller.take(head)
        if reply is None:
            self._transport.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self._transport.close()
            return
        reply.on_fetch()
        task = asyncio.eager_task_factory(self._loop, self._tell(reply))
        if not task.done():
            self.task = task

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    async def _tell(self, reply: PromotedReply) -> None:
        chunks, whole = cast("AsyncGenerator[bytes]", reply.chunks), False
        try:
            self._write(_head(reply.headers))
            async for data in chunks:
                if data:
                    self._write(b"%x\r\n%b\r\n" % (len(data), data))
                    if not self._may_write.is_set():
                        self._flush()
                        await self._may_write.wait()
            self._write(b"0\r\n\r\n")
            whole = True
        except (UpstreamError, SeveredError):
            pass  # it ends without its end: its client is to see that
        except Exception:
            logger.exception("a reply could not be told")
        finally:
            await chunks.aclose()
            self.task = None
            if not whole:
                self._flush()
                self._transport.close()
        if self._asked and not self._transport.is_closing():
            self._answer()

    def _write(self, data: bytes) -> None:
        """What is known at once goes out at once: the head with the first words."""
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def _flush(self) -> None:
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._transport.write(b"".join(pieces))

    def cut(self) -> None:
        """End it now."""
        self._transport.abort()


def _head(headers: Mapping[str, str]) -> bytes:
    lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in headers.items())]
    lines += ["transfer-encoding: chunked", "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape")
