"""The connections of the process to services, and the authorities that are trusted there.

Owns the pools, and the time at which the authorities are loaded: that takes a tenth of a second, which no call and no
event loop is to wait for. Knows no service.
"""

from __future__ import annotations

import asyncio
import ssl
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import anyio
import certifi
import httpx

_KEPT_CONNECTIONS: Final = 64
"""Each of them costs a look at each call, whether it is still open."""
_KEPT_S: Final = 60.0
_CLOSE_TIMEOUT_S: Final = 2.0


class Http:
    """The pools, made when they are first wanted; to be used within the loop that serves.

    Proxies that the environment names are not used: ours is most often one of them. Nothing is followed, kept (cookies)
    or added to a request.
    """

    def __init__(self) -> None:
        self._pools: dict[bool, httpx.AsyncHTTPTransport] = {}
        self._trust: Future[ssl.SSLContext] | None = None
        self._unwanted: set[asyncio.Task[httpx.Response | None]] = set()
        """Calls that nobody waits for any more, until they have come to an end."""

    @property
    def loads(self) -> bool:
        """Whether the authorities are loaded, or being loaded."""
        return self._trust is not None

    def prepare(self, base_url: str) -> None:
        """Begin to load the authorities, if calls to this base URL will need them."""
        if base_url.startswith("https:") and self._trust is None:
            loader = ThreadPoolExecutor(1, "motive authorities")
            self._trust = loader.submit(_authorities)
            loader.shutdown(wait=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The head of the reply; its body is the caller's to read and to close. Raises ``httpx.TransportError``."""
        secure = request.url.scheme == "https"
        pool = self._pools.get(secure)
        if pool is None:
            trust = await self._authorities() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            pool = self._pools.setdefault(secure, _pool(trust))
        return await self._sent(pool, request)

    async def _sent(self, pool: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        """The head of a reply. httpcore (1.0.9) keeps a connection for ever, open and of no use, if the task that waits
        for it is cancelled at some moments (once it is connected, before the request is sent, say); it is made to be
        cancelled by anyio, which leaves these moments out, and not while it connects: see ``_Sending``."""
        sending = _Sending(request)
        task = asyncio.ensure_future(sending.run(pool))
        try:
            response = await asyncio.shield(task)
        except asyncio.CancelledError:
            if sending.cancel():
                await asyncio.wait((task,))
            if not task.done():
                self._unwanted.add(task)
                task.add_done_callback(self._forget)
            elif not task.cancelled() and task.exception() is None and (late := task.result()) is not None:
                await late.aclose()
            raise
        assert response is not None
        return response

    def _forget(self, task: asyncio.Task[httpx.Response | None]) -> None:
        self._unwanted.discard(task)
        if not task.cancelled():
            task.exception()  # nobody wants to know

    async def _authorities(self) -> ssl.SSLContext:
        self.prepare("https:")
        assert self._trust is not None
        return await asyncio.shield(asyncio.wrap_future(self._trust))

    async def close(self) -> None:
        """Close every connection."""
        for task in self._unwanted:
            task.cancel()
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await pool.aclose()


class _Sending:
    """A request on its way. anyio (before 4.16, which mitmproxy forbids on Python 3.12) forgets a connection that it is
    making if it is cancelled in the middle: who does not want it any more waits for nothing, but it is cancelled when
    its first byte is to be sent, or when it failed."""

    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self._told = request.extensions.get("trace")
        self._scope = anyio.CancelScope()
        self._connects = False
        self._is_unwanted = False

    async def run(self, pool: httpx.AsyncHTTPTransport) -> httpx.Response | None:
        """The head of the reply; None if nobody wants it any more."""
        self._request.extensions = {**self._request.extensions, "trace": self._trace}
        response = None
        with self._scope:
            response = await pool.handle_async_request(self._request)
        if response is not None and self._is_unwanted:
            await response.aclose()
            return None
        return response

    def cancel(self) -> bool:
        """Nobody wants it any more. Gives whether it ends at once."""
        self._is_unwanted = True
        if not self._connects:
            self._scope.cancel()
        return not self._connects

    async def _trace(self, event: str, info: object) -> None:
        """See httpcore's extension of this name: what it does, as ``connection.connect_tcp.started``."""
        if event == "connection.connect_tcp.started":
            self._connects = True
        elif event.endswith((".failed", ".send_request_headers.started")):
            self._connects = False
            if self._is_unwanted:
                self._scope.cancel()
        if self._told is not None:
            await self._told(event, info)


def _authorities() -> ssl.SSLContext:
    """Those of the system, and those that browsers trust."""
    trust = ssl.create_default_context()
    trust.load_verify_locations(certifi.where())
    return trust


def _pool(trust: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS, keepalive_expiry=_KEPT_S)
    return httpx.AsyncHTTPTransport(verify=trust, limits=limits, trust_env=False)
