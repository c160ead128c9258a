"""Heads of requests that no honest client sends, and those that come too slowly: refused, mended or cut off.

mitmproxy reads a head without end: it gathers what comes until the empty line does, however much that is and however
long it takes, and what a client sends while its call is held is gathered, too. It passes on what RFC 9110 forbids in a
field (CR, NUL, folded lines), for services behind it to read as they like, and the body of an HTTP/2 request to a
service of HTTP/1 without a length. And trailers make its connection hang.

``install`` bounds the first by mitmproxy's own HTTP/1 classes, which are no public part; where a version lacks what is
touched, its own behaviour stays. ``mend`` works on each request. Knows no dialect and no session.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any, Final

import h11
from h11._readers import ChunkedReader
from mitmproxy import http
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import _http1

HEAD_BYTES: Final = 4 * 1024 * 1024
"""Longest head of a request. Far above what servers take: a target that is merely too long gets a reply in words."""

AHEAD_BYTES: Final = 64 * 1024 * 1024
"""What a client may send ahead while its call is held: two bodies of the largest size."""

_FORBIDDEN: Final = re.compile(rb"[\r\n\0]+[ \t]*")
_CONTROLS: Final = re.compile(rb"[\0-\x20\x7f]")

_stock_handle_event: Final[Any] = vars(_http1.Http1Server).get("_handle_event", _http1.Http1Connection._handle_event)
_stock_reader: Final[Any] = getattr(_http1, "ChunkedReader", None)


def mend(request: http.Request) -> str | None:
    """Make a request fit to be passed on: what must not stand in a field value or a target is replaced (RFC 9110,
    section 5.5; RFC 9112, section 5.2). Gives why the request must be refused, None if it need not be."""
    hosts = 0
    for name, value in request.headers.fields:
        if _FORBIDDEN.search(value):
            break
        hosts += len(name) == len(b"host") and name.lower() == b"host"
    else:
        if hosts > 1:
            return "The request has several Host fields."  # RFC 9112, section 3.2
        if _CONTROLS.search(request.data.method):
            return "The request has no method."  # in HTTP/2 it may have spaces, and a target behind them
        if _CONTROLS.search(request.data.path):
            request.data.path = _CONTROLS.sub(lambda found: b"%%%02X" % ord(found[0]), request.data.path)
        return None
    request.headers.fields = tuple((name, _FORBIDDEN.sub(b" ", value)) for name, value in request.headers.fields)
    return mend(request)


def frame(request: http.Request) -> None:
    """Give a whole request the framing that HTTP/1 needs: in HTTP/2 a body needs none, and mitmproxy passes it on to a
    service of HTTP/1 so, where it reads as the next request. Trailers go, as in HTTP/1."""
    request.trailers = None
    unframed = (request.is_http2 or request.is_http3) and "content-length" not in request.headers
    if unframed and request.raw_content:
        request.headers["content-length"] = str(len(request.raw_content))


def without_trailers(flow: http.HTTPFlow) -> None:
    """Drop the trailers of a reply to a client of HTTP/1: mitmproxy cannot send them."""
    if flow.response is not None and flow.response.trailers is not None and flow.client_conn.alpn != b"h2":
        flow.response.trailers = None


class _WithoutTrailers(ChunkedReader):
    """Reads trailers, and drops them: a recipient may (RFC 9110, section 6.5.1), and mitmproxy fails on them."""

    def __call__(self, buf: Any) -> Any:
        event = super().__call__(buf)
        return h11.EndOfMessage() if isinstance(event, h11.EndOfMessage) else event


class HeadBounds:
    """Bounds the heads that HTTP/1 clients send: in bytes, and in seconds from the first byte on. ``refusal`` gives the
    whole reply for a status, 408 or 431."""

    def __init__(self, head_timeout_s: float, refusal: Callable[[int], bytes]) -> None:
        self.head_timeout_s = head_timeout_s
        self._refusal = refusal

    def install(self) -> None:
        """Bound all heads from now on. Another call takes the place of the first."""
        bounds = self

        def handle_event(server: Any, event: events.Event) -> Generator[commands.Command, Any, None]:
            if isinstance(event, events.Wakeup):
                return bounds._on_wakeup(server, event)
            return bounds._on_event(server, event)

        if _stock_reader is not None:
            setattr(_http1, "ChunkedReader", _WithoutTrailers)  # noqa: B010
        setattr(_http1.Http1Server, "_handle_event", handle_event)  # noqa: B010

    def _on_event(self, server: Any, event: events.Event) -> Generator[commands.Command, Any, None]:
        yield from _stock_handle_event(server, event)
        if not isinstance(event, events.DataReceived) or not (size := len(server.buf)):
            return
        if server.state == server.read_headers:
            if size > HEAD_BYTES:
                yield from self._refuse(server, 431)
            elif getattr(server, "motive_head", None) is None:
                wakeup = commands.RequestWakeup(self.head_timeout_s)
                server.motive_head = wakeup, server.stream_id
                yield wakeup
        elif size > AHEAD_BYTES and server.state == server.wait:
            yield commands.CloseConnection(server.conn)

    def _on_wakeup(self, server: Any, event: events.Wakeup) -> Generator[commands.Command, Any, None]:
        """The head that was begun must have ended by now."""
        (_, stream_id), server.motive_head = server.motive_head, None
        if server.state == server.read_headers and len(server.buf):
            if server.stream_id == stream_id:
                yield from self._refuse(server, 408)
            else:
                wakeup = commands.RequestWakeup(self.head_timeout_s)
                server.motive_head = wakeup, server.stream_id
                yield wakeup

    def _refuse(self, server: Any, status: int) -> Generator[commands.Command, Any, None]:
        yield commands.SendData(server.conn, self._refusal(status))
        yield commands.CloseConnection(server.conn)
        server.state = server.done


def uninstall() -> None:
    """Undo ``HeadBounds.install``."""
    setattr(_http1.Http1Server, "_handle_event", _stock_handle_event)  # noqa: B010
    if _stock_reader is not None:
        setattr(_http1, "ChunkedReader", _stock_reader)  # noqa: B010
