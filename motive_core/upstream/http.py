"""Asking a service over HTTP: one call, in the service's own dialect, translated both ways.

Owns the deadlines, what is asked in the place of what the app asked, and what counts as an answer. Knows no app: of the
call that is answered, only headers that it is given go along.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx

from motive_core.content import Unpacker
from motive_core.dialects import DIALECTS, Dialect
from motive_core.errors import BadRequestError, FramingError, MotiveError, UpstreamError
from motive_core.exchange import READ_BYTES, ReplyEvents, told_error
from motive_core.ir import ChatRequest, Reply
from motive_core.upstream.ask import begin, decoded, told_in_body, whole
from motive_core.upstream.connections import Http
from motive_core.upstream.settings import Endpoint

_REPLY_BYTES: Final = 64 * 1024 * 1024
_ERROR_BODY_S: Final = 5.0
"""How long the words of an error may take, once its status is known."""
_END_S: Final = 0.05
"""How long the end of a body may take that has its last word said: without it, a connection cannot be used again."""
_RETRIES: Final = 2
_MASK: Final = "***"
_CUT: Final = (httpx.RemoteProtocolError, httpx.NetworkError)
"""What a connection that the service has closed ends with."""


class HttpUpstream:
    """An ``Upstream`` at a base URL."""

    def __init__(self, endpoint: Endpoint, http: Http) -> None:
        self._endpoint = endpoint
        self._http = http
        self._dialect = dialect_named(endpoint.dialect)
        self._key = endpoint.key.get_secret_value() if endpoint.key is not None else None
        self._headers = {
            "user-agent": "motive",
            "accept": "*/*",
            # Not compressed: what is said must not wait in a compressor until there is more of it.
            "accept-encoding": "identity",
            "content-type": "application/json",
            **self.key_headers(self._key),
            **endpoint.headers,
        }
        http.prepare(endpoint.base_url)

    def key_headers(self, key: str | None) -> dict[str, str]:
        """The headers by which this service is shown a key."""
        return self._dialect.call_headers(key, self._endpoint.base_url)

    def model_of(self, model: str) -> str:
        """The model that is asked for in the place of one that the app named."""
        for glob, name in self._endpoint.model_names:
            if glob.fullmatch(model):
                return name
        return self._endpoint.model or model

    async def ask(self, request: ChatRequest, headers: Mapping[str, str] | None = None) -> Reply | ReplyEvents:
        """See ``Upstream``. ``headers`` are more of the call, with lower-case names."""
        endpoint, dialect = self._endpoint, self._dialect
        if request.previous is not None:
            # Known to the service that gave it, and to nobody else.
            message = f"Previous response with id '{request.previous}' not found."
            raise BadRequestError(message, code="previous_response_not_found", param="previous_response_id")
        asked = replace(request, model=self.model_of(request.model), include_usage=request.stream, store=False)
        asked = dialect.asked_of(endpoint.base_url, asked)
        url = self._url(asked)
        body = dialect.render_request(asked)
        try:
            async with asyncio.timeout(endpoint.first_token_timeout_s):
                return await self._asked(asked, url, body, headers or {})
        except TimeoutError:
            raise UpstreamError("The service did not answer in time.", code="upstream_timeout") from None
        except MotiveError as error:
            self._mask(error)
            raise

    def _url(self, request: ChatRequest) -> str:
        url = self._dialect.url(self._endpoint.base_url, request)
        if not self._endpoint.query:
            return url
        base, _, query = url.partition("?")
        fields = dict(one.partition("=")[::2] for one in query.split("&") if one) | dict(self._endpoint.query)
        return f"{base}?{urlencode(fields)}"

    async def _asked(
        self, request: ChatRequest, url: str, body: bytes, headers: Mapping[str, str]
    ) -> Reply | ReplyEvents:
        endpoint, dialect = self._endpoint, self._dialect
        response = await self._send(url, body, headers)
        begun = False
        try:
            if response.status_code != 200:
                raise await _refusal(response)
            kind = _media_type(response.headers.get("content-type", ""))
            if request.stream and (kind != "application/json" or kind == _media_type(dialect.stream_type)):
                body_of = _Body(response, endpoint.idle_timeout_s)
                events = await begin(decoded(dialect, body_of.chunks(), body_of.end), self._mask)
                begun = True
                return events
            if kind == _media_type(dialect.stream_type):
                # Some services stream whatever they are asked.
                body_of = _Body(response, endpoint.idle_timeout_s)
                return _checked(await whole(decoded(dialect, body_of.chunks(), body_of.end)))
            return self._parsed(await _body(response))
        except httpx.HTTPError as error:
            raise UpstreamError(f"The service's reply was cut off: {_why(error)}.") from error
        finally:
            if not begun:
                await response.aclose()

    async def _send(self, url: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """The reply, once its head is here. A connection that was kept may have been closed by the service in the very
        moment in which it is used again: then nobody has read the request, and it is sent once more."""
        timeout = {"connect": self._endpoint.connect_timeout_s}
        for left in range(_RETRIES, -1, -1):
            fresh = _Fresh()
            extensions: dict[str, Any] = {"timeout": timeout, "trace": fresh}
            call = httpx.Request(
                "POST", _parsed_url(url), headers={**self._headers, **headers}, content=body, extensions=extensions
            )
            try:
                return await self._http.handle_async_request(call)
            except _CUT as error:
                if not left or fresh.connected:
                    raise UpstreamError(f"The service cannot be reached: {_why(error)}.") from error
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                raise UpstreamError(f"The service cannot be reached: {_why(error)}.") from error
        raise AssertionError("the last try returns or raises")

    def _parsed(self, body: bytes) -> Reply:
        try:
            return _checked(self._dialect.parse_reply(body))
        except FramingError as error:
            told = told_in_body(body)
            raise told or UpstreamError(f"The service's reply cannot be read: {error}.") from error

    def _mask(self, error: MotiveError) -> None:
        """Take our key out of an error's words: some services repeat one that they refuse."""
        if self._key and self._key in error.message:
            error.message = error.message.replace(self._key, _MASK)
            error.args = (error.message,)


class _Body:
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
        unpacker = _unpacker(response)
        try:
            while True:
                try:
                    async with asyncio.timeout(self._idle_timeout_s):
                        data = await anext(pieces, None)
                except TimeoutError:
                    raise UpstreamError("The service fell silent in the middle.", code="upstream_timeout") from None
                except httpx.HTTPError as error:
                    raise UpstreamError(f"The service's reply was cut off: {_why(error)}.") from error
                if data is None:
                    return
                yield data if unpacker is None else unpacker.unpack(data)
        finally:
            if self._ended:
                with suppress(TimeoutError, httpx.HTTPError):
                    async with asyncio.timeout(_END_S):
                        while await anext(pieces, None) is not None:
                            pass
            await response.aclose()


class _Fresh:
    """Learns from httpx whether a call made a connection of its own."""

    __slots__ = ("connected",)

    def __init__(self) -> None:
        self.connected = False

    async def __call__(self, event: str, info: Any) -> None:
        if event == "connection.connect_tcp.started":
            self.connected = True


def _checked(reply: Reply) -> Reply:
    if not reply.choices:
        raise UpstreamError("The service's reply is empty.")
    return reply


async def _body(response: httpx.Response) -> bytes:
    """A whole body. Raises ``UpstreamError`` if it is too large."""
    body, unpacker = bytearray(), _unpacker(response)
    async for data in response.aiter_raw():
        body += data if unpacker is None else unpacker.unpack(data)
        if len(body) > _REPLY_BYTES:
            raise UpstreamError("The service's reply is too large.")
    return bytes(body)


async def _refusal(response: httpx.Response) -> MotiveError:
    """The error that a service answers with. Its words may be cut, late or endless; its status is known."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    status = response.status_code
    if 300 <= status < 400:
        found = urlsplit(headers.get("location", ""))
        where = f" to {found.scheme}://{found.netloc}{found.path}" if found.netloc else ""
        return UpstreamError(f"The service answered with status {status}, a redirect{where}, which is not followed.")
    body = bytearray()
    with suppress(httpx.HTTPError, UpstreamError, TimeoutError):
        async with asyncio.timeout(_ERROR_BODY_S):
            unpacker = _unpacker(response)
            async for data in response.aiter_raw():
                body += data if unpacker is None else unpacker.unpack(data)
                if len(body) > READ_BYTES:
                    break
    return told_error(status, headers, bytes(body), time.time())


def _unpacker(response: httpx.Response) -> Unpacker | None:
    encodings = response.headers.get("content-encoding")
    return Unpacker(encodings) if encodings else None


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


@lru_cache(maxsize=256)
def _parsed_url(url: str) -> httpx.URL:
    """There are few of them, and to take one apart takes longer than to send it."""
    return httpx.URL(url)


def dialect_named(name: str) -> Dialect:
    """The dialect of this name. Raises ``KeyError``."""
    for dialect in DIALECTS:
        if dialect.name == name:
            return dialect
    raise KeyError(name)


def _why(error: Exception) -> str:
    """What went wrong, for people; httpx leaves some of its messages empty. What it says of a request that cannot be
    sent has the bad value in it, which may be a secret."""
    if isinstance(error, httpx.LocalProtocolError | httpx.InvalidURL):
        return type(error).__name__
    return str(error).rstrip(".") or type(error).__name__
