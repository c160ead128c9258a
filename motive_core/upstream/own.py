"""Asking the real service of a call, with the app's own request and credentials.

Owns the translation only: a port sends the call, by the proxy's own way to the service.
"""

from __future__ import annotations

from typing import Final

from motive_core.dialects import Dialect
from motive_core.errors import FramingError, UpstreamError
from motive_core.exchange import READ_BYTES, Port, ReplyEvents, ServiceReply, told_error
from motive_core.ir import ChatRequest, Reply
from motive_core.upstream.ask import decoded

_REPLY_BYTES: Final = 64 * 1024 * 1024


class OwnService:
    """An ``Upstream``: the service that this call was meant for. ``own_body`` is what it needs in the place of the body
    that came, for the request as it came; None if that one will do."""

    def __init__(
        self, port: Port, dialect: Dialect, service: str | None, request: ChatRequest, own_body: bytes | None
    ) -> None:
        self._port = port
        self._dialect = dialect
        self._service = service
        self._request = request
        self._own_body = own_body

    async def ask(self, request: ChatRequest) -> Reply | ReplyEvents:
        """See ``Upstream``. Another request than the app's own must stream if and only if that one does: the path of
        some dialects says so."""
        body = self._own_body if request is self._request else self._dialect.render_request(request)
        said = await self._port.ask(self._service, body)
        if said.status != 200:
            raise told_error(said.status, said.headers, await _read(said, READ_BYTES))
        if self._request.stream:
            return decoded(self._dialect, said.chunks)
        try:
            return self._dialect.parse_reply(await _read(said, _REPLY_BYTES))
        except FramingError as error:
            raise UpstreamError(f"The service's reply cannot be read: {error}.") from error


async def _read(said: ServiceReply, limit_bytes: int) -> bytes:
    """The body. Raises ``UpstreamError`` if it is cut or too large."""
    body = bytearray()
    try:
        async for data in said.chunks:
            body += data
            if len(body) > limit_bytes:
                raise UpstreamError("The service's reply is too large.")
    finally:
        await said.chunks.aclose()
    return bytes(body)
