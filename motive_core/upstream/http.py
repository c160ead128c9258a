"""Asking a service over HTTP: one call, in the service's own dialect, translated both ways.

Owns the connections, the deadlines, and how a base URL and a dialect's path go together. Knows no app: no header and no
key of the call that is answered goes along.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

import anyio
import certifi
import httpx

from motive_core.dialects import DIALECTS, Dialect
from motive_core.errors import FramingError, MotiveError, UpstreamError
from motive_core.exchange import READ_BYTES, ReplyEvents, told_error
from motive_core.ir import ChatRequest, Reply
from motive_core.stream import ReplyEvent
from motive_core.upstream.ask import decoded
from motive_core.upstream.settings import Endpoint

_KEPT_CONNECTIONS: Final = 100
_KEPT_S: Final = 60.0
_CLOSE_TIMEOUT_S: Final = 2.0
_NO_LIMITS: Final = httpx.Timeout(None)


class Http:
    """The connections of the process, made when they are first wanted.

    Proxies that the environment names are not used: ours is most often one of them.
    """

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    @property
    def client(self) -> httpx.AsyncClient:
        """The one client; to be used within the loop that serves."""
        if self._client is None:
            trust = ssl.create_default_context()
            trust.load_verify_locations(certifi.where())
            limits = httpx.Limits(
                max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS, keepalive_expiry=_KEPT_S
            )
            self._client = httpx.AsyncClient(verify=trust, limits=limits, timeout=_NO_LIMITS, trust_env=False)
        return self._client

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            client, self._client = self._client, None
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await client.aclose()


class HttpUpstream:
    """An ``Upstream`` at a base URL."""

    def __init__(self, endpoint: Endpoint, http: Http) -> None:
        self._endpoint = endpoint
        self._http = http
        self._dialect = dialect_named(endpoint.dialect)
        key = endpoint.key.get_secret_value() if endpoint.key is not None else None
        self._headers = {"content-type": "application/json", **self._dialect.call_headers(key), **endpoint.headers}

    async def ask(self, request: ChatRequest) -> Reply | ReplyEvents:
        """See ``Upstream``."""
        endpoint, dialect = self._endpoint, self._dialect
        asked = replace(
            request,
            model=endpoint.model or request.model,
            include_usage=request.stream,
            store=False,
            variant=request.variant if request.dialect == dialect.name else "",
        )
        url = url_of(endpoint.base_url, dialect, dialect.target(asked))
        body = dialect.render_request(asked)
        try:
            async with asyncio.timeout(endpoint.first_token_timeout_s):
                return await self._asked(asked, url, body)
        except TimeoutError:
            raise UpstreamError("The service did not answer in time.", code="upstream_timeout") from None

    async def _asked(self, request: ChatRequest, url: str, body: bytes) -> Reply | ReplyEvents:
        endpoint, dialect = self._endpoint, self._dialect
        timeout = httpx.Timeout(None, connect=endpoint.connect_timeout_s)
        client = self._http.client
        call = client.build_request("POST", url, content=body, headers=self._headers, timeout=timeout)
        try:
            response = await _sent(client, call)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise UpstreamError(f"The service cannot be reached: {_why(error)}.") from error
        taken = False
        try:
            if response.status_code != 200:
                raise await _refusal(response)
            if request.stream:
                events = decoded(dialect, _chunks(response, endpoint.idle_timeout_s))
                # Its first words decide whether it answers at all: until then another one may be asked.
                first = await anext(events, None)
                if first is None:
                    raise UpstreamError("The service's reply is empty.")
                taken = True
                return _and(first, events)
            try:
                return dialect.parse_reply(await response.aread())
            except FramingError as error:
                raise UpstreamError(f"The service's reply cannot be read: {error}.") from error
        except httpx.HTTPError as error:
            raise UpstreamError(f"The service's reply was cut off: {_why(error)}.") from error
        finally:
            if not taken:
                await response.aclose()


async def _sent(client: httpx.AsyncClient, call: httpx.Request) -> httpx.Response:
    """The reply's head. httpcore (1.0.9) keeps a connection for ever, open and of no use, if the task that waits for it
    is cancelled at some moments (once it is connected, before the request is sent, say); it is made to be cancelled by
    anyio, which leaves these moments out."""
    scope = anyio.CancelScope()

    async def send() -> httpx.Response | None:
        with scope:
            return await client.send(call, stream=True)
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


async def _and(first: Sequence[ReplyEvent], events: ReplyEvents) -> ReplyEvents:
    async with aclosing(events):
        yield first
        async for batch in events:
            yield batch


async def _chunks(response: httpx.Response, idle_timeout_s: float) -> AsyncGenerator[bytes]:
    """The body as it comes. Raises ``UpstreamError`` where it is cut, or silent for too long."""
    pieces = aiter(response.aiter_bytes())
    try:
        while True:
            try:
                async with asyncio.timeout(idle_timeout_s):
                    data = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise UpstreamError("The service fell silent in the middle.", code="upstream_timeout") from None
            except httpx.HTTPError as error:
                raise UpstreamError(f"The service's reply was cut off: {_why(error)}.") from error
            yield data
    finally:
        await response.aclose()


async def _refusal(response: httpx.Response) -> MotiveError:
    """The error that a service answers with."""
    body = bytearray()
    with suppress(httpx.HTTPError):
        async for data in response.aiter_bytes():
            body += data
            if len(body) > READ_BYTES:
                break
    headers = {name.lower(): value for name, value in response.headers.items()}
    return told_error(response.status_code, headers, bytes(body), time.time())


def url_of(base_url: str, dialect: Dialect, target: str) -> str:
    """Where a call goes. A base URL without a path is a host, to which the whole target is added; one with a path is
    what the vendor's SDK would be given, which has the dialect's ``base_path`` in it already."""
    base = base_url.rstrip("/")
    if urlsplit(base).path.strip("/") and dialect.base_path:
        target = target.removeprefix(dialect.base_path)
    return base + target


def dialect_named(name: str) -> Dialect:
    """The dialect of this name. Raises ``KeyError``."""
    for dialect in DIALECTS:
        if dialect.name == name:
            return dialect
    raise KeyError(name)


def _why(error: Exception) -> str:
    """What went wrong, for people; httpx leaves some of its messages empty."""
    return str(error).rstrip(".") or type(error).__name__
