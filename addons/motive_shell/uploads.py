"""Uploads that are over the limit: refused at the meeting point as soon as that is known, passed on elsewhere.

mitmproxy gathers the body of a request before an addon sees it, and its own limit (``body_size_limit``) answers with a
page of HTML and cuts what is only passed on. Here a body that is announced as too large is refused before it comes,
and one that turns out to be too large (chunked) when it is: with an error in the client's dialect, and without keeping
the rest. What goes to a real service goes on, piece by piece.

This patches a private part of mitmproxy (``HttpStream.check_body_size``, which it calls before a body and after each
piece of it). In a version without it, large bodies are gathered, and refused when they are whole.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

from mitmproxy import http
from mitmproxy.net.http.http1 import expected_http_body_size
from mitmproxy.options import Options
from mitmproxy.proxy.layers.http import DropStream, HttpStream, SendHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    ResponseEndOfMessage,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._hooks import HttpRequestHeadersHook, HttpResponseHeadersHook

from motive_core.gateway import Gateway
from motive_shell.flows import ROLE_HEADER, listener_of, peer_of, respond, withdraw
from motive_shell.heads import head_of

logger = logging.getLogger(__name__)

type Commands[T] = Generator[Any, Any, T]

_CHECK: Final = "check_body_size"
_DISCARDED_BYTES: Final = 64 * 1024 * 1024
"""How much of a refused upload is read and thrown away. A client that is cut off while it sends may not see its reply;
one that sends this much without looking has been given the chance."""

_stock_check: Final[Any] = vars(HttpStream).get(_CHECK)
_guards: WeakValueDictionary[int, UploadGuard] = WeakValueDictionary()
"""By the identity of the options of its master, which each stream knows."""


class UploadGuard:
    """The limit of one master, known by its options."""

    def __init__(self, options: Options, gateway: Gateway) -> None:
        self.options = options
        self._gateway = gateway

    @property
    def limit_bytes(self) -> int:
        """The limit in force."""
        return self._gateway.config.limits.body_limit_bytes

    def refusal(self, flow: http.HTTPFlow) -> tuple[int, Mapping[str, str], bytes] | None:
        """The reply to a request whose body is over the limit, None if it is to be passed on."""
        head, forward = head_of(flow.request), listener_of(flow) == "forward"
        flow.request.headers.pop(ROLE_HEADER, None)
        withdraw(flow.request, self._gateway.guard.own_secrets(head, forward=forward))
        return None if forward else self._gateway.refusals.upload(head, peer_of(flow))

    def install(self) -> None:
        """Guard uploads from now on, for as long as this object lives."""
        if _stock_check is None:
            logger.warning("uploads over the limit are refused when they are whole: this mitmproxy is not known")
            return
        _guards[id(self.options)] = self
        setattr(HttpStream, _CHECK, _check_body_size)


def _check_body_size(self: HttpStream, request: bool) -> Commands[bool]:
    """See ``HttpStream.check_body_size``."""
    guard = _guards.get(id(self.context.options)) if request else None
    if guard is not None and self.client_state in (
        self.state_wait_for_request_headers,
        self.state_consume_request_body,
    ):
        size = len(self.request_body_buf) or _announced(self.flow.request)
        if size > guard.limit_bytes:
            if (reply := guard.refusal(self.flow)) is not None:
                yield from _refuse(self, *reply)
                return True
            yield from _pass_on(self)
            return False
    result: bool = yield from _stock_check(self, request)
    return result


def _announced(request: http.Request) -> int:
    try:
        return expected_http_body_size(request) or 0
    except ValueError:
        return 0


def _refuse(stream: HttpStream, status: int, headers: Mapping[str, str], body: bytes) -> Commands[None]:
    """Reply at once, and read no more than a little of what still comes."""
    flow = stream.flow
    if not stream.request_body_buf:
        yield HttpRequestHeadersHook(flow)  # nobody has seen this flow yet
    stream.request_body_buf.clear()
    left = _DISCARDED_BYTES

    def state_discard_request_body(event: Any) -> Commands[None]:
        nonlocal left
        if isinstance(event, RequestData):
            left -= len(event.data)
            if left < 0:
                yield SendHttp(
                    ResponseProtocolError(stream.stream_id, "upload cut off", ErrorCode.KILL), stream.context.client
                )
                stream.client_state = stream.state_errored
                yield DropStream(stream.stream_id)
        elif isinstance(event, RequestEndOfMessage):
            stream.client_state = stream.state_done
            yield DropStream(stream.stream_id)

    stream.client_state = state_discard_request_body
    respond(flow, status, {**headers, "connection": "close"}, body)
    yield HttpResponseHeadersHook(flow)
    yield from stream.send_response()
    if stream.server_state == stream.state_errored:
        return  # the client is gone
    flow.live = False
    yield SendHttp(ResponseEndOfMessage(stream.stream_id), stream.context.client)


def _pass_on(stream: HttpStream) -> Commands[None]:
    """Send what has come and what will come to the real service, and keep nothing of it."""
    buffer = stream.request_body_buf

    def forget_the_last(piece: bytes) -> bytes:
        buffer.clear()  # mitmproxy keeps a copy of what it has sent on, for views
        return piece

    stream.flow.request.stream = forget_the_last
    if gathered := bytes(buffer):
        buffer.clear()
        yield from stream.start_request_stream()
        yield from stream.handle_event(RequestData(stream.stream_id, gathered))
