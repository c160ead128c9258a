"""Asking a service over HTTP: one call, in the service's own dialect, translated both ways.

Owns what is asked in the place of what the app asked, its deadline, and what counts as an answer. Knows no app: of the
call that is answered, only headers that it is given go along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final
from urllib.parse import urlencode, urlsplit

import httpx

from motive_core.dialects import dialect_named
from motive_core.errors import BadRequestError, FramingError, MotiveError, UpstreamError
from motive_core.exchange import ReplyEvents
from motive_core.ir import ChatRequest, Reply
from motive_core.upstream.ask import begin, decoded, told_in_body, whole
from motive_core.upstream.connections import Http
from motive_core.upstream.settings import Endpoint
from motive_core.upstream.transfer import Body, refusal, sent, unpacker_of, why

_REPLY_BYTES: Final = 64 * 1024 * 1024
_MASK: Final = "***"


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
        response = await sent(
            self._http,
            "POST",
            _parsed_url(url),
            headers={**self._headers, **headers},
            body=body,
            connect_timeout_s=endpoint.connect_timeout_s,
        )
        begun = False
        try:
            if response.status_code != 200:
                raise _redirected(response) or await refusal(response)
            kind = _media_type(response.headers.get("content-type", ""))
            if request.stream and (kind != "application/json" or kind == _media_type(dialect.stream_type)):
                body_of = Body(response, endpoint.idle_timeout_s)
                events = await begin(decoded(dialect, body_of.chunks(), body_of.end), self._mask)
                begun = True
                return events
            if kind == _media_type(dialect.stream_type):
                # Some services stream whatever they are asked.
                body_of = Body(response, endpoint.idle_timeout_s)
                return _checked(await whole(decoded(dialect, body_of.chunks(), body_of.end)))
            return self._parsed(await _body(response))
        except httpx.HTTPError as error:
            raise UpstreamError(f"The service's reply was cut off: {why(error)}.") from error
        finally:
            if not begun:
                await response.aclose()

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


def _checked(reply: Reply) -> Reply:
    if not reply.choices:
        raise UpstreamError("The service's reply is empty.")
    return reply


async def _body(response: httpx.Response) -> bytes:
    """A whole body. Raises ``UpstreamError`` if it is too large."""
    body, unpacker = bytearray(), unpacker_of(response)
    async for data in response.aiter_raw():
        body += data if unpacker is None else unpacker.unpack(data)
        if len(body) > _REPLY_BYTES:
            raise UpstreamError("The service's reply is too large.")
    return bytes(body)


def _redirected(response: httpx.Response) -> MotiveError | None:
    """The error that a redirect is; None if it is none."""
    status = response.status_code
    if not 300 <= status < 400:
        return None
    found = urlsplit(response.headers.get("location", ""))
    where = f" to {found.scheme}://{found.netloc}{found.path}" if found.netloc else ""
    return UpstreamError(f"The service answered with status {status}, a redirect{where}, which is not followed.")


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


@lru_cache(maxsize=256)
def _parsed_url(url: str) -> httpx.URL:
    """There are few of them, and to take one apart takes longer than to send it."""
    return httpx.URL(url)
