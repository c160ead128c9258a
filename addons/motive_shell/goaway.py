"""Clients that say good-bye on HTTP/2 while they still wait for a reply.

GOAWAY without an error means: no new requests on this connection; those that are under way go on (RFC 9113, section
6.8). The AWS SDK for JavaScript says so as soon as it has the head of a streamed reply. mitmproxy takes it for the end
of the connection, and drops them (12.2.3, ``proxy/layers/http/_http2.py``, which says itself that it should not).

``install`` touches a class of mitmproxy and the state of its HTTP/2 library, which are no public parts; where a version
lacks them, its own behaviour stays.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated
from mitmproxy.proxy.layers.http._http2 import Http2Server

_HANDLER: Final = "handle_h2_event"
_stock_handler: Final[Any] = vars(Http2Server).get(_HANDLER)


def install() -> None:
    """Let replies that are under way reach clients that said good-bye, from now on."""
    if _stock_handler is not None:
        setattr(Http2Server, _HANDLER, _handle_h2_event)


def _handle_h2_event(server: Any, event: Any) -> Generator[Any, Any, bool]:
    """See ``Http2Connection.handle_h2_event``. Gives whether the connection is over."""
    if isinstance(event, ConnectionTerminated) and event.error_code == ErrorCodes.NO_ERROR and server.streams:
        # The library would send nothing more on it.
        server.h2_conn.state_machine.state = ConnectionState.SERVER_OPEN
        return False
    done: bool = yield from _stock_handler(server, event)
    return done
