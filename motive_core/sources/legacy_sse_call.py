"""One call of a legacy search API: a GET, and the bytes of its reply as they come.

Owns the deadlines of the connection, and which replies are none. Knows neither what is asked nor what is told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, Final

import httpx

from motive_core.errors import MotiveError, UpstreamError
from motive_core.exchange import READ_BYTES, told_error
from motive_core.upstream import Http

_REFUSAL_TIMEOUT_S: Final = 5.0
"""How long the words of an error may take, once its status is known."""


async def called(
    http: Http, url: str, headers: Mapping[str, str], *, connect_timeout_s: float, idle_timeout_s: float
) -> AsyncGenerator[bytes]:
    """The body of the reply. ``idle_timeout_s`` is how long it may be silent once its head is here; until then, the
    caller has a deadline. Raises ``MotiveError`` where there is no such reply, and where it is cut.

    """
    response = await _response(http.client, url, headers, connect_timeout_s)
    try:
        if response.status_code != 200:
            raise await _refusal(response)
        pieces = aiter(response.aiter_bytes())
        while True:
            try:
                async with asyncio.timeout(idle_timeout_s):
                    data = await anext(pieces, None)
            except TimeoutError:
                raise UpstreamError("The service fell silent in the middle.", code="upstream_timeout") from None
            except httpx.HTTPError as error:
                raise UpstreamError(f"The service's reply was cut off: {_why(error)}.") from error
            if data is None:
                return
            yield data
    finally:
        await response.aclose()


async def _response(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], connect_timeout_s: float
) -> httpx.Response:
    """The response, its body not read yet. A connection that was kept may have been closed in the very moment in which
    it is used again: then nobody has read the request, and it is made once more."""
    fresh = _Fresh()
    extensions = {"timeout": {"connect": connect_timeout_s}, "trace": fresh}
    # Made without the client, which would add cookies to it that other calls were given.
    request = httpx.Request("GET", url, headers=headers, extensions=extensions)
    try:
        try:
            return await client.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            if fresh.connected:
                raise
            return await client.send(request, stream=True)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise UpstreamError(f"The service cannot be reached: {_why(error)}.") from error


class _Fresh:
    """Learns from httpx whether a call made a connection of its own."""

    def __init__(self) -> None:
        self.connected = False

    async def __call__(self, event: str, info: Any) -> None:
        """See httpcore's ``trace`` extension."""
        if event == "connection.connect_tcp.started":
            self.connected = True


async def _refusal(response: httpx.Response) -> MotiveError:
    """The error that another status tells. Its words may be cut, late or endless."""
    body = bytearray()
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_REFUSAL_TIMEOUT_S):
            async for data in response.aiter_bytes():
                body += data
                if len(body) > READ_BYTES:
                    break
    headers = {name.lower(): value for name, value in response.headers.items()}
    return told_error(response.status_code, headers, bytes(body), time.time())


def _why(error: Exception) -> str:
    """What went wrong, for people. What httpx says of a request that cannot be sent quotes it, secrets and all."""
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol | httpx.InvalidURL):
        return type(error).__name__
    return str(error).rstrip(".") or type(error).__name__
