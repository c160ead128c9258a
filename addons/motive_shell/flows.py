"""Between mitmproxy's flows and the core: the head of a request, and the port through which a held flow is answered.

Owns everything that touches a flow's request, response and interception. Knows no dialect and no session.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus, urlsplit

from mitmproxy import connection, http
from mitmproxy.net.http.status_codes import RESPONSES
from mitmproxy.proxy.mode_specs import ReverseMode

from motive_core.access import ANYBODY, INTERNAL_HOST, Caller
from motive_core.config import normal_host
from motive_core.dialects import RequestHead
from motive_core.exchange import Exchange, Listener, ServiceReply
from motive_core.gateway import Gateway, Incoming
from motive_core.origin import OriginServer, Streams
from motive_core.origin.app import SECRET_HEADER
from motive_shell.services import Services

ROLE_HEADER: Final = "x-motive-role"
"""Ours: it never goes to a real service."""


def listener_of(flow: http.HTTPFlow) -> Listener:
    """Which listener a flow came in by: the meeting point is a reverse proxy, or its name; everything else forwards."""
    if isinstance(flow.client_conn.proxy_mode, ReverseMode):
        return "reverse"
    # Anybody's spelling of the name: it must not leave the proxy, and with it a key of ours.
    host = flow.request.host
    return "reverse" if host == INTERNAL_HOST or normal_host(host) == INTERNAL_HOST else "forward"


def peer_of(flow: http.HTTPFlow) -> str:
    """The address at the other end of a client's connection."""
    return str(flow.client_conn.peername[0])


def incoming_of(flow: http.HTTPFlow, head: RequestHead, gateway: Gateway, caller: Caller = ANYBODY) -> Incoming:
    """A flow as a call, its body still in its content encoding."""
    client_host = gateway.client_of(head, peer_of(flow))
    return Incoming(listener_of(flow), head, client_host, flow.request.raw_content or b"", caller)


def withdraw(request: http.Request, places: Iterable[str]) -> None:
    """Take secrets of ours out of a request, so that they are neither sent on nor shown: headers, and parameters of the
    query, whose names stand behind a ``?``."""
    for place in places:
        if not place.startswith("?"):
            request.headers.pop(place, None)
            continue
        path, _, query = request.path.partition("?")
        fields = query.split("&")
        kept = [one for one in fields if unquote_plus(one.partition("=")[0]) != place[1:]]
        if len(kept) < len(fields):
            request.path = f"{path}?{'&'.join(kept)}" if kept else path


def respond(flow: http.HTTPFlow, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Answer a flow that is not held yet."""
    content = b"" if flow.request.method == "HEAD" else body
    # As ``Response.make``, which takes twice the time: it looks for an encoding to apply, and there is none.
    fields = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in headers.items()]
    fields.append((b"content-length", str(len(content)).encode()))
    reason, now = RESPONSES.get(status, "").encode(), time.time()
    flow.response = http.Response(b"HTTP/1.1", status, reason, http.Headers(fields), content, None, now, now)


def redirect(request: http.Request, service: str) -> None:
    """Point a request at a service (scheme, host, port and a path to put before its own). TLS and SNI follow."""
    url = urlsplit(service)
    request.scheme = url.scheme
    request.host = url.hostname or ""
    request.port = url.port or (443 if url.scheme == "https" else 80)
    request.path = url.path.rstrip("/") + request.path


def replace_body(request: http.Request, body: bytes) -> None:
    """Give a request another body, in no content encoding."""
    request.headers.pop("content-encoding", None)
    request.raw_content = body
    request.headers["content-length"] = str(len(body))
    request.headers.pop("transfer-encoding", None)


def send_to_origin(
    flow: http.HTTPFlow,
    origin: OriginServer,
    method: str,
    path: bytes,
    headers: Mapping[bytes, bytes],
    *,
    body: bytes = b"",
) -> None:
    """Put a small request to the origin in the place of a flow's own one, on a connection of its own. What ``path`` has
    of bytes that a path cannot have is percent-encoded."""
    assert origin.address is not None
    host, port = origin.address
    original = flow.request
    fields = {**headers, b"host": f"{host}:{port}".encode(), SECRET_HEADER.encode(): origin.secret.encode()}
    envelope = http.Request.make(method, f"http://{host}:{port}/", headers=[*fields.items(), (b"connection", b"close")])
    if body:
        envelope.content = body
    envelope.data.path = b"".join([b"%c" % byte if 0x21 <= byte <= 0x7E else b"%%%02X" % byte for byte in path])
    envelope.timestamp_start, envelope.timestamp_end = original.timestamp_start, original.timestamp_end
    flow.request = envelope
    flow.server_conn = connection.Server(address=(host, port))


@dataclass(slots=True, eq=False)
class FlowPort:
    """A ``Port`` on one flow. ``exchange`` is set once there is one; ``resumed`` when it was we who let the flow go on,
    not the operator."""

    flow: http.HTTPFlow
    origin: OriginServer
    streams: Streams
    services: Services
    can_stream: bool
    exchange: Exchange | None = None
    resumed: bool = False
    promoted: bool = False
    original: http.Request | None = None

    def respond(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """See ``Port``."""
        respond(self.flow, status, headers, body)
        self.resume()

    def pass_through(self, service: str | None, body: bytes | None = None) -> None:
        """See ``Port``."""
        if service is not None:
            redirect(self.flow.request, service)
        if body is not None:
            replace_body(self.flow.request, body)
        self.resume()

    def stream(self, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
        """See ``Port``. The flow is promoted: it fetches its reply from the origin by a small request, and gets its own
        request back as soon as that one is under way, so that views and saved flows show the real one."""
        flow, original = self.flow, self.flow.request

        token = self.streams.offer(headers, chunks, self.restore)
        send_to_origin(flow, self.origin, "GET", f"/p/{token}".encode(), {})
        self.original = original
        self.promoted = True
        self.resume()

    async def ask(self, service: str | None, body: bytes | None = None) -> ServiceReply:
        """See ``Port``."""
        flow = self.flow.copy()
        flow.request = (self.original or self.flow.request).copy()
        flow.server_conn = connection.Server(address=None)
        flow.comment = "asked for a reply that is being streamed"
        if service is not None:
            redirect(flow.request, service)
        if body is not None:
            replace_body(flow.request, body)
        return await self.services.ask(flow)

    def restore(self) -> None:
        """Give the flow its own request back, if it was promoted."""
        if self.original is not None:
            self.flow.request, self.original = self.original, None

    def resume(self) -> None:
        """Let the flow go on, if it was held."""
        self.resumed = True
        if self.flow.error is not None:
            self.flow.intercepted = True  # killed in a UI a moment ago: it is not, but it still waits
        if self.flow.intercepted:
            self.flow.resume()
