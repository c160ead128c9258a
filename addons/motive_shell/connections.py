"""Limits of connections: those of mitmproxy that are too low for calls that wait are raised, through its own objects;
and where it has none, connections that nothing comes from, or nothing goes to, are cut.

What is touched of mitmproxy is not public; where a version lacks it, its own limits stay in force.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import socket
import struct
from typing import Any, Final

from mitmproxy.connection import Client
from mitmproxy.master import Master
from mitmproxy.proxy.mode_specs import ReverseMode

_BACKLOG: Final = 4096
_UPSTREAM_CONNECTIONS: Final = 1000
_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""As a ``linger`` of ``SO_LINGER``: closing sends a reset, and nothing more."""
_LINGER_S: Final = 5.0
"""How long a connection that was closed may go on to send what its client has not read yet."""


def deepen_backlogs(master: Master) -> None:
    """Let many clients connect at once: a second ``listen`` on a socket changes its backlog (asyncio's is 100)."""
    for server in _proxyserver(master).servers:
        for listening in getattr(server, "_servers", []):
            for sock in getattr(listening, "sockets", ()):
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as again:
                    again.listen(_BACKLOG)


def lift_connection_limit(master: Master, client: Client) -> None:
    """mitmproxy opens five connections at most from one client to one address: of many parallel streams over one
    HTTP/2 connection, the others would wait behind those that are passed and slow."""
    handler = _proxyserver(master).connections.get(client.id)
    if handler is not None and hasattr(handler, "max_conns"):
        handler.max_conns = collections.defaultdict(lambda: asyncio.Semaphore(_UPSTREAM_CONNECTIONS))


def ask_for_no_password(master: Master, client: Client) -> None:
    """Let a client of the meeting point be asked for a key of ours, and not for mitmproxy's ``proxyauth``, which would
    have to be in the very header that keys stand in."""
    authenticated = getattr(master.addons.get("proxyauth"), "authenticated", None)
    if authenticated is not None:
        authenticated[client] = ("", "")


class Connections:
    """The connections of clients: those from which no request has come yet, and where each writes to.

    Twice ``head_timeout_s`` is how long a client of the meeting point may take from its connection to the end of its
    first request's head: a head that was begun ends before, by an error that says so. Connections to the forward proxy
    may be tunnels, in which nothing can be asked for.
    """

    def __init__(self, head_timeout_s: float) -> None:
        self.head_timeout_s = head_timeout_s
        self._silent: dict[str, asyncio.TimerHandle] = {}
        self._writers: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._writers)

    def came(self, master: Master, client: Client) -> None:
        """A client has connected."""
        handler = _proxyserver(master).connections.get(client.id)
        io = handler.transports.get(client) if handler is not None else None
        if io is None or not hasattr(io.writer, "transport"):
            return
        self._writers[client.id] = io.writer
        if isinstance(client.proxy_mode, ReverseMode):
            loop = asyncio.get_running_loop()
            self._silent[client.id] = loop.call_later(2 * self.head_timeout_s, self._cut, client.id, io)

    def asked(self, client: Client) -> None:
        """The head of a request of this client is here."""
        if (timer := self._silent.pop(client.id, None)) is not None:
            timer.cancel()

    def reset_at_end(self, client: Client) -> None:
        """Let a client's connection end by a reset when it is closed. One of HTTP/2, which other calls share, stays as
        it is: a stream of it that is cut off is reset by itself."""
        writer = self._writers.get(client.id)
        sock = writer.get_extra_info("socket") if writer is not None and client.alpn != b"h2" else None
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)

    def left(self, client: Client) -> None:
        """A client's connection is closed. What it did not read is kept for it for a moment only: asyncio would keep
        that, and the socket, for as long as the other side does."""
        self.asked(client)
        writer = self._writers.pop(client.id, None)
        if writer is not None and writer.transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_LINGER_S, writer.transport.abort)

    def _cut(self, client_id: str, io: Any) -> None:
        self._silent.pop(client_id, None)
        if io.handler is not None:
            io.handler.cancel("no request came")


def _proxyserver(master: Master) -> Any:
    return master.addons.get("proxyserver")
