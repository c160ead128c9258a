"""Limits of mitmproxy's connections that are too low for calls that wait: raised through its own objects.

Both parts that are touched are not public; where a version lacks them, its own limits stay in force.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import socket
from typing import Any, Final

from mitmproxy.connection import Client
from mitmproxy.master import Master

_BACKLOG: Final = 4096
_UPSTREAM_CONNECTIONS: Final = 1000


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


def _proxyserver(master: Master) -> Any:
    return master.addons.get("proxyserver")
