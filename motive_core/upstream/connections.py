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
        return await _sent(pool, request)

    async def _authorities(self) -> ssl.SSLContext:
        self.prepare("https:")
        assert self._trust is not None
        return await asyncio.shield(asyncio.wrap_future(self._trust))

    async def close(self) -> None:
        """Close every connection."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await pool.aclose()


async def _sent(pool: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
    """The head of a reply. httpcore (1.0.9) keeps a connection for ever, open and of no use, if the task that waits for
    it is cancelled at some moments (once it is connected, before the request is sent, say); it is made to be cancelled
    by anyio, which leaves these moments out."""
    scope = anyio.CancelScope()

    async def send() -> httpx.Response | None:
        with scope:
            return await pool.handle_async_request(request)
        return None

    sending = asyncio.ensure_future(send())
    try:
        response = await asyncio.shield(sending)
    except asyncio.CancelledError:
        scope.cancel()
        await asyncio.wait((sending,))
        if not sending.cancelled() and sending.exception() is None and (late := sending.result()) is not None:
            await late.aclose()
        raise
    assert response is not None
    return response


def _authorities() -> ssl.SSLContext:
    """Those of the system, and those that browsers trust."""
    trust = ssl.create_default_context()
    trust.load_verify_locations(certifi.where())
    return trust


def _pool(trust: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS, keepalive_expiry=_KEPT_S)
    return httpx.AsyncHTTPTransport(verify=trust, limits=limits, trust_env=False)
