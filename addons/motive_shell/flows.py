"""Between mitmproxy's flows and the core: the head of a request, and the port through which a held flow is answered.

Owns everything that touches a flow's request, response and interception. Knows no dialect and no session.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus, urlsplit

from mitmproxy import connection, http
from mitmproxy.flow import Error
from mitmproxy.net.http.status_codes import RESPONSES
from mitmproxy.proxy.mode_specs import ReverseMode

from motive_core.access import ANYBODY, INTERNAL_HOST, Caller
from motive_core.config import normal_host
from motive_core.dialects import RequestHead
from motive_core.exchange import Exchange, Listener, ServiceReply
from motive_core.gateway import Gateway
from motive_core.incoming import Incoming
from motive_core.origin import OriginServer, Streams
from motive_core.origin.app import SECRET_HEADER
from motive_core.origin.teller import PATH
from motive_shell.connections import Connections
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
    path = b"".join([b"%c" % byte if 0x21 <= byte <= 0x7E else b"%%%02X" % byte for byte in path])
    headers = {**headers, b"connection": b"close"}
    _send(flow, origin.address, origin.secret, method=method, path=path, headers=headers, body=body)


def _send(
    flow: http.HTTPFlow,
    address: tuple[str, int],
    secret: str,
    *,
    method: str,
    path: bytes,
    headers: Mapping[bytes, bytes],
    body: bytes = b"",
) -> None:
    host, port = address
    original = flow.request
    fields = {**headers, b"host": f"{host}:{port}".encode(), SECRET_HEADER.encode(): secret.encode()}
    envelope = http.Request.make(method, f"http://{host}:{port}/", headers=[*fields.items()])
    if body:
        envelope.content = body
    envelope.data.path = path
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
    connections: Connections
    can_stream: bool
    exchange: Exchange | None = None
    resumed: bool = False
    promoted: bool = False
    original: http.Request | None = None
    came: tuple[str, str, int, bytes | None] | None = None
    """Scheme, host, port and body of its request, as it was when it was held: it may be edited since."""
    told: str = ""
    """What we wrote of it last, as its comment."""
    continued: Callable[[Exchange, bytes], bytes | None] | None = None
    """Gives what the real service needs in the place of a body that was edited."""

    def respond(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """See ``Port``."""
        respond(self.flow, status, headers, body)
        self.resume()

    def pass_through(self, service: str | None, body: bytes | None = None) -> None:
        """See ``Port``. What was edited stays edited."""
        self.prepare(self.flow.request, service, body)
        self.resume()

    def stream(self, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
        """See ``Port``. The flow is promoted: it fetches its reply from the origin by a small request, and gets its own
        request back as soon as that one is under way, so that views and saved flows show the real one."""
        flow, original = self.flow, self.flow.request

        token = self.streams.offer(headers, chunks, self.restore)
        assert self.origin.teller.address is not None
        # On the connection that the last one left, if its client has had one before.
        address, path = self.origin.teller.address, f"{PATH}{token}".encode()
        _send(flow, address, self.origin.secret, method="GET", path=path, headers={})
        self.original = original
        self.promoted = True
        self.resume()

    def sever(self, *, reset: bool) -> None:
        """See ``Port``. mitmproxy ends the connection of a flow with this error when it goes on; its own ``kill`` would
        leave it where it is held."""
        if reset:
            self.connections.reset_at_end(self.flow.client_conn)
        if not self.promoted:
            self.flow.error = Error(Error.KILLED_MESSAGE)
            self.resume()

    async def ask(self, service: str | None, body: bytes | None = None) -> ServiceReply:
        """See ``Port``."""
        flow = self.flow.copy()
        flow.intercepted = False  # it is not the one that is held: nobody would resume it
        flow.request = (self.original or self.flow.request).copy()
        flow.server_conn = connection.Server(address=None)
        flow.comment = "asked by Motive, beside the call itself"
        flow.marked, flow.metadata = "", {}  # what they tell is of that call
        self.prepare(flow.request, service, body)
        return await self.services.ask(flow)

    def hold(self, continued: Callable[[Exchange, bytes], bytes | None]) -> None:
        """Remember the request as it came, and how an edited body is made fit for the real service."""
        request = self.original or self.flow.request
        self.came = (request.scheme, request.host, request.port, request.raw_content)
        self.continued = continued

    @property
    def is_readdressed(self) -> bool:
        """Whether its request was edited to go to another place."""
        request = self.original or self.flow.request
        return self.came is not None and (request.scheme, request.host, request.port) != self.came[:3]

    def prepare(self, request: http.Request, service: str | None, body: bytes | None) -> None:
        """Make its request, or a copy of that, one to the real service. ``body`` is what that needs in the place of the
        body that came; who edited that one means the edited one."""
        if service is not None and not self.is_readdressed:
            redirect(request, service)
        if self.came is not None and request.raw_content != self.came[3]:
            assert self.exchange is not None and self.continued is not None
            if "content-length" in request.headers:  # who edits head and body need not count
                request.headers["content-length"] = str(len(request.raw_content or b""))
            if body is not None:
                body = self.continued(self.exchange, request.get_content(strict=False) or b"")
        if body is not None:
            replace_body(request, body)

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
