"""One call over HTTP: sent once more where nobody can have read it, and its reply as it comes.

Owns the deadlines of a connection, and which replies are none. Knows neither what is asked nor what is told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

import httpx

from motive_core.content import Unpacker
from motive_core.errors import MotiveError, UpstreamError
from motive_core.exchange import READ_BYTES, told_error
from motive_core.upstream.connections import Http

_ERROR_BODY_S: Final = 5.0
"""How long the words of an error may take, once its status is known."""
_END_S: Final = 0.05
"""How long the end of a body may take that has its last word said: without it, a connection cannot be used again."""
_RETRIES: Final = 2
_CUT: Final = (httpx.RemoteProtocolError, httpx.NetworkError)
"""What a connection that the service has closed ends with."""


async def sent(
    http: Http,
    method: str,
    url: httpx.URL | str,
    *,
    headers: Mapping[str, str],
    connect_timeout_s: float,
    body: bytes | None = None,
) -> httpx.Response:
    """The reply, once its head is here. A connection that was kept may have been closed by the service in the very
    moment in which it is used again: then nobody has read the request, and it is sent once more. Raises
    ``UpstreamError``."""
    for left in range(_RETRIES, -1, -1):
        fresh = _Fresh()
        extensions: dict[str, Any] = {"timeout": {"connect": connect_timeout_s}, "trace": fresh}
        try:
            call = httpx.Request(method, url, headers=headers, content=body, extensions=extensions)
            return await http.handle_async_request(call)
        except _CUT as error:
            if not left or fresh.connected:
                raise UpstreamError(f"The service cannot be reached: {why(error)}.") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise UpstreamError(f"The service cannot be reached: {why(error)}.") from error
    raise AssertionError("the last try returns or raises")


class _Fresh:
    """Learns from httpx whether a call made a connection of its own."""

    __slots__ = ("connected",)

    def __init__(self) -> None:
        self.connected = False

    async def __call__(self, event: str, info: Any) -> None:
        if event == "connection.connect_tcp.started":
            self.connected = True


async def timely(pieces: AsyncIterator[bytes], idle_timeout_s: float) -> AsyncGenerator[bytes]:
    """The pieces of a body, as they come; they are the caller's to close. Raises ``UpstreamError`` where it is cut, or
    silent for too long."""
    while True:
        try:
            async with asyncio.timeout(idle_timeout_s):
                data = await anext(pieces, None)
        except TimeoutError:
            raise UpstreamError("The service fell silent in the middle.", code="upstream_timeout") from None
        except httpx.HTTPError as error:
            raise UpstreamError(f"The service's reply was cut off: {why(error)}.") from error
        if data is None:
            return
        yield data


class Body:
    """The body of a stream."""

    def __init__(self, response: httpx.Response, idle_timeout_s: float) -> None:
        self._response = response
        self._idle_timeout_s = idle_timeout_s
        self._ended = False

    def end(self) -> None:
        """Its last word was said."""
        self._ended = True

    async def chunks(self) -> AsyncGenerator[bytes]:
        """It, as it comes. Raises ``UpstreamError`` where it is cut, or silent for too long."""
        response = self._response
        pieces = aiter(response.aiter_raw())
        unpacker = unpacker_of(response)
        try:
            async with aclosing(timely(pieces, self._idle_timeout_s)) as told:
                async for data in told:
                    yield data if unpacker is None else unpacker.unpack(data)
        finally:
            if self._ended:
                with suppress(TimeoutError, httpx.HTTPError):
                    async with asyncio.timeout(_END_S):
                        while await anext(pieces, None) is not None:
                            pass
            await response.aclose()


async def refusal(response: httpx.Response) -> MotiveError:
    """The error that a service answers with. Its words may be cut, late or endless; its status is known."""
    body = bytearray()
    with suppress(httpx.HTTPError, UpstreamError, TimeoutError):
        async with asyncio.timeout(_ERROR_BODY_S):
            unpacker = unpacker_of(response)
            async for data in response.aiter_raw():
                body += data if unpacker is None else unpacker.unpack(data)
                if len(body) > READ_BYTES:
                    break
    headers = {name.lower(): value for name, value in response.headers.items()}
    return told_error(response.status_code, headers, bytes(body), time.time())


def unpacker_of(response: httpx.Response) -> Unpacker | None:
    """What undoes the encodings of a body; None if it has none."""
    encodings = response.headers.get("content-encoding")
    return Unpacker(encodings) if encodings else None


def why(error: Exception) -> str:
    """What went wrong, for people; httpx leaves some of its messages empty. What it says of a request that cannot be
    sent has the bad value in it, which may be a secret."""
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol | httpx.InvalidURL):
        return type(error).__name__
    return str(error).rstrip(".") or type(error).__name__
