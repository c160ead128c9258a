"""Calls to real services that we make ourselves, through mitmproxy's own client: for a reply that is being streamed.

Owns the way from such a call's flow to its reply as it comes. It goes where the flow would have gone, by the same
upstream proxy, trust and hooks, and is a flow of its own in every mitmproxy UI. Knows no session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final

from mitmproxy import ctx, http
from mitmproxy.addons.clientplayback import ReplayHandler
from mitmproxy.proxy.layers.http import HTTPMode
from mitmproxy.proxy.mode_specs import UpstreamMode

from motive_core.content import Unpacker
from motive_core.errors import UpstreamError
from motive_core.exchange import ServiceReply

logger = logging.getLogger(__name__)

_HEAD_TIMEOUT_S: Final = 600.0
_PAUSE_BYTES: Final = 4 * 1024 * 1024
"""How much of a reply may wait for its client until no more of it is read, ``_RESUME_BYTES`` until it is again."""
_RESUME_BYTES: Final = 1024 * 1024
_BUFFER_BYTES: Final = 64 * 1024 * 1024
"""How much of it may wait in any case. What cannot be paused is cut there."""

type Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class _Call:
    """One call under way."""

    def __init__(self, flow: http.HTTPFlow, handler: ReplayHandler) -> None:
        self.flow = flow
        self.handler = handler
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting_bytes = 0
        self._is_paused = False
        self._has_hole = False
        """Whether a piece of it was lost: what comes behind that is not the reply any more."""
        self._whole = False

    @property
    def response(self) -> http.Response:
        """The reply, once its head is here."""
        assert self.flow.response is not None
        return self.flow.response

    def head(self) -> None:
        """The head of the reply is here."""
        self.response.stream = self._take
        if not self.begun.done():
            self.begun.set_result(None)

    def _take(self, data: bytes) -> bytes:
        if self._waiting_bytes + len(data) > _BUFFER_BYTES:
            self._has_hole = True
        if data and not self._has_hole:
            self._waiting_bytes += len(data)
            self._chunks.put_nowait(data)
        if self._waiting_bytes > _PAUSE_BYTES:
            self._pause()
        return data

    def _pause(self) -> None:
        """Leave what the service says where it is."""
        self._is_paused = True
        for transport in self._transports():
            transport.pause_reading()

    def _resume(self) -> None:
        """Go on to read."""
        self._is_paused = False
        for transport in self._transports():
            transport.resume_reading()

    def _transports(self) -> list[asyncio.ReadTransport]:
        found = [getattr(io.writer, "transport", None) for io in self.handler.transports.values()]
        return [transport for transport in found if isinstance(transport, asyncio.ReadTransport)]

    def end(self, *, whole: bool) -> None:
        """There is no more of it."""
        if not self.begun.done():
            error = self.flow.error
            self.begun.set_exception(
                UpstreamError(f"The service did not answer: {error.msg if error is not None else 'no reply'}.")
            )
        self._whole = whole and not self._has_hole
        self._chunks.put_nowait(None)

    async def chunks(self) -> AsyncGenerator[bytes]:
        """What is said, as it comes. Raises ``UpstreamError`` if it is cut, or cannot be read."""
        unpacker = Unpacker(self.response.headers.get("content-encoding", ""))
        while (data := await self._chunks.get()) is not None:
            self._waiting_bytes -= len(data)
            if self._is_paused and self._waiting_bytes < _RESUME_BYTES:
                self._resume()
            if data := unpacker.unpack(data):
                yield data
        if not self._whole:
            raise UpstreamError("The service's reply was cut off.")


class Services:
    """The calls under way, by flow id. ``spawn`` runs a coroutine in the background."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._calls: dict[str, _Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    async def ask(self, flow: http.HTTPFlow) -> ServiceReply:
        """Send the request of a flow, which is nobody's else. Raises ``UpstreamError`` if there is no reply."""
        flow.is_replay = "request"
        flow.response = None
        flow.error = None
        # Its bytes are read and written here; a client that was told the head cannot be told of an encoding any more.
        flow.request.headers["accept-encoding"] = "identity"
        call = self._calls[flow.id] = _Call(flow, _handler_of(flow))
        task = self._spawn(self._run(call))
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                await call.begun
        except TimeoutError:
            task.cancel()
            raise UpstreamError("The service did not answer in time.") from None
        except asyncio.CancelledError:
            task.cancel()
            raise
        response = call.response
        headers = {name.lower(): value for name, value in response.headers.items()}
        return ServiceReply(response.status_code, headers, self._chunks(call, task))

    async def _run(self, call: _Call) -> None:
        handler = call.handler
        try:
            await handler.replay()
        finally:
            for transport in handler.transports.values():
                if transport.handler is not None:
                    transport.handler.cancel()
            self._calls.pop(call.flow.id, None)
            call.end(whole=call.flow.error is None and call.flow.response is not None)

    @staticmethod
    async def _chunks(call: _Call, task: asyncio.Task[None]) -> AsyncGenerator[bytes]:
        try:
            async for data in call.chunks():
                yield data
        finally:
            task.cancel()

    def head(self, flow: http.HTTPFlow) -> bool:
        """The head of a reply is here. Gives whether it is that of a call of ours."""
        call = self._calls.get(flow.id)
        if call is None:
            return False
        call.head()
        return True


def _handler_of(flow: http.HTTPFlow) -> ReplayHandler:
    """What sends a flow's request where its client's own would go: mitmproxy goes by the first of its listeners."""
    handler = ReplayHandler(flow, ctx.options)
    mode, server = flow.client_conn.proxy_mode, handler.layer.context.server
    if isinstance(mode, UpstreamMode):
        server.via = flow.server_conn.via = (mode.scheme, mode.address)
        handler.layer.mode = HTTPMode.upstream
    else:
        server.via = flow.server_conn.via = None
        handler.layer.mode = HTTPMode.transparent
    return handler
